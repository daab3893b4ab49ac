"""The bundle of the fusion's weights: its files, and what they say of it.

write_bundle()   models/lung_fusion/: weights, metadata, card and license
card()           docs/README.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .fusion import WEIGHTS as FIXED
from .fusion_fit import FITTED_MEASURES
from .fusion_weights import BUNDLE, WEIGHTS
from .model_bundle import FUSION, sha256_of

_SOURCE = (
    "LIDC-IDRI (CC BY 3.0), LC25000 (arXiv:1912.12142), TCGA-LUAD and TCGA-LUSC clinical tables (GDC, open tier): "
    "composed cases, no paired patient"
)
_LABELS = {"radiology": "CT (malignancy)", "pathology": "slide", "clinical": "clinical fields"}


def write_bundle(models_root: Path, own: Mapping[str, Any], training: Mapping[str, Any]) -> None:
    """Write the folder.

    Parameters
    ----------
    own : what models/model.json holds
    training : "commit", "seed" and "command"
    """
    folder = models_root / BUNDLE
    for name in ("configs", "docs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_text(json.dumps(own, indent=1) + "\n")
    classes = own["conformal"]["classes"]
    outputs = {
        "type": "probabilities", "format": "classes", "num_channels": len(classes), "spatial_shape": [],
        "dtype": "float64", "value_range": [0, 1], "is_patch_data": False,
        "channel_def": {str(i): name for i, name in enumerate(classes)},
    }  # fmt: skip
    inputs = {
        "type": "table", "format": "log ratios by modality and class", "num_channels": len(FIXED),
        "spatial_shape": [], "dtype": "float64", "value_range": [], "is_patch_data": False,
        "channel_def": {str(i): name for i, name in enumerate(FIXED)},
    }  # fmt: skip
    metadata = {
        "version": "0.1.0", "changelog": {"0.1.0": "first weights"}, "monai_version": "1.6.1",
        "pytorch_version": "2.13.0", "numpy_version": np.__version__,
        "task": "weights that put CT, slide and clinical fields together",
        "description": "Log-opinion pool with a weight per modality and class. Research use only.",
        "authors": "the LungXAI developers", "copyright": "see LICENSE", "data_source": _SOURCE, "data_type": "table",
        "intended_use": "Research use only, not a diagnosis.",
        "network_data_format": {"inputs": {"evidence": inputs}, "outputs": {"pred": outputs}},
        "lungxai": {
            "model_id": BUNDLE, "modality": FUSION, "coverage": classes, "calibrated": True,
            "weights": {WEIGHTS: sha256_of(folder / WEIGHTS)}, "fitted_with": dict(own["fitted_with"]),
            "training": dict(training),
        },
    }  # fmt: skip
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n")
    (folder / "LICENSE").write_text(
        "The weights in this folder are under the Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0).\n"
        f"They were fitted on {_SOURCE}; cite these collections.\n"
    )
    (folder / "docs" / "README.md").write_text(card(own, training))


def _weights(own: Mapping[str, Any]) -> str:
    rows = []
    for name, row in own["weights"].items():
        each = ", ".join(f"{c.replace('_', ' ')} {w:.2f}" for c, w in row.items())
        powers = ", ".join(f"{r} {own['reliability'][name][r]:.2f}" for r in FITTED_MEASURES[name])
        rows.append(f"| {_LABELS[name]} | {each} | {FIXED[name]:.2f} | {powers} |")
    return "\n".join(rows)


def card(own: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """docs/README.md."""
    fit, sets = own["fit"], own["conformal"]
    losses = ", ".join(f"{p}: {v:.4f}" for p, v in fit["loss_of_penalty"].items())
    parts = fit["parts"]
    return f"""# {BUNDLE}: how much each modality counts in the fusion

Research use only, not a diagnosis. The pool itself is in docs/fusion.md of the suite.

| modality | weight by class | fixed weight before | exponents of its reliability |
|---|---|---|---|
{_weights(own)}

In a case the weights are multiplied by each measure of reliability (0 to 1) to the power of its exponent: quality of
the picture, typicality (how like the training data it is; its exponent is shrunk towards 1), confidence of the answer.

**Data.** {_SOURCE}. Split "{fit["split"]}" alone: {parts["nodule_patients"]} nodule patients, {parts["tile_fields"]}
tile fields, {parts["clinical_patients"]} clinical patients, recombined by class into {fit["cases"]} cases, tiles at
four strengths of degradation, half of the cases with modalities missing. The parts of a case are of different people,
so nothing that the modalities of one patient have in common was there to be learned. The models were calibrated on the
same split, so their confidence there is a little too good.

**Fit.** Penalised maximum likelihood, weights from 0 to 1, shrunk towards the fixed weights. Penalty
{fit["penalty"]} by {fit["folds"]}-fold cross-validation, no part in two folds: the largest within one standard error of
the least loss. Loss by penalty: {losses}; of the fixed weights {fit["loss_of_fixed"]:.4f}.
Commit {training["commit"][:12]}, `{training["command"]}`.

**Holds for** the models of these weights (sha256), and for what they tell apart; a result of any other model gets the
fixed weight:

| modality | model's weights |
|---|---|
{chr(10).join(f"| {_LABELS[m]} | {sha[:16]} |" for m, sha in own["fitted_with"].items())}

**Conformal sets.** Stated coverage {sets["coverage"]:.0%}: a class is in the set where its probability, among
{", ".join(c.replace("_", " ") for c in sets["classes"])}, is at least {sets["threshold"]:.4f}. Calibrated on
{sets["n"]} independent composed cases that the weights were fitted without (tiles at all strengths, modalities
missing). Promised on average over cases like those, not for each class or for other hospitals.

**Measured** by `lungxai evaluate --data ROOT --task fusion` on the split "test": composed and phantom cases, labelled
so. It was not measured on paired patients.

**Limits.** In the cases it was fitted to a CT is one nodule; of a whole CT the most malignant of several counts, some
found where there is none, so a CT is less to be trusted there than here. Where CT and slide, each sure, contradict each
other, the fusion gives no answer. Large cell and small cell carcinoma are not assessed. Normal cases have no clinical
fields. A slide is one tile here; the answer for a whole slide may be more or less sure than that of one tile.
"""
