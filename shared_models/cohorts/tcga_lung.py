"""TCGA-LUAD and TCGA-LUSC: diagnostic H&E slides, CT of some of the same patients, clinical tables; joined by barcode.

Source: GDC open tier, https://portal.gdc.cancer.gov (cite TCGA); CT: TCGA-LUAD doi 10.7937/K9/TCIA.2016.JGNIHEP5,
TCGA-LUSC doi 10.7937/K9/TCIA.2016.TYGKKFMQ, CC BY 3.0.

Layouts, each optional, anywhere at most five folders below the root:
- slides <file uuid>/TCGA-05-4245-01Z-00-DX1.<uuid>.svs, as the GDC Data Transfer Tool writes them;
- clinical biotab tables (nationwidechildrens.org_clinical_patient_luad.txt, tcga_luad_clinical.tsv; three header rows),
  or the GDC portal's clinical.tsv (one header row; exposure.tsv beside it for smoking);
- CT [manifest-*/]TCGA-LUAD/TCGA-05-4245/<study>/<series>/*.dcm.

The barcode: TCGA-05-4245 is the patient, 01 a primary tumour (11 is normal tissue), Z formalin-fixed, DX a diagnostic
slide. Frozen sections (TS, BS, MS) are left out: they look different, and TCGA advises DX for diagnosis.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from ..contract.errors import InvalidInput
from ..contract.values import ClinicalFields
from .case import Cohort, CohortAnnotation, CohortCase, CohortImage, Exclusion, Report
from .dicom_series import surveyed, volumes
from .folders import checked_root, files_below, inside, patient_folders
from .sclc import smoking_of
from .tables import fields, read_table
from .tcia_patients import outlines

NAME = "tcga-lung"
PATIENT = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}")
_SLIDE = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})-(\d{2})([A-Z])-(\d{2})-([A-Z]{2})[A-Z0-9]*\.[0-9A-Fa-f-]+")
_TABLES = ("*clinical_patient_lu*.txt", "*tcga_lu*clinical*.tsv", "*clinical*.tsv")
_PROJECTS = {"TCGA-LUAD": "adenocarcinoma", "TCGA-LUSC": "squamous_cell"}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
Known = dict[str, tuple[Optional[str], Optional[ClinicalFields]]]


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per patient of the tables, with the slides and CT that are there, then patients without a row.

    Raises
    ------
    InvalidInput : no table, slide or CT folder of TCGA is here, or a table lacks a column.
    """
    root = checked_root(root)
    known = _clinical(root, report)
    slides = _slides(root, report)
    folders: dict[str, Path] = {}
    for folder in patient_folders(root, PATIENT, report):
        if folders.setdefault(folder.name, folder) != folder:
            report(Exclusion("patient", "a second folder of the same patient; only the first was read", folder.name))
    if not known and not slides and not folders:
        raise InvalidInput(
            "There is no TCGA slide, clinical table or CT folder here.",
            "Give the folder of the GDC or TCIA download; slides keep the names that GDC gave them.",
        )
    for patient in sorted({*known, *slides, *folders}):
        label, clinical = known.get(patient, (None, None))
        folder = folders.get(patient)
        places = [*(image.path for image in slides.get(patient, ())), *([folder] if folder else [])]
        label = label or _by_folder(places)
        if label is None:
            report(Exclusion("patient", "neither a clinical row nor a project's folder tells its class", patient))
            continue
        images: tuple[CohortImage, ...] = tuple(slides.get(patient, ()))
        drawn: tuple[CohortAnnotation, ...] = ()
        if folder is not None:
            survey = surveyed(folder, root, patient, report)
            scans = volumes(survey, patient, report)
            images, drawn = (*scans, *images), outlines(survey, scans, patient, report)
        yield CohortCase(patient, patient, NAME, label, clinical, images, drawn)


def _by_folder(places: list[Path]) -> Optional[str]:
    named = {label for place in places for part in place.parts for key, label in _PROJECTS.items() if part == key}
    return named.pop() if len(named) == 1 else None


def _slides(root: Path, report: Report) -> dict[str, list[CohortImage]]:
    found: dict[str, list[CohortImage]] = {}
    seen: set[str] = set()
    for path in _svs(root, report):
        name = _SLIDE.fullmatch(path.stem)
        if name is None:
            report(Exclusion("slide", "an SVS file without a TCGA barcode"))
            continue
        patient, sample, _, _, kind = name.groups()
        if sample != "01":
            report(Exclusion("slide", "of normal tissue, or of no primary tumour", patient))
        elif kind != "DX":
            report(Exclusion("slide", "a frozen section, not a diagnostic slide", patient))
        elif path.stem in seen:
            report(Exclusion("slide", "a slide that is there twice", patient))
        elif not _tiff(path):
            report(Exclusion("slide", "no TIFF file: cut short, or not downloaded whole", patient))
        else:
            seen.add(path.stem)
            found.setdefault(patient, []).append(CohortImage(path, "slide", slide_id=path.stem.split(".")[0]))
    return found


def _svs(root: Path, report: Report) -> Iterator[Path]:
    """SVS files outside the CT folders of patients."""
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            if not PATIENT.fullmatch(entry.name):
                yield from (p for p in files_below(entry, root, report) if p.suffix.lower() == ".svs")
        elif entry.suffix.lower() == ".svs":
            if inside(entry, root):
                yield entry
            else:
                report(Exclusion("slide", "a link that leads out of the folder"))


