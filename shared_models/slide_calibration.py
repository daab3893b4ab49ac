"""Temperature and class offsets of the tile model, fitted together on held-out tiles.

Calibration    logits / temperature + offsets; fit(), apply()
cross_fitted() probabilities of tiles by calibrations that were fitted on other groups: what fit() is worth

A temperature alone keeps the likeliest class. Where a network leans to one class everywhere, which the mean of the
probabilities on held-out tiles of known shares shows, an offset for each class takes the lean away, and argmax with it.

Source: bias-corrected temperature scaling, Alexandari et al. 2020, arXiv:1901.06852. Departs from it in: a small
penalty on the offsets, so that separated classes do not drive them to infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .calibration import negative_log_likelihood, softmax
from .contract.values import Array

_PENALTY = 1e-3


@dataclass(frozen=True)
class Calibration:
    """Parameters.

    Parameters
    ----------
    temperature : above 0
    offsets : of the classes, in units of the logit after the division; their sum is 0
    """

    temperature: float
    offsets: tuple[float, ...]

    @classmethod
    def fit(cls, logits: Array, labels: Array) -> Calibration:
        """Of least negative log-likelihood; logits (n, k), labels (n,) class indices."""
        from scipy.optimize import minimize

        z, k = np.asarray(logits, np.float64), logits.shape[1]

        def spread(free: Array) -> Array:
            full = np.append(free, 0.0)
            return full - full.mean()

        def loss(free: Array) -> float:
            p = softmax(z * np.exp(free[0]) + spread(free[1:]))
            return negative_log_likelihood(p, labels) + _PENALTY * float((free[1:] ** 2).sum())

        found = minimize(loss, np.zeros(k), method="L-BFGS-B", bounds=[(-3, 3), *[(-5, 5)] * (k - 1)]).x
        return cls(float(np.exp(-found[0])), tuple(float(x) for x in spread(found[1:])))

    def apply(self, logits: Array) -> Array:
        """Probabilities float64 (n, k)."""
        return softmax(np.asarray(logits, np.float64) / self.temperature + np.array(self.offsets))

    @property
    def bias(self) -> Array:
        """float64 (k,): what to add to the logits before the division for the same answer."""
        return self.temperature * np.array(self.offsets)


def cross_fitted(logits: Array, labels: Array, groups: Array, folds: int = 5, seed: int = 0) -> Array:
    """float64 (n, k): each tile by the calibration of the folds that its group is not in."""
    names = np.unique(groups)
    fold_of = dict(zip(np.random.default_rng(seed).permutation(names).tolist(), np.arange(len(names)) % folds))
    fold = np.array([fold_of[name] for name in groups.tolist()])
    answer = np.empty(logits.shape, np.float64)
    for k in range(folds):
        answer[fold == k] = Calibration.fit(logits[fold != k], labels[fold != k]).apply(logits[fold == k])
    return answer
