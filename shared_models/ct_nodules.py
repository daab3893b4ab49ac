"""From maps of nodule probability to nodules: pieces, which are kept, and their measurements.

candidates()   places in the lungs that could be nodules, most suspicious first
prompt_of()    a point or a box of the user, on the CT's grid
piece_at()     the piece that a prompt means
handmade()     the pieces of a segmentation that a reader corrected
suspicion()    by what kept pieces are ordered
verified()     whether a candidate is kept, seen from near
without_caps() a piece without slices that hold little of it
axes_mm()      long and short axis on the axial slice where the nodule is largest
Candidate      one piece
Rule           how it is cut out where slices are thin: PLAIN, or REFINED after the 3D network

The search proposes pieces that are as large as a nodule may be and compact enough not to be a vessel. The network then
looks at each from near, as if the user had pointed there; what it does not recognise is dropped, and what it outlines
is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import numpy as np

from .contract.errors import BadGeometry, InvalidInput
from .contract.values import Array, CTVolume
from .ct_neighbourhood import THIN_MM, Neighbourhood, Prompt
from .geometry import lps_to_index

THRESHOLD = 0.5
# Chosen on the validation patches, and on the validation cubes for what is seen in three directions.
THRESHOLD_FLAT, THRESHOLD_3D = 0.45, 0.6
# Flat ones once more by their size: the network draws small nodules too wide and large ones too tight.
SMALL_MM, SMALL_THRESHOLD, LARGER_MM, LARGER_THRESHOLD = 5.5, 0.6, 9.0, 0.25
FAINT = (0.25, 0.1)
# Readers of LIDC do not outline a nodule where only its cap shows: an axial slice at either end belongs to it only if
# it holds this share of the largest slice's area. Chosen on 59 cubes of training and validation patients.
LEAST_OF_LARGEST = 0.3
# The same two where the 3D network corrected the probability; chosen on training cubes that its folds held out.
THRESHOLD_REFINED, LEAST_OF_LARGEST_REFINED = 0.55, 0.1
MEANT_MM = 5.0
_LEAST_MM2 = 6.0
LEAST_MM, MOST_MM = 4.0, 120.0
MAX_CANDIDATES = 16
LEAST_SCORE = 0.42
LEAST_VERIFIED = 0.7
LEAST_COMPACT = 0.5
LEAST_EXPECTED = 0.35
# A tumour against the chest wall or the hilum lies mostly where no air is: then it has to be a ball, and a sure one.
LEAST_OF_BALL, BALL, SURE_OF_BALL = 0.15, 0.85, 0.8
MOST_KEPT, LARGE_MM = 5, 30.0
_LARGEST_BY_HAND_MM = 200.0  # as a ball
LEAST_IN_LUNG = 0.5
# The densest tenth of a piece is at least so dense: airways and haze are not.
LEAST_P90_HU = -500.0


class Rule(NamedTuple):
    """How a nodule is cut out of a probability that was seen in three directions: threshold, and the share of the
    largest slice's area that a slice at either end holds."""

    threshold: float
    least_of_largest: float


PLAIN = Rule(THRESHOLD_3D, LEAST_OF_LARGEST)
REFINED = Rule(THRESHOLD_REFINED, LEAST_OF_LARGEST_REFINED)


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
    around: Optional[Neighbourhood] = None

    def extent_mm(self, spacing_mm: tuple[float, float, float]) -> float:
        """Its longer side in the slice plane; ``spacing_mm`` along (column, row, slice) index."""
        return max(self.mask.shape[1] * spacing_mm[1], self.mask.shape[2] * spacing_mm[0])

    def shown_in(self, where: tuple[slice, slice, slice]) -> Array:
        """bool, of another box of the volume: the piece, as far as it lies there."""
        shown = np.zeros([part.stop - part.start for part in where], bool)
        low = [max(a.start, b.start) for a, b in zip(where, self.where)]
        high = [min(a.stop, b.stop) for a, b in zip(where, self.where)]
        if all(a < b for a, b in zip(low, high)):
            here, own = (
                tuple(slice(a - part.start, b - part.start) for a, b, part in zip(low, high, box))
                for box in (where, self.where)
            )
            shown[here] = self.mask[own]
        return shown

    @property
    def middle(self) -> Array:
        """Index (3,) in the volume of the voxel that lies deepest in the piece."""
        from scipy.ndimage import distance_transform_edt

        depth = distance_transform_edt(np.pad(self.mask, 1))[1:-1, 1:-1, 1:-1]
        deepest = np.argwhere(depth >= depth.max() - 1e-6)
        centre = deepest[np.linalg.norm(deepest - deepest.mean(0), axis=1).argmin()]
        index: Array = centre + np.array([part.start for part in self.where], dtype=float)
        return index


