"""``lungxai explain``: one tile or one nodule, all methods side by side as a figure."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput, LungXAIError
from shared_models.contract.results import CT_TARGETS, METHODS
from shared_models.contract.server_option import add_server_options
from shared_models.whole_file import written

from .command_client import named_or_own_client
from .settings import DEVICES

_EXAMPLES = """\
examples:
  lungxai explain --tile tile.png                                   a picture taken as one tile, its predicted class
  lungxai explain --tile field.png --mpp 0.5 --target squamous_cell --contrast adenocarcinoma
  lungxai explain --slide biopsy.svs --at 18200,7400 --method gradcam --method occlusion
  lungxai explain --ct dicom_folder --point=-41,131,-303 --out nodule.png --json nodule.json
  lungxai explain --ct chest.nrrd --point=-41,131,-303 --target malignancy

Each map has its own scale: compare where methods look, not how strongly. How far each method can be trusted on this
model stands under its map. Without --server a server is started for this figure and ends with it; nothing is kept.

Research use only. Not a medical device, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``explain`` to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="what the model looked at, on one tile or nodule: all methods side by side",
        description="Explain one tile or one nodule by every method, as one figure.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--tile", type=Path, metavar="PICTURE", help="PNG, JPG or TIFF of one tile")
    what.add_argument("--slide", type=Path, metavar="SLIDE", help="a slide, with --at")
    what.add_argument("--ct", type=Path, metavar="PATH", help="DICOM folder, NIfTI or NRRD, with --point")
    parser.add_argument("--at", metavar="X,Y", help="middle of the tile on --slide, level-0 pixels")
    parser.add_argument("--point", metavar="X,Y,Z", help="the nodule in --ct, LPS mm")
    parser.add_argument("--mpp", type=float, metavar="UM", help="micrometres per pixel, where the file has none")
    parser.add_argument(
        "--target", metavar="CLASS",
        help=f"class of a tile (default: the predicted one); of a CT {' or '.join(CT_TARGETS)} (default nodule)",
    )  # fmt: skip
    parser.add_argument("--contrast", metavar="CLASS", help="of a tile: what speaks for the target, not for this")
    parser.add_argument(
        "--method", action="append", choices=METHODS, default=[], metavar="METHOD",
        help=f"may be repeated (default all that the model has): {', '.join(METHODS)}",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("explain.png"), metavar="FILE.png", help="default explain.png")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also the numbers, with how each map was made")
    parser.add_argument("--synthetic", action="store_true", help="label the figure as of drawn or composed data")
    add_server_options(parser)
    parser.add_argument("--device", choices=DEVICES, help="of a server that is started here (default auto)")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    from .explain import Asked

    place = _place(given)
    for path in (given.out, given.json):
        _checked_target(path)
    asked = Asked(tuple(dict.fromkeys(given.method)), given.target, given.contrast, given.synthetic)
    with named_or_own_client(given) as client:
        explained = _explained(client, given, place, asked)
    written(given.out, _png(explained.picture(), explained.record))
    if given.json is not None:
        written(given.json, (json.dumps(explained.record, indent=1, allow_nan=False) + "\n").encode())
    _said(explained, given.out)
    return 0


def _place(given: argparse.Namespace) -> tuple[float, ...]:
    """Where on the slide or in the CT; empty for a tile."""
    pairs = (("--at", given.at, "--slide", given.slide), ("--point", given.point, "--ct", given.ct))
    for flag, value, of, wanted in pairs:
        if (value is None) != (wanted is None):
            fault = f"{flag} says where on {of}" if wanted is None else f"{of} needs {flag}"
            raise InvalidInput(f"{fault}.", "See `lungxai explain --help`.")
    if given.ct is not None and given.mpp is not None:
        raise InvalidInput("--mpp is for tiles and slides: a CT says its spacing itself.", "Leave --mpp out.")
    if given.ct is not None and given.contrast is not None:
        raise InvalidInput("On a CT nothing is contrasted.", "Leave --contrast out, or explain a tile.")
    for path in (given.tile, given.slide, given.ct):
        if path is not None and not (path.is_file() or path.is_dir()):
            raise InvalidInput("What is to be explained is not there, or is no file.", "Check the path.")
    if given.at is not None:
        return _numbers(given.at, 2, "a place on a slide", "x,y in level-0 pixels, for example --at 18200,7400")
    if given.point is not None:
        return _numbers(given.point, 3, "a point", "x,y,z in LPS mm, for example --point=-41,131,-303")
    return ()


