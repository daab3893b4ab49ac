"""Calibration against scikit-learn, and against what it is for; the bars of the reliability diagram."""

import numpy as np
import pytest

from shared_models.calibration import (
    BiasCorrectedTemperature,
    Bin,
    Isotonic,
    Platt,
    Temperature,
    negative_log_likelihood,
    reliability,
    sigmoid,
    softmax,
)
from shared_models.statistics import ece, wilson_ci


def _logits(seed: int, n: int, too_sure: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, 3))
    y = np.array([rng.choice(3, p=p) for p in softmax(z)])
    return z * too_sure, y


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 3.0])
def test_temperature_finds_how_much_too_sure_a_model_is(too_sure) -> None:
    z, y = _logits(0, 8000, too_sure)
    assert Temperature.fit(z, y).value == pytest.approx(too_sure, rel=0.06)


def test_temperature_of_two_classes_is_logistic_regression_without_intercept() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    z, y = _logits(1, 400, 2.0)
    z, y = z[y < 2, :2], y[y < 2]
    theirs = linear.LogisticRegression(C=1e8, fit_intercept=False).fit(z[:, 1:] - z[:, :1], y)
    assert 1 / Temperature.fit(z, y).value == pytest.approx(theirs.coef_[0, 0], rel=1e-3)


def test_temperature_calibrates_other_cases_and_keeps_every_answer() -> None:
    z, y = _logits(2, 2000, 3.0)
    found = Temperature.fit(z[:1000], y[:1000])
    before, after = softmax(z[1000:]), found.apply(z[1000:])
    assert (before.argmax(1) == after.argmax(1)).all()
    np.testing.assert_allclose(after.sum(1), 1)
    assert ece(y[1000:], after) < 0.5 * ece(y[1000:], before)
    assert negative_log_likelihood(after, y[1000:]) < negative_log_likelihood(before, y[1000:])


def test_temperature_stays_finite_where_the_classes_are_separated() -> None:
    z, y = np.eye(3)[[0, 1, 2, 0]] * 5, [0, 1, 2, 0]
    found = Temperature.fit(z, y)
    assert 0.05 <= found.value < 0.2 and np.isfinite(found.apply(z * 1e4)).all()


def test_bias_corrected_temperature_finds_a_class_that_is_called_too_rarely() -> None:
    z, y = _logits(4, 8000, 2.0)
    off = z - np.array([0.0, 3.0, 0.0])  # on the logits, so 1.5 after the temperature of 2
    found = BiasCorrectedTemperature.fit(off, y)
    assert found.temperature == pytest.approx(2, rel=0.06)
    np.testing.assert_allclose(found.biases, [-0.5, 1.0, -0.5], atol=0.12)
    plain = Temperature.fit(off, y).apply(off)
    better = found.apply(off)
    assert negative_log_likelihood(better, y) < negative_log_likelihood(plain, y) - 0.05
    assert (better.argmax(1) == y).mean() > (plain.argmax(1) == y).mean() + 0.02
    np.testing.assert_allclose(Temperature(found.temperature).apply(off + found.last_layer()), better, atol=1e-12)


def test_bias_corrected_temperature_of_two_classes_is_logistic_regression() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    z, y = _logits(1, 400, 2.0)
    z, y = z[y < 2, :2], y[y < 2]
    theirs = linear.LogisticRegression(C=1e8, max_iter=1000).fit(z[:, 1:] - z[:, :1], y)
    found = BiasCorrectedTemperature.fit(z, y, pull=0.0)
    assert 1 / found.temperature == pytest.approx(theirs.coef_[0, 0], rel=2e-3)
    assert found.biases[1] - found.biases[0] == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_bias_corrected_temperature_stays_finite_where_a_class_is_missing_or_all_are_separated() -> None:
    for labels in ([0, 1, 0, 1], [0, 1, 2, 0]):
        found = BiasCorrectedTemperature.fit(np.eye(3)[labels] * 5, labels)
        assert 0.05 <= found.temperature <= 20 and np.isfinite(found.biases).all()
        assert np.isfinite(found.apply(np.eye(3) * 1e4)).all()


