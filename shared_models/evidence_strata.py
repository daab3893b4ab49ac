"""Subgroups that figures are reported apart for, and how each is told.

size_class()      of a nodule, by its diameter: under 6 mm, 6 to 8, over 8 (Fleischner 2017)
density_class()   ground glass, part-solid, solid, by LIDC's texture rating (1 non-solid, 3 part-solid, 5 solid)
contact_class()   juxtapleural, juxtavascular, neither: by a rule on the picture, see there
rating_class()    low, middle, high of a rating of 1 to 5 (subtlety, margin)
age_class(), sharpness_class()
in_order()        the strata that occur, from small to large

Source of the size classes: MacMahon et al. 2017, doi 10.1148/radiol.2017161659; of the ratings: Armato et al. 2011,
doi 10.1118/1.3528204.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from .contract.values import Array
from .evidence_cases import UNKNOWN

_DENSE_HU = -500
_REACH_MM = 1.5
_WALL_MM, _WALL_MM2 = 7.0, 150.0
_TOUCH_SHARE = 0.08


def size_class(diameter_mm: float) -> str:
    """Of the diameter of the circle (or ball) as large as the outline."""
    return "under 6 mm" if diameter_mm < 6 else "6 to 8 mm" if diameter_mm <= 8 else "over 8 mm"


def diameter_mm(mask: Array, pixel_mm: float) -> float:
    """Of the circle with the mask's area, or of the ball with its volume; cubic voxels."""
    size = float(mask.sum()) * pixel_mm**mask.ndim
    return 2 * (size / np.pi) ** 0.5 if mask.ndim == 2 else 2 * (3 * size / (4 * np.pi)) ** (1 / 3)


def density_class(texture: float) -> str:
    """Of LIDC's texture rating, or the mean of several readers'."""
    if not 1 <= texture <= 5:
        return UNKNOWN
    return "ground glass" if texture < 2.5 else "part-solid" if texture <= 3.5 else "solid"


def rating_class(rating: float) -> str:
    """Of a rating of 1 to 5."""
    if not 1 <= rating <= 5:
        return UNKNOWN
    return "1 to 2" if rating < 2.5 else "3" if rating <= 3.5 else "4 to 5"


def contact_class(hu: Array, mask: Array, pixel_mm: float) -> str:
    """What the nodule touches, by a rule on its slice.

    Dense tissue (over -500 HU) outside the outline is wall where it is at least 7 mm thick and 150 mm2 large (chest
    wall, mediastinum, diaphragm), else vessel. The nodule is juxtapleural where wall lies within 1.5 mm of at least 8 %
    of its rim, else juxtavascular where a vessel does. No reader judged it: in one slice a fissure, or a wall above or
    below, is not seen, and a vessel thicker than 7 mm counts as wall.

    Parameters
    ----------
    hu, mask : (rows, columns), or (slices, rows, columns), of which the slice with the largest outline is looked at
    """
    from scipy import ndimage

    if mask.ndim == 3:
        k = int(mask.sum(axis=(1, 2)).argmax())
        hu, mask = hu[k], mask[k]
    around = ndimage.distance_transform_edt(~mask) * pixel_mm
    outside = (hu > _DENSE_HU) & ~mask
    thick = ndimage.distance_transform_edt(np.pad(outside, 20, mode="edge"))[20:-20, 20:-20] * pixel_mm >= _WALL_MM / 2
    wall = outside & (ndimage.distance_transform_edt(~thick) * pixel_mm <= _WALL_MM / 2)
    marks, count = ndimage.label(wall)
    sizes = ndimage.sum_labels(wall, marks, range(1, count + 1)) * pixel_mm**2
    wall = np.isin(marks, 1 + np.flatnonzero(np.atleast_1d(sizes) >= _WALL_MM2))
    rim = (around > 0) & (around <= _REACH_MM)
    # The outline itself is partial volume: only what goes on beyond the rim is another structure.
    beyond = outside & (around > _REACH_MM) & (around <= 2 * _REACH_MM)
    near = ndimage.binary_dilation(beyond, iterations=max(1, round(_REACH_MM / pixel_mm))) & outside & rim
    if not rim.any():
        return UNKNOWN
    if (wall & rim).sum() >= _TOUCH_SHARE * rim.sum():
        return "juxtapleural"
    return "juxtavascular" if (near & ~wall).sum() >= _TOUCH_SHARE * rim.sum() else "neither"


def age_class(years: Optional[float]) -> str:
    """Decades of a patient's life in three."""
    if years is None or years != years:
        return UNKNOWN
    return "under 60" if years < 60 else "60 to 70" if years <= 70 else "over 70"


def sharpness_class(quality: float) -> str:
    """Of slide_quality.tile_quality()."""
    return "blurred, under 0.6" if quality < 0.6 else "0.6 to 0.9" if quality < 0.9 else "sharp, 0.9 and over"


_ORDER = (
    "under 6 mm", "6 to 8 mm", "over 8 mm", "ground glass", "part-solid", "solid", "juxtapleural", "juxtavascular",
    "neither", "1 to 2", "3", "4 to 5", "under 60", "60 to 70", "over 70", "never", "former", "current",
    "blurred, under 0.6", "0.6 to 0.9", "sharp, 0.9 and over",
)  # fmt: skip


def in_order(column: Array) -> list[str]:
    """The names that occur in a column of strata, in a reader's order; those of others by name, "not known" last."""

    def place(name: str) -> tuple[int, str]:
        return (len(_ORDER) + (name == UNKNOWN) if name not in _ORDER else _ORDER.index(name)), name

    return sorted(set(column.tolist()), key=place)
