"""Whether the modalities of a case agree, and whether there is an answer at all. The rules are in docs/fusion.md.

agreement_of()    whether the modalities point the same way, in words
abstention_of()   why there is no answer
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Optional

from .contract.values import Abstention

# Below this gap between the best two classes there is no answer.
MIN_GAP = 0.10
# Two modalities conflict strongly when each is at least this sure of what the other denies.
SURE = 0.80
# A modality whose best two classes are nearer than this takes no side: it neither agrees nor disagrees.
LEAN = 0.20


def agreement_of(parts: Mapping[str, Mapping[str, float]]) -> tuple[str, bool]:
    """Words, and whether two modalities conflict strongly.

    Parameters
    ----------
    parts : modality that took part to what it says: class, or "cancer", to probability
    """
    words, clash, strong = [], False, False
    names = [name for name, part in parts.items() if _leans(part)]
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            first, second = parts[one], parts[other]
            a, b = max(first, key=first.__getitem__), max(second, key=second.__getitem__)
            # "cancer" agrees with every cancer; a modality that cannot say "normal" cannot deny it.
            same = a == b or ("cancer" in (a, b) and "normal" not in (a, b))
            if not same and not (b in first or a in second or "cancer" in (a, b)):
                continue
            if not same and "normal" in (a, b) and not ("normal" in first and "normal" in second):
                continue
            words.append(f"{one} and {other} {'agree' if same else 'disagree'} ({a} and {b})".replace("_", " "))
            clash = clash or not same
            strong = strong or (not same and first[a] >= SURE and second[b] >= SURE)
    if not parts:
        return "No modality took part.", False
    if len(parts) == 1:
        return f"Only {next(iter(parts))} took part: there is nothing to compare it with.", False
    undecided = [name for name in parts if name not in names]
    verb = "takes" if len(undecided) == 1 else "take"
    rest = f" {' and '.join(undecided).capitalize()} {verb} no side." if undecided else ""
    if not words and undecided:
        return f"There is nothing to compare.{rest}", False
    if not words:
        return "The modalities that took part cannot be compared: they tell different classes apart.", False
    lead = "Strong conflict" if strong else "Conflict" if clash else "Same direction"
    return f"{lead}: {'; '.join(words)}.{rest}", strong


def _leans(says: Mapping[str, float]) -> bool:
    """Whether the likeliest class of a modality stands out."""
    best, second = sorted(says.values(), reverse=True)[:2]
    return best - second >= LEAN


def abstention_of(assessed: Mapping[str, float], conflict: bool) -> Optional[Abstention]:
    """Why there is no answer, or None; ``assessed`` is class to pooled probability, of the classes assessed."""
    if not assessed:
        return Abstention(
            "No modality that took part tells the tumour types apart.",
            "A slide of the tumour; a CT malignancy says cancer or not, not which.",
        )
    if conflict:
        return Abstention(
            "Two modalities, each sure, contradict each other.",
            "Check that the CT, the slide and the fields are of one patient and one lesion; review both.",
        )
    ordered = sorted(assessed.values(), reverse=True)
    if 1 - math.fsum(ordered) > ordered[0]:
        return Abstention(
            "More probability lies with the types that nobody assessed than with any that was.",
            "A slide, read for the types that are marked as not assessed.",
        )
    if len(ordered) > 1 and ordered[0] - ordered[1] < MIN_GAP:
        return Abstention(
            "The two most likely types are too close to call.",
            "Immunohistochemistry, a second sample, or the modality that is missing.",
        )
    return None
