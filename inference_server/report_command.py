"""``lungxai report``: the tumour board's page of a case, and the standards it travels in."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared_models.contract.client import Client
from shared_models.contract.server_option import add_server_options, named_client

from .command_client import add_report_options

_EXAMPLES = """\
examples:
  lungxai report case-1f2e --out board                    of a case in this user's data folder
  lungxai report case-1f2e --out board --paper letter --fhir
  lungxai report case-1f2e --out board --dicom ct_folder  and DICOM objects that go back to the archive
  LUNGXAI_TOKEN=... lungxai report case-1f2e --out board --server http://127.0.0.1:8765

`lungxai report --list` names the cases. HTML, PDF and FHIR name the patient by the case's pseudonymous id alone; DICOM
objects keep the patient module of the series. `lungxai dicom send` sends them, and only when asked.

Research use only. Not a medical device, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``report`` to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="write a case's report as HTML and PDF, and as DICOM and FHIR",
        description="Write the report of a case that a server keeps, and what goes to the archive and the record.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("case", nargs="?", metavar="CASE", help="the case's id")
    parser.add_argument("--list", action="store_true", help="name the cases instead")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the files")
    add_report_options(parser)
    parser.add_argument("--fhir", action="store_true", help="a FHIR R4 bundle too")
    parser.add_argument("--dicom", type=Path, metavar="FOLDER", help="the CT's DICOM folder: DICOM objects too")
    parser.add_argument("--slide", type=Path, metavar="PATH", help="the DICOM slide: annotations of its tiles too")
    parser.add_argument("--identified", action="store_true", help="the FHIR bundle names the patient as --dicom does")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a server's data folder, where none is running")
    add_server_options(parser)
    parser.set_defaults(run=_run, error=parser.error)


@contextlib.contextmanager
def _client(given: argparse.Namespace) -> Iterator[Client]:
    """The server that was named, or one over the data folder, for as long as it takes; it loads no model."""
    if given.server:
        with named_client(given) as client:
            yield client
        return
    from .local import LocalServer
    from .settings import Settings

    folder = given.data_dir or Settings.read(os.environ).data_dir
    with LocalServer(folder, ready_s=0) as (url, token), Client(url, token) as client:
        yield client


def _run(given: argparse.Namespace) -> int:
    from .exports import Wanted, write_exports

    if given.list:
        with _client(given) as client:
            for case in client.cases():
                parts = [name for name in ("radiology", "pathology", "clinical", "fusion") if case[name]]
                label = "  SYNTHETIC" if case["synthetic"] else ""
                print(f"{case['case_id']}  {case['created'][:16]}  {', '.join(parts) or 'empty'}{label}")
        return 0
    if not given.case or given.out is None:
        given.error("name a CASE and --out DIR, or use --list")
    wanted = Wanted(not given.no_pdf, given.paper, given.fhir, given.identified, given.dicom, given.slide)
    with _client(given) as client:
        files, notes = write_exports(client, given.case, given.out, wanted)
    print("Research use only, not a diagnosis.")
    for note in notes:
        print(note, file=sys.stderr)
    for path in files:
        print(path)
    return 0
