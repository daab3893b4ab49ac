"""Pieces, measurements and features against shapes whose answer is known."""

import numpy as np
import pytest

from shared_models.contract.errors import BadGeometry
from shared_models.contract.values import CTVolume
from shared_models.ct_malignancy import NAMES, MalignancyModel, features
from shared_models.ct_neighbourhood import Prompt
from shared_models.ct_nodules import (
    Candidate,
    axes_mm,
    candidates,
    piece_at,
    prompt_of,
    suspicion,
    verified,
    without_caps,
)

SPACING = (0.8, 0.8, 2.0)  # column, row, slice


def ellipsoid(shape, centre, radii_mm) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    steps = SPACING[::-1]
    return sum(((a - c) * s / r) ** 2 for a, c, s, r in zip(axes, centre, steps, radii_mm)) <= 1


@pytest.fixture
def scene():
    """A ball in the lung, a long vessel, a block outside the lung, and an airway-like piece without density."""
    shape = (30, 120, 120)
    lungs = np.zeros(shape, bool)
    lungs[:, 10:110, 10:80] = True
    hu = np.full(shape, -850, np.int16)
    ball = ellipsoid(shape, (15, 40, 40), (8, 8, 8))
    vessel = np.zeros(shape, bool)
    vessel[20:22, 20:100, 60:64] = True
    outside = ellipsoid(shape, (15, 60, 100), (8, 8, 8))
    hollow = ellipsoid(shape, (8, 80, 30), (8, 6, 6))
    for part in (ball, vessel, outside):
        hu[part] = 30
    hu[hollow] = -930
    probability = np.where(ball | outside | hollow | vessel, 0.9, 0.02).astype(np.float32)
    return probability, hu, lungs, ball


def test_the_search_keeps_the_ball_alone(scene) -> None:
    probability, hu, lungs, ball = scene
    found = candidates(probability, hu, lungs, lungs, SPACING)
    assert [c.found_by for c in found] == ["search"] and 0.8 < found[0].score <= 1
    whole = np.zeros_like(lungs)
    whole[found[0].where] = found[0].mask
    assert 2 * (whole & ball).sum() / (whole.sum() + ball.sum()) > 0.93


def at(*index: float) -> Prompt:
    return Prompt(np.array(index, float), np.array(index, float))


def test_a_prompt_is_in_index_of_the_ct_and_lies_in_it() -> None:
    turned = np.array([[-0.8, 0, 0, 10.0], [0, 0.8, 0, -20], [0, 0, -2, 100], [0, 0, 0, 1]])
    volume = CTVolume(np.zeros((30, 40, 50), np.int16), turned, "test")
    point = prompt_of(volume, (10 - 0.8 * 7, -20 + 0.8 * 5, 100 - 2 * 3.25), "point")
    assert point.is_point and point.centre == pytest.approx([3.25, 5, 7])
    box = prompt_of(volume, ((10 - 0.8 * 9, -20, 100 - 2 * 6), (10 - 0.8 * 7, -20 + 0.8 * 5, 100 - 2 * 3)), "box")
    assert not box.is_point and box.low == pytest.approx([3, 0, 7]) and box.high == pytest.approx([6, 5, 9])
    inside = box.within((slice(2, 9), slice(0, 9), slice(5, 20)))
    assert inside.low == pytest.approx([1, 0, 2]) and inside.high == pytest.approx([4, 5, 4])
    with pytest.raises(BadGeometry, match="point lies outside"):
        prompt_of(volume, (12.0, 0.0, 90.0), "point")


def test_the_piece_at_a_point_is_the_one_it_lies_in_or_next_to() -> None:
    probability = np.zeros((5, 40, 40), np.float32)
    probability[2, 10:15, 10:15] = 0.9
    probability[2, 10:15, 18:30] = 0.9
    spacing = (2.0, 0.8, 0.8)
    assert piece_at(probability, at(2, 12, 12), spacing).sum() == 25
    assert piece_at(probability, at(2, 12, 15.2), spacing).sum() == 25
    assert piece_at(probability, at(2, 12, 17.2), spacing).sum() == 60
    assert piece_at(probability, at(2, 35, 35), spacing) is None  # more than 5 mm from either


def test_the_threshold_of_flat_slices_follows_the_size() -> None:
    y, x = np.ogrid[:61, :61]
    distance = np.hypot(y - 30, x - 30)
    for edge, sure, less, spacing in ((3, 0.7, 0.5, 0.5), (20, 0.7, 0.3, 0.7)):
        around = np.where(distance <= edge + 2, less, 0.0)
        probability = np.where(distance <= edge, sure, around)[None].astype(np.float32)
        found = piece_at(probability, at(0, 30, 30), (5.0, spacing, spacing))
        # A small one keeps to what is sure, a large one takes what is less so.
        assert found.sum() == (distance <= (edge if edge == 3 else edge + 2)).sum()
        same = piece_at(probability, at(0, 30, 30), (5.0, spacing, spacing), by_size=False)
        assert same.sum() == (probability > 0.45).sum()


def test_a_slice_that_holds_only_a_cap_does_not_belong_to_a_nodule_of_thin_slices() -> None:
    z, y, x = np.ogrid[:31, :41, :41]
    ball = (z - 15) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 <= 10**2
    found = piece_at(ball.astype(np.float32), at(15, 20, 20), (1.0, 1.0, 1.0))
    assert np.flatnonzero(found.any((1, 2))).tolist() == list(range(7, 24))  # 1 - (8 / 10)**2 is over 0.3
    np.testing.assert_array_equal(found[7:24], ball[7:24])
    thick = piece_at(ball.astype(np.float32), at(15, 20, 20), (5.0, 1.0, 1.0))
    np.testing.assert_array_equal(thick, ball)


