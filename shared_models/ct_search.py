"""Where the nodules of a CT are: what a prompt means, and what the network finds by itself.

outlined()   the nodule at a point or in a box
searched()   nodules of both lungs: proposed on a coarse grid and a fine one, then looked at from near
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from .contract.values import Array, CTVolume
from .ct_linking import followed
from .ct_lungs import lung_box
from .ct_neighbourhood import THIN_MM, Neighbourhood, Prompt
from .ct_network import COARSE_SEARCH_MM, SEARCH_MM
from .ct_nodules import LEAST_MM, MOST_KEPT, REFINED, Candidate, candidates, piece_at, suspicion, verified
from .ct_refine import refinable, refined
from .ct_segmentation import nodule_probability, prompted_probability

PROMPT_TURNS, SEARCH_TURNS = 2, 1  # what a user points at is worth a longer look
LEAST_TUMOUR_MM = 15.0  # of the coarse search

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]


def searched(
    network: Any, volume: CTVolume, lung: Array, rim: Array, device: str, go_on: Progress, cancelled: Cancel
) -> list[Candidate]:
    """What the network finds in the lungs by itself and still recognises from near, most suspicious first.

    Parameters
    ----------
    lung, rim : bool, on the CT's grid, of ct_lungs
    go_on : called with a stage and the fraction of the whole analysis that is done
    cancelled : asked before every batch
    """
    hu, spacing, where = volume.voxels, volume.spacing_mm, lung_box(rim, volume.spacing_mm)
    proposed = []
    for pixel, least_mm, (first, share) in (
        (COARSE_SEARCH_MM, LEAST_TUMOUR_MM, (0.05, 0.10)), (SEARCH_MM, LEAST_MM, (0.15, 0.55)),
    ):  # fmt: skip
        probability = np.zeros(hu.shape, np.float32)
        probability[where] = nodule_probability(
            network, hu[where], spacing, device, pixel=pixel, inside=lung[where], cancelled=cancelled,
            progress=lambda stage, fraction, first=first, share=share: go_on(stage, first + share * fraction),
        )  # fmt: skip
        proposed += candidates(probability, hu, lung, rim, spacing, least_mm)
    taken = np.zeros(hu.shape, bool)
    found = []
    for number, candidate in enumerate(proposed):
        go_on("looking at what was found", 0.7 + 0.15 * number / len(proposed))
        at = Prompt(candidate.middle, candidate.middle)
        if taken[tuple(at.centre.astype(int))]:
            continue
        size = candidate.extent_mm(spacing)
        seen = outlined(network, hu, spacing, at, "search", device, SEARCH_TURNS, size, cancelled)
        if seen is None:
            continue
        expected = lung[seen.where] | candidate.shown_in(seen.where)
        if verified(seen.score, seen.mask, hu[seen.where], expected, spacing[::-1]):
            taken[seen.where] |= seen.mask
            found.append(seen)
    kept = sorted(found, key=lambda piece: -suspicion(piece, spacing))[:MOST_KEPT]
    return [_extended(network, hu, spacing, piece, device, cancelled) for piece in kept]


def outlined(
    network: Any,
    hu: Array,
    spacing_mm: tuple[float, float, float],
    prompt: Prompt,
    found_by: str,
    device: str = "cpu",
    turns: int = PROMPT_TURNS,
    extent_mm: float = 0.0,
    cancelled: Cancel = lambda: False,
    refine: Optional[Any] = None,
) -> Optional[Candidate]:
    """The nodule that a prompt means, or None where the network recognises none.

    Parameters
    ----------
    hu : int16 (slices, rows, columns)
    spacing_mm : along (column, row, slice) index
    found_by : "search", "point" or "box"
    turns : quarter turns of which the answers are averaged
    extent_mm : how large the lesion is thought to be, 0 if unknown
    refine : of ct_refine, on ``device``: corrects the answer where slices are thin; None does not
    """
    around, probability = prompted_probability(
        network, hu, spacing_mm, prompt, device, turns=turns, extent_mm=extent_mm, cancelled=cancelled
    )
    asked, spacing = prompt.within(around.where), spacing_mm[::-1]
    # Of the search's own places one threshold for all, so that their scores can be compared.
    mask = piece_at(probability, asked, spacing, by_size=found_by != "search")
    if mask is None:
        return None
    # Whether there is a nodule is for the 2D network to say: the 3D one saw no place without.
    if refine is not None and refinable(around):
        better = refined(refine, hu, around, probability, device, cancelled)
        again = piece_at(better, asked, spacing, rule=REFINED)
        mask, probability = (mask, probability) if again is None else (again, better)
    piece = _cut_out(mask, around, float(probability[mask].mean()), found_by)
    # What the search finds is followed once it is kept.
    return piece if found_by == "search" else _extended(network, hu, spacing_mm, piece, device, cancelled)


def _extended(
    network: Any, hu: Array, spacing_mm: tuple[float, float, float], piece: Candidate, device: str, cancelled: Cancel
) -> Candidate:
    """The piece with the slices above and below in which it goes on, where slices are thick."""
    around = piece.around
    if around is None or spacing_mm[2] <= THIN_MM:
        return piece
    mask = followed(network, hu, spacing_mm, piece.shown_in(around.where), around, device, SEARCH_TURNS, cancelled)
    return _cut_out(mask, around, piece.score, piece.found_by)


def _cut_out(mask: Array, around: Neighbourhood, score: float, found_by: str) -> Candidate:
    """The piece of a mask (bool, of ``around.where``, not empty)."""
    from scipy import ndimage

    used = ndimage.find_objects(mask.astype(np.uint8))[0]
    k, j, i = (slice(w.start + u.start, w.start + u.stop) for w, u in zip(around.where, used))
    return Candidate((k, j, i), mask[used], score, found_by, around)