def test_platt_agrees_with_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(0)
    score = rng.normal(40, 7, 120)
    y = rng.random(120) < sigmoid((score - 42) / 3)
    model = theirs._SigmoidCalibration().fit(score, y)
    np.testing.assert_allclose(Platt.fit(score, y).apply(score), model.predict(score), atol=2e-4)


def test_platt_of_separated_cases_is_not_certain() -> None:
    # Ten a side, all told apart: Platt's targets are 11/12 and 1/12.
    found = Platt.fit(np.repeat([-1.0, 1.0], 10), np.repeat([0, 1], 10))
    np.testing.assert_allclose(found.apply([-1.0, 1.0]), [1 / 12, 11 / 12], atol=1e-5)
    np.testing.assert_allclose(found.apply([-1e6, 1e6]), [0, 1], atol=1e-9)


def test_isotonic_agrees_with_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.isotonic")
    rng = np.random.default_rng(3)
    score = rng.normal(size=200).round(1)
    y = (rng.random(200) < sigmoid(2 * score)).astype(float)
    model = theirs.IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, y)
    asked = np.linspace(-5, 5, 301)
    found = Isotonic.fit(score, y)
    np.testing.assert_allclose(found.apply(asked), model.predict(asked), atol=1e-9)
    assert len(found.scores) < len(np.unique(score))


def test_isotonic_of_one_score() -> None:
    assert Isotonic.fit([0.3, 0.3, 0.3], [0, 1, 1]).apply([-9.0, 0.3, 9.0]) == pytest.approx([2 / 3] * 3)
    assert Isotonic.fit([1.0, 2.0], [0, 1]).apply([1.5])[0] == 0.5


def test_bars_of_equal_mass_by_hand() -> None:
    bars = reliability([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.8], bins=2)
    assert bars == [
        Bin(0.2, 0.4, 2, pytest.approx(0.3), 0.5, wilson_ci(1, 2)),
        Bin(0.8, 0.9, 2, pytest.approx(0.85), 1.0, wilson_ci(2, 2)),
    ]


def test_bars_of_equal_width_agree_with_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(5)
    p = rng.beta(0.6, 0.6, 300)
    y = rng.random(300) < p
    rates, means = theirs.calibration_curve(y, p, n_bins=10)
    bars = reliability(y, p, bins=10, equal_mass=False)
    np.testing.assert_allclose([b.rate for b in bars], rates)
    np.testing.assert_allclose([b.mean_confidence for b in bars], means)
    assert sum(b.n for b in bars) == 300 and all(b.low <= b.mean_confidence <= b.high for b in bars)
    assert all(b.ci95[0] <= b.rate <= b.ci95[1] for b in bars)
    only = reliability([1, 0], [0.0, 1.0], bins=10, equal_mass=False)
    assert [(b.low, b.high, b.n) for b in only] == [(0.0, 0.1, 1), (0.9, 1.0, 1)]


@pytest.mark.parametrize("call", [
    lambda: Temperature(0.0),
    lambda: Temperature(float("nan")),
    lambda: Temperature.fit(np.array([[np.inf, 0.0]]), [0]),
    lambda: Platt.fit([0.1, 0.2], [1, 1]),
    lambda: Isotonic((2.0, 1.0), (0.1, 0.2)),
    lambda: Isotonic((1.0, 2.0), (0.4, 0.2)),
    lambda: reliability([1, 0], [0.5, 1.5]),
    lambda: reliability([1, 0], [0.5, 0.5], bins=0),
    lambda: reliability([], []),
])  # fmt: skip
def test_refuses_what_has_no_answer(call) -> None:
    with pytest.raises(ValueError):
        call()
