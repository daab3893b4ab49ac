"""The command `lungxai`: a dispatcher over the entry-point group ``lungxai.commands``.

Each entry point is a ``register(subparsers)`` that adds argparse commands with ``set_defaults(run=...)``,
where ``run(arguments)`` returns the exit code. Heavy packages are imported inside ``run``.

Exit codes: 0 done, 1 done in part or a check failed, 2 an error that the message explains, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Optional

from .code_version import code_version
from .contract.errors import LungXAIError
from .contract.notice import NOTICE

GROUP = "lungxai.commands"


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"lungxai {code_version()}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The whole command line; a part that cannot be imported is named at the end of its help."""
    top = argparse.ArgumentParser(
        prog="lungxai", description=f"Dual-modal lung cancer AI for 3D Slicer and QuPath. {NOTICE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", nargs=0, action=_Version, help="print the version")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    broken = []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            entry.load()(commands)
        except ImportError as fault:
            broken.append(f"  {entry.name}: needs {fault.name or fault}; install lungxai again")
    if broken:
        top.epilog = "not available here:\n" + "\n".join(broken)
    return top


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; the exit code."""
    given = parser().parse_args(arguments)
    try:
        return int(given.run(given) or 0)
    except LungXAIError as fault:
        print(f"lungxai: {fault.message}\n{fault.remedy}".rstrip(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lungxai: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
