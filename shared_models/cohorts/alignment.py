"""Whether two tiles show the same field: the best correlation over turns, mirroring, and shifts.

aligned()   of two tiles; 1 is the same picture, tiles of different fields reach about 0.3 by chance

A copy that was zoomed much, or of which less than half is left, is not found.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..contract.values import Array
from .case import CohortImage
from .embedding import tile_pixels

_SIDE = 64
_ANGLES = range(-30, 31, 10)


def aligned(one: CohortImage, two: CohortImage) -> float:
    """Best normalised correlation of the windowed grey values, over 112 turns and mirrorings and every shift.

    Raises
    ------
    InvalidInput : a tile cannot be read.
    """
    spectra = _turned(two.path)
    return float(np.fft.ifft2(np.conj(_spectrum(_grey(one.path)))[None] * spectra).real.max())


def _grey(path: Path) -> Array:
    result: Array = tile_pixels(path, _SIDE).astype(np.float32).mean(axis=2)
    return result


def _spectrum(grey: Array) -> Array:
    window = np.outer(np.hanning(_SIDE), np.hanning(_SIDE))
    windowed = (grey - grey.mean()) * window
    result: Array = np.fft.fft2(windowed / (np.linalg.norm(windowed) or 1))
    return result


@lru_cache(maxsize=64)
def _turned(path: Path) -> Array:
    from scipy import ndimage

    grey = _grey(path)
    turned = []
    for mirrored in (grey, grey[:, ::-1]):
        for quarter in range(4):
            for angle in _ANGLES:
                small = ndimage.rotate(np.rot90(mirrored, quarter), angle, reshape=False, order=1, mode="reflect")
                turned.append(_spectrum(small))
    return np.stack(turned)
