"""The surroundings of what the user pointed at, cut out of a CT for the network and put back.

Prompt           a point or a box, in voxel index
Neighbourhood    square crops around it, at the network's pixel size, with the prompt's channel; and the way back

The crops keep the CT's own pixels where these are as fine as LIDC's; else they are resampled. Beyond the CT's border
its last voxels are repeated, as in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .contract.values import Array
from .ct_network import COARSEST_MM, FINEST_MM
from .ct_prompts import box_map, point_map, strength

THIN_MM = 2.5  # slices closer than this are seen in three directions


@dataclass(frozen=True, eq=False)
class Prompt:
    """``low`` and ``high`` (3,) corner in fractional (slice, row, column) index; equal for a point."""

    low: Array
    high: Array

    @property
    def is_point(self) -> bool:
        return bool(np.array_equal(self.low, self.high))

    @property
    def centre(self) -> Array:
        middle: Array = (self.low + self.high) / 2
        return middle

    def within(self, where: tuple[slice, slice, slice]) -> Prompt:
        """The same in index of a part of the CT."""
        first = np.array([part.start for part in where])
        return Prompt(self.low - first, self.high - first)


def pixel_mm(spacing_mm: tuple[float, float, float]) -> float:
    """In-plane pixel size at which a CT of this spacing is read."""
    return float(np.clip(np.sqrt(spacing_mm[0] * spacing_mm[1]), FINEST_MM, COARSEST_MM))


class Neighbourhood:
    """Crops of ``side`` pixels of ``pixel`` mm around a prompt.

    Parameters
    ----------
    shape : of the CT (slices, rows, columns)
    spacing_mm : along (column, row, slice) index
    prompt : of that CT
    side, pixel : of the crops
    """

    def __init__(
        self, shape: tuple[int, ...], spacing_mm: tuple[float, float, float], prompt: Prompt, side: int, pixel: float
    ) -> None:
        self.spacing = np.array(spacing_mm[::-1], dtype=np.float64)
        self.prompt, self.side, self.pixel = prompt, side, pixel
        self.step = pixel / self.spacing  # index per pixel of the crop
        # Half a pixel off, so that an even number of native pixels needs no interpolation.
        self.centre = np.floor(prompt.centre + 0.5) + 0.5
        self.centre[0] = prompt.centre[0]
        half = (side - 1) / 2 * self.step
        low = np.maximum(np.ceil(self.centre - half - 1e-6), 0).astype(int)
        high = np.minimum(np.floor(self.centre + half + 1e-6), np.array(shape) - 1).astype(int)
        low[0], high[0] = min(low[0], int(round(prompt.centre[0]))), max(high[0], int(round(prompt.centre[0])))
        k, j, i = (slice(int(a), int(b) + 1) for a, b in zip(low, high))
        self.where = (k, j, i)
        self.shape = shape

    @property
    def slices(self) -> Array:
        """Indices of the CT's slices in the neighbourhood."""
        return np.arange(self.where[0].start, self.where[0].stop)

    def _along(self, axis: int) -> Array:
        """Index in the CT of each pixel of a crop along one axis."""
        across: Array = self.centre[axis] + (np.arange(self.side) - (self.side - 1) / 2) * self.step[axis]
        return across

    def axial(self, hu: Array, slices: Array) -> tuple[Any, Any]:
        """torch float32 HU and prompt (n, side, side) of some of the CT's slices."""
        import torch

        planes = self.planes(hu[slices])
        away = self._away(slices, 0)
        return planes, torch.from_numpy(np.stack([self._map((1, 2)) * strength(d) for d in away]).astype(np.float32))

    def planes(self, values: Array) -> Any:
        """torch float32 (n, side, side) of axial slices (n, rows, columns) of the CT."""
        import torch

        return _sampled(torch.from_numpy(values.astype(np.float32)), self._along(1), self._along(2))

    def turned(self, hu: Array, axis: int, places: Array) -> tuple[Any, Any]:
        """torch float32 HU and prompt (n, side, side) of coronal (axis 1) or sagittal (axis 2) planes.

        Rows run along the CT's slices, columns along the axis that is left; ``places`` are indices along ``axis``.
        """
        import torch

        other = 3 - axis
        planes = np.moveaxis(hu, axis, 0)[places].astype(np.float32)
        planes = _sampled(torch.from_numpy(planes), self._along(0), self._along(other))
        away = self._away(places, axis)
        return planes, torch.from_numpy(
            np.stack([self._map((0, other)) * strength(d) for d in away]).astype(np.float32)
        )

    def _away(self, index: Array, axis: int) -> Array:
        """Distance of planes from the prompt, mm; seen from further away, planes lie closer together."""
        outside = np.maximum(self.prompt.low[axis] - index, index - self.prompt.high[axis])
        away: Array = np.maximum(outside, 0) * self.spacing[axis] * min(1.0, COARSEST_MM / self.pixel)
        return away

    def _map(self, axes: tuple[int, int]) -> Array:
        """The prompt in a crop along two axes, at full strength."""
        low, high = (
            [(corner[a] - self.centre[a]) / self.step[a] + (self.side - 1) / 2 for a in axes]
            for corner in (self.prompt.low, self.prompt.high)
        )
        if not self.prompt.is_point:
            return np.asarray(box_map((self.side, self.side), low, high))
        place = np.arange(self.side)
        return np.asarray(point_map(np.hypot(place[:, None] - low[0], place[None] - low[1])))

    def back(self, planes: Any, axis: int = 0) -> Array:
        """Values of crops (n, side, side) across ``axis`` on the CT's pixels: float32, ``where`` along the other two.

        Crops are of consecutive planes; the result keeps ``axis`` in its place.
        """
        first, second = (a for a in range(3) if a != axis)
        along = []
        for a in (first, second):
            index = np.arange(self.where[a].start, self.where[a].stop)
            along.append((index - self.centre[a]) / self.step[a] + (self.side - 1) / 2)
        values = _sampled(planes, *along).numpy()
        return np.ascontiguousarray(np.moveaxis(values, 0, axis))


def _sampled(planes: Any, rows: Array, columns: Array) -> Any:
    """torch (n, len(rows), len(columns)): linear interpolation of planes (n, r, c) at fractional rows and columns."""
    for axis, places in ((1, rows), (2, columns)):
        size = planes.shape[axis]
        places = np.clip(places, 0, size - 1)
        lower = np.minimum(np.floor(places + 1e-9).astype(int), size - 1)
        upper = np.minimum(lower + 1, size - 1)
        part = np.clip(places - lower, 0, 1).astype(np.float32)
        planes = _mixed(planes, axis, lower, upper, part)
    return planes


def _mixed(planes: Any, axis: int, lower: Array, upper: Array, part: Array) -> Any:
    import torch

    a, b = (planes.index_select(axis, torch.from_numpy(i)) for i in (lower, upper))
    weight = torch.from_numpy(part).reshape([-1 if d == axis else 1 for d in range(planes.ndim)])
    return a if not part.any() else a + (b - a) * weight
