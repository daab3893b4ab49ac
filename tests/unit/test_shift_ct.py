"""Shifts of CT: each does what it says, measured on what comes out."""

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput, SpacingUnknown
from shared_models.shift_ct import GRADES, SHIFTS, by_strength, correlated_noise, shifted

pytest.importorskip("scipy")
SPACING = (1.0, 0.7, 0.7)


def lung(shape=(12, 64, 64)) -> np.ndarray:
    rng = np.random.default_rng(3)
    hu = rng.normal(-850, 20, shape)
    hu[4:8, 20:40, 20:40] = rng.normal(30, 15, (4, 20, 20))
    return hu.astype(np.int16)


@pytest.mark.parametrize("name", SHIFTS)
def test_grades_are_deterministic_rise_and_leave_the_input_alone(name) -> None:
    hu = lung()
    before = hu.copy()
    effects = []
    for grade in range(GRADES + 1):
        one = shifted(hu, name, grade, SPACING, seed=5)
        assert one.dtype == np.int16 and one.shape == hu.shape
        assert np.array_equal(one, shifted(hu, name, grade, SPACING, seed=5))
        effects.append(float(np.abs(one.astype(float) - hu).mean()))
    assert effects[0] == 0 and effects == sorted(effects) and len(set(effects)) == GRADES + 1
    assert np.array_equal(hu, before)


def test_noise_has_the_stated_sigma_and_is_correlated() -> None:
    noise = correlated_noise((40, 128, 128), 30.0, SPACING, np.random.default_rng(0))
    assert noise.std() == pytest.approx(30.0, rel=0.02) and np.abs(noise.mean(axis=(1, 2))).max() < 1e-9
    along = (noise[:, :, 1:] * noise[:, :, :-1]).mean() / noise.var()
    between = (noise[1:] * noise[:-1]).mean() / noise.var()
    assert along > 0.1 and abs(between) < 0.02  # neighbours in the plane know of each other, slices do not
    flat = np.full((30, 96, 96), -500, np.int16)
    assert (by_strength(flat, "dose_noise", 30, SPACING) + 500).std() == pytest.approx(30, rel=0.03)
    first, second = (by_strength(flat, "dose_noise", 30, SPACING, seed) for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_kernels_move_high_frequencies_and_not_the_mean() -> None:
    rows, columns = np.mgrid[:64, :64]
    fine = np.rint(-500 + 100 * np.cos(2 * np.pi * columns / 8))  # a period of 5.6 mm, 0.179 cycles per mm
    smooth = by_strength(fine.astype(np.int16), "kernel_smooth", 1.1, SPACING).astype(float)
    # A Gaussian of s mm passes exp(-2 (pi s f)^2) of frequency f.
    passed = np.exp(-2 * (np.pi * 1.1 / 5.6) ** 2)
    assert smooth[:, 16:48].max() + 500 == pytest.approx(100 * passed, abs=1.0)
    sharp = by_strength(fine.astype(np.int16), "kernel_sharp", 1.5, SPACING).astype(float)
    lifted = 1 + 1.5 * (1 - np.exp(-2 * (np.pi * 0.8 / 5.6) ** 2))
    assert sharp[:, 16:48].max() + 500 == pytest.approx(100 * lifted, abs=1.5)
    assert smooth[:, 16:48].mean() == pytest.approx(-500, abs=1) == sharp[:, 16:48].mean()


def test_offset_is_exact_and_enhancement_spares_air_and_bone() -> None:
    hu = np.array([[-900, -150, -75, 0, 100, 400, 3050]], np.int16)
    ways = {int(by_strength(hu, "hu_offset", 40, SPACING, seed)[0, 0]) for seed in range(20)}
    assert ways == {-940, -860}
    up = next(by_strength(hu, "hu_offset", 40, SPACING, s) for s in range(20)
              if by_strength(hu, "hu_offset", 40, SPACING, s)[0, 0] == -860)  # fmt: skip
    assert up[0, :6].tolist() == [-860, -110, -35, 40, 140, 440] and up[0, 6] == 3071
    assert by_strength(hu, "enhancement", 80, SPACING)[0].tolist() == [-900, -150, -35, 80, 180, 400, 3050]


def test_thick_slices_are_means_along_the_slices_alone() -> None:
    hu = np.full((11, 8, 8), -800, np.int16)
    hu[5] = 200
    thick = by_strength(hu, "slice_thickness", 5, (1.0, 0.7, 0.7))
    assert thick[:, 0, 0].tolist() == [-800] * 3 + [-600] * 5 + [-800] * 3  # 1000 HU over five slices of 1 mm
    part = by_strength(hu, "slice_thickness", 2, (1.0, 0.7, 0.7))  # half a slice on either side
    assert part[:, 0, 0].tolist() == [-800] * 4 + [-550, -300, -550] + [-800] * 4
    assert np.array_equal(by_strength(hu, "slice_thickness", 5, (5.0, 0.7, 0.7)), hu)
    with pytest.raises(InvalidInput, match="single slice"):
        by_strength(hu[0], "slice_thickness", 5, SPACING)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no shift"):
        by_strength(lung(), "magnet", 1, SPACING)
    with pytest.raises(InvalidInput, match="grade"):
        shifted(lung(), "dose_noise", 6, SPACING)
    with pytest.raises(SpacingUnknown):
        by_strength(lung(), "kernel_smooth", 1, (1.0, 0.0, 0.7))
