"""``lungxai serve`` and ``lungxai doctor``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from shared_models.contract.errors import LungXAIError
from shared_models.model_bundle import SLIDE_MODEL, slide_folder

from .settings import DEVICES, Settings

_SERVE_EXAMPLES = """\
examples:
  lungxai serve                               on this machine only, http://127.0.0.1:8765
  lungxai serve --device cpu --port 0         any free port
  lungxai serve --data-dir /srv/lungxai       keep cases there
  lungxai serve --slide-model mine            slides go to a model that `lungxai models add` added
  LUNGXAI_MAX_UPLOAD_BYTES=2147483648 lungxai serve
  lungxai serve --host 0.0.0.0 --allow-remote --allowed-host gpu-box.clinic.example
                                              reachable from other machines; put TLS in front of it

Clients need the token that is kept in DATA_DIR/token. Every flag can also be set as LUNGXAI_<NAME>.
Research use only. Not a medical device, not a diagnosis.
"""
_DOCTOR_EXAMPLES = """\
examples:
  lungxai doctor                              what is there, what is missing, what to do
  lungxai doctor --json                       the same for a program
  lungxai doctor --device cuda                fails where there is no CUDA device

Ends with 1 where something that the server needs is missing.
"""


def register(subparsers: Any) -> None:
    """Add ``serve`` and ``doctor`` to the command line."""
    serve = subparsers.add_parser(
        "serve",
        help="start the inference server",
        description="Start the inference server and keep it running until Ctrl-C.",
        epilog=_SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _common(serve)
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--threads", type=int, help="threads of the models (default: all cores but one)")
    serve.add_argument("--allow-remote", action="store_true", default=None, help="consent to a --host not loopback")
    serve.add_argument(
        "--allowed-host", action="append", metavar="NAME[:PORT]", help="a further name to answer to; may be repeated"
    )
    serve.set_defaults(run=_serve)
    doctor = subparsers.add_parser(
        "doctor",
        help="say what is installed, what is missing, and what to do",
        description="Check this machine for everything that the suite needs.",
        epilog=_DOCTOR_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _common(doctor)
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help="port to listen on, 0 for a free one (default 8765)")
    parser.add_argument("--data-dir", type=Path, help="folder for cases and the token (~/.local/share/lungxai)")
    parser.add_argument("--models", type=Path, help="folder of model bundles (default: the ones that ship)")
    parser.add_argument(
        "--slide-model", metavar="NAME", help=f"model for slides, shipped or added (default {SLIDE_MODEL})"
    )
    parser.add_argument("--added-models", type=Path, metavar="DIR", help="folder of the models that you added")
    parser.add_argument("--device", choices=DEVICES, help="never changed in silence (default auto: the best there is)")


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings of a command: its flags, then LUNGXAI_*, then the defaults."""
    names = (
        "host", "port", "data_dir", "models", "added_models", "slide_model", "device", "threads", "allow_remote",
    )  # fmt: skip
    flags = {name: getattr(args, name, None) for name in names}
    allowed = getattr(args, "allowed_host", None)
    return Settings.read(os.environ, **flags, allowed_hosts=None if allowed is None else tuple(allowed))


def _serve(args: argparse.Namespace) -> int:
    try:
        settings = settings_of(args)
        if settings.slide_model != SLIDE_MODEL:  # named by hand: said at once; without the shipped one the CT works on
            slide_folder(settings.slide_model, settings.models, settings.added_models)
    except LungXAIError as fault:
        print(f"lungxai serve: {fault}", file=sys.stderr)
        return 2
    try:
        from .server import main
    except ImportError as fault:
        print(f"lungxai serve: {fault.name} is not installed. Run `lungxai doctor`.", file=sys.stderr)
        return 1
    return main(settings)


def _doctor(args: argparse.Namespace) -> int:
    from .doctor import examine, shown

    try:
        findings = examine(settings_of(args))
    except LungXAIError as fault:
        print(f"lungxai doctor: {fault}", file=sys.stderr)
        return 2
    print(shown(findings, as_json=args.json))
    return 1 if any(f.needed and not f.ok for f in findings) else 0


def main(arguments: list[str]) -> int:
    """The two commands without the dispatcher."""
    parser = argparse.ArgumentParser(prog="lungxai")
    register(parser.add_subparsers(required=True))
    args = parser.parse_args(arguments)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
