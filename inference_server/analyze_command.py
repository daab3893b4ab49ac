"""``lungxai analyze`` and ``lungxai demo``."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import METHODS
from shared_models.contract.server_option import add_server_options

from .command_client import add_report_options, named_or_own_client
from .settings import DEVICES

_ANALYZE_EXAMPLES = """\
examples:
  lungxai analyze --ct dicom_folder --out result
  lungxai analyze --ct chest.nrrd --slide biopsy.svs --clinical patient.json --out result
  lungxai analyze --slide picture.png --mpp 0.5 --out result --explain gradcam
  lungxai analyze --ct dicom_folder --out result --dicom --fhir          and what goes to the archive and the record
  lungxai analyze --ct chest.nii.gz --point -41,131,-303 --out result     a nodule that you see, LPS mm
  LUNGXAI_TOKEN=... lungxai analyze --ct dicom_folder --out result --server http://127.0.0.1:8765

Without --server a server is started for this case and ends with it. Clinical fields, all optional:
{"age_years": 67, "sex": "female", "smoking": "former", "pack_years": 30}

Research use only. Not a medical device, not a diagnosis.
"""
_DEMO_EXAMPLES = """\
examples:
  lungxai demo                    a synthetic case, its results in out/
  lungxai demo --out /tmp/look

Research use only. The case is drawn by a program: it shows that the chain runs, not how good the models are.
"""


def register(subparsers: Any) -> None:
    """Add ``analyze`` and ``demo`` to the command line."""
    analyze = subparsers.add_parser(
        "analyze",
        help="analyse a CT, a slide and clinical fields of one case",
        description="Analyse one case and write its files. Any of the three inputs may be left out.",
        epilog=_ANALYZE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    analyze.add_argument("--ct", type=Path, metavar="PATH", help="DICOM folder, NIfTI or NRRD")
    analyze.add_argument("--slide", type=Path, metavar="PATH", help="SVS, TIFF, OME-TIFF, NDPI, MRXS; or PNG, JPG")
    analyze.add_argument("--mpp", type=float, metavar="UM", help="micrometres per pixel, where the slide has none")
    analyze.add_argument("--clinical", type=Path, metavar="FILE.json", help="clinical fields")
    analyze.add_argument("--point", action="append", default=[], metavar="X,Y,Z", help="a nodule, LPS mm")
    analyze.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    analyze.add_argument("--synthetic", action="store_true", help="label the case as drawn or composed")
    analyze.add_argument(
        "--explain", action="append", choices=METHODS, metavar="METHOD",
        help=f"heatmap, may be repeated (default gradcam): {', '.join(METHODS)}",
    )  # fmt: skip
    analyze.add_argument("--fhir", action="store_true", help="a FHIR R4 bundle too")
    analyze.add_argument("--dicom", action="store_true", help="DICOM objects for the archive too; --ct is DICOM then")
    add_report_options(analyze)
    _server(analyze)
    analyze.set_defaults(run=_analyze)
    demo = subparsers.add_parser(
        "demo",
        help="run a synthetic case through everything",
        description="Draw a synthetic case, analyse it, and say where to look and what was found.",
        epilog=_DEMO_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder (default out)")
    demo.add_argument("--seed", type=int, default=0, help="another seed, another case (default 0)")
    _server(demo)
    demo.set_defaults(run=_demo)


def _server(parser: argparse.ArgumentParser) -> None:
    add_server_options(parser)
    parser.add_argument("--device", choices=DEVICES, help="of a server that is started here (default auto)")


def _point(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise InvalidInput(f"{text!r} is not a point.", "Give x,y,z in LPS mm, for example --point=-41,131,-303.")
    return values


def _analyze(given: argparse.Namespace) -> int:
    from .analyze import Inputs, analyze, checked
    from .exports import Wanted

    points = [_point(text) for text in given.point]
    inputs = Inputs(given.ct, given.slide, given.clinical, given.mpp, points)
    if given.dicom and (given.ct is None or not given.ct.is_dir()):
        raise InvalidInput("DICOM objects need the CT as DICOM.", "Give --ct FOLDER, or leave --dicom out.")
    wanted = Wanted(not given.no_pdf, given.paper, given.fhir, ct=given.ct if given.dicom else None)
    checked(inputs, given.out, given.explain or ())
    with named_or_own_client(given) as client:
        case = analyze(inputs, client, given.out, given.explain or ("gradcam",), given.synthetic, wanted)
    _said(case, given.out)
    return 0


def _demo(given: argparse.Namespace) -> int:
    from .analyze import analyze
    from .demo import found, make_case
    from .exports import Wanted

    print("Drawing a synthetic case ...", file=sys.stderr)
    planted = make_case(given.out / "input", given.seed)
    with named_or_own_client(given) as client:
        wanted = Wanted(fhir=True, ct=planted.inputs.ct)
        case = analyze(planted.inputs, client, given.out, ("gradcam",), True, wanted)
    _said(case, given.out)
    print("\nWhat was planted, and what was found (SYNTHETIC: says nothing about patients):")
    for line in found(planted, case, given.out):
        print(f"  {line}")
    return 0


def _said(case: dict[str, Any], out: Path) -> None:
    from shared_models.contract.colours import CLASS_LABELS

    print(f"\n{case['notice']}{' SYNTHETIC CASE.' if case['synthetic'] else ''}")
    for note in case["notes"]:
        print(f"  note: {note}")
    for nodule in case.get("radiology", {}).get("nodules", ()):
        size = f"{nodule['long_axis_mm']:.0f} x {nodule['short_axis_mm']:.0f} mm"
        rated = "not assessed" if nodule["malignancy"] is None else f"{nodule['malignancy']:.2f}"
        print(f"  nodule {nodule['label']}: {size}, malignancy (as readers rate it) {rated}")
    for name, value in case["fusion"]["probabilities"].items():
        print(f"  {CLASS_LABELS[name]:26s} {'not assessed' if value is None else f'{100 * value:.0f} %'}")
    if case["fusion"]["abstention"]:
        print(f"  No answer: {case['fusion']['abstention']['reason']}")
    print(f"\nLook at {out / 'report.html'}; all files are in {out}:")
    for path in sorted(p for p in (*out.iterdir(), *out.glob("dicom/*.dcm")) if p.is_file()):
        print(f"  {path.relative_to(out)}")
