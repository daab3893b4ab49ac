"""The values that cross the wire. An object that exists is valid.

CTVolume        one CT series in HU with its geometry (LPS, mm)
SlideTiles      RGB tiles of one slide with their level-0 origins
ClinicalFields  the clinical side of a case; every field may be missing
Abstention      "no answer", with the reason and what would help

Arrays are made read-only, so a value that was valid stays valid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from .errors import BadGeometry, InvalidInput, SpacingUnknown

CLASSES = ("adenocarcinoma", "squamous_cell", "large_cell", "small_cell", "normal")
SEXES = ("female", "male")
SMOKING = ("never", "former", "current")

Array = np.ndarray[Any, Any]


def _frozen(array: Array) -> Array:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def checked_quality(quality: Array, count: int, name: str = "quality") -> Array:
    """``quality`` as it is, float32 (count,) of 0 to 1; ``name`` is for the error.

    Raises
    ------
    InvalidInput : another shape or type, or values outside 0 to 1.
    """
    if quality.dtype != np.float32 or quality.shape != (count,) or not ((quality >= 0) & (quality <= 1)).all():
        raise InvalidInput(f"Each tile needs one {name} from 0 to 1.", "Check the versions of both sides.")
    return quality


def checked_affine(matrix: Array, axes: int = 3) -> Array:
    """``matrix`` as float64 (axes + 1, axes + 1).

    Raises
    ------
    BadGeometry : not finite, not affine, or not invertible.
    """
    affine = np.asarray(matrix, dtype=np.float64)
    if affine.shape != (axes + 1, axes + 1) or not np.isfinite(affine).all():
        raise BadGeometry("The image's position in space is missing.", "Export the series again.")
    if not np.array_equal(affine[axes], np.eye(axes + 1)[axes]):
        raise BadGeometry("The image's matrix is not an affine one.", "Export the series again.")
    spacing = np.linalg.norm(affine[:axes, :axes], axis=0)
    # Judged on unit axes, so that very fine or very coarse spacing is not mistaken for a flat grid.
    if (spacing <= 0).any() or abs(np.linalg.det(affine[:axes, :axes] / spacing)) < 1e-3:
        raise BadGeometry("The image's axes do not span its space.", "Check the voxel spacing.")
    return affine


def checked_extent(shape: tuple[int, ...], ijk_to_lps: Array) -> None:
    """Whether a CT of this grid can be of a person; work at a scale of millimetres grows with the space it covers.

    Parameters
    ----------
    shape : (slices, rows, columns)
    ijk_to_lps : (4, 4) mm, checked already

    Raises
    ------
    BadGeometry : voxels finer than 0.01 mm or coarser than 50 mm, longer than 4 m, more than 2 cubic metres, or
        further than 100 m from its origin.
    """
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    extent = spacing * np.array(shape[::-1])
    believable = spacing.min() >= 0.01 and spacing.max() <= 50 and extent.max() <= 4e3 and extent.prod() <= 2e9
    if not believable or np.abs(ijk_to_lps[:3, 3]).max() > 1e5:
        raise BadGeometry(
            f"By its header the CT has voxels of {' x '.join(f'{s:.3g}' for s in spacing)} mm and is "
            f"{extent.max() / 1e3:.3g} m long, which no CT of a person is.",
            "Check the unit of its spacing, or export the original series.",
        )


@dataclass(frozen=True, eq=False)
class CTVolume:
    """One CT series.

    Parameters
    ----------
    voxels : int16 (slices, rows, columns), HU
    ijk_to_lps : float64 (4, 4), mm; maps (column, row, slice, 1) to LPS
    series_uid : SeriesInstanceUID, or a name for a file without one

    Raises
    ------
    InvalidInput : wrong dtype or number of axes, or an empty axis.
    BadGeometry : the affine is not finite, not affine, or not invertible.
    """

    voxels: Array
    ijk_to_lps: Array
    series_uid: str

    def __post_init__(self) -> None:
        if self.voxels.dtype != np.int16 or self.voxels.ndim != 3 or 0 in self.voxels.shape:
            raise InvalidInput(
                "A CT volume must be a 3D block of 16-bit HU values.",
                "Colour or 4D data cannot be read as a CT: choose the axial CT series.",
            )
        object.__setattr__(self, "voxels", _frozen(self.voxels))
        object.__setattr__(self, "ijk_to_lps", _frozen(checked_affine(self.ijk_to_lps)))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along (column, row, slice) index, mm."""
        x, y, z = np.linalg.norm(self.ijk_to_lps[:3, :3], axis=0)
        return float(x), float(y), float(z)


@dataclass(frozen=True, eq=False)
class SlideTiles:
    """Tiles of one slide.

    Parameters
    ----------
    pixels : uint8 (n, height, width, 3), RGB
    origin_px : int64 (n, 2), upper left (x, y) of each tile in level-0 pixels
    mpp : micrometres per pixel of ``pixels``
    slide_id : name of the slide within its case
    quality : float32 (n,), 0 (useless) to 1 (sharp, whole tissue); None where nobody judged it

    Raises
    ------
    InvalidInput : wrong dtype, shape, or count of origins or qualities.
    SpacingUnknown : mpp is not a positive finite number; it is never guessed.
    """

    pixels: Array
    origin_px: Array
    mpp: float
    slide_id: str
    quality: Optional[Array] = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
            raise InvalidInput("Tiles must be 8-bit RGB pictures.", "Convert the slide to 8-bit RGB.")
        if self.origin_px.dtype != np.int64 or self.origin_px.shape != (shape[0], 2):
            raise InvalidInput("Each tile needs one (x, y) origin.", "Send one origin per tile.")
        if not (isinstance(self.mpp, (int, float)) and math.isfinite(self.mpp) and self.mpp > 0):
            raise SpacingUnknown("The slide's pixel size is unknown.", "Give it in micrometres with --mpp.")
        object.__setattr__(self, "pixels", _frozen(self.pixels))
        object.__setattr__(self, "origin_px", _frozen(self.origin_px))
        if self.quality is not None:
            object.__setattr__(self, "quality", _frozen(checked_quality(self.quality, shape[0])))


@dataclass(frozen=True)
class ClinicalFields:
    """Clinical fields; ``None`` is "not known" and is never filled in.

    Parameters
    ----------
    age_years : 0 to 120
    sex : one of SEXES
    smoking : one of SMOKING
    pack_years : 0 to 300

    Raises
    ------
    InvalidInput : a field lies outside its range, or two contradict each other.
    """

    age_years: Optional[float] = None
    sex: Optional[str] = None
    smoking: Optional[str] = None
    pack_years: Optional[float] = None

    def __post_init__(self) -> None:
        for name, upper in (("age_years", 120.0), ("pack_years", 300.0)):
            value = getattr(self, name)
            if value is None:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= upper:  # NaN fails the comparison
                raise InvalidInput(f"{name} must lie between 0 and {upper:g}.", "Correct it or leave it empty.")
        for name, allowed in (("sex", SEXES), ("smoking", SMOKING)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise InvalidInput(f"{name} must be one of {', '.join(allowed)}.", "Correct it or leave it empty.")
        if self.smoking == "never" and self.pack_years:
            raise InvalidInput("A never-smoker has no pack-years.", "Correct smoking or pack_years.")


@dataclass(frozen=True)
class Abstention:
    """No answer: a value, not an error. Both texts are shown to the clinician."""

    reason: str
    what_would_help: str

    def __post_init__(self) -> None:
        if not self.reason.strip() or not self.what_would_help.strip():
            raise InvalidInput("An abstention needs its reason and what would help.", "Give both.")
