"""The slide as a whole, out of its tiles.

slide_result()   PathologyResult of a slide
pooled()         the rule alone

How tiles become a slide. A slide is normal only if nearly all of it is: the slide's probability of cancer C is the
mean of (1 - P(normal)) over its most suspicious tenth of tiles (at least three, where there are three). C is shared
among the cancer classes as the tiles are, each tile counting as much as it looks like cancer:
S(k) = sum_i c_i p_i(k) / sum_i c_i^2, with c_i = 1 - p_i(normal). So P(k) = C S(k), P(normal) = 1 - C, and they sum
to 1. The tile probabilities are calibrated; the slide's are this rule's, and are not. Tiles that look unlike those the
model learned from are left out of it (out_of_distribution_slide.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from .contract.provenance import Provenance
from .contract.results import PathologyResult
from .contract.values import CLASSES, Abstention, Array
from .out_of_distribution import UNRELIABLE
from .out_of_distribution_slide import mean_of, weighed

_SUSPICIOUS_SHARE, _SUSPICIOUS_LEAST = 0.1, 3


def slide_result(
    slide_id: str, mpp: float, tile_px: tuple[float, float], origin_px: Array, answers: Array,
    provenance: tuple[Provenance, ...], *, quality: Optional[Array] = None, other_classes: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> PathologyResult:  # fmt: skip
    """What the slide shows as a whole; the rule is at the top of this file.

    Parameters
    ----------
    mpp : micrometres per pixel at which the model looked
    tile_px : (width, height) of a tile in level-0 pixels
    origin_px : int64 (n, 2)
    answers : float32 (n, 5 + k): CLASSES, NaN outside the coverage, then ``other_classes``; (n, 5 + k + 1) with the
        reliability of each tile, 0 to 1, NaN where not assessed
    provenance : of the tile model, first
    quality : float32 (n,), 0 to 1, of each tile; None where nobody judged it. It is carried, not weighed
    other_classes : k names of a model that has classes of its own
    notes : of the model
    """
    known = provenance[0].coverage
    own = len(CLASSES) + len(other_classes)
    tile_probabilities, others = answers[:, : len(CLASSES)], answers[:, len(CLASSES) : own]
    like = np.ascontiguousarray(answers[:, own]) if answers.shape[1] > own else None

    judged: dict[str, Any] = {}
    if like is not None and not np.isnan(like).any():
        judged = {"tile_reliability": like, "reliability": mean_of(like)}

    def answer(
        probabilities: dict[str, Optional[float]], said: tuple[str, ...], abstention: Optional[Abstention]
    ) -> PathologyResult:
        return PathologyResult(
            slide_id, mpp, tile_px, origin_px, tile_probabilities, probabilities, provenance, said + notes, abstention,
            quality, other_classes, others if other_classes else None, **judged,
        )  # fmt: skip

    if not len(origin_px):
        nothing = Abstention("No tissue was found on the slide.", "A slide or a region with H&E-stained tissue.")
        return answer(dict.fromkeys(CLASSES), (), nothing)
    counted = _counted(others, other_classes)
    if not known:
        foreign = Abstention(
            "The slide model names classes of its own, which are not assigned to the five of this suite.",
            "The model that ships, or the same one added again with --class THEIRS=OURS for each of its classes.",
        )
        return answer(dict.fromkeys(CLASSES), counted, foreign)
    shown = weighed(tile_probabilities, like, lambda table: pooled(table, known))
    count = len(tile_probabilities) if like is None else int((~(like < UNRELIABLE)).sum())
    if shown.probabilities is None:
        return answer(dict.fromkeys(CLASSES), counted, shown.abstention)
    slide = shown.probabilities
    columns = [CLASSES.index(name) for name in known]
    winners = np.array(known)[np.argmax(tile_probabilities[:, columns], axis=1)]
    about = [
        f"{len(winners)} tiles; the model called {int((winners != 'normal').sum())} of them cancer.",
        f"The slide's probability of cancer is the mean of its {_most(count)} most suspicious tiles.",
        "Not assessed: " + ", ".join(c.replace("_", " ") for c in CLASSES if c not in known) + ".",
    ]
    return answer({name: slide.get(name) for name in CLASSES}, (*about, *shown.notes, *counted), None)


def _most(count: int) -> int:
    """How many tiles make the slide's probability of cancer."""
    return min(count, max(_SUSPICIOUS_LEAST, math.ceil(_SUSPICIOUS_SHARE * count)))


def pooled(tile_probabilities: Array, known: Sequence[str]) -> dict[str, float]:
    """Class to probability of the slide, of its tiles (n, 5), n > 0, by the rule at the top."""
    cancers = [name for name in known if name != "normal"]
    p = {name: tile_probabilities[:, CLASSES.index(name)].astype(np.float64) for name in known}
    suspicion = np.clip(sum(p[name] for name in cancers), 0.0, 1.0)
    cancer = float(np.sort(suspicion)[-_most(len(suspicion)) :].mean())
    weights = {name: float((suspicion * p[name]).sum()) for name in cancers}
    total = sum(weights.values())
    shares = {name: weight / total if total > 0 else 1 / len(cancers) for name, weight in weights.items()}
    slide = {name: cancer * share for name, share in shares.items()}
    if "normal" in known:
        slide["normal"] = 1.0 - cancer
    return slide


def _counted(others: Array, names: tuple[str, ...]) -> tuple[str, ...]:
    """How many tiles look most like each of the model's own classes, the most frequent first."""
    if not names:
        return ()
    if len(names) == 1:
        return (f"Of {len(others)} tiles, {int((others[:, 0] >= 0.5).sum())} have {names[0]} at 0.5 or more.",)
    counted = Counter(names[place] for place in others.argmax(axis=1)).most_common(12)
    return (f"{len(others)} tiles by the model's own classes: {', '.join(f'{n} {c}' for n, c in counted)}.",)
