"""How far probabilities are from how often they come true: numpy only.

ece()            of the winning class, over bins of equal width
ece_of_mass()    of the probability of one class, over bins of equally many cases
ece_debiased()   the same, less what chance alone adds
ece_by_chance()  what a perfectly calibrated model would show on as many cases
spiegelhalter()  whether the probabilities of one class are off by more than chance
brier()          squared error of one class; brier_multi() of all classes
brier_parts()    Brier's score as reliability, resolution and uncertainty
of_two_classes() all of it for one head, as a dict

With few cases a plain calibration error is never near 0, however good the model: ece_debiased() takes that away. All
take NaN-free arrays of the same length n and raise ValueError otherwise.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np

from .contract.values import Array
from .discrimination import Labels, paired

_AT_ONCE = 1 << 20  # draws x cases in memory


def _bin_of(confidence: Array, bins: int) -> Array:
    """int (n,): which of the bins of equal width; each holds its upper edge."""
    place: Array = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return place


def ece(y: Labels, probabilities: Array, bins: int = 15) -> float:
    """Expected calibration error of the winning class, over bins of equal width.

    Parameters
    ----------
    y : (n,) class indices
    probabilities : (n, k), rows sum to 1

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    truth, values = paired(y, probabilities)
    sure, right = values.max(axis=1), values.argmax(axis=1) == truth
    place = _bin_of(sure, bins)
    error = 0.0
    for index in range(bins):
        inside = place == index
        if inside.any():
            error += float(inside.mean()) * abs(float(right[inside].mean()) - float(sure[inside].mean()))
    return error


def ece_of_mass(y: Labels, probability: Labels, bins: int = 10) -> float:
    """Expected calibration error of the probability (n,) that y (n,) is 1, over bins of equally many cases.

    Source: Nguyen and O'Connor 2015, arXiv:1508.05154 (adaptive binning).
    """
    truth, values = paired(y, probability)
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return sum(len(part) * abs(float(truth[part].mean() - values[part].mean())) for part in parts) / len(order)


def ece_debiased(y: Labels, confidence: Labels, bins: int = 15) -> float:
    """Calibration error over bins of equally many cases, less the error that chance alone would add.

    The plain estimate takes |rate - confidence| of each bin, and a rate of few cases is off by chance. What chance adds
    is estimated as what it would add once more: the expected error were the rates drawn again from normal distributions
    around those that were found, less the error found.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool: whether the class occurred, or whether the winning class was right
    confidence : (n,) its probability
    bins : at most half as many as cases, fewer where there are not enough

    Returns
    -------
    float in [0, 1]; an estimate below 0 is given as 0.

    Source: Kumar et al. 2019, arXiv:1909.10155, appendix on the debiased l1 error; by the mean of the folded normal
    distribution instead of random draws. It does not see errors that cancel within a bin.
    """
    truth, values = paired(y, confidence)
    order = np.argsort(values, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order) // 2)))
    error = again = 0.0
    for part in parts:
        share, rate = len(part) / len(order), float(truth[part].mean())
        gap, spread = abs(rate - float(values[part].mean())), math.sqrt(rate * (1 - rate) / len(part))
        error += share * gap
        if spread > 0:
            z = gap / spread
            folded = spread * math.sqrt(2 / math.pi) * math.exp(-z * z / 2) + gap * math.erf(z / math.sqrt(2))
            again += share * folded
        else:
            again += share * gap
    return max(0.0, 2 * error - again)


