"""A fused answer's certainty in words, the same in Slicer, the viewer and the report.

set_words()           the conformal set
reliability_words()   the modalities that count less because their input is unlike what their models were trained on
"""

from __future__ import annotations

from .colours import CLASS_LABELS
from .fusion_result import PART_LABELS, FusionResult


def set_words(fusion: FusionResult) -> str:
    """One sentence; empty where no set was calibrated."""
    if not fusion.conformal_set or fusion.conformal_coverage is None:
        return ""
    names = [CLASS_LABELS[name].lower() for name in fusion.conformal_set]
    among = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]
    share = round(100 * fusion.conformal_coverage)
    return f"Likely: {among}. Such a set held the true class in {share} % of the cases that it was calibrated on."


def reliability_words(fusion: FusionResult) -> list[str]:
    """One sentence for each modality whose learned weight was lowered."""
    return [
        f"{PART_LABELS[name]} {'count' if name == 'clinical' else 'counts'} with {round(100 * share)} % of "
        f"{'their' if name == 'clinical' else 'its'} weight: what is seen, or how sure the model is, is unlike what "
        "the weights were learned on."
        for name, share in fusion.reliability.items()
        if share < 0.995
    ]
