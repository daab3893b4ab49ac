"""LIDC-IDRI: 1,018 CTs of 1,010 patients with the outlines and ratings of four readers.

Source: Armato et al. 2011, data doi 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0.
https://www.cancerimagingarchive.net/collection/lidc-idri/

Layout: [manifest-*/]LIDC-IDRI/LIDC-IDRI-0001/<study>/<series>/*.dcm, and the readers' XML either beside the images
(older downloads) or in LIDC-XML-only/tcia-lidc-xml/*/*.xml anywhere below the root; joined by SeriesInstanceUID. The
radiographs of 290 patients and their XML are left out. lidc_xml.py reads the outlines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..contract.errors import InvalidInput
from .case import Cohort, CohortAnnotation, CohortCase, Exclusion, Report
from .dicom_series import surveyed, volumes
from .folders import checked_root, files_below, patient_folders
from .lidc_xml import grouped, read_nodules, series_of
from .tables import fields

NAME = "lidc-idri"
_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
_MOST_XML = 20_000


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per patient with a whole CT; its LIDC_XML annotations are named "<n> nodules of <k> outlines".

    Raises
    ------
    InvalidInput : no patient of the collection is here.
    """
    root = checked_root(root)
    readings = _readings(root, report)
    some = False
    seen: set[str] = set()
    for folder in patient_folders(root, _PATIENT, report):
        some, patient = True, folder.name
        if patient in seen:
            report(Exclusion("patient", "a second folder of the same patient", patient))
            continue
        seen.add(patient)
        survey = surveyed(folder, root, patient, report)
        images = volumes(survey, patient, report)
        drawn = []
        for image in images:
            path = readings.pop(image.series_uid, None)
            if path is None:
                report(Exclusion("annotation", "a CT without a readers' XML", patient))
                continue
            try:
                nodules = read_nodules(path)
            except InvalidInput:
                report(Exclusion("annotation", "a readers' XML that cannot be read", patient))
                continue
            here = survey.volumes[image.series_uid].sop_uids
            if any(contour.sop_uid not in here for nodule in nodules for contour in nodule.contours):
                report(Exclusion("annotation", "a readers' XML that outlines an image which is not here", patient))
                continue
            told = f"{len(grouped(nodules))} nodules of {len(nodules)} outlines"
            drawn.append(CohortAnnotation(path, "LIDC_XML", image.series_uid, (told,)))
        for series in survey.volumes:
            readings.pop(series, None)
        if not images:
            report(Exclusion("patient", "no CT series that can be used", patient))
            continue
        known = fields(str(survey.age_years or ""), survey.sex or "")
        yield CohortCase(patient, patient, NAME, None, known, images, tuple(drawn))
    if not some:
        raise InvalidInput("There is no folder LIDC-IDRI-0001 or the like here.", "Give the folder of TCIA's download.")
    for _ in readings:
        report(Exclusion("annotation", "a readers' XML whose CT is not here"))


def _readings(root: Path, report: Report) -> dict[str, Path]:
    """Series to its readers' XML."""
    found: dict[str, Path] = {}
    for path in files_below(root, root, lambda left_out: None):
        if path.suffix.lower() != ".xml":
            continue
        try:
            uid = series_of(path)
        except InvalidInput:
            report(Exclusion("annotation", "an XML file that cannot be read"))
            continue
        if not uid:
            report(Exclusion("annotation", "an XML file of a radiograph, or of no reading"))
        elif uid in found:
            report(Exclusion("annotation", "a second readers' XML of the same CT; the first was taken"))
        elif len(found) < _MOST_XML:
            found[uid] = path
    return found


COHORT = Cohort(
    NAME, "LIDC-IDRI", "CC BY 3.0", "doi 10.7937/K9/TCIA.2015.LO9QL9SX",
    "finding and outlining nodules, and readers' opinion of malignancy; no histology, no slides",
    "LIDC-IDRI-0001/<study>/<series>/*.dcm, LIDC-XML-only/**/*.xml", read,
    ("Eight patients have two CTs; they stay together.",),
)  # fmt: skip
