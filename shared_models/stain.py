"""Colour of H&E tiles: which two stains they hold, and the same tiles as if stained like a target.

Stain          two stain vectors and how strong each of them gets
density()      optical density of pixels
macenko()      the stain of tiles, by the extreme directions of their densities
vahadane()     the stain of tiles, by sparse non-negative dictionary learning (stain_vahadane)
normalised()   tiles restained to a target; each tile's own stain, or one stain for all of them
normaliser()   the same as a card's "stain" section asks for it
target_of()    the stain of a typical tile: a target for a card

    python -m shared_models.stain --data ../shared/data --split train [--method vahadane]

prints a section for a card. Nothing here says that a model gains by it: measure that before a card asks for it.

"stain": {"method": "macenko" or "vahadane", "per": "tile",
          "target": {"matrix": [[r, g, b], [r, g, b]], "max_concentration": [h, e]}, "made_from": {...}}
"per" says over what a stain is estimated. "tile": the answer for a tile does not depend on its neighbours in a batch,
and tiles of little tissue stay as they are. A stain of a whole slide is steadier; normalised() takes one, no card can
ask for it yet.

Sources: Macenko et al. 2009, doi 10.1109/ISBI.2009.5193250; Vahadane et al. 2016, doi 10.1109/TMI.2016.2529665. Departs
from them in: white is 240, and glass brighter than that stays so; concentrations are 0 or more with both methods (free
ones turn pale glass green); strengths are those of the tissue, so that a tile's share of glass does not matter; a stain
is made at most _MOST_GAIN times stronger or weaker, so that a tile without nuclei gets no blue noise; a stain that
cannot be told is not guessed. What is neither stain is lost: red cells and pigment turn magenta.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput, ModelUnavailable
from .contract.values import Array
from .stain_vahadane import sparse_codes, sparse_stains

WHITE = 240.0
_DENSITY = -np.log((np.arange(256) + 1.0) / WHITE)
_DENSITY_SHORT = _DENSITY.astype(np.float32)
# Tissue absorbs that much on the average of R, G, B; where all three are below 15 it is a border or ink, not stain.
_LEAST_DENSITY, _DARKEST = 0.15, 15
_LEAST_PIXELS, _LEAST_DENSE = 1000, 200
_LEAST_ANGLE = math.radians(10)
_LEAST_CONCENTRATION = 0.05
_MOST_GAIN = 2.0
_MACENKO_PIXELS, _VAHADANE_PIXELS = 1 << 20, 1 << 13


@dataclass(frozen=True, eq=False)
class Stain:
    """Haematoxylin and eosin as found in, or wanted of, tiles.

    Parameters
    ----------
    matrix : float64 (2, 3), density of R, G, B for a unit of haematoxylin, then of eosin; rows of length 1
    max_concentration : float64 (2,), 99th percentile over tissue, above 0

    Raises
    ------
    InvalidInput : not two different stains in this order, or a value that is not finite.
    """

    matrix: Array
    max_concentration: Array

    def __post_init__(self) -> None:
        matrix, most = self.matrix, self.max_concentration
        fault = ""
        if matrix.shape != (2, 3) or most.shape != (2,):
            fault = "two stains of three channels and two strengths are needed"
        elif not (np.isfinite(matrix).all() and np.isfinite(most).all()):
            fault = "a value is not finite"
        elif np.abs(np.linalg.norm(matrix, axis=1) - 1).max() > 1e-3 or matrix.min() < -0.2:
            fault = "stain vectors have length 1 and absorb light"
        elif not _LEAST_ANGLE <= self.angle <= math.pi / 2:
            fault = "the two stains are the same colour, or opposite ones"
        elif matrix[0, 0] <= matrix[1, 0]:
            fault = "haematoxylin, which absorbs more red, comes first"
        elif matrix[:, 1].min() < 0.4:
            fault = "haematoxylin and eosin absorb green"
        elif most.min() < _LEAST_CONCENTRATION or most.max() > 20:
            fault = f"strengths lie between {_LEAST_CONCENTRATION} and 20"
        if fault:
            raise InvalidInput(f"This is no stain of haematoxylin and eosin: {fault}.", "Estimate it from H&E tiles.")

    @property
    def angle(self) -> float:
        """Between the two stain vectors, radians."""
        return float(np.arccos(np.clip(self.matrix[0] @ self.matrix[1], -1, 1)))


@dataclass(frozen=True, eq=False)
class Normalised:
    """``pixels`` uint8 (n, h, w, 3); ``changed`` bool (n,), False where no stain could be told: the tile as it came."""

    pixels: Array
    changed: Array


def density(pixels: Array) -> Array:
    """Optical density float32 of uint8 pixels, same shape: -ln((value + 1) / 240); a little below 0 on bright glass."""
    return _DENSITY_SHORT[pixels]


def _tissue(tiles: Array, budget: int) -> Array:
    """Densities float64 (m, 3) of tissue pixels, evenly taken from each tile, so that the tiles' order is no matter."""
    kept = []
    for tile in tiles:
        red, green, blue = (tile[..., c].reshape(-1) for c in range(3))
        light = density(red) + density(green) + density(blue) >= 3 * _LEAST_DENSITY
        kept.append(tile.reshape(-1, 3)[light & (np.maximum(np.maximum(red, green), blue) >= _DARKEST)])
    total = sum(len(pixels) for pixels in kept)
    if total < _LEAST_PIXELS:
        return np.empty((0, 3))
    step = math.ceil(total / budget)
    return _DENSITY[np.concatenate([pixels[::step] for pixels in kept])]


