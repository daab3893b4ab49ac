"""What Cases say, as numbers with intervals: the figures of the evidence page.

measured()      everything of one task: below, by key
plain()         the same as strict JSON: NaN and infinity become null

"measures"          name -> {"value", "ci95", "interval"}; accuracy, macro F1, AUROC ..., or Dice
"confusion"         counts (k, k): rows are the truth
"per_class"         one class against the rest: AUROC with two intervals, sensitivity, specificity, predictive values
"operating_points"  thresholds that were chosen on "tuning" cases, measured on these; so are
"conformal"         sets of a stated coverage, and
"abstention"        the least confidence to answer at
"calibration"       by class and of the winning class: errors, Brier's score and its parts, the bars of the diagram
"decision"          net benefit by class over threshold probabilities
"rivals"            baselines on the same cases
"subgroups"         the main measures again, by stratum
"exclusions"        reason -> how many

Intervals are BCa by bootstrap over whole groups (Efron 1987). Where every resample gives the same value (no error was
made) such an interval says nothing: of a share, Wilson's of the groups stands in its place, groups without an error of
all; of anything else there is none. A
calibration error has no interval; beside it stands what a perfectly calibrated model stays below.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Callable, Optional

import numpy as np

from . import abstention, conformal, decision_curve, operating_points
from .calibration import reliability
from .contract.values import Abstention, Array
from .evidence_cases import Cases
from .evidence_strata import in_order
from .statistics import (
    auroc,
    bca_ci,
    brier,
    brier_multi,
    brier_parts,
    delong_ci,
    ece,
    ece_by_chance,
    ece_debiased,
    macro_auroc,
    macro_f1,
    spiegelhalter,
    wilson_ci,
)

RESAMPLES = 2000
LEAST_IN_SUBGROUP = 5
TARGETS = (("sensitivity", 0.95), ("specificity", 0.95))
COVERAGES = (0.9, 0.95)
ANSWERED_ERROR = 0.02  # abstention: the stated share of wrong answers
_BINS = 10
_CURVE_POINTS = 200
THRESHOLDS = tuple(round(t / 100, 2) for t in range(1, 100))


def plain(value: Any) -> Any:
    """``value`` of dicts, lists, numpy and numbers as what JSON can say."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def measure(of: Callable[[Array], float], groups: Array) -> dict[str, Any]:
    """{"value", "ci95", "interval"} of a statistic of an index array."""
    low, high = bca_ci(of, groups, n=RESAMPLES)
    said = "BCa over groups"
    if low == high:
        low, high, said = math.nan, math.nan, "none: every resample gives the same"
    return {"value": float(of(np.arange(len(groups)))), "ci95": [low, high], "interval": said}


def share(right: Array, groups: Array) -> dict[str, Any]:
    """measure() of the mean of ``right``, bool (n,); Wilson's interval over groups where nothing varies."""
    found = measure(lambda i: float(right[i].mean()), groups)
    if math.isnan(found["ci95"][0]):
        _, place = np.unique(groups, return_inverse=True)
        clean = np.bincount(place, weights=~right) == 0
        found["ci95"] = list(wilson_ci(int(clean.sum()), len(clean)))
        found["interval"] = "Wilson over groups, groups without an error"
        found["ci95"][1] = max(found["ci95"][1], found["value"])
    return found


