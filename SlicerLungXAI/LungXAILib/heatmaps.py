"""Heatmaps as volumes over the CT: one a method and target, in the heat ramp, with a legend.

heatmap_node()   Heatmap -> vtkMRMLScalarVolumeNode, a crop of the CT's grid
check_on_grid()  BadGeometry for a map that is not on the CT's grid
show()           one map over the CT in every slice view, or none
compare()        two maps in two views, or blended into one
label_of()       what a map is, in words
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import Heatmap, placed
from shared_models.contract.values import Array

from .colours import heat_node
from .logics import SceneLogics
from .naming import mark, nodes_by_class, nodes_of_case, remove
from .text import NOTICE, method_name, tr
from .volumes import add_display, affine_of, set_image, voxels_of

if TYPE_CHECKING:
    from .results import CaseNodes

METHOD, TARGET, TOP = "LungXAI.Method", "LungXAI.Target", "LungXAI.Top"
BLEND = "blend"
OPACITY, THRESHOLD = 0.6, 0.25
Key = tuple[str, str]


def label_of(key: Key) -> str:
    """For example "Grad-CAM: nodule"."""
    return f"{method_name(key[0])}: {key[1].replace('_', ' ')}"


def key_of(node: Any) -> Key:
    """(method, target) of a heatmap node."""
    return node.GetAttribute(METHOD), node.GetAttribute(TARGET)


def check_on_grid(heatmap: Heatmap, shape: tuple[int, ...], ijk_to_lps: Array) -> None:
    """Raise BadGeometry unless the map is a crop of the CT's grid."""
    probe = np.broadcast_to(np.uint8(0), heatmap.values.shape)
    placed(probe, heatmap.index_to_world, shape, ijk_to_lps)  # type: ignore[arg-type]


def heatmap_node(logics: SceneLogics, ct_node: Any, heatmap: Heatmap, name: str) -> Any:
    """A volume with the map's crop of the CT's grid, under the CT's transform; not shown yet.

    The window runs from 0 to the map's largest value: what speaks against (negative values) is not shown.
    """
    first = np.rint(np.linalg.solve(affine_of(ct_node), heatmap.index_to_world)[:3, 3])
    node = logics.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    # In the CT's own frame and on its very grid: rounding of the wire would show as a seam.
    local = affine_of(ct_node, world=False).copy()
    local[:3, 3] += local[:3, :3] @ first
    set_image(node, heatmap.values, local)
    _finish(logics, ct_node, node, heatmap.method, heatmap.target)
    return node


def _finish(logics: SceneLogics, ct_node: Any, node: Any, method: str, target: str) -> None:
    top = max(float(voxels_of(node).max()), 0.0)
    node.SetAttribute(METHOD, method)
    node.SetAttribute(TARGET, target)
    node.SetAttribute(TOP, repr(top))
    node.SetAndObserveTransformNodeID(ct_node.GetTransformNodeID())
    display = add_display(node, 0.0, top or 1.0)
    display.SetAndObserveColorNodeID(heat_node(logics.scene).GetID())
    display.SetApplyThreshold(True)
    set_threshold(node, THRESHOLD)
    _legend(node)


def _legend(node: Any) -> None:
    from slicer import vtkMRMLColorLegendDisplayNode

    legend = vtkMRMLColorLegendDisplayNode()
    node.GetScene().AddNode(legend)
    legend.SetAndObservePrimaryDisplayNode(node.GetDisplayNode())
    node.AddAndObserveDisplayNodeID(legend.GetID())
    legend.SetTitleText(f"{label_of(key_of(node))}\n{NOTICE}")
    legend.SetNumberOfLabels(5)
    # Slicer enlarges the words until the longest number fills the bar's width: with short numbers, or at its own width
    # of 0.15, they would cover the nodule.
    legend.SetLabelFormat("%4.2g")
    legend.SetSize(0.06, 0.4)
    legend.SetPosition(0.985, 0.55)
    legend.SetVisibility(False)


def top_of(node: Any) -> float:
    """The largest value of a map; 0 where nothing in it speaks for the target."""
    return float(node.GetAttribute(TOP))


