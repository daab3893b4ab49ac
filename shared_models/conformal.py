"""Sets of classes that hold the true one with a stated coverage: split conformal prediction.

fit()           the threshold, from held-out cases
ConformalSet    which classes are in the set of a case
measured()      how often sets held the true class, and how large they are

Scores, by ``score``:
  "lac"  1 - probability of the class (Sadinle et al. 2019): the smallest sets on average. A set may be empty: no class
         fits, a reason to abstain
  "aps"  probability of the class and of all that are likelier (Romano et al. 2020, without their random draw): larger
         sets, more even over easy and hard cases; the likeliest class is always in

By group: cases of one patient, or of one source field, resemble each other, so the group is what is exchangeable. Each
group's cases share the weight of one, and one more group counts as having the worst score of all (hierarchical
conformal prediction, Lee et al. 2023). With one case a group that is the ceil((n + 1) coverage)-th smallest score.

What is promised: over random calibration groups and one random case of a new group, drawn like them, the set holds the
true class with at least the stated probability. Not for each kind of case, not on other laboratories' slides; with
``by_class`` (Mondrian) for the cases of each class apart. With too few groups the threshold is infinite: every class is
in every set, because less cannot be promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from .contract.values import Array
from .discrimination import Labels, paired

SCORES = ("lac", "aps")


def scores_of(probabilities: Array, score: str) -> Array:
    """How badly each class fits, float64 (n, k), of probabilities (n, k)."""
    values = np.asarray(probabilities, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError("Conformal sets need finite probabilities (n, k).")
    if score == "lac":
        return 1 - values
    if score == "aps":
        order = np.argsort(-values, axis=1, kind="stable")
        total = np.cumsum(np.take_along_axis(values, order, axis=1), axis=1)
        found = np.empty_like(values)
        np.put_along_axis(found, order, total, axis=1)
        return found
    raise ValueError(f"The score must be one of {', '.join(SCORES)}.")


@dataclass(frozen=True)
class ConformalSet:
    """Made by fit().

    Attributes
    ----------
    score : of SCORES
    thresholds : of each class; all equal unless ``by_class``. Infinite where there were too few groups
    coverage : stated
    groups, cases : that it was fitted on
    by_class : the coverage is stated for the cases of each class apart
    """

    score: str
    thresholds: tuple[float, ...]
    coverage: float
    groups: int
    cases: int
    by_class: bool = False

    def of(self, probabilities: Array) -> Array:
        """bool (n, k): the classes of each case's set, of probabilities (n, k) as in fit()."""
        found = scores_of(probabilities, self.score)
        if found.shape[1] != len(self.thresholds):
            raise ValueError(f"These sets are over {len(self.thresholds)} classes.")
        inside: Array = found <= np.array(self.thresholds) + 1e-12
        if self.score == "aps":
            inside[np.arange(len(found)), np.asarray(probabilities).argmax(axis=1)] = True
        return inside

    def as_json(self) -> dict[str, Any]:
        """For a model's parameters; an infinite threshold is null."""
        return {
            "score": self.score, "thresholds": [t if np.isfinite(t) else None for t in self.thresholds],
            "coverage": self.coverage, "groups": self.groups, "cases": self.cases, "by_class": self.by_class,
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ConformalSet:
        """Of as_json().

        Raises
        ------
        ValueError : it is not one of these.
        """
        try:
            limits = tuple(float("inf") if t is None else float(t) for t in told["thresholds"])
            coverage, groups, cases = float(told["coverage"]), int(told["groups"]), int(told["cases"])
            score, by_class = str(told["score"]), bool(told["by_class"])
        except (KeyError, TypeError) as fault:
            raise ValueError("This is not a conformal set.") from fault
        if score not in SCORES or not 0 < coverage < 1 or not limits:
            raise ValueError("This is not a conformal set.")
        return cls(score, limits, coverage, groups, cases, by_class)


def fit(
    probabilities: Array, labels: Labels, coverage: float, groups: Optional[Labels] = None, *,
    score: str = "lac", by_class: bool = False,
) -> ConformalSet:  # fmt: skip
    """The sets of a stated coverage, from cases that the model was neither trained nor calibrated on.

    Parameters
    ----------
    probabilities : (n, k)
    labels : (n,) class indices 0 to k - 1
    coverage : between 0 and 1, e.g. 0.95
    groups : (n,), patients or source fields; None: every case is independent
    score : "lac" or "aps"
    by_class : a threshold for each class; a class without cases is in every set
    """
    truth, values = paired(labels, probabilities)
    if not 0 < coverage < 1:
        raise ValueError("A coverage lies between 0 and 1.")
    names = np.arange(len(truth)) if groups is None else paired(truth, groups)[1]
    truth, classes = truth.astype(int), values.shape[1]
    if truth.min() < 0 or truth.max() >= classes:
        raise ValueError("A label is none of the classes.")
    own = scores_of(values, score)[np.arange(len(truth)), truth]
    if by_class:
        limits = [_quantile(own[truth == c], names[truth == c], coverage) for c in range(classes)]
    else:
        limits = [_quantile(own, names, coverage)] * classes
    return ConformalSet(score, tuple(limits), coverage, len(np.unique(names)), len(truth), by_class)


def _quantile(scores: Array, groups: Array, coverage: float) -> float:
    """The least score that at least ``coverage`` of the weight lies at or below; one more group lies at infinity."""
    if not len(scores):
        return float("inf")
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weight = 1 / ((len(counts) + 1) * counts[place])
    order = np.argsort(scores, kind="stable")
    reached = np.flatnonzero(np.cumsum(weight[order]) >= coverage - 1e-12)
    return float(scores[order[reached[0]]]) if len(reached) else float("inf")


def measured(inside: Array, labels: Labels, groups: Optional[Labels] = None) -> dict[str, Any]:
    """What the sets did on other cases.

    Parameters
    ----------
    inside : bool (n, k), of ConformalSet.of(); labels : (n,) class indices
    groups : (n,); None: every case for itself

    Returns
    -------
    "n", "coverage" over cases, "coverage_by_group" (each group counts as one, as it is promised), "by_class" (coverage
    of each class; None without cases), "mean_size", "single" (share of sets of one class), "empty".
    """
    truth, sets = paired(labels, inside)
    truth = truth.astype(int)
    held, sizes = sets[np.arange(len(truth)), truth], sets.sum(axis=1)
    names = np.arange(len(truth)) if groups is None else paired(truth, groups)[1]
    _, place = np.unique(names, return_inverse=True)
    per_group = np.bincount(place, weights=held) / np.bincount(place)
    each = [float(held[truth == c].mean()) if (truth == c).any() else None for c in range(sets.shape[1])]
    return {
        "n": len(truth), "coverage": float(held.mean()), "coverage_by_group": float(per_group.mean()),
        "by_class": each, "mean_size": float(sizes.mean()), "single": float((sizes == 1).mean()),
        "empty": float((sizes == 0).mean()),
    }  # fmt: skip
