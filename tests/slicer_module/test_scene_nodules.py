"""The nodule table and markups: every cell, and a row that every view jumps to."""

import numpy as np
import pytest
from LungXAILib import naming, nodules, results, volumes
from LungXAILib.text import probability
from scene_cases import AFFINES, case, cell_rows, ct, labels_of, lps_to_ras, nodule, radiology, slice_views

from shared_models.contract.errors import InvalidInput


@pytest.fixture
def volume():
    return ct(AFFINES["oblique"])


@pytest.fixture
def nodes(logics, volume):
    return results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume))


def test_every_cell(nodes, volume) -> None:
    first, second = case(volume).radiology.nodules
    titles, *rows = cell_rows(nodes.table)
    assert titles == [
        "Nodule", "Lung", "Long axis (mm)", "Short axis (mm)", "Volume (mm\u00b3)", "Mean density (HU)", "Malignancy",
        "Adenocarcinoma", "Squamous cell carcinoma", "Large cell carcinoma", "Small cell carcinoma", "Normal",
        "Found by",
    ]  # fmt: skip
    no = "not assessed"
    assert rows == [
        ["1", "right", "9", "6.3", f"{first.volume_mm3:.0f}", f"{first.mean_hu:.0f}",
         "97.3 %", "75.0 %", "25.0 %", no, no, no, "search"],
        ["2", "left", "10", "6.3", f"{second.volume_mm3:.0f}", f"{second.mean_hu:.0f}",
         no, no, no, no, no, no, "search"],
    ]  # fmt: skip
    assert nodes.table.GetLocked()


def test_measures_are_numbers_so_that_they_can_be_sorted_and_plotted(nodes) -> None:
    table = nodes.table.GetTable()
    kinds = [table.GetColumn(c).IsNumeric() for c in range(table.GetNumberOfColumns())]
    assert kinds == [1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("found_by", "words"),
    [("point", "point of the reader"), ("box", "box of the reader"), ("hand", "outline of the reader")],
)
def test_who_found_it(logics, volume, found_by, words) -> None:
    found = tuple(nodule(volume, labels_of(volume), n, found_by=found_by, side=None) for n in (1, 2))
    made = case(volume, radiology=radiology(volume, found))
    nodes = results.import_case(logics, volumes.volume_node(logics, volume, "ct"), made)
    assert nodes.table.GetCellText(0, 12) == words
    assert nodes.table.GetCellText(0, 1) == "not known"
    assert nodes.segmentation.GetSegmentation().GetNthSegment(0).GetName() == "Nodule 1"


def test_nothing_is_zero_that_was_not_assessed() -> None:
    assert probability(None) == "not assessed"
    assert probability(0.0) == "0.0 %"
    assert probability(1.0) == "> 99.9 %" and probability(0.9994) == "> 99.9 %" and probability(0.999) == "99.9 %"
    assert probability(0.0004) == "< 0.1 %" and probability(0.0) == "0.0 %"


def test_markups_say_what_they_mark_and_stay_put(nodes, volume) -> None:
    markups = nodes.markups
    assert [markups.GetNthControlPointLabel(i) for i in range(2)] == ["1: 97.3 %", "2: not assessed"]
    first = case(volume).radiology.nodules[0]
    described = f"9.0 x 6.3 mm, {first.volume_mm3:.0f} mm\u00b3, {first.mean_hu:.0f} HU; malignancy 97.3 %"
    assert markups.GetNthControlPointDescription(0) == described
    assert all(markups.GetNthControlPointLocked(i) for i in range(2)) and markups.GetLocked()
    assert markups.GetNthControlPointAssociatedNodeID(0) == nodes.ct.GetID()
    assert markups.GetDisplayNode().GetGlyphTypeAsString() == "CrossDot2D"


@pytest.mark.parametrize("row", [0, 1])
def test_every_view_jumps_to_a_row(logics, nodes, volume, row) -> None:
    views = slice_views(logics)
    camera = logics.scene.AddNewNodeByClass("vtkMRMLCameraNode", "camera")
    camera.SetFocalPoint(1.0, 2.0, 3.0)
    camera.SetPosition(1.0, 2.0, 303.0)
    place = lps_to_ras(case(volume).radiology.nodules[row].centre_lps_mm)
    nodules.jump_to(logics, nodes, row)
    for view in views.values():
        to_ras = view.GetSliceNode().GetSliceToRAS()
        assert np.allclose([to_ras.GetElement(i, 3) for i in range(3)], place, atol=1e-6)
        normal = np.array([to_ras.GetElement(i, 2) for i in range(3)])
        assert np.isclose(view.GetSliceNode().GetSliceOffset(), place @ normal, atol=1e-6)
    assert np.allclose(camera.GetFocalPoint(), place)
    assert np.allclose(np.array(camera.GetPosition()) - place, (0, 0, 300))
    assert [nodes.markups.GetNthControlPointSelected(i) for i in range(2)] == [row == 0, row == 1]


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_is_not_there(logics, nodes, row) -> None:
    with pytest.raises(InvalidInput, match="no such nodule"):
        nodules.jump_to(logics, nodes, row)


def test_a_segment_is_a_row(nodes) -> None:
    assert [nodules.row_of(nodes, name) for name in ("nodule_1", "nodule_2", "Segment_1")] == [0, 1, None]


def test_views_without_a_layout_are_no_fault(logics, nodes) -> None:
    assert not naming.nodes_by_class(logics.scene, "vtkMRMLSliceNode")
    nodules.jump_to(logics, nodes, 0)
