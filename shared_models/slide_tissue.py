"""Where a slide has tissue: from its thumbnail, without a model.

tissue_layers()   tissue, pen and folds of a thumbnail, as masks
tissue_mask()     the tissue alone
ink()             which colours are a pen's; also for tiles at full resolution
saturation()      of RGB
TissueMap         a mask with its scale; its share of any rectangle of level 0

Stained tissue is what is more coloured than the glass (Otsu's threshold on saturation, held between two bounds so that
a slide that is all tissue or all glass is not split in the middle). Left out of it are black borders, shadows and black
ink (dark and hardly coloured), pen (colours that H&E does not make) and folds (thin, and darker and more saturated
than the slide's own tissue).

Red ink is told from eosin and blood by blue light: eosin lets it through, a red pen absorbs it nearly as well as green.
Of all pixels of 2,623 real H&E tiles (LC25000, 0.9 um), 0.10 % have a pen's colour (0.011 % the red one's) and 0.001 %
black ink's; of their 13 um cells, which is what a thumbnail shows, 0.007 %; no tile has more than 5 %. What is no
larger than a few cells is not taken for a stroke. A pale red or pink pen is missed, so that blood is not lost. Black
lung pigment (anthracosis) is left out as black ink is. Folds are looked for with care, so that dense tumour is not
lost: on evenly stained tissue they are found; amid tissue of mixed stain, one of two layers is mostly missed and of
one of three about half is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Optional

import numpy as np

from .contract.values import Array

THUMBNAIL_PX = 2048
_LEAST, _MOST = 0.06, 0.15
_WHITE = 245.0
_RED_SURE, _RED_PALE = 0.74, 0.55  # saturation of red ink by itself, and beside it
# Micrometres. Pen: what is smoothed away, least area of a stroke, reach of its edge; pixel where nobody said it.
_PEN_SMOOTH, _PEN_AREA, _PEN_EDGE, _UNKNOWN_UM = 16.0, 4000.0, 40.0, 40.0
# Folds: pixel to look at, what is smoothed away (nuclei), widest, shortest, and the coarsest thumbnail that shows them.
_FOLD_PX, _FOLD_SMOOTH, _FOLD_WIDEST, _FOLD_SHORTEST, _FOLD_COARSEST = 8.0, 24.0, 110.0, 250.0, 30.0
_FOLD_ABOVE_TISSUE, _FOLD_LEAST, _FOLD_SLENDER = 0.25, 0.15, 3.0


def otsu(values: Array) -> float:
    """The threshold in [0, 1] that parts ``values`` best into two groups. Source: Otsu 1979."""
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mass = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    return float(edges[1:][np.nanargmax(np.where(np.isfinite(between), between, -1))])


def saturation(colour: Array) -> Array:
    """(max - min) / max of RGB on the last axis, float32 in [0, 1]."""
    red, green, blue = (colour[..., c] for c in range(3))  # a reduction over an axis of 3 takes many times longer
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return np.asarray((high - low) / np.maximum(high, np.float32(1)))


def ink(colour: Array) -> tuple[Array, Array]:
    """Which pixels have a pen's colour.

    Parameters
    ----------
    colour : float32 (..., 3), RGB, 0 to 255

    Returns
    -------
    coloured, black : bool (...); black is also a border's or a shadow's colour
    """
    red, green, blue = (colour[..., c] for c in range(3))
    strength = saturation(colour)
    # H&E absorbs green most. Green pen: green leads. Blue pen: red is far the least, or green is not below it.
    coloured = (green > red * 1.1) & (green > 0.9 * blue) & (strength > 0.15)
    coloured |= (green > red * 1.1) & (blue > red * 1.6)
    coloured |= (green > red * 0.9) & (blue > red * 2.4)
    coloured |= _red_ink(colour, strength, _RED_SURE)
    black = (np.maximum(np.maximum(red, green), blue) < 120) & (strength < 0.35)
    return coloured, black


def _red_ink(colour: Array, strength: Array, least: float) -> Array:
    """bool (...): red, of at least that saturation; blood may have that hue, but is paler."""
    found = (colour[..., 0] > colour[..., 1] * 2) & (strength > least)
    places = np.nonzero(found)
    # In optical density: blue nearly as dense as green, red hardly at all.
    density = -np.log10(np.clip(colour[places], 1.0, _WHITE) / _WHITE)
    found[places] = (density[:, 2] > 0.6 * density[:, 1]) & (density[:, 0] < 0.25 * density[:, 1])
    return np.asarray(found)


@dataclass(frozen=True, eq=False)
class TissueLayers:
    """What a thumbnail shows: bool (rows, columns) each; ``tissue`` holds neither ``pen`` nor ``fold``.

    ``pen`` has all ink, borders and shadows; ``fold`` is empty where the thumbnail is too coarse to show folds.
    """

    tissue: Array
    pen: Array
    fold: Array


def tissue_layers(thumbnail: Array, um_per_px: Optional[float] = None) -> TissueLayers:
    """Tell tissue from glass, pen, borders and folds.

    Parameters
    ----------
    thumbnail : uint8 (rows, columns, 3), RGB
    um_per_px : micrometres per pixel of the thumbnail; where None, folds are not looked for
    """
    from scipy.ndimage import binary_dilation, binary_opening, binary_propagation

    scale = um_per_px or _UNKNOWN_UM
    colour = _smooth(thumbnail, 3)
    strength = saturation(colour)
    threshold = min(max(otsu(strength), _LEAST), _MOST)
    # A stroke is wider than a cell: single blood cells and nuclei are not to be taken for red and blue ink.
    smooth = _smooth(thumbnail, max(3, round(_PEN_SMOOTH / scale)))
    coloured, black = ink(smooth)
    stroke = _large(coloured | black, _PEN_AREA / scale**2)
    # What is paler, but red and part of a red stroke, is its own.
    stroke = binary_propagation(stroke, mask=stroke | _red_ink(smooth, saturation(smooth), _RED_PALE))
    # A stroke's edge is thinned by the glass beside it until it looks like tissue.
    pen = binary_dilation(stroke, iterations=int(np.clip(_PEN_EDGE / scale, 2, 12))) | black
    tissue = binary_opening((strength > threshold) & ~pen, iterations=1)
    fold = np.zeros_like(tissue)
    if um_per_px is not None and um_per_px <= _FOLD_COARSEST and tissue.any():
        fold = _folds(thumbnail, tissue, um_per_px)
    return TissueLayers(tissue & ~fold, pen, fold)


def tissue_mask(thumbnail: Array, um_per_px: Optional[float] = None) -> Array:
    """bool (rows, columns): the tissue of tissue_layers()."""
    return tissue_layers(thumbnail, um_per_px).tissue


def _smooth(picture: Array, window: int) -> Array:
    """float32 (rows, columns, 3): means over ``window`` x ``window`` pixels, to whole grey levels."""
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(picture).filter(ImageFilter.BoxBlur((window - 1) / 2))).astype(np.float32)


def _large(mask: Array, least_px: float) -> Array:
    """The parts of a mask (neighbours at a corner belong together) of at least ``least_px`` pixels."""
    from scipy.ndimage import label

    parts, count = label(mask, np.ones((3, 3)))
    kept = np.bincount(parts.ravel(), minlength=count + 1) >= least_px
    kept[0] = False
    return np.asarray(kept[parts])


def _folds(thumbnail: Array, tissue: Array, um_per_px: float) -> Array:
    """bool (rows, columns): where tissue lies double.

    Light passes a fold twice or three times through tissue: saturation rises and intensity falls, so their difference
    stands out. Source: Bautista & Yagi 2009, doi 10.1109/IEMBS.2009.5334529 (difference of saturation and intensity).
    Departs from it in that the threshold is relative to the slide's own tissue, and that a fold must be long and
    narrow: dense tumour and lymphoid tissue are dark and saturated too, and are not to be lost.
    """
    from scipy.ndimage import (
        binary_closing,
        binary_dilation,
        binary_opening,
        find_objects,
        label,
        maximum_filter,
        minimum_filter,
    )

    skip = max(1, int(_FOLD_PX / um_per_px))  # fold widths need no finer pixels
    scale = um_per_px * skip
    colour = _smooth(thumbnail, max(1, round(_FOLD_SMOOTH / um_per_px)))[::skip, ::skip]
    inside = tissue[::skip, ::skip]
    answer = np.zeros_like(tissue)
    if not inside.any():
        return answer
    strength, light = saturation(colour), colour.mean(axis=-1) / 255.0
    excess = strength - light
    found = inside & (excess > max(np.median(excess[inside]) + _FOLD_ABOVE_TISSUE, _FOLD_LEAST))
    found &= (strength > np.median(strength[inside])) & (light < np.median(light[inside]))
    found = binary_closing(found, iterations=max(1, round(_FOLD_SMOOTH / 2 / scale)))
    side = max(3, round(_FOLD_WIDEST / scale)) | 1
    wide = maximum_filter(minimum_filter(found, side), side + 2 * max(1, round(_FOLD_SMOOTH / scale)))
    parts, count = label(binary_opening(found & ~wide), np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1) * scale**2
    extents = np.array([np.hypot(r.stop - r.start, c.stop - c.start) for r, c in find_objects(parts)]) * scale
    long = np.zeros(count + 1, bool)
    long[1:] = (extents >= _FOLD_SHORTEST) & (extents**2 >= _FOLD_SLENDER * areas[1:])
    fold = binary_dilation(long[parts], iterations=max(1, round(_FOLD_SMOOTH / 2 / scale)))
    rows, columns = (np.minimum(np.arange(n) // skip, m - 1) for n, m in zip(tissue.shape, fold.shape))
    answer[:] = fold[rows[:, None], columns] & tissue
    return answer


@dataclass(frozen=True, eq=False)
class TissueMap:
    """A mask and where it lies.

    Parameters
    ----------
    mask : bool (rows, columns)
    size_px : (width, height) of level 0 that it covers
    """

    mask: Array
    size_px: tuple[int, int]

    @cached_property
    def _table(self) -> Array:
        """int64 (rows + 1, columns + 1): how many pixels of the mask lie above and left of each corner."""
        table = np.zeros((self.mask.shape[0] + 1, self.mask.shape[1] + 1), np.int64)
        np.cumsum(self.mask, axis=0, out=table[1:, 1:])
        np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
        return table

    def shares(self, origin_px: Array, width: float, height: float) -> Array:
        """Share of the mask, float (n,) in [0, 1], in rectangles at ``origin_px`` (n, 2), level-0 (x, y).

        What lies outside the slide counts as glass.
        """
        rows, columns = self.mask.shape
        table = self._table
        scale = np.array([columns / self.size_px[0], rows / self.size_px[1]])
        first = origin_px * scale
        last = (origin_px + np.array([width, height])) * scale
        limit = np.array([columns, rows])
        x0, y0 = np.clip(np.rint(first), 0, limit).astype(int).T
        x1, y1 = np.clip(np.maximum(np.rint(last), np.rint(first) + 1), 0, limit).astype(int).T
        area = np.maximum(np.prod(np.maximum(np.rint(last) - np.rint(first), 1), axis=1), 1)
        return np.asarray((table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]) / area)
