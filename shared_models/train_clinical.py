"""Fit the clinical model and write its bundle: python -m shared_models.train_clinical --data ../shared/data

Fitted on the training patients, each seen whole and REPEATS times with fields dropped at random; calibrated (Platt) on
the validation patients; the test patients are measured once, for the card. Takes a few seconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from .clinical import BUNDLE, FIELDS, TARGETS, WEIGHTS, ClinicalModel, design, encoded
from .clinical_data import ClinicalCases, read_cases
from .code_version import git_commit
from .evaluate_clinical import evaluate_clinical
from .model_bundle import MODELS_ROOT, sha256_of

REPEATS = 10
_DROP = 0.35
_SOURCE = "TCGA-LUAD and TCGA-LUSC clinical tables, TCGA Research Network / GDC, open tier"


def _rows(cases: ClinicalCases) -> Any:
    return np.stack([encoded(fields) for fields in cases.fields])


def fitted(train: ClinicalCases, val: ClinicalCases, seed: int) -> dict[str, Any]:
    """The model as its weights file holds it."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(seed)
    rows = _rows(train)
    mean, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    copies = [rows]
    for _ in range(REPEATS):
        thin = rows.copy()
        thin[random.random(rows.shape) < _DROP] = np.nan
        copies.append(thin)
    x, y = design(np.concatenate(copies), mean, scale), np.tile(train.squamous, REPEATS + 1)
    model = LogisticRegression(C=1.0 / (REPEATS + 1), max_iter=5000).fit(x, y)
    score = design(_rows(val), mean, scale) @ model.coef_[0] + model.intercept_[0]
    platt = LogisticRegression(C=1e6).fit(score[:, None], val.squamous)
    share = float(val.squamous.mean())
    return {
        "fields": list(FIELDS), "mean": mean.tolist(), "scale": scale.tolist(),
        "coefficients": model.coef_[0].tolist(), "intercept": float(model.intercept_[0]),
        "platt": [float(platt.coef_[0, 0]), float(platt.intercept_[0])],
        "prior": {"adenocarcinoma": 1 - share, "squamous_cell": share}, "n_train": len(rows), "n_val": len(score),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    train, val = read_cases(given.data, "train"), read_cases(given.data, "val")
    if train is None or val is None:
        parser.error("the clinical tables are not below --data")
    folder = given.models / BUNDLE
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    weights = fitted(train, val, given.seed)
    (folder / WEIGHTS).write_text(json.dumps(weights, indent=1) + "\n")
    command = f"python -m shared_models.train_clinical --seed {given.seed}"
    metadata = {
        "version": "0.1.0", "changelog": {"0.1.0": "first weights"}, "monai_version": "1.6.1",
        "pytorch_version": "2.13.0", "numpy_version": np.__version__,
        "task": "adenocarcinoma against squamous cell carcinoma from clinical fields",
        "description": "Logistic regression over age, sex, smoking and pack-years. Research use only.",
        "authors": "the LungXAI developers", "copyright": "see LICENSE", "data_source": _SOURCE, "data_type": "table",
        "intended_use": "Research use only, not a diagnosis.",
        "network_data_format": {
            "inputs": {"fields": {"type": "table", "format": "ClinicalFields", "num_channels": len(FIELDS),
                                  "spatial_shape": [], "dtype": "float64", "value_range": [], "is_patch_data": False,
                                  "channel_def": {str(i): name for i, name in enumerate(FIELDS)}}},
            "outputs": {"pred": {"type": "probabilities", "format": "classes", "num_channels": 2, "spatial_shape": [],
                                 "dtype": "float64", "value_range": [0, 1], "is_patch_data": False,
                                 "channel_def": {str(i): name for i, name in enumerate(TARGETS)}}},
        },
        "lungxai": {
            "model_id": BUNDLE, "modality": "clinical", "coverage": list(TARGETS), "calibrated": True,
            "weights": {WEIGHTS: sha256_of(folder / WEIGHTS)},
            "training": {"commit": git_commit(), "seed": given.seed, "command": command},
        },
    }  # fmt: skip
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n")
    (folder / "LICENSE").write_text(
        "The weights in this folder are under the Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0).\n"
        f"They were fitted on {_SOURCE}; cite TCGA.\n"
    )
    ClinicalModel.load(given.models)
    test = evaluate_clinical(given.data, "test", given.models)
    assert test is not None
    print(json.dumps(test, indent=1))

    def line(name: str, m: dict[str, Any]) -> str:
        return f"| {name} | {m['value']:.3f} | {m['ci95'][0]:.3f} to {m['ci95'][1]:.3f} |"

    base = test["baseline"]
    (folder / "docs" / "README.md").write_text(
        f"""# {BUNDLE}: what age, sex and smoking say of the type

Research use only, not a diagnosis. Adenocarcinoma against squamous cell carcinoma, given that it is one of the two.

**Data.** {_SOURCE}. Split by a hash of the patient's barcode: {weights["n_train"]} train, {weights["n_val"]} for
calibration (Platt), {test["n"]} test patients. Any field may be missing.

| test | value | 95 % interval |
|---|---|---|
{line("AUROC", test["auroc"])}
{line("accuracy", test["accuracy"])}
{line("Brier score", test["brier"])}
{line("AUROC, sex alone (baseline)", base["sex_auroc"])}
{line("AUROC, ever smoked alone (baseline)", base["ever_smoked_auroc"])}

Always the more frequent class: accuracy {base["majority_accuracy"]:.3f}.

**Coverage.** Adenocarcinoma, squamous cell carcinoma. It says nothing of cancer against no cancer, nor of
the other types.

**Limits.** Operated patients of TCGA's centres; how many of each type there are was the collection's choice, which the
fusion takes out again (docs/fusion.md). Pack-years are missing for a quarter. A weak model: it moves a fusion a little.
"""
    )


if __name__ == "__main__":
    main()
