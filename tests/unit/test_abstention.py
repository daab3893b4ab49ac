"""Risk against coverage by hand, and the stated error as often as it is promised."""

import numpy as np
import pytest

from shared_models.abstention import Threshold, answered, area_under_risk, confidence_for_error, risk_coverage
from shared_models.contract.values import Abstention


def test_curve_by_hand() -> None:
    curve = risk_coverage([1, 0, 1, 1], [0.9, 0.6, 0.8, 0.6])
    assert curve.confidence.tolist() == [0.9, 0.8, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.5, 1.0] and curve.risk.tolist() == [0.0, 0.0, 0.25]
    assert area_under_risk([1, 0, 1, 1], [0.9, 0.6, 0.8, 0.6]) == pytest.approx(0.5 * 0.25)
    assert area_under_risk([1, 0], [0.5, 0.5]) == 0.5 and area_under_risk([1, 1], [0.2, 0.9]) == 0


def test_a_confidence_that_knows_has_less_area_than_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 500)
    right = rng.random(500) < sure
    assert area_under_risk(right, sure) < 0.7 * area_under_risk(right, rng.random(500))


def test_the_stated_error_is_kept_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    kept, covered = [], []
    for _ in range(200):
        sure = rng.uniform(0.5, 1, 800)
        right = rng.random(800) < np.minimum(1, sure + 0.05)
        found = confidence_for_error(right, sure, 0.12, sure=0.9)
        if isinstance(found, Abstention):
            continue
        # The true error above a confidence c: the mean of 1 - min(1, s + 0.05) for s uniform from c to 1.
        grid = np.linspace(found.confidence, 1, 2001)
        kept.append(np.mean(1 - np.minimum(1, grid + 0.05)) <= 0.12)
        covered.append(found.coverage)
        assert found.risk <= found.bound <= 0.12
    assert len(kept) > 100 and np.mean(kept) >= 0.9 and np.mean(covered) > 0.3


def test_finds_the_mistakes_below_a_confidence() -> None:
    sure = np.linspace(0, 1, 1000)
    found = confidence_for_error(sure > 0.3, sure, 0.05)
    assert isinstance(found, Threshold) and 0.25 < found.confidence < 0.35
    coverage, risk = answered(sure > 0.3, sure, found.confidence)
    assert (coverage, risk) == pytest.approx((found.coverage, found.risk))
    assert answered([1, 0], [0.1, 0.2], 0.9)[0] == 0 and np.isnan(answered([1, 0], [0.1, 0.2], 0.9)[1])


def test_too_few_cases_promise_nothing() -> None:
    found = confidence_for_error(np.ones(20, bool), np.linspace(0.5, 1, 20), 0.05)
    assert isinstance(found, Abstention) and "20 held-out cases" in found.reason
    assert isinstance(confidence_for_error(np.zeros(500), np.linspace(0, 1, 500), 0.05), Abstention)


def test_the_bound_is_clopper_and_pearsons() -> None:
    stats = pytest.importorskip("scipy.stats")
    found = confidence_for_error(np.ones(256, bool), np.full(256, 0.9), 0.05)  # one threshold, eight tries allowed
    theirs = stats.binomtest(0, 256, alternative="less").proportion_ci(1 - 0.05 / 8, method="exact").high
    assert found.bound == pytest.approx(theirs) and found.coverage == 1


def test_tiles_of_one_field_are_one_piece_of_evidence() -> None:
    right, sure, fields = np.ones(256, bool), np.full(256, 0.9), np.repeat(np.arange(64), 4)
    alone = confidence_for_error(right, sure, 0.05)
    assert isinstance(alone, Threshold)
    assert isinstance(confidence_for_error(right, sure, 0.05, groups=fields), Abstention)
    assert confidence_for_error(right, sure, 0.2, groups=fields).bound > alone.bound
    assert confidence_for_error(right, sure, 0.05, groups=np.arange(256)) == alone


def test_without_a_bound_the_error_is_that_of_the_cases() -> None:
    right, sure = [1, 1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6, 0.5]
    found = confidence_for_error(right, sure, 0.25, sure=None)
    assert (found.confidence, found.coverage, found.risk) == (0.6, 0.8, 0.25) and np.isnan(found.bound)
    assert isinstance(confidence_for_error([0, 1], [0.9, 0.8], 0.2, sure=None), Abstention)


@pytest.mark.parametrize("call", [
    lambda: risk_coverage([], []),
    lambda: risk_coverage([1], [np.nan]),
    lambda: confidence_for_error([1], [0.5], 0.0),
    lambda: confidence_for_error([1], [0.5], 0.1, sure=1.0),
])  # fmt: skip
def test_refuses_what_has_no_answer(call) -> None:
    with pytest.raises(ValueError):
        call()
