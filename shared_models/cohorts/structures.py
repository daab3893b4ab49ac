"""Outlines in DICOM: RT structure sets and segmentations, and their masks on a CT's grid.

described()      what one file outlines, and on which series; headers only
contours_of()    the closed planar contours of one structure of an RTSTRUCT
rtstruct_mask()  its mask on a CT
seg_mask()       the mask of a SEG on a CT

Coordinates are LPS mm. A pixel belongs to a structure where its centre lies inside, or on, its outline; contours of one
structure on one plane are combined by exclusive or, which is how a hole is written (DICOM PS3.3 C.8.8.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.errors import BadGeometry, InvalidInput, LungXAIError
from ..contract.values import Array, CTVolume
from ..dicom_log import discreet
from .case import CohortAnnotation
from .dicom_headers import Damaged, NotDicom, header

MAX_BYTES = 512 << 20
MAX_VOXELS = 2 << 30
_MAX_NAMES = 200
_SET = ("SOPInstanceUID", "SeriesInstanceUID", "PatientID", "StructureSetROISequence",
        "ReferencedFrameOfReferenceSequence")  # fmt: skip
_OUTLINES = (*_SET, "ROIContourSequence")
_SEGMENTS = ("SOPInstanceUID", "SeriesInstanceUID", "PatientID", "SegmentSequence", "ReferencedSeriesSequence")
_BROKEN = "Download the file again from the collection's page."


@dataclass(frozen=True)
class Described:
    """``patient_id`` as the file says it; ``series_uid`` of the images that it outlines, "" where it does not say."""

    patient_id: str
    series_uid: str
    names: tuple[str, ...]


def described(path: Path, kind: str) -> Described:
    """What a file of ``kind`` RTSTRUCT or SEG outlines.

    Raises
    ------
    InvalidInput : it cannot be read.
    """
    dataset = _read(path, _SET if kind == "RTSTRUCT" else _SEGMENTS)
    try:
        if kind == "RTSTRUCT":
            names = [str(roi.get("ROIName") or "") for roi in dataset.get("StructureSetROISequence") or ()]
            uid = _referenced(dataset)
        else:
            names = [str(part.get("SegmentLabel") or "") for part in dataset.get("SegmentSequence") or ()]
            series = dataset.get("ReferencedSeriesSequence") or ()
            uid = str(series[0].get("SeriesInstanceUID") or "") if series else ""
        return Described(str(dataset.get("PatientID") or "").strip(), uid, tuple(names[:_MAX_NAMES]))
    except Exception as fault:  # values are parsed here for the first time
        raise InvalidInput("An outline file cannot be read.", _BROKEN) from fault


def _referenced(dataset: Any) -> str:
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                return str(series.get("SeriesInstanceUID") or "")
    return ""


def _read(path: Path, tags: tuple[str, ...]) -> Any:
    try:
        with discreet():
            return header(path, tags, MAX_BYTES)
    except (NotDicom, Damaged) as fault:
        raise InvalidInput("An outline file is cut short or damaged.", _BROKEN) from fault


def contours_of(path: Path, name: str) -> list[Array]:
    """float64 (n, 3) LPS mm, one for each closed planar contour of the structure ``name``.

    Raises
    ------
    InvalidInput : it cannot be read, or has no such structure.
    """
    dataset = _read(path, _OUTLINES)
    try:
        numbers = {
            int(roi.ROINumber) for roi in dataset.get("StructureSetROISequence") or () if str(roi.ROIName) == name
        }
        found = []
        for roi in dataset.get("ROIContourSequence") or ():
            if int(roi.ReferencedROINumber) not in numbers:
                continue
            for contour in roi.get("ContourSequence") or ():
                if str(contour.get("ContourGeometricType") or "") == "CLOSED_PLANAR":
                    points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
                    if len(points) >= 3 and np.isfinite(points).all():
                        found.append(points)
    except Exception as fault:
        raise InvalidInput("An outline file cannot be read.", _BROKEN) from fault
    if not numbers:
        raise InvalidInput("The outline file has no structure of that name.", "Take a name that it lists.")
    return found


def rtstruct_mask(path: Path, name: str, volume: CTVolume) -> Array:
    """bool, shape of the voxels; contours further than half a slice from every slice are not on this CT.

    Raises
    ------
    InvalidInput : as contours_of(), or a contour does not lie in a plane of the CT.
    """
    mask = np.zeros(volume.voxels.shape, bool)
    inverse = np.linalg.inv(volume.ijk_to_lps)
    for points in contours_of(path, name):
        index = (np.c_[points, np.ones(len(points))] @ inverse.T)[:, :3]
        k = index[:, 2]
        if np.ptp(k) > 0.5:
            raise InvalidInput("An outline does not lie in the slices of the CT.", "It belongs to another series.")
        plane = int(round(float(k.mean())))
        if 0 <= plane < len(mask):
            # To a ten-thousandth of a pixel, or arithmetic decides about centres that lie on the outline.
            mask[plane] ^= filled(np.round(index[:, :2], 4), mask.shape[1:])
    return mask


def filled(xy: Array, shape: tuple[int, int]) -> Array:
    """bool (rows, columns): pixels whose centre lies in the polygon of (column, row) corners, its outline included."""
    from shapely import Polygon, intersects_xy, make_valid

    result = np.zeros(shape, bool)
    low = np.clip(np.floor(xy.min(0)).astype(int), 0, None)
    high = np.minimum(np.ceil(xy.max(0)).astype(int) + 1, [shape[1], shape[0]])
    if (high <= low).any():
        return result
    shapely_polygon = make_valid(Polygon(xy))
    columns, rows = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    result[low[1] : high[1], low[0] : high[0]] = intersects_xy(shapely_polygon, columns, rows)
    return result


def seg_mask(path: Path, name: str, volume: CTVolume) -> Array:
    """bool, shape of the voxels, of the segment labelled ``name`` ("" is every segment).

    Raises
    ------
    InvalidInput : it cannot be read, or has no such segment.
    BadGeometry : its frames do not lie on the CT's grid, within a tenth of a pixel.
    """
    import pydicom

    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput("A segmentation is larger than such files are.", _BROKEN)
        with discreet():
            dataset = pydicom.dcmread(path)
            if int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1) > MAX_VOXELS:
                raise InvalidInput("A segmentation has more pixels than a CT has.", _BROKEN)
            frames = np.asarray(dataset.pixel_array)
        frames = frames[None] if frames.ndim == 2 else frames
        numbers = {int(s.SegmentNumber) for s in dataset.SegmentSequence if name in ("", str(s.SegmentLabel))}
        if not numbers:
            raise InvalidInput("The segmentation has no segment of that name.", "Take a name that it lists.")
        mask = np.zeros(volume.voxels.shape, bool)
        inverse = np.linalg.inv(volume.ijk_to_lps)
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for frame, own in zip(frames, dataset.PerFrameFunctionalGroupsSequence):
            if int(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber) in numbers:
                plane, turn = _on_grid(own, shared, frame.shape, inverse, volume)
                if 0 <= plane < len(mask):
                    mask[plane] |= turn(frame > 0)
    except LungXAIError:
        raise
    except Exception as fault:  # decoders and attributes fail in many ways on a damaged file
        raise InvalidInput("A segmentation cannot be read.", _BROKEN) from fault
    return mask


def _on_grid(own: Any, shared: Any, shape: tuple[int, int], inverse: Array, volume: CTVolume) -> tuple[int, Any]:
    """Slice of one frame, and how its pixels are turned to the CT's: the corners of both must meet."""

    def group(name: str) -> Any:
        return (own.get(name) or shared.get(name))[0]

    position = np.array([float(v) for v in group("PlanePositionSequence").ImagePositionPatient])
    turn = np.array([float(v) for v in group("PlaneOrientationSequence").ImageOrientationPatient]).reshape(2, 3)
    spacing = [float(v) for v in group("PixelMeasuresSequence").PixelSpacing]
    last = position + turn[0] * spacing[1] * (shape[1] - 1) + turn[1] * spacing[0] * (shape[0] - 1)
    ends = (np.c_[[position, last], [1, 1]] @ inverse.T)[:, :3]
    corner = np.array([volume.voxels.shape[2] - 1, volume.voxels.shape[1] - 1])
    flips = []
    for axis in (0, 1):
        flip = bool(ends[0, axis] > ends[1, axis])
        low, high = sorted((float(ends[0, axis]), float(ends[1, axis])))
        if abs(low) > 0.1 or abs(high - corner[axis]) > 0.1:
            raise BadGeometry("The segmentation lies on another grid than the CT.", "It belongs to another series.")
        flips.append(flip)
    plane = float(ends[0, 2])
    if abs(plane - float(ends[1, 2])) > 0.1 or abs(plane - round(plane)) > 0.1:
        raise BadGeometry("The segmentation lies between the slices of the CT.", "It belongs to another series.")

    def turned(frame: Array) -> Array:
        return frame[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]

    return round(plane), turned


def mask_of(annotation: CohortAnnotation, name: str, volume: CTVolume) -> Array:
    """The mask of one RTSTRUCT or SEG annotation on its CT; as rtstruct_mask() and seg_mask()."""
    of = {"RTSTRUCT": rtstruct_mask, "SEG": seg_mask}.get(annotation.kind)
    if of is None:
        raise InvalidInput("This outline is neither RTSTRUCT nor SEG.", "LIDC XML is read by lidc_xml.")
    return of(annotation.path, name, volume)
