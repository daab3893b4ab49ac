"""From a map of nodule probability to nodules: pieces, which are kept, and their measurements.

candidates()   pieces inside the lungs that could be nodules, most suspicious first
piece_at()     the piece at one place of a region
prompted()     the piece at a point or in a box that the user gave
handmade()     the pieces of a segmentation that a reader corrected
axes_mm()      long and short axis on the axial slice where the nodule is largest
Candidate      one piece

A candidate is kept when it is as large as a nodule may be, compact enough not to be a vessel, and sure enough; at
most MAX_CANDIDATES are kept. What a piece scores is its mean probability times its compactness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from .contract.errors import BadGeometry
from .contract.values import Array, CTVolume
from .geometry import lps_to_index

THRESHOLD = 0.5
POINT_THRESHOLDS = (0.5, 0.3, 0.15, 0.05)
_MEANT_MM = 5.0
_LEAST_MM2 = 6.0
_DENSE_HU = -500
LEAST_MM, MOST_MM = 4.0, 120.0
MAX_CANDIDATES = 10
LEAST_SCORE = 0.42
LEAST_IN_LUNG = 0.5
# The densest tenth of a piece is at least so dense: airways and haze are not.
LEAST_P90_HU = -500.0
_PROMPT_RADIUS_MM = 15.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One piece.

    Parameters
    ----------
    where : slices (slices, rows, columns) of its bounding box in the volume
    mask : bool, of that box
    score : 0 to 1, how much it looks like a nodule; not a probability
    found_by : "search", "point", "box" or "hand"
    """

    where: tuple[slice, slice, slice]
    mask: Array
    score: float
    found_by: str


def _compactness(mask: Array, spacing: tuple[float, float, float]) -> float:
    """Volume over that of the ellipsoid with the same second moments' largest axis: 1 for a ball, small for a tube."""
    points = np.argwhere(mask) * spacing
    if len(points) < 4:
        return 1.0
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), (min(spacing) / 4) ** 2))
    return float(min(1.0, (spread[0] * spread[1]) ** 0.5 / spread[2] * 1.2))


def _equivalent_mm(voxels: int, spacing: tuple[float, float, float]) -> float:
    return float((6 * voxels * np.prod(spacing) / np.pi) ** (1 / 3))


def candidates(
    probability: Array, hu: Array, lungs: Array, rim: Array, spacing_mm: tuple[float, float, float]
) -> list[Candidate]:
    """Pieces that could be nodules, best first.

    Parameters
    ----------
    probability : float32 (slices, rows, columns)
    hu : same shape
    lungs, rim : bool, same shape, of ct_lungs; a piece is cut at the rim, and half of it has to be in the lungs
    spacing_mm : along (column, row, slice) index
    """
    from scipy import ndimage

    spacing = spacing_mm[::-1]
    # Opened, so that a vessel does not tie two pieces together.
    inside = ndimage.binary_opening((probability > THRESHOLD) & rim, ndimage.generate_binary_structure(2, 1)[None])
    marks, _ = ndimage.label(inside)
    found = []
    for number, where in enumerate(ndimage.find_objects(marks), 1):
        mask = marks[where] == number
        size = _equivalent_mm(int(mask.sum()), spacing)
        if not LEAST_MM <= size <= MOST_MM or not (mask & lungs[where]).sum() >= LEAST_IN_LUNG * mask.sum():
            continue
        if np.percentile(hu[where][mask], 90) < LEAST_P90_HU:
            continue
        score = float(probability[where][mask].mean()) * _compactness(mask, spacing) ** 0.5
        if score >= LEAST_SCORE:
            found.append(Candidate(where, mask, score, "search"))
    # Size counts too: of two equally sure pieces the larger one matters more.
    found.sort(key=lambda c: c.score * min(1.0, _equivalent_mm(int(c.mask.sum()), spacing) / 10), reverse=True)
    return found[:MAX_CANDIDATES]


