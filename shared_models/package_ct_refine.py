"""The 3D network of thin slices in the segmentation bundle; see package_ct.

with_refinement()     puts its weights beside those that it corrects
refinement()          what the card says of it
without_refinement()  a card's text without that
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from .contract.errors import InvalidInput
from .ct_nodules import REFINED
from .ct_pipeline import BUNDLE, REFINE, WEIGHTS
from .ct_refine import MOST_LOGIT, SIDE, VIEWS, load
from .evaluate_refine import figures, of_folds
from .model_bundle import MODELS_ROOT, sha256_of
from .training_folder import BEST, RECORD, written

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
    folder, told, weights = models / BUNDLE, _run_of(run), run / "network" / BEST
    load(weights)
    if told["corrects"] != sha256_of(folder / WEIGHTS):
        raise InvalidInput(
            f"The network in {run} corrects weights {told['corrects'][:16]}, which are not the bundle's.",
            "Train it anew with --models, or package the weights that it was trained for.",
        )
    shutil.copyfile(weights, folder / REFINE)
    file = folder / "configs" / "metadata.json"
    metadata = json.loads(file.read_bytes())
    own = metadata["lungxai"]
    own["weights"][REFINE] = sha256_of(folder / REFINE)
    own["refine"] = {
        "field_mm": SIDE, "views": len(VIEWS), "most_logit": MOST_LOGIT, "threshold": REFINED.threshold,
        "least_of_largest": REFINED.least_of_largest,
        "training": {"commit": told["commit"], "seed": told["seed"], "command": told["command"],
                     "epoch": told["best_epoch"], "corrects": told["corrects"]},
    }  # fmt: skip
    written(file, (json.dumps(metadata, indent=1) + "\n").encode())


def refinement(run: Path, data: Path) -> str:
    """What the card says of it, one paragraph of Markdown."""
    told = _run_of(run)
    settings, val = told["settings"], told["val_pieces"]
    size = f"{sum(tensor.numel() for tensor in load(run / 'network' / BEST).parameters()) / 1e6:.1f}"
    held = ""
    if settings["folds"]:
        found = of_folds(run, data, 0)
        held = (
            f" In {settings['folds']} folds by patient over the training cubes, each corrected by a network that did "
            f"not see it (the 2D network saw all of them): {figures(found)}; threshold and rule for caps were chosen "
            "there."
        )
    return f"""{_HEAD} From a point or a box on slices up to 2.5 mm apart, a 3D U-Net (MONAI BasicUNet, {size} million
weights) looks at {SIDE} mm around the prompt on a grid of 1 mm: two HU windows, the prompt, and the logit of the 2D
network's median probability, which it corrects; {len(VIEWS)} mirror images are averaged. It does not say whether there
is a nodule, only how far it reaches, and the search's own finds are outlined without it. Trained on
{told['train_cubes']} cubes of {told['train_patients']} patients, with {settings['prompts']} prompts each. Commit
{told['commit'][:12]}, `{told['command']}` (the weights of epoch {told['best_epoch']} of {len(told['history'])}).
Validation cubes, from a point at the centre: {figures(val)}.{held}"""


def without_refinement(text: str) -> str:
    """A card's text without what refinement() says."""
    return re.sub(rf"\n*{re.escape(_HEAD)}.*?(?=\n\n|\Z)", "", text, flags=re.DOTALL)
