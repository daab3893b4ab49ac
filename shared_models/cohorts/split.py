"""Patients to train, val and test, 70/15/15.

split_of()     by a hash of the pseudonym alone: a patient never moves, whoever is added or left out
balanced()     exact shares within each class, for small collections; earlier assignments are kept
read_splits()  patient to split of a table that was given
with_splits()  the cases of a cohort with their split

By the hash the shares hold within each class too, but only on average: of 40 patients of a class, 2 to 10 are in test.
balanced() is exact and moves some patients when others are added, unless the earlier assignment is given to it.

With seed 0 the hash is the one of clinical_data.split_of() (60/20/20), and each part of 15 % lies within its part of
20 %: no model that was trained there meets one of its training patients in val or test here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ..contract.errors import InvalidInput
from .case import SPLITS, CohortCase
from .tables import read_table

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
_HALF = 1 << 32


def _digest(patient_id: str, seed: int) -> tuple[int, int]:
    text = patient_id if seed == 0 else f"{seed}:{patient_id}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return int(digest[:8], 16), int(digest[8:16], 16)


def split_of(patient_id: str, seed: int = 0) -> str:
    """train (70 %), val (15 %) or test (15 %), the same on every machine."""
    first, second = _digest(patient_id, seed)
    place, kept = first % 10, second < 0.75 * _HALF
    if place < 6 or not kept:
        return "train"
    return "val" if place < 8 else "test"


def balanced(
    patients: Mapping[str, Optional[str]], seed: int = 0, earlier: Optional[Mapping[str, str]] = None
) -> dict[str, str]:
    """Patient to split, 70/15/15 exactly (to a patient) within each class.

    Parameters
    ----------
    patients : pseudonym to class, None is a class of its own
    earlier : assignments that are kept; new patients fill what is missing
    """
    earlier = earlier or {}
    result = {patient: earlier[patient] for patient in patients if patient in earlier}
    for label in sorted({label or "" for label in patients.values()}):
        members = sorted(p for p, given in patients.items() if (given or "") == label)
        held = {name: sum(result.get(p) == name for p in members) for name in SPLITS}
        # Largest remainder; each of val and test gets one before train gets its second.
        want = {name: SHARES[name] * len(members) for name in SPLITS}
        quota = {name: int(want[name]) for name in SPLITS}
        if len(members) >= 3:
            quota = {name: max(1, n) for name, n in quota.items()}
        for name in sorted(SPLITS, key=lambda name: quota[name] - want[name]):
            if sum(quota.values()) < len(members):
                quota[name] += 1
        while sum(quota.values()) > len(members):
            quota["train"] -= 1
        quota["train"] += len(members) - sum(quota.values())
        for patient in sorted((p for p in members if p not in result), key=lambda p: _digest(p, seed)):
            name = max(SPLITS, key=lambda name: (quota[name] - held[name]) / SHARES[name])
            result[patient] = name
            held[name] += 1
    return result


def read_splits(path: Path) -> dict[str, str]:
    """Patient to split of a CSV file with the columns patient_id and split; splits that are none of ours are left out.

    Raises
    ------
    InvalidInput : a column is missing, or a patient is in two splits.
    """
    found: dict[str, str] = {}
    for row in read_table(path, ("patient_id", "split")):
        name = row["split"]
        if row["patient_id"] and name in SPLITS and found.setdefault(row["patient_id"], name) != name:
            raise InvalidInput("A patient is in two splits of the given table.", "Give each patient one split.")
    return found


def with_splits(
    cases: Iterable[CohortCase], given: Optional[Mapping[str, str]] = None, seed: int = 0
) -> Iterator[CohortCase]:
    """Each case with its split: the one of ``given``, else the one that its collection came with, else by the hash.

    A case that is not splittable and was given none keeps None.
    """
    for case in cases:
        name = (given or {}).get(case.patient_id) or case.split
        if name is None and case.splittable:
            name = split_of(case.patient_id, seed)
        yield replace(case, split=name)
