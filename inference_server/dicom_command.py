"""``lungxai dicom``: results to the hospital's archive and series out of it, on demand alone.

nodes      the archives that are configured (dicom_nodes.py)
echo       whether one of them answers and knows us
send       results to it (dicom_send.py)
find       the series of one patient or study (dicom_query.py)
receive    one series (dicom_receive.py)
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shared_models.contract.notice import NOTICE

_EXAMPLES = """\
examples:
  lungxai dicom nodes --example               how an archive is configured
  lungxai dicom nodes                         the archives that are
  lungxai dicom echo pacs                     whether one answers and knows us
  lungxai dicom find --from archive --study 1.2.840.113619.2.1
  lungxai dicom receive --from archive --series 1.2.840.113619.2.1.3 --out ct
  lungxai analyze --ct ct --out result
  lungxai dicom send result/dicom --to archive

Nothing is ever sent or fetched unless you name the archive. Research use only, not a diagnosis.
"""
_NODES = """\
examples:
  lungxai dicom nodes
  lungxai dicom nodes --example > ~/.config/lungxai/nodes.toml     then correct it, and: chmod 600

Another file is named by LUNGXAI_NODES. Only its owner or the administrator may be able to write to it.
"""
_ECHO = """\
examples:
  lungxai dicom echo pacs
"""
_SEND = """\
examples:
  lungxai dicom send result/dicom --to archive
  lungxai dicom send result/dicom/segmentation.dcm result/dicom/measurements.dcm --to pacs

The objects hold the patient's name, as the CT does that they belong to. Only what LungXAI wrote is sent, unless
--others is given. Ctrl-C stops after the object that is on its way. Exit code: 0 all stored, 1 some were not, 2 none
could be sent. Research use only, not a diagnosis.
"""
_FIND = """\
examples:
  lungxai dicom find --from archive --study 1.2.840.113619.2.1
  lungxai dicom find --from archive --patient 4711
"""
_RECEIVE = """\
examples:
  lungxai dicom receive --from archive --series 1.2.840.113619.2.1.3 --out ct
  lungxai dicom receive --from pacs --series 1.2.840.113619.2.1.3 --study 1.2.840.113619.2.1 --out ct
  lungxai dicom receive --folder /media/cd --series 1.2.840.113619.2.1.3 --out ct

Stopped by Ctrl-C or a broken network, it goes on where it was when the same command is given again.
"""


def register(subparsers: Any) -> None:
    """Add ``dicom`` to the command line."""
    parser = subparsers.add_parser(
        "dicom", help="results to the hospital's archive, series out of it", epilog=_EXAMPLES,
        description="DICOM to and from an archive that you name, on demand alone.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, run: Any, what: str, examples: str) -> argparse.ArgumentParser:
        one = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=examples,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        one.set_defaults(run=run)
        return one

    nodes = action("nodes", _nodes, "the archives that are configured", _NODES)
    nodes.add_argument("--example", action="store_true", help="print a file of nodes to start from")
    echo = action("echo", _echo, "try whether an archive answers and knows us", _ECHO)
    echo.add_argument("node", metavar="NODE", help="its name in the file of nodes")
    send = action("send", _send, "send results to an archive", _SEND)
    send.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="DICOM files, or folders with them")
    send.add_argument("--to", required=True, metavar="NODE", help="the archive")
    send.add_argument("--others", action="store_true", help="send objects too that LungXAI did not write")
    find = action("find", _find, "list the series of one study or patient", _FIND)
    find.add_argument("--from", dest="source", required=True, metavar="NODE", help="the archive")
    whose = find.add_mutually_exclusive_group(required=True)
    whose.add_argument("--study", metavar="UID", help="StudyInstanceUID")
    whose.add_argument("--patient", metavar="ID", help="PatientID, in full")
    receive = action("receive", _receive, "fetch one series", _RECEIVE)
    source = receive.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", dest="source", metavar="NODE", help="the archive")
    source.add_argument("--folder", type=Path, metavar="DIR", help="a folder that holds the series among others")
    receive.add_argument("--series", required=True, metavar="UID", help="SeriesInstanceUID")
    receive.add_argument("--study", metavar="UID", help="its study, for archives that cannot look for a series alone")
    receive.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder for it")


def _nodes(given: argparse.Namespace) -> int:
    from shared_models.contract.errors import LungXAIError

    from .dicom_nodes import EXAMPLE, nodes, nodes_file

    if given.example:
        print(EXAMPLE, end="")
        return 0
    known = nodes()
    if not known:
        print(f"No archive is configured; nothing can be sent or fetched. The file of nodes would be {nodes_file()}.")
        print("`lungxai dicom nodes --example` prints one to start from.")
    for name, node in sorted(known.items()):
        try:
            node.check()
            ready = ""
        except LungXAIError:
            ready = "  (not used: its entry has no consent = true)"
        print(f"{name}  {node.kind}  {node.address}{ready}")
    return 0


def _echo(given: argparse.Namespace) -> int:
    from .dicom_association import echo
    from .dicom_nodes import DimseNode, node_named
    from .dicom_web import echo_web

    node = node_named(given.node)
    if isinstance(node, DimseNode):
        echo(node)
    else:
        echo_web(node)
    print(f"{node.name} answers.")
    return 0


def _send(given: argparse.Namespace) -> int:
    from .dicom_nodes import node_named
    from .dicom_send import CHANGED, STORED, send
    from .progress import ProgressBar

    node = node_named(given.to)
    with _stoppable() as stopped, ProgressBar(f"Sending to {node.name}") as bar:
        answers = send(given.paths, node, bar.update, stopped, others=given.others)
    for one in answers:
        why = f": {one.words}" if one.words else ""
        print(f"{one.path.name}  {one.what}  {one.state}{f' ({one.status})' if one.status else ''}{why}")
    stored = sum(one.state in (STORED, CHANGED) for one in answers)
    print(f"{stored} of {len(answers)} objects are in {node.name}. {NOTICE}")
    return 0 if stored == len(answers) else 1 if stored else 2


def _find(given: argparse.Namespace) -> int:
    from .dicom_nodes import node_named
    from .dicom_query import MOST_FOUND, find

    found = find(node_named(given.source), study=given.study, patient=given.patient)
    for one in found:
        images = "?" if one.images is None else one.images
        print(f"{one.date or '-':8s}  {one.modality or '-':4s}  {images:>5} images  {one.description[:64]}".rstrip())
        print(f"          --series {one.series_uid} --study {one.study_uid}")
    print(f"{len(found)} series{', the first ones only' if len(found) >= MOST_FOUND else ''}.", file=sys.stderr)
    return 0 if found else 1


def _receive(given: argparse.Namespace) -> int:
    from shared_models.contract.errors import Cancelled

    from .dicom_nodes import node_named
    from .dicom_receive import receive
    from .progress import ProgressBar

    source = given.folder if given.folder is not None else node_named(given.source)
    try:
        with _stoppable() as stopped, ProgressBar("DICOM series") as bar:
            came = receive(source, given.series, given.out, bar.update, stopped, study_uid=given.study)
    except Cancelled as fault:
        print(f"lungxai: {fault}", file=sys.stderr)
        return 130
    before = came.images - came.fetched
    print(f"{came.images} images, {came.size / 1e6:.1f} MB, in {came.folder}", end="")
    print(f"; {before} of them were there from the attempt before." if before else ".")
    return 0


@contextlib.contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, so that what is on its way comes to its end; pressed again, it interrupts at once."""
    pressed = False

    def note(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
