"""Intervals against SciPy's, against a published example, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from shared_models import statistics

# Efron and Tibshirani 1993, table 2.1: survival of seven treated mice, days
MICE = np.array([94.0, 197, 16, 38, 99, 141, 23])


def _of(values: np.ndarray, figure=np.mean):
    return lambda index: float(figure(values[index]))


@pytest.mark.parametrize("figure", [np.mean, np.median, lambda v, axis=-1: np.std(v, axis=axis)])
def test_bca_agrees_with_scipy(figure) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).lognormal(size=61)
    found = statistics.bca_ci(_of(values, figure), np.arange(61), n=4000)
    theirs = stats.bootstrap(
        (values,), figure, n_resamples=4000, method="BCa", rng=np.random.default_rng(9), vectorized=True
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)


def test_bca_on_the_same_resamples_is_scipys_to_the_last_digit() -> None:
    stats = pytest.importorskip("scipy.stats")
    drawn = np.random.default_rng(0)
    resamples = np.stack([MICE[drawn.integers(0, 7, 7)].mean() for _ in range(2000)])
    theirs = stats.bootstrap(
        (MICE,), np.mean, n_resamples=0, method="BCa",
        bootstrap_result=type("Drawn", (), {"bootstrap_distribution": resamples})(),
    ).confidence_interval  # fmt: skip
    assert statistics.bca_ci(_of(MICE), np.arange(7)) == pytest.approx((theirs.low, theirs.high), rel=1e-6)


def test_bca_of_a_symmetric_mean_is_about_the_percentile_interval_and_of_a_skewed_one_is_not() -> None:
    flat = np.random.default_rng(0).normal(size=200)
    plain, better = (of(_of(flat), np.arange(200)) for of in (statistics.bootstrap_ci, statistics.bca_ci))
    assert better == pytest.approx(plain, abs=0.03)
    skewed = np.random.default_rng(0).lognormal(sigma=1.5, size=30)
    plain, better = (of(_of(skewed), np.arange(30)) for of in (statistics.bootstrap_ci, statistics.bca_ci))
    assert better[0] > plain[0] and better[1] > plain[1] * 1.05


def test_bca_holds_the_variance_more_often_than_percentiles() -> None:
    rng = np.random.default_rng(8)
    held = {"bootstrap_ci": 0, "bca_ci": 0}
    for _ in range(50):
        values = rng.normal(size=20)
        for name in held:
            low, high = getattr(statistics, name)(_of(values, np.var), np.arange(20), n=150, level=0.9)
            held[name] += low <= 1 <= high
    assert held["bca_ci"] > held["bootstrap_ci"]


def test_bca_keeps_groups_together_in_resamples_and_in_the_jackknife() -> None:
    groups = np.repeat(np.arange(12), [1, 2, 3, 4] * 3)
    seen = []

    def counted(index: np.ndarray) -> float:
        seen.append(np.bincount(index, minlength=len(groups)))
        return float(index.mean())

    statistics.bca_ci(counted, groups, n=20)
    for counts in seen:
        for name in range(12):
            assert len(set(counts[groups == name])) == 1
    assert len(seen) == 20 + 1 + 12


def test_bca_leaves_undefined_resamples_out_and_repeats_itself() -> None:
    y, score = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.25, 0.9])

    def area(index: np.ndarray) -> float:
        return statistics.auroc(y[index], score[index])

    first = statistics.bca_ci(area, np.arange(5), n=300, seed=5)
    assert first == statistics.bca_ci(area, np.arange(5), n=300, seed=5) == (0.0, 1.0)
    assert statistics.bca_ci(lambda index: 1.0, np.arange(5)) == (1.0, 1.0)
    assert np.isnan(statistics.bca_ci(lambda index: float("nan"), np.arange(5), n=5)).all()
    assert statistics.bca_ci(_of(MICE), np.zeros(7), n=10) == (MICE.mean(), MICE.mean())  # one patient: no spread


@pytest.mark.parametrize("count, n", [(0, 9), (9, 9), (4, 9), (81, 263), (1, 1)])
def test_wilson_agrees_with_scipy(count, n) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(count, n).proportion_ci(0.9, method="wilson")
    assert statistics.wilson_ci(count, n, level=0.9) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_of_a_published_example() -> None:
    # Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I: 81 of 263
    assert statistics.wilson_ci(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert statistics.wilson_ci(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


@pytest.mark.parametrize("call", [
    lambda: statistics.bca_ci(lambda index: 0.0, []),
    lambda: statistics.bca_ci(lambda index: 0.0, [1, 2], level=1.0),
    lambda: statistics.wilson_ci(3, 2),
])  # fmt: skip
def test_refuses_what_has_no_answer(call) -> None:
    with pytest.raises(ValueError):
        call()


def test_none_is_no_share() -> None:
    assert np.isnan(statistics.wilson_ci(0, 0)).all()
