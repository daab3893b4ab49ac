"""A lesion followed from slice to slice, where slices are thick.

followed()   the outline, with the slices that lie next to it and show the same lesion

Slices further apart than THIN_MM are seen one by one, and what the user pointed at fades with the distance to them: a
tumour of several slices is lost before it ends. So the slice next to the last one is asked anew, with the point moved
there; its answer belongs to the lesion if the network is sure of it, if it lies over the last outline, and if its area
fits: a vessel or the chest wall that the lesion touches is larger, or lies beside it.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from .contract.values import Array
from .ct_neighbourhood import THIN_MM, Neighbourhood, Prompt
from .ct_nodules import LEAST_VERIFIED, piece_at
from .ct_segmentation import prompted_probability

# Area of a slice as a multiple of that of the slice before it, and the least share of the smaller one that both hold.
LEAST_RATIO, MOST_RATIO, LEAST_SHARED = 0.15, 1.3, 0.5

Cancel = Callable[[], bool]


def followed(
    network: Any,
    hu: Array,
    spacing_mm: tuple[float, float, float],
    mask: Array,
    around: Neighbourhood,
    device: str = "cpu",
    turns: int = 1,
    cancelled: Cancel = lambda: False,
) -> Array:
    """The outline with what continues it in the slices above and below.

    Parameters
    ----------
    hu : int16 (slices, rows, columns)
    spacing_mm : along (column, row, slice) index
    mask : bool, of ``around.where``; not empty
    around : the crops that it was outlined in; it is not followed out of them
    turns : quarter turns of which the answers are averaged

    Returns
    -------
    bool, of ``around.where``; ``mask`` itself where slices are thin

    Raises
    ------
    Cancelled : ``cancelled()`` turned true.
    """
    result = mask.copy()
    if spacing_mm[2] <= THIN_MM:
        return result
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    for last, step in ((int(used[0]), -1), (int(used[-1]), 1)):
        while 0 <= last + step < len(mask):
            plane = hu[around.where[0].start + last + step]
            found = _continued(network, plane, spacing_mm, result[last], around, device, turns, cancelled)
            if found is None:
                break
            last += step
            result[last] = found
    return result


def _continued(
    network: Any, plane: Array, spacing_mm: tuple[float, float, float], before: Array, around: Neighbourhood,
    device: str, turns: int, cancelled: Cancel,
) -> Optional[Array]:  # fmt: skip
    """bool, of the rows and columns of ``around``: the lesion in the slice next to ``before``, or None."""
    rows, columns = around.where[1], around.where[2]
    point = np.array([0.0, *(_deepest(before) + np.array([rows.start, columns.start]))])
    size = max(np.ptp(np.flatnonzero(before.any(axis=1 - a))) * spacing_mm[1 - a] for a in (0, 1))
    near, probability = prompted_probability(
        network, plane[None], spacing_mm, Prompt(point, point), device, turns=turns, extent_mm=float(size),
        cancelled=cancelled,
    )  # fmt: skip
    piece = piece_at(probability, Prompt(point, point).within(near.where), spacing_mm[::-1], by_size=False)
    if piece is None or probability[piece].mean() < LEAST_VERIFIED:
        return None
    whole = np.zeros(plane.shape, bool)
    whole[near.where[1:]] = piece[0]
    found: Array = whole[rows, columns]
    if found.sum() < whole.sum() or not LEAST_RATIO <= found.sum() / before.sum() <= MOST_RATIO:
        return None
    shared = (found & before).sum() / min(found.sum(), before.sum())
    return found if shared >= LEAST_SHARED else None


def _deepest(mask: Array) -> Array:
    """Row and column of the pixel that lies deepest in a slice's outline."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= depth.max() - 1e-6)
    nearest: Array = places[np.linalg.norm(places - places.mean(0), axis=1).argmin()]
    return nearest
