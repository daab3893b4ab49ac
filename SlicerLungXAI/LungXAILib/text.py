"""What a reader sees in words: translations, numbers.

tr()           a text in the language of the application
NOT_ASSESSED   a class or value without an answer; never 0
probability()  as a percentage, or NOT_ASSESSED
"""

from __future__ import annotations

import functools
from typing import Callable, Optional

from shared_models.contract.colours import METHOD_LABELS

CONTEXT = "LungXAI"
NOT_ASSESSED = "not assessed"
METHOD_NAMES = {**METHOD_LABELS, "blend": "Blend"}


@functools.lru_cache(maxsize=1)
def _translator() -> Callable[[str, str], str]:
    try:
        from slicer.i18n import translate
    except ImportError:  # slicer-core has no Qt, so no translations
        return lambda context, text: text
    return translate


def tr(text: str) -> str:
    """``text`` in the application's language; itself where there is no translation."""
    return _translator()(CONTEXT, text)


def probability(value: Optional[float]) -> str:
    """0.973 as "97.3 %"; None as "not assessed". A model is never certain: beyond 0.1 and 99.9 % it says so."""
    if value is None:
        return tr(NOT_ASSESSED)
    if 0.0 < value < 0.001 or 0.999 < value:
        return "< 0.1 %" if value < 0.5 else "> 99.9 %"
    return f"{100.0 * value:.1f} %"


def method_name(method: str) -> str:
    """The name of a heatmap method as readers know it."""
    return METHOD_NAMES.get(method, method)
