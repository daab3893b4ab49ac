"""What one modality says, before it is weighed: ratios of its probabilities to the case mix that they assume.

Evidence        ratios, covered classes, what it says, and what made it
of_classes()    of a modality that names classes
of_ct()         of a CT: its subtypes where it has them, else malignancy
pull()          weighted log evidence per class, neutral on the classes a modality does not speak of
measures_of()   what a result says of its own reliability
confidence()    how far what it says stands above an even share, 0 to 1
restricted()    probabilities of some classes, given that it is one of them
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Union

from .contract.provenance import Provenance
from .contract.results import PathologyResult, RadiologyResult
from .contract.values import CLASSES

CANCERS = CLASSES[:4]
# No probability is taken as nearer to 0 or 1 than this, so no modality can veto alone.
EPSILON = 0.01
LEAST_CONFIDENCE = 1e-3


@dataclass(frozen=True)
class Evidence:
    """``ratio``: class to p/q for those with evidence; ``covered``: classes told apart by name; ``says``: p."""

    ratio: Mapping[str, float]
    covered: tuple[str, ...]
    says: Mapping[str, float]
    provenance: tuple[Provenance, ...]


def restricted(values: Mapping[str, float], names: tuple[str, ...]) -> dict[str, float]:
    total = math.fsum(values[name] for name in names)
    return {name: values[name] / total for name in names}


def _clipped(values: Mapping[str, float]) -> dict[str, float]:
    held = {name: min(max(value, EPSILON), 1 - EPSILON) for name, value in values.items()}
    return restricted(held, tuple(held))


def of_classes(
    values: Mapping[str, Optional[float]], reference: Mapping[str, float], provenance: tuple[Provenance, ...]
) -> Optional[Evidence]:
    """Evidence of a modality that names classes; ``reference`` is the case mix its probabilities assume."""
    known = {name: float(value) for name, value in values.items() if value is not None}
    if len(known) < 2:
        return None  # one class alone cannot be told from anything
    covered = tuple(name for name in CLASSES if name in known)
    q, p = _clipped(restricted(reference, covered)), _clipped(known)
    return Evidence({name: p[name] / q[name] for name in covered}, covered, p, provenance)


def of_ct(result: RadiologyResult, prior: Mapping[str, float], prevalence: float) -> Optional[Evidence]:
    """Subtypes where the CT model assessed them; otherwise malignancy, which tells cancer from normal alone."""
    named = of_classes(result.probabilities, prior, result.provenance)
    if named is not None or result.malignancy is None:
        return named
    m = min(max(result.malignancy, EPSILON), 1 - EPSILON)
    ratio = {name: m / prevalence for name in CANCERS} | {"normal": (1 - m) / (1 - prevalence)}
    return Evidence(ratio, (), {"cancer": m, "normal": 1 - m}, result.provenance)


def pull(evidence: Evidence, weight: Mapping[str, float], prior: Mapping[str, float]) -> dict[str, float]:
    """Weighted log evidence per class, with a prior-weighted mean ratio of 1 over the classes it speaks of.

    Parameters
    ----------
    weight : each class that ``evidence`` speaks of, to its weight
    """
    share = restricted(prior, tuple(evidence.ratio))
    mean = math.fsum(share[name] * ratio ** weight[name] for name, ratio in evidence.ratio.items())
    return {
        name: weight[name] * math.log(evidence.ratio[name]) - math.log(mean) if name in evidence.ratio else 0.0
        for name in CLASSES
    }


def confidence(says: Mapping[str, float]) -> float:
    """Near 0 where all that is told apart is equally likely, 1 where one is certain.

    Never 0: who assessed the classes and is not sure has assessed them all the same.
    """
    even = 1 / len(says)
    return min(1.0, max(LEAST_CONFIDENCE, (max(says.values()) - even) / (1 - even)))


def measures_of(result: Union[RadiologyResult, PathologyResult, None]) -> dict[str, float]:
    """What a result says of its own reliability, by fusion_weights.MEASURES."""
    if result is None:
        return {}
    found = {}
    quality = getattr(result, "tile_quality", None)
    if quality is not None and len(quality):
        found["quality"] = float(quality.mean())
    if result.reliability is not None:
        found["typicality"] = float(result.reliability)
    return found
