"""Where a slide has tissue: from its thumbnail, without a model.

tissue_mask()   bool mask of a thumbnail
TissueMap       the mask with its scale; tissue share of any rectangle of level 0

Stained tissue is what is more coloured than the glass (Otsu's threshold on saturation, held between two bounds so that
a slide that is all tissue or all glass is not split in the middle). Black borders and shadows (dark and hardly
coloured) and pen marks (green, blue or black ink: colours that H&E does not make) are left out. Red ink looks like
eosin and is not told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .contract.values import Array

THUMBNAIL_PX = 2048
_LEAST, _MOST = 0.06, 0.15


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


def tissue_mask(thumbnail: Array) -> Array:
    """Which pixels are tissue.

    Parameters
    ----------
    thumbnail : uint8 (rows, columns, 3), RGB

    Returns
    -------
    bool (rows, columns)
    """
    from scipy.ndimage import binary_dilation, binary_opening, uniform_filter

    colour = np.stack([uniform_filter(thumbnail[..., c].astype(np.float32), 3) for c in range(3)], axis=-1)
    red, green, blue = (colour[..., c] for c in range(3))
    high, low = colour.max(axis=-1), colour.min(axis=-1)
    saturation = (high - low) / np.maximum(high, 1.0)
    threshold = min(max(otsu(saturation), _LEAST), _MOST)
    # Black borders, shadows, black ink: dark, and hardly coloured.
    dark = (high < 100) & (saturation < 0.35)
    # H&E absorbs green most. Ink: green leads, or blue leads far while red is the least.
    ink = (green > red * 1.1) & (green > 0.9 * blue) & (saturation > 0.15)
    ink |= (green > red * 1.15) & (blue > red * 1.4) & (saturation > 0.3)
    left_out = binary_dilation(ink, iterations=2) | dark
    return binary_opening((saturation > threshold) & ~left_out, iterations=1)


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

    def shares(self, origin_px: Array, width: float, height: float) -> Array:
        """Share of tissue, float (n,) in [0, 1], in rectangles at ``origin_px`` (n, 2), level-0 (x, y).

        What lies outside the slide counts as glass.
        """
        rows, columns = self.mask.shape
        table = np.zeros((rows + 1, columns + 1))
        table[1:, 1:] = np.cumsum(np.cumsum(self.mask, axis=0), axis=1)
        scale = np.array([columns / self.size_px[0], rows / self.size_px[1]])
        first = origin_px * scale
        last = (origin_px + np.array([width, height])) * scale
        limit = np.array([columns, rows])
        x0, y0 = np.clip(np.rint(first), 0, limit).astype(int).T
        x1, y1 = np.clip(np.maximum(np.rint(last), np.rint(first) + 1), 0, limit).astype(int).T
        area = np.maximum(np.prod(np.maximum(np.rint(last) - np.rint(first), 1), axis=1), 1)
        return (table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]) / area
