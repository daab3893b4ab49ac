"""A slide's heatmap in the shared colours, at any scale.

Painter   where the map has values, and their shades
EMPTY     the shade of where there is no tile
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from shared_models.contract.colours import heat_colour
from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import Heatmap, PathologyResult
from shared_models.contract.values import Array

_SHADES = 255  # and one more for where there is no tile
EMPTY = _SHADES


class Painter:
    """A heatmap as shades, sampled anywhere.

    Parameters
    ----------
    heatmap : of a slide, along its axes
    tiles : the slide's result: what lies outside of all its tiles is empty. Without it, cells of 0 are

    Raises
    ------
    InvalidInput : not a slide's heatmap, of another slide than ``tiles``, or turned against its axes.
    """

    def __init__(self, heatmap: Heatmap, tiles: Optional[PathologyResult] = None) -> None:
        m = heatmap.index_to_world
        if heatmap.modality != "pathology" or (tiles is not None and tiles.slide_id != heatmap.source_id):
            raise InvalidInput("The heatmap is not one of this slide.", "Choose a heatmap of the slide.")
        if m[0, 1] or m[1, 0] or not (m[0, 0] > 0 and m[1, 1] > 0):
            raise InvalidInput("The heatmap does not lie along the slide's axes.", "Compute it again.")
        self.cell_px = (float(m[0, 0]), float(m[1, 1]))
        self.first_px = (float(m[0, 2] - m[0, 0] / 2), float(m[1, 2] - m[1, 1] / 2))
        self.signed = bool(heatmap.values.min() < 0)
        self.top = float(np.abs(heatmap.values).max())
        self._values = heatmap.values
        self._there = heatmap.values != 0 if tiles is None else self._covered(tiles)
        # What speaks against the target has the upper half of the shades, where there is such a thing.
        self._own = _SHADES // 2 if self.signed else _SHADES
        ramp = [heat_colour(k / (self._own - 1)) for k in range(self._own)]
        against = [heat_colour(k / (self._own - 1), against=True) for k in range(_SHADES - self._own)]
        self.palette = np.array([*ramp, *against, (255, 255, 255)], np.uint8)

    def _covered(self, tiles: PathologyResult) -> Array:
        """Which cells have their centre in a tile, bool (rows, columns)."""
        rows, columns = self._values.shape
        edge = np.zeros((rows + 1, columns + 1), np.int32)
        begin, end = (
            np.ceil((tiles.origin_px + offset - self.first_px) / self.cell_px - 0.5 - 1e-6).astype(int)
            for offset in (np.zeros(2), np.array(tiles.tile_px))
        )
        (x0, y0), (x1, y1) = (np.clip(at, 0, [columns, rows]).T for at in (begin, end))
        for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
            np.add.at(edge, (y, x), sign)
        for axis in (0, 1):
            np.cumsum(edge, axis=axis, out=edge)
        covered: Array = edge[:rows, :columns] > 0
        return covered

    def shades(self, cells: int) -> Array:
        """Shades of squares of so many cells, uint8 (rows, columns); of each the mean of the cells that are there."""
        rows, columns = (-(-side // cells) for side in self._values.shape)
        answer = np.full((rows, columns), EMPTY, np.uint8)
        across = np.arange(0, self._values.shape[1], cells)
        at_once = max(1, (1 << 20) // self._values.shape[1] // cells)
        for first in range(0, rows, at_once):  # some rows at once: a map can have 100 million cells
            some = slice(first * cells, (first + at_once) * cells)
            there = self._there[some]
            values = np.where(there, self._values[some], 0).astype(np.float64)
            down = np.arange(0, len(values), cells)
            total, count = (
                np.add.reduceat(np.add.reduceat(a, down, axis=0), across, axis=1) for a in (values, there.astype(int))
            )
            share = np.clip(total / np.maximum(count, 1) / (self.top if self.top > 0 else 1.0), -1, 1)
            own = np.rint(np.abs(share) * (self._own - 1)).astype(np.uint8)
            own[share < 0] += np.uint8(self._own)
            answer[first : first + at_once] = np.where(count > 0, own, EMPTY)
        return answer
