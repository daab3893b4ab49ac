"""Whether something of the training data is in another split: the audit that a figure on a cohort needs.

SameIdentity        fed case by case: the same patient, series or slide in two splits; the same image under two patients
Threshold           how alike two pictures must be to count as copies, and how that was chosen
chosen_threshold()  from pairs of training pictures alone
near_pairs()        pairs across splits (or groups) that are at least as alike
audit()             all of it for the cases of a cohort

The threshold: pairs of training pictures of different groups (patients or source fields) say how alike strangers are,
and copies have to be more alike than any of them. Where pictures can be laid over each other (tiles: alignment.py), the
vectors only pick candidates (1 in 10,000 pairs of strangers), and a candidate is a copy if it fits better than every
training pair of strangers among the candidates does. Where they cannot (CT), a copy has a cosine in the upper half of
what lies between the most alike strangers and 1. What share of the training pairs of one group would be found so is
told, so that "nothing found" can be read for what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import numpy as np

from ..contract.values import Array
from .case import CohortCase, CohortImage
from .embedding import Embed

CANDIDATES = 1e-4
MOST_CONFIRMED, _SAMPLED = 500, 100
_BLOCK = 1024
_MOST_SHOWN = 20
MOST_IMAGES = 20_000


@dataclass(frozen=True)
class Threshold:
    """``cosine`` at and above which two pictures count as copies, or as candidates where ``fit`` is given.

    ``false_share`` of ``apart`` training pairs of different groups reach it, ``found_share`` of ``together`` pairs of
    one group (None where there are none) reach it and, laid over each other, correlate by more than ``fit``: the most
    that any of ``strangers`` training candidates of different groups does.
    """

    cosine: float
    false_share: float
    apart: int
    found_share: Optional[float]
    together: int
    fit: Optional[float] = None
    strangers: int = 0


@dataclass(frozen=True)
class Leak:
    """``what`` leaked, ``names`` of the two sides (pseudonyms or source fields), ``splits``, ``cosine`` or fit."""

    what: str
    names: tuple[str, str]
    splits: tuple[str, str]
    cosine: Optional[float] = None


@dataclass
class SameIdentity:
    """Leaks by name; see() takes the cases as they pass."""

    leaks: list[Leak] = field(default_factory=list)
    count: int = 0
    _patients: dict[str, str] = field(default_factory=dict)
    _images: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    _groups: dict[str, str] = field(default_factory=dict)

    def see(self, case: CohortCase) -> None:
        """Count one case."""
        split = case.split or ""
        held = self._patients.setdefault(case.patient_id, split)
        if held != split:
            self._leak("same patient", (case.patient_id, case.patient_id), (held, split))
        for image in case.images:
            key = ("slide" if image.slide_id else "series", image.image_id)
            if image.group:
                before = self._groups.setdefault(image.group, split)
                if before != split:
                    self._leak("same group", (image.group, image.group), (before, split))
            owner, where = self._images.setdefault(key, (case.patient_id, split))
            if owner != case.patient_id:
                self._leak(f"same {key[0]} under two patients", (owner, case.patient_id), (where, split))
            elif where != split:
                self._leak(f"same {key[0]}", (owner, case.patient_id), (where, split))

    def _leak(self, what: str, names: tuple[str, str], splits: tuple[str, str]) -> None:
        self.count += 1
        if len(self.leaks) < _MOST_SHOWN:
            self.leaks.append(Leak(what, names, splits))


def chosen_threshold(vectors: Array, groups: Array, false_share: float = 0.0) -> Threshold:
    """The threshold of training pictures.

    Parameters
    ----------
    vectors : float32 (n, d), rows of length 1; of the training split alone
    groups : (n,) patient or source field of each
    false_share : of the pairs of different groups that may reach it; 0 is above every one
    """
    keep = int(false_share * len(vectors) ** 2 / 2) + 1
    highest, together, apart = np.empty(0, np.float32), [], 0
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        alike = vectors[rows] @ vectors.T
        upper = np.arange(len(vectors))[None] > rows[:, None]
        same = groups[rows][:, None] == groups[None]
        together.append(alike[upper & same])
        strangers = alike[upper & ~same]
        apart += len(strangers)
        highest = np.sort(np.concatenate([highest, strangers]))[-keep:]
    pairs = np.concatenate(together) if together else np.empty(0)
    may = int(false_share * apart)
    # Just above the most alike pair that may not reach it.
    cosine = float(highest[-may - 1]) + 1e-6 if len(highest) > may else 1.0
    return Threshold(
        cosine, float((highest >= cosine).sum() / apart) if apart else 0.0, apart,
        float((pairs >= cosine).mean()) if len(pairs) else None, len(pairs),
    )  # fmt: skip


def near_pairs(vectors: Array, keys: Array, cosine: float) -> list[tuple[int, int, float]]:
    """(i, j, cosine) of pairs of two keys that are at least so alike, most alike first; i < j.

    ``vectors`` float32 (n, d), rows of length 1; ``keys`` (n,), the splits. A block of rows at a time.
    """
    found = []
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        alike = vectors[rows] @ vectors.T
        hit = (alike >= cosine) & (keys[rows][:, None] != keys[None]) & (np.arange(len(vectors)) > rows[:, None])
        found += [(start + int(i), int(j), float(alike[i, j])) for i, j in np.argwhere(hit)]
    return sorted(found, key=lambda pair: -pair[2])


@dataclass(frozen=True)
class Audit:
    """``leaks`` the first of each kind, ``count`` all of them; ``threshold`` None where no pictures were compared."""

    leaks: tuple[Leak, ...]
    count: int
    threshold: Optional[Threshold] = None
    compared: int = 0
    embedding: str = ""
    note: str = ""

    def text(self) -> str:
        """The audit in plain words."""
        lines = ["leakage audit: " + (f"{self.count} leaks" if self.count else "no leak found")]
        for leak in self.leaks:
            alike = f", alike by {leak.cosine:.3f}" if leak.cosine is not None else ""
            one, two = leak.names
            names = one if one == two else f"{one} and {two}"
            first, second = (split or "no split" for split in leak.splits)
            lines.append(f"  {leak.what}: {names} in {first} and {second}{alike}")
        if self.count > len(self.leaks):
            lines.append(f"  and {self.count - len(self.leaks)} more")
        if self.threshold is not None:
            t = self.threshold
            what = "copies" if t.fit is None else "candidates"
            lines.append(
                f"  {self.compared} pictures compared by {self.embedding}: {what} have a cosine of {t.cosine:.4f} or "
                f"more, which {t.false_share:.1e} of {t.apart} training pairs of different groups reach"
            )
            if t.fit is not None:
                lines.append(
                    f"  copies fit better than {t.fit:.3f}, the best of {t.strangers} training candidates of "
                    "different groups, when laid over each other"
                )
            known = f"it finds {t.found_share:.0%} of {t.together} training pairs of one group" if t.together else (
                "no training picture has a known copy"
            )  # fmt: skip
            lines.append(f"  how many true copies it finds: {known}")
        if self.note:
            lines.append(f"  {self.note}")
        return "\n".join(lines)

    def body(self) -> dict[str, Any]:
        """The audit as a JSON object."""
        threshold = None if self.threshold is None else vars(self.threshold)
        leaks = [
            {"what": x.what, "names": list(x.names), "splits": list(x.splits), "cosine": x.cosine} for x in self.leaks
        ]
        return {
            "leaks": leaks, "count": self.count, "threshold": threshold, "pictures_compared": self.compared,
            "embedding": self.embedding, "note": self.note,
        }  # fmt: skip


Confirm = Callable[[CohortImage, CohortImage], float]


def audit(
    cases: Iterable[CohortCase], embed: Optional[Embed] = None, embedding: str = "", modality: str = "tile",
    confirm: Optional[Confirm] = None,
) -> Audit:  # fmt: skip
    """The audit of cases that have their splits.

    Parameters
    ----------
    embed : images to vectors, float32 (n, d) of length 1; None compares no pictures
    embedding : its name
    modality : of the images that are compared
    confirm : how well two images fit when laid over each other, about 1 for copies
    """
    identity = SameIdentity()
    images: list[CohortImage] = []
    groups: list[str] = []
    splits: list[str] = []
    for case in cases:
        identity.see(case)
        if embed is not None:
            for image in case.of(modality):
                images.append(image)
                groups.append(image.group or case.patient_id)
                splits.append(case.split or "")
    if embed is None or len(images) < 2:
        return Audit(tuple(identity.leaks), identity.count, note="no pictures were compared")
    note = ""
    if len(images) > MOST_IMAGES:
        note = f"only the first {MOST_IMAGES} of {len(images)} pictures were compared"
    pictures = _Pictures(images[:MOST_IMAGES], np.array(groups[:MOST_IMAGES]), np.array(splits[:MOST_IMAGES]))
    if not pictures.enough:
        note = "too few training pictures to choose a threshold; no near-duplicates were looked for"
        return Audit(tuple(identity.leaks), identity.count, None, len(images), embedding, note)
    vectors = embed(pictures.images)
    threshold, leaks, more = pictures.compared(vectors, confirm)
    unread = int((~vectors.any(axis=1)).sum())
    more = f"{unread} pictures could not be read and were not compared" if unread else more
    everything = (*identity.leaks, *leaks[:_MOST_SHOWN])
    total = identity.count + len(leaks)
    return Audit(everything, total, threshold, len(pictures.images), embedding, note or more)


@dataclass(frozen=True)
class _Pictures:
    """``images`` with the group and split of each."""

    images: Sequence[CohortImage]
    groups: Array
    splits: Array

    @property
    def enough(self) -> bool:
        return len(set(self.groups[self.splits == "train"])) >= 3

    def compared(self, vectors: Array, confirm: Optional[Confirm]) -> tuple[Threshold, list[Leak], str]:
        """The threshold, a leak per pair of groups, and what else to know."""
        train = np.flatnonzero(self.splits == "train")
        threshold = chosen_threshold(vectors[train], self.groups[train], CANDIDATES if confirm else 0.0)
        if confirm is None:
            # Of few patients the most alike strangers are no bound: a copy is nearer to itself than to them.
            threshold = replace(threshold, cosine=(1 + threshold.cosine) / 2, found_share=None, together=0)
        pairs, note = near_pairs(vectors, self.splits, threshold.cosine), ""
        if confirm is not None:
            threshold = self._fitted(threshold, vectors, train, confirm)
            if len(pairs) > MOST_CONFIRMED:
                note = f"only the {MOST_CONFIRMED} most alike of {len(pairs)} candidates were laid over each other"
            fits = [(i, j, confirm(self.images[i], self.images[j])) for i, j, _ in pairs[:MOST_CONFIRMED]]
            pairs = sorted((pair for pair in fits if pair[2] > (threshold.fit or 0)), key=lambda pair: -pair[2])
        leaks: dict[tuple[str, str], Leak] = {}
        for i, j, alike in pairs:
            names, splits = (self.groups[i], self.groups[j]), (self.splits[i], self.splits[j])
            if names[0] != names[1]:  # the same group in two splits is told by its name
                leaks.setdefault(
                    (str(names[0]), str(names[1])),
                    Leak("near-duplicate pictures", (str(names[0]), str(names[1])),
                         (str(splits[0]), str(splits[1])), alike),
                )  # fmt: skip
        return threshold, list(leaks.values()), note

    def _fitted(self, threshold: Threshold, vectors: Array, train: Array, confirm: Confirm) -> Threshold:
        """The threshold with the fit that no training candidate of different groups reaches."""
        groups = self.groups[train]
        strangers = near_pairs(vectors[train], groups, threshold.cosine)[:MOST_CONFIRMED]
        fits = [confirm(self.images[train[i]], self.images[train[j]]) for i, j, _ in strangers]
        fit = max(fits, default=0.5)
        first = {group: n for n, group in reversed(list(enumerate(groups)))}
        known = [(first[group], n) for n, group in enumerate(groups) if first[group] != n]
        chosen = np.random.default_rng(0).permutation(len(known))[:_SAMPLED]
        found = [
            bool(vectors[train[i]] @ vectors[train[j]] >= threshold.cosine)
            and confirm(self.images[train[i]], self.images[train[j]]) > fit
            for i, j in (known[n] for n in chosen)
        ]
        share = float(np.mean(found)) if found else None
        return replace(threshold, found_share=share, together=len(found), fit=fit, strangers=len(strangers))
