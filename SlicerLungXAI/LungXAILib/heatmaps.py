"""Heatmaps as volumes over the CT: one a method and target, in the heat ramp, with a legend.

heatmap_nodes()  Heatmap -> vtkMRMLScalarVolumeNode, a crop of the CT's grid; a second one of what speaks against
check_on_grid()  BadGeometry for a map that is not on the CT's grid
show()           one map over the CT in every slice view, or none
compare()        two maps in two views, or blended into one
onto_map()       a place, moved to the nearest slice on which the map in front shows something there

What a map says of itself, on its node and in its legend, is in heat_labels.py and can be had from here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional

import numpy as np

from shared_models.contract.errors import InvalidInput
from shared_models.contract.heatmap_words import parts
from shared_models.contract.results import Heatmap, placed
from shared_models.contract.values import Array

from . import heat_labels
from .colours import fade_below, heat_node, two_sided_node
from .heat_labels import Key as Key
from .heat_labels import Said, is_against, key_of, label_of, legend_of, say, top_of
from .logics import SceneLogics
from .naming import mark, nodes_by_class, nodes_of_case, remove
from .text import tr
from .volumes import add_display, affine_of, set_image, voxels_of

if TYPE_CHECKING:
    from .results import CaseNodes

BLEND = "blend"
OPACITY, THRESHOLD = 0.6, 0.25
_REACH_MM = 40.0  # of onto_map()


def check_on_grid(heatmap: Heatmap, shape: tuple[int, ...], ijk_to_lps: Array) -> None:
    """Raise BadGeometry unless the map is a crop of the CT's grid."""
    probe = np.broadcast_to(np.uint8(0), heatmap.values.shape)
    placed(probe, heatmap.index_to_world, shape, ijk_to_lps)  # type: ignore[arg-type]


def heatmap_nodes(
    logics: SceneLogics, ct_node: Any, heatmap: Heatmap, named: Callable[[str], str] = lambda label: label
) -> list[Any]:
    """A volume of what speaks for the target, and where there is any, one of what speaks against it; not shown yet.

    Each lies on the map's crop of the CT's grid, under the CT's transform. Its window runs from 0 to its own largest
    value: weak evidence of one sign would be lost on the scale of the other.

    Parameters
    ----------
    named : the name of a node, from its label
    """
    first = np.rint(np.linalg.solve(affine_of(ct_node), heatmap.index_to_world)[:3, 3])
    # In the CT's own frame and on its very grid: rounding of the wire would show as a seam.
    local = affine_of(ct_node, world=False).copy()
    local[:3, 3] += local[:3, :3] @ first
    pair = [part for part in parts(heatmap) if part is not None]
    tops = [float(part.values.max()) for part in pair]
    made = []
    for part, other_top in zip(pair, tops[::-1] if len(pair) > 1 else [0.0]):
        key = part.method, part.target
        node = logics.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", named(label_of(key)))
        set_image(node, part.values, local)
        _finish(ct_node, node, Said.of(part, other_top), heat_node(logics.scene, is_against(key)))
        made.append(node)
    return made


def _finish(ct_node: Any, node: Any, said: Said, colours: Any) -> None:
    """``colours`` of two sides have their middle at 0."""
    node.SetAndObserveTransformNodeID(ct_node.GetTransformNodeID())
    top = said.top or 1.0
    display = add_display(node, -top if _two_sided(colours) else 0.0, top)
    display.SetAndObserveColorNodeID(colours.GetID())
    display.SetApplyThreshold(True)
    say(node, said)
    set_threshold(node, THRESHOLD)


def _two_sided(colours: Any) -> bool:
    return bool(colours.IsA("vtkMRMLColorTableNode"))


def set_threshold(node: Any, threshold: float) -> None:
    """Hide what lies below ``threshold``, 0 to 1 of the map's largest value."""
    if not 0.0 <= threshold <= 1.0:
        raise InvalidInput("The threshold lies between 0 and 1.", "Choose another.")
    top = top_of(node)
    display = node.GetDisplayNode()
    colours = display.GetColorNode()
    if colours is not None and _two_sided(colours):
        # A threshold of Slicer's has one range that is drawn; here two are, with nothing between them.
        fade_below(colours, threshold if top > 0 else 1.0)
        display.SetThreshold(-top, top)
        return
    # Zero says nothing, so it is never drawn; an empty map is not drawn at all.
    smallest = np.nextafter(np.float32(0.0), np.float32(1.0))
    lower = max(threshold * top, float(smallest)) if top > 0 else 1.0
    modifying = display.StartModify()
    # One that was loaded from a file says that it applies its threshold, but does so only when it is told again.
    display.SetApplyThreshold(False)
    display.SetThreshold(lower, max(top, lower))
    display.SetApplyThreshold(True)
    display.EndModify(modifying)


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
    for other in (*nodes.heatmaps.values(), *_blends(logics, nodes)):
        legend_of(other).SetVisibility(other is node)
    return node


