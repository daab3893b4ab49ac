"""A case in the scene: every node is there, where it belongs and as it should look; wrong ones are refused whole."""

import dataclasses
import json

import numpy as np
import pytest
from LungXAILib import heatmaps, hierarchy, naming, record, results, segmentations, volumes
from LungXAILib.colours import nodule_colour
from LungXAILib.terminology import nodule_entry, side_of_entry
from scene_cases import (
    AFFINES,
    SUBTYPE,
    case,
    ct,
    empty_case,
    heatmap,
    lps_to_ras,
    nodule,
    radiology,
    segment_voxels,
    transform,
    world_of_voxel,
)

from shared_models.contract.errors import InvalidInput
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import LabelVolume
from shared_models.contract.values import CLASSES, CTVolume


def placed_ct(logics, affine, moved: bool = False, uid: str = ""):
    """A CT node, and its CTVolume as it lies in the world."""
    node = volumes.volume_node(logics, ct(affine, uid=uid), "ct")
    if moved:
        node.SetAndObserveTransformNodeID(transform(logics).GetID())
    return node, volumes.volume_of(node)


@pytest.fixture(params=[(name, moved) for name in sorted(AFFINES) for moved in (False, True)], ids=str)
def imported(request, logics):
    name, moved = request.param
    node, volume = placed_ct(logics, AFFINES[name], moved)
    made = case(volume)
    return node, volume, made, results.import_case(logics, node, made)


def rows(points) -> set:
    return {tuple(p) for p in np.round(points, 3) + 0.0}


def test_each_labelled_voxel_lies_where_it_lies_in_the_ct(imported) -> None:
    ct_node, _, made, nodes = imported
    for label in (1, 2):
        places, image = segment_voxels(nodes.segmentation, segmentations.segment_id(label))
        wanted = [world_of_voxel(ct_node, ijk[::-1]) for ijk in np.argwhere(made.mask.labels == label)]
        assert rows(places) == rows(wanted) and len(places) == len(wanted) > 50
        assert np.allclose(image.GetSpacing(), ct_node.GetSpacing())


def test_each_voxel_of_a_heatmap_lies_where_it_lies_in_the_ct(imported) -> None:
    ct_node, _, made, nodes = imported
    for given in made.heatmaps:
        node = nodes.heatmaps[given.method, given.target]
        assert np.array_equal(volumes.voxels_of(node), given.values)
        first = np.rint(np.linalg.solve(made.mask.ijk_to_lps, given.index_to_world)[:3, 3])
        for k, j, i in ((0, 0, 0), (5, 6, 7), (2, 1, 4)):
            assert np.allclose(world_of_voxel(node, (i, j, k)), world_of_voxel(ct_node, first + (i, j, k)), atol=1e-6)


def test_each_markup_lies_at_its_nodule(imported) -> None:
    _, _, made, nodes = imported
    assert nodes.markups.GetNumberOfControlPoints() == 2
    for row, found in enumerate(made.radiology.nodules):
        place = [0.0, 0.0, 0.0]
        nodes.markups.GetNthControlPointPositionWorld(row, place)
        assert np.allclose(place, lps_to_ras(found.centre_lps_mm), atol=1e-9)


def test_the_surfaces_lie_around_the_nodules(imported) -> None:
    _, _, made, nodes = imported
    for found in made.radiology.nodules:
        surface = nodes.segmentation.GetSegmentation().GetSegment(segmentations.segment_id(found.label))
        surface = surface.GetRepresentation("Closed surface")
        assert surface.GetNumberOfCells() > 20
        centre = [0.0, 0.0, 0.0]
        nodes.segmentation.TransformPointToWorld(surface.GetCenter(), centre)
        assert np.linalg.norm(np.array(centre) - lps_to_ras(found.centre_lps_mm)) < 2.0


def test_results_move_with_their_ct(logics) -> None:
    ct_node, volume = placed_ct(logics, AFFINES["oblique"])
    made = case(volume)
    nodes = results.import_case(logics, ct_node, made)
    ct_node.SetAndObserveTransformNodeID(None)
    later = transform(logics)
    for node in (ct_node, nodes.segmentation, nodes.markups, *nodes.heatmaps.values()):
        node.SetAndObserveTransformNodeID(later.GetID())
    places, _ = segment_voxels(nodes.segmentation, "nodule_1")
    assert rows(places) == rows([world_of_voxel(ct_node, p[::-1]) for p in np.argwhere(made.mask.labels == 1)])


