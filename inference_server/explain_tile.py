"""One tile to explain, as the model sees it.

Tile               its pixels, its place, and what is said of it
tile_of_picture()  a picture as one tile of the model
tile_of_slide()    the tile around a place of a slide
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import SlideTiles

_GLASS = 0.9  # a tile with more of it than this is not worth explaining
_LEAST_FIELD = 0.95  # of the model's field that a picture must show


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile: SlideTiles of one, its side in level-0 pixels, and what is said of it.

    Parameters
    ----------
    width_um : None where the size of a pixel is not known
    """

    tiles: SlideTiles
    side_px: float
    width_um: Optional[float]
    said: str


def tile_of_picture(path: Path, mpp: Optional[float], model: Mapping[str, Any]) -> Tile:
    """A picture as one tile: with its pixel size the model's field in its middle, without it the whole square.

    Raises
    ------
    InvalidInput : it cannot be read, is not square and has no pixel size, shows less than the field, or is glass.
    """
    from shared_models.slide_reader import open_slide

    side, model_mpp = int(model["tile_px"]), float(model["spacing_um_px"])
    with open_slide(path, model_mpp if mpp is None else mpp) as picture:
        width, height = picture.dimensions
        field = float(width) if mpp is None else side * model_mpp / mpp
        if mpp is None and width != height:
            raise InvalidInput(
                f"The picture has {width} x {height} pixels, and a tile is square.",
                "Give its micrometres per pixel with --mpp: then the model's field is cut out of its middle.",
            )
        if field * _LEAST_FIELD > min(width, height):
            raise InvalidInput(
                f"The picture shows {min(width, height) * (mpp or model_mpp):.0f} µm, and the model sees "
                f"{side * model_mpp:.0f} µm.",
                "Cut out more of the slide, or leave --mpp out: then the picture is taken as one tile, as it is.",
            )
        said = "Tile" if mpp is None else f"Tile, {field * picture.mpp:.0f} µm wide"
        corner = (width - field) / 2, (height - field) / 2
        width_um = None if mpp is None else field * mpp
        return _tile(picture, corner, field, model, "tile", width_um, said)


def tile_of_slide(path: Path, mpp: Optional[float], at: Sequence[float], model: Mapping[str, Any]) -> Tile:
    """The tile whose middle is ``at``, (x, y) in level-0 pixels.

    Raises
    ------
    InvalidInput : not a slide, ``at`` lies outside it, or there is no tissue.
    """
    from shared_models.slide_reader import open_slide

    side, model_mpp = int(model["tile_px"]), float(model["spacing_um_px"])
    with open_slide(path, mpp) as slide:
        width, height = slide.dimensions
        if not (0 <= at[0] < width and 0 <= at[1] < height):
            raise InvalidInput(
                f"The place {at[0]:g},{at[1]:g} lies outside the slide.",
                f"Give x from 0 to {width - 1} and y from 0 to {height - 1}, in level-0 pixels, as QuPath shows them.",
            )
        field = side * model_mpp / slide.mpp
        said = f"Tile at {at[0]:g}, {at[1]:g} (level-0 pixels), {side * model_mpp:.0f} µm wide"
        corner = at[0] - field / 2, at[1] - field / 2
        return _tile(slide, corner, field, model, "slide", field * slide.mpp, said)


def _tile(
    slide: Any, corner: tuple[float, float], field: float, model: Mapping[str, Any], name: str,
    width_um: Optional[float], said: str,
) -> Tile:  # fmt: skip
    from shared_models.slide_tissue import saturation

    origin = np.rint([corner]).astype(np.int64)
    pixels = slide.read(int(origin[0, 0]), int(origin[0, 1]), field, field, int(model["tile_px"]))
    glass = (saturation(pixels.astype(np.float32)) < 0.06) & (pixels.min(axis=2) > 200)
    if glass.mean() > _GLASS:
        raise InvalidInput("There is no tissue on this tile.", "Choose a place on the tissue.")
    tiles = SlideTiles(pixels[None], origin, float(model["spacing_um_px"]), name)
    return Tile(tiles, field, width_um, said)
