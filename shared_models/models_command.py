"""``lungxai models``: list what is installed, add a TorchScript model of somebody else, remove it again."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .contract.errors import InvalidInput, LungXAIError
from .contract.values import CLASSES
from .model_bundle import MODELS_ROOT, Bundle, added_root

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
    add = _parser(
        commands, "add", "add a TorchScript model for slides", "Add a TorchScript model with its WSInfer JSON.", _ADD
    )
    add.add_argument("source", type=Path, metavar="FOLDER|MODEL.pt", help="torchscript_model.pt, or its folder")
    add.add_argument("--config", type=Path, metavar="JSON", help="its configuration (default: config.json beside it)")
    add.add_argument("--name", metavar="NAME", help="name of the model (default: that of its folder)")
    add.add_argument(
        "--class", action="append", default=[], dest="classes", metavar="THEIRS=OURS",
        help=f"assign a class of its own to one of: {', '.join(CLASSES)}; once for each of its classes",
    )  # fmt: skip
    add.add_argument("--license", metavar="TEXT", help="licence of the weights (default: LICENSE beside the model)")
    add.add_argument("--replace", action="store_true", help="an added model of the same name goes")
    add.add_argument("--yes", action="store_true", help="you trust the file; do not ask")
    add.set_defaults(run=_add)
    remove = _parser(commands, "remove", "remove a model that was added", "Remove a model that was added.", _REMOVE)
    remove.add_argument("name", metavar="NAME", help="as `lungxai models list` says it")
    remove.set_defaults(run=_remove)
    for parser in (listed, add, remove):
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
    from .wsinfer_bundle import Wanted, add_model

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
