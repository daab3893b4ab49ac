"""Figures of the clinical model on TCGA patients.

clinical_cases()      patient by patient
evaluate_clinical()   the task "clinical" of `lungxai evaluate`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np

from .clinical import TARGETS, ClinicalModel, encoded
from .clinical_data import read_cases
from .evidence_cases import UNKNOWN, Cases, Exclusion, Numbers
from .evidence_strata import age_class
from .statistics import accuracy, auroc, bootstrap_ci

_MALE, _EVER_SMOKED = 1, 2  # places in clinical.FIELDS


def clinical_cases(data_root: Path, split: str, models_root: Path) -> Optional[Cases]:
    """Adenocarcinoma against squamous cell carcinoma; a patient of whom no field is known is left out."""
    read = read_cases(data_root, split)
    if read is None or not len(read.fields):
        return None
    model = ClinicalModel.load(models_root)
    rows = np.stack([encoded(fields) for fields in read.fields])
    numbers, known = Numbers("patient"), ~np.isnan(rows).all(axis=1)
    ids = np.array([numbers.of(name) for name in read.patients], dtype=str)
    excluded = tuple(Exclusion(name, "no clinical field is known") for name in ids[~known])
    if not known.any():
        return None
    rows, ids, fields = rows[known], ids[known], [one for one, k in zip(read.fields, known) if k]
    squamous = model.probability(rows)
    return Cases(
        "clinical", split, "patient", "patient", ids, ids, TARGETS, read.squamous[known].astype(int),
        np.stack([1 - squamous, squamous], axis=1),
        rivals={
            "sex alone": np.nan_to_num(rows[:, _MALE], nan=0.5),
            "having smoked alone": np.nan_to_num(rows[:, _EVER_SMOKED], nan=0.5),
        },
        strata={
            "sex": np.array([one.sex or UNKNOWN for one in fields], dtype=str),
            "age": np.array([age_class(one.age_years) for one in fields], dtype=str),
            "smoking": np.array([one.smoking or UNKNOWN for one in fields], dtype=str),
        },
        exclusions=excluded,
        notes=("The answer is given that the tumour is one of the two; both come from the same project, TCGA.",),
    )  # fmt: skip


def evaluate_clinical(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Adenocarcinoma against squamous cell carcinoma; baselines are the majority, and never having smoked alone."""
    cases = clinical_cases(data_root, split, models_root)
    if cases is None:
        return None
    p, truth = cases.probabilities[:, 1], cases.labels == 1

    def measure(of: Any) -> dict[str, Any]:
        every = np.arange(len(truth))
        return {"value": float(of(every)), "ci95": [float(x) for x in bootstrap_ci(of, cases.groups)]}

    def alone(name: str) -> dict[str, Any]:
        score = cases.rivals[name]
        return measure(lambda i: auroc(truth[i], score[i]))

    return {
        "n": len(truth),
        "auroc": measure(lambda i: auroc(truth[i], p[i])),
        "accuracy": measure(lambda i: accuracy(truth[i].astype(int), (p[i] > 0.5).astype(int))),
        "brier": measure(lambda i: float(((p[i] - truth[i]) ** 2).mean())),
        "baseline": {
            "majority_accuracy": float(max(truth.mean(), 1 - truth.mean())),
            "sex_auroc": alone("sex alone"),
            "ever_smoked_auroc": alone("having smoked alone"),
        },
        "cases": cases,
    }