def legend_of(node: Any) -> Any:
    """The colour legend of a heatmap node."""
    every = [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    return next(d for d in every if d is not None and d.IsA("vtkMRMLColorLegendDisplayNode"))


def set_threshold(node: Any, threshold: float) -> None:
    """Hide what lies below ``threshold``, 0 to 1 of the map's largest value."""
    if not 0.0 <= threshold <= 1.0:
        raise InvalidInput("The threshold lies between 0 and 1.", "Choose another.")
    top = top_of(node)
    # Zero says nothing, so it is never drawn; an empty map is not drawn at all.
    smallest = np.nextafter(np.float32(0.0), np.float32(1.0))
    lower = max(threshold * top, float(smallest)) if top > 0 else 1.0
    node.GetDisplayNode().SetThreshold(lower, max(top, lower))


def show(
    logics: SceneLogics,
    nodes: CaseNodes,
    key: Optional[Key],
    opacity: float = OPACITY,
    threshold: float = THRESHOLD,
    views: Optional[Iterable[str]] = None,
) -> Optional[Any]:
    """Lay one map over the CT.

    Parameters
    ----------
    key : (method, target) of ``nodes.heatmaps``; None shows the CT alone
    opacity : 0 to 1
    threshold : 0 to 1 of the map's largest value; below it the CT is seen
    views : layout names of slice views ("Red"); None is all of them

    Returns
    -------
    The node that is shown.

    Raises
    ------
    InvalidInput : there is no such map, or a number is out of range.
    """
    node = None if key is None else _wanted(nodes, key)
    _lay(logics, nodes, node, opacity, threshold, views)
    for other in (*nodes.heatmaps.values(), *nodes_of_case(logics.scene, nodes.case_id, BLEND)):
        legend_of(other).SetVisibility(other is node)
    return node


def _wanted(nodes: CaseNodes, key: Key) -> Any:
    if key not in nodes.heatmaps:
        known = ", ".join(label_of(k) for k in nodes.heatmaps) or tr("none")
        raise InvalidInput("The case has no such heatmap.", tr("It has: {known}.").format(known=known))
    return nodes.heatmaps[key]


def _lay(
    logics: SceneLogics, nodes: CaseNodes, node: Any, opacity: float, threshold: float, views: Optional[Iterable[str]]
) -> None:
    if not 0.0 <= opacity <= 1.0:
        raise InvalidInput("The opacity lies between 0 and 1.", "Choose another.")
    if node is not None:
        set_threshold(node, threshold)
    wanted = None if views is None else set(views)
    for composite in nodes_by_class(logics.scene, "vtkMRMLSliceCompositeNode"):
        if wanted is None or composite.GetLayoutName() in wanted:
            composite.SetBackgroundVolumeID(nodes.ct.GetID())
            composite.SetForegroundVolumeID(None if node is None else node.GetID())
            composite.SetForegroundOpacity(0.0 if node is None else opacity)


def compare(
    logics: SceneLogics,
    nodes: CaseNodes,
    first: Key,
    second: Key,
    share: Optional[float] = None,
    opacity: float = OPACITY,
    threshold: float = THRESHOLD,
    views: tuple[str, str] = ("Red", "Yellow"),
) -> tuple[Any, ...]:
    """Two maps side by side, or blended.

    Parameters
    ----------
    share : None shows ``first`` in the first view and ``second`` in the second, both views alike; a number from 0 to 1
        blends them into one map, each scaled to its own largest value, ``share`` being that of ``second``
    views : layout names, for side by side

    Returns
    -------
    The nodes that are shown.
    """
    pair = _wanted(nodes, first), _wanted(nodes, second)
    if share is None:
        show(logics, nodes, None)
        for node, view in zip(pair, views):
            _lay(logics, nodes, node, opacity, threshold, [view])
            legend_of(node).SetVisibility(True)
        _side_by_side(logics, views)
        return pair
    if not 0.0 <= share <= 1.0:
        raise InvalidInput("The share lies between 0 and 1.", "Choose another.")
    blend = _blend(logics, nodes, pair, share)
    show(logics, nodes, None)
    _lay(logics, nodes, blend, opacity, threshold, None)
    legend_of(blend).SetVisibility(True)
    return (blend,)


def _side_by_side(logics: SceneLogics, views: tuple[str, str]) -> None:
    """The second view on the same plane as the first; both beside each other where there is a layout."""
    from slicer import vtkMRMLLayoutNode

    slices = {n.GetLayoutName(): n for n in nodes_by_class(logics.scene, "vtkMRMLSliceNode")}
    for layout in nodes_by_class(logics.scene, "vtkMRMLLayoutNode"):
        layout.SetViewArrangement(vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
    if views[0] in slices and views[1] in slices:
        one, other = slices[views[0]], slices[views[1]]
        other.GetSliceToRAS().DeepCopy(one.GetSliceToRAS())
        other.SetFieldOfView(*one.GetFieldOfView())
        other.UpdateMatrices()
    for composite in nodes_by_class(logics.scene, "vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() in views:
            composite.SetLinkedControl(True)


def _blend(logics: SceneLogics, nodes: CaseNodes, pair: tuple[Any, Any], share: float) -> Any:
    """A volume over both maps' crops with their weighted sum; the earlier one is replaced."""
    grid = affine_of(nodes.ct, world=False)
    parts = []
    for node, weight in zip(pair, (1.0 - share, share)):
        first = np.rint(np.linalg.solve(grid, affine_of(node, world=False))[:3, 3]).astype(int)[::-1]
        scaled = np.clip(voxels_of(node), 0.0, None) * np.float32(weight / (top_of(node) or 1.0))
        parts.append((first, scaled))
    low = np.min([first for first, _ in parts], axis=0)
    high = np.max([first + values.shape for first, values in parts], axis=0)
    whole = np.zeros(high - low, np.float32)
    for first, values in parts:
        whole[tuple(slice(a, a + n) for a, n in zip(first - low, values.shape))] += values
    remove(logics.scene, nodes_of_case(logics.scene, nodes.case_id, BLEND))
    names = [label_of(key_of(node)) for node in pair]
    node = logics.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", " + ".join(names))
    local = grid.copy()
    local[:3, 3] += local[:3, :3] @ low[::-1]
    set_image(node, whole, local)
    mark(node, nodes.case_id, BLEND)
    words = [f"{100 * (1 - share):.0f} % {names[0]}", f"{100 * share:.0f} % {names[1]}"]
    _finish(logics, nodes.ct, node, BLEND, ", ".join(words))
    return node
