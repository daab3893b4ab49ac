"""The 3D network of thin slices in the segmentation bundle; see package_ct.

with_refinement()     puts its weights beside those that it corrects
refinement()          what the card says of it
without_refinement()  a card's text without that
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .contract.errors import InvalidInput
from .ct_nodules import REFINED
from .ct_pipeline import BUNDLE, REFINE, WEIGHTS
from .ct_refine import MOST_LOGIT, SIDE, VIEWS, joined, load
from .evaluate_refine import figures, judged, members_of, of_folds
from .model_bundle import MODELS_ROOT, sha256_of
from .training_folder import RECORD, written

_HEAD = "**Thin slices.**"


def _run_of(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "network" / RECORD).read_bytes())
    return told


def with_refinement(run: Path, models: Path = MODELS_ROOT) -> None:
    """Copy the weights of ``run`` into the bundle under ``models`` and name them in its metadata.

    Raises
    ------
    InvalidInput : they correct other weights than the bundle's. ModelUnavailable : they cannot be read.
    """
    folder, told = models / BUNDLE, _run_of(run)
    members = load(*members_of(run))
    if told["corrects"] != sha256_of(folder / WEIGHTS):
        raise InvalidInput(
            f"The network in {run} corrects weights {told['corrects'][:16]}, which are not the bundle's.",
            "Train it anew with --models, or package the weights that it was trained for.",
        )
    joined(members, folder / REFINE)
    file = folder / "configs" / "metadata.json"
    metadata = json.loads(file.read_bytes())
    own = metadata["lungxai"]
    own["weights"][REFINE] = sha256_of(folder / REFINE)
    own["refine"] = {
        "field_mm": SIDE, "members": len(members), "views": len(VIEWS), "most_logit": MOST_LOGIT,
        "threshold": REFINED.threshold, "least_of_largest": REFINED.least_of_largest,
        "training": {"commit": told["commit"], "seed": told["seed"], "command": told["command"],
                     "epoch": told["best_epoch"], "corrects": told["corrects"]},
    }  # fmt: skip
    written(file, (json.dumps(metadata, indent=1) + "\n").encode())


def refinement(run: Path, data: Path, models: Path = MODELS_ROOT) -> str:
    """What the card says of it, one paragraph of Markdown; ``models`` holds the bundle with it."""
    told, members = _run_of(run), load(models / BUNDLE / REFINE)
    settings = told["settings"]
    size = f"{sum(tensor.numel() for tensor in members[0].parameters()) / 1e6:.1f}"
    val = judged(data, models, members)
    held = ""
    if settings["folds"]:
        found = of_folds(run, data, 0)
        held = (
            f" In {settings['folds']} folds by patient over the training cubes, each corrected by the one network that "
            f"did not see it (the 2D network saw all of them): {figures(found)}; threshold and rule for caps were "
            "chosen there."
        )
    return f"""{_HEAD} From a point or a box on slices up to 2.5 mm apart, a 3D U-Net (MONAI BasicUNet, {size} million
weights) looks at {SIDE} mm around the prompt on a grid of 1 mm: two HU windows, the prompt, and the logit of the 2D
network's median probability, which it corrects; the answers of {len(members)}
such networks (of all training cubes, and of each fold of a cross-validation), each to a mirror image of its own, are
averaged. It does not say whether there
is a nodule, only how far it reaches, and the search's own finds are outlined without it. Trained on
{told['train_cubes']} cubes of {told['train_patients']} patients, with {settings['prompts']} prompts each. Commit
{told['commit'][:12]}, `{told['command']}` (the weights of epoch {told['best_epoch']} of {len(told['history'])}).
Validation cubes, from a point at the centre: {figures(val)}.{held}"""


def without_refinement(text: str) -> str:
    """A card's text without what refinement() says."""
    return re.sub(rf"\n*{re.escape(_HEAD)}.*?(?=\n\n|\Z)", "", text, flags=re.DOTALL)
