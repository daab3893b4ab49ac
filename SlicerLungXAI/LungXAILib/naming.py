"""How the nodes of a case are marked, so that they are found again in a reloaded scene, and removed whole.

mark()            write case, role and notice on a node
nodes_of_case()   every node of a case
remove()          nodes with their display and storage nodes
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared_models.contract.notice import NOTICE

from .hierarchy import CASE_ATTRIBUTE, NOTICE_ATTRIBUTE, tree

CASE = CASE_ATTRIBUTE
ROLE = "LungXAI.Role"


def mark(node: Any, case_id: str, role: str) -> None:
    """Write on a node what it is, and the notice."""
    node.SetAttribute(CASE, case_id)
    node.SetAttribute(ROLE, role)
    node.SetAttribute(NOTICE_ATTRIBUTE, NOTICE)
    node.SetDescription(NOTICE)


def nodes_by_class(scene: Any, kind: str) -> list[Any]:
    """Every node of a class and its subclasses."""
    found = scene.GetNodesByClass(kind)
    found.UnRegister(None)
    return [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]


def nodes_of_case(scene: Any, case_id: str, role: str = "") -> list[Any]:
    """The nodes of a case, of one role or of all."""
    every = (scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))
    return [n for n in every if n.GetAttribute(CASE) == case_id and role in ("", n.GetAttribute(ROLE))]


def remove(scene: Any, nodes: Iterable[Any]) -> None:
    """Remove nodes with their display and storage nodes, which would stay in the scene otherwise."""
    hierarchy = tree(scene)
    for node in list(nodes):
        # First out of the hierarchy: without the application's plugins its item would stay, and point at nothing.
        item = hierarchy.GetItemByDataNode(node)
        if item:
            branch = hierarchy.IsItemVirtualBranchParent(item)  # of segments
            hierarchy.RemoveItem(item, False, branch)
        own: list[Any] = []
        if node.IsA("vtkMRMLDisplayableNode"):
            own += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
        if node.IsA("vtkMRMLStorableNode"):
            own += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
        scene.RemoveNode(node)
        for part in own:
            if part is not None and part.GetScene() is not None:
                scene.RemoveNode(part)
