"""Figures of the clinical model on TCGA patients: the task "clinical" of `lungxai evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np

from .clinical import ClinicalModel, encoded
from .clinical_data import read_cases
from .statistics import accuracy, auroc, bootstrap_ci


def evaluate_clinical(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Adenocarcinoma against squamous cell carcinoma; baselines are the majority, and never having smoked alone."""
    cases = read_cases(data_root, split)
    if cases is None or not len(cases.fields):
        return None
    model = ClinicalModel.load(models_root)
    rows = np.stack([encoded(fields) for fields in cases.fields])
    p, truth = model.probability(rows), cases.squamous
    smoked = np.nan_to_num(rows[:, 2], nan=0.5)

    def measure(of: Any) -> dict[str, Any]:
        every = np.arange(len(truth))
        return {"value": float(of(every)), "ci95": [float(x) for x in bootstrap_ci(of, cases.patients)]}

    return {
        "n": len(truth),
        "auroc": measure(lambda i: auroc(truth[i], p[i])),
        "accuracy": measure(lambda i: accuracy(truth[i].astype(int), (p[i] > 0.5).astype(int))),
        "brier": measure(lambda i: float(((p[i] - truth[i]) ** 2).mean())),
        "baseline": {
            "majority_accuracy": float(max(truth.mean(), 1 - truth.mean())),
            "sex_auroc": measure(lambda i: auroc(truth[i], np.nan_to_num(rows[i, 1], nan=0.5))),
            "ever_smoked_auroc": measure(lambda i: auroc(truth[i], smoked[i])),
        },
    }
