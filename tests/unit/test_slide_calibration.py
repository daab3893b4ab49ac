"""Temperature with class offsets: on logits drawn so that the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from shared_models.calibration import (  # noqa: E402
    BiasCorrectedTemperature,
    Temperature,
    negative_log_likelihood,
    softmax,
)
from shared_models.slide_calibration import cross_fitted  # noqa: E402

OFFSETS, TEMPERATURE = np.array([-0.8, 1.1, -0.3]), 0.6


def _drawn(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that is OFFSETS and TEMPERATURE away from the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 2, (n, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(truth)])
    return (truth - OFFSETS) * TEMPERATURE, labels


def test_the_lean_and_the_temperature_are_found() -> None:
    logits, labels = _drawn()
    found = BiasCorrectedTemperature.fit(logits, labels)
    assert found.temperature == pytest.approx(TEMPERATURE, rel=0.06)
    assert np.array(found.biases) == pytest.approx(OFFSETS, abs=0.12)
    other, truth = _drawn(seed=1)
    mine = negative_log_likelihood(found.apply(other), truth)
    assert mine < negative_log_likelihood(Temperature.fit(logits, labels).apply(other), truth) - 0.05


def test_the_offsets_may_stand_in_the_bias_of_the_network() -> None:
    found = BiasCorrectedTemperature(0.5, (1.0, -0.4, -0.6))
    logits = np.random.default_rng(0).normal(size=(5, 3))
    assert Temperature(0.5).apply(logits + found.last_layer()) == pytest.approx(found.apply(logits))


def test_separated_classes_leave_the_offsets_finite() -> None:
    found = BiasCorrectedTemperature.fit(np.eye(3)[[0, 1, 2] * 5] * 9, np.array([0, 1, 2] * 5))
    assert np.abs(found.biases).max() < 0.1 and 0 < found.temperature < 1


def test_no_tile_is_judged_by_a_calibration_that_saw_its_group() -> None:
    # Labels that belong to the group alone: whoever saw the group would know better than chance, nobody else can.
    rng = np.random.default_rng(3)
    groups = np.repeat([f"g{i}" for i in range(30)], 4)
    labels = np.repeat(rng.integers(0, 3, 30), 4)
    logits = rng.normal(size=(120, 3))
    got = cross_fitted(logits, labels, groups)
    assert np.isfinite(got).all() and got.sum(axis=1) == pytest.approx(1)
    changed = labels.copy()
    changed[:4] = (changed[:4] + 1) % 3
    assert np.array_equal(cross_fitted(logits, changed, groups)[:4], got[:4])
    assert not np.array_equal(cross_fitted(logits, changed, groups), got)