def measured(cases: Cases, tuning: Optional[Cases] = None) -> dict[str, Any]:
    """All figures of one task.

    Parameters
    ----------
    tuning : cases of another split that thresholds and conformal sets may be chosen on; None: there are none, and
        nothing that needs them is reported
    """
    found: dict[str, Any] = {
        "task": cases.task, "split": cases.split, "n": len(cases), "groups": len(set(cases.groups.tolist())),
        "counted": cases.counted(), "unit": cases.unit, "grouped_by": cases.grouped_by, "classes": cases.classes,
        "synthetic": cases.synthetic, "notes": cases.notes,
        "exclusions": dict(sorted(Counter(one.reason for one in cases.exclusions).items())),
    }  # fmt: skip
    if not cases.classes:
        return {**found, **_overlap(cases)}
    if tuning is not None and (tuning.classes != cases.classes or tuning.split == cases.split):
        tuning = None
    labels, p, groups = cases.labels, cases.probabilities, cases.groups
    found["measures"] = _answers(labels, p, groups)
    found["confusion"] = _confusion(cases)
    found["per_class"] = {name: _one_class(cases, c) for c, name in _positives(cases)}
    found["majority"] = float(np.bincount(labels).max() / len(labels))
    found["rivals"] = {name: _rival(cases, rival) for name, rival in cases.rivals.items()}
    found["calibration"] = _calibration(cases)
    found["decision"] = {
        name: decision_curve.net_benefit(labels == c, p[:, c], THRESHOLDS)._asdict()
        for c, name in _positives(cases)
    }  # fmt: skip
    found["risk_coverage"] = _risk(cases)
    if tuning is not None and len(tuning):
        found["tuned_on"] = {"split": tuning.split, "counted": tuning.counted()}
        found["operating_points"] = _operating_points(cases, tuning)
        found["conformal"] = _conformal(cases, tuning)
        found["abstention"] = _abstention(cases, tuning)
    found["subgroups"] = _subgroups(cases, _answers_in_part)
    return found


def _told_apart(cases: Cases, c: int) -> bool:
    return 0 < int((cases.labels == c).sum()) < len(cases)


def _positives(cases: Cases) -> list[tuple[int, str]]:
    """Classes worth a curve of their own: of two the second says it all."""
    names = list(enumerate(cases.classes))
    return [(c, name) for c, name in (names[1:] if len(names) == 2 else names) if _told_apart(cases, c)]


def _answers(labels: Array, p: Array, groups: Array) -> dict[str, Any]:
    guess, two = p.argmax(axis=1), p.shape[1] == 2
    found = {
        "accuracy": share(guess == labels, groups),
        "macro F1": measure(lambda i: macro_f1(labels[i], guess[i]), groups),
    }
    if len(set(labels.tolist())) > 1:
        area = (lambda i: auroc(labels[i] == 1, p[i, 1])) if two else (lambda i: macro_auroc(labels[i], p[i]))
        found["AUROC" if two else "macro AUROC"] = measure(area, groups)
    return found


def _answers_in_part(labels: Array, p: Array, groups: Array) -> dict[str, Any]:
    found = _answers(labels, p, groups)
    del found["macro F1"]  # over the classes of a part only
    return found


def _confusion(cases: Cases) -> Array:
    counts = np.zeros((len(cases.classes), len(cases.classes)), int)
    np.add.at(counts, (cases.labels, cases.guess), 1)
    return counts


def _one_class(cases: Cases, c: int) -> dict[str, Any]:
    truth, score, called = cases.labels == c, cases.probabilities[:, c], cases.guess == c
    area = measure(lambda i: auroc(truth[i], score[i]), cases.groups)
    return {
        "n": int(truth.sum()), "auroc": area, "auroc_delong_ci95": _unless_a_point(delong_ci(truth, score)),
        "sensitivity": share(called[truth], cases.groups[truth]),
        "specificity": share(~called[~truth], cases.groups[~truth]),
        "ppv": share(truth[called], cases.groups[called]) if called.any() else None,
        "npv": share(~truth[~called], cases.groups[~called]) if not called.all() else None,
    }  # fmt: skip


def _unless_a_point(limits: tuple[float, float]) -> list[float]:
    return list(limits) if limits[0] < limits[1] else [math.nan, math.nan]


def _rival(cases: Cases, rival: Array) -> dict[str, Any]:
    if rival.ndim == 2:
        return _answers(cases.labels, rival, cases.groups)
    return {"AUROC": measure(lambda i: auroc(cases.labels[i] == 1, rival[i]), cases.groups)}


def _calibration(cases: Cases) -> dict[str, Any]:
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
        **{name: one(labels == c, p[:, c]) for c, name in _positives(cases)},
    }  # fmt: skip


