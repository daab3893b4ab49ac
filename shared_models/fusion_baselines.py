"""Other ways to put the modalities together, to compare the pool with. Each takes the same evidence.

BASELINES         name -> function(evidence by modality) -> class to probability
alone()           what one modality says over all classes: its own where it tells them apart, the prior's elsewhere
unweighted_mean   the mean of what the modalities say alone
weighted_mean     the same by the fixed weights: decision-level fusion in the form that is most common
majority          each modality has one vote, for its likeliest class; ties by the mean
Stacking          logistic regression (scikit-learn) on the log ratios, fitted to the same cases as the weights

A missing modality is left out of the mean and has no vote; in the regression its log ratios are 0. None of them has an
indicator of what is missing, which in composed cases would give the label away; majority and the means still gain from
clinical fields that only cancers have, which the version "borrowed" of the cohort shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from .contract.fusion_result import MODALITIES
from .contract.values import CLASSES, Array
from .fusion import PRIOR, WEIGHTS
from .fusion_evidence import Evidence, pull, restricted
from .fusion_fit import Table, case_weights

Said = Mapping[str, Evidence]
PENALTY_INVERSES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def alone(evidence: Evidence, prior: Mapping[str, float] = PRIOR) -> dict[str, float]:
    """Class to probability over CLASSES, by the modality and the prior."""
    news = pull(evidence, dict.fromkeys(evidence.ratio, 1.0), prior)
    return restricted({c: prior[c] * math.exp(news[c]) for c in CLASSES}, CLASSES)


def _mean(said: Said, weights: Mapping[str, float]) -> dict[str, float]:
    if not said:
        return dict(PRIOR)
    rows = {name: alone(evidence) for name, evidence in said.items()}
    total = math.fsum(weights[name] for name in rows)
    return {c: math.fsum(weights[name] * row[c] for name, row in rows.items()) / total for c in CLASSES}


def unweighted_mean(said: Said) -> dict[str, float]:
    return _mean(said, dict.fromkeys(MODALITIES, 1.0))


def weighted_mean(said: Said) -> dict[str, float]:
    return _mean(said, WEIGHTS)


def majority(said: Said) -> dict[str, float]:
    """Share of the votes, and the mean as what breaks ties; as a probability it is coarse."""
    mean = unweighted_mean(said)
    rows = [alone(evidence) for evidence in said.values()]
    votes = {c: sum(max(row, key=row.__getitem__) == c for row in rows) for c in CLASSES}
    return restricted({c: votes[c] + 0.01 * mean[c] for c in CLASSES}, CLASSES)


BASELINES: dict[str, Callable[[Said], dict[str, float]]] = {
    "unweighted mean": unweighted_mean, "weighted mean, fixed weights": weighted_mean, "majority vote": majority,
}  # fmt: skip


def columns(table: Table) -> Array:
    """float64 (n, 4): CT malignancy, slide (two), clinical, as log ratios of two classes; 0 where missing."""
    ratio = {
        (m, a, b): table.ratios[:, MODALITIES.index(m), CLASSES.index(a)]
        - table.ratios[:, MODALITIES.index(m), CLASSES.index(b)]
        for m, a, b in (
            ("radiology", "adenocarcinoma", "normal"), ("pathology", "adenocarcinoma", "normal"),
            ("pathology", "squamous_cell", "adenocarcinoma"), ("clinical", "squamous_cell", "adenocarcinoma"),
        )
    }  # fmt: skip
    return np.stack(list(ratio.values()), axis=1)


@dataclass(frozen=True, eq=False)
class Stacking:
    """Multinomial logistic regression; ``coefficients`` (classes, 4), ``intercepts`` (classes,)."""

    classes: tuple[str, ...]
    coefficients: Array
    intercepts: Array

    @classmethod
    def fitted(cls, table: Table, folds: Array) -> Stacking:
        """Fitted to ``table``; the penalty by cross-validation over ``folds`` (n,)."""
        from sklearn.linear_model import LogisticRegression

        x, weights = columns(table), case_weights(table.labels, table.classes)

        def trained(rows: Array, inverse: float) -> Any:
            # The penalty does not shrink as the same parts are drawn again: it is per case.
            model = LogisticRegression(C=inverse / rows.sum() * 100, max_iter=2000)
            return model.fit(x[rows], table.labels[rows], sample_weight=weights[rows])

        def held_out(inverse: float) -> float:
            found = []
            for fold in np.unique(folds):
                p = trained(folds != fold, inverse).predict_proba(x[folds == fold])
                right = p[np.arange(len(p)), table.labels[folds == fold]]
                found.append(-(weights[folds == fold] * np.log(right)).mean())
            return float(np.mean(found))

        best = trained(np.ones(len(x), bool), min(PENALTY_INVERSES, key=held_out))
        return cls(table.classes, best.coef_, best.intercept_)

    @classmethod
    def of_numbers(cls, own: Mapping[str, Any]) -> Stacking:
        """From what models/model.json holds."""
        return cls(tuple(own["classes"]), np.array(own["coefficients"]), np.array(own["intercepts"]))

    def numbers(self) -> dict[str, Any]:
        """As models/model.json holds it."""
        return {
            "classes": list(self.classes), "coefficients": np.round(self.coefficients, 6).tolist(),
            "intercepts": np.round(self.intercepts, 6).tolist(),
        }  # fmt: skip

    def probabilities(self, table: Table) -> Array:
        """(n, classes)."""
        scores = columns(table) @ self.coefficients.T + self.intercepts
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        answer: Array = raised / raised.sum(axis=1, keepdims=True)
        return answer


def over(rows: Sequence[Mapping[str, float]], classes: Sequence[str]) -> Array:
    """(n, classes): probabilities given that it is one of ``classes``."""
    table = np.array([[row[c] for c in classes] for row in rows], dtype=float)
    answer: Array = table / table.sum(axis=1, keepdims=True)
    return answer
