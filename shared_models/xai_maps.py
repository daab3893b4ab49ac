"""The maps of all methods for one case: what the measures of faithfulness are taken of.

maps()         as the viewers show them
quick_maps()   with fewer steps, for many pictures (ROAR) and many models (sanity checks)
"""

from __future__ import annotations

from typing import Any

from .contract.values import Array
from .faithfulness import Case

# Of the methods that ask the network many times.
QUICK: dict[str, dict[str, Any]] = {}


def maps(subject: Any, network: Any, case: Case, **settings: Any) -> dict[str, Array]:
    """method -> float32 (rows, columns), of a Subject's case.

    Parameters
    ----------
    network : the subject's own, or another with its architecture, as a sanity check has it
    settings : of attribution.attribute_all(), by method
    """
    import torch

    from .attribution import attribute_all

    model = subject.model if network is subject.network else subject.model.over(network)
    given = None if case.region is None else torch.from_numpy(case.region)[None]
    found = attribute_all(model, case.picture[None], target=case.target, given=given, **settings)
    return {method: one.values[0] for method, one in found.items()}


def quick_maps(subject: Any, network: Any, case: Case) -> dict[str, Array]:
    """The same with the settings QUICK."""
    return maps(subject, network, case, **QUICK)
