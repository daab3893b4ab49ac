"""A whole case into the scene, and found there again. Main thread only.

CaseNodes       the nodes of one case
import_case()   CaseResults -> CaseNodes, under the CT's study; what the case had in the scene is replaced
case_nodes()    every case of the scene, for example after it was loaded
remove_case()   a case out of the scene, with its display and storage nodes

The record node holds references to all others, so a reloaded scene knows which belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from shared_models.contract.errors import BadGeometry, InvalidInput

from . import fusion_nodes, heatmaps, hierarchy, naming, nodules, record, segmentations
from .case_results import CaseResults, turned_like
from .colours import HEAT_ATTRIBUTE
from .heatmaps import Key, key_of
from .logics import SceneLogics
from .text import tr
from .volumes import affine_of, check_kind, same_place, series_uid_of

# Roles of references from the record node, and of the attribute LungXAI.Role.
RECORD, CT = "record", "ct"
SEGMENTATION, MARKUPS, TABLE, HEATMAP = "segmentation", "markups", "table", "heatmap"
FUSION_TABLE, FUSION_CHART, CONTRIBUTIONS = "fusion table", "fusion chart", "contributions chart"
PLOT_PART = "plot part"
_REFERENCE = {
    CT: "lungxaiCT",
    SEGMENTATION: "lungxaiSegmentation",
    MARKUPS: "lungxaiMarkups",
    TABLE: "lungxaiTable",
    HEATMAP: "lungxaiHeatmap",
    FUSION_TABLE: "lungxaiFusionTable",
    FUSION_CHART: "lungxaiFusionChart",
    CONTRIBUTIONS: "lungxaiContributionsChart",
    PLOT_PART: "lungxaiPlotPart",
}


@dataclass(frozen=True, eq=False)
class CaseNodes:
    """The nodes of one case.

    Parameters
    ----------
    case_id : of the server
    ct, segmentation, markups, table, record : MRML nodes
    heatmaps : (method, target) to volume node; what speaks against a target is a map of its own
    fusion_table, fusion_chart, contributions_chart : None where the case was not fused
    folder : subject hierarchy item that holds them
    """

    case_id: str
    ct: Any
    segmentation: Any
    markups: Any
    table: Any
    record: Any
    heatmaps: Mapping[Key, Any] = field(default_factory=dict)
    fusion_table: Optional[Any] = None
    fusion_chart: Optional[Any] = None
    contributions_chart: Optional[Any] = None
    folder: int = 0


def import_case(logics: SceneLogics, ct_node: Any, case: CaseResults) -> CaseNodes:
    """Put a case into the scene.

    Parameters
    ----------
    ct_node : the CT that was analysed

    Raises
    ------
    InvalidInput : the results are of another CT, or do not belong together.
    BadGeometry : the CT was moved since, or a map is not on its grid.

    Nothing in the scene changes when it raises.
    """
    case = _checked(ct_node, case)
    scene = logics.scene
    old = naming.nodes_of_case(scene, case.case_id)
    there = {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}
    try:
        made = _made(logics, ct_node, case)
    except BaseException:
        new = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
        naming.remove(scene, [node for node in new if node.GetID() not in there])
        raise
    naming.remove(scene, old)
    [kept] = made.pop(RECORD)
    naming.mark(kept, case.case_id, RECORD)
    kept.SetNodeReferenceID(_REFERENCE[CT], ct_node.GetID())
    folder = hierarchy.case_folder(ct_node, case.case_id, case.synthetic)
    hierarchy.moved(kept, folder)
    for role, nodes in made.items():
        for node in nodes:
            naming.mark(node, case.case_id, role)
            kept.AddNodeReferenceID(_REFERENCE[role], node.GetID())
            hierarchy.moved(node, folder, shown=role != PLOT_PART)
    found = _found(scene, kept)
    assert found is not None  # everything it looks for was made above
    return found


def _made(logics: SceneLogics, ct_node: Any, case: CaseResults) -> dict[str, list[Any]]:
    """The nodes of a case by their role, not yet marked or put in their place."""
    label = tr("{case}, synthetic").format(case=case.case_id) if case.synthetic else case.case_id

    def named(what: str) -> str:
        return f"{what} ({label})"

    outlines = segmentations.segmentation_node(
        logics, ct_node, case.mask, case.radiology, named(tr("Nodule outlines"))
    )
    made = {
        SEGMENTATION: [outlines],
        MARKUPS: [nodules.markups_node(logics, ct_node, case.radiology, named(tr("Nodule markers")))],
        TABLE: [nodules.table_node(logics, case.radiology, named(tr("Nodule table")))],
        HEATMAP: [
            node for heatmap in case.heatmaps for node in heatmaps.heatmap_nodes(logics, ct_node, heatmap, named)
        ],
        RECORD: [record.record_node(logics, ct_node, case, named(tr("LungXAI record")))],
    }
    if case.fusion is not None:
        chart, *parts = fusion_nodes.probability_chart(logics, case.fusion, named(tr("Fused probability chart")))
        made[FUSION_TABLE] = [fusion_nodes.fusion_table(logics, case.fusion, named(tr("Fused answer")))]
        made[FUSION_CHART], made[PLOT_PART] = [chart], parts
        chart, *parts = fusion_nodes.contribution_chart(logics, case.fusion, named(tr("Contributions chart")))
        made[CONTRIBUTIONS] = [chart]
        made[PLOT_PART] += parts
    return made


def _checked(ct_node: Any, case: CaseResults) -> CaseResults:
    """The case on the grid of this CT as it lies now; raises unless it is of this CT."""
    check_kind(ct_node)
    if case.radiology.series_uid != series_uid_of(ct_node):
        raise InvalidInput("These results are of another CT.", "Choose the CT that was analysed, or analyse this one.")
    shape = ct_node.GetImageData().GetDimensions()[::-1]
    if shape != case.mask.labels.shape:
        raise BadGeometry("The outlines do not fit this CT.", "Choose the CT that was analysed, or analyse this one.")
    affine = affine_of(ct_node)
    case = turned_like(case, affine)
    if not same_place(affine, case.mask.ijk_to_lps, shape):
        raise BadGeometry(
            "The CT was moved or changed since it was analysed.", "Undo its transform, or analyse it again."
        )
    segmentations.check_labels(case.mask, case.radiology)
    for heatmap in case.heatmaps:
        heatmaps.check_on_grid(heatmap, shape, affine)
    return case


def case_nodes(logics: SceneLogics, scene: Optional[Any] = None) -> list[CaseNodes]:
    """Every case in a scene whose nodes are all there; ``scene`` is that of the logics unless given."""
    scene = logics.scene if scene is None else scene
    texts = naming.nodes_by_class(scene, "vtkMRMLTextNode")
    found = (_found(scene, node) for node in texts if node.GetAttribute(naming.ROLE) == RECORD)
    return [nodes for nodes in found if nodes is not None]


def _found(scene: Any, kept: Any) -> Optional[CaseNodes]:
    """The case of a record node; None where a node that every case needs was deleted."""

    def referred(role: str) -> list[Any]:
        name = _REFERENCE[role]
        every = (kept.GetNthNodeReference(name, i) for i in range(kept.GetNumberOfNodeReferences(name)))
        return [node for node in every if node is not None]

    def one(role: str) -> Optional[Any]:
        return next(iter(referred(role)), None)

    needed = {role: one(role) for role in (CT, SEGMENTATION, MARKUPS, TABLE)}
    if None in needed.values():
        return None
    tree = hierarchy.tree(scene)
    return CaseNodes(
        case_id=kept.GetAttribute(naming.CASE),
        ct=needed[CT],
        segmentation=needed[SEGMENTATION],
        markups=needed[MARKUPS],
        table=needed[TABLE],
        record=kept,
        heatmaps={key_of(node): node for node in referred(HEATMAP)},
        fusion_table=one(FUSION_TABLE),
        fusion_chart=one(FUSION_CHART),
        contributions_chart=one(CONTRIBUTIONS),
        folder=tree.GetItemParent(tree.GetItemByDataNode(kept)),
    )


def remove_case(logics: SceneLogics, case_id: str) -> None:
    """Take a case out of the scene. The CT, its study and other cases stay."""
    scene = logics.scene
    tree = hierarchy.tree(scene)
    naming.remove(scene, naming.nodes_of_case(scene, case_id))
    for folder in hierarchy.children(tree, tree.GetSceneItemID(), recursive=True):
        if tree.GetItemAttribute(folder, hierarchy.CASE_ATTRIBUTE) == case_id:
            tree.RemoveItem(folder, False, False)
    if not case_nodes(logics):
        palettes = naming.nodes_by_class(scene, "vtkMRMLProceduralColorNode")
        naming.remove(scene, [node for node in palettes if node.GetAttribute(HEAT_ATTRIBUTE)])
