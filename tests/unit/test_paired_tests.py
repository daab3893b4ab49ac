"""Permutation p-values against SciPy's, and against a case worked by hand."""

import numpy as np
import pytest

from shared_models.paired_tests import holm, mcnemar, mean_intervals, sign_flip
from shared_models.statistics import bootstrap_ci


def test_by_hand() -> None:
    # Of the eight signs of 1, 2, 3 only two reach a sum of 6.
    assert sign_flip(np.array([1.0, 2.0, 3.0]), [0, 1, 2]) == pytest.approx(2 / 8)
    assert sign_flip(np.array([3.0, -1.0, -2.0]), [0, 1, 2]) == 1
    assert sign_flip(np.zeros(5), np.arange(5)) == 1


@pytest.mark.parametrize("count", [8, 40])
def test_agrees_with_scipy(count: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(count).normal(0.25, 1, count)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20000, rng=np.random.default_rng(5)
    ).pvalue
    assert sign_flip(values, np.arange(count)) == pytest.approx(theirs, abs=0.015)


def test_cases_of_one_patient_are_one_piece_of_evidence() -> None:
    values = np.repeat([1.0, 0.8, 1.2], 10)
    assert sign_flip(values, np.repeat([0, 1, 2], 10)) == pytest.approx(2 / 8)
    assert sign_flip(values, np.arange(30)) < 0.001
    # The second patient counts once, not four times.
    assert sign_flip(np.array([1.0, -1, -1, -1, -1]), np.array([0, 1, 1, 1, 1])) == 1


def test_chance_findings_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(0)
    p = np.array([sign_flip(rng.normal(size=12), np.arange(12)) for _ in range(400)])
    assert 0.02 < (p <= 0.05).mean() < 0.09 and 0.4 < (p <= 0.5).mean() < 0.6


def test_intervals_of_many_means_are_those_of_the_plain_bootstrap() -> None:
    rng = np.random.default_rng(3)
    groups, values = rng.integers(0, 9, 40), rng.normal(size=(40, 3))
    found = mean_intervals(values, groups, n=300, seed=5)
    for column in range(3):
        plain = bootstrap_ci(lambda i, c=column: float(values[i, c].mean()), groups, n=300, seed=5)
        assert found[column] == pytest.approx(plain)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # statsmodels 0.15.0, multipletests(method="holm")
    theirs = [0.055, 0.12, 0.12, 0.03, 0.2, 0.12]
    assert holm([0.011, 0.04, 0.03, 0.005, 0.2, 0.04]) == pytest.approx(theirs)
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_mcnemar_of_a_published_example() -> None:
    # Airway hyper-responsiveness of 21 children, Fagerland et al. 2013, doi 10.1186/1471-2288-13-91: exact p = 0.070
    a, b = np.repeat([1, 1, 0, 0], [1, 1, 7, 12]), np.repeat([1, 0, 1, 0], [1, 1, 7, 12])
    assert mcnemar(a, b) == (1, 7, pytest.approx(0.0703125))
    assert mcnemar(b, a) == (7, 1, pytest.approx(0.0703125))
    # By hand: all of 6 for one side, 2 / 2**6.
    assert mcnemar(np.ones(10, bool), np.arange(10) < 4) == (6, 0, pytest.approx(2 / 64))
    assert mcnemar(a > 0, a > 0) == (0, 0, 1.0)


def test_mcnemar_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(200) < 0.9, rng.random(200) < 0.8
    # statsmodels 0.15.0, stats.contingency_tables.mcnemar(table, exact=True) on these cases
    assert mcnemar(a, b)[2] == pytest.approx(0.01328328156224501, rel=1e-6)


@pytest.mark.parametrize("sides", [([1], [1, 0]), ([], []), ([2, 0], [1, 0]), ([0.5], [1])])
def test_mcnemar_refuses_what_is_not_right_or_wrong(sides) -> None:
    with pytest.raises(ValueError):
        mcnemar(*sides)


def test_refuses_what_has_no_answer() -> None:
    for values, groups in (([], []), ([1.0], [0, 1]), ([np.nan], [0])):
        with pytest.raises(ValueError):
            sign_flip(np.array(values), groups)
