"""A scene saved as .mrb and loaded again, a case imported again, a case removed: all there, once, or gone."""

import numpy as np
import pytest
from LungXAILib import corrections, heatmaps, hierarchy, naming, nodules, record, results, volumes
from LungXAILib.colours import HEAT_ATTRIBUTE
from LungXAILib.hierarchy import tree
from LungXAILib.terminology import nodule_entry
from scene_cases import (
    AFFINES,
    case,
    cell_rows,
    ct,
    empty_case,
    fusion,
    node_count,
    segment_voxels,
    slice_views,
    transform,
    world_of_voxel,
)

from shared_models.phantom import write_dicom


def imported(logics, affine="oblique", **other):
    volume = ct(AFFINES[affine])
    return results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume, **other))


def corners(node) -> np.ndarray:
    i, j, k = (n - 1 for n in node.GetImageData().GetDimensions())
    return np.array([world_of_voxel(node, p) for p in ((0, 0, 0), (i, 0, 0), (0, j, 0), (0, 0, k), (i, j, k))])


def outlined(nodes) -> np.ndarray:
    """RAS mm of the voxels of both nodules, sorted along a line that no two of them share."""
    places = [segment_voxels(nodes.segmentation, f"nodule_{n}")[0] for n in (1, 2)]
    return np.vstack([p[np.argsort(p @ (0.531, 0.7113, 1.0))] for p in places])


@pytest.mark.parametrize("affine", [name for name in sorted(AFFINES) if name != "left-handed"])
def test_everything_is_there_after_a_reload(logics, complaints, reload, affine) -> None:
    node = volumes.volume_node(logics, ct(AFFINES[affine]), "ct")
    node.SetAndObserveTransformNodeID(transform(logics).GetID())
    given = case(volumes.volume_of(node))
    before = results.import_case(logics, node, given)
    tables = [cell_rows(t) for t in (before.table, before.fusion_table)]
    text, counted = before.record.GetText(), node_count(logics)
    places = {key: corners(map_node) for key, map_node in before.heatmaps.items()}
    segments = outlined(before)
    [after] = reload()
    assert after.case_id == "case-1"
    assert after.ct.GetName() == "ct" and after.ct is not node
    assert np.array_equal(volumes.volume_of(after.ct).voxels, ct().voxels)
    assert np.allclose(volumes.volume_of(after.ct).ijk_to_lps, given.mask.ijk_to_lps, atol=1e-4)
    assert [cell_rows(t) for t in (after.table, after.fusion_table)] == tables
    assert after.record.GetText() == text
    assert record.radiology_of(after.record) == given.radiology
    assert set(after.heatmaps) == set(places)
    for key, map_node in after.heatmaps.items():
        assert np.allclose(corners(map_node), places[key], atol=1e-3)
        assert map_node.GetDisplayNode().GetColorNode().GetAttribute(HEAT_ATTRIBUTE)
        assert map_node.GetDisplayNode().GetApplyThreshold()
        assert heatmaps.top_of(map_node) == 5.0
        assert heatmaps.legend_of(map_node).GetTitleText().startswith(heatmaps.label_of(key))
    assert np.allclose(outlined(after), segments, atol=1e-3)
    for label, side in ((1, "right"), (2, "left")):
        segment = after.segmentation.GetSegmentation().GetSegment(f"nodule_{label}")
        assert segment.GetName() == f"Nodule {label}, {side} lung"
        assert tag(segment, "TerminologyEntry") == nodule_entry(side)
    assert not after.segmentation.GetDisplayNode().GetVisibility2DFill()
    assert after.markups.GetNumberOfControlPoints() == 2 and after.markups.GetLocked()
    assert [s.GetYColumnName() for s in series(after.fusion_chart)] == [
        "Adenocarcinoma", "Squamous cell carcinoma", "not assessed",
    ]  # fmt: skip
    assert len(series(after.contributions_chart)) == 5
    assert series(after.contributions_chart)[0].GetTableNode() is not None
    items = tree(logics.scene)
    assert items.GetItemName(after.folder) == "LungXAI case-1 (synthetic, research use only)"
    assert items.GetItemLevel(items.GetItemParent(after.folder)) == "Study"
    grown = {k: v for k, v in node_count(logics).items() if v != counted.get(k) and "Storage" not in k}
    assert set(grown) <= {"vtkMRMLCrosshairNode"}
    assert not complaints


