"""Make the clinical bundle: python -m shared_models.package_clinical --data ../shared/data --run out/clinical

RUN is what `lungxai train clinical` wrote. The test patients are measured once, for the card.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .clinical import BUNDLE, FIELDS, TARGETS, WEIGHTS, ClinicalModel
from .contract.errors import InvalidInput
from .evaluate_clinical import evaluate_clinical
from .model_bundle import MODELS_ROOT, sha256_of
from .train_clinical import WEIGHTS_FILE
from .training_record import configuration

_SOURCE = "TCGA-LUAD and TCGA-LUSC clinical tables, TCGA Research Network / GDC, open tier"


def _metadata(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0.2.0", "changelog": {"0.2.0": "calibrated on more patients", "0.1.0": "first weights"},
        "monai_version": "1.6.1",
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
            "training": {"commit": run["commit"], "seed": run["seed"], "command": run["command"]},
        },
    }  # fmt: skip


def packaged(data: Path, run_folder: Path, models: Path) -> dict[str, Any]:
    """Write the bundle below ``models``; what the test patients gave.

    Raises
    ------
    InvalidInput : ``run_folder`` holds no fitted model, or ``data`` no clinical tables.
    """
    try:
        run = json.loads((run_folder / "result.json").read_text())
        weights = json.loads((run_folder / WEIGHTS_FILE).read_text())
    except (OSError, ValueError) as fault:
        raise InvalidInput(f"{run_folder} holds no fitted model.", "Run `lungxai train clinical` first.") from fault
    folder = models / BUNDLE
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run_folder / WEIGHTS_FILE, folder / WEIGHTS)
    (folder / "configs" / "metadata.json").write_text(json.dumps(_metadata(folder, run), indent=1) + "\n")
    configuration(run, folder)
    (folder / "LICENSE").write_text(
        "The weights in this folder are under the Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0).\n"
        f"They were fitted on {_SOURCE}; cite TCGA.\n"
    )
    ClinicalModel.load(models)
    test = evaluate_clinical(data, "test", models)
    if test is None:
        raise InvalidInput(f"{data} holds no clinical tables of TCGA.", "Give the folder of the data sets with --data.")
    test = {name: value for name, value in test.items() if name != "cases"}

    def line(name: str, m: dict[str, Any]) -> str:
        return f"| {name} | {m['value']:.3f} | {m['ci95'][0]:.3f} to {m['ci95'][1]:.3f} |"

    base = test["baseline"]
    (folder / "docs" / "README.md").write_text(
        f"""# {BUNDLE}: what age, sex and smoking say of the type

Research use only, not a diagnosis. Adenocarcinoma against squamous cell carcinoma, given that it is one of the two.

**Data.** {_SOURCE}. Split by a hash of the patient's barcode: {weights["n_train"]} train, {weights["n_val"]}
validation, {test["n"]} test patients. Any field may be missing. Fitted on the training patients; calibrated (Platt) on
{weights["n_calibration"]}: validation, and training scored across folds.

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
    return test


def main() -> None:
    """Package, and print what the test patients gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder that `lungxai train clinical` wrote")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    given = parser.parse_args()
    print(json.dumps(packaged(given.data, given.run, given.models), indent=1))


if __name__ == "__main__":
    main()
