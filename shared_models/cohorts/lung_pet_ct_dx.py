"""Lung-PET-CT-Dx: CT (and PET) of 355 patients with a biopsy, tumour boxes per slice; class by letter of the subject.

Source: Li et al. 2020, doi 10.7937/TCIA.2020.NNC2-0461, CC BY 4.0.
https://www.cancerimagingarchive.net/collection/lung-pet-ct-dx/

Layout: [manifest-*/]Lung-PET-CT-Dx/Lung_Dx-A0001/<study>/<series>/*.dcm as the NBIA Data Retriever writes it, and
anywhere below the root Annotation/A0001/<SOPInstanceUID>.xml (Pascal VOC) and statistics-clinical-*.xlsx. Folders named
A0001 alone are taken too. Letters: A adenocarcinoma, B small cell, E large cell, G squamous cell carcinoma.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from ..contract.errors import InvalidInput
from ..contract.values import ClinicalFields
from .case import Cohort, CohortAnnotation, CohortCase, Exclusion, Report
from .dicom_series import Survey, surveyed, volumes
from .folders import checked_root, files_below, patient_folders
from .safe_xml import parsed, read_bounded
from .tables import fields, one_table, read_sheet, read_table

NAME = "lung-pet-ct-dx"
LETTERS = {"A": "adenocarcinoma", "B": "small_cell", "E": "large_cell", "G": "squamous_cell"}
_PATIENT = re.compile(r"(?:Lung_Dx-)?([ABEG]\d{4})")
_MAX_XML = 1 << 20
Box = tuple[int, int, int, int]


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per patient with a whole CT series; its VOC_XML annotations name the series that they lie in."""
    root = checked_root(root)
    clinical = _clinical(root, report)
    annotated = {p.name: p for p in _annotation_folders(root, report)}
    seen: set[str] = set()
    for folder in patient_folders(root, _PATIENT, report, skip=lambda name: name.lower().startswith("annotation")):
        short = _PATIENT.fullmatch(folder.name)[1]  # type: ignore[index]
        patient = f"Lung_Dx-{short}"
        if patient in seen:
            report(Exclusion("patient", "a second folder of the same patient", patient))
            continue
        seen.add(patient)
        survey = surveyed(folder, root, patient, report)
        images = volumes(survey, patient, report)
        if not images:
            report(Exclusion("patient", "no CT series that can be used", patient))
            continue
        outlines = _outlines(annotated.get(short), survey, {i.series_uid for i in images}, root, patient, report)
        known = clinical.get(short) or fields(str(survey.age_years or ""), survey.sex or "")
        yield CohortCase(patient, patient, NAME, LETTERS[short[0]], known, images, outlines)


def _annotation_folders(root: Path, report: Report) -> Iterator[Path]:
    for depth in range(3):
        for base in sorted(root.glob("*/" * depth + "Annotation")):
            if base.is_dir() and not base.is_symlink():
                yield from patient_folders(base, _PATIENT, report)


def _outlines(
    folder: Optional[Path], survey: Survey, usable: set[str], root: Path, patient: str, report: Report
) -> tuple[CohortAnnotation, ...]:
    if folder is None:
        return ()
    series: set[str] = set()
    for path in files_below(folder, root, report, patient):
        if path.suffix.lower() != ".xml":
            continue
        uid = survey.series_of(path.stem)
        if uid not in usable:
            report(Exclusion("annotation", "a tumour box on an image that is not here or was left out", patient))
            continue
        try:
            if not boxes_of(path):
                raise InvalidInput("No box.", "")
        except InvalidInput:
            report(Exclusion("annotation", "a tumour box that cannot be read", patient))
            continue
        series.add(uid)
    return tuple(CohortAnnotation(folder, "VOC_XML", uid, ("tumour box",)) for uid in sorted(series))


def boxes_of(path: Path) -> list[Box]:
    """(first column, first row, last column, last row) of each object of a Pascal VOC file, 0-based pixels.

    Raises
    ------
    InvalidInput : it cannot be read, or a box is empty or outside 0 to 4096.
    """
    found = []
    for box in parsed(read_bounded(path, _MAX_XML)).findall("./object/bndbox"):
        try:
            x0, y0, x1, y1 = (round(float(box.findtext(n) or "nan")) for n in ("xmin", "ymin", "xmax", "ymax"))
        except (ValueError, OverflowError) as fault:
            raise InvalidInput("A tumour box has no numbers.", "Download the annotations again.") from fault
        if not (0 <= x0 < x1 <= 4096 and 0 <= y0 < y1 <= 4096):
            raise InvalidInput("A tumour box is empty or outside its image.", "Download the annotations again.")
        found.append((x0, y0, x1, y1))
    return found


def _clinical(root: Path, report: Report) -> dict[str, ClinicalFields]:
    table = one_table(root, "statistics-clinical*.xlsx", "statistics-clinical*.csv")
    if table is None:
        return {}
    needed = ("NewPatientID", "Sex", "Age", "Smoking History")
    found: dict[str, ClinicalFields] = {}
    for row in read_sheet(table, needed) if table.suffix == ".xlsx" else read_table(table, needed):
        name = _PATIENT.fullmatch(row["NewPatientID"])
        if name is None:
            report(Exclusion("row", "a clinical row whose patient is not named as in this collection"))
            continue
        # "0" is never; "1" does not tell former from current, so smoking stays unknown.
        known = fields(row["Age"], row["Sex"], "never" if row["Smoking History"] in ("0", "0.0") else None)
        if known is not None:
            found.setdefault(name[1], known)
    return found


COHORT = Cohort(
    NAME, "Lung-PET-CT-Dx", "CC BY 4.0", "doi 10.7937/TCIA.2020.NNC2-0461",
    "subtype from CT by patient, four classes (few large cell); boxes, no outlines; no slides",
    "Lung_Dx-A0001/<study>/<series>/*.dcm, Annotation/A0001/<SOPInstanceUID>.xml, statistics-clinical-*.xlsx", read,
)  # fmt: skip