def _numbers(text: str, count: int, what: str, form: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InvalidInput(f"{text!r:.80} is not {what}.", f"Give {form}.")
    return values


def _explained(client: Client, given: argparse.Namespace, place: Sequence[float], asked: Any) -> Any:
    from .explain import checked, explain_nodule, explain_tile, model_of
    from .explain_tile import tile_of_picture, tile_of_slide

    model = model_of(client, "radiology" if given.ct is not None else "pathology")
    methods = checked(asked, model)
    tile = None
    if given.tile is not None:
        tile = tile_of_picture(given.tile, given.mpp, model)
    elif given.slide is not None:
        tile = tile_of_slide(given.slide, given.mpp, place, model)
    case_id = client.create_case(synthetic=asked.synthetic)
    try:
        if tile is not None:
            return explain_tile(client, case_id, tile, asked, methods)
        return explain_nodule(client, case_id, given.ct, place, asked, methods)
    except KeyboardInterrupt:
        client.stop_jobs(case_id)
        raise
    finally:
        # The figure is all that was wanted; a server that several people use is not filled with single tiles.
        with contextlib.suppress(LungXAIError):
            client.delete_case(case_id)


# --- files


def _checked_target(path: Optional[Path]) -> None:
    if path is None:
        return
    try:
        if path.is_dir():
            raise OSError
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as fault:
        raise InvalidInput(f"{path} cannot be written.", "Choose a file in a folder that is there.") from fault


def _png(picture: Any, record: dict[str, Any]) -> bytes:
    from PIL import Image, PngImagePlugin

    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", record["notice"] + (" SYNTHETIC." if record["synthetic"] else ""))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True, pnginfo=said)
    return buffer.getvalue()


# --- the terminal


def _said(explained: Any, out: Path) -> None:
    from shared_models.contract.colours import METHOD_LABELS
    from shared_models.explain_figure import number

    subject, record = explained.subject, explained.record
    print(f"\n{subject.heading}. {record['notice']}{' SYNTHETIC.' if record['synthetic'] else ''}")
    for line in subject.lines:
        print(f"  {line}")
    for note in record["notes"] if record["modality"] == "radiology" else ():  # of a tile they are on whole slides
        print(f"  note: {note}")
    print(f"\n  {'method':<21s}{'most for':>11s}{'against':>11s}{'sum':>11s}  {'completeness':<13s} trust")
    for numbers in record["maps"]:
        row = "".join(f"{number(numbers[key]):>11s}" for key in ("most_for", "most_against", "sum"))
        print(f"  {METHOD_LABELS[numbers['method']]:<21s}{row}  {_completeness(numbers):<13s} {numbers['trust']}")
    if any(numbers["parameters"].get("converged") is False for numbers in record["maps"]):
        print("  Integrated Gradients did not reach its tolerance: its values add up less exactly than was asked for.")
    if record["modality"] == "radiology":
        print("  These are of the whole nodule; the figure's scales are of the slice that it shows.")
    print(f"\nLook at {out}")


def _completeness(numbers: dict[str, Any]) -> str:
    """How far the values are from adding up to the difference of scores, of the method that promises it."""
    error = numbers["parameters"].get("completeness_error")
    return "" if error is None else f"{100 * error:.2g} % off"
