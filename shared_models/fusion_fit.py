"""Fit the weights of the fusion to cases with a known class: penalised maximum likelihood, weights from 0 to 1.

Table          cases as arrays: log ratios, what is spoken of, measures of reliability, labels; of_cases()
log_odds()     the pool of fusion.py for all cases at once
fitted()       weights and exponents for one strength of the penalty
chosen()       the penalty, by cross-validation over folds

The penalty is penalty / 2 x the squared distance of the weights to the fixed ones, and of the exponents to where they
start (1 for the typicality, 0 for the others), on top of the mean negative log likelihood, the cases weighted so that
the classes have the shares of the prior. A modality that does not tell two classes apart has one weight for both: the
CT's malignancy one for all cancers, one for normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from .contract.fusion_result import MODALITIES
from .contract.values import CLASSES, Abstention, Array
from .fusion import PRIOR, WEIGHTS
from .fusion_cases import FusionCase
from .fusion_evidence import CANCERS, Evidence, confidence, measures_of, of_classes, of_ct
from .fusion_weights import MEASURES

# Modality to the classes that share a weight.
TIED: dict[str, tuple[tuple[str, ...], ...]] = {
    "radiology": (CANCERS, ("normal",)),
    "pathology": (("adenocarcinoma",), ("squamous_cell",), ("normal",)),
    "clinical": (("adenocarcinoma",), ("squamous_cell",)),
}
# Measures whose exponents are fitted; one that does not vary in the cases keeps where it starts.
FITTED_MEASURES = {
    "radiology": ("typicality", "confidence"), "pathology": ("quality", "typicality", "confidence"),
    "clinical": ("confidence",),
}  # fmt: skip
_START = {"quality": 0.0, "typicality": 1.0, "confidence": 0.0}
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # rising
# No weight above 1: a calibrated modality would count for more than it knows, and could overrule another by that.
BOUNDS = (0.0, 1.0)
_LEAST = 1e-3  # no measure is taken as smaller, so that its log is finite


@dataclass(frozen=True, eq=False)
class Table:
    """n cases; the last axis of ``ratios`` and ``spoken`` is that of CLASSES, modalities in the order of MODALITIES.

    Parameters
    ----------
    ratios : float64 (n, 3, 5), log of probability over case mix, 0 where not spoken of
    spoken : bool (n, 3, 5)
    measures : float64 (n, 3, 3), logs of MEASURES
    labels : (n,) index in ``classes``
    classes : those that the cases are told apart by
    """

    ratios: Array
    spoken: Array
    measures: Array
    labels: Array
    classes: tuple[str, ...]

    def part(self, rows: Array) -> Table:
        """Some of the cases."""
        return Table(self.ratios[rows], self.spoken[rows], self.measures[rows], self.labels[rows], self.classes)


def evidence_of(
    case: FusionCase, clinical_model: Any, prevalence: float, prior: Mapping[str, float] = PRIOR
) -> dict[str, Evidence]:
    """What each modality of a case says; without those that are missing or abstain. Parameters as in fusion.fuse()."""
    found: dict[str, Optional[Evidence]] = {}
    if case.radiology is not None and case.radiology.abstention is None:
        found["radiology"] = of_ct(case.radiology, prior, prevalence)
    if case.pathology is not None and case.pathology.abstention is None:
        found["pathology"] = of_classes(case.pathology.probabilities, prior, case.pathology.provenance)
    if case.clinical is not None:
        answer = clinical_model.probabilities(case.clinical)
        if not isinstance(answer, Abstention):
            found["clinical"] = of_classes(answer, clinical_model.prior, (clinical_model.provenance,))
    return {name: evidence for name, evidence in found.items() if evidence is not None}


def of_cases(cases: Sequence[FusionCase], clinical_model: Any, prevalence: float, classes: tuple[str, ...]) -> Table:
    """The cases as arrays; ``classes`` are told apart, and every label is one of them."""
    shape = (len(cases), len(MODALITIES), len(CLASSES))
    ratios, spoken = np.zeros(shape), np.zeros(shape, bool)
    measures = np.zeros((len(cases), len(MODALITIES), len(MEASURES)))
    for row, case in enumerate(cases):
        for name, evidence in evidence_of(case, clinical_model, prevalence).items():
            place = MODALITIES.index(name)
            for c, ratio in evidence.ratio.items():
                ratios[row, place, CLASSES.index(c)] = math.log(ratio)
                spoken[row, place, CLASSES.index(c)] = True
            said = measures_of(getattr(case, name)) if name != "clinical" else {}
            for measure, value in {**said, "confidence": confidence(evidence.says)}.items():
                measures[row, place, MEASURES.index(measure)] = math.log(max(value, _LEAST))
    return Table(ratios, spoken, measures, np.array([classes.index(case.label) for case in cases]), classes)


def _unpacked(numbers: Array) -> tuple[Array, Array]:
    """Weights (3, 5), exponents (3, 3)."""
    weights, exponents = np.zeros((len(MODALITIES), len(CLASSES))), np.zeros((len(MODALITIES), len(MEASURES)))
    place = 0
    for m, name in enumerate(MODALITIES):
        for tied in TIED[name]:
            weights[m, [CLASSES.index(c) for c in tied]] = numbers[place]
            place += 1
        for measure in FITTED_MEASURES[name]:
            exponents[m, MEASURES.index(measure)] = numbers[place]
            place += 1
    return weights, exponents


def fixed() -> Array:
    """The fixed weights, with the exponents where they start."""
    numbers: list[float] = []
    for name in MODALITIES:
        numbers += [WEIGHTS[name]] * len(TIED[name]) + [_START[r] for r in FITTED_MEASURES[name]]
    return np.array(numbers)


def log_odds(table: Table, numbers: Array) -> Array:
    """Log probability (n, classes) of the pool over PRIOR, given that it is one of ``table.classes``."""
    weights, exponents = _unpacked(numbers)
    share = np.exp(np.einsum("nmr,mr->nm", table.measures, exponents))
    pulls = weights[None] * share[:, :, None] * table.ratios
    prior = np.array([PRIOR[c] for c in CLASSES])
    mass = np.where(table.spoken, prior, 0.0)
    total = mass.sum(axis=2)
    mean = np.where(total > 0, (mass * np.exp(pulls)).sum(axis=2) / np.where(total > 0, total, 1.0), 1.0)
    pulls = np.where(table.spoken, pulls - np.log(mean)[:, :, None], 0.0)
    scores = (np.log(prior) + pulls.sum(axis=1))[:, [CLASSES.index(c) for c in table.classes]]
    top = scores.max(axis=1, keepdims=True)
    answer: Array = scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))
    return answer


def case_weights(labels: Array, classes: Sequence[str]) -> Array:
    """(n,) with mean 1, so that the classes have the shares of PRIOR among those that occur."""
    counts = np.bincount(labels, minlength=len(classes)).astype(float)
    wanted = np.array([PRIOR[c] for c in classes]) * (counts > 0)
    per_class = wanted / wanted.sum() * len(labels) / np.where(counts > 0, counts, 1.0)
    answer: Array = per_class[labels]
    return answer


def loss(table: Table, numbers: Array) -> float:
    """Mean negative log likelihood, the classes weighted as in the prior."""
    likelihood = log_odds(table, numbers)[np.arange(len(table.labels)), table.labels]
    return float(-(case_weights(table.labels, table.classes) * likelihood).mean())


def fitted(table: Table, penalty: float) -> Array:
    """The numbers, weights and exponents, that minimise loss() plus the penalty; within BOUNDS."""
    from scipy.optimize import minimize

    start = fixed()

    def objective(numbers: Array) -> float:
        return loss(table, numbers) + penalty / 2 * float(((numbers - start) ** 2).sum())

    found = minimize(objective, np.clip(start, 1e-3, 1 - 1e-3), method="L-BFGS-B", bounds=[BOUNDS] * len(start))
    answer: Array = found.x
    return answer


def chosen(table: Table, folds: Array) -> tuple[float, dict[float, float]]:
    """The penalty, and for each penalty the loss on cases that were left out.

    Of the penalties whose loss is above the least by no more than one standard error of the difference over the folds,
    the largest is chosen: with so few patients the least loss is often that of the least penalty by chance.

    Parameters
    ----------
    folds : (n,), the fold of each case; no part of a case may be in another fold

    Source: the one-standard-error rule, Breiman et al. 1984; here of paired differences.
    """
    held = {
        penalty: np.array([
            loss(table.part(folds == fold), fitted(table.part(folds != fold), penalty)) for fold in np.unique(folds)
        ])
        for penalty in PENALTIES
    }  # fmt: skip
    losses = {penalty: float(each.mean()) for penalty, each in held.items()}
    least = held[min(losses, key=losses.__getitem__)]

    def close(each: Array) -> bool:
        excess = each - least
        return bool(excess.mean() <= excess.std(ddof=1) / math.sqrt(len(excess)))

    return max(penalty for penalty, each in held.items() if close(each)), losses


def named(numbers: Array) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Modality to class to weight, and modality to measure to exponent: as models/model.json holds them."""
    weights, exponents = _unpacked(numbers)
    classes = {name: [c for tied in TIED[name] for c in tied] for name in MODALITIES}
    by_class = {
        name: {c: round(float(weights[m, CLASSES.index(c)]), 6) for c in classes[name]}
        for m, name in enumerate(MODALITIES)
    }
    by_measure = {
        name: {r: round(float(exponents[m, MEASURES.index(r)]), 6) for r in FITTED_MEASURES[name]}
        for m, name in enumerate(MODALITIES)
    }
    return by_class, by_measure
