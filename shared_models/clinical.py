"""The clinical fields as evidence: adenocarcinoma against squamous cell carcinoma, given that it is one of the two.

ClinicalModel   logistic regression; every field may be missing
encoded()       the fields as numbers, with a flag for each that is missing

A field that is not known is set to the training mean and its flag to 1; in training fields were dropped at random, so
the flags carry no habit of who fills in what.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np

from .code_version import code_version
from .contract.errors import ModelUnavailable
from .contract.provenance import Provenance
from .contract.values import Abstention, Array, ClinicalFields
from .model_bundle import MODELS_ROOT, Bundle

BUNDLE, WEIGHTS = "lung_clinical_subtype", "models/model.json"
TARGETS = ("adenocarcinoma", "squamous_cell")
FIELDS = ("age_years", "male", "ever_smoked", "current_smoker", "log_pack_years")


def encoded(fields: ClinicalFields) -> Array:
    """float64 (5,), in the order of FIELDS; NaN where not known."""

    def number(value: Optional[float]) -> float:
        return float("nan") if value is None else float(value)

    smoking = fields.smoking
    packs = 0.0 if smoking == "never" else fields.pack_years
    ever = None if smoking is None else float(smoking != "never")
    if ever is None and packs:
        ever = 1.0
    return np.array(
        [
            number(fields.age_years),
            number(None if fields.sex is None else float(fields.sex == "male")),
            number(ever),
            number(None if smoking is None else float(smoking == "current")),
            number(None if packs is None else float(np.log1p(packs))),
        ]
    )


def design(rows: Array, mean: Array, scale: Array) -> Array:
    """float64 (n, 10): standardised fields, 0 where missing, then the flags."""
    missing = np.isnan(rows)
    return np.concatenate([np.where(missing, 0.0, (rows - mean) / scale), missing.astype(float)], axis=1)


@dataclass(frozen=True, eq=False)
class ClinicalModel:
    """The model; made by load().

    Attributes
    ----------
    prior : class to share in the cases that it was calibrated on
    provenance : what results say of it
    """

    prior: Mapping[str, float]
    provenance: Provenance
    mean: Array
    scale: Array
    coefficients: Array
    intercept: float
    platt: tuple[float, float]

    @classmethod
    def load(cls, models_root: Path = MODELS_ROOT) -> ClinicalModel:
        """The bundle under ``models_root``.

        Raises
        ------
        ModelUnavailable : it is missing, changed, or of another version of this code.
        """
        bundle = Bundle.load(models_root / BUNDLE)
        try:
            own = json.loads(bundle.path(WEIGHTS).read_text())
            mean, scale, coefficients = (np.array(own[k], dtype=float) for k in ("mean", "scale", "coefficients"))
            if tuple(own["fields"]) != FIELDS or coefficients.shape != (2 * len(FIELDS),):
                raise ValueError("other fields")
            prior = {name: float(own["prior"][name]) for name in TARGETS}
            platt = (float(own["platt"][0]), float(own["platt"][1]))
            model = cls(
                prior,
                bundle.provenance("cpu", code_version()),
                mean,
                scale,
                coefficients,
                float(own["intercept"]),
                platt,
            )
        except (ValueError, KeyError, TypeError, IndexError) as fault:
            raise ModelUnavailable("The clinical model cannot be read.", "Install the models again.") from fault
        return model

    def score(self, rows: Array) -> Array:
        """Log odds of squamous cell carcinoma before calibration, (n,), of encoded fields (n, 5)."""
        answer: Array = design(rows, self.mean, self.scale) @ self.coefficients + self.intercept
        return answer

    def probability(self, rows: Array) -> Array:
        """Calibrated probability of squamous cell carcinoma, (n,)."""
        answer: Array = 1 / (1 + np.exp(-(self.platt[0] * self.score(rows) + self.platt[1])))
        return answer

    def probabilities(self, fields: ClinicalFields) -> Union[dict[str, float], Abstention]:
        """Class to probability over TARGETS, given that the tumour is one of them."""
        row = encoded(fields)
        if np.isnan(row).all():
            return Abstention("No clinical field is known.", "Age, sex, smoking, or pack-years.")
        return self._named(row)

    def base(self) -> dict[str, float]:
        """Class to probability over TARGETS where no field is known, which alone is no answer: the intercept with
        every field at the training mean and every flag set. What a field adds is counted from here."""
        return self._named(encoded(ClinicalFields()))

    def _named(self, row: Array) -> dict[str, float]:
        squamous = float(self.probability(row[None])[0])
        return {"adenocarcinoma": 1 - squamous, "squamous_cell": squamous}
