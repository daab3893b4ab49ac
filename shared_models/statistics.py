"""Figures with intervals: numpy only.

accuracy(), macro_f1()   of class indices
auroc(), macro_auroc()   of scores; ties count half
delong()                 whether two scores of the same cases differ in AUROC
ece()                    calibration error of the winning class
brier(), ece_of_mass()   of the probability of one class: squared error, and calibration error over equally many cases
bootstrap_ci()           interval of any of them, resampling whole groups (patients, or source fields)

All take NaN-free arrays of the same length n and raise ValueError otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Union

import numpy as np

from .contract.values import Array

# (n,) of anything that can be compared: names or numbers
Labels = Union[Array, "list[Any]"]


def _pair(y: Labels, other: Labels) -> tuple[Array, Array]:
    first, second = np.asarray(y), np.asarray(other)
    if len(first) != len(second) or len(first) == 0:
        raise ValueError("Both sides need the same number of values, at least one.")
    if second.dtype.kind == "f" and np.isnan(second).any():
        raise ValueError("A score is not a number.")
    return first, second


def accuracy(y: Labels, predicted: Labels) -> float:
    """Share of ``predicted`` (n,) that equal ``y`` (n,)."""
    truth, answer = _pair(y, predicted)
    return float((truth == answer).mean())


def macro_f1(y: Labels, predicted: Labels) -> float:
    """Mean F1 over the classes that occur in either; a class never hit counts 0."""
    truth, answer = _pair(y, predicted)
    scores = []
    for name in np.union1d(truth, answer):
        hit = np.sum((truth == name) & (answer == name))
        scores.append(2 * hit / (np.sum(truth == name) + np.sum(answer == name)))
    return float(np.mean(scores))


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
    truth, values = _pair(y, score)
    positive = truth.astype(bool)
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    total = float(_ranks(values.astype(np.float64))[positive].sum())
    return (total - n1 * (n1 + 1) / 2) / (n1 * n0)


def delong(y: Labels, first: Labels, second: Labels) -> tuple[float, float]:
    """Paired test of two AUROCs over the same cases.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool; first, second : (n,) scores

    Returns
    -------
    (AUROC of first - AUROC of second, two-sided p). Cases count as independent: where a patient has several, p is too
    small, and an interval of bootstrap_ci over patients belongs beside it. p is 1 where the two do not differ, NaN
    where one class has fewer than two cases.

    Source: DeLong et al. 1988, doi 10.2307/2531595, by midranks as in Sun and Xu 2014, doi 10.1109/LSP.2014.2337313.
    """
    positive = _pair(y, first)[0].astype(bool)
    n1, n0 = int(positive.sum()), int((~positive).sum())
    areas, of_positive, of_negative = [], [], []
    for score in (first, second):
        values = _pair(y, score)[1].astype(np.float64)
        among_all = _ranks(values)
        of_positive.append((among_all[positive] - _ranks(values[positive])) / max(n0, 1))
        of_negative.append(1 - (among_all[~positive] - _ranks(values[~positive])) / max(n1, 1))
        areas.append(auroc(positive, values))
    if min(n1, n0) < 2:
        return areas[0] - areas[1], float("nan")
    difference = areas[0] - areas[1]
    parts = (of_positive[0] - of_positive[1], n1), (of_negative[0] - of_negative[1], n0)
    variance = sum(float(part.var(ddof=1)) / n for part, n in parts)
    if abs(difference) < 1e-12:
        return 0.0, 1.0
    return difference, math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance > 0 else 0.0


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
    truth, values = _pair(y, scores)
    each = [auroc(truth == c, values[:, c]) for c in range(values.shape[1])]
    known = [value for value in each if value == value]
    return float(np.mean(known)) if known else float("nan")


def ece(y: Labels, probabilities: Array, bins: int = 15) -> float:
    """Expected calibration error of the winning class, over bins of equal width.

    Parameters
    ----------
    y : (n,) class indices
    probabilities : (n, k), rows sum to 1

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    truth, values = _pair(y, probabilities)
    sure, right = values.max(axis=1), values.argmax(axis=1) == truth
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    error = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            error += float(inside.mean()) * abs(float(right[inside].mean()) - float(sure[inside].mean()))
    return error


def brier(y: Labels, probability: Labels) -> float:
    """Mean squared error of the probability (n,) that y (n,), 0 or 1, is 1."""
    truth, values = _pair(y, probability)
    return float(((values - truth.astype(np.float64)) ** 2).mean())


def ece_of_mass(y: Labels, probability: Labels, bins: int = 10) -> float:
    """Expected calibration error of the probability (n,) that y (n,) is 1, over bins of equally many cases.

    Source: Nguyen and O'Connor 2015, arXiv:1508.05154 (adaptive binning).
    """
    truth, values = _pair(y, probability)
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return sum(len(part) * abs(float(truth[part].mean() - values[part].mean())) for part in parts) / len(order)


def bootstrap_ci(
    statistic: Callable[[Array], float], groups: Labels, n: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a statistic, resampling whole groups with replacement.

    Parameters
    ----------
    statistic : takes int64 indices (m,) into the data, with repeats, and returns the figure
    groups : (data,) what stays together: patients, or source fields
    n, seed : resamples, and what they are drawn from
    level : of the interval

    Returns
    -------
    (low, high); resamples on which the statistic is NaN (one class only) are left out. (NaN, NaN) where none is left.
    """
    names = np.asarray(groups)
    if len(names) == 0 or n < 1 or not 0 < level < 1:
        raise ValueError("A bootstrap needs data, resamples and a level between 0 and 1.")
    _, inverse = np.unique(names, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    rng = np.random.default_rng(seed)
    values = np.array([
        statistic(np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])) for _ in range(n)
    ])  # fmt: skip
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
