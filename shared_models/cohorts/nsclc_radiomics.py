"""NSCLC-Radiomics (Lung1): 422 radiotherapy planning CTs with outlines and histology.

Source: Aerts et al. 2014, doi 10.7937/K9/TCIA.2015.PF0M9REI, CC BY-NC 3.0.
https://www.cancerimagingarchive.net/collection/nsclc-radiomics/

Layout: [manifest-*/]NSCLC-Radiomics/LUNG1-001/<study>/<series>/*.dcm (CT, RTSTRUCT and SEG each in its series), and
NSCLC-Radiomics-Lung1.clinical*.csv with PatientID, age, Histology, gender at most three folders below the root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..contract.errors import InvalidInput
from .case import Cohort, CohortCase, Exclusion, Report
from .folders import checked_root
from .tables import fields, one_table, read_table
from .tcia_patients import Row, histology, patients

NAME = "nsclc-radiomics"
_PATIENT = re.compile(r"LUNG1-\d{3}")


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per patient; "nos" and missing histology keep their CT and have no label.

    Raises
    ------
    InvalidInput : no clinical table, or it lacks a column.
    """
    root = checked_root(root)
    table = one_table(root, "NSCLC-Radiomics-Lung1.clinical*.csv", "NSCLC Radiomics Lung1.clinical*.csv")
    if table is None:
        raise InvalidInput(
            "The clinical table NSCLC-Radiomics-Lung1.clinical*.csv is not here.",
            "Download it from the collection's page into this folder.",
        )
    rows: dict[str, Row] = {}
    for line in read_table(table, ("PatientID", "age", "Histology", "gender")):
        if not _PATIENT.fullmatch(line["PatientID"]) or line["PatientID"] in rows:
            report(Exclusion("row", "a clinical row of no patient of this collection, or a second one of a patient"))
            continue
        rows[line["PatientID"]] = replace(histology(line["Histology"]), clinical=fields(line["age"], line["gender"]))
    yield from patients(root, NAME, _PATIENT, rows, report)


COHORT = Cohort(
    NAME, "NSCLC-Radiomics (Lung1)", "CC BY-NC 3.0", "doi 10.7937/K9/TCIA.2015.PF0M9REI",
    "outlines of large tumours, and subtype from CT (adenocarcinoma, squamous, large cell); no slides, no smoking",
    "LUNG1-001/<study>/<series>/*.dcm, NSCLC-Radiomics-Lung1.clinical*.csv", read,
)  # fmt: skip
