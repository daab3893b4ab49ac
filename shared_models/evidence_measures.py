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

from . import decision_curve
from .contract.values import Array
from .evidence_cases import Cases
from .evidence_decisions import abstentions_of, calibration_of, conformal_of, operating_points_of, risk_of
from .evidence_intervals import measure, positives, share
from .evidence_strata import in_order
from .statistics import auroc, delong_ci, macro_auroc, macro_f1

LEAST_IN_SUBGROUP = 5
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
    found["per_class"] = {name: _one_class(cases, c) for c, name in positives(cases)}
    found["majority"] = float(np.bincount(labels).max() / len(labels))
    found["rivals"] = {name: _rival(cases, rival) for name, rival in cases.rivals.items()}
    found["calibration"] = calibration_of(cases)
    found["decision"] = {
        name: decision_curve.net_benefit(labels == c, p[:, c], THRESHOLDS)._asdict()
        for c, name in positives(cases)
    }  # fmt: skip
    found["risk_coverage"] = risk_of(cases)
    if tuning is not None and len(tuning):
        found["tuned_on"] = {"split": tuning.split, "counted": tuning.counted()}
        found["operating_points"] = operating_points_of(cases, tuning)
        found["conformal"] = conformal_of(cases, tuning)
        found["abstention"] = abstentions_of(cases, tuning)
    found["subgroups"] = _subgroups(cases, _answers_in_part)
    return found


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
