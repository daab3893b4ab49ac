"""Shifts of H&E tiles at graded strengths: what another laboratory or scanner makes of the same tissue.

SHIFTS         name -> Shift: what it imitates, its unit, and the strength of each of the GRADES grades
shifted()      uint8 tiles after one shift at one grade, 1 to GRADES; the same seed gives the same tiles
by_strength()  the same at any strength

stain_strength   haematoxylin and eosin stronger or weaker, in the space of Ruifrok and Johnston 2001 (HED)
stain_vectors    the tile's own two stains (Macenko et al. 2009) turned towards other dyes
white_balance    a gain for red and the inverse one for blue: the scanner's light
gamma            brightness = brightness ** gamma, either way: the scanner's curve
blur             Gaussian point spread: out of focus
jpeg             compression of that quality
mpp              the same tissue scanned at coarser or finer pixels than the model expects

Strength 0 (jpeg: quality 100) changes nothing. Either way: half of the tiles, drawn by the seed, are shifted in one
direction, half in the other. slide_augmentation.py changes tiles for training, more mildly and at random; these are for
measuring, and reach further than it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array

GRADES = 5


@dataclass(frozen=True)
class Shift:
    """One kind of shift.

    Parameters
    ----------
    imitates : in words
    unit : of the strength
    strengths : GRADES of them, rising in effect
    change : (tile uint8 (h, w, 3), strength, direction -1 or 1) -> uint8 (h, w, 3)
    """

    imitates: str
    unit: str
    strengths: tuple[float, ...]
    change: Callable[[Array, float, int], Array]


def _rounded(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _stain_strength(tile: Array, strength: float, direction: int) -> Array:
    import torch

    from .slide_augmentation import restained

    gain = torch.ones(1, 3)
    gain[0, :2] = (1 + strength) ** direction
    whole = torch.from_numpy(tile.copy()).permute(2, 0, 1)[None].float()
    return _rounded(restained(whole, gain, torch.zeros(1, 3))[0].permute(1, 2, 0).numpy())


def _stain_vectors(tile: Array, strength: float, direction: int) -> Array:
    from .stain import macenko

    found = macenko(tile[None])
    if found is None:  # glass, or one colour: there is no stain to turn
        return tile
    turn = math.radians(strength) * direction
    stains = np.stack([_turned(vector, turn) for vector in found.matrix])
    # What is neither of the two stays: density + (new - old) x concentration.
    flat = -np.log((tile.reshape(-1, 3) + 1.0) / 256.0)
    amount = np.maximum(flat @ np.linalg.pinv(found.matrix), 0.0)
    return _rounded(256.0 * np.exp(-(flat + amount @ (stains - found.matrix))) - 1.0).reshape(tile.shape)


def _turned(vector: Array, angle: float) -> Array:
    """A density vector (3,) about the grey axis by ``angle``: another hue, as dark as before; none below 0."""
    x, y, z = np.full(3, 1 / math.sqrt(3))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    answer: Array = np.maximum(turn @ vector, 0.0)
    return answer


def _white_balance(tile: Array, strength: float, direction: int) -> Array:
    gain = (1 + strength) ** direction
    return _rounded(tile * np.array([gain, 1.0, 1 / gain]))


def _gamma(tile: Array, strength: float, direction: int) -> Array:
    return _rounded(255.0 * (tile / 255.0) ** ((1 + strength) ** direction))


def _blur(tile: Array, strength: float, direction: int) -> Array:
    from scipy.ndimage import gaussian_filter

    return _rounded(gaussian_filter(tile.astype(np.float32), (strength, strength, 0), mode="nearest"))


def _jpeg(tile: Array, strength: float, direction: int) -> Array:
    from .slide_augmentation import jpeg

    return tile if strength >= 100 else jpeg(tile, int(strength))


def _mpp(tile: Array, strength: float, direction: int) -> Array:
    """The middle enlarged (direction 1), or all of it made smaller and mirrored outwards (-1); same size."""
    from PIL import Image

    side, factor = tile.shape[0], (1 + strength) ** direction
    inner = max(8, round(side / factor))
    picture = Image.fromarray(tile)
    if inner <= side:
        low = (side - inner) // 2
        part = picture.crop((low, low, low + inner, low + inner))
        return np.asarray(part.resize((side, side), Image.Resampling.BICUBIC))
    small = max(8, round(side * factor))
    shrunk = np.asarray(picture.resize((small, small), Image.Resampling.BICUBIC))
    before = (side - small) // 2
    return np.pad(shrunk, ((before, side - small - before),) * 2 + ((0, 0),), mode="symmetric")


SHIFTS: dict[str, Shift] = {
    "stain_strength": Shift("staining time", "stronger or weaker by", (0.2, 0.4, 0.7, 1.1, 1.6), _stain_strength),
    "stain_vectors": Shift("other dyes", "degrees of hue", (5, 10, 20, 30, 45), _stain_vectors),
    "white_balance": Shift("scanner's light", "red against blue by", (0.05, 0.1, 0.2, 0.3, 0.45), _white_balance),
    "gamma": Shift("scanner's curve", "exponent off 1 by", (0.15, 0.3, 0.5, 0.8, 1.2), _gamma),
    "blur": Shift("out of focus", "px, standard deviation", (0.7, 1.2, 1.8, 2.6, 4.0), _blur),
    "jpeg": Shift("compression", "quality", (70, 50, 30, 15, 7), _jpeg),
    "mpp": Shift("pixel size", "larger or smaller by", (0.15, 0.3, 0.6, 1.0, 1.6), _mpp),
}


def by_strength(pixels: Array, name: str, strength: float, seed: int = 0) -> Array:
    """Tiles after one shift.

    Parameters
    ----------
    pixels : uint8 (n, h, h, 3), RGB; left as they are
    name : of SHIFTS
    strength : in its unit
    seed : of which tiles go which way

    Returns
    -------
    uint8, same shape

    Raises
    ------
    InvalidInput : no such shift, or no square 8-bit RGB tiles.
    """
    if name not in SHIFTS:
        raise InvalidInput(f"There is no shift {name:.80}.", f"Choose one of {', '.join(SHIFTS)}.")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.shape[1] != pixels.shape[2]:
        raise InvalidInput("Tiles must be square 8-bit RGB pictures.", "Convert the slide to 8-bit RGB.")
    ways = np.random.default_rng(seed).permutation(np.arange(len(pixels)) % 2) * 2 - 1
    changed = [SHIFTS[name].change(tile, strength, int(way)) for tile, way in zip(pixels, ways)]
    return np.stack(changed) if changed else pixels.copy()


def shifted(pixels: Array, name: str, grade: int, seed: int = 0) -> Array:
    """by_strength() at a grade of 1 to GRADES; 0 is the tiles as they are.

    Raises
    ------
    InvalidInput : as by_strength(), or no such grade.
    """
    if not 0 <= grade <= GRADES:
        raise InvalidInput(f"There is no grade {grade}.", f"Choose 0 to {GRADES}.")
    if grade == 0:
        return pixels.copy()
    if name not in SHIFTS:
        raise InvalidInput(f"There is no shift {name:.80}.", f"Choose one of {', '.join(SHIFTS)}.")
    return by_strength(pixels, name, SHIFTS[name].strengths[grade - 1], seed)
