"""Probabilities made to mean what they say, and how well they do.

Temperature     one number for all classes: the order of the classes stays, only how sure the model is changes
BiasCorrectedTemperature   the same and a bias a class: where a class is called too rarely or too often
Platt           slope and intercept of the log odds of one class
Isotonic        any rising curve of the score of one class; wants hundreds of cases
Bin             one bar of a reliability diagram
reliability()   the bars: how often it came true against how sure the model was

Each is fitted on cases that the model was not trained on, by fit(), and is a value: equal numbers, equal calibration.
It holds on cases like those only: a calibration does not survive another laboratory, scanner or prevalence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .contract.values import Array
from .discrimination import Labels, paired
from .intervals import wilson_ci

_RANGE = (0.05, 20.0)  # of temperatures: beyond, the cases are too few or separated, and say nothing


def softmax(logits: Array) -> Array:
    """float64 (n, k), rows sum to 1, of logits (n, k)."""
    z = np.asarray(logits, np.float64)
    z = np.exp(z - z.max(axis=1, keepdims=True))
    answer: Array = z / z.sum(axis=1, keepdims=True)
    return answer


def sigmoid(odds: Labels) -> Array:
    """float64 (n,) of log odds (n,), without overflow."""
    answer: Array = 0.5 + 0.5 * np.tanh(np.asarray(odds, np.float64) / 2)
    return answer


def negative_log_likelihood(probabilities: Array, labels: Labels) -> float:
    """Mean of -log of the probability that the true class was given: (n, k) and class indices (n,)."""
    truth, values = paired(labels, probabilities)
    given = values[np.arange(len(truth)), truth.astype(int)]
    return float(-np.log(np.maximum(given, 1e-300)).mean())


@dataclass(frozen=True)
class Temperature:
    """Logits are divided by ``value``: above 1 the model was too sure.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """

    value: float

    def __post_init__(self) -> None:
        if not 0 < self.value < float("inf"):
            raise ValueError("A temperature is above 0.")

    @classmethod
    def fit(cls, logits: Array, labels: Labels) -> Temperature:
        """The temperature of least negative log-likelihood, between 0.05 and 20.

        Parameters
        ----------
        logits : (n, k); labels : (n,) class indices
        """
        from scipy.optimize import minimize_scalar

        truth, values = paired(labels, np.asarray(logits, np.float64))
        if not np.isfinite(values).all():
            raise ValueError("Logits must be finite.")

        def loss(log_t: float) -> float:
            return negative_log_likelihood(softmax(values / np.exp(log_t)), truth)

        found = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded", options={"xatol": 1e-6})
        return cls(float(np.exp(found.x)))

    def apply(self, logits: Array) -> Array:
        """Calibrated probabilities, float64 (n, k), of logits (n, k)."""
        return softmax(np.asarray(logits, np.float64) / self.value)


@dataclass(frozen=True)
class BiasCorrectedTemperature:
    """Logits are divided by ``temperature``, then ``biases`` (one a class) are added.

    Added to the biases of the network's last layer, temperature x biases does the same: see last_layer().

    Source: Alexandari et al. 2020, arXiv:1901.06852 (BCTS). Departs from it in: a small pull of the biases to 0.
    """

    temperature: float
    biases: tuple[float, ...]

    @classmethod
    def fit(cls, logits: Array, labels: Labels, pull: float = 1e-3) -> BiasCorrectedTemperature:
        """Of least negative log-likelihood plus ``pull`` x sum of squared biases; the temperature within 0.05 and 20.

        Parameters
        ----------
        logits : (n, k); labels : (n,) class indices
        """
        from scipy.optimize import minimize

        truth, values = paired(labels, np.asarray(logits, np.float64))
        if not np.isfinite(values).all():
            raise ValueError("Logits must be finite.")
        n, k = values.shape
        hot = np.eye(k)[truth.astype(int)]

        def loss(parameters: Array) -> tuple[float, Array]:
            sharpness, biases = np.exp(-parameters[0]), parameters[1:]
            p = softmax(values * sharpness + biases)
            error = (p - hot) / n
            slope = np.r_[-(error * values).sum() * sharpness, error.sum(axis=0) + 2 * pull * biases]
            return negative_log_likelihood(p, truth) + pull * float((biases**2).sum()), slope

        start = np.r_[np.log(Temperature.fit(values, truth).value), np.zeros(k)]
        bounds = [tuple(np.log(_RANGE)), *[(None, None)] * k]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12}).x
        return cls(float(np.exp(found[0])), tuple((found[1:] - found[1:].mean()).tolist()))

    def apply(self, logits: Array) -> Array:
        """Calibrated probabilities, float64 (n, k), of logits (n, k)."""
        return softmax(np.asarray(logits, np.float64) / self.temperature + np.array(self.biases))

    def last_layer(self) -> Array:
        """What to add to the logits, (k,), so that Temperature(temperature) alone does the rest."""
        return self.temperature * np.array(self.biases)


@dataclass(frozen=True)
class Platt:
    """Log odds become slope x score + intercept.

    Source: Platt 1999, with his targets, which keep a separated set of cases from certainty.
    """

    slope: float
    intercept: float

    @classmethod
    def fit(cls, scores: Labels, y: Labels) -> Platt:
        """By maximum likelihood.

        Parameters
        ----------
        scores : (n,) log odds, or any score; y : (n,) 0 or 1, or bool, with both classes
        """
        from scipy.optimize import minimize

        truth, values = paired(y, scores)
        positive, values = truth.astype(bool), values.astype(np.float64)
        n1, n0 = int(positive.sum()), int((~positive).sum())
        if not n1 or not n0:
            raise ValueError("Platt scaling needs cases of both classes.")
        target = np.where(positive, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
        middle, spread = values.mean(), values.std() or 1.0
        z = (values - middle) / spread  # well conditioned, whatever the scale of the scores

        def loss(parameters: Array) -> tuple[float, Array]:
            odds = parameters[0] * z + parameters[1]
            error = sigmoid(odds) - target
            return float((np.logaddexp(0, odds) - target * odds).sum()), np.array([error @ z, error.sum()])

        found = minimize(loss, np.array([1.0, np.log(n1 / n0)]), jac=True, method="BFGS", options={"gtol": 1e-7}).x
        return cls(float(found[0] / spread), float(found[1] - found[0] * middle / spread))

    def apply(self, scores: Labels) -> Array:
        """Calibrated probability, float64 (n,), of scores (n,)."""
        return sigmoid(self.slope * np.asarray(scores, np.float64) + self.intercept)


@dataclass(frozen=True)
class Isotonic:
    """The rising steps that fit best, joined by straight lines and level beyond both ends.

    Attributes
    ----------
    scores, rates : rising, the same number of each

    Source: Zadrozny and Elkan 2002, doi 10.1145/775047.775151.
    """

    scores: tuple[float, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.scores or len(self.scores) != len(self.rates) or any(np.diff(self.scores) <= 0):
            raise ValueError("An isotonic calibration needs rising scores and a rate for each.")
        if any(np.diff(self.rates) < 0) or not 0 <= self.rates[0] <= self.rates[-1] <= 1:
            raise ValueError("Rates must rise, between 0 and 1.")

    @classmethod
    def fit(cls, scores: Labels, y: Labels) -> Isotonic:
        """By least squares: scores (n,), y (n,) 0 or 1, or bool."""
        from scipy.optimize import isotonic_regression

        truth, values = paired(y, scores)
        names, place, counts = np.unique(values.astype(np.float64), return_inverse=True, return_counts=True)
        rates = np.bincount(place, weights=truth.astype(np.float64)) / counts
        steps = np.clip(isotonic_regression(rates, weights=counts).x, 0, 1)
        inside = np.r_[False, (steps[1:-1] == steps[:-2]) & (steps[1:-1] == steps[2:]), False]
        kept = ~inside[: len(steps)]  # the ends of each step say all
        return cls(tuple(names[kept].tolist()), tuple(steps[kept].tolist()))

    def apply(self, scores: Labels) -> Array:
        """Calibrated probability, float64 (n,), of scores (n,)."""
        answer: Array = np.interp(np.asarray(scores, np.float64), self.scores, self.rates)
        return answer


@dataclass(frozen=True)
class Bin:
    """Cases of about the same confidence.

    Attributes
    ----------
    low, high : confidence from, to
    n : cases; mean_confidence, rate : how sure the model was, how often it came true
    ci95 : (low, high) of the rate, Wilson: cases count as independent
    """

    low: float
    high: float
    n: int
    mean_confidence: float
    rate: float
    ci95: tuple[float, float]


def reliability(y: Labels, confidence: Labels, bins: int = 10, equal_mass: bool = True) -> list[Bin]:
    """The bars of a reliability diagram, by rising confidence; bins without cases are left out.

    Parameters
    ----------
    y : (n,) 0 or 1, or bool: whether the class occurred, or whether the winning class was right
    confidence : (n,) its probability
    bins : how many
    equal_mass : True: equally many cases in each, low and high being the least and the most confident of them.
        False: of equal width, low and high being its edges
    """
    truth, values = paired(y, confidence)
    truth, values = truth.astype(bool), values.astype(np.float64)
    if bins < 1 or values.min() < 0 or values.max() > 1:
        raise ValueError("A reliability diagram needs bins, and confidences between 0 and 1.")
    if equal_mass:
        parts = [part for part in np.array_split(np.argsort(values, kind="stable"), bins) if len(part)]
        edges = [(float(values[part[0]]), float(values[part[-1]])) for part in parts]
    else:
        place = np.clip(np.ceil(values * bins).astype(int) - 1, 0, bins - 1)
        parts = [np.flatnonzero(place == k) for k in range(bins)]
        edges = [(k / bins, (k + 1) / bins) for k in range(bins)]
    return [
        Bin(low, high, len(part), float(values[part].mean()), float(truth[part].mean()),
            wilson_ci(int(truth[part].sum()), len(part)))
        for part, (low, high) in zip(parts, edges) if len(part)
    ]  # fmt: skip