def ece_by_chance(
    probabilities: Array, bins: int = 15, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """What ece() shows of a model whose probabilities are exactly right, on cases like these: the bar to read it by.

    Parameters
    ----------
    probabilities : (n, k), rows sum to 1: what the model said of the cases
    draws, seed : true classes are drawn from the probabilities so many times

    Returns
    -------
    (mean, lower, upper): the mean, and what 95 in 100 lie between. A found error within is no sign of miscalibration,
    and one above a wished-for bar is no failure where the mean itself lies above that bar: there are too few cases.

    Source: consistency resampling, Broecker and Smith 2007, doi 10.1175/WAF993.1; Vaicenavicius et al. 2019,
    arXiv:1902.06977.
    """
    values = np.asarray(probabilities, np.float64)
    if values.ndim != 2 or not len(values) or draws < 1 or not np.allclose(values.sum(axis=1), 1, atol=1e-4):
        raise ValueError("Chance is drawn from probabilities (n, k) whose rows sum to 1.")
    rng, sure = np.random.default_rng(seed), values.max(axis=1)
    # The likeliest class is the true one as often as it says; the bins are the same in every draw.
    inside = np.eye(bins)[_bin_of(sure, bins)]
    some = max(1, _AT_ONCE // len(sure))
    found = np.concatenate([
        np.abs((rng.random((min(some, draws - k), len(sure))) < sure) @ inside - sure @ inside).sum(axis=1) / len(sure)
        for k in range(0, draws, some)
    ])  # fmt: skip
    low, high = np.quantile(found, [0.025, 0.975])
    return float(np.mean(found)), float(low), float(high)


def spiegelhalter(y: Labels, probability: Labels) -> tuple[float, float]:
    """Test of calibration without bins: (z, two-sided p) of the probability (n,) that y (n,) is 1.

    A small p says that Brier's score is not what these probabilities would give, were they right; z above 0 that it is
    worse: the model is too sure. Cases count as independent. (0, 1) where every probability is 0, 1/2 or 1.

    Source: Spiegelhalter 1986, doi 10.1002/sim.4780050506.
    """
    truth, values = paired(y, probability)
    variance = float(((1 - 2 * values) ** 2 * values * (1 - values)).sum())
    if variance <= 0:
        return 0.0, 1.0
    z = float(((truth.astype(np.float64) - values) * (1 - 2 * values)).sum()) / math.sqrt(variance)
    return z, math.erfc(abs(z) / math.sqrt(2))


def brier(y: Labels, probability: Labels) -> float:
    """Mean squared error of the probability (n,) that y (n,), 0 or 1, is 1."""
    truth, values = paired(y, probability)
    return float(((values - truth.astype(np.float64)) ** 2).mean())


def brier_multi(y: Labels, probabilities: Array) -> float:
    """Brier's score over all classes: the mean over cases of the squared errors, summed over classes; 0 to 2.

    Parameters
    ----------
    y : (n,) class indices
    probabilities : (n, k), rows sum to 1

    Of two classes it is twice brier(). Source: Brier 1950.
    """
    truth, values = paired(y, probabilities)
    return float(((values - np.eye(values.shape[1])[truth.astype(int)]) ** 2).sum(axis=1).mean())


def brier_parts(y: Labels, probability: Labels, bins: Optional[int] = 10) -> tuple[float, float, float]:
    """Murphy's decomposition: (reliability, resolution, uncertainty); Brier's score = first - second + third.

    Parameters
    ----------
    y, probability : (n,), of one class, as in brier()
    bins : of equally many cases; equal probabilities are never parted. None: one for every probability that occurs

    Returns
    -------
    Reliability: how far probabilities are from rates, less is better. Resolution: how far rates are from the overall
    rate, more is better. Uncertainty: of the overall rate, whatever the model. The sum is exact where a bin holds one
    probability only; else what probabilities differ by within a bin is left out (Stephenson et al. 2008).

    Source: Murphy 1973, doi 10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2.
    """
    truth, values = paired(y, probability)
    truth = truth.astype(np.float64)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    if bins is not None:
        middle = np.cumsum(counts) - counts / 2  # a probability goes where the middle of its cases lies
        spot = np.minimum((middle / len(values) * bins).astype(int), bins - 1)
        _, place = np.unique(spot[place], return_inverse=True)
    n = np.bincount(place)
    rate, mean = np.bincount(place, weights=truth) / n, np.bincount(place, weights=values) / n
    overall = float(truth.mean())
    weight = n / len(values)
    reliability, resolution = (weight * (mean - rate) ** 2).sum(), (weight * (rate - overall) ** 2).sum()
    return float(reliability), float(resolution), overall * (1 - overall)


def of_two_classes(y: Labels, probability: Labels) -> dict[str, Any]:
    """How well one head of two classes is calibrated: y (n,) 0 or 1, probability (n,) that it is 1.

    Returns
    -------
    "n"; "ece" (winning class, 15 bins of equal width) with "ece_by_chance" (mean, lower, upper of a perfectly
    calibrated head on these cases); "ece_debiased" (winning class, 15 bins of equally many); "ece_of_class" (10 such
    bins); "brier" with its "brier_parts" (reliability, resolution, uncertainty); "spiegelhalter_p".
    """
    truth, values = paired(y, probability)
    truth, both = truth.astype(int), np.stack([1 - values, values], axis=1)
    return {
        "n": len(truth), "ece": ece(truth, both), "ece_by_chance": list(ece_by_chance(both)),
        "ece_debiased": ece_debiased(both.argmax(axis=1) == truth, both.max(axis=1)),
        "ece_of_class": ece_of_mass(truth, values), "brier": brier(truth, values),
        "brier_parts": list(brier_parts(truth, values)), "spiegelhalter_p": spiegelhalter(truth, values)[1],
    }  # fmt: skip
