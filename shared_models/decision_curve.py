"""Whether acting on a model does more good than harm: decision curve analysis.

Curve           what net_benefit() gives
net_benefit()   of acting on the model, on everybody, on nobody

A threshold probability is what a clinician would act at: 0.1 says that one cancer found is worth nine needless actions.

Source: Vickers and Elkin 2006, doi 10.1177/0272989X06295361.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Union

import numpy as np

from .contract.values import Array
from .discrimination import Labels, paired


class Curve(NamedTuple):
    """Net benefit at each threshold, (m,) each: true positives per case, less false ones at their exchange rate."""

    model: Array
    treat_all: Array
    treat_none: Array


def net_benefit(y: Labels, p: Labels, thresholds: Union[Sequence[float], Array]) -> Curve:
    """Net benefit = TP / n - FP / n x t / (1 - t), acting where the probability is at least t.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool; p : (n,) calibrated probabilities that it is 1
    thresholds : (m,), each at least 0 and below 1

    The cases' prevalence is in it: of a collection that was not drawn from the clinic, a curve says which of two models
    is better, not what either is worth.
    """
    truth, values = paired(y, p)
    positive, values = truth.astype(bool), values.astype(np.float64)
    at = np.asarray(thresholds, np.float64)
    if at.ndim != 1 or not len(at) or not ((at >= 0) & (at < 1)).all():
        raise ValueError("Threshold probabilities lie from 0 to below 1.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError("Probabilities lie between 0 and 1.")
    odds = at / (1 - at)

    def called(of: Array) -> Array:
        """Share of all cases that are of ``of`` and at or above each threshold."""
        found: Array = 1 - np.searchsorted(np.sort(values[of]), at, side="left") / max(int(of.sum()), 1)
        return found * of.mean()

    everybody = positive.mean() - (1 - positive.mean()) * odds
    return Curve(called(positive) - called(~positive) * odds, everybody, np.zeros(len(at)))
