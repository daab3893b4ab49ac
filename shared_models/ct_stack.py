"""Loose CT slices to one regular stack, or the reason why they make none.

Order and spacing come from ImagePositionPatient along the normal, never from InstanceNumber or file names, which
scanners and archives renumber. A stack whose slices are shifted steadily sideways (gantry tilt) keeps that shear in
its affine: every voxel stays where it was scanned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .contract.errors import BadGeometry, InvalidInput, SpacingUnknown
from .contract.values import Array, checked_affine
from .ct_slices import Slice

_SAME_PLACE_MM = 1e-3
# Positions are written with few digits: a tenth of a gap of scatter is rounding, more is irregular.
_GAP_TOLERANCE = 0.1
_MAX_TILT_DEGREES = 45.0
_EXPORT = "Export the complete series again."


def stacked(
    slices: Sequence[Slice], same_pixels: Callable[[Slice, Slice], bool]
) -> tuple[list[Slice], Array, list[str]]:
    """Slices in order along their normal, the affine of the stack, and notes in words.

    Parameters
    ----------
    slices : of one series
    same_pixels : whether two images of one place hold the same HU

    Raises
    ------
    BadGeometry : mixed sizes, orientations or spacings; slices missing; not on one line.
    InvalidInput : several different images of one place. SpacingUnknown : one slice of unknown thickness.
    """
    notes: list[str] = []
    _check_uniform(slices)
    first = slices[0]
    ordered = sorted(slices, key=lambda s: float(first.normal @ s.position))
    ordered = _without_copies(ordered, same_pixels, notes)
    step = _step(ordered, notes)
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.pixel_mm[0]
    affine[:3, 1] = first.along_column * first.pixel_mm[1]
    affine[:3, 2] = step
    affine[:3, 3] = ordered[0].position
    return ordered, checked_affine(affine), notes


def _check_uniform(slices: Sequence[Slice]) -> None:
    sizes = {(s.columns, s.rows) for s in slices}
    if len(sizes) > 1:
        few = ", ".join(f"{c} x {r}" for c, r in sorted(sizes)[:3])
        raise BadGeometry(f"The series mixes images of different size ({few}).", "Export the axial images alone.")
    first = slices[0]
    for one in slices:
        turned = np.abs([one.along_row - first.along_row, one.along_column - first.along_column]).max()
        if turned > 1e-3:
            raise BadGeometry(
                "The series mixes images of different orientation.", "Export the axial images as a series of their own."
            )
        if not np.allclose(one.pixel_mm, first.pixel_mm, rtol=1e-4, atol=0):
            raise BadGeometry("The series mixes different pixel spacings.", "Export one reconstruction alone.")


def _without_copies(ordered: list[Slice], same_pixels: Callable[[Slice, Slice], bool], notes: list[str]) -> list[Slice]:
    normal = ordered[0].normal
    kept: list[Slice] = []
    twins: list[tuple[Slice, Slice]] = []
    for one in ordered:
        if kept and float(normal @ (one.position - kept[-1].position)) < _SAME_PLACE_MM:
            twins.append((kept[-1], one))
        else:
            kept.append(one)
    different = [(a, b) for a, b in twins if not same_pixels(a, b)]
    if different:
        a, b = different[0]
        causes = [w for w in {**a.phase, **b.phase} if a.phase.get(w) != b.phase.get(w)]
        cause = f"they differ in {causes[0]}" if causes else "nothing says how they differ"
        raise InvalidInput(
            f"At {len({id(a) for a, _ in different})} of {len(kept)} places the series holds several different "
            f"images: several phases or a 4D scan ({cause}).",
            "Export one phase as a series of its own.",
        )
    if twins:
        notes.append(f"{len(twins)} identical copies of slices were left out.")
    return kept


def _step(ordered: list[Slice], notes: list[str]) -> Array:
    """Vector (3,) from one slice to the next, LPS mm."""
    first, normal = ordered[0], ordered[0].normal
    if len(ordered) == 1:
        if first.thickness_mm is None:
            raise SpacingUnknown("There is one slice, and its thickness is unknown.", "Give the complete series.")
        notes.append("There is one slice only; its thickness is taken as the spacing.")
        return normal * first.thickness_mm
    positions = np.array([s.position for s in ordered])
    along = (positions - positions[0]) @ normal
    _check_gaps(along, notes)
    count = len(ordered) - 1
    step = (positions[-1] - positions[0]) / count
    sideways = positions - positions[0] - np.outer(along / along[-1], positions[-1] - positions[0])
    if np.linalg.norm(sideways, axis=1).max() > 0.5 * min(first.pixel_mm):
        raise BadGeometry("The slices do not lie above each other.", "Export one reconstruction as its own series.")
    straight = normal * (along[-1] / count)
    if np.linalg.norm(step - straight) * count < 0.1 * min(first.pixel_mm):
        return straight  # a drift below a tenth of a pixel over the whole stack is rounding
    tilt = math.degrees(math.acos(min(1.0, float(normal @ step) / float(np.linalg.norm(step)))))
    if tilt > _MAX_TILT_DEGREES:
        raise BadGeometry(f"The stack leans by {tilt:.0f} degrees.", "Export the original axial series.")
    notes.append(f"The slices lean by {tilt:.1f} degrees (gantry tilt); the geometry takes this into account.")
    return step


def _check_gaps(along: Array, notes: list[str]) -> None:
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    steps = np.rint(gaps / usual)
    if np.abs(along - np.linspace(0, along[-1], len(along))).max() <= _GAP_TOLERANCE * usual:
        uneven = float(np.abs(gaps - along[-1] / len(gaps)).max())
        if uneven > 0.01 * usual:
            notes.append(f"The slice spacing varies by up to {uneven:.2f} mm; the mean is used.")
        return
    whole = bool((np.abs(gaps - steps * usual) <= _GAP_TOLERANCE * usual * np.maximum(steps, 1)).all())
    if whole and (steps >= 1).all() and (steps > 1).sum() <= len(gaps) / 4:
        missing = int((steps - 1).sum())
        place = int(np.argmax(steps > 1)) + 1
        raise BadGeometry(
            f"{missing} {'slice is' if missing == 1 else 'slices are'} missing: between slices {place} and {place + 1} "
            f"of the {len(along)} found the gap is {gaps[place - 1]:.1f} mm where {usual:.1f} mm are usual.",
            _EXPORT,
        )
    raise BadGeometry(
        f"The distance between slices varies from {gaps.min():.2f} to {gaps.max():.2f} mm.",
        "Export one reconstruction with an even spacing, or the complete series.",
    )