def _checked(tiles: Array) -> Array:
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
        raise InvalidInput("Tiles must be 8-bit RGB pictures.", "Convert the slide to 8-bit RGB.")
    return tiles


def _extremes(densities: Array) -> Optional[Array]:
    """Macenko's stain vectors (2, 3): the first and 99th percentile of direction in the plane of most variance."""
    dense = densities[densities.min(axis=1) >= _LEAST_DENSITY]
    if len(dense) < _LEAST_DENSE:
        return None
    values, vectors = np.linalg.eigh(np.cov(dense.T))
    if values[1] < 1e-6:  # one colour, or shades of one
        return None
    plane = vectors[:, [2, 1]]
    plane[:, 0] *= 1 if plane[:, 0].sum() >= 0 else -1
    along = dense @ plane
    turn = np.percentile(np.arctan2(along[:, 1], along[:, 0]), [1, 99])
    pair = np.stack([np.cos(turn), np.sin(turn)], axis=1) @ plane.T
    return pair if pair[0, 0] > pair[1, 0] else pair[::-1]


def _stain(densities: Array, matrix: Array) -> Optional[Stain]:
    """The two vectors with their strengths; None where they are no stains, most often one colour twice."""
    try:
        found = Stain(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.ones(2))
        return Stain(found.matrix, np.percentile(sparse_codes(densities, found.matrix), 99, axis=0))
    except InvalidInput:
        return None


def macenko(tiles: Array) -> Optional[Stain]:
    """The stain of uint8 tiles (n, h, w, 3), all taken together; None where it cannot be told.

    None is the answer for fewer than 1000 pixels of tissue, for one colour, and for colours that are no two stains.
    """
    densities = _tissue(_checked(tiles), _MACENKO_PIXELS)
    pair = _extremes(densities) if len(densities) else None
    return None if pair is None else _stain(densities, pair)


def vahadane(tiles: Array) -> Optional[Stain]:
    """As macenko(), by sparse non-negative dictionary learning that starts from Macenko's answer."""
    densities = _tissue(_checked(tiles), _VAHADANE_PIXELS)
    pair = _extremes(densities) if len(densities) else None
    if pair is None:
        return None
    start = np.maximum(pair, 0.01)
    matrix = sparse_stains(densities, start / np.linalg.norm(start, axis=1, keepdims=True))
    return _stain(densities, matrix if matrix[0, 0] > matrix[1, 0] else matrix[::-1])


METHODS: dict[str, Callable[[Array], Optional[Stain]]] = {"macenko": macenko, "vahadane": vahadane}


def _restained(tile: Array, source: Stain, target: Stain) -> Array:
    gain = np.clip(target.max_concentration / source.max_concentration, 1 / _MOST_GAIN, _MOST_GAIN)
    wanted = (gain[:, None] * target.matrix).astype(np.float32)
    flat = density(tile.reshape(-1, 3))
    # Glass brighter than WHITE stays so.
    bright = np.minimum(flat @ np.full((3, 1), 1 / 3, np.float32), 0)
    values = np.exp(-(sparse_codes(flat, source.matrix) @ wanted) - bright) * np.float32(WHITE) - 1
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).reshape(tile.shape)