def tag(segment, name: str) -> str:
    import vtk

    value = vtk.reference("")
    assert segment.GetTag(name, value)
    return str(value)


def series(chart) -> list:
    return [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]


def test_a_reloaded_case_works_on(logics, complaints, reload) -> None:
    imported(logics)
    [nodes] = reload()
    views = slice_views(logics)
    for view in views.values():
        view.GetSliceNode().SetOrientationToAxial()
    nodules.jump_to(logics, nodes, 1)
    assert heatmaps.show(logics, nodes, ("gradcam", "nodule")) is nodes.heatmaps["gradcam", "nodule"]
    given = case(volumes.volume_of(nodes.ct))
    assert np.array_equal(corrections.corrected_labels(nodes).labels, given.mask.labels)
    again = results.import_case(logics, nodes.ct, given)
    assert len(results.case_nodes(logics)) == 1
    assert again.ct is nodes.ct
    assert not complaints


def test_a_left_handed_ct_is_turned_round_by_the_reload_and_still_fits(logics, complaints, reload) -> None:
    volume = ct(AFFINES["left-handed"])
    given = case(volume)
    before = results.import_case(logics, volumes.volume_node(logics, volume, "ct"), given)
    segments = outlined(before)
    [after] = reload()
    for nodes in (after, results.import_case(logics, after.ct, given)):
        assert np.allclose(outlined(nodes), segments, atol=1e-3)
        labels = corrections.corrected_labels(nodes)
        read = volumes.volume_of(nodes.ct)
        assert np.array_equal(labels.labels > 0, read.voxels > -500)
        assert np.allclose(labels.ijk_to_lps, read.ijk_to_lps)
    assert not complaints


def test_the_dicom_identifiers_outlast_a_reload(logics, reload, tmp_path) -> None:
    write_dicom(ct(uid="2.25.4711"), tmp_path / "series")
    node = volumes.load_ct(logics, tmp_path / "series")
    source = volumes.dicom_source(node)
    results.import_case(logics, node, case(volumes.volume_of(node)))
    [nodes] = reload()
    assert volumes.dicom_source(nodes.ct) == source
    assert volumes.series_uid_of(nodes.ct) == "2.25.4711"
    assert len(source.instance_uids) == 14
    assert record.read(nodes.record)["ct"]["instance_uids"] == list(source.instance_uids)
    items = tree(logics.scene)
    study = items.GetItemByUID("DICOM", source.study_uid)
    assert items.GetItemParent(nodes.folder) == study


def test_two_cases_in_one_scene_stay_apart(logics, reload) -> None:
    imported(logics, "oblique")
    second = ct(AFFINES["plain"], seed=3)
    results.import_case(logics, volumes.volume_node(logics, second, "other"), case(second, "case-2", synthetic=False))
    found = {nodes.case_id: nodes for nodes in reload()}
    assert {name: nodes.ct.GetName() for name, nodes in found.items()} == {"case-1": "ct", "case-2": "other"}
    assert found["case-2"].table.GetName() == "Nodule table (case-2)"
    results.remove_case(logics, "case-1")
    [left] = results.case_nodes(logics)
    assert left.case_id == "case-2"
    assert left.heatmaps["gradcam", "nodule"].GetDisplayNode().GetColorNode() is not None


