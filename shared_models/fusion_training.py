"""The fusion's fit by the one command: `lungxai train fusion --data ../shared/data --out out/fusion`; a few minutes.

OUT/best.json     the numbers, as the bundle holds them; `python -m shared_models.package_fusion` makes the bundle
OUT/result.json   as every training's

What is fitted, and on which cases, is in train_fusion. The fit belongs to the models below --models, whose weights it
names; the test split is not read.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from .contract.errors import InvalidInput
from .training_record import fit_once
from .training_request import TrainRequest

WITHOUT_EPOCHS = True
WEIGHTS_FILE = "best.json"


@dataclass(frozen=True)
class Recipe:
    """Nothing to choose: the penalty is chosen by cross-validation."""


def trained(request: TrainRequest) -> None:
    """Fit, and write request.out.

    Raises
    ------
    InvalidInput : the parts of the composed cases are not below request.data, or a trial of some was asked for.
    ModelUnavailable : a model below request.models is missing.
    """
    from .clinical import ClinicalModel
    from .composed_parts import Parts
    from .train_fusion import SPLIT
    from .train_fusion import trained as fitted

    recipe = request.with_recipe(Recipe())
    if request.limit is not None:
        raise InvalidInput("The fusion is fitted on every case: some alone would be another fit.", "Leave out --limit.")
    clinical = ClinicalModel.load(request.models)
    parts = Parts.read(request.data, SPLIT, request.models)
    if parts is None:
        raise InvalidInput(f"{request.data} lacks the nodules, the tiles or the clinical tables.",
                           "Give the folder of the data sets with --data; see README.")  # fmt: skip

    def fit() -> tuple[dict[str, bytes], dict[str, float]]:
        own = fitted(parts, clinical, request.seed)
        told = own["fit"]
        figures = {
            "log_loss": float(told["loss_of_penalty"][str(told["penalty"])]),
            "log_loss_fixed_weights": float(told["loss_of_fixed"]),
        }
        return {WEIGHTS_FILE: (json.dumps(own, indent=1) + "\n").encode()}, figures

    told = {"nodules": len(parts.nodules.patients), "tiles": len(parts.tiles.groups),
            "clinical_patients": len(parts.patients.fields)}  # fmt: skip
    fit_once(request, dataclasses.asdict(recipe), told, fit)
