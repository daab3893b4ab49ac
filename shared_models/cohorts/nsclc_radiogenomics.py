"""NSCLC-Radiogenomics: 211 patients with CT, tumour segmentations (DICOM SEG), histology and smoking.

Source: Bakr et al. 2018, Sci Data 5:180202, doi 10.7937/K9/TCIA.2017.7hs46erv, CC BY 3.0.
https://www.cancerimagingarchive.net/collection/nsclc-radiogenomics/

Layout: [manifest-*/]NSCLC Radiogenomics/R01-001/<study>/<series>/*.dcm (also AMC-001), and
NSCLCR01Radiogenomic_DATA_LABELS_*.csv with "Case ID", "Age at Histological Diagnosis", "Gender", "Smoking status",
"Pack Years" and "Histology " (the blank is theirs).
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

NAME = "nsclc-radiogenomics"
_PATIENT = re.compile(r"(?:R01|AMC)-\d{3}")
_SMOKING = {"nonsmoker": "never", "former": "former", "current": "current"}
_NEEDED = ("Case ID", "Age at Histological Diagnosis", "Gender", "Smoking status", "Pack Years", "Histology")


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per patient; "NSCLC NOS" keeps its CT and has no label. PET is left out.

    Raises
    ------
    InvalidInput : no clinical table, or it lacks a column.
    """
    root = checked_root(root)
    table = one_table(root, "NSCLCR01Radiogenomic_DATA_LABELS*.csv")
    if table is None:
        raise InvalidInput(
            "The clinical table NSCLCR01Radiogenomic_DATA_LABELS*.csv is not here.",
            "Download it from the collection's page into this folder.",
        )
    rows: dict[str, Row] = {}
    for line in read_table(table, _NEEDED):
        if not _PATIENT.fullmatch(line["Case ID"]) or line["Case ID"] in rows:
            report(Exclusion("row", "a clinical row of no patient of this collection, or a second one of a patient"))
            continue
        known = fields(
            line["Age at Histological Diagnosis"], line["Gender"], _SMOKING.get(line["Smoking status"].lower()),
            line["Pack Years"],
        )  # fmt: skip
        rows[line["Case ID"]] = replace(histology(line["Histology"]), clinical=known)
    yield from patients(root, NAME, _PATIENT, rows, report)


COHORT = Cohort(
    NAME, "NSCLC-Radiogenomics", "CC BY 3.0", "doi 10.7937/K9/TCIA.2017.7hs46erv",
    "subtype from CT with all clinical fields (adenocarcinoma, squamous), and outlines; no slides, no small cell",
    "R01-001/<study>/<series>/*.dcm, NSCLCR01Radiogenomic_DATA_LABELS_*.csv", read,
)  # fmt: skip
