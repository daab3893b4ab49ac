"""What the TCIA collections have in common: a folder per patient with CT series, outlines, and a clinical table.

patients()   a case per patient folder of NBIA's download: [manifest-*/]COLLECTION/PATIENT/<study>/<series>/*.dcm
outlines()   the RTSTRUCT and SEG files of one patient that belong to a CT that is there
Row          what a clinical table knows of a patient

Read a patient at a time, so the memory is that of one patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from ..contract.errors import InvalidInput
from ..contract.values import ClinicalFields
from .case import CohortAnnotation, CohortCase, CohortImage, Exclusion, Report
from .dicom_series import Survey, surveyed, volumes
from .folders import patient_folders
from .structures import described
from .tables import fields

OTHER = "a histology that is none of our classes; kept without a label"
_NOT_KNOWN = ("na", "n a", "nan", "unknown", "not collected", "not available", "not reported",
              "not recorded in database")  # fmt: skip
Extra = Callable[[Survey, str], tuple[tuple[CohortImage, ...], tuple[CohortAnnotation, ...]]]


@dataclass(frozen=True)
class Row:
    """``label`` one of contract CLASSES or None; ``other`` where the table names another histology."""

    label: Optional[str] = None
    clinical: Optional[ClinicalFields] = None
    other: bool = False


def patients(
    root: Path, name: str, pattern: re.Pattern[str], rows: Mapping[str, Row], report: Report,
    extra: Optional[Extra] = None, need_row: bool = False, default: Optional[str] = None,
) -> Iterator[CohortCase]:  # fmt: skip
    """A case per patient folder with a whole CT series.

    Parameters
    ----------
    root : resolved
    pattern : of a patient's folder, which is the pseudonym
    rows : pseudonym to what the clinical table says
    extra : more images and annotations of a survey
    need_row : patients without a row are left out
    default : class of a patient without a row
    """
    seen: set[str] = set()
    for folder in patient_folders(root, pattern, report):
        patient = folder.name
        if patient in seen:
            report(Exclusion("patient", "a second folder of the same patient", patient))
            continue
        seen.add(patient)
        row = rows.get(patient)
        if row is None and need_row:
            report(Exclusion("patient", "no row in the clinical table", patient))
            continue
        survey = surveyed(folder, root, patient, report)
        images = volumes(survey, patient, report)
        if not images:
            report(Exclusion("patient", "no CT series that can be used", patient))
            continue
        if row is not None and row.other:
            report(Exclusion("label", OTHER, patient))
        found = outlines(survey, images, patient, report)
        if extra is not None:
            more, drawn = extra(survey, patient)
            images, found = (*images, *more), (*found, *drawn)
        known = row.clinical if row is not None and row.clinical else None
        known = known or fields(str(survey.age_years or ""), survey.sex or "")
        yield CohortCase(patient, patient, name, row.label if row is not None else default, known, images, found)
    for patient in sorted(set(rows) - seen):
        report(Exclusion("row", "a clinical row without images here", patient))


def outlines(
    survey: Survey, images: tuple[CohortImage, ...], patient: str, report: Report
) -> tuple[CohortAnnotation, ...]:
    """RTSTRUCT and SEG files that name a series of ``images``; one that names none belongs to the only CT there is."""
    usable = [image.series_uid for image in images]
    found = []
    for kind, path in survey.structures:
        try:
            what = described(path, kind)
        except InvalidInput:
            report(Exclusion("annotation", "an outline file that cannot be read", patient))
            continue
        uid = what.series_uid or (usable[0] if len(usable) == 1 else "")
        if what.patient_id != patient:
            report(Exclusion("annotation", "its header names another patient than its folder", patient))
        elif uid not in usable:
            report(Exclusion("annotation", "an outline of a series that is not here or was left out", patient))
        else:
            found.append(CohortAnnotation(path, kind, uid, what.names))
    return tuple(found)


def histology(text: str) -> Row:
    """The class of a histology in words: the four carcinomas by their names; adenosquamous, large cell neuroendocrine
    and "NOS" are others."""
    words = re.sub(r"[^a-z]+", " ", text.lower()).strip()
    if not words or words in _NOT_KNOWN:
        return Row()
    named = {
        "adenocarcinoma": "adenocarcinoma" in words or "adeno carcinoma" in words,
        "squamous_cell": "squamous" in words and "adenosquamous" not in words,
        "large_cell": re.search(r"\blarge cell\b", words) is not None and "neuroendocrine" not in words,
        "small_cell": re.search(r"\bsmall cell\b|\bsclc\b", words) is not None
        and re.search(r"\bnon small cell\b|\bnonsmall cell\b|\bnsclc\b", words) is None,
    }
    held = [name for name, there in named.items() if there]
    return Row(held[0]) if len(held) == 1 else Row(other=True)
