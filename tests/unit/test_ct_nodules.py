"""Pieces, measurements and features against shapes whose answer is known."""

import numpy as np
import pytest

from shared_models.contract.values import CTVolume
from shared_models.ct_malignancy import NAMES, MalignancyModel, features
from shared_models.ct_nodules import axes_mm, candidates, piece_at, prompted

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


def test_a_point_finds_what_the_search_left_out_and_misses_are_said(scene) -> None:
    probability, hu, lungs, _ = scene
    volume = CTVolume(hu, np.diag([*SPACING, 1.0]), "test")
    inside, nothing = (100 * 0.8, 60 * 0.8, 30.0), (20 * 0.8, 20 * 0.8, 50.0)
    found, notes = prompted(probability, volume, [inside, nothing], [])
    assert len(found) == 1 and found[0].found_by == "point"
    assert notes == ["No nodule was recognised at the point that was given."]
    box = ((36 * 0.8, 36 * 0.8, 26.0), (44 * 0.8, 44 * 0.8, 34.0))
    (boxed,), _ = prompted(probability, volume, [], [box])
    assert boxed.found_by == "box" and boxed.mask.any()


def test_a_faint_piece_is_found_at_a_lower_threshold_and_a_dense_one_without_any() -> None:
    hu = np.full((5, 40, 40), -850, np.int16)
    hu[2, 18:23, 18:23] = 0
    faint = np.zeros(hu.shape, np.float32)
    assert piece_at(faint, hu, (2, 20, 20), (1, 1, 1)).sum() == 25
    faint[2, 17:24, 17:24] = 0.2
    assert piece_at(faint, hu, (2, 20, 20), (1, 1, 1)).sum() == 49
    assert piece_at(faint, np.full_like(hu, -850), (2, 2, 2), (1, 1, 1)) is None
    assert piece_at(np.zeros_like(faint), np.full_like(hu, 40), (2, 20, 20), (1, 1, 1)) is None  # wall everywhere


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