def _blends(logics: SceneLogics, nodes: CaseNodes) -> list[Any]:
    every = nodes_of_case(logics.scene, nodes.case_id, BLEND)
    return [node for node in every if node.IsA("vtkMRMLScalarVolumeNode")]


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
        blends them into one map, each scaled to its own largest value, ``share`` being that of ``second``; what speaks
        against is taken off what speaks for, and each side keeps its own ramp
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


def onto_map(logics: SceneLogics, nodes: CaseNodes, place_ras: Sequence[float]) -> list[float]:
    """A place, moved along the CT's slices to the nearest one on which the map in front is drawn around it.

    A map of what one axial slice says lies on that slice alone, which need not be the one through a nodule's middle.
    The place stays where no map is in front, where the map is drawn there anyway, and where it is not within 40 mm.

    Parameters
    ----------
    place_ras : world, mm
    """
    front = {c.GetForegroundVolumeID() for c in nodes_by_class(logics.scene, "vtkMRMLSliceCompositeNode")}
    every = (*nodes.heatmaps.values(), *_blends(logics, nodes))
    node = next((node for node in every if node.GetID() in front), None)
    place = [float(x) for x in place_ras]
    if node is None or top_of(node) <= 0:
        return place
    affine, values = affine_of(node), np.abs(voxels_of(node))
    index = np.linalg.solve(affine, [-place[0], -place[1], place[2], 1.0])[:3]
    reach = _REACH_MM / np.linalg.norm(affine[:3, :3], axis=0)
    low, high = (np.clip(np.rint(index + sign * reach), 0, None).astype(int) for sign in (-1, 1))
    window = values[low[2] : high[2] + 1, low[1] : high[1] + 1, low[0] : high[0] + 1]
    if not window.size:
        return place
    seen = np.flatnonzero(window.max(axis=(1, 2)) >= max(node.GetDisplayNode().GetLowerThreshold(), 1e-12)) + low[2]
    here = int(np.rint(index[2]))
    if not len(seen) or here in seen:
        return place
    nearest = int(seen[np.abs(seen - index[2]).argmin()])
    lps = affine[:3, :3] @ [index[0], index[1], float(nearest)] + affine[:3, 3]
    return [-float(lps[0]), -float(lps[1]), float(lps[2])]


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
    """A volume over both maps' crops with their weighted sum, the rest 0; the earlier one is replaced."""
    grid = affine_of(nodes.ct, world=False)
    against = [is_against(key_of(node)) for node in pair]
    signs = (-1.0 if a and not all(against) else 1.0 for a in against)
    pieces = []
    for node, weight, sign in zip(pair, (1.0 - share, share), signs):
        first = np.rint(np.linalg.solve(grid, affine_of(node, world=False))[:3, 3]).astype(int)[::-1]
        scaled = np.clip(voxels_of(node), 0.0, None) * np.float32(sign * weight / (top_of(node) or 1.0))
        pieces.append((first, scaled))
    low = np.min([first for first, _ in pieces], axis=0)
    high = np.max([first + values.shape for first, values in pieces], axis=0)
    whole = np.zeros(high - low, np.float32)
    for first, values in pieces:
        whole[tuple(slice(a, a + n) for a, n in zip(first - low, values.shape))] += values
    remove(logics.scene, nodes_of_case(logics.scene, nodes.case_id, BLEND))
    names = [label_of(key_of(node)) for node in pair]
    node = logics.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", " + ".join(names))
    local = grid.copy()
    local[:3, 3] += local[:3, :3] @ low[::-1]
    set_image(node, whole, local)
    mark(node, nodes.case_id, BLEND)
    if any(against) and not all(against):
        colours = two_sided_node(logics.scene)
        mark(colours, nodes.case_id, BLEND)
    else:
        colours = heat_node(logics.scene, all(against))
    words = [f"{100 * (1 - share):.0f} % {names[0]}", f"{100 * share:.0f} % {names[1]}"]
    _finish(nodes.ct, node, _said_of_both(pair, ", ".join(words), float(np.abs(whole).max())), colours)
    return node


def _said_of_both(pair: tuple[Any, Any], target: str, top: float) -> Said:
    failed = [heat_labels.fails(node) for node in pair]
    said = list(dict.fromkeys(heat_labels.trust_of(node) for node in pair))
    if len(said) > 1:
        said = [f"{label_of(key_of(node))}: {heat_labels.trust_of(node)}" for node in pair]
    models = dict.fromkeys(heat_labels.model_of(node) for node in pair)
    return Said(BLEND, target, top, ", ".join(filter(None, models)), "; ".join(said), any(failed))
