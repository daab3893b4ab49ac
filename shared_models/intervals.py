"""Intervals of a figure.

bootstrap_ci()   of any statistic, by percentiles, resampling whole groups (patients, or source fields)
bca_ci()         the same, bias-corrected and accelerated
wilson_ci()      of a share of independent cases

numpy only. Resampling cases instead of patients makes intervals too narrow: cases of one patient resemble each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from .contract.values import Array
from .discrimination import Labels

Statistic = Callable[[Array], float]


def _members(groups: Labels, n: int, level: float) -> list[Array]:
    """Indices of the cases of each group."""
    names = np.asarray(groups)
    if len(names) == 0 or n < 1 or not 0 < level < 1:
        raise ValueError("A bootstrap needs data, resamples and a level between 0 and 1.")
    _, inverse = np.unique(names, return_inverse=True)
    return np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])


def _resampled(statistic: Statistic, members: list[Array], n: int, seed: int) -> Array:
    """The statistic of each resample that has one."""
    rng = np.random.default_rng(seed)
    values = np.array([
        statistic(np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])) for _ in range(n)
    ])  # fmt: skip
    return values[~np.isnan(values)]


def bootstrap_ci(
    statistic: Statistic, groups: Labels, n: int = 2000, seed: int = 0, level: float = 0.95
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
    values = _resampled(statistic, _members(groups, n, level), n, seed)
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca_ci(
    statistic: Statistic, groups: Labels, n: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval of a statistic, resampling whole groups with replacement.

    Parameters
    ----------
    As in bootstrap_ci(), which draws the same resamples for the same seed.

    Returns
    -------
    (low, high). The acceleration is by the jackknife over groups. Undefined resamples are left out, and so are
    undefined jackknife values; (NaN, NaN) where no resample is left or the statistic itself is undefined. Where every
    resample gives the same value (an accuracy of 1), that value twice: such an interval says nothing.

    Source: Efron 1987, doi 10.1080/01621459.1987.10478410; Efron and Tibshirani 1993, chapter 14.
    """
    members = _members(groups, n, level)
    values = _resampled(statistic, members, n, seed)
    found = float(statistic(np.sort(np.concatenate(members))))
    if not values.size or math.isnan(found):
        return float("nan"), float("nan")
    if values.min() == values.max():
        return float(values[0]), float(values[0])
    below = (float((values < found).mean()) + float((values <= found).mean())) / 2  # ties count half
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(below, 0.5 / len(values)), 1 - 0.5 / len(values)))
    acceleration = _acceleration(statistic, members)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + normal.inv_cdf(tail)
        room = 1 - acceleration * z
        ends.append(normal.cdf(bias + z / room) if room > 0 else float(acceleration > 0))
    low, high = np.quantile(values, sorted(ends))
    return float(low), float(high)


def _acceleration(statistic: Statistic, members: list[Array]) -> float:
    """Skewness of the jackknife over groups, over 6; 0 with a single group."""
    if len(members) < 2:
        return 0.0
    left_out = np.array([
        statistic(np.sort(np.concatenate(members[:k] + members[k + 1 :]))) for k in range(len(members))
    ])  # fmt: skip
    left_out = left_out[~np.isnan(left_out)]
    if not left_out.size:
        return 0.0
    difference = left_out.mean() - left_out
    square = float((difference**2).sum())
    return float((difference**3).sum()) / (6 * square**1.5) if square > 1e-300 else 0.0


def wilson_ci(count: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the share count / n of independent cases; (NaN, NaN) of none.

    Source: Wilson 1927, doi 10.1080/01621459.1927.10502953.
    """
    if not 0 <= count <= n:
        raise ValueError("A share needs a count between 0 and n.")
    if n == 0:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, scale = count / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
