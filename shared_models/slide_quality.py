"""How far a tile can be trusted: sharp, and free of pen and thick folds.

tile_quality()   0 (useless) to 1 (sharp, clean tissue) of each tile
LEAST_QUALITY    tiles below it are left out
focus()          the part of it that is sharpness

quality = focus x clean x filled

focus   Fine detail as a share of coarse detail: squared differences between neighbours against those between pixels
        three apart (Brenner's measure at two distances), in the green channel, which H&E stains most, at about 1.8 um
        per pixel. A share, so that pale stains and thin tissue are not taken for blur. A picture without any fine
        detail has 1/9. 1 stands for the 5th percentile of real sharp tiles.
clean   1 without ink or thick folds, falling to 0 where they take a third of the tile.
filled  1 from a third of the tile that is not glass, falling to 0 where all of it is.

Calibrated on the 1,780 train tiles of LC25000, as they are (sharp), blurred by a Gaussian of 1 to 6 px (0.9 um), and
as JPEG; tests/unit/test_slide_quality.py measures it again. Other scanners were not there to be measured.

Source of the focus measure: Brenner et al. 1976, doi 10.1177/24.1.1254907. Departs from it in the ratio.
"""

from __future__ import annotations

import numpy as np

from .contract.errors import InvalidInput, SpacingUnknown
from .contract.values import Array
from .slide_tissue import ink, saturation

LEAST_QUALITY = 0.3
_FOCUS_UM = 1.8
_FLAT, _SHARP = 1 / 9, 0.184  # of a picture without fine detail; 5th percentile of sharp tiles
_NOISE = 9.0  # squared grey levels: what differs by less is noise, not detail
_COLOUR_SAMPLES = 40  # a side, about
_MOST_SPOILED, _LEAST_FILLED = 1 / 3, 1 / 3
_FOLD_EXCESS = 0.6
_AT_ONCE = 32  # tiles; keeps what is computed in the processor's cache


def tile_quality(pixels: Array, mpp: float) -> Array:
    """Quality of tiles; its meaning is at the top of this file.

    Parameters
    ----------
    pixels : uint8 (n, h, w, 3), RGB
    mpp : micrometres per pixel of ``pixels``

    Returns
    -------
    float32 (n,) in [0, 1]

    Raises
    ------
    InvalidInput : not 8-bit RGB tiles, or of fewer than 16 pixels a side. SpacingUnknown : mpp is not positive.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or min(pixels.shape[1:3]) < 16:
        raise InvalidInput("Tiles must be 8-bit RGB pictures of at least 16 pixels a side.", "Convert the slide.")
    if not (np.isfinite(mpp) and mpp > 0):
        raise SpacingUnknown("The tiles' pixel size is unknown.", "Give it in micrometres with --mpp.")
    answer = np.empty(len(pixels), np.float32)
    for start in range(0, len(pixels), _AT_ONCE):
        part = pixels[start : start + _AT_ONCE]
        answer[start : start + _AT_ONCE] = focus(part, mpp) * _clean(part).astype(np.float32)
    return answer


def focus(pixels: Array, mpp: float) -> Array:
    """Sharpness of tiles, float32 (n,) in [0, 1]; parameters are tile_quality()'s."""
    most = min(pixels.shape[1:3]) // 8
    picture = _mean_blocks(pixels[..., 1], min(max(1, round(_FOCUS_UM / mpp)), most))
    # Both around the same middles: an edge that only one of them sees would decide.
    ratio = _differences(picture[:, 1:-1, 1:-1], 1) / (_differences(picture, 3) + _NOISE)
    return np.clip((ratio - _FLAT) / (_SHARP - _FLAT), 0.0, 1.0).astype(np.float32)


def _mean_blocks(channel: Array, side: int) -> Array:
    """float32 (n, h // side, w // side) of uint8 (n, h, w): means of blocks of ``side`` x ``side``."""
    height, width = (length // side * side for length in channel.shape[1:])
    whole = np.ascontiguousarray(channel[:, :height, :width])  # out of RGB once: strided sums take several times longer
    rows = whole[:, ::side].astype(np.uint16)
    for k in range(1, side):
        rows += whole[:, k::side]
    total = rows[:, :, ::side].astype(np.float32)
    for k in range(1, side):
        total += rows[:, :, k::side]
    total *= np.float32(1 / side**2)
    return total


def _differences(picture: Array, lag: int) -> Array:
    """Mean squared difference of pixels ``lag`` apart, along rows plus along columns; float32 (n,)."""
    across, down = picture[:, :, lag:] - picture[:, :, :-lag], picture[:, lag:] - picture[:, :-lag]
    sums = [np.einsum("nij,nij->n", d, d, optimize=False) / (d.shape[1] * d.shape[2]) for d in (across, down)]
    return np.asarray(sums[0] + sums[1])


def _clean(pixels: Array) -> Array:
    """clean x filled, float32 (n,) in [0, 1]."""
    step = max(1, min(pixels.shape[1:3]) // _COLOUR_SAMPLES)
    # Plane by plane in memory, which is several times as fast; the axes are those of pictures.
    colour = np.moveaxis(np.ascontiguousarray(np.moveaxis(pixels[:, ::step, ::step], -1, 0), np.float32), 0, -1)
    red, green, blue = (colour[..., c] for c in range(3))
    coloured, black = ink(colour)
    strength = saturation(colour)
    folded = strength - (red + green + blue) / 765 > _FOLD_EXCESS
    glass = (strength < 0.06) & (np.maximum(red, green) > 200)
    count = red.shape[1] * red.shape[2]
    spoiled = np.count_nonzero(coloured | black | folded, axis=(1, 2)) / count
    tissue = 1.0 - np.count_nonzero(glass, axis=(1, 2)) / count
    return np.asarray(np.clip(1.0 - spoiled / _MOST_SPOILED, 0, 1) * np.clip(tissue / _LEAST_FILLED, 0, 1))
