"""Figures with intervals over groups, as every table of the evidence page has them.

measure()     of a statistic; BCa
share()       of a mean of yes and no, with an interval where nothing varies
positives()   the classes worth figures of their own
RESAMPLES     of each bootstrap
"""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np

from .contract.values import Array
from .evidence_cases import Cases
from .statistics import bca_ci, wilson_ci

RESAMPLES = 2000


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


def positives(cases: Cases) -> list[tuple[int, str]]:
    """Classes worth a curve of their own: of two the second says it all."""
    names = list(enumerate(cases.classes))
    often = np.bincount(cases.labels, minlength=len(names))
    return [(c, name) for c, name in (names[1:] if len(names) == 2 else names) if 0 < often[c] < len(cases)]
