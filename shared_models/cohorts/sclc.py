"""Small cell lung cancer on CT: a TCIA collection with a clinical table that names the histology, e.g. CMB-LCA.

Source: Cancer Moonshot Biobank, Lung Cancer (CMB-LCA), doi 10.7937/3CX3-S132, CC BY 4.0,
https://www.cancerimagingarchive.net/collection/cmb-lca/; and any collection of the same layout. The small cell patients
of Lung-PET-CT-Dx are read by its own reader.

Layout: [manifest-*/]COLLECTION/<patient>/<study>/<series>/*.dcm, and one *clinical*.csv (or .tsv, .xlsx) with a column
of the patient and one of the histology. Their names differ between collections and versions, so they are found among
the names below; the table is required, because a collection of lung cancer holds others too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..contract.errors import InvalidInput
from .case import Cohort, CohortCase, Exclusion, Report
from .folders import checked_root
from .tables import fields, one_table, read_sheet, read_table
from .tcia_patients import Row, histology, patients

NAME = "sclc"
_PATIENT = re.compile(r"[A-Za-z][A-Za-z0-9]{1,15}(?:[-_][A-Za-z0-9]{1,12}){1,4}")
_COLUMNS = {
    "patient": ("patient id", "patientid", "patient_id", "subject id", "subject_id", "case id", "case_id",
                "case submitter id", "cases.submitter_id"),
    "histology": ("histology", "histologic type", "histological type", "primary diagnosis", "primary_diagnosis",
                  "diagnosis", "tumor histology", "diagnoses.primary_diagnosis", "cancer type"),
    "age": ("age", "age at diagnosis", "age at enrollment", "age_at_index", "demographic.age_at_index"),
    "sex": ("sex", "gender", "sex at birth", "demographic.gender"),
    "smoking": ("smoking status", "smoking_status", "smoking history", "tobacco smoking status",
                "exposures.tobacco_smoking_status"),
    "packs": ("pack years", "pack_years", "pack years smoked", "pack_years_smoked", "exposures.pack_years_smoked"),
}  # fmt: skip


def smoking_of(text: str) -> str | None:
    """Never, former or current, of a smoking status in words."""
    words = text.lower()
    if re.search(r"\bnever\b|non-?smoker|lifelong non", words):
        return "never"
    if re.search(r"former|reformed|ex-?smoker|\bquit\b|previous", words):
        return "former"
    return "current" if re.search(r"\bcurrent\b", words) else None


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per patient with a row; others than small cell keep their own class.

    Raises
    ------
    InvalidInput : no clinical table, or none of its columns names the patient or the histology.
    """
    root = checked_root(root)
    table = one_table(root, "*[cC]linical*.csv", "*[cC]linical*.tsv", "*[cC]linical*.xlsx")
    if table is None:
        raise InvalidInput(
            "No clinical table is here, and without it small cell carcinoma is not told from others.",
            "Download the collection's clinical table (*clinical*.csv) into this folder.",
        )
    rows: dict[str, Row] = {}
    lines = read_sheet(table, ()) if table.suffix == ".xlsx" else read_table(
        table, (), "\t" if table.suffix == ".tsv" else ","
    )  # fmt: skip
    names: dict[str, str] = {}
    for line in lines:
        names = names or _columns(list(line))
        got = {key: line.get(name, "") for key, name in names.items()}
        if not _PATIENT.fullmatch(got["patient"]) or got["patient"] in rows:
            report(Exclusion("row", "a clinical row without a patient, or a second one of a patient"))
            continue
        known = fields(got.get("age", ""), got.get("sex", ""), smoking_of(got.get("smoking", "")), got.get("packs", ""))
        rows[got["patient"]] = replace(histology(got["histology"]), clinical=known)
    # A folder is a patient because the table names it: the pattern of a name alone would take study folders for some.
    wanted = re.compile("|".join(map(re.escape, sorted(rows))) if rows else r"(?!)")
    yield from patients(root, NAME, wanted, rows, report)


def _columns(header: Sequence[str]) -> dict[str, str]:
    lower = {name.lower().strip(): name for name in header}
    found = {key: next((lower[n] for n in among if n in lower), "") for key, among in _COLUMNS.items()}
    for key in ("patient", "histology"):
        if not found[key]:
            raise InvalidInput(
                f"The clinical table has no column that names the {key}.",
                f"Name it one of: {', '.join(_COLUMNS[key])}.",
            )
    return {key: name for key, name in found.items() if name}


COHORT = Cohort(
    NAME, "small cell lung cancer on CT (CMB-LCA and others of its layout)", "CMB-LCA: CC BY 4.0",
    "doi 10.7937/3CX3-S132", "small cell against others on CT, where the clinical table tells the histology; no slides",
    "<patient>/<study>/<series>/*.dcm, *clinical*.csv with a patient and a histology column", read,
    ("Patients without a row in the clinical table are not read.",),
)  # fmt: skip
