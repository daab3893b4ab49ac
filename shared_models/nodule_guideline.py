"""What the nodule guidelines (lung_rads.py, fleischner.py) have in common.

Advice             the row of the guideline's table that fits, and what it says to do next
NotApplicable      why no single row does, in words for a clinician; which ones remain possible
half_up()          rounding as a radiologist rounds: 5.5 becomes 6
within()           is a rounded size inside a row's limits
missing()          the inputs that are not known, in words
check_number(), check_one_of()   refuse impossible inputs

A guideline is a frozen table of rows and a pure function. Nothing is estimated: what is not known is "not known", and
where two rows remain possible both are named. Research use only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Optional

from .contract.errors import InvalidInput

Limits = tuple[float, float]  # low <= size < high


@dataclass(frozen=True)
class Advice:
    """The one row that fits.

    Parameters
    ----------
    guideline : its name and version
    category : as "4A"; "" where the guideline has no categories
    row : id of the row that fired
    condition : that row, in words
    next_step : what the source says to do next, shortened
    source : table and row of the publication
    assumed : what was not said and is taken as absent, in words; empty where all was said
    """

    guideline: str
    category: str
    row: str
    condition: str
    next_step: str
    source: str
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotApplicable:
    """No row, for ``reason``.

    Parameters
    ----------
    what_would_help : what to say, measure or use instead
    possible : all categories or next steps that remain, in the table's order; empty where that cannot be said
    """

    reason: str
    what_would_help: str
    possible: tuple[str, ...] = ()


def half_up(value: float, decimals: int) -> float:
    """``value`` rounded, halves away from zero. Works on the decimal digits: 7.95 is 8.0, whatever its binary form."""
    step = Decimal(1).scaleb(-decimals)
    return float(Decimal(str(float(value))).quantize(step, rounding=ROUND_HALF_UP))


def within(size: float, limits: Limits) -> bool:
    """Whether ``low <= size < high``."""
    return limits[0] <= size < limits[1]


def missing(given: Any, names: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """The inputs ``names`` of ``given`` that are None, in ``words``."""
    return [words[name] for name in names if getattr(given, name) is None]


def check_number(value: Optional[float], name: str, low: float, high: float) -> None:
    """None passes; NaN, a bool and what lies outside do not."""
    if value is None:
        return
    if isinstance(value, bool) or not low <= value <= high:
        raise InvalidInput(f"{name[:1].upper()}{name[1:]} must lie between {low:g} and {high:g}.", "Correct it.")


def check_one_of(value: Optional[str], name: str, allowed: Sequence[str]) -> None:
    """None passes."""
    if value is not None and value not in allowed:
        raise InvalidInput(f"{name[:1].upper()}{name[1:]} must be one of {', '.join(allowed)}.", "Correct it.")
