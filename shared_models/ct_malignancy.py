"""Malignancy of a nodule, as LIDC's readers rate it, from its size, density and shape on one axial slice.

features()          what the model looks at, of one slice
MalignancyModel     logistic regression over them, calibrated; made by load()

The target is the readers' mean rating (over 3.5 against under 2.5), not histology.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .contract.errors import ModelUnavailable
from .contract.values import Array
from .model_bundle import MODELS_ROOT, Bundle

BUNDLE = "lung_nodule_malignancy"
WEIGHTS = "models/model.json"
NAMES = (
    "log_area_mm2", "long_axis_mm", "mean_hu", "sd_hu", "p90_hu", "rim_hu", "solidity", "aspect", "roughness",
    "over_150_hu", "over_250_hu", "p99_hu", "core_hu",  # calcium speaks for benign
)  # fmt: skip


def features(hu: Array, mask: Array, pixel_mm: tuple[float, float]) -> Array:
    """float64 (13,), in the order of NAMES.

    Parameters
    ----------
    hu : (rows, columns), HU
    mask : bool, same shape, not empty
    pixel_mm : (row, column) spacing
    """
    from scipy import ndimage

    from .ct_nodules import axes_mm

    area = mask.sum() * pixel_mm[0] * pixel_mm[1]
    inside = np.clip(hu[mask].astype(np.float64), -1000, 400)
    long_axis, short_axis = axes_mm(mask[None], pixel_mm)
    grown = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask)
    rim = float(np.clip(hu[grown], -1000, 400).mean()) if grown.any() else float(inside.mean())
    core = ndimage.binary_erosion(mask)
    edge = mask & ~core
    whole = hu[mask].astype(np.float64)  # not cut at 400 HU: calcium lies above
    middle = hu[core] if core.sum() > 4 else whole
    perimeter = edge.sum() * float(np.sqrt(pixel_mm[0] * pixel_mm[1]))
    return np.array(
        [
            np.log(area), long_axis, inside.mean(), inside.std(), np.percentile(inside, 90), rim,
            area / max(np.pi / 4 * long_axis * max(short_axis, 0.1), 1e-6), short_axis / long_axis,
            perimeter**2 / (4 * np.pi * area),
            (whole > 150).mean(), (whole > 250).mean(), np.clip(np.percentile(whole, 99), -1000, 1200),
            np.clip(np.median(middle), -1000, 600),
        ]
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class MalignancyModel:
    """``mean``, ``scale``, ``coefficients`` (13,); ``intercept``; ``platt`` (slope, intercept) fitted on validation."""

    bundle: Bundle
    mean: Array
    scale: Array
    coefficients: Array
    intercept: float
    platt: tuple[float, float]

    @classmethod
    def load(cls, models_root: Path = MODELS_ROOT) -> MalignancyModel:
        """The bundle under ``models_root``.

        Raises
        ------
        ModelUnavailable : it is missing, changed, or not one of this code's.
        """
        bundle = Bundle.load(models_root / BUNDLE)
        try:
            own = json.loads(bundle.path(WEIGHTS).read_text())
            arrays = [np.array(own[name], dtype=np.float64) for name in ("mean", "scale", "coefficients")]
            if tuple(own["features"]) != NAMES or any(a.shape != (len(NAMES),) for a in arrays):
                raise ValueError("other features")
            model = cls(bundle, *arrays, float(own["intercept"]), (float(own["platt"][0]), float(own["platt"][1])))
        except (ValueError, KeyError, TypeError, IndexError) as fault:
            raise ModelUnavailable("The malignancy model cannot be read.", "Install the models again.") from fault
        return model

    def score(self, rows: Array) -> Array:
        """Log odds before calibration, (n,), of features (n, 13)."""
        answer: Array = ((rows - self.mean) / self.scale) @ self.coefficients + self.intercept
        return answer

    def probability(self, rows: Array) -> Array:
        """Calibrated probability (n,) that readers would rate the nodule as malignant."""
        answer: Array = 1 / (1 + np.exp(-(self.platt[0] * self.score(rows) + self.platt[1])))
        return answer
