"""One CT slice as its DICOM header describes it: place, size, and how its stored numbers become HU.

A single-frame file is one Slice; an enhanced (multi-frame) file is one Slice per frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.errors import BadGeometry, InputTooLarge, InvalidInput, SpacingUnknown
from .contract.values import Array

MAX_FRAMES = 2048
# Denser than metal on a 12-bit CT: padding that lands above is "no data", not bone.
_DENSEST_HU = 3071
_AIR_HU = -1024
# What can tell apart two images of one place, with the words for it.
_PHASES = {
    "TemporalPositionIdentifier": "time point",
    "TemporalPositionIndex": "time point",
    "NominalPercentageOfCardiacPhase": "cardiac phase",
    "TriggerTime": "trigger time",
    "ContrastBolusAgent": "contrast agent",
    "ConvolutionKernel": "reconstruction kernel",
    "KVP": "tube voltage",
    "AcquisitionNumber": "acquisition",
    "AcquisitionTime": "acquisition time",
}


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a CT series.

    Parameters
    ----------
    frame : index within a multi-frame file, or None
    position : LPS mm (3,), centre of the first pixel
    along_row, along_column : unit vectors (3,): where the column index, the row index grows
    pixel_mm : (between columns, between rows)
    bare : the file has no meta header, so ``transfer_syntax`` is inferred
    thickness_mm : SliceThickness, or None
    slope, intercept : stored value -> HU
    padding : stored value that means "no data", or None
    phase : what may tell it from another image of the same place: words -> value
    patient, study : compared, never shown
    """

    path: Path
    frame: Optional[int]
    series_uid: str
    patient: str
    study: str
    image_type: tuple[str, ...]
    transfer_syntax: Any
    bare: bool
    rows: int
    columns: int
    position: Array
    along_row: Array
    along_column: Array
    pixel_mm: tuple[float, float]
    thickness_mm: Optional[float]
    slope: float
    intercept: float
    padding: Optional[int]
    bits: int
    phase: dict[str, str]

    @property
    def normal(self) -> Array:
        """Unit vector (3,) across the slice."""
        return np.cross(self.along_row, self.along_column)

    def to_hu(self, stored: Array) -> Array:
        """HU of the stored pixels: int32 where the rescaling is whole-numbered, else float64."""
        whole = self.slope == int(self.slope) and self.intercept == int(self.intercept)
        small = abs(self.slope) <= 1 << 8 and abs(self.intercept) <= 1 << 16 and stored.dtype.itemsize <= 2
        hu = stored.astype(np.int32 if whole and small else np.float64)
        hu = hu * hu.dtype.type(self.slope) + hu.dtype.type(self.intercept)
        if self.padding is not None:
            mask = (1 << self.bits) - 1  # the padding value's own sign is written wrong as often as right
            empty = (stored.astype(np.int64) & mask) == (self.padding & mask)
            hu[empty & (hu > _DENSEST_HU)] = _AIR_HU
        return hu


