"""Calibration errors and Brier's score against other implementations, cases by hand, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from shared_models import statistics

# uncertainty-calibration 0.1.4 (Kumar's own), normal_debiased_ce(power=1) over get_equal_bins(15), mean of 60,000 draws
KUMAR = [(4, 0.07618, 0.08570), (5, 0.02886, 0.05114)]


def _cases(seed: int) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(seed)
    p = r.random(600) if seed == 4 else r.random(600) * 0.5 + 0.5
    return r.random(600) < (p**1.4 if seed == 4 else p), p


@pytest.mark.parametrize("seed, debiased, plain", KUMAR)
def test_debiased_agrees_with_kumars_own_code(seed, debiased, plain) -> None:
    y, p = _cases(seed)
    assert statistics.ece_debiased(y, p, bins=15) == pytest.approx(debiased, abs=2e-4)
    assert statistics.ece_of_mass(y, p, bins=15) == pytest.approx(plain, abs=2e-5)


def test_debiased_is_nearer_the_truth_than_the_plain_error() -> None:
    rng = np.random.default_rng(0)
    for truth, shift in ((0.0, 0.0), (0.1, 0.1)):
        plain, debiased = [], []
        for _ in range(200):
            p = rng.uniform(0.3, 0.7, 250)
            y = rng.random(250) < p + shift
            plain.append(statistics.ece_of_mass(y, p, 15))
            debiased.append(statistics.ece_debiased(y, p, 15))
        assert abs(np.mean(debiased) - truth) < abs(np.mean(plain) - truth) - 0.005
    assert statistics.ece_debiased([1, 1, 1, 1], [1.0, 1.0, 1.0, 1.0]) == 0
    assert statistics.ece_debiased([0, 0], [1.0, 1.0]) == 1  # certain and always wrong


def test_debiased_of_one_bin_by_hand() -> None:
    # Rate 0.5 of four cases, confidence 0.5: the error found is 0, chance would add 0.2, the estimate is cut at 0.
    assert statistics.ece_debiased([0, 1, 0, 1], [0.5] * 4, bins=1) == 0
    # Confidence 0.9: z = 0.4 / 0.25 = 1.6, E|N| = 0.25 (2 phi(1.6) + 1.6 (2 Phi(1.6) - 1)) = 0.25 (0.22184 + 1.42464)
    assert statistics.ece_debiased([0, 1, 0, 1], [0.9] * 4, bins=1) == pytest.approx(0.8 - 0.25 * 1.64647, abs=1e-4)


def test_brier_of_all_classes_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 90)
    y = rng.integers(0, 4, 90)
    theirs = metrics.brier_score_loss(y, p, labels=[0, 1, 2, 3], scale_by_half=False)
    assert statistics.brier_multi(y, p) == pytest.approx(theirs)
    two = p[:, :2] / p[:, :2].sum(1, keepdims=True)
    assert statistics.brier_multi(y % 2, two) == pytest.approx(2 * statistics.brier(y % 2, two[:, 1]))


def test_parts_by_hand() -> None:
    # Rain: 0.2 said four times, came once; 0.8 said four times, came three times. Overall rate 0.5.
    y, p = [1, 0, 0, 0, 1, 1, 1, 0], [0.2] * 4 + [0.8] * 4
    found = statistics.brier_parts(y, p, bins=None)
    assert found == pytest.approx((0.05**2, 0.25**2, 0.25))
    assert statistics.brier_parts(y, p, bins=2) == pytest.approx(found)
    assert statistics.brier_parts(y, p, bins=1) == pytest.approx((0, 0, 0.25))


@pytest.mark.parametrize("bins", [None, 10, 40])
def test_parts_add_up_to_the_score(bins) -> None:
    rng = np.random.default_rng(2)
    p = rng.integers(0, 11, 400) / 10
    y = rng.random(400) < p
    reliability, resolution, uncertainty = statistics.brier_parts(y, p, bins=bins)
    tolerance = 1e-12 if bins != 10 else 0.01  # ten bins hold eleven probabilities: two lie together
    assert reliability - resolution + uncertainty == pytest.approx(statistics.brier(y, p), abs=tolerance)


def test_equal_probabilities_are_never_parted() -> None:
    y, p = np.array([0, 1] * 50), np.full(100, 0.5)
    assert statistics.brier_parts(y, p, bins=7) == pytest.approx((0, 0, 0.25))


def test_chance_is_what_calibrated_models_show() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 80)
    mean, low, high = statistics.ece_by_chance(p, draws=400)
    fresh = np.array([statistics.ece([rng.choice(3, p=q) for q in p], p) for _ in range(200)])
    assert mean == pytest.approx(fresh.mean(), abs=0.01) and 0.9 < ((low <= fresh) & (fresh <= high)).mean() < 0.99
    assert statistics.ece_by_chance(np.repeat(p, 20, axis=0), draws=50)[0] < 0.4 * mean  # more cases, less chance
    assert statistics.ece_by_chance(np.eye(3), draws=5) == (0, 0, 0)
    assert statistics.ece_by_chance(p, draws=20, seed=3) == statistics.ece_by_chance(p, draws=20, seed=3)
    for wrong in (p[:, :2], p[0], np.zeros((0, 3))):
        with pytest.raises(ValueError):
            statistics.ece_by_chance(wrong)


def test_spiegelhalter_by_hand_and_by_how_often_it_is_wrong() -> None:
    # Two at 0.8, one came: z = (0.2 x -0.6 + -0.8 x -0.6) / sqrt(2 x 0.36 x 0.16) = 0.36 / 0.33941
    z, p = statistics.spiegelhalter([1, 0], [0.8, 0.8])
    assert (z, p) == pytest.approx((1.06066, 0.28884), abs=1e-5)
    rng = np.random.default_rng(1)
    right, sure = [], []
    for _ in range(400):
        q = rng.random(150)
        y = rng.random(150) < q
        right.append(statistics.spiegelhalter(y, q)[1] < 0.05)
        sure.append(statistics.spiegelhalter(y, np.where(q > 0.5, 0.5 + q / 2, q / 2))[0])
    assert 0.02 < np.mean(right) < 0.09 and np.mean(sure) > 2
    assert statistics.spiegelhalter([1, 0], [1.0, 0.5]) == (0.0, 1.0)


def test_a_head_of_two_classes_in_one() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(120)
    y = rng.random(120) < p
    both = np.stack([1 - p, p], 1)
    found = statistics.of_two_classes(y, p)
    assert found["n"] == 120 and found["ece"] == statistics.ece(y.astype(int), both)
    assert found["ece_by_chance"] == list(statistics.ece_by_chance(both))
    assert found["ece_debiased"] == statistics.ece_debiased((p > 0.5) == y, np.maximum(p, 1 - p))
    assert found["brier"] == statistics.brier(y, p) and found["ece_of_class"] == statistics.ece_of_mass(y, p)
    assert found["brier_parts"] == list(statistics.brier_parts(y, p))
    assert found["spiegelhalter_p"] == statistics.spiegelhalter(y, p)[1]


@pytest.mark.parametrize("name", ["ece_debiased", "brier_multi", "brier_parts", "spiegelhalter"])
def test_refuses_what_has_no_answer(name) -> None:
    of = getattr(statistics, name)
    for y, p in (([], []), ([1], [0.5, 0.5]), ([1, 0], [np.nan, 0.5])):
        with pytest.raises(ValueError):
            of(y, p)
