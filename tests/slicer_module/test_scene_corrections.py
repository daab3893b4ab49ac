"""Segments that a reader changed, back as labels on the CT's grid."""

import numpy as np
import pytest
from LungXAILib import corrections, results, volumes
from scene_cases import AFFINES, case, ct, transform

from shared_models.contract.errors import BadGeometry, InvalidInput


@pytest.fixture(params=sorted(AFFINES))
def nodes(request, logics):
    node = volumes.volume_node(logics, ct(AFFINES[request.param]), "ct")
    node.SetAndObserveTransformNodeID(transform(logics).GetID())
    return results.import_case(logics, node, case(volumes.volume_of(node)))


@pytest.fixture
def plain(logics):
    volume = ct()
    return results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume))


def draw(nodes, segment: str, block: np.ndarray, extent=None, grid=None) -> None:
    """Replace a segment's voxels, as the Segment Editor does; ``block`` is bool (slices, rows, columns)."""
    import vtk
    from slicer import vtkOrientedImageData, vtkSlicerSegmentationsModuleLogic
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtkOrientedImageData()
    k, j, i = block.shape
    image.SetExtent(*(extent or (0, i - 1, 0, j - 1, 0, k - 1)))
    image.GetPointData().SetScalars(numpy_to_vtk(block.astype(np.uint8).reshape(-1), deep=True))
    matrix = vtk.vtkMatrix4x4()
    nodes.ct.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix if grid is None else grid)
    segmentation = nodes.segmentation.GetSegmentation()
    if segmentation.GetSegment(segment) is None:
        segmentation.AddEmptySegment(segment, segment)
    logic = vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, nodes.segmentation, segment, logic.MODE_REPLACE, image.GetExtent())


def box(nodes, where) -> np.ndarray:
    shape = nodes.ct.GetImageData().GetDimensions()[::-1]
    block = np.zeros(shape, bool)
    block[where] = True
    return block


def test_what_was_not_changed_comes_back_voxel_by_voxel(nodes, complaints) -> None:
    read = volumes.volume_of(nodes.ct)
    labels = corrections.corrected_labels(nodes)
    assert np.array_equal(labels.labels, case(read).mask.labels)
    assert np.allclose(labels.ijk_to_lps, read.ijk_to_lps)
    assert labels.series_uid == read.series_uid
    assert not complaints


def test_a_corrected_a_new_and_a_deleted_segment(nodes, complaints) -> None:
    smaller, new = box(nodes, np.s_[9:11, 15:18, 13:15]), box(nodes, np.s_[0:2, 0:5, 10:20])
    draw(nodes, "nodule_2", smaller)
    draw(nodes, "by hand", new)
    nodes.segmentation.GetSegmentation().RemoveSegment("nodule_1")
    labels = corrections.corrected_labels(nodes).labels
    assert np.array_equal(labels == 2, smaller)
    assert np.array_equal(labels == 1, new)  # the first label that is free
    assert set(np.unique(labels)) == {0, 1, 2}
    assert not complaints


def test_where_segments_overlap_the_first_keeps_the_voxel(plain) -> None:
    first = case(ct()).mask.labels == 1
    over = box(plain, np.s_[3:6, 6:12, 4:9])
    assert (first & over).any() and (over & ~first).any()
    plain.segmentation.GetSegmentation().AddEmptySegment("over", "over")
    draw(plain, "over", over)
    labels = corrections.corrected_labels(plain).labels
    assert np.array_equal(labels == 1, first)
    assert np.array_equal(labels == 3, over & ~first)


def test_an_empty_segment_is_left_out(plain) -> None:
    plain.segmentation.GetSegmentation().AddEmptySegment("nothing", "nothing")
    assert set(np.unique(corrections.corrected_labels(plain).labels)) == {0, 1, 2}


def test_what_was_drawn_outside_the_ct_is_cut_off(plain) -> None:
    block = np.ones((3, 4, 6), bool)
    draw(plain, "nodule_1", block, extent=(-3, 2, -1, 2, -2, 0))
    labels = corrections.corrected_labels(plain).labels
    assert np.array_equal(labels == 1, box(plain, np.s_[0:1, 0:3, 0:3]))


def test_a_segment_on_another_grid_is_taken_at_the_nearest_voxels(plain) -> None:
    import vtk

    finer = vtk.vtkMatrix4x4()
    plain.ct.GetIJKToRASMatrix(finer)
    for row in range(3):
        for column in range(3):
            finer.SetElement(row, column, finer.GetElement(row, column) / 2)
    block = np.zeros((28, 48, 40), bool)
    block[4:12, 10:20, 6:16] = True
    draw(plain, "nodule_1", block, grid=finer)
    labels = corrections.corrected_labels(plain).labels
    # The centres of the CT's voxels are every second voxel of the finer grid.
    assert np.array_equal(labels == 1, block[::2, ::2, ::2])


def test_nothing_marked_is_said(plain) -> None:
    segmentation = plain.segmentation.GetSegmentation()
    for name in ("nodule_1", "nodule_2"):
        segmentation.RemoveSegment(name)
    with pytest.raises(InvalidInput, match="No voxel is marked"):
        corrections.corrected_labels(plain)


def test_outlines_that_were_moved_are_taken_where_they_lie(plain, logics) -> None:
    two_columns = logics.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "two columns")
    matrix = two_columns.GetMatrixTransformToParent()
    matrix.SetElement(0, 3, -1.6)  # RAS; the CT's columns are 0.8 mm apart and run towards the left
    two_columns.SetMatrixTransformToParent(matrix)
    plain.segmentation.SetAndObserveTransformNodeID(two_columns.GetID())
    labels = corrections.corrected_labels(plain).labels
    assert np.array_equal(labels, np.roll(case(ct()).mask.labels, 2, axis=2))


def test_a_hardened_transform_moves_nothing(nodes) -> None:
    from slicer import vtkSlicerTransformLogic

    before = corrections.corrected_labels(nodes)
    assert vtkSlicerTransformLogic.hardenTransform(nodes.ct)
    assert nodes.ct.GetTransformNodeID() is None
    after = corrections.corrected_labels(nodes)
    assert np.allclose(after.ijk_to_lps, before.ijk_to_lps)
    assert np.array_equal(after.labels, before.labels)


def test_outlines_under_a_transform_that_bends_space_are_refused(plain, logics) -> None:
    import vtk

    bent = logics.scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    bent.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    plain.segmentation.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(BadGeometry, match="bends space"):
        corrections.corrected_labels(plain)


def test_more_segments_than_can_be_sent(plain) -> None:
    segmentation = plain.segmentation.GetSegmentation()
    for number in range(254):
        segmentation.AddEmptySegment(f"s{number}", f"s{number}")
    with pytest.raises(InvalidInput, match="256 segments"):
        corrections.corrected_labels(plain)


def test_a_copied_segment_gets_a_label_of_its_own(plain) -> None:
    """A copy in Slicer keeps the tags of the original."""
    segmentation = plain.segmentation.GetSegmentation()
    draw(plain, "copy", box(plain, np.s_[0:1, 0:2, 0:2]))
    segmentation.GetSegment("copy").SetTag("LungXAI.Label", "1")
    labels = corrections.corrected_labels(plain).labels
    assert np.array_equal(labels == 1, case(ct()).mask.labels == 1)
    assert np.array_equal(labels == 3, box(plain, np.s_[0:1, 0:2, 0:2]))