def prompted(
    probability: Array, volume: CTVolume, points_lps_mm: Any, boxes_lps_mm: Any
) -> tuple[list[Candidate], list[str]]:
    """One piece for each point or box, and a note for each where there is none.

    Parameters
    ----------
    probability : float32, on the volume's grid
    points_lps_mm : (x, y, z) each
    boxes_lps_mm : (lower, upper) corner each

    Raises
    ------
    BadGeometry : a point or box lies outside the CT.
    """
    found, notes = [], []
    regions = [(np.array([p, p], float), "point") for p in points_lps_mm]
    regions += [(np.array(b, float), "box") for b in boxes_lps_mm]
    for corners, kind in regions:
        every = np.array(
            [[corners[i][0], corners[j][1], corners[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        )
        index = lps_to_index(volume.ijk_to_lps, every)
        low, high = np.rint(index.min(0)).astype(int)[::-1], np.rint(index.max(0)).astype(int)[::-1]
        shape = np.array(volume.voxels.shape)
        if (high < 0).any() or (low >= shape).any():
            raise BadGeometry(f"The {kind} lies outside the CT.", "Choose one inside the scanned volume.")
        if kind == "point":
            reach = np.ceil(_PROMPT_RADIUS_MM / np.array(volume.spacing_mm[::-1])).astype(int)
            seed, low, high = low, low - reach, low + reach
        else:
            seed = (low + high) // 2
        low, high = np.maximum(low, 0), np.minimum(high, shape - 1)
        piece = _piece(probability, low, high, seed, kind, volume)
        if piece is None:
            notes.append(f"No nodule was recognised at the {kind} that was given.")
        else:
            found.append(piece)
    return found, notes


def _piece(probability: Array, low: Array, high: Array, seed: Array, kind: str, volume: CTVolume) -> Any:
    """The piece that is meant by a seed in a region, as a Candidate, or None."""
    from scipy import ndimage

    where = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high))
    reach = _MEANT_MM if kind == "point" else float("inf")
    mask = piece_at(probability[where], volume.voxels[where], seed - low, volume.spacing_mm[::-1], reach)
    if mask is None:
        return None
    used = ndimage.find_objects(mask.astype(np.uint8))[0]
    place = tuple(slice(w.start + u.start, w.start + u.stop) for w, u in zip(where, used))
    score = float(probability[where][mask].mean())
    return Candidate((place[0], place[1], place[2]), mask[used], score, kind)


def piece_at(
    probability: Array, hu: Array, seed: Any, spacing: tuple[float, ...], reach_mm: float = _MEANT_MM
) -> Optional[Array]:
    """The nodule at a place that someone pointed at, or None.

    Of falling thresholds the first whose pieces reach within ``reach_mm`` of the seed decides; where the network sees
    nothing at all, a dense piece that lies free in the lung.

    Parameters
    ----------
    probability, hu : (slices, rows, columns), of a region
    seed : (slice, row, column) in the region
    spacing : mm along (slice, row, column)

    Returns
    -------
    bool, of the region's shape
    """
    from scipy import ndimage

    dense = ndimage.binary_opening(hu > _DENSE_HU, np.ones((1, 2, 2), bool))
    for inside in (*(probability > t for t in POINT_THRESHOLDS), dense):
        marks, count = ndimage.label(inside)
        if not count:
            continue
        places = np.argwhere(marks > 0)
        distance = np.linalg.norm((places - np.asarray(seed)) * np.asarray(spacing), axis=1)
        if distance.min() > reach_mm:
            continue
        mask: Array = marks == marks[tuple(places[distance.argmin()])]
        if mask.sum() * np.prod(spacing[1:]) < _LEAST_MM2:
            continue
        if inside is dense and sum(mask.take(e, a).any() for a in (1, 2) for e in (0, -1)) >= 2:
            continue  # chest wall or heart: it runs out of the region
        return mask
    return None


def handmade(labels: Array) -> list[Candidate]:
    """One piece a label of a segmentation that a reader corrected, as it is: nothing is cut or left out.

    Parameters
    ----------
    labels : uint8 (slices, rows, columns); 0 is background
    """
    from scipy import ndimage

    found = ndimage.find_objects(labels)
    return [Candidate(w, labels[w] == number, 1.0, "hand") for number, w in enumerate(found, 1) if w is not None]


def axes_mm(mask: Array, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    """Long and short axis of the largest axial slice of ``mask``.

    Parameters
    ----------
    mask : bool (slices, rows, columns), not empty
    pixel_mm : (row, column) spacing

    Returns
    -------
    The longest distance between two of its pixels' outer edges, and the widest extent across it, mm.
    """
    plane = mask[int(np.argmax(mask.sum(axis=(1, 2))))]
    rows, columns = np.nonzero(plane)
    corners = np.concatenate(
        [np.stack([(rows + a) * pixel_mm[0], (columns + b) * pixel_mm[1]], 1) for a in (0, 1) for b in (0, 1)]
    )
    corners = np.unique(corners, axis=0)
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import cdist

    hull = corners[ConvexHull(corners).vertices]
    apart = cdist(hull, hull)
    i, j = np.unravel_index(int(apart.argmax()), apart.shape)
    long_axis = float(apart[i, j])
    along = (hull[j] - hull[i]) / long_axis
    across = hull @ np.array([-along[1], along[0]])
    return long_axis, float(min(across.max() - across.min(), long_axis))
