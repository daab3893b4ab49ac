"""Whether probabilities mean what they say, and what comes of acting on them: parts of evidence_measures.measured().

calibration_of()        by class and of the winning class: errors, Brier's score and its parts, the bars of the diagram
risk_of()               what is wrong among the surest answers
operating_points_of()   thresholds chosen on other cases; likewise
conformal_of()          sets of a stated coverage, and
abstentions_of()        the least confidence to answer at
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import abstention, conformal, evidence_intervals, operating_points
from .calibration import reliability
from .contract.values import Abstention, Array
from .evidence_cases import Cases
from .evidence_intervals import measure, positives, share
from .statistics import brier, brier_multi, brier_parts, ece, ece_by_chance, ece_debiased, spiegelhalter

TARGETS = (("sensitivity", 0.95), ("specificity", 0.95))
COVERAGES = (0.9, 0.95)
ABSTENTIONS = ((0.02, 0.95), (0.05, 0.95), (0.05, None))  # stated share of wrong answers, and how sure that is to hold
_BINS = 10
_CURVE_POINTS = 200


def calibration_of(cases: Cases) -> dict[str, Any]:
    labels, p = cases.labels, cases.probabilities
    sure, right = p.max(axis=1), cases.guess == labels

    def one(y: Array, confidence: Array) -> dict[str, Any]:
        parts = dict(zip(("reliability", "resolution", "uncertainty"), brier_parts(y, confidence, _BINS)))
        return {
            "ece_debiased": {"value": ece_debiased(y, confidence), "ci95": [0.0, _of_perfect(confidence)],
                             "interval": "of a perfectly calibrated model on these cases"},
            "brier": measure(lambda i: brier(y[i], confidence[i]), cases.groups), "brier_parts": parts,
            "spiegelhalter_p": spiegelhalter(y, confidence)[1],
            "bins": [vars(b) for b in reliability(y, confidence, _BINS)],
        }  # fmt: skip

    return {
        "winning class": {
            **one(right, sure), "brier_all_classes": brier_multi(labels, p), "ece_equal_width": float(ece(labels, p)),
            "ece_equal_width_by_chance": dict(zip(("mean", "low", "high"), ece_by_chance(p))),
        },
        **{name: one(labels == c, p[:, c]) for c, name in positives(cases)},
    }  # fmt: skip


def _of_perfect(confidence: Array) -> float:
    """What 95 % of perfectly calibrated models of this confidence stay below on so many independent cases.

    Source: consistency resampling, Broecker and Smith 2007, doi 10.1175/WAF993.1. A bootstrap of a calibration error
    is no interval of it: every resample has the error of the cases and that of the resampling.
    """
    rng = np.random.default_rng(0)
    drawn = rng.random((evidence_intervals.RESAMPLES // 2, len(confidence))) < confidence
    return float(np.quantile([ece_debiased(y, confidence) for y in drawn], 0.95))


def risk_of(cases: Cases) -> dict[str, Any]:
    right, sure = cases.guess == cases.labels, cases.probabilities.max(axis=1)
    curve = abstention.risk_coverage(right, sure)
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, _CURVE_POINTS).astype(int))
    area = measure(lambda i: abstention.area_under_risk(right[i], sure[i]), cases.groups)
    return {"coverage": curve.coverage[kept], "risk": curve.risk[kept], "area": area}


def operating_points_of(cases: Cases, tuning: Cases) -> list[dict[str, Any]]:
    points = []
    for c, name in positives(cases):
        truth, score = cases.labels == c, cases.probabilities[:, c]
        known = tuning.labels == c
        if not 0 < known.sum() < len(known):
            continue
        for kind, target in TARGETS:
            chosen = getattr(operating_points, f"at_{kind}")(known, tuning.probabilities[:, c], target)
            called = score >= chosen.threshold
            point = operating_points.at_threshold(truth, score, chosen.threshold)
            points.append({
                "class": name, "chosen_for": f"{kind} {target:g}", "threshold": chosen.threshold,
                "sensitivity": share(called[truth], cases.groups[truth]),
                "specificity": share(~called[~truth], cases.groups[~truth]),
                "ppv": point.ppv, "npv": point.npv,
            })  # fmt: skip
    return points


def conformal_of(cases: Cases, tuning: Cases) -> list[dict[str, Any]]:
    found = []
    for coverage, by_class in ((c, each) for c in COVERAGES for each in (False, True)):
        sets = conformal.fit(tuning.probabilities, tuning.labels, coverage, tuning.groups, by_class=by_class)
        inside = sets.of(cases.probabilities)
        held = inside[np.arange(len(cases)), cases.labels]
        did = conformal.measured(inside, cases.labels, cases.groups)
        promised = "each class" if by_class else "all cases"
        found.append({"stated": coverage, "promised_for": promised, **did, "coverage": share(held, cases.groups)})
    return found


def abstentions_of(cases: Cases, tuning: Cases) -> list[dict[str, Any]]:
    """With a bound that holds for new cases, and without one: only what the tuning cases themselves showed."""
    right, sure = cases.guess == cases.labels, cases.probabilities.max(axis=1)
    known = tuning.guess == tuning.labels, tuning.probabilities.max(axis=1)
    found = []
    for error, held in ABSTENTIONS:
        chosen = abstention.confidence_for_error(*known, error, held, tuning.groups)
        entry: dict[str, Any] = {"error": error, "sure": held}
        if isinstance(chosen, Abstention):
            entry["none"] = chosen.reason
        else:
            covered, risk = abstention.answered(right, sure, chosen.confidence)
            entry.update(confidence=chosen.confidence, coverage=covered, risk=risk)
        found.append(entry)
    return found
