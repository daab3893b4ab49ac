"""Malignancy of a nodule, as LIDC's readers rate it, from one axial slice: by measurements and from the image.

features()          measurements of size, density and shape
Evidence            what speaks for and against, before it is weighed
Assessment          a nodule's probability, and whether it looks like the nodules that the model learned from
MalignancyModel     logistic regression over the features, a network on the image, and both weighed; made by load()

The target is the readers' mean rating (over 3.5 against under 2.5), not histology. The two log odds are added with
weights that were fitted on validation patients. What looks less like a nodule to the network than nearly all nodules do
(a vessel, the chest wall) is rated lower by as much. What looks unlike all training nodules, by the network's features
and the measurements (out_of_distribution.py), is not assessed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput, ModelUnavailable
from .contract.values import Array
from .model_bundle import MODELS_ROOT, Bundle
from .out_of_distribution import UNRELIABLE, Score
from .out_of_distribution import load as load_score

BUNDLE = "lung_nodule_malignancy"
WEIGHTS, NETWORK = "models/model.json", "models/network.pt"
_ROOM_PX = 5  # around the outline, for the rim
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


def features_on(hu: Array, mask: Array, pixel_mm: tuple[float, float]) -> Array:
    """features() of a nodule on a whole slice: only its surroundings are looked at, padded at the slice's edge."""
    rows, columns = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    where = tuple(slice(max(0, i[0] - _ROOM_PX), i[-1] + 1 + _ROOM_PX) for i in (rows, columns))
    return features(np.pad(hu[where], _ROOM_PX, mode="edge"), np.pad(mask[where], _ROOM_PX), pixel_mm)


@dataclass(frozen=True)
class Evidence:
    """Log odds, none of them calibrated: of the features, of the network, and that it is a nodule at all."""

    features: float
    network: float
    nodule: float


@dataclass(frozen=True)
class Assessment:
    """Of one nodule.

    Parameters
    ----------
    probability : calibrated where the nodule is like the training nodules; elsewhere nodules are only ordered by it
    reliability : 0 to 1, how like the training nodules it is; None where that was not assessed
    """

    probability: float
    reliability: Optional[float] = None

    @property
    def malignancy(self) -> Optional[float]:
        """The probability, or None, "not assessed", where the nodule is unlike the training nodules."""
        return None if self.reliability is not None and self.reliability < UNRELIABLE else self.probability


