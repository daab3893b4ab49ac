"""Each figure against scikit-learn, or against a case worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared_models import statistics


def _data(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    scores = rng.random((n, 3)).round(1) + np.eye(3)[y] * 0.4 + 0.01  # rounded, so that ties occur
    return y, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, scores = _data(seed)
    guess = scores.argmax(axis=1)
    assert statistics.accuracy(y, guess) == pytest.approx(metrics.accuracy_score(y, guess))
    assert statistics.macro_f1(y, guess) == pytest.approx(metrics.f1_score(y, guess, average="macro"))
    assert statistics.auroc(y == 1, scores[:, 1].round(1)) == pytest.approx(
        metrics.roc_auc_score(y == 1, scores[:, 1].round(1))
    )
    assert statistics.macro_auroc(y, scores) == pytest.approx(
        metrics.roc_auc_score(y, scores, multi_class="ovr", average="macro")
    )


def test_macro_f1_of_a_class_never_hit() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, guess = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1])
    assert statistics.macro_f1(y, guess) == pytest.approx(
        metrics.f1_score(y, guess, average="macro", zero_division=0)
    )


def test_auroc_by_hand() -> None:
    assert statistics.auroc([1, 0], [0.5, 0.5]) == 0.5
    assert statistics.auroc([0, 1, 1], [0.1, 0.4, 0.05]) == 0.5
    assert np.isnan(statistics.auroc([1, 1], [0.2, 0.4]))


@pytest.mark.parametrize("seed", range(4))
def test_delong_agrees_with_its_definition_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(60) < 0.4
    first, second = (y + rng.normal(0, 1, 60)).round(1), (0.4 * y + rng.normal(0, 1, 60)).round(1)
    # DeLong 1988, equations 3 to 6, as they stand: every case against every case of the other class.
    components = []
    for score in (first, second):
        wins = np.array([[float(p > q) + 0.5 * float(p == q) for q in score[~y]] for p in score[y]])
        components.append((wins.mean(), wins.mean(1), wins.mean(0)))
    s10 = np.cov([c[1] for c in components])
    s01 = np.cov([c[2] for c in components])
    contrast = np.array([1.0, -1.0])
    variance = contrast @ (s10 / y.sum() + s01 / (~y).sum()) @ contrast
    difference = components[0][0] - components[1][0]
    normal = pytest.importorskip("scipy.stats").norm
    found = statistics.delong(y, first, second)
    assert found == pytest.approx((difference, 2 * normal.sf(abs(difference) / variance**0.5)))
    other_way = statistics.delong(y, second, first)
    assert other_way == pytest.approx((-found[0], found[1]))


def test_delong_agrees_with_mlstatkit() -> None:
    r = np.random.default_rng(0)
    y = r.random(80) < 0.3
    first, second = (y + r.normal(0, 1, 80)).round(1), (0.5 * y + r.normal(0, 1, 80)).round(1)
    # MLstatkit 0.1.91 on these scores: AUROC 0.82406 and 0.64890, p 0.05226
    expected = (0.8240595611285266 - 0.6489028213166144, 0.05225796959324811)
    assert statistics.delong(y, first, second) == pytest.approx(expected, rel=1e-9)


def test_delong_is_right_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    p = []
    for _ in range(400):
        y = rng.random(80) < 0.5
        p.append(statistics.delong(y, y + rng.normal(0, 1, 80), y + rng.normal(0, 1, 80))[1])
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_delong_of_equal_scores_and_of_too_few_cases() -> None:
    y, score = [0, 1, 0, 1], [0.1, 0.9, 0.2, 0.3]
    assert statistics.delong(y, score, score) == (0.0, 1.0)
    assert np.isnan(statistics.delong([0, 0, 0, 1], score, score[::-1])[1])


@pytest.mark.parametrize("seed", range(3))
def test_delong_interval_agrees_with_its_definition_pair_by_pair(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    y = rng.random(50) < 0.4
    score = (0.8 * y + rng.normal(0, 1, 50)).round(1)
    wins = np.array([[float(p > q) + 0.5 * float(p == q) for q in score[~y]] for p in score[y]])
    variance = wins.mean(1).var(ddof=1) / y.sum() + wins.mean(0).var(ddof=1) / (~y).sum()
    theirs = stats.norm.interval(0.9, wins.mean(), variance**0.5)
    assert statistics.delong_ci(y, score, level=0.9) == pytest.approx((theirs[0], min(1, theirs[1])))


def test_delong_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    truth, held = 0.7602, 0  # Phi(1 / sqrt(2))
    for _ in range(400):
        y = rng.random(120) < 0.5
        low, high = statistics.delong_ci(y, y + rng.normal(0, 1, 120))
        held += low <= truth <= high
    assert 0.90 < held / 400 < 0.98
    assert np.isnan(statistics.delong_ci([0, 0, 1], [0.1, 0.2, 0.3])).all()
    assert statistics.delong_ci([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]) == (1.0, 1.0)


def test_delong_by_groups_of_one_is_delong_and_copies_are_no_evidence() -> None:
    rng = np.random.default_rng(2)
    y = rng.random(60) < 0.4
    first, second = (y + rng.normal(0, 1, 60)).round(1), (0.4 * y + rng.normal(0, 1, 60)).round(1)
    plain, interval = statistics.delong(y, first, second), statistics.delong_ci(y, first)
    assert statistics.delong(y, first, second, np.arange(60)) == pytest.approx(plain)
    assert statistics.delong_ci(y, first, groups=np.arange(60)) == pytest.approx(interval)
    four = [np.repeat(side, 4) for side in (y, first, second, np.arange(60))]
    assert statistics.delong(*four) == pytest.approx(plain)
    assert statistics.delong_ci(four[0], four[1], groups=four[3]) == pytest.approx(interval)
    assert statistics.delong(*four[:3])[1] < plain[1]


def test_delong_by_groups_is_right_about_as_often_as_it_says_where_delong_is_not() -> None:
    rng = np.random.default_rng(5)
    plain, grouped, held = [], [], []
    names = np.repeat(np.arange(50), 4)
    for _ in range(300):
        y = rng.random(200) < np.repeat(rng.choice([0.2, 0.8], 50), 4)
        scores = [y + np.repeat(rng.normal(0, 1, 50), 4) + rng.normal(0, 0.5, 200) for _ in range(2)]
        plain.append(statistics.delong(y, *scores)[1] < 0.05)
        grouped.append(statistics.delong(y, *scores, names)[1] < 0.05)
        low, high = statistics.delong_ci(y, scores[0], groups=names)
        held.append(low <= 0.7365 <= high)  # Phi(1 / sqrt(2 x 1.25)), of cases of different groups
    assert np.mean(plain) > 0.1 and 0.02 < np.mean(grouped) < 0.1 and 0.86 < np.mean(held)


def test_delong_by_groups_agrees_with_the_bootstrap_over_groups() -> None:
    rng = np.random.default_rng(9)
    names = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    y = rng.random(len(names)) < np.where(names % 2, 0.7, 0.3)
    score = y + np.repeat(rng.normal(0, 1, 60), np.bincount(names)) + rng.normal(0, 0.3, len(names))
    low, high = statistics.delong_ci(y, score, groups=names)
    other = statistics.bootstrap_ci(lambda i: statistics.auroc(y[i], score[i]), names, n=1500)
    assert (low, high) == pytest.approx(other, abs=0.03)
    assert np.isnan(statistics.delong_ci([1, 1, 0, 0], [1.0, 2.0, 0.5, 0.1], groups=["a", "a", "b", "c"])).all()


def test_sensitivity_and_specificity_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    y, called = rng.random(80) < 0.3, rng.random(80) < 0.4
    assert statistics.sensitivity(y, called) == pytest.approx(metrics.recall_score(y, called))
    assert statistics.specificity(y, called) == pytest.approx(metrics.recall_score(~y, ~called))
    assert statistics.sensitivity([1, 1, 0], [1, 0, 1]) == 0.5 and statistics.specificity([1, 1, 0], [1, 0, 1]) == 0
    assert np.isnan(statistics.sensitivity([0, 0], [1, 0])) and np.isnan(statistics.specificity([1], [1]))


def test_brier_and_calibration_of_one_class() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    p = rng.random(100)
    y = rng.random(100) < p
    assert statistics.brier(y, p) == pytest.approx(metrics.brier_score_loss(y, p))
    # Two bins of three cases: |1/3 - 0.2| and |2/3 - 0.8|
    assert statistics.ece_of_mass([0, 0, 1, 1, 1, 0], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], bins=2) == pytest.approx(0.4 / 3)
    assert statistics.ece_of_mass(y, np.full(100, 0.5)) >= abs(y.mean() - 0.5)


def test_ece_by_hand() -> None:
    # Four answers at 0.9, three right; two at 0.6, both right: 4/6 * 0.15 + 2/6 * 0.4
    p = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 2)
    assert statistics.ece([0, 0, 0, 1, 0, 0], p) == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.4)


def test_bootstrap_agrees_with_scipy_where_every_group_is_one_value() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).normal(size=300)
    low, high = statistics.bootstrap_ci(lambda index: float(values[index].mean()), np.arange(300), n=4000)
    theirs = scipy_stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile").confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bootstrap_keeps_groups_together() -> None:
    groups = np.repeat(np.arange(20), 10)
    values = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    seen = []

    def mean(index: np.ndarray) -> float:
        seen.append(np.bincount(index, minlength=200).reshape(20, 10))
        return float(values[index].mean())

    wide = statistics.bootstrap_ci(mean, groups, n=500)
    assert all((counts == counts[:, :1]).all() for counts in seen)
    alone = statistics.bootstrap_ci(lambda index: float(values[index].mean()), np.arange(200), n=500)
    # Ten copies of a value are no more evidence than one: the interval must be about sqrt(10) wider.
    assert (wide[1] - wide[0]) > 2 * (alone[1] - alone[0])


def test_bootstrap_is_the_same_for_the_same_seed_and_leaves_undefined_resamples_out() -> None:
    y = np.array([0, 0, 0, 1])
    score = np.array([0.1, 0.2, 0.3, 0.9])

    def area(index: np.ndarray) -> float:
        return statistics.auroc(y[index], score[index])

    first = statistics.bootstrap_ci(area, np.arange(4), n=200, seed=5)
    assert first == statistics.bootstrap_ci(area, np.arange(4), n=200, seed=5) == (1.0, 1.0)


@pytest.mark.parametrize("call", [
    lambda: statistics.accuracy([1], [1, 2]),
    lambda: statistics.auroc([1, 0], [np.nan, 0.2]),
    lambda: statistics.bootstrap_ci(lambda index: 0.0, [], n=10),
])  # fmt: skip
def test_refuses_what_has_no_answer(call) -> None:  # noqa: ANN001
    with pytest.raises(ValueError):
        call()
