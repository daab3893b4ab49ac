"""``lungxai view``: one case in the browser, without 3D Slicer.

register()   adds the command
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path
from typing import Any

from shared_models.contract.client import is_loopback
from shared_models.contract.errors import InvalidInput, ServerError
from shared_models.contract.server_option import add_server_options, named_client

_EXAMPLES = """\
examples:
  lungxai view out                                    what lungxai demo wrote; its CT lies beside it
  lungxai view result --ct dicom_folder               what lungxai analyze wrote, and the CT that it was given
  lungxai view result --ct chest.nrrd --port 8900 --no-browser
  LUNGXAI_TOKEN=... lungxai view case-1f0c --server http://127.0.0.1:8765
                                                      a case of a running server, its CT too

Opens http://127.0.0.1:PORT/?secret=... in the browser and runs until Ctrl-C. Nobody else on this machine can open it
without the whole address. Nothing is loaded from the internet. Needs: pip install 'lungxai[viewer]'

Research use only. Not a medical device, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``view`` to the command line."""
    view = subparsers.add_parser(
        "view",
        help="look at a case in the browser",
        description="Show one case in the browser: slices, outlines, heatmaps, 3D, nodules, the fused result.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    view.add_argument("case", metavar="CASE", help="folder of lungxai analyze or demo; with --server, a case's id")
    view.add_argument("--ct", type=Path, metavar="PATH", help="the CT that was analysed: DICOM folder, NRRD, NIfTI")
    add_server_options(view)
    view.add_argument("--port", type=int, default=0, help="port of the page, 0 for a free one (default 0)")
    view.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    view.add_argument("--allow-remote", action="store_true", help="consent to a --host that is not loopback")
    view.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    view.set_defaults(run=_view)


def _view(given: argparse.Namespace) -> int:
    if not 0 <= given.port <= 65535:
        raise InvalidInput("There is no such port.", "Give --port a number from 0 to 65535.")
    if not is_loopback(given.host) and not given.allow_remote:
        raise InvalidInput(
            f"On {given.host} other machines could open the page, and it has no encryption of its own.",
            "Leave --host out, or add --allow-remote and put TLS in front of it.",
        )
    if given.server is None and not Path(given.case).is_dir():
        raise InvalidInput(
            f"There is no folder {given.case}.",
            "Give the --out folder of lungxai analyze, or --server URL with the id of a case.",
        )
    from .rendering import require_rendering

    require_rendering()
    app = _from_server(given) if given.server else _from_folder(given)
    from .viewer_app import new_token

    try:
        app.start(new_token(), given.host, given.port, lambda url: _said(url, given.no_browser))
    except OSError as fault:
        raise ServerError(
            f"The page cannot be served on {given.host}, port {given.port}: {fault.strerror}.",
            "Choose another --port, or leave it out.",
        ) from fault
    return 0


def _from_folder(given: argparse.Namespace) -> Any:
    from .case_files import checked_grid, input_ct, read_case
    from .logics import SceneLogics
    from .viewer_app import ViewerApp
    from .volumes import SERIES_ATTRIBUTE, dicom_source, load_ct

    folder = Path(given.case)
    logics = SceneLogics.headless()
    case = read_case(logics, folder)
    path = given.ct or input_ct(folder)
    if path is None:
        raise InvalidInput("The folder holds no CT.", "Give the CT that was analysed with --ct.")
    ct_node = load_ct(logics, path)
    checked_grid(ct_node, case.mask)
    if dicom_source(ct_node) is None:
        # A file without a series is named by whoever reads it; that it is the same CT was seen by its grid.
        ct_node.SetAttribute(SERIES_ATTRIBUTE, case.radiology.series_uid)
    return ViewerApp(logics, ct_node, case)


def _from_server(given: argparse.Namespace) -> Any:
    from .case_results import fetch
    from .logics import SceneLogics
    from .viewer_app import ViewerApp
    from .volumes import load_ct, volume_node

    with named_client(given) as client:
        case = fetch(client, given.case)
        volume = None if given.ct else client.volume(case.volume_sha256)
    logics = SceneLogics.headless()
    ct_node = load_ct(logics, given.ct) if volume is None else volume_node(logics, volume, "CT")
    return ViewerApp(logics, ct_node, case)


def _said(url: str, no_browser: bool) -> None:
    print(f"The case is at {url}\nCtrl-C ends it.", flush=True)
    if not no_browser:
        webbrowser.open(url)