@dataclass(frozen=True, eq=False)
class MalignancyModel:
    """Both models and how they are weighed.

    Attributes
    ----------
    mean, scale, coefficients : (13,); intercept : of the logistic regression
    platt : (slope, intercept) of the features alone
    weights : (features, network, intercept) of both together
    least_nodule : log odds of being a nodule that nearly all nodules of validation reach
    network : MalignancyNetwork, in evaluation mode, on the CPU
    familiar : how like the training nodules a nodule is; None, and ``why_not`` in words, where that is not assessed
    """

    bundle: Bundle
    mean: Array
    scale: Array
    coefficients: Array
    intercept: float
    platt: tuple[float, float]
    weights: tuple[float, float, float]
    least_nodule: float
    network: Any
    familiar: Optional[Score] = None
    why_not: str = ""

    @classmethod
    def load(cls, models_root: Path = MODELS_ROOT) -> MalignancyModel:
        """The bundle under ``models_root``.

        Raises
        ------
        ModelUnavailable : it is missing, changed, or not one of this code's.
        """
        from .ct_malignancy_network import restored

        bundle = Bundle.load(models_root / BUNDLE)
        try:
            own = json.loads(bundle.path(WEIGHTS).read_text())
            arrays = [np.array(own[name], dtype=np.float64) for name in ("mean", "scale", "coefficients")]
            if tuple(own["features"]) != NAMES or any(a.shape != (len(NAMES),) for a in arrays):
                raise ValueError("other features")
            slope, offset = (float(v) for v in own["platt"])
            by_features, by_network, both = (float(v) for v in own["weights"])
            scalars = float(own["intercept"]), (slope, offset), (by_features, by_network, both)
            least = float(own["least_nodule"])
        except (ValueError, KeyError, TypeError, IndexError) as fault:
            raise ModelUnavailable("The malignancy model cannot be read.", "Install the models again.") from fault
        familiar, why_not = load_score(bundle.folder)
        return cls(bundle, *arrays, *scalars, least, restored(bundle.path(NETWORK)), familiar, why_not)

    def score(self, rows: Array) -> Array:
        """Log odds before calibration, (n,), of features (n, 13)."""
        answer: Array = ((rows - self.mean) / self.scale) @ self.coefficients + self.intercept
        return answer

    def probability(self, rows: Array) -> Array:
        """Calibrated probability (n,) by the features (n, 13) alone: the baseline that the image is added to."""
        answer: Array = 1 / (1 + np.exp(-(self.platt[0] * self.score(rows) + self.platt[1])))
        return answer

    def described(self, hu: Array, mask: Array, pixel_mm: tuple[float, float]) -> tuple[Evidence, Array]:
        """evidence(), and float64 (141,): the network's 128 pooled features and the 13 measurements."""
        import torch

        from .ct_malignancy_network import MALIGNANT, NODULE, inputs

        seen, _ = inputs(hu, mask, pixel_mm)
        with torch.inference_mode():
            pooled = self.network.pooled(seen)
            logits = self.network.head(pooled)[0].double().numpy()
        measured = features_on(hu, mask, pixel_mm)
        score = float(self.score(measured[None])[0])
        found = Evidence(score, float(logits[MALIGNANT]), float(logits[NODULE]))
        return found, np.concatenate([pooled[0].double().numpy(), measured])

    def evidence(self, hu: Array, mask: Array, pixel_mm: tuple[float, float]) -> Evidence:
        """As of_slice(), before it is weighed."""
        return self.described(hu, mask, pixel_mm)[0]

    def assessed_slice(self, hu: Array, mask: Array, pixel_mm: tuple[float, float]) -> Assessment:
        """of_slice(), and how like the training nodules the nodule is."""
        found, seen = self.described(hu, mask, pixel_mm)
        like = None if self.familiar is None else float(self.familiar.reliability(seen[None])[0])
        return Assessment(self.weighed(found), like)

    def assessed(
        self, voxels: Array, where: tuple[slice, slice, slice], mask: Array, spacing_mm: tuple[float, float, float]
    ) -> Assessment:
        """of_nodule(), and how like the training nodules the nodule is; parameters are of_nodule()'s."""
        hu, plane = largest_slice(voxels, where, mask)
        return self.assessed_slice(hu, plane, (spacing_mm[1], spacing_mm[0]))

    def weighed(self, found: Evidence) -> float:
        """Calibrated probability that readers would rate the nodule as malignant."""
        odds = self.weights[0] * found.features + self.weights[1] * found.network + self.weights[2]
        odds += min(0.0, found.nodule - self.least_nodule)
        return float(0.5 + 0.5 * np.tanh(odds / 2))  # the logistic function, without overflow

    def of_slice(self, hu: Array, mask: Array, pixel_mm: tuple[float, float]) -> float:
        """Probability that readers would rate the nodule as malignant; calibrated, not a diagnosis.

        Parameters
        ----------
        hu : (rows, columns), HU: the axial slice where the nodule is largest, as much of it as there is
        mask : bool, same shape; the nodule's outline there
        pixel_mm : (row, column) spacing

        Raises
        ------
        InvalidInput : there is no nodule on the slice, or the shapes differ.
        """
        return self.weighed(self.evidence(hu, mask, pixel_mm))

    def of_nodule(
        self, voxels: Array, where: tuple[slice, slice, slice], mask: Array, spacing_mm: tuple[float, float, float]
    ) -> float:
        """of_slice() of a nodule in a CT, on the axial slice where it is largest.

        Parameters
        ----------
        voxels : (slices, rows, columns), HU: the whole CT
        where : bounding box of the nodule in it; mask : bool, of that box
        spacing_mm : along (column, row, slice) index

        Raises
        ------
        InvalidInput : the mask is empty.
        """
        hu, plane = largest_slice(voxels, where, mask)
        return self.of_slice(hu, plane, (spacing_mm[1], spacing_mm[0]))


def largest_slice(voxels: Array, where: tuple[slice, slice, slice], mask: Array) -> tuple[Array, Array]:
    """HU and outline (rows, columns), of the CT's whole axial slice where a nodule is largest; as in of_nodule().

    Raises
    ------
    InvalidInput : the mask is empty.
    """
    if not mask.any():
        raise InvalidInput("There is no nodule to rate.", "Outline the nodule, then classify again.")
    k = int(np.argmax(mask.sum(axis=(1, 2))))
    plane = np.zeros(voxels.shape[1:], bool)
    plane[where[1:]] = mask[k]
    return voxels[where[0].start + k], plane
