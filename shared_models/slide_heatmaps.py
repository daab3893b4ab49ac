"""Heatmaps of a slide: what its tiles say for a class, put together on one grid.

slide_heatmaps()   maps by several methods, tile by tile in shared passes, with progress and Cancel
slide_heatmap()    one map over the slide, out of its tiles' maps
shown_most()       the class that is explained unless another is asked for

Tiles are not stretched to their own maximum, so they may be compared. Where fields overlap their maps are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from .attribution_record import joined
from .contract.errors import Cancelled, InputTooLarge, InvalidInput
from .contract.heatmap_words import RATHER
from .contract.provenance import Provenance
from .contract.results import Heatmap, PathologyResult
from .contract.values import CLASSES, Array
from .slide_model import TileModel

_MAX_CELLS = 64_000_000
_AT_ONCE = 8  # gradient methods are slower in larger batches on a CPU


def shown_most(result: PathologyResult) -> str:
    """The slide's most probable class; that of its tiles where the slide itself has no answer; of the model's own
    classes where it assessed none of ours.

    Raises
    ------
    InvalidInput : nothing was assessed.
    """
    known = {name: p for name, p in result.probabilities.items() if p is not None}
    if not known and len(result.origin_px):  # a slide without an answer still has tiles with theirs
        means = dict(zip(CLASSES, result.tile_probabilities.mean(axis=0).tolist()))
        known = {name: p for name, p in means.items() if p == p}
    if not known and result.other_probabilities is not None and len(result.origin_px):
        known = dict(zip(result.other_classes, result.other_probabilities.mean(axis=0).tolist()))
    if not known:
        raise InvalidInput("No class was assessed on this slide, so none can be explained.", "Install a model.")
    return max(known, key=lambda name: known[name])


class _Canvas:
    """The slide's grid of cells for one method; made when the first maps say how many cells a tile has."""

    def __init__(self, result: PathologyResult, cells: tuple[int, int]) -> None:
        self.high, self.wide = cells
        self.cell = np.array([result.tile_px[0] / self.wide, result.tile_px[1] / self.high])
        self.first = result.origin_px.min(axis=0)
        self.places = np.rint((result.origin_px - self.first) / self.cell).astype(np.int64)
        columns, rows = self.places.max(axis=0) + (self.wide, self.high)
        if columns * rows > _MAX_CELLS:
            raise InputTooLarge("The tiles lie too far apart for one map.", "Choose a smaller region.")
        self.total = np.zeros((rows, columns), np.float32)
        self.seen = np.zeros((rows, columns), np.uint16)

    def add(self, start: int, maps: Array) -> None:
        for values, (x, y) in zip(maps, self.places[start : start + len(maps)]):
            self.total[y : y + self.high, x : x + self.wide] += values
            self.seen[y : y + self.high, x : x + self.wide] += 1

    def heatmap(
        self, result: PathologyResult, method: str, target: str, provenance: Provenance, made: Mapping[str, Any]
    ) -> Heatmap:  # fmt: skip
        middle = self.first + self.cell / 2
        matrix = np.array([[self.cell[0], 0.0, middle[0]], [0.0, self.cell[1], middle[1]], [0.0, 0.0, 1.0]])
        values = (self.total / np.maximum(self.seen, 1)).astype(np.float32)
        parameters = {**made, "cells_per_tile": self.wide, "tiles": len(result.origin_px)}
        return Heatmap(values, matrix, result.slide_id, "pathology", method, target, provenance, parameters)


def slide_heatmap(
    result: PathologyResult, maps: Array, method: str, target: str, provenance: Provenance, made: Mapping[str, Any]
) -> Heatmap:  # fmt: skip
    """The tiles' maps put together on one grid.

    Parameters
    ----------
    maps : float32 (n, rows, columns), in the order of the result's tiles
    made : how the maps were made, for the record

    Returns
    -------
    Heatmap (rows, columns); 0 where there is no tile.

    Raises
    ------
    InvalidInput : not one map per tile. InputTooLarge : the tiles lie too far apart for one grid.
    """
    if len(result.origin_px) == 0 or maps.ndim != 3 or len(maps) != len(result.origin_px):
        raise InvalidInput("There is not one map for each tile of the slide.", "Choose a slide with tissue.")
    canvas = _Canvas(result, (maps.shape[1], maps.shape[2]))
    canvas.add(0, maps)
    return canvas.heatmap(result, method, target, provenance, made)


def slide_heatmaps(
    model: TileModel, result: PathologyResult, pixels: Callable[[int, int], Array], methods: Sequence[str], *,
    target: Optional[str] = None, contrast: Optional[str] = None,
    progress: Callable[[str, float], None] = lambda stage, fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Heatmap]:  # fmt: skip
    """Maps of a slide by several methods.

    Parameters
    ----------
    pixels : (start, stop) -> uint8 (n, h, w, 3), the tiles in the result's order
    target : the class that is explained; shown_most() unless given
    contrast : a class whose score is taken off the target's: what speaks for the one rather than for the other

    Raises
    ------
    InvalidInput : a method or class that the model has not. InputTooLarge : as slide_heatmap(). Cancelled.
    """
    chosen = shown_most(result) if target is None else target
    count = len(result.origin_px)
    canvases: dict[str, _Canvas] = {}
    made: dict[str, list[dict[str, Any]]] = {}
    for start in range(0, count, _AT_ONCE):
        if cancelled():
            raise Cancelled("The job was cancelled.", "")
        progress("explaining tiles", start / count)
        found = model.maps(pixels(start, min(count, start + _AT_ONCE)), methods, chosen, contrast)
        for method, (maps, record) in found.items():
            if method not in canvases:
                canvases[method], made[method] = _Canvas(result, (maps.shape[1], maps.shape[2])), []
            canvases[method].add(start, maps)
            made[method].append(record)
    named = chosen if contrast is None else f"{chosen}{RATHER}{contrast}"
    return {m: canvas.heatmap(result, m, named, model.provenance, joined(made[m])) for m, canvas in canvases.items()}
