"""``lungxai models list``: which models are installed, what they know, whether they are whole."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .contract.errors import LungXAIError
from .contract.values import CLASSES
from .model_bundle import MODELS_ROOT, Bundle

_EXAMPLES = """\
examples:
  lungxai models list
  lungxai models list --json
  lungxai models list --models /srv/lungxai-models

Ends with 1 where a model is broken. The card of each model is NAME/docs/README.md in its folder.
Research use only, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``models`` to the command line."""
    models = subparsers.add_parser("models", help="list the installed models", description="Installed models.")
    commands = models.add_subparsers(metavar="COMMAND", required=True)
    listed = commands.add_parser(
        "list", help="every model with its coverage", description="Every model, its coverage, and whether it is whole.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    listed.add_argument("--json", action="store_true", help="for a program")
    listed.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR", help="folder of the models")
    listed.set_defaults(run=_list)


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
        "calibrated": bundle.own["calibrated"],
        "weights_sha256": bundle.weights_sha256,
        "bytes": sum(bundle.path(name).stat().st_size for name in bundle.own["weights"]),
        "data_source": bundle.metadata.get("data_source", ""),
        "trained_at_commit": bundle.own.get("training", {}).get("commit", ""),
    }


def _list(given: argparse.Namespace) -> int:
    folders = [path.parents[1] for path in sorted(given.models.glob("*/configs/metadata.json"))]
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
        print(
            f"{model['model_id']} ({model['modality']}, {model['bytes'] / 1e6:.1f} MB)\n"
            f"  task          {model['task']}\n"
            f"  knows         {', '.join(model['coverage']) or 'no class by name'}\n"
            f"  not assessed  {', '.join(model['not_assessed'])}\n"
            f"  calibrated    {'yes' if model['calibrated'] else 'no'}\n"
            f"  weights       sha256 {model['weights_sha256'][:16]}...\n"
            f"  data          {model['data_source']}\n"
        )
    print("Research use only, not a diagnosis.")
    return int(broken)