def _tiff(path: Path) -> bool:
    """Whether the header is a TIFF's, and its first directory lies within the file (what a cut-short one lacks)."""
    with path.open("rb") as file:
        head = file.read(16)
        size = file.seek(0, 2)
    if head[:4] not in _TIFF or len(head) < 16:
        return False
    order = "little" if head[:2] == b"II" else "big"
    big = head[2:4] in (b"+\0", b"\0+")
    first = int.from_bytes(head[8:16] if big else head[4:8], order)  # type: ignore[arg-type]
    return 8 <= first < size - 2


def _clinical(root: Path, report: Report) -> Known:
    found: Known = {}
    clashes: set[str] = set()
    tables = sorted({p for d in range(4) for t in _TABLES for p in root.glob("*/" * d + t) if p.is_file()})
    for path in tables:
        if not inside(path, root):
            report(Exclusion("file", "a link that leads out of the folder"))
            continue
        for patient, label, clinical in _rows(path, report):
            held = found.get(patient)
            if held is not None and held[0] != label:
                clashes.add(patient)
            found.setdefault(patient, (label, clinical))
    for patient in clashes:
        report(Exclusion("patient", "two tables give it different classes", patient))
        del found[patient]
    return found


def _rows(path: Path, report: Report) -> Iterator[tuple[str, Optional[str], Optional[ClinicalFields]]]:
    first = next(iter(read_table(path, (), "\t")), {})
    if "bcr_patient_barcode" in first:
        rows = _biotab(path)
    elif "case_submitter_id" in first or "cases.submitter_id" in first:
        rows = _portal(path)
    else:
        raise InvalidInput(
            "A clinical table has no column bcr_patient_barcode or case_submitter_id.",
            "Download it again from GDC; do not edit its header.",
        )
    for patient, disease, clinical in rows:
        words = disease.lower()
        label = (
            "squamous_cell" if "squamous" in words and "adenosquamous" not in words
            else "adenocarcinoma" if "adenocarcinoma" in words else None
        )  # fmt: skip
        if not PATIENT.fullmatch(patient):
            report(Exclusion("row", "a clinical row without a TCGA barcode"))
        elif label is None:
            report(Exclusion("row", "a diagnosis that is neither adenocarcinoma nor squamous cell carcinoma", patient))
        else:
            yield patient, label, clinical


_Row = tuple[str, str, Optional[ClinicalFields]]


def _biotab(path: Path) -> Iterator[_Row]:
    needed = ("bcr_patient_barcode", "histologic_diagnosis", "gender", "tobacco_smoking_history_indicator",
              "tobacco_smoking_pack_years_smoked", "age_at_initial_pathologic_diagnosis")  # fmt: skip
    for row in read_table(path, needed, "\t", skip=2):
        yield row[needed[0]], row[needed[1]], fields(
            row[needed[5]], row[needed[2]], smoking_of(row[needed[3]]), row[needed[4]]
        )  # fmt: skip


def _portal(path: Path) -> Iterator[_Row]:
    """The portal's clinical.tsv has a row per patient and treatment; the first of a patient counts."""
    smoked: dict[str, tuple[Optional[str], str]] = {}
    exposure = path.parent / "exposure.tsv"
    if exposure.is_file() and not exposure.is_symlink():
        for row in read_table(exposure, (), "\t"):
            packs, status = _of(row, "pack_years_smoked"), smoking_of(_of(row, "tobacco_smoking_status"))
            smoked.setdefault(_of(row, "submitter_id"), (status, packs))
    seen: set[str] = set()
    for row in read_table(path, (), "\t"):
        patient = _of(row, "submitter_id")
        if patient in seen:
            continue
        seen.add(patient)
        status, packs = smoked.get(patient, (None, ""))
        disease = {"TCGA-LUAD": "adenocarcinoma", "TCGA-LUSC": "squamous"}.get(_of(row, "project_id"), "")
        yield patient, disease or _of(row, "primary_diagnosis"), fields(
            _of(row, "age_at_index"), _of(row, "gender"), status, packs
        )  # fmt: skip


def _of(row: dict[str, str], name: str) -> str:
    """A column by its plain name; the portal's older tables say case_submitter_id, newer ones cases.submitter_id."""
    older = {"submitter_id": "case_submitter_id"}.get(name, name)
    return next((v for column, v in row.items() if column == older or column.rpartition(".")[2] == name), "")


COHORT = Cohort(
    NAME, "TCGA-LUAD and TCGA-LUSC", "GDC open tier; CT CC BY 3.0",
    "https://portal.gdc.cancer.gov, doi 10.7937/K9/TCIA.2016.JGNIHEP5, 10.7937/K9/TCIA.2016.TYGKKFMQ",
    "adenocarcinoma against squamous by slide, clinical fields and, for some patients, CT of the same patient: "
    "the fusion on truly paired cases",
    "<uuid>/TCGA-*-DX*.svs, *clinical*.tsv or .txt, TCGA-LU*/TCGA-05-4245/<study>/<series>/*.dcm", read,
)  # fmt: skip
