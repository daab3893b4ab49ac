"""What a threshold on a score does: sensitivity, specificity, predictive values.

OperatingPoint   one threshold with its counts
at_threshold()   of a given threshold
at_sensitivity(), at_specificity()   of the threshold that reaches a target

A case is called where its score is at or above the threshold. Choose a threshold on validation cases and measure it
with at_threshold() on others: on the cases that it was chosen on, it looks better than it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .contract.values import Array
from .discrimination import Labels, paired
from .intervals import wilson_ci


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and the cases by what they are and what they are called.

    Shares of nothing are NaN. Predictive values are at the prevalence of these cases, not of a clinic.
    """

    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def sensitivity(self) -> float:
        return _share(self.true_positives, self.false_negatives)

    @property
    def specificity(self) -> float:
        return _share(self.true_negatives, self.false_positives)

    @property
    def ppv(self) -> float:
        """Positive predictive value."""
        return _share(self.true_positives, self.false_positives)

    @property
    def npv(self) -> float:
        """Negative predictive value."""
        return _share(self.true_negatives, self.false_negatives)

    def ci95(self, name: str) -> tuple[float, float]:
        """Wilson's interval of "sensitivity", "specificity", "ppv" or "npv"; cases count as independent."""
        sides = {
            "sensitivity": (self.true_positives, self.false_negatives),
            "specificity": (self.true_negatives, self.false_positives),
            "ppv": (self.true_positives, self.false_positives),
            "npv": (self.true_negatives, self.false_negatives),
        }  # fmt: skip
        hit, missed = sides[name]
        return wilson_ci(hit, hit + missed)


def _share(hit: int, missed: int) -> float:
    return hit / (hit + missed) if hit + missed else float("nan")


def _sides(y: Labels, score: Labels) -> tuple[Array, Array]:
    truth, values = paired(y, score)
    return truth.astype(bool), values.astype(np.float64)


def at_threshold(y: Labels, score: Labels, threshold: float) -> OperatingPoint:
    """The point of a threshold that was chosen elsewhere: y (n,) 0 or 1, or bool; score (n,)."""
    truth, values = _sides(y, score)
    called = values >= threshold
    return OperatingPoint(
        float(threshold), int((called & truth).sum()), int((called & ~truth).sum()), int((~called & ~truth).sum()),
        int((~called & truth).sum()),
    )  # fmt: skip


def at_sensitivity(y: Labels, score: Labels, target: float) -> OperatingPoint:
    """The highest threshold, so the fewest false alarms, that calls at least ``target`` of the positives.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool, with a positive; score : (n,)
    target : above 0, to 1
    """
    truth, values = _sides(y, score)
    if not 0 < target <= 1 or not truth.any():
        raise ValueError("A sensitivity needs positives, and a target above 0 and up to 1.")
    falling = np.sort(values[truth])[::-1]
    return at_threshold(truth, values, float(falling[math.ceil(target * len(falling) - 1e-9) - 1]))


def at_specificity(y: Labels, score: Labels, target: float) -> OperatingPoint:
    """The lowest threshold, so the most positives, that calls at most 1 - ``target`` of the negatives.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool, with a negative; score : (n,)
    target : above 0, to 1

    The threshold is the lowest score that may be called; infinite where even the highest score must not.
    """
    truth, values = _sides(y, score)
    if not 0 < target <= 1 or truth.all():
        raise ValueError("A specificity needs negatives, and a target above 0 and up to 1.")
    rising = np.sort(values[~truth])
    bar = rising[math.ceil(target * len(rising) - 1e-9) - 1]  # all negatives up to here must not be called
    above = values[values > bar]
    return at_threshold(truth, values, float(above.min()) if len(above) else float("inf"))
