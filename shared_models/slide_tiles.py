"""The tiles of a slide that hold tissue, at the scale of the model.

tissue_grid()    where they are: made from a thumbnail, cheap, so that progress can be shown
TileGrid         their origins, their size, and how many
tissue_tiles()   their pixels, batch by batch; slide_readahead has the full form

The tile that is drawn may be smaller than the field that the model sees, and drawn tiles may overlap:

    +----------- field: tile_px -----------+    The field keeps the model's own size and scale, whatever is drawn.
    |     +----- drawn: drawn_px ----+     |    The drawn tile is centred in it.
    |     |  +-- cell: step_px --+   |     |    Cells are centred in both and never overlap: regions are made of them.

Drawn tiles lie on one grid from the slide's corner. A tile is kept where enough of what is drawn is tissue, and little
of its field is pen or fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np

from .contract.errors import InputTooLarge, InvalidInput
from .contract.values import Array, SlideTiles
from .slide_reader import Slide
from .slide_tissue import THUMBNAIL_PX, TissueMap, tissue_layers

MIN_TISSUE = 0.35
MOST_MARKED = 0.2
MAX_TILES = 200_000
MOST_OVERLAP = 0.9
# Reading at a scale that the slide does not have would invent detail.
_MOST_ENLARGED = 1.5
_CELLS_AT_ONCE = 250_000
_REMEDY_REGION = "Draw the region on the tissue of this slide."


@dataclass(frozen=True, eq=False)
class TileGrid:
    """Where tiles lie.

    Parameters
    ----------
    origin_px : int64 (n, 2), level-0 (x, y) of the upper left of the field that the model sees, row by row; may lie
        outside the slide by less than a field, where it is white
    tile_px : (width, height) of the field in level-0 pixels; need not be whole
    step_px : (width, height), the distance between neighbours; ``tile_px`` unless given
    drawn_px : (width, height) of the tile that is drawn, centred in its field; ``tile_px`` unless given
    """

    origin_px: Array
    tile_px: tuple[float, float]
    step_px: tuple[float, float] = None  # type: ignore[assignment]
    drawn_px: tuple[float, float] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("step_px", "drawn_px"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.tile_px)

    @property
    def count(self) -> int:
        """How many tiles hold tissue."""
        return len(self.origin_px)

    def rest(self, start: int) -> TileGrid:
        """The grid from tile ``start`` on."""
        return replace(self, origin_px=self.origin_px[start:])


def tissue_grid(
    slide: Slide, tile_px: int, model_mpp: float, min_tissue: float = MIN_TISSUE, *,
    tile_um: Optional[float] = None, overlap: float = 0.0, region: Optional[Any] = None,
) -> TileGrid:  # fmt: skip
    """Find the tiles that hold tissue.

    Parameters
    ----------
    slide : an open slide
    tile_px : side of the field in the model's pixels
    model_mpp : micrometres per pixel that the model wants
    min_tissue : least share of tissue in a drawn tile, 0 to 1; 0 keeps every tile, glass, pen and folds too
    tile_um : side of the drawn tile in micrometres, at most the field's; the field's unless given
    overlap : share of a drawn tile that its neighbour covers too, 0 to less than 0.9
    region : shapely Polygon or MultiPolygon in level-0 pixels; only tiles whose centre lies in it are taken

    Raises
    ------
    InvalidInput : no tissue was found; the slide was scanned too coarsely for the model; tile_um or overlap out of
        their bounds; the region is empty, outside the slide, or holds no tile.
    InputTooLarge : more tiles than the cap.
    """
    if slide.mpp > model_mpp * _MOST_ENLARGED:
        raise InvalidInput(
            f"The slide has {slide.mpp:.2f} µm per pixel; the model needs {model_mpp:.2f} or finer.",
            "Use the scan at full resolution.",
        )
    field_um = tile_px * model_mpp
    drawn_um = field_um if tile_um is None else _checked_side(tile_um, field_um)
    if not 0 <= overlap < MOST_OVERLAP:  # also refuses NaN
        raise InvalidInput(f"Tiles cannot overlap by {overlap:g}.", f"Choose 0 to less than {MOST_OVERLAP:g}.")
    field, drawn = field_um / slide.mpp, drawn_um / slide.mpp
    step = drawn * (1 - overlap)
    # The last tile may hang over the slide's edge by up to three quarters of itself.
    counts = [max(1, int(np.ceil((side - 1.25 * drawn) / step + 1))) for side in slide.dimensions]
    first, last = (0, 0), (counts[0], counts[1])
    if region is not None:
        region = _checked_region(region, slide.dimensions)
        left, top, right, low = ((edge - drawn / 2) / step for edge in region.bounds)
        first = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
        last = min(counts[0], int(np.ceil(right)) + 1), min(counts[1], int(np.ceil(low)) + 1)
    if max(0, last[0] - first[0]) * max(0, last[1] - first[1]) > 100 * MAX_TILES:
        raise InputTooLarge(
            "There would be more tiles than any real slide has.",
            "Check the pixel size given with --mpp, or choose larger tiles, less overlap or a region.",
        )
    kept = _kept(slide, first, last, (field, drawn, step), min_tissue, region)
    if not len(kept) and region is not None:
        raise InvalidInput("No tile with tissue has its centre in the region.", _REMEDY_REGION)
    if not len(kept):
        raise InvalidInput("No tissue was found on the slide.", "Check that it is an H&E slide and not only its label.")
    return TileGrid(kept, (field, field), (step, step), (drawn, drawn))


def _checked_side(tile_um: float, field_um: float) -> float:
    if not (np.isfinite(tile_um) and tile_um > 0):
        raise InvalidInput(f"A tile cannot have a side of {tile_um:g} µm.", f"Choose up to {field_um:g} µm.")
    if tile_um > field_um * (1 + 1e-6):
        raise InvalidInput(
            f"Tiles of {tile_um:g} µm are larger than the {field_um:g} µm that the model sees.",
            f"Choose {field_um:g} µm or less.",
        )
    return min(float(tile_um), field_um)


def _checked_region(region: Any, size: tuple[int, int]) -> Any:
    """The region, made valid and prepared; raises InvalidInput unless some of it lies on the slide."""
    import shapely

    if getattr(region, "geom_type", None) not in ("Polygon", "MultiPolygon"):
        raise InvalidInput("The region is not an area.", "Draw a closed outline.")
    if not region.is_valid:
        region = shapely.make_valid(region)
    if region.is_empty or region.area <= 0 or not np.isfinite(region.bounds).all():
        raise InvalidInput("The region is empty.", "Draw a closed outline.")
    if not region.intersects(shapely.box(0, 0, *size)):
        raise InvalidInput("The region lies outside the slide.", _REMEDY_REGION)
    shapely.prepare(region)
    return region


def _kept(
    slide: Slide, first: tuple[int, int], last: tuple[int, int], sides: tuple[float, float, float], min_tissue: float,
    region: Optional[Any],
) -> Array:  # fmt: skip
    """int64 (n, 2), origins of fields; some rows of the grid at a time, so that memory is bounded."""
    import shapely

    field, drawn, step = sides
    thumbnail = slide.thumbnail(THUMBNAIL_PX)
    layers = tissue_layers(thumbnail, slide.mpp * slide.dimensions[0] / thumbnail.shape[1])
    tissue = TissueMap(layers.tissue, slide.dimensions)
    marked = TissueMap(layers.pen | layers.fold, slide.dimensions)
    across = np.arange(first[0], last[0])
    found, count = [], 0
    rows_at_once = max(1, _CELLS_AT_ONCE // max(1, len(across)))
    for row in range(first[1], last[1], rows_at_once):
        down = np.arange(row, min(row + rows_at_once, last[1]))
        corner = np.stack([np.tile(across, len(down)), np.repeat(down, len(across))], axis=1) * step
        if region is not None:
            corner = corner[shapely.contains_xy(region, corner[:, 0] + drawn / 2, corner[:, 1] + drawn / 2)]
        margin = (field - drawn) / 2
        corner = corner[tissue.shares(corner, drawn, drawn) >= min_tissue]
        if min_tissue > 0:
            corner = corner[marked.shares(corner - margin, field, field) <= MOST_MARKED]
        found.append(np.rint(corner - margin).astype(np.int64))
        count += len(corner)
        if count > MAX_TILES:
            raise InputTooLarge(
                f"The slide has more than {MAX_TILES} tiles of tissue.",
                "Choose a region of it, larger tiles or less overlap.",
            )
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def tissue_tiles(
    slide: Slide, tile_px: int, model_mpp: float, batch: int = 64, grid: Optional[TileGrid] = None, ahead: int = 2
) -> Iterator[SlideTiles]:
    """Read the tiles of a grid, ``batch`` at a time, sharp or not; memory does not grow with the slide.

    Parameters and errors are tissue_grid()'s, which is called unless ``grid`` is given, and read_ahead()'s.
    """
    from .slide_readahead import read_ahead

    grid = grid or tissue_grid(slide, tile_px, model_mpp)
    for part in read_ahead(slide.reopen, tile_px, model_mpp, grid, batch, ahead=ahead, least_quality=0.0):
        assert part.tiles is not None  # nothing is left out at a least quality of 0
        yield part.tiles
