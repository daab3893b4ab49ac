"""How well answers and scores tell the classes apart: numpy only.

Labels                       anything that can be compared: names or numbers
paired()                     two sides of the same cases, checked
accuracy(), macro_f1()       of class indices
sensitivity(), specificity() of a yes or no
auroc(), macro_auroc()       of scores; ties count half
delong()                     whether two scores of the same cases differ in AUROC; by groups too
delong_ci()                  interval of one AUROC, the same way

All take NaN-free arrays of the same length n and raise ValueError otherwise.
"""

from __future__ import annotations

import math
from typing import Any, Optional, Union

import numpy as np

from .contract.values import Array

# (n,) of anything that can be compared: names or numbers
Labels = Union[Array, "list[Any]"]


def paired(y: Labels, other: Labels) -> tuple[Array, Array]:
    """Both as arrays.

    Raises
    ------
    ValueError : they differ in length, hold nothing, or a score is NaN.
    """
    first, second = np.asarray(y), np.asarray(other)
    if len(first) != len(second) or len(first) == 0:
        raise ValueError("Both sides need the same number of values, at least one.")
    if second.dtype.kind == "f" and np.isnan(second).any():
        raise ValueError("A score is not a number.")
    return first, second


def accuracy(y: Labels, predicted: Labels) -> float:
    """Share of ``predicted`` (n,) that equal ``y`` (n,)."""
    truth, answer = paired(y, predicted)
    return float((truth == answer).mean())


def macro_f1(y: Labels, predicted: Labels) -> float:
    """Mean F1 over the classes that occur in either; a class never hit counts 0."""
    truth, answer = paired(y, predicted)
    scores = []
    for name in np.union1d(truth, answer):
        hit = np.sum((truth == name) & (answer == name))
        scores.append(2 * hit / (np.sum(truth == name) + np.sum(answer == name)))
    return float(np.mean(scores))


def sensitivity(y: Labels, called: Labels) -> float:
    """Share of the positives that are called so: ``y``, ``called`` (n,) 0 or 1, or bool; NaN without positives."""
    truth, answer = (side.astype(bool) for side in paired(y, called))
    return float(answer[truth].mean()) if truth.any() else float("nan")


def specificity(y: Labels, called: Labels) -> float:
    """Share of the negatives that are not called: ``y``, ``called`` (n,) 0 or 1, or bool; NaN without negatives."""
    truth, answer = (side.astype(bool) for side in paired(y, called))
    return float((~answer[~truth]).mean()) if not truth.all() else float("nan")


def _ranks(score: Array) -> Array:
    """1-based ranks; equal values share their mean rank."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2.0)[inverse]


def auroc(y: Labels, score: Labels) -> float:
    """Chance that a positive scores above a negative, ties half (Mann-Whitney).

    Parameters
    ----------
    y : (n,) 0 or 1, or bool
    score : (n,)

    Returns
    -------
    float; NaN where only one class occurs.
    """
    truth, values = paired(y, score)
    positive = truth.astype(bool)
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    total = float(_ranks(values.astype(np.float64))[positive].sum())
    return (total - n1 * (n1 + 1) / 2) / (n1 * n0)


def macro_auroc(y: Labels, scores: Array) -> float:
    """Mean over classes of one class against the rest.

    Parameters
    ----------
    y : (n,) class indices 0 to k - 1
    scores : (n, k)

    Returns
    -------
    float, over the classes that occur and are not all there is; NaN where there is none.
    """
    truth, values = paired(y, scores)
    each = [auroc(truth == c, values[:, c]) for c in range(values.shape[1])]
    known = [value for value in each if value == value]
    return float(np.mean(known)) if known else float("nan")


def _components(positive: Array, values: Array) -> tuple[Array, Array]:
    """DeLong's structural components: of each positive (n1,), share of the negatives below; the mirror (n0,)."""
    among_all = _ranks(values)
    n1, n0 = int(positive.sum()), int((~positive).sum())
    of_positive = (among_all[positive] - _ranks(values[positive])) / max(n0, 1)
    of_negative = 1 - (among_all[~positive] - _ranks(values[~positive])) / max(n1, 1)
    return of_positive, of_negative


def _variance(of_positive: Array, of_negative: Array, mean: float, positive: Array, groups: Optional[Labels]) -> float:
    """Of a mean of structural components; by groups as Obuchowski 1997, where each case is one the same as DeLong's."""
    n1, n0 = len(of_positive), len(of_negative)
    if groups is None:
        return float(of_positive.var(ddof=1)) / n1 + float(of_negative.var(ddof=1)) / n0
    _, place = np.unique(paired(positive, groups)[1], return_inverse=True)
    count = int(place.max()) + 1
    up = np.bincount(place[positive], weights=of_positive - mean, minlength=count)
    down = np.bincount(place[~positive], weights=of_negative - mean, minlength=count)
    with_up, with_down = len(set(place[positive].tolist())), len(set(place[~positive].tolist()))
    if min(with_up, with_down) < 2:
        return float("nan")
    return (
        with_up / (with_up - 1) * float(up @ up) / n1**2 + with_down / (with_down - 1) * float(down @ down) / n0**2
        + 2 * count / (count - 1) * float(up @ down) / (n1 * n0)
    )  # fmt: skip


def delong(y: Labels, first: Labels, second: Labels, groups: Optional[Labels] = None) -> tuple[float, float]:
    """Paired test of two AUROCs over the same cases.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool; first, second : (n,) scores
    groups : (n,), what stays together: patients, or source fields. None: cases count as independent, and where a
        patient has several, p is too small

    Returns
    -------
    (AUROC of first - AUROC of second, two-sided p). p is 1 where the two do not differ, NaN where one class has fewer
    than two cases, or lies in fewer than two groups.

    Source: DeLong et al. 1988, doi 10.2307/2531595, by midranks as in Sun and Xu 2014, doi 10.1109/LSP.2014.2337313;
    by groups Obuchowski 1997, doi 10.2307/2533958.
    """
    positive = paired(y, first)[0].astype(bool)
    scores = [paired(y, score)[1].astype(np.float64) for score in (first, second)]
    difference = auroc(positive, scores[0]) - auroc(positive, scores[1])
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        return difference, float("nan")
    (one, other), (minus_one, minus_other) = zip(*(_components(positive, values) for values in scores))
    variance = _variance(one - other, minus_one - minus_other, difference, positive, groups)
    if math.isnan(variance):
        return difference, variance
    if abs(difference) < 1e-12:
        return 0.0, 1.0
    return difference, math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance > 0 else 0.0


def delong_ci(
    y: Labels, score: Labels, level: float = 0.95, groups: Optional[Labels] = None
) -> tuple[float, float]:
    """Interval of one AUROC, by DeLong's variance and the normal distribution, cut at 0 and 1.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool; score : (n,)
    level : of the interval
    groups : (n,), as in delong()

    Returns
    -------
    (low, high); NaN where one class has fewer than two cases, or lies in fewer than two groups. At an AUROC of 1 the
    variance is 0 and the interval a point: intervals.bca_ci() fares no better there, and the number of cases has to be
    told.

    Source: as of delong().
    """
    from statistics import NormalDist

    truth, values = paired(y, score)
    positive = truth.astype(bool)
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        return float("nan"), float("nan")
    area = auroc(positive, values)
    variance = _variance(*_components(positive, values.astype(np.float64)), area, positive, groups)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(max(variance, 0.0)) if variance == variance else variance
    return (half, half) if half != half else (max(0.0, area - half), min(1.0, area + half))
