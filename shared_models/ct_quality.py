"""How noisy a CT is and how far apart its slices are, and what that costs, as measured in the shift study.

noise_hu()     standard deviation of the noise in soft tissue
ct_quality()   Quality of a CT: share of the outlines' Dice that is left, 0 to 1, and what it was computed from

The noise is the most frequent standard deviation in windows of WINDOW_MM whose mean is that of soft tissue: edges and
vessels only add larger ones (the global noise level of Christianson et al. 2015, doi 10.2214/AJR.14.13613; here with
square windows). What noise and thick slices cost is docs/domain_shift.md (Dice of nodules under "dose noise" and "slice
thickness", over that without): noise was added there to that of LIDC's patches, so the two add in squares. The shift
of slices was measured on four cubes alone. Blur is left out: what LIDC's own CTs have of it was not there to measure.

Quality says nothing of whether a CT is like the training data otherwise: out_of_distribution does that, and the learned
fusion was fitted to that. It is not fitted to this number, which therefore changes no weight and is said in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from .contract.values import Array, CTVolume

WINDOW_MM = 7.0
# HU noise added, or mm between slices: share of Dice that is left (docs/domain_shift.md, commit 8c85efe1f728).
_NOISE = ((0.0, 20.0, 40.0, 70.0, 110.0, 160.0), (1.0, 1.0, 0.99, 0.99, 0.96, 0.93))
_SLICES = ((1.0, 3.0, 5.0, 7.0, 10.0), (1.0, 1.0, 0.96, 0.91, 0.87))
LIDC_NOISE_HU = 29.5  # median of the 293 training patches with 800 windows of soft tissue; quartiles 18.5 and 48.5
LEAST_QUALITY = 0.97
_SOFT_HU = (0.0, 100.0)
_LEAST_WINDOWS, _MOST_SLICES, _HIGHEST_HU = 400, 24, 400


@dataclass(frozen=True)
class Quality:
    """What a CT's noise and slices leave of the outlines' Dice.

    Parameters
    ----------
    value : 0 to 1; the lower one of the two
    noise_hu : None where too little soft tissue is shown
    slices_mm : between slices
    """

    value: float
    noise_hu: Optional[float]
    slices_mm: float

    @property
    def note(self) -> Optional[str]:
        """What a reader should know of it, None where there is nothing.

        Slices alone are not said: the analysis says it of the nodules that thick slices hide.
        """
        if self.noise_hu is None or _left_at_noise(self.noise_hu) >= LEAST_QUALITY:
            return None
        return (
            f"The CT is noisy ({self.noise_hu:.0f} HU in soft tissue; the training CTs about {LIDC_NOISE_HU:.0f} HU): "
            f"outlines are less exact, by {1 - _left_at_noise(self.noise_hu):.0%} of their overlap with a reader's."
        )


def ct_quality(volume: CTVolume) -> Quality:
    """Quality of a CT; it takes about a second of a processor core."""
    x, y, z = volume.spacing_mm
    step = max(1, len(volume.voxels) // _MOST_SLICES)
    noise = noise_hu(volume.voxels[step // 2 :: step], (y, x))
    left = float(np.interp(z, *_SLICES))
    return Quality(left if noise is None else min(left, _left_at_noise(noise)), noise, z)


def _left_at_noise(noise: float) -> float:
    return float(np.interp(np.sqrt(max(0.0, noise**2 - LIDC_NOISE_HU**2)), *_NOISE))


def noise_hu(slices: Array, pixel_mm: tuple[float, float]) -> Optional[float]:
    """Standard deviation of the noise in soft tissue, HU; None where the slices show too little of it.

    Parameters
    ----------
    slices : int16 HU (slices, rows, columns)
    pixel_mm : (row, column)
    """
    from scipy.ndimage import gaussian_filter1d, uniform_filter

    size = [max(3, 2 * round(WINDOW_MM / pixel / 2 - 0.5) + 1) for pixel in pixel_mm]
    count = np.zeros(_HIGHEST_HU)
    for plane in slices:
        hu = plane.astype(np.float64)
        mean = uniform_filter(hu, size)
        spread = np.sqrt(np.maximum(uniform_filter(hu**2, size) - mean**2, 0.0))
        soft = (mean > _SOFT_HU[0]) & (mean < _SOFT_HU[1]) & (spread < _HIGHEST_HU)
        # Padding of a scanner's round field is no tissue without noise.
        count += np.bincount(spread[soft & (spread > 0)].astype(int), minlength=_HIGHEST_HU)
    if count.sum() < _LEAST_WINDOWS:
        return None
    return float(gaussian_filter1d(count, 1.5).argmax() + 0.5)
