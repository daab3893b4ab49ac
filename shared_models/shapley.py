"""Shapley values, exact: what each of a few parts adds to a vector-valued function of the parts that are there.

shapley()   function of a set of parts -> its value of no part, and one share a part

The shares and the value of no part sum to the value of all. Two parts that say the same share it evenly; where the
function is a sum over the parts, each part's share is its own term.

Source: Shapley 1953, "A value for n-person games", Contributions to the Theory of Games II, pages 307-317.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Callable


def shapley(
    parts: Sequence[str], value: Callable[[frozenset[str]], Mapping[str, float]]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The value of no part, and part to its share; both keyed as ``value`` answers.

    Parameters
    ----------
    parts : names, each once; ``value`` is called for each of their 2^n subsets, so keep them few
    value : set of parts to numbers by key, the same keys for every set
    """
    sets = [frozenset(chosen) for size in range(len(parts) + 1) for chosen in itertools.combinations(parts, size)]
    found = {chosen: value(chosen) for chosen in sets}
    nothing = dict(found[frozenset()])
    count = math.factorial(len(parts))
    # Share of the orders in which exactly the ``size`` others come before the part.
    share = [math.factorial(size) * math.factorial(len(parts) - size - 1) / count for size in range(len(parts))]

    def added(part: str, key: str) -> float:
        without = [chosen for chosen in sets if part not in chosen]
        return math.fsum(share[len(s)] * (found[s | {part}][key] - found[s][key]) for s in without)

    return nothing, {part: {key: added(part, key) for key in nothing} for part in parts}
