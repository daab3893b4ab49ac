"""Maps against masks: worked by hand, and best_iou() against a plain loop over all thresholds."""

import numpy as np
import pytest

from shared_models import localisation as lo

MASK = np.zeros((4, 5), bool)
MASK[1:3, 1:3] = True  # 4 of 20 pixels


def _map(**at) -> np.ndarray:
    values = np.zeros(MASK.shape)
    for place, value in at.items():
        values[int(place[1]), int(place[2])] = value
    return values


def test_the_highest_place_on_the_mask_and_near_it() -> None:
    assert lo.pointing_game(_map(p11=1.0, p00=0.9), MASK, 0.7, 0) == 1
    beside = _map(p13=1.0)  # one pixel off: 0.7 mm
    assert lo.pointing_game(beside, MASK, 0.7, 0.69) == 0 and lo.pointing_game(beside, MASK, 0.7, 0.7) == 1
    corner = _map(p00=1.0)  # a diagonal off: 1.41 pixels
    assert lo.pointing_game(corner, MASK, 1.0, 1.0) == 0 and lo.pointing_game(corner, MASK, 1.0, 1.42) == 1
    assert lo.pointing_game(_map(p11=1, p04=1), MASK, 0.7, 0) == 0.5  # a tie counts half, whichever is stored first


def test_a_map_that_says_nothing_scores_its_share_of_the_area() -> None:
    for flat in (np.full(MASK.shape, 0.3), np.zeros(MASK.shape)):
        assert lo.pointing_game(flat, MASK, 1.0, 0) == pytest.approx(0.2)
        assert lo.energy_inside(flat, MASK) == pytest.approx(0.2)
        assert lo.mask_auroc(flat, MASK) == 0.5
        assert lo.best_iou(flat, MASK) == pytest.approx(0.2)
    assert lo.iou_at(np.zeros(MASK.shape), MASK, 0.5) == 0  # nothing is shown


def test_energy_and_auroc_by_hand() -> None:
    values = _map(p11=3.0, p22=1.0, p00=1.0) - _map(p34=5.0)
    assert lo.energy_inside(values, MASK) == pytest.approx(0.8)  # negative values carry no energy
    # On the mask 3, 1, 0, 0; off it 1, fourteen 0 and one -5: 16 + 15.5 + 2 * (1 + 7) pairs of 64.
    assert lo.mask_auroc(values, MASK) == pytest.approx(47.5 / 64)
    assert lo.mask_auroc(MASK.astype(float), MASK) == 1


def test_overlap_at_a_share_of_the_maximum() -> None:
    values = _map(p11=1.0, p12=0.6, p21=0.5, p00=0.5, p34=0.2)
    assert lo.iou_at(values, MASK, 0.6) == pytest.approx(2 / 4)
    assert lo.iou_at(values, MASK, 0.5) == pytest.approx(3 / 5)
    assert lo.iou_at(7 * values, MASK, 0.5) == pytest.approx(3 / 5)
    assert lo.best_iou(values, MASK) == pytest.approx(3 / 5)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_overlap_agrees_with_trying_every_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(size=(9, 9)).round(1), rng.random((9, 9)) > 0.7
    every = [(mask & (values >= t)).sum() / (mask | (values >= t)).sum() for t in np.unique(values)]
    assert lo.best_iou(values, mask) == pytest.approx(max(every))


def test_one_threshold_for_many_maps() -> None:
    maps = [_map(p11=1, p12=0.8, p21=0.8, p22=0.8, p00=0.7), 9 * _map(p11=1, p12=1, p21=1, p22=0.79, p33=0.72)]
    assert lo.fixed_threshold(maps, [MASK, MASK]) == 0.75
    assert all(lo.iou_at(values, MASK, 0.75) == 1 for values in maps)


@pytest.mark.parametrize("call", [
    lambda: lo.best_iou(np.zeros((4, 4)), MASK),
    lambda: lo.energy_inside(np.ones((4, 5)), np.zeros((4, 5), bool)),
    lambda: lo.mask_auroc(np.full((4, 5), np.nan), MASK),
    lambda: lo.fixed_threshold([], []),
])  # fmt: skip
def test_refuses_what_has_no_answer(call) -> None:  # noqa: ANN001
    with pytest.raises(ValueError):
        call()
