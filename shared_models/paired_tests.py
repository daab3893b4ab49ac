"""Is one method better than another on the same cases? numpy only.

mean_intervals()   intervals of many means at once, by bootstrap over whole groups
sign_flip()   paired permutation test of the mean difference, whole groups (patients, source fields) at a time
holm()        p-values of several tests, corrected together

Source: Fisher 1935; Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .contract.values import Array
from .statistics import Labels

_EXACT = 14  # groups up to which every combination of signs is tried


def mean_intervals(values: Array, groups: Labels, n: int = 2000, seed: int = 0, level: float = 0.95) -> Array:
    """What statistics.bootstrap_ci() gives for the mean of each column, in one go.

    Parameters
    ----------
    values : (cases, measures)
    groups : (cases,), what stays together

    Returns
    -------
    float64 (measures, 2): low and high
    """
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    count = int(inverse.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, inverse, values)
    rng = np.random.default_rng(seed)
    drawn = np.stack([np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(n)])
    means = drawn @ sums / (drawn @ np.bincount(inverse))[:, None]
    found: Array = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T
    return found


def sign_flip(differences: Array, groups: Labels, draws: int = 20000, seed: int = 0) -> float:
    """Two-sided p-value that the mean over groups of the groups' mean differences is 0.

    Parameters
    ----------
    differences : (n,), one method less the other, case by case
    groups : (n,), what stays together: the cases of one patient are not independent
    draws, seed : of the random signs, where there are more than 14 groups; below, all combinations are tried

    Returns
    -------
    float in (0, 1]; 1 where nothing differs. With k groups it cannot be below 2 / 2**k.
    """
    values, names = np.asarray(differences, np.float64), np.asarray(groups)
    if len(values) != len(names) or not len(values) or not np.isfinite(values).all():
        raise ValueError("A paired test needs finite differences and a group for each.")
    _, inverse = np.unique(names, return_inverse=True)
    means = np.bincount(inverse, weights=values) / np.bincount(inverse)
    found, count = abs(means.sum()), len(means)
    almost = found - 1e-9 * np.abs(means).sum()  # the same sum in another order
    if count <= _EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs @ means) >= almost).mean())
    rng = np.random.default_rng(seed)
    signs = rng.choice(np.array([-1.0, 1.0]), (draws, count))
    return float((1 + (np.abs(signs @ means) >= almost).sum()) / (draws + 1))


def holm(p: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given: the family-wise error of all of them stays below the level."""
    order = np.argsort(p, kind="stable")
    corrected, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * float(p[index])))
        corrected[index] = highest
    return corrected
