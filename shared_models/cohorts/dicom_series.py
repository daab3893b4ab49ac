"""The DICOM series of one patient, by their headers.

Survey       what lies below one patient's folder
surveyed()   reads it, and reports what cannot be used
volumes()    its CT (and PET) series as images of a case

A series of which a file is damaged is left out whole: a CT without one of its slices is not the CT that was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dicom_log import discreet
from .case import CohortImage, Exclusion, Report
from .dicom_headers import CT, PT, Damaged, NotDicom, header
from .folders import files_below

_RTSTRUCT, _SEG = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.66.4"
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_RADIOGRAPHS = ("CR", "DX", "RG")
LEAST_SLICES = 3
MAX_FILES = 200_000
CUT_SHORT = "a file of it is cut short or damaged"


@dataclass
class Series:
    """One series: where it lies, and the UIDs of its images."""

    uid: str
    modality: str
    folder: Path
    frame_uid: str
    description: str
    sop_uids: set[str] = field(default_factory=set)
    count: int = 0
    damaged: bool = False


@dataclass
class Survey:
    """Below one patient's folder.

    ``volumes`` CT and PT series by UID; ``structures`` files of RTSTRUCT and SEG by kind; ``sex`` and ``age_years`` as
    the headers give them, None where they do not.
    """

    volumes: dict[str, Series] = field(default_factory=dict)
    structures: list[tuple[str, Path]] = field(default_factory=list)
    sex: Any = None
    age_years: Any = None

    def series_of(self, sop_uid: str) -> str:
        """UID of the series that holds an image, or ""."""
        return next((uid for uid, series in self.volumes.items() if sop_uid in series.sop_uids), "")


def surveyed(folder: Path, root: Path, patient_id: str, report: Report, modalities: Sequence[str] = ("CT",)) -> Survey:
    """Headers of every file below ``folder``, whose patient is ``patient_id``."""
    survey, left_out, seen_bad = Survey(), {}, set()
    bad_folders: set[Path] = set()
    with discreet():
        for number, path in enumerate(files_below(folder, root, report, patient_id)):
            if number >= MAX_FILES:
                report(Exclusion("patient", f"more than {MAX_FILES} files; only the first were read", patient_id))
                break
            try:
                dataset = header(path)
            except NotDicom:
                continue
            except Damaged as fault:
                seen_bad.add(fault.series_uid)
                bad_folders.add(path.parent)
                report(Exclusion("file", "a DICOM file that is cut short or damaged", patient_id))
                continue
            if str(dataset.get("PatientID") or "").strip() != patient_id:
                report(Exclusion("file", "its header names another patient than its folder", patient_id))
                continue
            _placed(survey, dataset, path, patient_id, report, left_out, modalities)
    for reason in left_out.values():
        report(Exclusion("series", reason, patient_id))
    for series in survey.volumes.values():
        series.damaged = series.uid in seen_bad or series.folder in bad_folders
    return survey


def _placed(
    survey: Survey, dataset: Any, path: Path, patient_id: str, report: Report,
    left_out: dict[str, str], modalities: Sequence[str],
) -> None:  # fmt: skip
    sop, uid = str(dataset.get("SOPClassUID") or ""), str(dataset.SeriesInstanceUID)
    modality = "CT" if sop in CT else "PT" if sop in PT else ""
    if sop in (_RTSTRUCT, _SEG):
        survey.structures.append(("RTSTRUCT" if sop == _RTSTRUCT else "SEG", path))
        return
    _demographics(survey, dataset)
    if not modality or modality not in modalities:
        left_out[uid] = _why(sop, str(dataset.get("Modality") or ""), modality)
        return
    kind = dataset.get("ImageType")
    if "LOCALIZER" in {str(value).upper() for value in ([kind] if isinstance(kind, str) else kind or [])}:
        report(Exclusion("file", "a localizer (scout) image", patient_id))
        return
    series = survey.volumes.get(uid)
    if series is None:
        series = survey.volumes[uid] = Series(
            uid, modality, path.parent, str(dataset.get("FrameOfReferenceUID") or ""),
            str(dataset.get("SeriesDescription") or ""),
        )  # fmt: skip
    image = str(dataset.SOPInstanceUID)
    if image in series.sop_uids:
        report(Exclusion("file", "an image that is there twice", patient_id))
        return
    series.sop_uids.add(image)
    series.count += int(dataset.get("NumberOfFrames") or 1)


def _why(sop: str, modality: str, known: str) -> str:
    if known == "PT":
        return "PET, which nothing here reads"
    if known:
        return "CT, which this reader does not use"
    if modality in _RADIOGRAPHS:
        return "a radiograph, no CT"
    if sop.startswith(_SECONDARY):
        return "a secondary capture, which has no place in space"
    return "DICOM objects that are no CT"


def _demographics(survey: Survey, dataset: Any) -> None:
    sex = {"M": "male", "F": "female"}.get(str(dataset.get("PatientSex") or "").strip().upper())
    age = str(dataset.get("PatientAge") or "").strip().upper()
    survey.sex = survey.sex or sex
    if survey.age_years is None and age.endswith("Y") and age[:-1].isdigit() and 0 < int(age[:-1]) <= 120:
        survey.age_years = float(age[:-1])


def volumes(survey: Survey, patient_id: str, report: Report, modality: str = "CT") -> tuple[CohortImage, ...]:
    """The whole series of ``modality``, most slices first; what is not one is reported."""
    found = []
    shared = [series.folder for series in survey.volumes.values()]
    for series in survey.volumes.values():
        if series.modality != modality:
            continue
        if series.damaged:
            report(Exclusion("series", CUT_SHORT, patient_id))
        elif series.count < LEAST_SLICES:
            report(Exclusion("series", f"fewer than {LEAST_SLICES} slices, no volume", patient_id))
        elif shared.count(series.folder) > 1:
            # A folder of several series is read as one of them, and which would be chance.
            report(Exclusion("series", "it shares its folder with another series; sort them into folders", patient_id))
        else:
            found.append(
                CohortImage(series.folder, modality, series.uid, count=series.count, frame_uid=series.frame_uid)
            )
    return tuple(sorted(found, key=lambda image: (-image.count, image.series_uid)))
