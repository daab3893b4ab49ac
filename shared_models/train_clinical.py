"""The clinical model's fit: `lungxai train clinical --data ../shared/data --out out/clinical`; takes a few seconds.

OUT/best.json     the model, as the bundle holds it; package_clinical makes the bundle
OUT/result.json   as every training's

Fitted on the training patients, each seen whole and ``repeats`` times with fields dropped at random. Calibrated (Platt,
two numbers) on the validation patients and on the training patients, each of these scored by a model that was fitted
without the patient's fold: validation alone is too few. The test patients are not looked at here.

`python -m shared_models.train_clinical` fits, measures the test patients once and writes the bundle, all in one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .clinical import FIELDS, design, encoded
from .clinical_data import ClinicalCases, read_cases
from .contract.errors import InvalidInput
from .contract.values import Array
from .model_bundle import MODELS_ROOT
from .statistics import auroc
from .training_record import fit_once
from .training_request import TrainRequest

WITHOUT_EPOCHS = True
WEIGHTS_FILE = "best.json"
_FOLDS = 5


@dataclass(frozen=True)
class Recipe:
    """``repeats`` thinned copies of each patient, each field dropped with probability ``drop``."""

    repeats: int = 10
    drop: float = 0.35

    def __post_init__(self) -> None:
        if self.repeats < 0 or not 0 <= self.drop < 1:
            raise ValueError("repeats is 0 or more, drop from 0 to below 1")


def _rows(cases: ClinicalCases) -> Any:
    return np.stack([encoded(fields) for fields in cases.fields])


def _scorer(rows: Array, squamous: Array, seed: int, recipe: Recipe) -> tuple[Array, Array, Array, float]:
    """Mean and scale of the encoded fields (n, 5), coefficients and intercept of the log odds."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(seed)
    mean, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    copies = [rows]
    for _ in range(recipe.repeats):
        thin = rows.copy()
        thin[random.random(rows.shape) < recipe.drop] = np.nan
        copies.append(thin)
    x, y = design(np.concatenate(copies), mean, scale), np.tile(squamous, recipe.repeats + 1)
    model = LogisticRegression(C=1.0 / (recipe.repeats + 1), max_iter=5000).fit(x, y)
    return mean, scale, model.coef_[0], float(model.intercept_[0])


def _score(scorer: tuple[Array, Array, Array, float], rows: Array) -> Array:
    mean, scale, coefficients, intercept = scorer
    answer: Array = design(rows, mean, scale) @ coefficients + intercept
    return answer


def across_folds(rows: Array, squamous: Array, seed: int, recipe: Recipe) -> Array:
    """Log odds (n,) of the encoded fields (n, 5), each by a model fitted without the patient's fold."""
    fold = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    answer = np.empty(len(rows))
    for k in range(_FOLDS):
        answer[fold == k] = _score(_scorer(rows[fold != k], squamous[fold != k], seed, recipe), rows[fold == k])
    return answer


def fitted(train: ClinicalCases, val: ClinicalCases, seed: int, recipe: Optional[Recipe] = None) -> dict[str, Any]:
    """The model as its weights file holds it."""
    from sklearn.linear_model import LogisticRegression

    recipe, rows, held = recipe or Recipe(), _rows(train), _rows(val)
    scorer = _scorer(rows, train.squamous, seed, recipe)
    mean, scale, coefficients, intercept = scorer
    score = np.r_[across_folds(rows, train.squamous, seed, recipe), _score(scorer, held)]
    squamous = np.r_[train.squamous, val.squamous]
    platt = LogisticRegression(C=1e6).fit(score[:, None], squamous)
    share = float(squamous.mean())
    return {
        "fields": list(FIELDS), "mean": mean.tolist(), "scale": scale.tolist(),
        "coefficients": coefficients.tolist(), "intercept": intercept,
        "platt": [float(platt.coef_[0, 0]), float(platt.intercept_[0])],
        "prior": {"adenocarcinoma": 1 - share, "squamous_cell": share}, "n_train": len(rows), "n_val": len(held),
        "n_calibration": len(score),
    }  # fmt: skip


def trained(request: TrainRequest) -> None:
    """Fit, and write request.out.

    Raises
    ------
    InvalidInput : the tables are not below request.data, or hold one of the two classes only.
    """
    recipe = request.with_recipe(Recipe())
    train, val = read_cases(request.data, "train"), read_cases(request.data, "val")
    if train is None or val is None:
        raise InvalidInput(f"{request.data} holds no clinical tables of TCGA.",
                           "Give the folder of the data sets with --data; see README.")  # fmt: skip
    train, val = _few(train, request.limit), _few(val, request.limit)
    if any(len(set(cases.squamous.tolist())) < 2 for cases in (train, val)):
        raise InvalidInput("The clinical tables hold patients of one class only, or none.", "Give both tables whole.")

    def fit() -> tuple[dict[str, bytes], dict[str, float]]:
        own = fitted(train, val, request.seed, recipe)
        rows = design(_rows(val), np.array(own["mean"]), np.array(own["scale"]))
        score = own["platt"][0] * (rows @ np.array(own["coefficients"]) + own["intercept"]) + own["platt"][1]
        p = 1 / (1 + np.exp(-score))
        figures = {"auroc": auroc(val.squamous, p), "brier": float(((p - val.squamous) ** 2).mean())}
        return {WEIGHTS_FILE: (json.dumps(own, indent=1) + "\n").encode()}, figures

    told = {"train_patients": len(train.fields), "val_patients": len(val.fields)}
    fit_once(request, dataclasses.asdict(recipe), told, fit)


def _few(cases: ClinicalCases, limit: Optional[int]) -> ClinicalCases:
    """Some of the patients, both classes among them, for a trial."""
    if limit is None or limit >= len(cases.fields):
        return cases
    kept = np.random.default_rng(0).permutation(len(cases.fields))[:limit]
    return ClinicalCases(tuple(cases.fields[i] for i in kept), cases.squamous[kept], cases.patients[kept])


def main() -> None:
    """Fit and package."""
    from .package_clinical import packaged
    from .train import as_before

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as run:
        command = f"python -m shared_models.train_clinical --seed {given.seed}"
        request = TrainRequest("clinical", given.data, Path(run), seed=given.seed, command=command)
        if code := as_before(request):
            raise SystemExit(code)
        print(json.dumps(packaged(given.data, Path(run), given.models), indent=1))


if __name__ == "__main__":
    main()
