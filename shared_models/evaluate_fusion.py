"""The task "fusion" of `lungxai evaluate`: what putting the modalities together gains, on composed and phantom cases.

evaluate_fusion()   every cohort below, with its ablation table
evaluate_paired()   the same table of truly paired cases of a cohort reader
COHORTS             the composed cohorts: name -> (version of composed_cohort.VERSIONS, nodules used again)

No patient here has CT, slide and fields: every table says how its cases were made. What each cohort is was declared in
composed_cohort.py and phantom_cohort.py before any was measured on the split "test".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .clinical import ClinicalModel
from .composed_cohort import LABEL, STRENGTHS
from .composed_parts import Parts, composed
from .fusion_ablation import MAIN, ablation, answers, text
from .fusion_baselines import Stacking
from .fusion_cases import FusionCase, of_cohort
from .fusion_weights import BUNDLE, WEIGHTS, FusionWeights, learned_in
from .model_bundle import MODELS_ROOT, Bundle
from .paired_tests import mcnemar
from .phantom_cohort import LABEL as PHANTOM
from .phantom_cohort import phantom_cases

COHORTS: dict[str, tuple[str, bool]] = {
    "composed": ("clean", False),
    "composed, tiles degraded": ("degraded", False),
    "composed, modalities missing at random": ("missing", False),
    "composed, normals with borrowed clinical fields": ("borrowed", False),
    "composed, nodules used again": ("clean", True),
    "composed, nodules used again, tiles degraded": ("degraded", True),
}
CLASSES_WITHOUT_WEIGHTS = ("adenocarcinoma", "squamous_cell", "normal")
PAIRINGS = 50


class _Models:
    """What is measured: the clinical model, calibrated and raw, the learned weights and the regression."""

    def __init__(self, models_root: Path) -> None:
        self.clinical = ClinicalModel.load(models_root)
        self.raw_clinical = dataclasses.replace(self.clinical, platt=(1.0, 0.0))
        self.learned: Optional[FusionWeights] = learned_in(models_root)
        self.stacking: Optional[Stacking] = None
        self.classes: tuple[str, ...] = CLASSES_WITHOUT_WEIGHTS
        if self.learned is not None:
            bundle = Bundle.load(models_root / BUNDLE)
            self.stacking = Stacking.of_numbers(json.loads(bundle.path(WEIGHTS).read_text())["stacking"])
            self.classes = tuple(bundle.own["coverage"])

    def stale(self, cases: Iterable[FusionCase]) -> tuple[str, ...]:
        """Modalities whose model is not the one that the learned weights were fitted to."""
        made_by: dict[str, set[str]] = {"clinical": {self.clinical.provenance.weights_sha256}}
        for case in cases:
            for name, result in (("radiology", case.radiology), ("pathology", case.pathology)):
                if result is not None:
                    made_by.setdefault(name, set()).update(p.weights_sha256 for p in result.provenance)
        if self.learned is None:
            return ()
        return tuple(m for m, found in made_by.items() if self.learned.fitted_with.get(m) not in found)

    def table(self, cases: list[FusionCase], label: str) -> dict[str, Any]:
        raw = self.raw_clinical if any(case.raw_pathology or case.raw_radiology for case in cases) else None
        found = ablation(cases, self.classes, self.clinical, self.learned, self.stacking, raw, label)
        stale = self.stale(cases)
        if stale:
            found["label"] += f"; fixed weights for {', '.join(stale)}: the model is not the one fitted to"
        return found


def evaluate_fusion(
    data_root: Path, split: str, models_root: Path = MODELS_ROOT, *, phantom: bool = True, pairings: int = PAIRINGS
) -> Optional[dict[str, Any]]:
    """The task; None where ``data_root`` lacks nodules, tiles or clinical tables.

    Parameters
    ----------
    phantom : measure the phantom cohort too, which takes minutes
    pairings : so many other pairings of the independent cohort, to tell what the pairing itself does
    """
    parts = Parts.read(data_root, split, models_root)
    if parts is None:
        return None
    models = _Models(models_root)
    cohorts = {
        name: models.table(composed(parts, version, again=again), LABEL) for name, (version, again) in COHORTS.items()
    }
    if phantom:
        cohorts["phantom"] = models.table(phantom_cases(parts, data_root), PHANTOM)
    first = next(iter(cohorts))
    main = cohorts[first]["rows"][cohorts[first]["main"]]
    held: dict[str, Any] = {
        "n": cohorts[first]["accounting"]["cases"], **{name: main[name] for name in ("accuracy", "macro_f1", "auroc")},
        "label": LABEL, "strengths": {name: list(s) if s else None for name, s in STRENGTHS.items()},
        "cohorts": {name: {k: v for k, v in found.items() if k != "cases"} for name, found in cohorts.items()},
        "cases": cohorts[first]["cases"],
    }  # fmt: skip
    lines = [text(name, found) for name, found in cohorts.items()]
    if pairings:
        held["pairings"] = _pairings(parts, models, pairings)
        lines.append(_said_of_pairings(held["pairings"]))
    held["text"] = "\n".join(lines)
    return held


def _pairings(parts: Parts, models: _Models, count: int) -> dict[str, Any]:
    """The independent cohort paired anew: accuracy of the fusion and of the slide alone, and how often they differ."""
    fused, slide, sure = [], [], 0
    for seed in range(1, count + 1):
        cases = composed(parts, "clean", seed=seed)
        labels = np.array([models.classes.index(case.label) for case in cases])
        found = answers(cases, models.classes, models.clinical, models.learned, None)
        main = found.get(MAIN, found["CT + H&E + clinical, fixed weights"])
        right = [answer.probabilities.argmax(axis=1) == labels for answer in (main, found["H&E alone"])]
        fused.append(float(right[0].mean()))
        slide.append(float(right[1].mean()))
        sure += mcnemar(*right)[2] < 0.05 and fused[-1] > slide[-1]
    return {"count": count, "fused": _spread(fused), "slide": _spread(slide), "share_p_below_0.05": sure / count}


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return {"mean": float(np.mean(values)), "p5": float(low), "median": float(middle), "p95": float(high)}


def _said_of_pairings(found: dict[str, Any]) -> str:
    fused, slide = found["fused"], found["slide"]
    return (
        f"Paired anew {found['count']} times from the same parts (composed, clean): accuracy of the fusion "
        f"{fused['mean']:.3f} on average (5th to 95th percentile {fused['p5']:.3f} to {fused['p95']:.3f}), of H&E "
        f"alone {slide['mean']:.3f} ({slide['p5']:.3f} to {slide['p95']:.3f}); above it with p < 0.05 in "
        f"{found['share_p_below_0.05']:.0%} of the pairings.\n"
    )


def evaluate_paired(cases: Iterable[Any], models_root: Path = MODELS_ROOT, **how: Any) -> dict[str, Any]:
    """The ablation table of truly paired cases.

    Parameters
    ----------
    cases : cohorts.case.CohortCase
    how : radiology_of and pathology_of, as in fusion_cases.of_cohort()

    Raises
    ------
    ValueError : no case is of a class that is told apart.
    """
    found = _Models(models_root).table(list(of_cohort(cases, **how)), "")
    return {"n": found["accounting"]["cases"], **found, "text": text("paired cases", found)}
