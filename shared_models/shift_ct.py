"""Shifts of CT at graded strengths: what another scanner or protocol makes of the same chest.

SHIFTS         name -> Shift: what it imitates, its unit, and the strength of each of the GRADES grades
shifted()      HU after one shift at one grade, 1 to GRADES; the same seed gives the same HU
by_strength()  the same at any strength
correlated_noise()  noise with the spectrum of filtered back-projection

kernel_sharp     high frequencies lifted, as by a lung or bone kernel: HU + strength x (HU - its Gaussian of 0.8 mm)
kernel_smooth    high frequencies taken away, as by a soft-tissue kernel: a Gaussian of ``strength`` mm
dose_noise       noise of ``strength`` HU on top, correlated in the plane as a reconstruction makes it
slice_thickness  each slice the mean over ``strength`` mm, on the same grid (overlapping reconstruction); volumes alone
hu_offset        every value off by ``strength`` HU, up or down by the seed
enhancement      iodine: soft tissue and blood brighter by ``strength`` HU, air and bone as they were

Strength 0 changes nothing. HU stay within -1024 to 3071 and are rounded, as a scanner stores them.

Filtering in place of another kernel: Ohkubo et al. 2011, Med. Phys. 38, 3915. The noise power spectrum rises with
frequency and falls off at the kernel's limit: Riederer et al. 1978, Phys. Med. Biol. 23, 446; here it is
f exp(-(f / 0.45)^2), f in cycles per mm, an assumption and not a scanner's measured one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .contract.errors import InvalidInput, SpacingUnknown
from .contract.values import Array

GRADES = 5
LOWEST_HU, HIGHEST_HU = -1024, 3071
_SHARP_MM = 0.8
_NOISE_LIMIT = 0.45  # cycles per mm
# HU between which iodine shows: it does not get into air, and bone and calcium hide it.
_ENHANCES_FROM, _ENHANCES_FULLY, _BONE_FROM, _BONE_FULLY = -150.0, 0.0, 200.0, 400.0


@dataclass(frozen=True)
class Shift:
    """One kind of shift.

    Parameters
    ----------
    imitates : in words
    unit : of the strength
    strengths : GRADES of them, rising
    change : (hu float64 (..., rows, columns), strength, spacing_mm (slice, row, column), rng) -> the same shape
    volumes_only : it works along the slices, so that a single slice does not have it
    """

    imitates: str
    unit: str
    strengths: tuple[float, ...]
    change: Callable[[Array, float, tuple[float, float, float], np.random.Generator], Array]
    volumes_only: bool = False


def _smooth(hu: Array, mm: float, spacing: tuple[float, float, float]) -> Array:
    from scipy.ndimage import gaussian_filter

    sigma = (0.0,) * (hu.ndim - 2) + (mm / spacing[1], mm / spacing[2])
    answer: Array = gaussian_filter(hu, sigma, mode="nearest")
    return answer


def _kernel_sharp(hu: Array, strength: float, spacing: tuple[float, float, float], rng: np.random.Generator) -> Array:
    return hu + strength * (hu - _smooth(hu, _SHARP_MM, spacing))


def _kernel_smooth(hu: Array, strength: float, spacing: tuple[float, float, float], rng: np.random.Generator) -> Array:
    return _smooth(hu, strength, spacing)


def correlated_noise(
    shape: tuple[int, ...], sigma: float, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Array:  # fmt: skip
    """float64 ``shape`` (..., rows, columns): noise of standard deviation ``sigma`` HU, its spectrum at the top.

    Slices are independent. The mean of each is 0, as filtered back-projection leaves it.
    """
    rows, columns = shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(rows, spacing_mm[1])[:, None], np.fft.rfftfreq(columns, spacing_mm[2])[None])
    amplitude = np.sqrt(frequency * np.exp(-((frequency / _NOISE_LIMIT) ** 2)))
    white = rng.standard_normal(shape)
    grain = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(rows, columns))
    # Its expected standard deviation, so that weak and strong samples stay what chance made them.
    whole = np.hypot(np.fft.fftfreq(rows, spacing_mm[1])[:, None], np.fft.fftfreq(columns, spacing_mm[2])[None])
    expected = np.sqrt((whole * np.exp(-((whole / _NOISE_LIMIT) ** 2))).mean())
    answer: Array = grain * (sigma / expected)
    return answer


def _dose_noise(hu: Array, strength: float, spacing: tuple[float, float, float], rng: np.random.Generator) -> Array:
    return hu + correlated_noise(hu.shape, strength, spacing, rng)


def _slice_thickness(
    hu: Array, strength: float, spacing: tuple[float, float, float], rng: np.random.Generator
) -> Array:  # fmt: skip
    from scipy.ndimage import correlate1d

    reach = strength / spacing[0] / 2  # slices on either side; those at its ends count in part
    whole = int(np.ceil(reach - 0.5)) if reach > 0.5 else 0
    weights = np.clip(reach + 0.5 - np.abs(np.arange(-whole, whole + 1)), 0, 1)
    if whole == 0:
        return hu
    answer: Array = correlate1d(hu, weights / weights.sum(), axis=0, mode="nearest")
    return answer


def _hu_offset(hu: Array, strength: float, spacing: tuple[float, float, float], rng: np.random.Generator) -> Array:
    return hu + strength * rng.choice((-1.0, 1.0))


def _enhancement(hu: Array, strength: float, spacing: tuple[float, float, float], rng: np.random.Generator) -> Array:
    takes = np.clip((hu - _ENHANCES_FROM) / (_ENHANCES_FULLY - _ENHANCES_FROM), 0, 1)
    takes = takes * np.clip((_BONE_FULLY - hu) / (_BONE_FULLY - _BONE_FROM), 0, 1)
    return hu + strength * takes


SHIFTS: dict[str, Shift] = {
    "kernel_sharp": Shift("a lung or bone kernel", "gain of fine detail", (0.4, 0.8, 1.5, 2.5, 4.0), _kernel_sharp),
    "kernel_smooth": Shift("a soft-tissue kernel", "mm, standard deviation", (0.4, 0.7, 1.1, 1.6, 2.4), _kernel_smooth),
    "dose_noise": Shift("less dose", "HU, standard deviation", (20, 40, 70, 110, 160), _dose_noise),
    "slice_thickness": Shift("thick slices", "mm", (2, 3, 5, 7, 10), _slice_thickness, volumes_only=True),
    "hu_offset": Shift("calibration of the scanner", "HU, up or down", (10, 25, 50, 90, 150), _hu_offset),
    "enhancement": Shift("contrast medium", "HU of soft tissue", (20, 45, 80, 120, 180), _enhancement),
}


def by_strength(
    hu: Array, name: str, strength: float, spacing_mm: tuple[float, float, float], seed: int = 0
) -> Array:  # fmt: skip
    """HU after one shift.

    Parameters
    ----------
    hu : int16 (slices, rows, columns), or (rows, columns) of one slice; left as it is
    name : of SHIFTS
    strength : in its unit
    spacing_mm : (slice, row, column)
    seed : of what is drawn

    Returns
    -------
    int16, same shape

    Raises
    ------
    InvalidInput : no such shift, or one of volumes of a single slice. SpacingUnknown : a spacing is not positive.
    """
    if name not in SHIFTS:
        raise InvalidInput(f"There is no shift {name:.80}.", f"Choose one of {', '.join(SHIFTS)}.")
    if hu.ndim not in (2, 3) or 0 in hu.shape:
        raise InvalidInput("HU must be a volume or one slice.", "Give (slices, rows, columns) or (rows, columns).")
    if SHIFTS[name].volumes_only and (hu.ndim == 2 or len(hu) == 1):
        raise InvalidInput(f"A single slice has no {name.replace('_', ' ')}.", "Give a volume.")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise SpacingUnknown("The voxel size is unknown.", "Give it in mm along slice, row and column.")
    if strength == 0:
        return hu.astype(np.int16)
    changed = SHIFTS[name].change(hu.astype(np.float64), float(strength), spacing_mm, np.random.default_rng(seed))
    return np.clip(np.rint(changed), LOWEST_HU, HIGHEST_HU).astype(np.int16)


def shifted(hu: Array, name: str, grade: int, spacing_mm: tuple[float, float, float], seed: int = 0) -> Array:
    """by_strength() at a grade of 1 to GRADES; 0 is the HU as they are.

    Raises
    ------
    InvalidInput, SpacingUnknown : as by_strength(), or no such grade.
    """
    if not 0 <= grade <= GRADES or name not in SHIFTS:
        raise InvalidInput(f"There is no shift {name:.80} of grade {grade}.",
                           f"Choose one of {', '.join(SHIFTS)} and 0 to {GRADES}.")  # fmt: skip
    return by_strength(hu, name, SHIFTS[name].strengths[grade - 1] if grade else 0.0, spacing_mm, seed)
