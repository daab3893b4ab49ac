"""Several CTs, one after the other: which of them, and how each went.

chosen()    the CTs of a scene that can be analysed, in the order they were loaded
summary()   how each errand of a run ended, as lines of text
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .naming import CASE
from .text import tr
from .workflow import Outcome

SYNTHETIC = "LungXAI.Synthetic"


def chosen(scene: Any) -> list[Any]:
    """Scalar volume nodes of ``scene`` that are neither label maps nor results of this module."""
    nodes = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
    nodes.UnRegister(None)
    found = []
    for place in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(place)
        if node.IsA("vtkMRMLLabelMapVolumeNode") or node.GetHideFromEditors() or is_result(node):
            continue
        found.append(node)
    return found


def is_result(node: Any) -> bool:
    """Whether a volume node is one that this module made."""
    return bool(node.GetAttribute(CASE))


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each errand: its title, and what went wrong where something did."""
    return [
        f"{outcome.title}: {tr('done') if outcome.fault is None else outcome.fault}" for outcome in outcomes
    ]