def compactness(mask: Array, spacing: tuple[float, float, float]) -> float:
    """Volume over that of the ellipsoid with the same second moments' largest axis: 1 for a ball, small for a tube."""
    points = np.argwhere(mask) * spacing
    if len(points) < 4:
        return 1.0
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), (min(spacing) / 4) ** 2))
    return float(min(1.0, (spread[0] * spread[1]) ** 0.5 / spread[2] * 1.2))


def _equivalent_mm(voxels: int, spacing: tuple[float, float, float]) -> float:
    return float((6 * voxels * np.prod(spacing) / np.pi) ** (1 / 3))


def candidates(
    probability: Array, hu: Array, lungs: Array, rim: Array, spacing_mm: tuple[float, float, float],
    least_mm: float = LEAST_MM,
) -> list[Candidate]:  # fmt: skip
    """Pieces that could be nodules, best first.

    Parameters
    ----------
    probability : float32 (slices, rows, columns)
    hu : same shape
    lungs, rim : bool, same shape, of ct_lungs; a piece is cut at the rim, and half of it has to be in the lungs
    spacing_mm : along (column, row, slice) index
    least_mm : diameter of the ball of the volume of the smallest piece
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
        if not least_mm <= size <= MOST_MM or not (mask & lungs[where]).sum() >= LEAST_IN_LUNG * mask.sum():
            continue
        if np.percentile(hu[where][mask], 90) < LEAST_P90_HU:
            continue
        score = float(probability[where][mask].mean()) * compactness(mask, spacing) ** 0.5
        if score >= LEAST_SCORE:
            found.append(Candidate(where, mask, score, "search"))
    # Size counts too: of two equally sure pieces the larger one matters more.
    found.sort(key=lambda c: c.score * min(1.0, _equivalent_mm(int(c.mask.sum()), spacing) / 10), reverse=True)
    return found[:MAX_CANDIDATES]


def prompt_of(volume: CTVolume, corners_lps_mm: Any, kind: str) -> Prompt:
    """A point (3,) or a box (2, 3) in LPS mm as a Prompt in index of ``volume``.

    Raises
    ------
    BadGeometry : it lies outside the CT.
    """
    corners = np.broadcast_to(np.asarray(corners_lps_mm, dtype=float), (2, 3))
    every = np.array([[corners[i][0], corners[j][1], corners[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    index = lps_to_index(volume.ijk_to_lps, every)[:, ::-1]
    low, high = index.min(0), index.max(0)
    shape = np.array(volume.voxels.shape)
    if (high < -0.5).any() or (low > shape - 0.5).any():
        raise BadGeometry(f"The {kind} lies outside the CT.", "Choose one inside the scanned volume.")
    low, high = np.clip(low, 0, shape - 1), np.clip(high, 0, shape - 1)
    return Prompt(low, low if kind == "point" else high)


def piece_at(
    probability: Array, prompt: Prompt, spacing: tuple[float, ...], by_size: bool = True, rule: Rule = PLAIN
) -> Optional[Array]:
    """The nodule that a prompt means, or None where the network sees none.

    Of falling thresholds the first whose pieces come within MEANT_MM of the prompt decides: the piece in a box that
    is largest there, or the one nearest to a point.

    Parameters
    ----------
    probability : float32 (slices, rows, columns), of a region
    prompt : in index of that region
    spacing : mm along (slice, row, column)
    by_size : whether the threshold follows the nodule's size, where slices are seen one by one
    rule : PLAIN, or REFINED of a corrected probability; where slices are thin

    Returns
    -------
    bool, of the region's shape
    """
    in_3d = len(probability) > 1 and spacing[0] <= THIN_MM
    for threshold in (rule.threshold if in_3d else THRESHOLD_FLAT, *FAINT):
        mask = _nearest(probability > threshold, prompt, spacing)
        if mask is None:
            continue
        if in_3d:
            return without_caps(mask, rule.least_of_largest)
        if by_size and threshold == THRESHOLD_FLAT:
            again = _nearest(probability > flat_threshold(mask, spacing), prompt, spacing)
            mask = mask if again is None else again
        return mask
    return None


def without_caps(mask: Array, least: float = LEAST_OF_LARGEST) -> Array:
    """The piece (slices, rows, columns) without the slices at both ends that hold less of it than ``least`` of the
    largest one's area."""
    area = mask.sum(axis=(1, 2))
    large = np.flatnonzero(area >= least * area.max())
    result = np.zeros_like(mask)
    result[large[0] : large[-1] + 1] = mask[large[0] : large[-1] + 1]
    return result


