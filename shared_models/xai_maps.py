"""The maps of all methods for one case: what the measures of faithfulness are taken of.

maps()          nearly as the viewers show them: Integrated Gradients stops at 64 steps, whatever its error
quick_maps()    with fewer steps still, for many pictures (ROAR) and many models (sanity checks)
settings_of()   what was chosen, for the record
"""

from __future__ import annotations

from typing import Any

from .contract.values import Array
from .faithfulness import Case

# Of the methods that ask the network many times; the rest is their own defaults.
SETTINGS: dict[str, dict[str, Any]] = {"integrated_gradients": {"most_steps": 64}}
QUICK: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"most_steps": 16}, "smoothgrad": {"samples": 8}
}  # fmt: skip


def maps(subject: Any, network: Any, case: Case, settings: Any = None) -> dict[str, Array]:
    """method -> float32 (rows, columns), of a Subject's case.

    Parameters
    ----------
    network : the subject's own, or another with its architecture, as a sanity check has it
    settings : of attribution.attribute_all(), by method; SETTINGS where none are given
    """
    import torch

    from .attribution import attribute_all

    model = subject.model if network is subject.network else subject.model.over(network)
    given = None if case.region is None else torch.from_numpy(case.region)[None]
    found = attribute_all(model, case.picture[None], target=case.target, given=given, **(settings or SETTINGS))
    return {method: one.values[0] for method, one in found.items()}


def quick_maps(subject: Any, network: Any, case: Case) -> dict[str, Array]:
    """The same with the settings QUICK, and windows of Occlusion that do not overlap."""
    side = max(1, round(case.picture.shape[-1] / 7))
    return maps(subject, network, case, {**QUICK, "occlusion": {"window": side, "stride": side}})


def settings_of(subject: Any) -> dict[str, dict[str, Any]]:
    """method -> all its settings in maps()."""
    from .attribution import METHODS, method

    return {name: dict(method(name, subject.model, **SETTINGS.get(name, {})).settings) for name in METHODS}
