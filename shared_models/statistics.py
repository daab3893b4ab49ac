"""Figures with intervals: numpy only.

accuracy(), macro_f1()   of class indices
auroc(), macro_auroc()   of scores; ties count half
ece()                    calibration error of the winning class
bootstrap_ci()           interval of any of them, resampling whole groups (patients, or source fields)

All take NaN-free arrays of the same length n and raise ValueError otherwise.
"""

from __future__ import annotations

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
