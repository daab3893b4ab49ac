"""Noise of a CT against noise that was put in, and what is said of it. Drawn slabs, no patient."""

from __future__ import annotations

import numpy as np
import pytest

from shared_models.contract.values import CTVolume
from shared_models.ct_quality import LIDC_NOISE_HU, Quality, ct_quality, noise_hu
from shared_models.shift_ct import by_strength


def slab(noise: float, slices_mm: float = 2.0, pixel_mm: float = 0.7, slices: int = 6) -> CTVolume:
    """Muscle with fat, air and a bright vessel in it."""
    hu = np.full((slices, 160, 160), 45, np.int16)
    hu[:, :40], hu[:, :, :50], hu[:, 90:96, 60:150] = -1000, -100, 220
    noisy = by_strength(hu, "dose_noise", noise, (slices_mm, pixel_mm, pixel_mm), seed=4)
    return CTVolume(noisy, np.diag([pixel_mm, pixel_mm, slices_mm, 1.0]), "1.2.3")


@pytest.mark.parametrize("pixel", [0.5, 0.9])
@pytest.mark.parametrize("noise", [12, 40, 110])
def test_the_noise_that_was_put_in_is_found_beside_edges(noise, pixel) -> None:
    found = noise_hu(slab(noise, pixel_mm=pixel).voxels, (pixel, pixel))
    assert found == pytest.approx(noise, rel=0.12, abs=1.0)


def test_without_soft_tissue_nothing_is_known_of_the_noise() -> None:
    air = np.full((3, 64, 64), -900, np.int16)
    assert noise_hu(air, (0.7, 0.7)) is None
    flat = np.full((3, 64, 64), 50, np.int16)
    assert noise_hu(flat, (0.7, 0.7)) is None, "padding has no noise at all, and is no measurement"
    quality = ct_quality(CTVolume(air, np.diag([0.7, 0.7, 5.0, 1.0]), "1.2.3"))
    assert quality.noise_hu is None and quality.note is None and 0.9 < quality.value < 1


def test_quality_falls_with_noise_and_with_thick_slices_and_is_one_for_ct_like_the_training_one() -> None:
    assert ct_quality(slab(20)).value == 1.0
    values = [ct_quality(slab(noise)).value for noise in (20, 80, 160)]
    assert values[0] > values[1] > values[2] > 0.9
    assert ct_quality(slab(20, 3.0)).value == 1 > ct_quality(slab(20, 6.0)).value > ct_quality(slab(20, 9.0)).value
    assert ct_quality(slab(160, 9.0)).value == min(ct_quality(slab(160)).value, ct_quality(slab(20, 9.0)).value)


def test_only_noise_that_costs_something_is_said() -> None:
    assert Quality(1.0, LIDC_NOISE_HU, 1.0).note is None and Quality(0.9, 60.0, 9.0).note is None
    note = Quality(0.93, 170.0, 1.0).note
    assert note is not None and "170 HU" in note and "by 7%" in note


def test_the_analysis_says_that_a_ct_is_noisy() -> None:
    from types import SimpleNamespace

    from shared_models import ct_pipeline

    models = SimpleNamespace(malignancy=SimpleNamespace(why_not=None), provenance=())
    said = [ct_pipeline._result(slab(noise), (), models, ()).notes for noise in (20, 160)]
    assert not any("noisy" in note for note in said[0])
    assert sum("The CT is noisy" in note for note in said[1]) == 1
