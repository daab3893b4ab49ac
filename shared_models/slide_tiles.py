"""The tiles of a slide that hold tissue, at the scale of the model.

tissue_grid()    where they are: made from a thumbnail, cheap, so that progress can be shown
TileGrid         their origins, their size, and how many
tissue_tiles()   their pixels, batch by batch

Tiles lie edge to edge on one grid from the slide's corner; a tile is kept where enough of it is tissue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .contract.errors import InputTooLarge, InvalidInput
from .contract.values import Array, SlideTiles
from .slide_reader import Slide
from .slide_tissue import THUMBNAIL_PX, TissueMap, tissue_mask

MIN_TISSUE = 0.35
MAX_TILES = 200_000
# Reading at a scale that the slide does not have would invent detail.
_MOST_ENLARGED = 1.5


@dataclass(frozen=True, eq=False)
class TileGrid:
    """Where tiles lie.

    Parameters
    ----------
    origin_px : int64 (n, 2), level-0 (x, y), row by row
    tile_px : (width, height) of one tile in level-0 pixels; need not be whole
    """

    origin_px: Array
    tile_px: tuple[float, float]

    @property
    def count(self) -> int:
        """How many tiles hold tissue."""
        return len(self.origin_px)


def tissue_grid(slide: Slide, tile_px: int, model_mpp: float, min_tissue: float = MIN_TISSUE) -> TileGrid:
    """Find the tiles that hold tissue.

    Parameters
    ----------
    slide : an open slide
    tile_px : side of a tile in the model's pixels
    model_mpp : micrometres per pixel that the model wants
    min_tissue : least share of tissue in a tile, 0 to 1

    Raises
    ------
    InvalidInput : no tissue was found, or the slide was scanned too coarsely for the model.
    InputTooLarge : more tiles than the cap.
    """
    if slide.mpp > model_mpp * _MOST_ENLARGED:
        raise InvalidInput(
            f"The slide has {slide.mpp:.2f} µm per pixel; the model needs {model_mpp:.2f} or finer.",
            "Use the scan at full resolution.",
        )
    step = tile_px * model_mpp / slide.mpp
    across, down = (max(1, int(np.ceil(side / step - 0.25))) for side in slide.dimensions)
    if across * down > 100 * MAX_TILES:
        raise InputTooLarge("The slide is larger than any real one.", "Check the pixel size given with --mpp.")
    columns, rows = np.meshgrid(np.arange(across), np.arange(down))
    origins = np.rint(np.stack([columns.ravel(), rows.ravel()], axis=1) * step).astype(np.int64)
    tissue = TissueMap(tissue_mask(slide.thumbnail(THUMBNAIL_PX)), slide.dimensions)
    kept = origins[tissue.shares(origins, step, step) >= min_tissue]
    if not len(kept):
        raise InvalidInput("No tissue was found on the slide.", "Check that it is an H&E slide and not only its label.")
    if len(kept) > MAX_TILES:
        raise InputTooLarge(f"The slide has {len(kept)} tiles of tissue.", "Choose a region of it.")
    return TileGrid(kept, (step, step))


def tissue_tiles(
    slide: Slide, tile_px: int, model_mpp: float, batch: int = 64, grid: Optional[TileGrid] = None
) -> Iterator[SlideTiles]:
    """Read the tiles that hold tissue, ``batch`` at a time; memory does not grow with the slide.

    Parameters and errors are tissue_grid()'s, which is called unless ``grid`` is given.
    """
    grid = grid or tissue_grid(slide, tile_px, model_mpp)
    width, height = grid.tile_px
    for start in range(0, grid.count, batch):
        origins = grid.origin_px[start : start + batch]
        pixels = np.stack([slide.read(int(x), int(y), width, height, tile_px) for x, y in origins])
        yield SlideTiles(pixels, origins, model_mpp, slide.slide_id)
