"""Is the model better than its baselines? Every paired test of the page, corrected together.

tests_of()    of one task, not yet corrected
corrected()   all of them, with Holm's p

Of each baseline: the difference with its BCa interval over groups; accuracy by McNemar's exact test, AUROC of two
classes by DeLong's, Dice by permutation. McNemar's and DeLong's tests count cases as independent; so beside McNemar's
stands a permutation over whole groups (patients, source fields), which does not. A baseline that is a score only needs
a threshold to be right or wrong: Youden's on the tuning cases, and without those it is compared by AUROC alone.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from .contract.values import Array
from .evidence_cases import Cases
from .evidence_intervals import measure
from .paired_tests import holm, mcnemar, sign_flip
from .statistics import auroc, delong, macro_auroc

MOST_BY_CLASS = 6  # baselines; where there are more, every test more would cost the others their power


def tests_of(cases: Cases, tuning: Optional[Cases] = None) -> list[dict[str, Any]]:
    """Of each baseline: {"task", "rival", "measure", "test", "difference", "ci95", "p", "n", "groups", "detail"}."""
    found = []
    for name, rival in cases.rivals.items():
        if not cases.classes:
            found += _overlap(cases, name, rival)
            continue
        right = cases.guess == cases.labels
        other = _right(cases, name, rival, tuning)
        if other is not None:
            found += _accuracy(cases, name, right, other)
        found += _areas(cases, name, rival)
    return found


def corrected(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With "p_holm", over all tests that have a p."""
    known = [test for test in tests if test["p"] == test["p"] and test["p"] is not None]
    by_test = dict(zip(map(id, known), holm([test["p"] for test in known])))
    return [{**test, "p_holm": by_test.get(id(test), float("nan"))} for test in tests]


def _entry(
    cases: Cases, rival: str, what: str, test: str, found: dict[str, Any], p: float, detail: str = ""
) -> dict[str, Any]:  # fmt: skip
    return {
        "task": cases.task, "rival": rival, "measure": what, "test": test, "difference": found["value"],
        "ci95": found["ci95"], "p": p, "n": len(cases), "groups": len(set(cases.groups.tolist())), "detail": detail,
    }  # fmt: skip


def youden(y: Array, score: Array) -> float:
    """The threshold of the largest sensitivity + specificity; the highest of equals.

    Source: Youden 1950, doi 10.1002/1097-0142(1950)3:1<32::aid-cncr2820030106>3.0.co;2-3.
    """
    at = np.unique(score)[::-1]
    called = score[None] >= at[:, None]
    gain = called[:, y].mean(axis=1) - called[:, ~y].mean(axis=1)
    return float(at[int(np.round(gain, 12).argmax())])


def _right(cases: Cases, name: str, rival: Array, tuning: Optional[Cases]) -> Optional[Array]:
    """Which cases the baseline gets right; None where it has no threshold."""
    if rival.ndim == 2:
        return np.asarray(rival.argmax(axis=1) == cases.labels)
    known = None if tuning is None else tuning.rivals.get(name)
    if known is None or tuning is None or len(set(tuning.labels.tolist())) < 2:
        return None
    return np.asarray((rival >= youden(tuning.labels == 1, known)) == (cases.labels == 1))


def _accuracy(cases: Cases, name: str, right: Array, other: Array) -> list[dict[str, Any]]:
    gain = right.astype(float) - other
    found = measure(lambda i: float(gain[i].mean()), cases.groups)
    only, others, p = mcnemar(right, other)
    told = f"{only} / {others}"
    return [
        _entry(cases, name, "accuracy", "McNemar, exact", found, p, told),
        _entry(cases, name, "accuracy", "permutation over groups", found, sign_flip(gain, cases.groups)),
    ]


def _areas(cases: Cases, name: str, rival: Array) -> list[dict[str, Any]]:
    labels, p = cases.labels, cases.probabilities
    if len(set(labels.tolist())) < 2:
        return []
    if len(cases.classes) == 2:
        y, own, theirs = labels == 1, p[:, 1], rival if rival.ndim == 1 else rival[:, 1]
        found = measure(lambda i: auroc(y[i], own[i]) - auroc(y[i], theirs[i]), cases.groups)
        return [_entry(cases, name, "AUROC", "DeLong", found, delong(y, own, theirs)[1])]
    if rival.ndim == 1:
        return []
    found = measure(lambda i: macro_auroc(labels[i], p[i]) - macro_auroc(labels[i], rival[i]), cases.groups)
    areas = [_entry(cases, name, "macro AUROC", "interval only", found, float("nan"))]
    if len(cases.rivals) > MOST_BY_CLASS:
        return areas
    for c, one in enumerate(cases.classes):
        y = labels == c
        if 1 < y.sum() < len(y) - 1:
            found = measure(lambda i, c=c, y=y: auroc(y[i], p[i, c]) - auroc(y[i], rival[i, c]), cases.groups)
            areas.append(_entry(cases, name, f"AUROC, {one}", "DeLong", found, delong(y, p[:, c], rival[:, c])[1]))
    return areas


def _overlap(cases: Cases, name: str, rival: Array) -> list[dict[str, Any]]:
    (what, own), *_ = cases.values.items()
    gain = own - rival
    found = measure(lambda i: float(gain[i].mean()), cases.groups)
    return [_entry(cases, name, f"mean {what}", "permutation over groups", found, sign_flip(gain, cases.groups))]