@pytest.fixture
def nodes(logics, complaints):
    node, volume = placed_ct(logics, AFFINES["oblique"])
    yield results.import_case(logics, node, case(volume))
    assert not complaints


def test_the_segments_have_names_colours_labels_and_terminology(nodes) -> None:
    segmentation = nodes.segmentation.GetSegmentation()
    assert [segmentation.GetNthSegmentID(i) for i in range(2)] == ["nodule_1", "nodule_2"]
    for label, name, side in ((1, "Nodule 1, right lung", "right"), (2, "Nodule 2, left lung", "left")):
        segment = segmentation.GetSegment(f"nodule_{label}")
        assert segment.GetName() == name
        assert np.allclose(segment.GetColor(), nodule_colour(label))
        assert segment.GetLabelValue() == label
        assert tag(segment, "TerminologyEntry") == nodule_entry(side)
        assert tag(segment, "LungXAI.Label") == str(label)
    assert segmentation.GetSourceRepresentationName() == "Binary labelmap"
    assert segmentation.GetNumberOfLayers() == 1  # one shared labelmap, as Slicer itself would keep it


def tag(segment, name: str) -> str:
    import vtk

    value = vtk.reference("")
    assert segment.GetTag(name, value)
    return str(value)


def test_the_terminology_is_what_slicer_reads(logics, nodes) -> None:
    from slicer import vtkSlicerTerminologyEntry

    entry = vtkSlicerTerminologyEntry()
    segment = nodes.segmentation.GetSegmentation().GetSegment("nodule_1")
    assert logics.terminologies.DeserializeTerminologyEntry(tag(segment, "TerminologyEntry"), entry)

    def code(part):
        return part.GetCodingSchemeDesignator(), part.GetCodeValue(), part.GetCodeMeaning()

    assert code(entry.GetCategoryObject()) == ("SCT", "49755003", "Morphologically Altered Structure")
    assert code(entry.GetTypeObject()) == ("SCT", "27925004", "Nodule")
    region = entry.GetRegionObject() if hasattr(entry, "GetRegionObject") else entry.GetAnatomicRegionObject()
    assert code(region) == ("SCT", "39607008", "Lung")
    side = entry.GetRegionModifierObject() if hasattr(entry, "GetRegionModifierObject") else None
    side = side or entry.GetAnatomicRegionModifierObject()
    assert code(side) == ("SCT", "24028007", "Right")


def test_the_codes_are_in_slicers_own_terminology(logics) -> None:
    """The entry's contexts, category, type and modifier, looked up in the files that Slicer ships."""
    folder = logics.terminologies.GetModuleShareDirectory()
    if not folder:
        pytest.skip("no terminology files here: trame-slicer brings them")
    from pathlib import Path

    types = json.loads((Path(folder) / "SegmentationCategoryTypeModifier-DICOM-Master.term.json").read_text())
    regions = json.loads((Path(folder) / "AnatomicRegionAndModifier-DICOM-Master.term.json").read_text())
    parts = nodule_entry("left").split("~")
    assert (parts[0], parts[4]) == (types["SegmentationCategoryTypeContextName"], regions["AnatomicContextName"])

    def coded(entry) -> str:
        return f"{entry['CodingSchemeDesignator']}^{entry['CodeValue']}^{entry['CodeMeaning']}"

    category = next(c for c in types["SegmentationCodes"]["Category"] if coded(c) == parts[1])
    assert parts[2] in map(coded, category["Type"])
    lung = next(r for r in regions["AnatomicCodes"]["AnatomicRegion"] if coded(r) == parts[5])
    assert {parts[6], nodule_entry("right").split("~")[6]} <= set(map(coded, lung["Modifier"]))


def test_a_side_that_is_not_known_has_no_modifier() -> None:
    assert nodule_entry(None).endswith("~SCT^39607008^Lung~^^")
    assert [side_of_entry(nodule_entry(side)) for side in ("left", "right", None)] == ["left", "right", None]


