"""The picture of one nodule and of its maps: the axial slice where it is largest, cropped around it.

read_around()    the CT, with the point checked against it
found_nodule()   the nodule of a result, or why there is none
cropped()        -> NoduleCrop: picture, outline, and any map on the same pixels

The patient's right is at the left of the picture and the front at its top, however the CT was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.results import LabelVolume, Nodule, RadiologyResult
from shared_models.contract.values import Array, CTVolume
from shared_models.geometry import index_to_lps, lps_to_index, resampled

from .report_pictures import WINDOW_HU, WINDOW_WORDS

_SIDE_PX = 300
_LEAST_MM, _LONG_AXES = 40.0, 2.5


@dataclass(frozen=True, eq=False)
class NoduleCrop:
    """A square part of an axial slice, in pixels of its own.

    Parameters
    ----------
    picture : uint8 (n, n, 3), windowed
    outline : bool (n, n), the nodule
    width_mm : of the picture
    slice_index : of the CT
    grid : (4, 4), index (column, row, slice) of the picture's pixels to LPS mm
    """

    picture: Array
    outline: Array
    width_mm: float
    slice_index: int
    grid: Array
    window: str = WINDOW_WORDS

    def of(self, values: Array, index_to_lps_mm: Array) -> Array:
        """float32 (n, n): a map on the picture's pixels; 0 where it does not reach."""
        return resampled(
            np.ascontiguousarray(values, np.float32), index_to_lps_mm, self.grid, (1, *self.outline.shape)
        )[0]


def read_around(path: Path, point: Sequence[float]) -> tuple[CTVolume, tuple[str, ...]]:
    """The CT and the notes of its reader.

    Raises
    ------
    BadGeometry : ``point``, LPS mm, lies outside it. InvalidInput : as read_ct().
    """
    from shared_models.ct_reader import read_ct

    volume, notes = read_ct(path)
    size = np.array(volume.voxels.shape[::-1])
    index = lps_to_index(volume.ijk_to_lps, point)
    if (index < -0.5).any() or (index > size - 0.5).any():
        ends = np.array([np.where([(n >> a) & 1 for a in range(3)], size - 1, 0) for n in range(8)])
        corners = index_to_lps(volume.ijk_to_lps, ends)
        ranges = zip("xyz", corners.min(axis=0), corners.max(axis=0))
        reach = ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, low, high in ranges)
        raise BadGeometry(
            f"The point {','.join(f'{x:g}' for x in point)} lies outside the CT.",
            f"Give LPS mm within {reach}. A viewer that shows RAS has x and y with the other sign.",
        )
    return volume, notes


def found_nodule(result: RadiologyResult, point: Sequence[float]) -> Nodule:
    """The nodule that was pointed at.

    Raises
    ------
    InvalidInput : none was recognised.
    """
    if not result.nodules:
        raise InvalidInput(
            f"No nodule was recognised at {','.join(f'{x:g}' for x in point)}.",
            "Point at the middle of the nodule, in LPS mm; `lungxai analyze --ct` lists those that it finds.",
        )
    return result.nodules[0]


def cropped(volume: CTVolume, mask: LabelVolume, nodule: Nodule) -> NoduleCrop:
    """The slice where the nodule is largest, at least 40 mm or 2.5 long axes wide, around its middle there.

    Raises
    ------
    InvalidInput : the segmentation does not hold it.
    """
    own = mask.labels == nodule.label
    areas = own.sum(axis=(1, 2))
    k = int(areas.argmax())
    if not areas[k]:
        raise InvalidInput("The segmentation does not hold the nodule.", "Report this: the result is faulty.")
    j, i = (float(where.mean()) for where in np.nonzero(own[k]))
    across, down = _axes(volume.ijk_to_lps)
    width = max(_LEAST_MM, _LONG_AXES * nodule.long_axis_mm)
    step = width / _SIDE_PX
    middle = index_to_lps(volume.ijk_to_lps, (i, j, k))
    grid = np.eye(4)
    grid[:3, 0], grid[:3, 1], grid[:3, 2] = across * step, down * step, np.cross(across, down)
    grid[:3, 3] = middle - (_SIDE_PX - 1) / 2 * (grid[:3, 0] + grid[:3, 1])
    shape = (1, _SIDE_PX, _SIDE_PX)
    slab = slice(k, k + 1)  # one slice alone, so that nothing of its neighbours comes in
    there = np.array(volume.ijk_to_lps)
    there[:3, 3] = index_to_lps(volume.ijk_to_lps, (0, 0, k))
    hu = resampled(volume.voxels[slab], there, grid, shape, outside=-1024)[0].astype(np.float32)
    grey = np.clip((hu - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1) * 255
    soft = resampled(own[slab].astype(np.float32), there, grid, shape)[0]
    return NoduleCrop(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), soft > 0.5, width, k, grid)


def _axes(ijk_to_lps: Array) -> tuple[Array, Array]:
    """Unit vectors in the slice's plane, towards the patient's left and towards the back."""
    first, second = (ijk_to_lps[:3, a] / np.linalg.norm(ijk_to_lps[:3, a]) for a in (0, 1))
    if abs(first[0]) < abs(second[0]):
        first, second = second, first
    return first * np.sign(first[0] or 1.0), second * np.sign(second[1] or 1.0)
