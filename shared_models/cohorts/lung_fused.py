"""Lung-Fused-CT-Pathology: six patients with CT before resection and histology of the same nodule, co-registered.

Source: Rusu et al. 2017, Eur Radiol 27:4209, doi 10.1007/s00330-017-4813-0; data doi 10.7937/k9/tcia.2018.smt36lpn,
CC BY 3.0. https://www.cancerimagingarchive.net/collection/lung-fused-ct-pathology/

Layout: [manifest-*/]Lung-Fused-CT-Pathology/LungFCP-01-0001/<study>/<series>/*.dcm. A patient's series share one
frame of reference: the CT, and masks on the CT's grid (nodule, vessels; lesion and invasion as the fusion carries them
over from histology), told apart by their series description. Histology pictures are taken where their path names the
patient (LungFCP-01-0001*.svs, .tif, ... or in a folder of that name). All six are adenocarcinomas with ground glass.

The masks' series descriptions were not seen at first hand: whatever names a mask, nodule, lesion, invasion, vessel or
fusion is taken for one, and the longest other series is the CT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..contract.errors import InvalidInput
from .case import Cohort, CohortAnnotation, CohortCase, CohortImage, Exclusion, Report
from .dicom_series import Survey, surveyed, volumes
from .folders import checked_root, files_below, patient_folders
from .tables import fields
from .tcia_patients import outlines

NAME = "lung-fused-ct-pathology"
_PATIENT = re.compile(r"LungFCP-01-\d{4}")
_MASK = re.compile(r"mask|label|nodul|lesion|invas|vessel|fus|histo|path|segment|annot", re.IGNORECASE)
_PICTURES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".png", ".jpg", ".jpeg")


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per patient: CT, slides, and MASK annotations that lie in the CT's own space.

    Raises
    ------
    InvalidInput : no patient of the collection is here.
    """
    root = checked_root(root)
    slides = _slides(root, report)
    some = False
    seen: set[str] = set()
    for folder in patient_folders(root, _PATIENT, report):
        some, patient = True, folder.name
        survey = surveyed(folder, root, patient, report)
        if not survey.volumes and slides.get(patient):
            continue  # a folder of pictures only; its patient's CT lies in another
        if patient in seen:
            report(Exclusion("patient", "a second folder of the same patient", patient))
            continue
        seen.add(patient)
        ct, masks = _told_apart(survey, patient, report)
        if ct is None:
            report(Exclusion("patient", "no CT series that can be used", patient))
            continue
        images = (ct, *slides.get(patient, ()))
        drawn = (*masks, *outlines(survey, (ct,), patient, report))
        known = fields(str(survey.age_years or ""), survey.sex or "")
        yield CohortCase(patient, patient, NAME, "adenocarcinoma", known, images, drawn)
    if not some:
        raise InvalidInput("There is no folder LungFCP-01-0001 here.", "Give the folder of the collection's download.")


def _told_apart(
    survey: Survey, patient: str, report: Report
) -> tuple[CohortImage | None, tuple[CohortAnnotation, ...]]:
    series = volumes(survey, patient, report)
    described = {uid: one.description for uid, one in survey.volumes.items()}
    scans = [image for image in series if not _MASK.search(described[image.series_uid])]
    if not scans:
        return None, ()
    ct = scans[0]
    for _ in scans[1:]:
        report(Exclusion("series", "a second CT; the one with the most slices was taken", patient))
    masks = []
    for image in series:
        if image in scans:
            continue
        if not ct.frame_uid or image.frame_uid != ct.frame_uid:
            report(Exclusion("annotation", "a mask in another frame of reference than the CT", patient))
        else:
            masks.append(CohortAnnotation(image.path, "MASK", ct.series_uid, (described[image.series_uid],)))
    return ct, tuple(masks)


def _slides(root: Path, report: Report) -> dict[str, list[CohortImage]]:
    found: dict[str, list[CohortImage]] = {}
    for path in files_below(root, root, lambda left_out: None):
        if path.suffix.lower() not in _PICTURES:
            continue
        name = re.search(_PATIENT, str(path.relative_to(root)))
        if name is None:
            report(Exclusion("slide", "a picture whose path names no patient"))
            continue
        found.setdefault(name[0], []).append(CohortImage(path, "slide", slide_id=f"{name[0]}/{path.stem}"))
    return found


COHORT = Cohort(
    NAME, "Lung-Fused-CT-Pathology", "CC BY 3.0", "doi 10.7937/k9/tcia.2018.smt36lpn",
    "CT and histology of the same nodule, co-registered; six adenocarcinomas, so no accuracy: agreement, case by case",
    "LungFCP-01-0001/<study>/<series>/*.dcm, LungFCP-01-0001*.svs or .tif", read,
    ("Six patients of one class: a split would leave nothing to say; use it whole, as an outer test.",),
)  # fmt: skip
