"""Shifts of H&E tiles: each does what it says, measured on what comes out."""

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput
from shared_models.shift_slide import GRADES, SHIFTS, by_strength, shifted

pytest.importorskip("torch")
HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def tissue(count: int = 2, side: int = 96) -> np.ndarray:
    """Nuclei of haematoxylin in a ground of eosin, made of two known stain vectors."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    tiles = []
    for _ in range(count):
        blue, pink = np.full((side, side), 0.05), rng.uniform(0.25, 0.75, (side, side))
        for y, x in rng.uniform(0, side, (60, 2)):
            blue[np.hypot(rows - y, columns - x) < 4] = rng.uniform(0.8, 1.4)
        density = blue[..., None] * HED[0] + pink[..., None] * HED[1]
        tiles.append(np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255))
    return np.array(tiles, np.uint8)


def density(tiles: np.ndarray) -> np.ndarray:
    return -np.log((tiles.reshape(-1, 3) + 1.0) / 256)


@pytest.mark.parametrize("name", SHIFTS)
def test_grades_are_deterministic_rise_and_leave_the_input_alone(name) -> None:
    tiles = tissue()
    before = tiles.copy()
    effects = []
    for grade in range(GRADES + 1):
        one = shifted(tiles, name, grade, seed=2)
        assert one.dtype == np.uint8 and one.shape == tiles.shape
        assert np.array_equal(one, shifted(tiles, name, grade, seed=2))
        effects.append(float(np.abs(one.astype(float) - tiles).mean()))
    assert effects[0] == 0 and all(effect > 0 for effect in effects[1:])
    if name != "mpp":  # how far pixels move says nothing of the scale
        assert effects == sorted(effects)
    assert np.array_equal(tiles, before)


def test_stains_are_multiplied_by_the_stated_gain_either_way() -> None:
    tiles = tissue(4)
    strong = by_strength(tiles, "stain_strength", 0.4, seed=0)
    amounts = np.linalg.inv(HED.T)
    gains = []
    for old, new in zip(tiles, strong):
        was, now = (density(t) @ amounts.T for t in (old, new))
        clear = was[:, 0] > 0.5
        gains.append(float(np.median(now[clear, 0] / was[clear, 0])))
    assert sorted(round(g, 1) for g in gains) == [0.7, 0.7, 1.4, 1.4]


def test_stain_vectors_turn_by_the_stated_angle_about_grey() -> None:
    from shared_models.shift_slide import _turned
    from shared_models.stain import macenko

    vector = HED[0] / np.linalg.norm(HED[0])
    turned = _turned(vector, np.radians(20))
    grey = np.full(3, 1 / np.sqrt(3))
    across = [v - (v @ grey) * grey for v in (vector, turned)]
    cosine = across[0] @ across[1] / np.linalg.norm(across[0]) / np.linalg.norm(across[1])
    assert np.degrees(np.arccos(cosine)) == pytest.approx(20, abs=0.1)
    assert turned.sum() == pytest.approx(vector.sum())  # as dark as before
    tiles = tissue(2)
    moved = by_strength(tiles, "stain_vectors", 20, seed=1)
    for old, new in zip(tiles, moved):
        angle = np.degrees(np.arccos(np.clip(macenko(old[None]).matrix[0] @ macenko(new[None]).matrix[0], -1, 1)))
        assert 3 < angle < 25
    glass = np.full((2, 64, 64, 3), 243, np.uint8)
    assert np.array_equal(by_strength(glass, "stain_vectors", 45), glass)


def test_light_and_curve_are_what_they_say() -> None:
    grey = np.full((2, 8, 8, 3), 100, np.uint8)
    lit = by_strength(grey, "white_balance", 0.25)[:, 0, 0].tolist()
    assert sorted(lit) == [[80, 100, 125], [125, 100, 80]]
    curved = sorted(int(v) for v in by_strength(grey, "gamma", 1.0)[:, 0, 0, 0])
    assert curved == [round(255 * (100 / 255) ** 2), round(255 * (100 / 255) ** 0.5)]


def test_blur_removes_high_frequencies_as_a_gaussian_does() -> None:
    columns = np.arange(96)
    wave = 128 + 80 * np.cos(2 * np.pi * columns / 8)
    tile = np.repeat(np.rint(np.tile(wave, (96, 1)))[None, :, :, None], 3, axis=3).astype(np.uint8)
    soft = by_strength(tile, "blur", 1.8)[0, :, 24:72, 0].astype(float)
    assert soft.max() - 128 == pytest.approx(80 * np.exp(-2 * (np.pi * 1.8 / 8) ** 2), abs=1)
    tiles = tissue()
    high = [float(np.abs(np.diff(shifted(tiles, "blur", g).astype(float), axis=2)).mean()) for g in range(GRADES + 1)]
    assert high == sorted(high, reverse=True)


def test_pixels_are_made_larger_or_smaller_about_the_middle() -> None:
    tile = np.zeros((2, 96, 96, 3), np.uint8)
    tile[:, 40:56, 40:56] = 255
    sides = sorted(int((t[48, :, 0] > 127).sum()) for t in by_strength(tile, "mpp", 0.5))
    assert sides[1] == 24 and sides[0] in (10, 11)  # 16 x 1.5 and 16 / 1.5
    coarse = by_strength(tissue(2), "mpp", 1.6)
    assert coarse.shape == (2, 96, 96, 3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no shift"):
        shifted(tissue(), "magnet", 1)
    with pytest.raises(InvalidInput, match="grade"):
        shifted(tissue(), "blur", 9)
    with pytest.raises(InvalidInput, match="8-bit"):
        by_strength(tissue().astype(np.uint16), "blur", 1)
    assert by_strength(np.empty((0, 8, 8, 3), np.uint8), "blur", 1).shape == (0, 8, 8, 3)
