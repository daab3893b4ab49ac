"""What a calibration of the tile model is worth: fitted on some groups of tiles, told on the others.

cross_fitted()   probabilities of tiles by calibrations that did not see their group

A temperature alone keeps the likeliest class. Where a network leans to one class everywhere, which the mean of the
probabilities on held-out tiles of known shares shows, an offset for each class takes the lean away, and argmax with it:
calibration.BiasCorrectedTemperature.
"""

from __future__ import annotations

import numpy as np

from .calibration import BiasCorrectedTemperature
from .contract.values import Array


def cross_fitted(logits: Array, labels: Array, groups: Array, folds: int = 5, seed: int = 0) -> Array:
    """float64 (n, k): each tile by the calibration of the folds that its group is not in.

    Parameters
    ----------
    logits : (n, k); labels : (n,) class indices; groups : (n,) what stays together
    """
    names = np.unique(groups)
    fold_of = dict(zip(np.random.default_rng(seed).permutation(names).tolist(), np.arange(len(names)) % folds))
    fold = np.array([fold_of[name] for name in groups.tolist()])
    answer = np.empty(logits.shape, np.float64)
    for k in range(folds):
        fitted = BiasCorrectedTemperature.fit(logits[fold != k], labels[fold != k])
        answer[fold == k] = fitted.apply(logits[fold == k])
    return answer