def flat_threshold(mask: Array, spacing: tuple[float, ...]) -> float:
    """Probability over which a voxel belongs to a nodule as large as ``mask`` (slices, rows, columns)."""
    area = mask.sum(axis=(1, 2)).max() * spacing[1] * spacing[2]
    return float(np.interp(2 * np.sqrt(area / np.pi), (SMALL_MM, LARGER_MM), (SMALL_THRESHOLD, LARGER_THRESHOLD)))


def _nearest(inside: Array, prompt: Prompt, spacing: tuple[float, ...]) -> Optional[Array]:
    """The piece of ``inside`` that comes within MEANT_MM of the prompt, or None; specks do not count."""
    from scipy import ndimage

    marks, count = ndimage.label(inside)
    if not count:
        return None
    places = np.argwhere(marks > 0)
    away = np.maximum(np.maximum(prompt.low - places, places - prompt.high), 0) * np.asarray(spacing)
    distance = np.linalg.norm(away, axis=1)
    if distance.min() > MEANT_MM:
        return None
    owner = marks[tuple(places.T)]
    mask: Array = marks == np.bincount(owner[distance <= distance.min() + 1e-9]).argmax()
    return mask if mask.sum() * np.prod(spacing[1:]) >= _LEAST_MM2 else None


def verified(score: float, mask: Array, hu: Array, expected: Array, spacing: tuple[float, float, float]) -> bool:
    """Whether a candidate of the search is kept after the look from near.

    Parameters
    ----------
    score : mean probability of the piece
    mask, hu : of its bounding box
    expected : bool, of that box: the lungs and what the search proposed; a piece that runs into heart or wall does not
        lie in them
    spacing : mm along (slice, row, column)
    """
    size = _equivalent_mm(int(mask.sum()), spacing)
    round_enough = compactness(mask, spacing)
    inside = (mask & expected).sum() / mask.sum()
    return bool(
        score >= LEAST_VERIFIED
        and LEAST_MM <= size <= MOST_MM
        and round_enough >= LEAST_COMPACT
        and (inside >= LEAST_EXPECTED or (inside >= LEAST_OF_BALL and round_enough >= BALL and score >= SURE_OF_BALL))
        and np.percentile(hu[mask], 90) >= LEAST_P90_HU
    )


def suspicion(piece: Candidate, spacing_mm: tuple[float, float, float]) -> float:
    """By what the kept pieces of the search are ordered: sure, compact and large ones first."""
    spacing = spacing_mm[::-1]
    size = _equivalent_mm(int(piece.mask.sum()), spacing)
    return float(piece.score * compactness(piece.mask, spacing) ** 0.5 * min(1.0, size / LARGE_MM) ** 0.5)


def handmade(labels: Array, spacing_mm: tuple[float, float, float]) -> list[Candidate]:
    """One piece a label of a segmentation that a reader corrected, as it is: nothing is cut or left out.

    Parameters
    ----------
    labels : uint8 (slices, rows, columns); 0 is background
    spacing_mm : along (column, row, slice) index

    Raises
    ------
    InvalidInput : a segment is larger than any nodule, or the segments are scattered over the CT; measuring such a
        segmentation would take hours.
    """
    from scipy import ndimage

    voxels = np.bincount(labels.ravel(), minlength=256)
    sphere_mm3 = np.pi / 6 * _LARGEST_BY_HAND_MM**3
    if voxels[1:].max() * np.prod(spacing_mm) > sphere_mm3:
        raise InvalidInput("A segment is larger than any nodule.", "Correct it, then classify again.")
    found = [(number, where) for number, where in enumerate(ndimage.find_objects(labels), 1) if where is not None]
    if sum(np.prod([s.stop - s.start for s in where]) for _, where in found) > labels.size:
        raise InvalidInput(
            "The segments are scattered over the whole CT.", "Keep one nodule a segment, then classify again."
        )
    return [Candidate(where, labels[where] == number, 1.0, "hand") for number, where in found]


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
