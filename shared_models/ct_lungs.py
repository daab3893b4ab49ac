"""Where the lungs are in a chest CT, with the nodules that lie against their walls.

lungs()        lung mask on the CT's grid, and the same with a rim
lung_box()     bounding box of a mask with a margin
midline_mm()   where the left lung ends and the right one begins
side_of()      left or right, of a place

The way: air inside the body, on a grid of about 2 mm; what touches the border of a slice is outside; the one or two
largest pieces are the lungs; each slice is closed by a disc of 12 mm, so that a nodule at the chest wall and the
vessels are inside; holes are filled.

Source: after Armato and Sensakovic 2004, doi 10.1016/j.acra.2004.06.005. Departs from it in: a coarse grid, and a
closing instead of the rolling ball.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array, CTVolume
from .geometry import index_to_lps

AIR_HU = -400
GRID_MM = 2.0
CLOSING_MM = 12.0
LEAST_ML = 250.0
RIM_MM = 6.0
_MARGIN_MM = 6.0
# Nearer to the midline than this a nodule may belong to either side.
BETWEEN_MM = 12.0
_BIN_MM = 4.0


def _thinned(volume: CTVolume) -> tuple[Array, tuple[int, int, int]]:
    """The voxels on about GRID_MM, each the first of its block, and the steps (slices, rows, columns)."""
    x, y, z = volume.spacing_mm
    steps = (max(1, int(GRID_MM / z)), max(1, int(GRID_MM / y)), max(1, int(GRID_MM / x)))
    return volume.voxels[:: steps[0], :: steps[1], :: steps[2]], steps


def _disc(radius_rows: float, radius_columns: float) -> Array:
    rows, columns = int(radius_rows), int(radius_columns)
    y, x = np.ogrid[-rows : rows + 1, -columns : columns + 1]
    inside: Array = (y / max(radius_rows, 0.5)) ** 2 + (x / max(radius_columns, 0.5)) ** 2 <= 1
    return inside


def lungs(volume: CTVolume) -> tuple[Array, Array]:
    """Both lungs, closed over nodules at the wall; and the same with a rim of RIM_MM in each axial slice.

    A mass that lies broadly against the wall holds no air, so that the closing misses it: the rim reaches into it.

    Returns
    -------
    bool (slices, rows, columns), twice

    Raises
    ------
    InvalidInput : nothing in the volume looks like a lung.
    """
    from scipy import ndimage

    coarse, steps = _thinned(volume)
    x, y, z = volume.spacing_mm
    spacing = (z * steps[0], y * steps[1], x * steps[2])
    air = ndimage.binary_opening(coarse < AIR_HU, np.ones((1, 3, 3), bool))
    inside = np.zeros_like(air)
    for k, plane in enumerate(air):
        marks, count = ndimage.label(plane)
        if count:
            edge = np.unique(np.concatenate([marks[0], marks[-1], marks[:, 0], marks[:, -1]]))
            inside[k] = plane & ~np.isin(marks, edge)
    marks, count = ndimage.label(inside)
    sizes = np.bincount(marks.ravel())[1:] * np.prod(spacing) / 1000.0
    kept = [i + 1 for i in np.argsort(sizes)[::-1][:2] if sizes[i] >= LEAST_ML / 2]
    if not kept or sizes.max() < LEAST_ML:
        raise InvalidInput(
            "No lungs were found in this series.", "Choose an axial chest CT in Hounsfield units that holds the lungs."
        )
    lung = np.isin(marks, kept)
    reach = (CLOSING_MM / spacing[1], CLOSING_MM / spacing[2])
    disc = _disc(*reach)
    edge = tuple(int(r) + 1 for r in reach)
    for k in range(len(lung)):
        if lung[k].any():
            wide = np.pad(lung[k], [(e, e) for e in edge])
            closed = ndimage.binary_fill_holes(ndimage.binary_closing(wide, disc))
            lung[k] = closed[edge[0] : -edge[0], edge[1] : -edge[1]]
    rim = ndimage.binary_dilation(lung, _disc(RIM_MM / spacing[1], RIM_MM / spacing[2])[None])
    rows, columns = volume.voxels.shape[1:]

    def full(coarse_mask: Array) -> Array:
        whole = coarse_mask.repeat(steps[0], 0).repeat(steps[1], 1).repeat(steps[2], 2)
        return whole[: len(volume.voxels), :rows, :columns]

    return full(lung), full(rim)


def lung_box(mask: Array, spacing_mm: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """Slices (slices, rows, columns) that hold ``mask`` and a margin; the mask is not empty."""
    parts = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(_MARGIN_MM / spacing_mm[2 - axis]))
        parts.append(slice(max(0, int(used[0]) - margin), min(mask.shape[axis], int(used[-1]) + 1 + margin)))
    return parts[0], parts[1], parts[2]


def midline_mm(mask: Array, ijk_to_lps: Array) -> Optional[float]:
    """LPS x between the two lungs, mm; None where there is no dip between two lungs (one lung, or a part of one).

    Parameters
    ----------
    mask : bool (slices, rows, columns), of lungs()
    ijk_to_lps : (4, 4), mm
    """
    # Every column: a step in x near the width of a bin would leave bins empty.
    steps = max(1, len(mask) // 64), 8
    index = np.argwhere(mask[:: steps[0], :: steps[1]])[:, ::-1] * [1, steps[1], steps[0]]
    if len(index) < 100:
        return None
    x = index_to_lps(ijk_to_lps, index)[:, 0]
    edges = np.arange(x.min(), x.max() + 2 * _BIN_MM, _BIN_MM)
    profile = np.histogram(x, edges)[0]
    low, high = np.searchsorted(edges, np.quantile(x, [0.25, 0.75]))
    if high - low < 3:
        return None
    dip = low + int(np.argmin(profile[low:high]))
    peaks = profile[:dip].max(initial=0), profile[dip + 1 :].max(initial=0)
    if profile[dip] > 0.5 * min(peaks):
        return None
    return float(edges[dip] + _BIN_MM / 2)


def side_of(x_mm: float, midline: Optional[float]) -> Optional[str]:
    """The patient's own side of LPS x; None near the midline, or where that is not known."""
    if midline is None or abs(x_mm - midline) < BETWEEN_MM:
        return None
    return "left" if x_mm > midline else "right"
