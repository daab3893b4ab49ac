"""``lungxai models``: list what is installed, add a model of somebody else, run it on a CT, remove it again."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .contract.errors import InvalidInput, LungXAIError
from .contract.values import CLASSES
from .model_bundle import MODELS_ROOT, Bundle, added_root, is_model_name

_EXAMPLES = """\
examples:
  lungxai models list
  lungxai models list --json
  lungxai models list --models /srv/lungxai-models

Ends with 1 where a model is broken. The card of each model is NAME/docs/README.md in its folder.
Research use only, not a diagnosis.
"""
_ADD = """\
examples:
  lungxai models add ~/Downloads/lung-tumor-resnet34.tcga-luad          a folder with both files, as WSInfer has it
  lungxai models add model.pt --config config.json --name mine --license "CC BY 4.0, A. Author"
  lungxai models add model.pt --config config.json --name mine --yes \\
      --class benign=normal --class acinar=adenocarcinoma --class solid=adenocarcinoma
  lungxai serve --slide-model mine                                      then slides go to it, and
  lungxai qupath classify study/project.qpproj --model mine             QuPath shows what it says

The file is TorchScript, the configuration is that of the WSInfer zoo (and of QuPath's WSInfer extension). A TorchScript
file is a program, and adding it runs it: add only what you trust. With a --class for each of its classes their
probabilities are summed into the five of this suite, uncalibrated; otherwise only its own classes are shown, and the
fusion leaves it out. Nothing here validates an added model. Research use only, not a diagnosis.

  lungxai models add ~/Downloads/lung_nodule_ct_detection               a MONAI Bundle: configs, models
  lungxai models run lung_nodule_ct_detection dicom_folder --out result

A MONAI Bundle takes one CT and segments it, or is a RetinaNet detector. Its configuration is read as data: networks and
transforms of MONAI alone. One that asks for other code is refused, unless you give --trust-code. TorchScript (model.ts)
is taken before weights (model.pt) where a bundle has both.
"""
_RUN = """\
examples:
  lungxai models run lung_nodule_ct_detection dicom_folder --out result
  lungxai models run my_segmentation ct.nrrd --out result --channel 1

segmentation.nrrd lies on exactly the CT's grid. nodules.json holds sizes, and malignancy by this suite's own model. Of
a detector, detections.json holds its boxes, and what lies in them is outlined by this suite's own network. Nothing here
validates an added model. Research use only, not a diagnosis.
"""
_REMOVE = """\
example:
  lungxai models remove mine

A model that ships is never removed.
"""


def register(subparsers: Any) -> None:
    """Add ``models`` to the command line."""
    models = subparsers.add_parser("models", help="list, add and remove models", description="Installed models.")
    commands = models.add_subparsers(metavar="COMMAND", required=True)
    every = "Every model, its coverage, and whether it is whole."
    listed = _parser(commands, "list", "every model with its coverage", every, _EXAMPLES)
    listed.add_argument("--json", action="store_true", help="for a program")
    listed.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR", help="folder of the models")
    listed.set_defaults(run=_list)
    add = _parser(commands, "add", "add a model of others: TorchScript for slides, a MONAI Bundle for CT",
                  "Add a TorchScript model with its WSInfer JSON, or a MONAI Bundle for CT.", _ADD)  # fmt: skip
    add.add_argument("source", type=Path, metavar="FOLDER|MODEL.pt",
                     help="a MONAI Bundle's folder; torchscript_model.pt, or its folder")  # fmt: skip
    add.add_argument("--config", type=Path, metavar="JSON", help="its configuration (default: config.json beside it)")
    add.add_argument("--name", metavar="NAME", help="name of the model (default: that of its folder)")
    add.add_argument(
        "--class", action="append", default=[], dest="classes", metavar="THEIRS=OURS",
        help=f"assign a class of its own to one of: {', '.join(CLASSES)}; once for each of its classes",
    )  # fmt: skip
    add.add_argument("--license", metavar="TEXT", help="licence of the weights (default: LICENSE beside the model)")
    add.add_argument("--replace", action="store_true", help="an added model of the same name goes")
    add.add_argument("--yes", action="store_true", help="you trust the file; do not ask")
    add.add_argument("--trust-code", action="store_true",
                     help="of a MONAI Bundle: you trust its configuration, which is run as a program")  # fmt: skip
    add.set_defaults(run=_add)
    ct = _parser(commands, "run", "a MONAI Bundle that was added, on a CT",
                 "Run a MONAI Bundle that was added on one CT, and measure what it finds.", _RUN)  # fmt: skip
    ct.add_argument("name", metavar="NAME", help="as `lungxai models list` says it")
    ct.add_argument("ct", type=Path, metavar="CT", help="DICOM folder, NRRD or NIfTI")
    ct.add_argument("--out", type=Path, required=True, metavar="DIR", help="segmentation.nrrd, nodules.json")
    ct.add_argument("--channel", type=int, action="append", metavar="N",
                    help="of a segmentation: its channel; may be repeated (default: all but background)")  # fmt: skip
    ct.add_argument("--score", type=float, default=0.3, metavar="S", help="of a detector: least score (default 0.3)")
    ct.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    ct.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR", help="folder of the models that ship")
    ct.set_defaults(run=_run)
    remove = _parser(commands, "remove", "remove a model that was added", "Remove a model that was added.", _REMOVE)
    remove.add_argument("name", metavar="NAME", help="as `lungxai models list` says it")
    remove.set_defaults(run=_remove)
    for parser in (listed, add, remove, ct):
        parser.add_argument(
            "--added-models", type=Path, default=None, metavar="DIR",
            help=f"folder of the models that you added (default {added_root()})",
        )  # fmt: skip


def _parser(commands: Any, name: str, short: str, long: str, examples: str) -> Any:
    return commands.add_parser(
        name, help=short, description=long, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def described(folder: Path) -> dict[str, Any]:
    """One model: what it is, or why it cannot be used."""
    try:
        bundle = Bundle.load(folder)
    except LungXAIError as fault:
        return {"folder": folder.name, "broken": fault.message, "remedy": fault.remedy}
    coverage = list(bundle.own["coverage"])
    return {
        "folder": folder.name,
        "model_id": bundle.model_id,
        "modality": bundle.own["modality"],
        "task": bundle.metadata.get("task", ""),
        "coverage": coverage,
        "not_assessed": [name for name in CLASSES if name not in coverage],
        "other_classes": list(bundle.own.get("other_classes", ())),
        "added": bundle.own.get("added") is True,
        "calibrated": bundle.own["calibrated"],
        "weights_sha256": bundle.weights_sha256,
        "bytes": sum(bundle.path(name).stat().st_size for name in bundle.own["weights"]),
        "data_source": bundle.metadata.get("data_source", ""),
        "trained_at_commit": bundle.own.get("training", {}).get("commit", ""),
    }


def _list(given: argparse.Namespace) -> int:
    roots = [given.models, _added(given)]
    folders = [path.parents[1] for root in roots for path in sorted(root.glob("*/configs/metadata.json"))]
    models = [described(folder) for folder in folders]
    broken = any("broken" in model for model in models)
    if given.json:
        print(json.dumps({"models": models}, indent=1))
        return int(broken)
    if not models:
        print(f"There are no models in {given.models}. Install lungxai again, or name their folder with --models.")
        return 1
    for model in models:
        if "broken" in model:
            print(f"{model['folder']}\n  BROKEN: {model['broken']} {model['remedy']}\n")
            continue
        mark = ", added, not validated here" if model["added"] else ""
        own = f"  its classes   {', '.join(model['other_classes'])}\n" if model["other_classes"] else ""
        print(
            f"{model['model_id']} ({model['modality']}, {model['bytes'] / 1e6:.1f} MB{mark})\n"
            f"  task          {model['task']}\n"
            f"{own}"
            f"  knows         {', '.join(model['coverage']) or 'no class by name'}\n"
            f"  not assessed  {', '.join(model['not_assessed'])}\n"
            f"  calibrated    {'yes' if model['calibrated'] else 'no'}\n"
            f"  weights       sha256 {model['weights_sha256'][:16]}...\n"
            f"  data          {model['data_source']}\n"
        )
    print("Research use only, not a diagnosis.")
    return int(broken)


def _added(given: argparse.Namespace) -> Path:
    return added_root() if given.added_models is None else Path(given.added_models)


def _add(given: argparse.Namespace) -> int:
    if (given.source / "configs" / "metadata.json").is_file():
        return _add_monai(given)
    from .wsinfer_bundle import Wanted, add_model

    if given.trust_code:
        raise InvalidInput("--trust-code belongs to MONAI Bundles.", "Leave it out, or name the bundle's folder.")
    wanted = Wanted.found(given.source, given.config, given.name, tuple(given.classes), given.license)
    size = wanted.script.stat().st_size / 1e6
    print(f"{wanted.script} ({size:.1f} MB)\n  sha256   {wanted.sha256}")
    print(f"  classes  {', '.join(wanted.config.class_names)}")
    if wanted.config.unused:
        print(f"  not used of its configuration: {', '.join(wanted.config.unused)}")
    print("A TorchScript file is a program; adding it runs it. Add it only if you trust whoever made it.", flush=True)
    if not (given.yes or _trusted()):
        raise InvalidInput("Nothing was added.", "Answer yes, or give --yes, where you trust the file.")
    bundle = add_model(wanted, _added(given), given.replace)
    own = bundle.own
    print(f"Added {bundle.model_id} to {bundle.folder}; not validated here.")
    print(f"  tiles    {own['tile_px']} x {own['tile_px']} pixels at {own['spacing_um_px']:g} µm per pixel")
    if wanted.coverage:
        print(f"  summed into {', '.join(wanted.coverage)}, uncalibrated")
    else:
        left = [name for name in wanted.config.class_names if name not in wanted.mapping]
        print(f"  its own classes only, and not in the fusion: not assigned are {', '.join(left)}")
    print(f"  heatmaps {', '.join(own['methods']) or 'none'}")
    name = wanted.name
    print(f"Use it: lungxai serve --slide-model {name}, or lungxai qupath classify PROJECT --model {name}")
    print("Research use only, not a diagnosis.")
    return 0


def _add_monai(given: argparse.Namespace) -> int:
    from .monai_bundle import SCRIPT, Found, add_bundle

    if given.config or given.classes:
        raise InvalidInput("--config and --class belong to models of slides.", "Leave them out for a MONAI Bundle.")
    found = Found.at(given.source, given.name, given.license, given.trust_code)
    print(f"{given.source}: a MONAI Bundle, {found.task}\n  {found.weights}  sha256 {found.sha256}")
    print(f"  channels  {', '.join(f'{c} {n}' for c, n in found.channels.items()) or 'not named'}")
    print("  licence   " + "\n            ".join(found.licence.strip().splitlines()[:12]))
    if found.trusted:
        print("Its configuration is a program, and will be run as it is each time the model is used.")
    if found.weights == SCRIPT:
        print("A TorchScript file is a program; adding it runs it. Add it only if you trust whoever made it.")
    if (found.trusted or found.weights == SCRIPT) and not (given.yes or _trusted()):
        raise InvalidInput("Nothing was added.", "Answer yes, or give --yes, where you trust the bundle.")
    bundle = add_bundle(found, _added(given), given.replace)
    print(f"Added {bundle.model_id} to {bundle.folder}; not validated here.")
    print(f"Use it: lungxai models run {found.name} CT --out DIR\nResearch use only, not a diagnosis.")
    return 0


def _run(given: argparse.Namespace) -> int:
    from .ct_reader import read_ct
    from .monai_run import run_on_ct

    folder = _added(given) / given.name
    if not is_model_name(given.name) or not (folder / "configs" / "metadata.json").is_file():
        raise InvalidInput(f"There is no added model {given.name!r:.80}.", "See `lungxai models list`, or add it.")
    if not 0 <= given.score <= 1:
        raise InvalidInput("A score lies between 0 and 1.", "Give --score 0.3.")
    bundle = Bundle.load(folder)
    volume, notes = read_ct(given.ct)
    told = run_on_ct(volume, bundle, given.out, channels=given.channel, least=given.score, device=given.device,
                     models_root=given.models)  # fmt: skip
    print("\n".join([*notes, f"{len(told['nodules'])} nodules in {given.out}, found by {bundle.model_id}, "
                                "not validated here. Research use only, not a diagnosis."]))  # fmt: skip
    return 0


def _trusted() -> bool:
    if not sys.stdin.isatty():
        return False
    try:
        return input("Do you trust this file? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _remove(given: argparse.Namespace) -> int:
    from .wsinfer_bundle import remove_model

    print(f"Removed {remove_model(given.name, _added(given))}.")
    return 0
