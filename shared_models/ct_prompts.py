"""What the user pointed at, as the channel that the prompted network sees.

point_map()   a bell around a point
box_map()     a filled box with soft edges
strength()    how much of it is left in a plane at a distance

All in the network's pixels: a bell is as wide on a coarse grid as on a fine one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SIGMA_PX = 3.0
SOFT_PX = 1.0
SIGMA_ACROSS_MM = 7.0


def point_map(distance_px: Any) -> Any:
    """float32 in [0, 1] of the distance to the point, in pixels."""
    return np.exp(-0.5 * (np.asarray(distance_px) / SIGMA_PX) ** 2).astype(np.float32)


def box_map(shape: tuple[int, int], low: Any, high: Any) -> Any:
    """float32 (rows, columns) in [0, 1]: 1 from ``low`` to ``high`` (row, column), falling over SOFT_PX outside."""
    sides = []
    for size, a, b in zip(shape, low, high):
        place = np.arange(size)
        outside = np.maximum(np.maximum(min(a, b) - place, place - max(a, b)), 0.0)
        sides.append(np.exp(-0.5 * (outside / SOFT_PX) ** 2))
    return np.outer(*sides).astype(np.float32)


def strength(distance_mm: Any) -> Any:
    """Factor in (0, 1] of a plane at a distance from where the prompt was given, mm."""
    return np.exp(-0.5 * (np.asarray(distance_mm, dtype=np.float64) / SIGMA_ACROSS_MM) ** 2)