def test_a_waist_does_not_end_a_nodule() -> None:
    two = np.zeros((9, 20, 20), bool)
    two[1:4, 4:14, 4:14] = two[5:8, 4:14, 4:14] = two[4, 8:10, 8:10] = True
    np.testing.assert_array_equal(without_caps(two), two)


def test_a_box_means_the_piece_that_fills_it_most() -> None:
    probability = np.zeros((5, 40, 40), np.float32)
    probability[2, 10:13, 10:13] = 0.9
    probability[2, 10:20, 15:25] = 0.9
    box = Prompt(np.array([1.0, 8, 8]), np.array([3.0, 18, 20]))
    assert piece_at(probability, box, (1, 1, 1)).sum() == 100


def test_a_faint_piece_is_found_at_a_lower_threshold_and_a_speck_is_not_one() -> None:
    faint = np.full((5, 40, 40), 0.01, np.float32)
    assert piece_at(faint, at(2, 20, 20), (1, 1, 1)) is None
    faint[2, 17:24, 17:24] = 0.25
    assert piece_at(faint, at(2, 20, 20), (1, 1, 1)).sum() == 49
    speck = np.zeros((5, 40, 40), np.float32)
    speck[2, 20, 20] = 0.9
    assert piece_at(speck, at(2, 20, 20), (1, 1, 1)) is None


def test_the_look_from_near_drops_what_is_unsure_small_outside_or_airy() -> None:
    mask = ellipsoid((11, 21, 21), (5, 10, 10), (6, 6, 6))
    dense, lung = np.full(mask.shape, 30, np.int16), np.ones(mask.shape, bool)
    spacing = SPACING[::-1]
    assert verified(0.9, mask, dense, lung, spacing)
    assert not verified(0.3, mask, dense, lung, spacing)
    assert not verified(0.9, mask, dense, ~lung, spacing)
    assert not verified(0.9, mask, dense - 930, lung, spacing)
    assert not verified(0.9, ellipsoid(mask.shape, (5, 10, 10), (1, 1, 1)), dense, lung, spacing)
    tube = np.zeros((21, 41, 41), bool)
    tube[10, 2:39, 18:23] = True  # a vessel that lies in one slice
    everywhere = np.ones(tube.shape, bool)
    assert not verified(0.9, tube, np.full(tube.shape, 30), everywhere, spacing)


def test_a_piece_is_shown_in_another_box_where_they_meet() -> None:
    piece = Candidate((slice(2, 4), slice(5, 8), slice(5, 8)), np.ones((2, 3, 3), bool), 0.9, "search")
    shown = piece.shown_in((slice(3, 6), slice(0, 7), slice(6, 20)))
    assert shown.shape == (3, 7, 14) and shown.sum() == 1 * 2 * 2 and shown[0, 5:7, 0:2].all()
    assert not piece.shown_in((slice(6, 9), slice(0, 7), slice(6, 20))).any()


def test_sure_compact_and_large_pieces_come_first() -> None:
    def ball(radius: float, score: float) -> Candidate:
        mask = ellipsoid((31, 61, 61), (15, 30, 30), (radius,) * 3)
        return Candidate((slice(0, 31), slice(0, 61), slice(0, 61)), mask, score, "search")

    assert suspicion(ball(8, 0.9), SPACING) > suspicion(ball(8, 0.7), SPACING)
    assert suspicion(ball(16, 0.9), SPACING) > suspicion(ball(4, 0.9), SPACING)


def test_the_middle_of_a_piece_lies_in_it() -> None:
    ring = np.zeros((1, 21, 21), bool)
    ring[0, 2:19, 2:19] = True
    ring[0, 5:19, 5:16] = False  # a horseshoe: its centroid is in the hole
    piece = Candidate((slice(4, 5), slice(30, 51), slice(60, 81)), ring, 0.9, "search")
    k, j, i = (piece.middle - (4, 30, 60)).astype(int)
    assert ring[k, j, i]


def test_axes_of_an_ellipse() -> None:
    rows, columns = np.ogrid[:101, :101]
    mask = ((rows - 50) * 0.5 / 10) ** 2 + ((columns - 50) * 0.8 / 20) ** 2 <= 1
    long_axis, short_axis = axes_mm(mask[None], (0.5, 0.8))
    assert long_axis == pytest.approx(40, abs=1.7) and short_axis == pytest.approx(20, abs=1.2)
    long_axis, short_axis = axes_mm(np.ones((1, 1, 1), bool), (3.0, 4.0))
    assert long_axis == pytest.approx(5) and short_axis == pytest.approx(4.8)


def test_features_by_hand_and_larger_is_more_malignant() -> None:
    def disc(radius: float) -> np.ndarray:
        rows, columns = np.ogrid[:81, :81]
        return np.hypot(rows - 40, columns - 40) <= radius

    rows = []
    for radius in (4, 8, 16):
        mask = disc(radius)
        hu = np.where(mask, 20, -800).astype(np.int16)
        row = dict(zip(NAMES, features(hu, mask, (0.7, 0.7))))
        assert row["log_area_mm2"] == pytest.approx(np.log(mask.sum() * 0.49))
        assert row["mean_hu"] == 20 and row["sd_hu"] == 0 and row["rim_hu"] == -800
        assert row["aspect"] > 0.9 and 0.7 < row["solidity"] <= 1.1
        rows.append(list(row.values()))
    p = MalignancyModel.load().probability(np.array(rows))
    assert 0 < p[0] < p[1] < p[2] < 1
