"""Whether something of the training data is in another split: the audit that a figure on a cohort needs.

SameIdentity        fed case by case: the same patient, series or slide in two splits; the same image under two patients
Threshold           how alike two pictures must be to count as copies, and how that was chosen
chosen_threshold()  from pairs of training pictures alone
near_duplicates()   pairs in two splits that are at least as alike
audit()             all of it for the cases of a cohort

The threshold: pairs of training pictures of different groups (patients or source fields) say how alike strangers are.
It is set where ``false_share`` of those pairs would be called copies, and where groups of several pictures exist the
share of their pairs that it finds is told, so that "nothing found" can be read for what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

from ..contract.values import Array
from .case import CohortCase, CohortImage
from .embedding import Embed

FALSE_SHARE = 1e-5
_BLOCK = 1024
_MOST_SHOWN = 20
MOST_IMAGES = 20_000


@dataclass(frozen=True)
class Threshold:
    """``cosine`` at and above which two pictures count as copies.

    ``false_share`` of ``apart`` training pairs of different groups reach it, ``found_share`` of ``together`` pairs of
    one group (None where there are none).
    """

    cosine: float
    false_share: float
    apart: int
    found_share: Optional[float]
    together: int


@dataclass(frozen=True)
class Leak:
    """``what`` leaked, ``names`` of the two sides (public pseudonyms or names of images), ``splits``, ``cosine``."""

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


def chosen_threshold(vectors: Array, groups: Array, false_share: float = FALSE_SHARE) -> Threshold:
    """The threshold of training pictures.

    Parameters
    ----------
    vectors : float32 (n, d), rows of length 1; of the training split alone
    groups : (n,) patient or source field of each
    false_share : of the pairs of different groups that may reach it; at least one pair may
    """
    keep = max(1, round(false_share * len(vectors) ** 2 / 2))
    highest, together, apart = np.empty(0, np.float32), [], 0
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        alike = vectors[rows] @ vectors.T
        upper = np.arange(len(vectors))[None] > rows[:, None]
        same = groups[rows][:, None] == groups[None]
        together.append(alike[upper & same])
        strangers = alike[upper & ~same]
        apart += len(strangers)
        highest = np.sort(np.concatenate([highest, strangers]))[-(keep + 1) :]
    pairs = np.concatenate(together) if together else np.empty(0)
    share = max(1, int(false_share * apart))
    # Just above the pair that is the (share + 1)-th most alike: as many as ``share`` strangers reach it.
    cosine = float(highest[-share - 1]) + 1e-6 if len(highest) > share else 1.0
    return Threshold(
        cosine, float((highest >= cosine).sum() / apart) if apart else 0.0, apart,
        float((pairs >= cosine).mean()) if len(pairs) else None, len(pairs),
    )  # fmt: skip


def near_duplicates(vectors: Array, splits: Array, cosine: float) -> list[tuple[int, int, float]]:
    """(i, j, cosine) of pairs in two splits that are at least so alike, most alike first; i < j.

    ``vectors`` float32 (n, d), rows of length 1; ``splits`` (n,). A block of rows at a time, so the memory is n blocks.
    """
    found = []
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        alike = vectors[rows] @ vectors.T
        hit = (alike >= cosine) & (splits[rows][:, None] != splits[None]) & (np.arange(len(vectors)) > rows[:, None])
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
            alike = f", cosine {leak.cosine:.4f}" if leak.cosine is not None else ""
            one, two = leak.names
            names = one if one == two else f"{one} and {two}"
            first, second = (split or "no split" for split in leak.splits)
            lines.append(f"  {leak.what}: {names} in {first} and {second}{alike}")
        if self.count > len(self.leaks):
            lines.append(f"  and {self.count - len(self.leaks)} more")
        if self.threshold is not None:
            t = self.threshold
            found = "how many true copies it would find is not known"
            if t.found_share is not None:
                found = f"it finds {t.found_share:.1%} of {t.together} training pairs of one group"
            lines.append(
                f"  {self.compared} pictures compared by {self.embedding}: copies have a cosine of {t.cosine:.4f} or "
                f"more, which {t.false_share:.1e} of {t.apart} training pairs of different groups reach; {found}"
            )
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


def audit(
    cases: Iterable[CohortCase], embed: Optional[Embed] = None, embedding: str = "", modality: str = "tile"
) -> Audit:
    """The audit of cases that have their splits; with ``embed``, of pictures of ``modality`` too."""
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
    return _with_pictures(identity, images, np.array(groups), np.array(splits), embed, embedding)


def _with_pictures(
    identity: SameIdentity, images: Sequence[CohortImage], groups: Array, splits: Array, embed: Embed, embedding: str
) -> Audit:
    note = ""
    if len(images) > MOST_IMAGES:
        note = f"only the first {MOST_IMAGES} of {len(images)} pictures were compared"
        images, groups, splits = images[:MOST_IMAGES], groups[:MOST_IMAGES], splits[:MOST_IMAGES]
    vectors = embed(images)
    train = splits == "train"
    if train.sum() < 2 or len(set(groups[train])) < 2:
        note = "too few training pictures to choose a threshold; no near-duplicates were looked for"
        return Audit(tuple(identity.leaks), identity.count, None, len(images), embedding, note)
    threshold = chosen_threshold(vectors[train], groups[train])
    pairs = near_duplicates(vectors, splits, threshold.cosine)
    leaks = [
        Leak("near-duplicate pictures", (images[i].image_id, images[j].image_id), (splits[i], splits[j]), alike)
        for i, j, alike in pairs[:_MOST_SHOWN]
    ]
    return Audit(
        (*identity.leaks, *leaks), identity.count + len(pairs), threshold, len(images), embedding, note
    )  # fmt: skip