def test_the_outlines_are_drawn_and_the_surfaces_shown(nodes) -> None:
    display = nodes.segmentation.GetDisplayNode()
    assert display.GetVisibility2DOutline() and not display.GetVisibility2DFill()
    assert display.GetPreferredDisplayRepresentationName2D() == "Binary labelmap"
    assert display.GetPreferredDisplayRepresentationName3D() == "Closed surface"
    segmentations.show_3d(nodes.segmentation, False)
    assert not display.GetVisibility3D()
    segmentations.show_3d(nodes.segmentation)
    assert display.GetVisibility3D()


def test_the_outlines_know_their_ct(nodes) -> None:
    segmentation = nodes.segmentation
    reference = segmentation.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(reference) is nodes.ct


def test_every_node_says_what_it_is_and_carries_the_notice(logics, nodes) -> None:
    every = naming.nodes_of_case(logics.scene, "case-1")
    roles = {node.GetAttribute(naming.ROLE) for node in every}
    assert roles == {
        "segmentation", "markups", "table", "heatmap", "record", "fusion table", "fusion chart", "contributions chart",
        "plot part",
    }  # fmt: skip
    assert {node.GetAttribute("LungXAI.Notice") for node in every} == {NOTICE}
    shown = [n for n in every if n.GetAttribute(naming.ROLE) not in ("plot part",)]
    assert all(node.GetName().endswith("(case-1, synthetic)") for node in shown)


def test_everything_lies_in_the_study_of_the_ct(logics, nodes) -> None:
    from slicer import vtkMRMLSubjectHierarchyConstants

    excluded = vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName()
    tree = hierarchy.tree(logics.scene)
    study = tree.GetItemParent(tree.GetItemByDataNode(nodes.ct))
    assert tree.GetItemLevel(study) == "Study"
    assert tree.GetItemLevel(tree.GetItemParent(study)) == "Patient"
    assert tree.GetItemParent(nodes.folder) == study
    assert tree.GetItemLevel(nodes.folder) == "Folder"
    assert tree.GetItemName(nodes.folder) == "LungXAI case-1 (synthetic, research use only)"
    assert tree.GetItemAttribute(nodes.folder, "LungXAI.Notice") == NOTICE
    for node in naming.nodes_of_case(logics.scene, "case-1"):
        item = tree.GetItemByDataNode(node)
        assert tree.GetItemParent(item) == nodes.folder
        hidden = tree.GetItemAttribute(item, excluded) == "1"
        assert hidden == (node.GetAttribute(naming.ROLE) == "plot part")


def test_the_record_says_what_made_the_results(nodes) -> None:
    body = record.read(nodes.record)
    given = case(volumes.volume_of(nodes.ct))
    assert (body["case_id"], body["synthetic"], body["made"]) == ("case-1", True, given.made)
    assert body["notice"] == NOTICE
    assert body["ct"]["series_uid"] == given.radiology.series_uid
    assert body["ct"]["volume_sha256"] == given.volume_sha256
    assert body["radiology"]["provenance"][0]["weights_sha256"] == "ab" * 32
    assert body["heatmaps"][1]["method"] == "integrated_gradients"
    assert body["heatmaps"][0]["parameters"] == {"layer": "tests", "steps": 3}
    assert body["server"] == {"protocol": 1, "version": "test", "device": "cpu", "models": []}
    assert (body["pathology"]["tiles"], "tile_probabilities" in body["pathology"]) == (2, False)
    assert record.radiology_of(nodes.record) == given.radiology
    assert record.fusion_of(nodes.record) == given.fusion
    assert record.clinical_of(nodes.record) == given.clinical


@pytest.mark.parametrize("text", ["", "{", "[]", '{"record": "other"}', '{"record": "LungXAI", "version": 99}'])
def test_a_spoiled_record_is_said_to_be_one(nodes, text) -> None:
    nodes.record.SetText(text)
    with pytest.raises(InvalidInput, match="record"):
        record.read(nodes.record)


