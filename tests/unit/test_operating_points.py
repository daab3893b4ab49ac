"""Operating points against scikit-learn's curve, against every threshold there is, and by hand."""

import numpy as np
import pytest

from shared_models.operating_points import at_sensitivity, at_specificity, at_threshold
from shared_models.statistics import sensitivity, specificity, wilson_ci


def _cases(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(90) < 0.4
    return y, (y + rng.normal(size=90)).round(1)  # rounded, so that ties occur


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("target", [0.5, 0.9, 0.95, 1.0])
def test_is_the_best_of_all_thresholds(seed, target) -> None:
    y, score = _cases(seed)
    every = [at_threshold(y, score, t) for t in [*np.unique(score), np.inf]]
    found = at_sensitivity(y, score, target)
    assert found.sensitivity >= target
    assert found.specificity == max(p.specificity for p in every if p.sensitivity >= target)
    found = at_specificity(y, score, target)
    assert found.specificity >= target
    assert found.sensitivity == max(p.sensitivity for p in every if p.specificity >= target)


def test_agrees_with_scikit_learns_curve() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, score = _cases(7)
    false, true, thresholds = metrics.roc_curve(y, score, drop_intermediate=False)
    for k, t in enumerate(thresholds):
        point = at_threshold(y, score, t)
        assert (point.sensitivity, 1 - point.specificity) == pytest.approx((true[k], false[k]))
    report = metrics.precision_score(y, score >= 0.5), metrics.precision_score(~y, score < 0.5)
    point = at_threshold(y, score, 0.5)
    assert (point.ppv, point.npv) == pytest.approx(report)
    assert (point.sensitivity, point.specificity) == pytest.approx(
        (sensitivity(y, score >= 0.5), specificity(y, score >= 0.5))
    )


def test_by_hand() -> None:
    y, score = [0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.5]
    point = at_sensitivity(y, score, 1.0)
    assert (point.threshold, point.specificity) == (0.3, pytest.approx(2 / 3))
    assert (at_specificity(y, score, 1.0).threshold, at_specificity(y, score, 1.0).sensitivity) == (0.5, 0.5)
    nobody = at_specificity([1, 0], [0.1, 0.9], 1.0)
    assert nobody.threshold == np.inf and nobody.sensitivity == 0 and np.isnan(nobody.ppv)
    assert point.ci95("specificity") == wilson_ci(2, 3) and point.ci95("ppv") == wilson_ci(2, 3)


@pytest.mark.parametrize("call", [
    lambda: at_sensitivity([0, 0], [0.1, 0.2], 0.9),
    lambda: at_specificity([1, 1], [0.1, 0.2], 0.9),
    lambda: at_sensitivity([0, 1], [0.1, 0.2], 0.0),
    lambda: at_specificity([0, 1], [0.1, 0.2], 1.1),
    lambda: at_threshold([0, 1], [0.1], 0.5),
])  # fmt: skip
def test_refuses_what_has_no_answer(call) -> None:
    with pytest.raises(ValueError):
        call()
