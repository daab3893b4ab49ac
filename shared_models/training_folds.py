"""A network of all training patients, and those of a cross-validation over them, each in a folder of its own.

PARTS      which of them are trained: "all", or only the "network" or only the "folds", to run them side by side
checked()  what a recipe says of them
folds_of() the fold of each case, by its patient
runs()     the trainings, each with the cases that it learns from and those that it holds out
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .contract.values import Array

PARTS = ("all", "network", "folds")


class Run(NamedTuple):
    """``folder`` of the training, and index of the cases: ``kept`` to learn from, ``held`` out; ascending."""

    folder: str
    kept: Array
    held: Array


def checked(part: str, folds: int) -> None:
    """Raise ValueError where ``part`` is none of PARTS, or there is but one fold."""
    if part not in PARTS or folds < 0 or folds == 1:
        raise ValueError(f"part is one of {', '.join(PARTS)}; folds 0 or more than 1")


def folds_of(patients: Array, count: int, seed: int) -> Array:
    """int (n,): the fold of each case; a patient's cases are in one fold, patients in turn after a shuffle."""
    names = np.unique(patients)
    place = dict(zip(np.random.default_rng(seed).permutation(names), np.arange(len(names)) % count))
    return np.array([place[name] for name in patients])


def runs(part: str, folds: int, patients: Array, seed: int) -> Iterator[Run]:
    """The network, which holds nothing out, then each fold's, as far as ``part`` asks for them."""
    if part != "folds":
        yield Run("network", np.arange(len(patients)), np.arange(0))
    if part == "network" or not folds:
        return
    fold = folds_of(patients, folds, seed)
    for number in range(folds):
        yield Run(f"fold_{number}", np.flatnonzero(fold != number), np.flatnonzero(fold == number))
