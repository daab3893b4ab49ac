"""A CT from the disk into the scene, without Slicer's DICOM module: for the browser viewer, the self-test and tests.

load_ct()   a DICOM folder, one NRRD or one NIfTI file -> vtkMRMLScalarVolumeNode

DICOM files are sorted by position along the slice normal first: Slicer's reader keeps a list's order, and an unsorted
one scrambles the volume without a word. The affine comes from the headers, so that a tilted gantry keeps its shear.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import Array, checked_affine

from .coordinates import turned_affine, vtk_matrix
from .dicom_source import DicomSource, set_source
from .hierarchy import item_of
from .logics import SceneLogics
from .naming import remove

_SINGLE_FILE = 4  # of the volume logic's loading options
_GAP_TOLERANCE = 0.1  # of a slice gap; as in shared_models/ct_stack.py
_FORMATS = "Give a DICOM folder, a .nrrd file, or a .nii or .nii.gz file."
_TAGS = [
    "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "Rows", "Columns", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "PatientID", "PatientName", "PatientSex",
    "PatientBirthDate", "StudyDate", "StudyTime", "StudyDescription", "StudyID", "SeriesDescription", "SeriesNumber",
    "FrameOfReferenceUID", "SamplesPerPixel",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Slice:
    path: Path
    header: Any  # pydicom.Dataset
    position: Array
    along_row: Array
    along_column: Array

    @property
    def normal(self) -> Array:
        return np.cross(self.along_row, self.along_column)


def load_ct(logics: SceneLogics, path: Union[str, os.PathLike[str]]) -> Any:
    """Load one CT.

    Parameters
    ----------
    path : a folder with DICOM files of one or more series (the CT series with the most slices is taken), or one file

    Returns
    -------
    vtkMRMLScalarVolumeNode, in the lung window; from DICOM with its identifiers, under its patient and study.

    Raises
    ------
    InvalidInput : nothing there that can be read. BadGeometry : slices missing, mixed or doubled.
    """
    from .volumes import check_kind, lung_window

    path = Path(path)
    if not path.exists():
        raise InvalidInput("There is nothing at this path.", _FORMATS)
    if path.is_dir():
        node = _dicom(logics, path)
    else:
        name = path.name.split(".")[0]
        node = _archetype(logics, [path], name, _SINGLE_FILE)
        item_of(node)
    try:
        check_kind(node)
    except InvalidInput:
        remove(logics.scene, [node])
        raise
    lung_window(node)
    return node


def _archetype(logics: SceneLogics, files: list[Path], name: str, options: int = 0) -> Any:
    import vtk

    names = vtk.vtkStringArray()
    for file in files:
        names.InsertNextValue(str(file))
    # The logic tries its readers in turn, and those that do not fit complain although nothing is wrong.
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)
    try:
        node = logics.volumes.AddArchetypeVolume(str(files[0]), name, options, names)
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)
    if node is None:
        raise InvalidInput("This file is no CT that can be read.", _FORMATS)
    return node


def _dicom(logics: SceneLogics, folder: Path) -> Any:
    slices, affine = _ordered(_series(folder))
    header = slices[0].header
    words = (str(header.get("SeriesNumber", "") or ""), str(header.get("SeriesDescription", "") or "CT"))
    node = _archetype(logics, [s.path for s in slices], ": ".join(filter(None, words)))
    import vtk

    read = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(read)
    wanted = vtk_matrix(turned_affine(affine))
    first = [read.GetElement(i, 3) - wanted.GetElement(i, 3) for i in range(3)]
    if node.GetImageData().GetDimensions()[2] != len(slices) or np.abs(first).max() > 0.01:
        remove(logics.scene, [node])
        raise BadGeometry("The slices of this series do not make one volume.", "Export the complete series again.")
    node.SetIJKToRASMatrix(wanted)
    set_source(node, _source(slices))
    return node


def _series(folder: Path) -> list[_Slice]:
    """The slices of the CT series with the most of them."""
    import pydicom

    series: dict[str, list[_Slice]] = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
            if header.Modality != "CT" or len(header.ImagePositionPatient) != 3:
                continue
            orientation = np.array(header.ImageOrientationPatient, dtype=np.float64)
            position = np.array(header.ImagePositionPatient, dtype=np.float64)
            found = _Slice(file, header, position, orientation[:3], orientation[3:])
            series.setdefault(str(header.SeriesInstanceUID), []).append(found)
        except (pydicom.errors.InvalidDicomError, AttributeError, TypeError, ValueError, OSError):
            continue  # not DICOM, or not an image with a place in the body
    if not series:
        raise InvalidInput("There is no CT series in this folder.", _FORMATS)
    return max(series.values(), key=len)


def _ordered(slices: list[_Slice]) -> tuple[list[_Slice], Array]:
    """Slices along their normal, and the affine (4, 4) to LPS of the stack."""
    again = "Export the complete series again."
    first = slices[0]
    shape = {(s.header.Rows, s.header.Columns, tuple(s.header.PixelSpacing)) for s in slices}
    turned = [max(np.abs(s.along_row - first.along_row).max(), np.abs(s.normal - first.normal).max()) for s in slices]
    if len(shape) > 1 or max(turned) > 1e-3:
        raise BadGeometry("The series mixes images of different size or orientation.", again)
    ordered = sorted(slices, key=lambda s: float(first.normal @ s.position))
    places = np.array([s.position for s in ordered])
    if len(ordered) == 1:
        raise InvalidInput("This is a single picture, not a CT volume.", "Choose the axial CT series.")
    step = (places[-1] - places[0]) / (len(ordered) - 1)
    gap = float(np.linalg.norm(step))
    line = places[0] + np.arange(len(ordered))[:, None] * step
    if gap < 1e-3 or np.abs(places - line).max() > _GAP_TOLERANCE * gap:
        raise BadGeometry("Slices of this series are missing, doubled or unevenly spaced.", again)
    rows_mm, columns_mm = (float(v) for v in first.header.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * columns_mm
    affine[:3, 1] = first.along_column * rows_mm
    affine[:3, 2] = step
    affine[:3, 3] = places[0]
    return ordered, checked_affine(affine)


def _source(slices: list[_Slice]) -> DicomSource:
    from slicer import vtkMRMLSubjectHierarchyConstants as Names

    header = slices[0].header

    def text(name: str) -> str:
        value = header.get(name)
        return "" if value is None else str(value)

    def known(names: dict[str, str]) -> dict[str, str]:
        return {attribute: text(name) for attribute, name in names.items() if text(name)}

    return DicomSource(
        instance_uids=tuple(str(s.header.SOPInstanceUID) for s in slices),
        series_uid=text("SeriesInstanceUID"),
        study_uid=text("StudyInstanceUID"),
        patient_id=text("PatientID"),
        patient=known(
            {
                Names.GetDICOMPatientNameAttributeName(): "PatientName",
                Names.GetDICOMPatientIDAttributeName(): "PatientID",
                Names.GetDICOMPatientSexAttributeName(): "PatientSex",
                Names.GetDICOMPatientBirthDateAttributeName(): "PatientBirthDate",
            }
        ),
        study=known(
            {
                Names.GetDICOMStudyInstanceUIDAttributeName(): "StudyInstanceUID",
                Names.GetDICOMStudyIDAttributeName(): "StudyID",
                Names.GetDICOMStudyDateAttributeName(): "StudyDate",
                Names.GetDICOMStudyTimeAttributeName(): "StudyTime",
                Names.GetDICOMStudyDescriptionAttributeName(): "StudyDescription",
            }
        ),
        series=known(
            {
                Names.GetDICOMSeriesModalityAttributeName(): "Modality",
                Names.GetDICOMSeriesNumberAttributeName(): "SeriesNumber",
                Names.GetDICOMFrameOfReferenceUIDAttributeName(): "FrameOfReferenceUID",
            }
        ),
    )
