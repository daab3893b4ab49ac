"""Weights of the fusion that were learned: per modality and class, less where a modality is less reliable.

FusionWeights   the bundle lung_fusion, made by `python -m shared_models.train_fusion`
shipped()       the one beside the models that ship; None where there is none
MEASURES        what tells how reliable a modality is in a case

The weight of class c in a case is w(m, c) x product over the measures r of r ** exponent(m, r). A measure is a number
from 0 to 1, 1 being as in training; one that was not taken counts as 1. An exponent that was not fitted is 1 for the
typicality and 0, no effect, for the others: choices.

Weights were fitted to what certain models say. A modality whose result is another model's, or names other classes, is
not one of them: for it of() answers None, and the fusion falls back to its fixed weight.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from .code_version import code_version
from .contract.errors import ModelUnavailable
from .contract.fusion_result import MODALITIES
from .contract.provenance import Provenance
from .contract.values import CLASSES
from .fusion_evidence import Evidence
from .model_bundle import MODELS_ROOT, Bundle

BUNDLE, WEIGHTS = "lung_fusion", "models/model.json"
# How sharp and clean the picture is; how like the training data; how sure the calibrated answer is.
MEASURES = ("quality", "typicality", "confidence")
_UNFITTED = {"quality": 0.0, "typicality": 1.0, "confidence": 0.0}


@dataclass(frozen=True)
class Conformal:
    """Sets of classes that hold the true one in ``coverage`` of the cases that are like those it was calibrated on.

    ``threshold``: a class is in the set where its probability, given that it is one of ``classes``, is at least this.
    """

    coverage: float
    threshold: float
    classes: tuple[str, ...]
    n: int

    def of(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """The set, likeliest first and never empty; () where other classes were assessed than those calibrated on."""
        if set(probabilities) != set(self.classes):
            return ()
        total = math.fsum(probabilities.values())
        ordered = sorted(self.classes, key=lambda name: -probabilities[name])
        kept = tuple(name for name in ordered if probabilities[name] >= self.threshold * total)
        return kept or tuple(ordered[:1])


@dataclass(frozen=True)
class FusionWeights:
    """Learned weights; made by load().

    Attributes
    ----------
    weights : modality to class to weight, 0 or more
    exponents : modality to measure to exponent, 0 or more
    fitted_with : modality to the sha256 of the weights of the model that it was fitted to
    told_apart : modality to what that model tells apart: classes, or "cancer" and "normal"
    malignancy_prevalence : share of malignant nodules that the CT's probabilities assume, by the model's own numbers
    conformal : None where no sets were calibrated
    provenance : what results say of it
    """

    weights: Mapping[str, Mapping[str, float]]
    exponents: Mapping[str, Mapping[str, float]]
    fitted_with: Mapping[str, str]
    told_apart: Mapping[str, frozenset[str]]
    malignancy_prevalence: float
    conformal: Optional[Conformal]
    provenance: Provenance

    @classmethod
    def load(cls, models_root: Path = MODELS_ROOT) -> FusionWeights:
        """The bundle under ``models_root``.

        Raises
        ------
        ModelUnavailable : it is missing, changed, or of another version of this code.
        """
        bundle = Bundle.load(models_root / BUNDLE)
        try:
            own = json.loads(bundle.path(WEIGHTS).read_text())
            return cls.of_numbers(own, bundle.provenance("cpu", code_version()))
        except (ValueError, KeyError, TypeError) as fault:
            raise ModelUnavailable("The fusion's weights cannot be read.", "Install the models again.") from fault

    @classmethod
    def of_numbers(cls, own: Mapping[str, Any], provenance: Provenance) -> FusionWeights:
        """From what models/model.json holds; ValueError where a weight is negative or a name is unknown."""
        weights = {m: {c: float(w) for c, w in row.items()} for m, row in own["weights"].items()}
        exponents = {m: {r: float(e) for r, e in row.items()} for m, row in own["reliability"].items()}
        numbers = [v for table in (weights, exponents) for row in table.values() for v in row.values()]
        known = set(weights) | set(exponents) <= set(MODALITIES)
        known = known and all(set(row) <= set(CLASSES) for row in weights.values())
        known = known and all(set(row) <= set(MEASURES) for row in exponents.values())
        if not known or not all(math.isfinite(v) and v >= 0 for v in numbers):
            raise ValueError("not weights")
        held = own.get("conformal")
        conformal = None
        if held is not None:
            coverage, threshold = float(held["coverage"]), float(held["threshold"])
            if not (0 < coverage < 1 and 0 <= threshold <= 1 and set(held["classes"]) <= set(CLASSES)):
                raise ValueError("not a threshold")
            conformal = Conformal(coverage, threshold, tuple(held["classes"]), int(held["n"]))
        fitted_with = {m: str(v) for m, v in own["fitted_with"].items()}
        told_apart = {m: frozenset(v) for m, v in own["told_apart"].items()}
        prevalence = float(own["malignancy_prevalence"])
        if not 0 < prevalence < 1:
            raise ValueError("not a prevalence")
        return cls(weights, exponents, fitted_with, told_apart, prevalence, conformal, provenance)

    def of(
        self, modality: str, evidence: Evidence, measures: Mapping[str, float]
    ) -> Optional[tuple[dict[str, float], float]]:
        """(class to weight, share that the case's reliability leaves of it) over what ``evidence`` speaks of.

        None where nothing was learned for such evidence.

        Parameters
        ----------
        measures : of MEASURES to 0 to 1
        """
        table = self.weights.get(modality)
        made_by = {p.weights_sha256 for p in evidence.provenance}
        known = table is not None and self.fitted_with.get(modality) in made_by
        if table is None or not known or self.told_apart.get(modality) != frozenset(evidence.says):
            return None
        powers = self.exponents.get(modality, {})
        share = math.prod(measures.get(name, 1.0) ** powers.get(name, _UNFITTED[name]) for name in MEASURES)
        return {name: table[name] * share for name in evidence.ratio}, share


def prevalence_of(learned: Optional[FusionWeights], made_by: Iterable[Provenance], otherwise: float) -> float:
    """Of the malignancy model that ``learned`` was fitted to, where it is among ``made_by``; else ``otherwise``."""
    if learned is None or learned.fitted_with.get("radiology") not in {p.weights_sha256 for p in made_by}:
        return otherwise
    return learned.malignancy_prevalence


@lru_cache(maxsize=1)
def shipped() -> Optional[FusionWeights]:
    """The weights beside the models that ship; None where there are none.

    Raises
    ------
    ModelUnavailable : they are there, and broken.
    """
    return learned_in(MODELS_ROOT)


def learned_in(models_root: Path) -> Optional[FusionWeights]:
    """The weights under ``models_root``; None where that folder holds no such bundle.

    Raises
    ------
    ModelUnavailable : they are there, and broken.
    """
    return FusionWeights.load(models_root) if (models_root / BUNDLE).is_dir() else None