def test_no_nodule_leaves_an_empty_segmentation_and_the_reason(logics, complaints) -> None:
    node, volume = placed_ct(logics, AFFINES["left-handed"])
    nodes = results.import_case(logics, node, empty_case(volume, clinical=None, fusion=None))
    assert nodes.segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert nodes.markups.GetNumberOfControlPoints() == nodes.table.GetNumberOfRows() == 0
    assert nodes.table.GetNumberOfColumns() == 13
    assert nodes.heatmaps == {} and nodes.fusion_table is None and nodes.fusion_chart is None
    abstention = record.radiology_of(nodes.record).abstention
    assert (abstention.reason, abstention.what_would_help) == ("No nodule was found.", "Point at one that you see.")
    assert record.fusion_of(nodes.record) is record.clinical_of(nodes.record) is None
    assert not complaints


def test_255_nodules(logics, complaints) -> None:
    shape = (8, 40, 48)
    voxels = np.full(shape, -900, np.int16)
    labels = np.zeros(shape, np.uint8)
    for label in range(1, 256):
        k, j, i = label % 2 * 4 + 1, (label // 2) // 16 * 5 + 1, (label // 2) % 16 * 3
        labels[k : k + 2, j : j + 2, i : i + 2] = label
    voxels[labels > 0] = 20
    volume = CTVolume(voxels, AFFINES["anisotropic"], "many")
    found = tuple(nodule(volume, labels, n, malignancy=0.5, subtype=SUBTYPE, side=None) for n in range(1, 256))
    ct_node = volumes.volume_node(logics, volume, "ct")
    made = case(
        volume, radiology=radiology(volume, found), mask=LabelVolume(labels, volume.ijk_to_lps, "many"), heatmaps=()
    )
    nodes = results.import_case(logics, ct_node, made)
    segmentation = nodes.segmentation.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == nodes.table.GetNumberOfRows() == 255
    for label in (1, 128, 255):
        places, _ = segment_voxels(nodes.segmentation, f"nodule_{label}")
        assert rows(places) == rows([world_of_voxel(ct_node, p[::-1]) for p in np.argwhere(labels == label)])
        assert segmentation.GetSegment(f"nodule_{label}").GetRepresentation("Closed surface").GetNumberOfCells() > 0
    assert not complaints


def test_a_turned_round_grid_is_the_same_grid(logics) -> None:
    """The server's CT is left-handed; Slicer turned the slices round when it loaded the scene."""
    volume = ct(AFFINES["left-handed"], uid="turned")
    made = case(volume)
    affine = np.array(volume.ijk_to_lps)
    affine[:3, 3] += affine[:3, 2] * (len(volume.voxels) - 1)
    affine[:3, 2] *= -1
    ct_node = volumes.volume_node(logics, CTVolume(volume.voxels[::-1], affine, "turned"), "ct")
    nodes = results.import_case(logics, ct_node, made)
    for label in (1, 2):
        places, _ = segment_voxels(nodes.segmentation, f"nodule_{label}")
        lps = [(volume.ijk_to_lps @ [*p[::-1], 1.0])[:3] for p in np.argwhere(made.mask.labels == label)]
        assert rows(places) == rows(lps_to_ras(lps))
    for given in made.heatmaps:
        node = nodes.heatmaps[given.method, given.target]
        for k, j, i in ((0, 0, 0), (5, 6, 7), (2, 1, 4)):
            lps = (given.index_to_world @ [i, j, k, 1.0])[:3]
            value = volumes.voxels_of(node)[5 - k, j, i]
            assert value == given.values[k, j, i]
            assert np.allclose(world_of_voxel(node, (i, j, 5 - k)), lps_to_ras(lps), atol=1e-6)


def test_an_empty_heatmap_is_kept_but_draws_nothing(logics, complaints) -> None:
    node, volume = placed_ct(logics, AFFINES["plain"])
    empty = dataclasses.replace(heatmap(volume), values=np.zeros((6, 7, 8), np.float32))
    nodes = results.import_case(logics, node, case(volume, heatmaps=(empty,)))
    shown = nodes.heatmaps["gradcam", "nodule"]
    assert heatmaps.top_of(shown) == 0.0
    heatmaps.set_threshold(shown, 0.0)
    assert shown.GetDisplayNode().GetLowerThreshold() > 0.0
    assert not complaints


def test_every_class_is_in_the_table() -> None:
    from LungXAILib import nodules

    assert len(nodules.columns()) == 8 + len(CLASSES)
