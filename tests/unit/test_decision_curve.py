"""Net benefit against dcurves, and by hand."""

import numpy as np
import pytest

from shared_models.decision_curve import net_benefit


def test_agrees_with_dcurves() -> None:
    r = np.random.default_rng(0)
    p = r.random(150)
    y = r.random(150) < p**1.3
    found = net_benefit(y, p, [0.05, 0.1, 0.35, 0.8])
    # dcurves 1.1.7 (Vickers' group), dca() on these cases
    np.testing.assert_allclose(found.model, [0.385965, 0.352593, 0.207692, 0.04], atol=1e-6)
    np.testing.assert_allclose(found.treat_all, [0.382456, 0.348148, 0.097436, -1.933333], atol=1e-6)
    assert (found.treat_none == 0).all()


def test_by_hand() -> None:
    # Four cases, two ill; at 0.5 one true and one false positive: 1/4 - 1/4 x 1.
    model, everybody, nobody = net_benefit([1, 1, 0, 0], [0.9, 0.1, 0.5, 0.2], [0.5, 0.0])
    assert model.tolist() == [0.0, 0.5] and everybody.tolist() == [0.0, 0.5] and nobody.tolist() == [0.0, 0.0]


def test_a_perfect_model_gains_the_prevalence_and_a_constant_one_is_everybody_or_nobody() -> None:
    y = np.array([0, 0, 1, 1, 1])
    assert net_benefit(y, y, [0.2, 0.9]).model == pytest.approx([0.6, 0.6])
    flat = net_benefit(y, np.full(5, 0.6), [0.3, 0.6, 0.7])
    assert flat.model == pytest.approx([flat.treat_all[0], flat.treat_all[1], 0])


@pytest.mark.parametrize("p, thresholds", [
    ([0.5, 0.5], [1.0]), ([0.5, 0.5], [-0.1]), ([0.5, 0.5], []), ([0.5, 1.5], [0.5]), ([0.5], [0.5]),
    ([0.5, np.nan], [0.5]),
])  # fmt: skip
def test_refuses_what_has_no_answer(p, thresholds) -> None:
    with pytest.raises(ValueError):
        net_benefit([1, 0], p, thresholds)
