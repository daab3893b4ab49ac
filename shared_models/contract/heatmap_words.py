"""What a heatmap is and how far it can be trusted, in the same words in Slicer, in QuPath and in the report.

AGAINST, RATHER  how the target of a map of negative evidence begins, and what stands between the two of a contrast
parts()          what speaks for the target, and what speaks against it, as two maps
title()          method and target
trust()          the method's measured figures on this model, and its sanity check
"""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import numpy as np

from .colours import CLASS_LABELS, METHOD_LABELS
from .results import Heatmap

AGAINST, RATHER = "against ", " rather than "
# Parameters that the server adds to a map where the model's bundle holds measures of its methods.
FIGURES, SANITY = "faithfulness", "sanity_check"
PASSED, FAILED = "passed", "failed"
UNMEASURED = "how faithful this map is was not measured"
FAILS = "FAILS the sanity check: this map hardly depends on what the model learned"


def parts(heatmap: Heatmap) -> tuple[Heatmap, Optional[Heatmap]]:
    """The map of what speaks for its target, and the one of what speaks against it; None where nothing does.

    Both have values of 0 or more; the second one's target begins with AGAINST.
    """
    low = float(heatmap.values.min())
    if low >= 0:
        return heatmap, None
    speaks_for = replace(heatmap, values=np.maximum(heatmap.values, 0))
    return speaks_for, replace(heatmap, values=np.maximum(-heatmap.values, 0), target=AGAINST + heatmap.target)


def target_words(target: str) -> str:
    """A target as a reader knows it: a class by its label, also where two are set against each other."""
    against = target.startswith(AGAINST)
    bare = target[len(AGAINST) :] if against else target
    words = RATHER.join(CLASS_LABELS.get(part, part.replace("_", " ")) for part in bare.split(RATHER))
    return (AGAINST if against else "") + words


def title(heatmap: Heatmap) -> str:
    """For example "Grad-CAM: Adenocarcinoma"."""
    return f"{METHOD_LABELS[heatmap.method]}: {target_words(heatmap.target)}"


def trust(heatmap: Heatmap) -> str:
    """What was measured of the method on this model, in one line; a failed sanity check comes first."""
    said = []
    if heatmap.parameters.get(SANITY) == FAILED:
        said.append(FAILS)
    figures = heatmap.parameters.get(FIGURES)
    said.append(str(figures) if figures else UNMEASURED)
    return "; ".join(said)
