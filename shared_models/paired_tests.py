"""Is one method better than another on the same cases? numpy; mcnemar() needs SciPy.

mean_intervals()   intervals of many means at once, by bootstrap over whole groups
sign_flip()   paired permutation test of the mean difference, whole groups (patients, source fields) at a time
mcnemar()     exact test of two accuracies over the same cases
holm()        p-values of several tests, corrected together

Source: Fisher 1935; McNemar 1947; Holm 1979.
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


def mcnemar(right_a: Labels, right_b: Labels) -> tuple[int, int, float]:
    """Exact test of whether two methods are right equally often on the same cases.

    Parameters
    ----------
    right_a, right_b : (n,) bool or 0 and 1: which cases each method got right

    Returns
    -------
    (b, c, p): cases that only a got right, that only b got right, and the two-sided p-value by the binomial
    distribution; 1 where no case tells them apart. Cases count as independent: where a patient has several, sign_flip()
    of the differences by patient belongs beside it.

    Source: McNemar 1947, doi 10.1007/BF02295996; exact as in Fay 2010, doi 10.1093/biostatistics/kxp050.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(right_a), np.asarray(right_b)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError("A paired test needs the same cases on both sides, at least one.")
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise ValueError("Right or wrong is 1 or 0.")
    only_a, only_b = int((first > second).sum()), int((second > first).sum())
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given: the family-wise error of all of them stays below the level."""
    order = np.argsort(p, kind="stable")
    corrected, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * float(p[index])))
        corrected[index] = highest
    return corrected