def test_importing_again_replaces_and_never_doubles(logics, complaints) -> None:
    nodes = imported(logics)
    counted = node_count(logics)
    given = case(volumes.volume_of(nodes.ct))
    for _ in range(3):
        again = results.import_case(logics, nodes.ct, given)
        assert node_count(logics) == counted
    assert again.record is not nodes.record
    items = tree(logics.scene)
    folders = [i for i in hierarchy.children(items, items.GetSceneItemID(), True) if items.GetItemLevel(i) == "Folder"]
    assert folders == [again.folder]
    assert not complaints


def test_a_new_answer_replaces_the_old_one(logics) -> None:
    nodes = imported(logics)
    volume = volumes.volume_of(nodes.ct)
    again = results.import_case(logics, nodes.ct, empty_case(volume, fusion=None))
    assert again.table.GetNumberOfRows() == 0
    assert not again.heatmaps
    assert naming.nodes_of_case(logics.scene, "case-1", results.PLOT_PART) == []
    assert record.fusion_of(again.record) is None


def test_a_case_that_moves_to_another_ct_takes_its_folder_along(logics) -> None:
    """The same series loaded twice."""
    nodes = imported(logics)
    other = volumes.volume_node(logics, volumes.volume_of(nodes.ct), "loaded again")
    counted = node_count(logics)
    again = results.import_case(logics, other, case(volumes.volume_of(other)))
    assert node_count(logics) == counted
    items = tree(logics.scene)
    assert again.folder == nodes.folder
    assert items.GetItemParent(again.folder) == items.GetItemParent(items.GetItemByDataNode(other))
    assert [n.ct for n in results.case_nodes(logics)] == [other]


def test_a_fault_in_the_middle_leaves_the_old_case(logics, monkeypatch) -> None:
    nodes = imported(logics)
    counted = node_count(logics)

    def broken(*_):
        raise MemoryError("no room for the record")

    monkeypatch.setattr(record, "record_node", broken)
    with pytest.raises(MemoryError):
        results.import_case(logics, nodes.ct, case(volumes.volume_of(nodes.ct)))
    assert node_count(logics) == counted
    [still] = results.case_nodes(logics)
    assert still.record is nodes.record and still.table is nodes.table


def test_removing_a_case_leaves_what_was_there_before(logics, complaints) -> None:
    slice_views(logics)
    node = volumes.volume_node(logics, ct(), "ct")
    hierarchy.study_of(node)
    counted = node_count(logics)
    items = tree(logics.scene)
    listed = items.GetNumberOfItems()
    given = case(volumes.volume_of(node))
    nodes = results.import_case(logics, node, given)
    heatmaps.show(logics, nodes, ("gradcam", "nodule"))
    heatmaps.compare(logics, nodes, ("gradcam", "nodule"), ("integrated_gradients", "malignancy"), share=0.5)
    assert node_count(logics) != counted
    results.remove_case(logics, "case-1")
    assert node_count(logics) == counted
    assert items.GetNumberOfItems() == listed
    assert node.GetScene() is logics.scene
    assert not complaints


def test_removing_a_saved_case_removes_its_storage_nodes(logics, reload) -> None:
    imported(logics)
    [nodes] = reload()
    results.remove_case(logics, nodes.case_id)
    left = {name: count for name, count in node_count(logics).items() if "Storage" in name}
    assert left == {"vtkMRMLVolumeArchetypeStorageNode": 1}  # the CT's


def test_a_case_that_lost_a_node_is_not_found(logics) -> None:
    nodes = imported(logics)
    logics.scene.RemoveNode(nodes.table)
    assert results.case_nodes(logics) == []
    results.remove_case(logics, "case-1")
    assert naming.nodes_of_case(logics.scene, "case-1") == []


def test_a_case_that_lost_a_heatmap_goes_on_without_it(logics) -> None:
    nodes = imported(logics)
    logics.scene.RemoveNode(nodes.heatmaps["gradcam", "nodule"])
    [left] = results.case_nodes(logics)
    assert set(left.heatmaps) == {("integrated_gradients", "malignancy")}
    assert fusion() == record.fusion_of(left.record)