def _of_perfect(confidence: Array) -> float:
    """What 95 % of perfectly calibrated models of this confidence stay below on so many independent cases.

    Source: consistency resampling, Broecker and Smith 2007, doi 10.1175/WAF993.1. A bootstrap of a calibration error
    is no interval of it: every resample has the error of the cases and that of the resampling.
    """
    rng = np.random.default_rng(0)
    drawn = rng.random((RESAMPLES // 2, len(confidence))) < confidence
    return float(np.quantile([ece_debiased(y, confidence) for y in drawn], 0.95))


def _risk(cases: Cases) -> dict[str, Any]:
    right, sure = cases.guess == cases.labels, cases.probabilities.max(axis=1)
    curve = abstention.risk_coverage(right, sure)
    kept = np.unique(np.linspace(0, len(curve.coverage) - 1, _CURVE_POINTS).astype(int))
    area = measure(lambda i: abstention.area_under_risk(right[i], sure[i]), cases.groups)
    return {"coverage": curve.coverage[kept], "risk": curve.risk[kept], "area": area}


def _operating_points(cases: Cases, tuning: Cases) -> list[dict[str, Any]]:
    points = []
    for c, name in _positives(cases):
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


def _conformal(cases: Cases, tuning: Cases) -> list[dict[str, Any]]:
    found = []
    for coverage in COVERAGES:
        sets = conformal.fit(tuning.probabilities, tuning.labels, coverage, tuning.groups)
        inside = sets.of(cases.probabilities)
        held = inside[np.arange(len(cases)), cases.labels]
        did = conformal.measured(inside, cases.labels, cases.groups)
        found.append({"stated": coverage, **did, "coverage": share(held, cases.groups)})
    return found


def _abstention(cases: Cases, tuning: Cases) -> dict[str, Any]:
    chosen = abstention.confidence_for_error(
        tuning.guess == tuning.labels, tuning.probabilities.max(axis=1), ANSWERED_ERROR
    )  # fmt: skip
    if isinstance(chosen, Abstention):
        return {"error": ANSWERED_ERROR, "none": f"{chosen.reason} {chosen.what_would_help}"}
    covered, risk = abstention.answered(
        cases.guess == cases.labels, cases.probabilities.max(axis=1), chosen.confidence
    )  # fmt: skip
    return {"error": ANSWERED_ERROR, "confidence": chosen.confidence, "coverage": covered, "risk": risk}


def _overlap(cases: Cases) -> dict[str, Any]:
    (name, dice), *_ = cases.values.items()
    rivals = {
        said: {f"mean {name}": measure(lambda i, r=rival: float(r[i].mean()), cases.groups)}
        for said, rival in cases.rivals.items()
    }
    return {
        "measures": _dice(name, dice, cases.groups), "rivals": rivals,
        "subgroups": _subgroups(cases, lambda _, __, groups, kept: {
            f"mean {name}": measure(lambda i: float(dice[kept][i].mean()), groups)
        }),
    }  # fmt: skip


def _dice(name: str, dice: Array, groups: Array) -> dict[str, Any]:
    return {
        f"mean {name}": measure(lambda i: float(dice[i].mean()), groups),
        f"median {name}": measure(lambda i: float(np.median(dice[i])), groups),
        "found, overlap above 0": share(dice > 0, groups),
        f"{name} at least 0.7": share(dice >= 0.7, groups),
    }


def _subgroups(cases: Cases, of: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """by -> stratum -> figures; strata of fewer than LEAST_IN_SUBGROUP cases have counts only."""
    found: dict[str, Any] = {}
    for by, column in cases.strata.items():
        for name in in_order(column):
            kept = column == name
            entry: dict[str, Any] = {"n": int(kept.sum()), "groups": len(set(cases.groups[kept].tolist()))}
            if cases.classes:
                entry["counts"] = np.bincount(cases.labels[kept], minlength=len(cases.classes))
            if kept.sum() >= LEAST_IN_SUBGROUP:
                given = (cases.labels[kept], cases.probabilities[kept], cases.groups[kept]) if cases.classes else (
                    None, None, cases.groups[kept], kept)  # fmt: skip
                entry["measures"] = of(*given)
            found.setdefault(by, {})[name] = entry
    return found
