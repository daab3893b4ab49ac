"""Class to probability, where None is "not assessed", never 0.

Probabilities             the type
checked_probability()     one value
checked_probabilities()   a value for every class
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Optional

from .errors import InvalidInput
from .values import CLASSES

Probabilities = Mapping[str, Optional[float]]
_SUM_TOLERANCE = 1e-3


def checked_probability(value: Optional[float], what: str) -> None:
    """``what`` names it in the error: InvalidInput unless ``value`` is None or in [0, 1]."""
    if value is not None and not (isinstance(value, (int, float)) and 0.0 <= value <= 1.0):
        raise InvalidInput(f"{what} is not a probability.", "Report this: the model's output is faulty.")


def checked_probabilities(values: Probabilities, total: Optional[float]) -> None:
    """InvalidInput unless every class is named, each None or in [0, 1], and the assessed ones sum to ``total``."""
    if set(values) != set(CLASSES):
        raise InvalidInput("A class is missing from the probabilities.", "Check the versions of both sides.")
    for name, value in values.items():
        checked_probability(value, name)
    assessed = [v for v in values.values() if v is not None]
    if total is not None and assessed and abs(math.fsum(assessed) - total) > _SUM_TOLERANCE:
        raise InvalidInput("The probabilities do not sum to 1.", "Report this: the model's output is faulty.")
