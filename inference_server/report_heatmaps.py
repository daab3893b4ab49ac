"""What the report says of a heatmap beside its picture.

MapWords      title, legend, model, trust
map_words()   Heatmap -> MapWords
"""

from __future__ import annotations

from dataclasses import dataclass

from shared_models.contract.colours import RGB, heat_colour
from shared_models.contract.heatmap_words import FAILED, SANITY, parts, title, trust
from shared_models.contract.results import Heatmap

from .report_charts import percent
from .report_words import _

_STEPS = 11


@dataclass(frozen=True)
class MapWords:
    """A heatmap in words.

    Parameters
    ----------
    title : method and target
    model : id of the model that is explained
    trust : its measured figures and its sanity check
    failed : whether it fails the sanity check, so that trust is a warning
    ramp : colours of the legend from its left end to its right end
    ends : words at the two ends of the legend
    signs : how the two sides of a map with negative evidence compare; empty for a map without
    """

    title: str
    model: str
    trust: str
    failed: bool
    ramp: tuple[RGB, ...]
    ends: tuple[str, str]
    signs: str


def map_words(heatmap: Heatmap) -> MapWords:
    """What stands beside every picture of ``heatmap``."""
    speaks_for, against = parts(heatmap)
    ramp = tuple(heat_colour(i / (_STEPS - 1)) for i in range(_STEPS))
    ends, signs = (_("least"), _("most")), ""
    top = float(speaks_for.values.max())
    if against is not None:
        ramp = (*(heat_colour(1 - i / (_STEPS - 1), against=True) for i in range(_STEPS)), *ramp)
        ends, signs = (_("against"), _("for")), _signs(top, float(against.values.max()))
    elif top <= 0:
        signs = _("Empty: nothing in it speaks for the target.")
    failed = heatmap.parameters.get(SANITY) == FAILED
    return MapWords(title(heatmap), heatmap.provenance.model_id, trust(heatmap), failed, ramp, ends, signs)


def _signs(speaks_for: float, against: float) -> str:
    if speaks_for <= 0:
        return _("Nothing in it speaks for the target.")
    share = percent(min(speaks_for, against) / max(speaks_for, against))
    if against <= speaks_for:
        said = _("One scale for both: at its strongest, what speaks against has %(share)s of what speaks for.")
    else:
        said = _("One scale for both: at its strongest, what speaks for has %(share)s of what speaks against.")
    return said % {"share": share}
