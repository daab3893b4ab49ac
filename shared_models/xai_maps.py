"""The maps of all methods for one case: what the measures of faithfulness are taken of.

maps()          with the settings of the viewers, but Integrated Gradients stops at 64 steps, whatever its error
quick_maps()    with fewer steps still, and windows that do not overlap: for ROAR and for the sanity checks
settings_of()   what was chosen, for the record
"""

from __future__ import annotations

from typing import Any

from .contract.values import Array
from .faithfulness import Case

MOST_STEPS, QUICK_STEPS, QUICK_SAMPLES = 64, 16, 8


def maps(subject: Any, network: Any, case: Case, settings: Any = None) -> dict[str, Array]:
    """method -> float32 (rows, columns), of a Subject's case.

    Parameters
    ----------
    network : the subject's own, or another with its architecture, as a sanity check has it
    settings : of attribution.attribute_all(), by method; settings_of(subject) where none are given
    """
    import torch

    from .attribution import attribute_all

    model = subject.model if network is subject.network else subject.model.over(network)
    given = None if case.region is None else torch.from_numpy(case.region)[None, None].float()
    chosen = settings or settings_of(subject)
    found = attribute_all(model, case.picture[None], target=case.target, given=given, **chosen)
    return {method: one.values[0] for method, one in found.items()}


def quick_maps(subject: Any, network: Any, case: Case) -> dict[str, Array]:
    """The same, quicker."""
    side = max(1, round(case.picture.shape[-1] / 7))
    chosen = settings_of(subject)
    chosen["integrated_gradients"]["most_steps"] = QUICK_STEPS
    chosen["occlusion"].update(window=side, stride=side)
    return maps(subject, network, case, {**chosen, "smoothgrad": {"samples": QUICK_SAMPLES}})


def settings_of(subject: Any) -> dict[str, dict[str, Any]]:
    """method -> its settings in maps(), where they are not its defaults."""
    chosen = {method: dict(own) for method, own in subject.settings.items()}
    chosen["integrated_gradients"]["most_steps"] = MOST_STEPS
    return chosen