def normalised(tiles: Array, target: Stain, method: str, source: Optional[Stain] = None) -> Normalised:
    """Tiles as if they had been stained like ``target``.

    Parameters
    ----------
    tiles : uint8 (n, h, w, 3), RGB
    method : one of METHODS
    source : the stain they have, of macenko() or vahadane() over a slide; without it each tile's own is estimated

    Returns
    -------
    Normalised; a tile whose stain cannot be told is returned as it is, and so marked

    Raises
    ------
    InvalidInput : not 8-bit RGB, or an unknown method.
    """
    if method not in METHODS:
        raise InvalidInput(f"There is no stain normalisation {method}.", f"Use {' or '.join(METHODS)}.")
    pixels, changed = _checked(tiles).copy(), np.zeros(len(tiles), bool)
    for index, tile in enumerate(tiles):
        found = source if source is not None else METHODS[method](tile[None])
        if found is not None:
            pixels[index], changed[index] = _restained(tile, found, target), True
    return Normalised(pixels, changed)


def normaliser(section: object) -> Optional[Callable[[Array], Array]]:
    """What a card's "stain" section asks for: uint8 (n, h, w, 3) -> the same; None where it asks for nothing.

    Raises
    ------
    ModelUnavailable : the section is not complete, or not a stain.
    """
    if section is None or (isinstance(section, dict) and section.get("method", "") in (None, "none")):
        return None
    try:
        if not isinstance(section, dict) or set(section) - {"made_from"} != {"method", "per", "target"}:
            raise ValueError("it needs method, per and target")
        method, given = section["method"], section["target"]
        if method not in METHODS:
            raise ValueError(f"method must be {' or '.join(METHODS)}")
        if section["per"] != "tile":
            raise ValueError('per must be "tile"')
        target = Stain(_numbers(given["matrix"]), _numbers(given["max_concentration"]))
    except (InvalidInput, ValueError, LookupError, TypeError, OverflowError) as fault:
        said = fault.message if isinstance(fault, InvalidInput) else str(fault)
        raise ModelUnavailable(
            f"The card of the slide model asks for a stain normalisation that cannot be read: {said.rstrip('.')}.",
            "Install the models again, or make the section with python -m shared_models.stain.",
        ) from fault
    return lambda tiles: normalised(tiles, target, method).pixels


def _numbers(given: Any) -> Array:
    rows = given if isinstance(given[0], list) else [given]
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for row in rows for value in row):
        raise ValueError("a value is not a number")
    return np.array(given, np.float64)


def target_of(tiles: Array, method: str) -> tuple[Stain, int]:
    """The stain of a typical tile, and how many tiles it is of.

    The median over the tiles' own stains, not the stain of all their pixels: that is what each tile is brought to, one
    by one.

    Raises
    ------
    InvalidInput : no tile has a stain.
    """
    found = [stain for tile in _checked(tiles) if (stain := METHODS[method](tile[None])) is not None]
    if not found:
        raise InvalidInput("No tile shows two stains.", "Give H&E tiles with tissue.")
    matrix = np.median([stain.matrix for stain in found], axis=0)
    most = np.median([stain.max_concentration for stain in found], axis=0)
    return Stain(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), most), len(found)


def main() -> None:
    from .code_version import code_version
    from .slide_data import SPLITS, read_tiles

    parser = argparse.ArgumentParser(description="Print a stain section for the card of a slide model; not validated.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds lc25000_lung_224")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--method", choices=tuple(METHODS), default="macenko")
    parser.add_argument("--tiles", type=int, default=500, help="so many, drawn at random; 0 takes all")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tiles = read_tiles(given.data, given.split)
    if tiles is None:
        raise SystemExit(f"{given.data} does not hold the H&E tiles; see --data.")
    chosen = np.random.default_rng(given.seed).permutation(len(tiles.pixels))[: max(given.tiles, 0) or None]
    target, used = target_of(tiles.pixels[np.sort(chosen)], given.method)
    section = {
        "method": given.method, "per": "tile",
        "target": {"matrix": target.matrix.round(5).tolist(),
                   "max_concentration": target.max_concentration.round(4).tolist()},
        "made_from": {"split": given.split, "tiles": len(chosen), "tiles_with_stain": used, "seed": given.seed,
                      "code": code_version(), "validated": False},
    }  # fmt: skip
    print(json.dumps(section))


if __name__ == "__main__":
    main()
