"""When a model should not answer: what it gets wrong against how often it answers.

risk_coverage()          the whole curve
area_under_risk()        its area: one figure of how well confidence tells right from wrong
confidence_for_error()   the least confidence to answer at, so that the error among answers stays below a stated one
answered()               what a threshold does on other cases

Confidence is the probability of the winning class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional, Union

import numpy as np

from .contract.values import Abstention, Array
from .discrimination import Labels, paired


class RiskCoverage(NamedTuple):
    """(m,) each, by falling confidence: answered at or above it, the share of cases so answered, the share wrong."""

    confidence: Array
    coverage: Array
    risk: Array


def _sides(right: Labels, confidence: Labels) -> tuple[Array, Array]:
    truth, values = paired(right, confidence)
    return truth.astype(bool), values.astype(np.float64)


def risk_coverage(right: Labels, confidence: Labels) -> RiskCoverage:
    """The error among the answers when only the surest are given; cases of equal confidence come together.

    Parameters
    ----------
    right : (n,) 0 or 1, or bool; confidence : (n,)

    Source: El-Yaniv and Wiener 2010, JMLR 11:1605.
    """
    truth, values = _sides(right, confidence)
    order = np.argsort(-values, kind="stable")
    falling, wrong = values[order], np.cumsum(~truth[order])
    last = np.r_[falling[1:] != falling[:-1], True]
    count = np.flatnonzero(last) + 1
    return RiskCoverage(falling[last], count / len(values), wrong[last] / count)


def area_under_risk(right: Labels, confidence: Labels) -> float:
    """Mean of the risk over the coverages, as steps: 0 where nothing is wrong, the error where confidence says nothing.

    Source: Geifman et al. 2019, arXiv:1805.08206 (AURC).
    """
    curve = risk_coverage(right, confidence)
    return float((np.diff(np.r_[0.0, curve.coverage]) * curve.risk).sum())


@dataclass(frozen=True)
class Threshold:
    """Answer at or above ``confidence``.

    On the cases that it was chosen on ``coverage`` are answered, ``risk`` of those are wrong; with probability ``sure``
    no more than ``bound`` are wrong on new cases like them (NaN both, where no bound was asked for).
    """

    confidence: float
    coverage: float
    risk: float
    bound: float
    sure: float


def confidence_for_error(
    right: Labels, confidence: Labels, error: float, sure: Optional[float] = 0.95, groups: Optional[Labels] = None
) -> Union[Threshold, Abstention]:
    """The threshold that answers most cases while the error among answers stays below ``error``.

    Parameters
    ----------
    right : (n,) 0 or 1, or bool; confidence : (n,), of held-out cases
    error : stated share of wrong answers, between 0 and 1
    sure : probability with which the bound holds, over draws of the held-out cases. None: no bound, the error is that
        of the held-out cases themselves, which is too good for new ones
    groups : (n,), patients or source fields: answers count as many as there are groups among them, the least that
        they can be worth. None: every case is independent

    Returns
    -------
    Threshold; an Abstention where no threshold keeps the error: for an error e and sure 0.95, more than 3 / e answers
    without a mistake are needed.

    Source: Geifman and El-Yaniv 2017, arXiv:1705.08500: thresholds are tried by halving, each bounded by Clopper and
    Pearson's limit at (1 - sure) / number of tries. Departs from it in: groups.
    """
    if not 0 < error < 1 or (sure is not None and not 0 < sure < 1):
        raise ValueError("The stated error and how sure it is lie between 0 and 1.")
    truth, values = _sides(right, confidence)
    curve = risk_coverage(truth, values)
    if sure is None:
        kept = np.flatnonzero(curve.risk <= error)
        found = _threshold(curve, int(kept[-1]), float("nan"), float("nan")) if len(kept) else None
    else:
        names = np.arange(len(truth)) if groups is None else paired(truth, groups)[1]
        found = _by_halving(curve, values, names, error, sure)
    if found is None:
        return Abstention(
            f"No confidence keeps the error at {error:g} on {len(values)} held-out cases.",
            "More held-out cases, a better model, or a larger stated error.",
        )
    return found


def _threshold(curve: RiskCoverage, place: int, bound: float, sure: float) -> Threshold:
    return Threshold(
        float(curve.confidence[place]), float(curve.coverage[place]), float(curve.risk[place]), bound, sure
    )  # fmt: skip


def _by_halving(
    curve: RiskCoverage, values: Array, names: Array, error: float, sure: float
) -> Optional[Threshold]:
    """The last threshold tried whose bound keeps the error."""
    from scipy.stats import beta

    tries = max(1, int(np.ceil(np.log2(len(values)))))
    found = None
    low, high = 0, len(curve.risk) - 1  # by coverage: the fewest answers, the most
    for _ in range(tries):
        if low > high:
            break
        middle = (low + high + 1) // 2
        count = len(np.unique(names[values >= curve.confidence[middle]]))
        wrong = float(curve.risk[middle]) * count
        bound = float(beta.ppf(1 - (1 - sure) / tries, wrong + 1, count - wrong)) if wrong < count else 1.0
        if bound <= error:
            found = _threshold(curve, middle, bound, sure)
            low = middle + 1
        else:
            high = middle - 1
    return found


def answered(right: Labels, confidence: Labels, least: float) -> tuple[float, float]:
    """(coverage, risk) of answering at or above the confidence ``least``; the risk is NaN where nothing is answered."""
    truth, values = _sides(right, confidence)
    given = values >= least
    return float(given.mean()), float((~truth[given]).mean()) if given.any() else float("nan")