def slices_of(dataset: Any, path: Path, pixel_bytes: int) -> list[Slice]:
    """The slices of one file, from its header.

    Parameters
    ----------
    pixel_bytes : what the file holds after the header

    Raises
    ------
    ValueError, TypeError, AttributeError, KeyError, IndexError : an element that every CT image has is missing or
        unreadable, or the file is shorter than its pixels: damaged.
    InvalidInput : intact, but no HU image. BadGeometry, SpacingUnknown : placed nowhere.
    InputTooLarge : more than MAX_FRAMES frames.
    """
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    if min(rows, columns) < 1 or bits not in (8, 16, 32):
        raise ValueError("size")
    if str(dataset.PhotometricInterpretation) != "MONOCHROME2":
        raise InvalidInput("The CT images are stored as pictures, not as HU.", "Export the original CT series.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    enhanced = bool(groups)
    if frames > MAX_FRAMES:
        raise InputTooLarge(f"A file holds {frames} images; {MAX_FRAMES} are allowed.", "Choose a shorter series.")
    if frames < 1 or (enhanced and len(groups) != frames):
        raise ValueError("frames")
    if frames > 1 and not enhanced:
        raise BadGeometry(
            "A multi-frame file does not say where its images lie.", "Export the series as single-frame CT images."
        )
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    bare = syntax is None
    if bare:
        syntax = ImplicitVRLittleEndian if dataset.original_encoding[0] else ExplicitVRLittleEndian
    plain_bytes = rows * columns * frames * bits // 8
    if not syntax.is_compressed and pixel_bytes < plain_bytes:
        raise ValueError("cut short")
    if syntax.is_compressed and pixel_bytes > 4 * plain_bytes + (4 << 20):
        raise ValueError("compressed to more than it holds")  # decoders inflate all of it before they look
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    stored = {
        "path": path,
        "series_uid": str(dataset.get("SeriesInstanceUID") or ""),
        "patient": str(dataset.get("PatientID") or ""),
        "study": str(dataset.get("StudyInstanceUID") or ""),
        "transfer_syntax": syntax,
        "bare": bare,
        "rows": rows,
        "columns": columns,
        "bits": bits,
        "padding": _integer(dataset.get("PixelPaddingValue")),
    }
    if not enhanced:
        return [Slice(frame=None, **stored, **_placed(dataset, dataset, dataset, dataset, dataset))]
    return [
        Slice(
            frame=index,
            **stored,
            **_placed(
                dataset,
                _group(group, shared, "PlanePositionSequence"),
                _group(group, shared, "PlaneOrientationSequence"),
                _group(group, shared, "PixelMeasuresSequence"),
                _group(group, shared, "PixelValueTransformationSequence"),
                _group(group, shared, "CTImageFrameTypeSequence", required=False),
                _group(group, shared, "FrameContentSequence", required=False),
            ),
        )
        for index, group in enumerate(groups)
    ]


def _group(own: Any, shared: Any, name: str, required: bool = True) -> Any:
    for holder in (own, shared):
        sequence = holder.get(name) if holder is not None else None
        if sequence:
            return sequence[0]
    if required:
        raise KeyError(name)
    return {}


def _placed(
    dataset: Any, place: Any, turn: Any, measures: Any, values: Any, kind: Any = None, content: Any = None
) -> dict[str, Any]:
    """The fields of a Slice that an enhanced file keeps per frame, checked."""
    position = _numbers(place.get("ImagePositionPatient"), 3)
    axes = _numbers(turn.get("ImageOrientationPatient"), 6)
    if position is None or axes is None:
        raise BadGeometry("CT images do not say where they lie in the body.", "Export the original CT series.")
    row, column = np.array(axes[:3]), np.array(axes[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(row @ column)) > 1e-3:
        raise BadGeometry("The axes of CT images are not at right angles.", "Export the original CT series.")
    spacing = _numbers(measures.get("PixelSpacing"), 2)
    if spacing is None or min(spacing) <= 0:
        raise SpacingUnknown("The pixel spacing of CT images is missing or zero.", "Export the original CT series.")
    unit = str(values.get("RescaleType") or "HU").strip().upper()
    slope, intercept = _numbers(values.get("RescaleSlope"), 1), _numbers(values.get("RescaleIntercept"), 1)
    if unit != "HU":
        raise InvalidInput("The values of the CT are not Hounsfield units.", "Choose a series in Hounsfield units.")
    if slope is None or intercept is None or slope[0] == 0:
        raise InvalidInput("The CT's scale to Hounsfield units is missing.", "Export the original CT series.")
    thickness = _numbers(measures.get("SliceThickness"), 1)
    image_type = (kind or {}).get("FrameType") or dataset.get("ImageType") or ()
    phase = {}
    for name, words in _PHASES.items():
        value = (content or {}).get(name)
        value = dataset.get(name) if value is None else value
        if value is not None:
            phase[words] = str(value)
    return {
        "position": np.array(position),
        "along_row": row / lengths[0],
        "along_column": column / lengths[1],
        "pixel_mm": (spacing[1], spacing[0]),  # DICOM gives the distance between rows first
        "thickness_mm": thickness[0] if thickness and thickness[0] > 0 else None,
        "slope": slope[0],
        "intercept": intercept[0],
        "image_type": tuple(str(v).upper() for v in ([image_type] if isinstance(image_type, str) else image_type)),
        "phase": phase,
    }


def _numbers(value: Any, count: int) -> Optional[list[float]]:
    """``count`` finite floats, or None."""
    if value is None or isinstance(value, str):
        return None
    items = list(value) if isinstance(value, Sequence) or hasattr(value, "__iter__") else [value]
    try:
        numbers = [float(v) for v in items]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _integer(value: Any) -> Optional[int]:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None
