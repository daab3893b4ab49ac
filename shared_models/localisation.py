"""Does the map lie on the nodule? A map against a mask, both (rows, columns).

pointing_game()    its highest place lies on the mask, or near
energy_inside()    share of its positive values on the mask
mask_auroc()       chance that a pixel on the mask is higher than one off it
iou_at()           overlap of what is over a share of its maximum
best_iou()         overlap at the threshold that suits best: optimistic, as it looks at the mask
fixed_threshold()  one threshold for many maps, to be found on validation and used on test

Ties count in proportion, so that a map that is the same everywhere scores as pointing at random does: no measure
depends on the order in which pixels are stored.

Source: Zhang et al. 2016, arXiv:1608.00507 (pointing game, with a tolerance); Wang et al. 2020, arXiv:1910.01279
(energy). The paper whose figures this suite is compared with does not say in its summary how its IoU was thresholded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .contract.values import Array
from .statistics import auroc

# Shares of a map's maximum, as the viewers' threshold slider has them.
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))
TOLERANCE_MM = 2.0


def _checked(values: Array, mask: Array) -> tuple[Array, Array]:
    if values.shape != mask.shape or values.ndim != 2:
        raise ValueError("Map and mask are not on the same grid.")
    if not mask.any() or not np.isfinite(values).all():
        raise ValueError("The mask is empty, or the map holds a value that is not finite.")
    return values.astype(np.float64), mask.astype(bool)


def pointing_game(values: Array, mask: Array, pixel_mm: float, tolerance_mm: float = TOLERANCE_MM) -> float:
    """1 where the highest pixel lies at most ``tolerance_mm`` off the mask, else 0; of several, the share that do."""
    from scipy.ndimage import distance_transform_edt

    values, mask = _checked(values, mask)
    near = distance_transform_edt(~mask) * pixel_mm <= tolerance_mm
    return float(near[values == values.max()].mean())


def energy_inside(values: Array, mask: Array) -> float:
    """Share of the positive values that lies on the mask; the mask's share of the area where there is none."""
    values, mask = _checked(values, mask)
    positive = np.maximum(values, 0)
    total = positive.sum()
    return float(positive[mask].sum() / total) if total > 0 else float(mask.mean())


def mask_auroc(values: Array, mask: Array) -> float:
    """AUROC of the map's values against the mask; ties half. NaN where the mask is everywhere."""
    values, mask = _checked(values, mask)
    return auroc(mask.ravel(), values.ravel())


def iou_at(values: Array, mask: Array, share: float) -> float:
    """Intersection over union of the mask and the pixels at or over ``share`` of the map's maximum.

    0 for a map without a positive value: nothing would be shown.
    """
    values, mask = _checked(values, mask)
    highest = values.max()
    if highest <= 0:
        return 0.0
    shown = values >= share * highest
    return float((shown & mask).sum() / (shown | mask).sum())


def best_iou(values: Array, mask: Array) -> float:
    """The highest intersection over union of any threshold. It looks at the mask, so it is optimistic."""
    values, mask = _checked(values, mask)
    order = np.argsort(-values, axis=None, kind="stable")
    sorted_values, hit = values.ravel()[order], np.cumsum(mask.ravel()[order])
    shown = np.arange(1, values.size + 1)
    last = np.append(sorted_values[1:] != sorted_values[:-1], True)  # a threshold takes all equal values or none
    overlap = hit / (shown + mask.sum() - hit)
    return float(overlap[last].max())


def fixed_threshold(maps: Sequence[Array], masks: Sequence[Array]) -> float:
    """The one of THRESHOLDS with the highest mean overlap; of several, the lowest."""
    if not len(maps) or len(maps) != len(masks):
        raise ValueError("A threshold needs maps, and a mask for each.")
    mean = [np.mean([iou_at(values, mask, share) for values, mask in zip(maps, masks)]) for share in THRESHOLDS]
    return THRESHOLDS[int(np.argmax(mean))]
