"""TCGA's clinical tables of lung adenocarcinoma and squamous cell carcinoma, by patient-level split."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from .contract.values import Array, ClinicalFields

FOLDER = Path("clinical")
TABLES = {"adenocarcinoma": "tcga_luad_clinical.tsv", "squamous_cell": "tcga_lusc_clinical.tsv"}
_SMOKING = {
    "lifelong non-smoker": "never",
    "current smoker": "current",
    "current reformed smoker for > 15 years": "former",
    "current reformed smoker for < or = 15 years": "former",
    "current reformed smoker, duration not specified": "former",
}


@dataclass(frozen=True, eq=False)
class ClinicalCases:
    """``fields`` of each patient, ``squamous`` bool (n,), ``patients`` (n,)."""

    fields: tuple[ClinicalFields, ...]
    squamous: Array
    patients: Array


def split_of(barcode: str) -> str:
    """train (60 %), val (20 %) or test (20 %), by a hash of the patient's barcode: the same on every machine."""
    place = int(hashlib.sha256(barcode.encode()).hexdigest()[:8], 16) % 10
    return "train" if place < 6 else "val" if place < 8 else "test"


def _number(text: str, upper: float) -> Optional[float]:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= upper else None


def read_cases(root: Path, split: str) -> Optional[ClinicalCases]:
    """The patients of one split; None where both tables are absent. A column that is missing is a field not known."""
    fields, squamous, patients = [], [], []
    if not any((root / FOLDER / table).is_file() for table in TABLES.values()):
        return None
    for name, table in TABLES.items():
        path = root / FOLDER / table
        if not path.is_file():
            continue
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))[2:]  # two more header rows follow the first
        for row in rows:
            if split_of(row["bcr_patient_barcode"]) != split:
                continue
            smoking = _SMOKING.get((row.get("tobacco_smoking_history_indicator") or "").strip().lower())
            packs = _number(row.get("tobacco_smoking_pack_years_smoked") or "", 300)
            sex = (row.get("gender") or "").strip().lower()
            fields.append(
                ClinicalFields(
                    age_years=_number(row.get("age_at_initial_pathologic_diagnosis") or "", 120),
                    sex=sex if sex in ("female", "male") else None,
                    smoking=smoking,
                    pack_years=None if smoking == "never" else packs,
                )
            )
            squamous.append(name == "squamous_cell")
            patients.append(row["bcr_patient_barcode"])
    return ClinicalCases(tuple(fields), np.array(squamous), np.array(patients))
