"""The task "xai" of ``lungxai evaluate``: every explanation method by every measure, on every model, beside the floors.

COUNTS          how many cases of each subject, unless --cases says otherwise
measures_of()   one subject: measures with intervals, paired tests, sanity checks
evaluate_xai()  all of them

Intervals are by bootstrap over groups: patients, source fields of tiles, nodules of phantoms. Tests are paired, by
permutation over groups: each method against Grad-CAM and against both floors; Holm's correction is over all tests of
one measure on one subject, 17, so with fewer than ten groups nothing can be proven. Thresholds of iou_fixed are chosen
on real validation nodules, one for each method; best thresholds look at the mask and are optimistic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.values import Array
from .faithfulness import FLOORS, MEASURES, Case, floors, measured
from .localisation import fixed_threshold
from .paired_tests import holm, mean_intervals, sign_flip
from .sanity_checks import checked

COUNTS = {"tiles": 16, "nodules": 20, "validation": 12, "phantom": 12}
SANITY_CASES = 3
REFERENCE = "gradcam"
LEVEL = 0.05
Maps = Callable[[Any, Any, Case], Mapping[str, Array]]
_SAID = ("whole", "erased_blur", "erased_mean")  # of a case, not of a map


def measures_of(subject: Any, maps: Maps, seed: int, quick: Optional[Maps] = None) -> dict[str, Any]:
    """One Subject's figures, as JSON.

    Parameters
    ----------
    subject : of xai_subjects
    maps : subject, network and case -> method -> float (rows, columns); one method is REFERENCE
    quick : the same for the sanity checks, which ask for many; None: ``maps``

    Returns
    -------
    "measures": method -> measure -> {"value", "ci95"}; "tests": measure -> method -> reference -> Holm's p;
    "best": measure -> the best method, and whether it beats Grad-CAM and each floor; "sanity": method -> Verdict
    """

    def maps_of(case: Case, lot: int) -> dict[str, Array]:
        return {**maps(subject, subject.network, case), **floors(case.picture.shape[1:], lot)}

    kept = [maps_of(case, seed + n) for n, case in enumerate(subject.validation)]
    thresholds = {
        method: fixed_threshold([m[method] for m in kept], [case.mask for case in subject.validation])
        for method in (kept[0] if kept else ())
    }
    rows = [
        measured(case, maps_of(case, seed + 1000 + n), thresholds, seed + n) for n, case in enumerate(subject.cases)
    ]  # fmt: skip
    groups = np.array([case.group for case in subject.cases])
    values = {
        method: {measure: np.array([row[method][measure] for row in rows]) for measure in rows[0][method]}
        for method in rows[0]
    }
    figures = _figures(values, groups)
    measures = {method: {name: of[name] for name in of if name in MEASURES} for method, of in figures.items()}
    tests = {name: _tested(name, values, groups) for name in MEASURES if name in values[REFERENCE]}
    pictures = subject.cases[:SANITY_CASES]
    verdicts = checked(
        subject.network, subject.stages, lambda network, n: (quick or maps)(subject, network, pictures[n]),
        len(pictures), seed,
    )  # fmt: skip
    return {
        "n": len(rows), "groups": len(set(groups.tolist())), "validation": len(subject.validation),
        "bundle": subject.bundle, "target": subject.target, "thresholds": thresholds,
        **{name: figures[REFERENCE][name] for name in _SAID},
        "measures": measures, "tests": tests,
        "best": {name: _best(name, measures, tests[name]) for name in tests},
        "sanity": {method: verdict.stored() for method, verdict in verdicts.items()},
    }  # fmt: skip


def _figures(values: Mapping[str, Mapping[str, Array]], groups: Array) -> dict[str, dict[str, Any]]:
    """method -> measure -> {"value", "ci95"}."""
    names = [(method, measure) for method, of in values.items() for measure in of]
    table = np.stack([values[method][measure] for method, measure in names], axis=1)
    found: dict[str, dict[str, Any]] = {method: {} for method in values}
    for (method, measure), mean, interval in zip(names, table.mean(axis=0), mean_intervals(table, groups)):
        found[method][measure] = {"value": float(mean), "ci95": [float(limit) for limit in interval]}
    return found


def _tested(measure: str, values: Mapping[str, Mapping[str, Array]], groups: Array) -> dict[str, dict[str, float]]:
    """method -> reference -> p, corrected over all of them."""
    own = [method for method in values if method not in FLOORS]
    pairs = [(method, other) for method in own for other in (REFERENCE, *FLOORS) if method != other]
    p = holm([sign_flip(values[method][measure] - values[other][measure], groups) for method, other in pairs])
    found: dict[str, dict[str, float]] = {}
    for (method, other), one in zip(pairs, p):
        found.setdefault(method, {})[other] = one
    return found


def _best(measure: str, measures: Mapping[str, Any], tests: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The best method, and what it is proven to beat: better, and p at most LEVEL."""
    sign = 1 if MEASURES[measure] else -1

    def better(method: str, other: str) -> bool:
        return bool(sign * (measures[method][measure]["value"] - measures[other][measure]["value"]) > 0)

    best = max(
        (m for m in measures if m not in FLOORS), key=lambda m: sign * float(measures[m][measure]["value"])
    )  # fmt: skip
    return {
        "method": best,
        "tied": [m for m in measures if m not in (best, *FLOORS)
                 and measures[m][measure]["value"] == measures[best][measure]["value"]],
        "beats": [other for other, p in tests[best].items() if p <= LEVEL and better(best, other)],
        "below": [other for other in FLOORS if better(other, best)],
    }  # fmt: skip


def evaluate_xai(
    data_root: Path, split: str, models_root: Path, cases: Optional[int] = None, seed: int = 0
) -> Optional[dict[str, Any]]:  # fmt: skip
    """The task "xai"; None where there is nothing to measure on.

    Parameters
    ----------
    cases : of each subject, instead of COUNTS; quicker, with wider intervals
    seed : of which cases, lots and random maps
    """
    from .xai_maps import maps, quick_maps, settings_of
    from .xai_subjects import subjects
    from .xai_table import markdown

    counts = dict(COUNTS) if cases is None else dict.fromkeys(COUNTS, cases)
    found = {}
    for subject in subjects(data_root, split, models_root, counts, seed):
        print(f"{subject.name} ({len(subject.cases)}) ...", end=" ", file=sys.stderr, flush=True)
        figures = measures_of(subject, maps, seed, quick_maps)
        found[subject.name] = {**figures, "settings": settings_of(subject)}
    if not found:
        return None
    result = {"n": sum(one["n"] for one in found.values()), "seed": seed, "counts": counts, "subjects": found}
    return {**result, "text": markdown(result)}
