"""The nodules as markups and as a table; a row of the table is a nodule, and every view can jump to it.

markups_node()   one control point a nodule, in the order of the rows
table_node()     size, density, malignancy, class probabilities; "not assessed" where there is no answer
jump_to()        every slice and 3D view to a nodule
row_of()         the row of a segment
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import Nodule, RadiologyResult
from shared_models.contract.values import CLASSES

from .colours import nodule_colour
from .coordinates import turned
from .heatmaps import onto_map
from .logics import SceneLogics
from .naming import nodes_by_class
from .segmentations import segment_id
from .text import probability, tr

if TYPE_CHECKING:
    from .results import CaseNodes

FOUND_BY_WORDS = {
    "search": "search",
    "point": "point of the reader",
    "box": "box of the reader",
    "hand": "outline of the reader",
}
_NUMBERS = ("Long axis (mm)", "Short axis (mm)", "Volume (mm\u00b3)", "Mean density (HU)")


def columns() -> tuple[str, ...]:
    """Titles of the table's columns."""
    titles = ["Nodule", "Lung", *_NUMBERS, "Malignancy", *(CLASS_LABELS[name] for name in CLASSES), "Found by"]
    return tuple(tr(title) for title in titles)


def cells(nodule: Nodule) -> tuple[Any, ...]:
    """One row: numbers to the precision that the CT gives, probabilities in words."""
    return (
        int(nodule.label),
        tr(nodule.side or "not known"),
        round(float(nodule.long_axis_mm), 1),
        round(float(nodule.short_axis_mm), 1),
        round(float(nodule.volume_mm3), 0),
        round(float(nodule.mean_hu), 0),
        probability(nodule.malignancy),
        *(probability(nodule.subtype[name]) for name in CLASSES),
        tr(FOUND_BY_WORDS[nodule.found_by]),
    )


def table_node(logics: SceneLogics, result: RadiologyResult, name: str) -> Any:
    """A vtkMRMLTableNode with one row a nodule, in the order of the result: malignancy, then size."""
    node = logics.scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    fill(node, columns(), [cells(nodule) for nodule in result.nodules])
    return node


def fill(node: Any, titles: tuple[str, ...], rows: list[tuple[Any, ...]], numbers: tuple[str, ...] = ()) -> None:
    """Put rows into a table node. A column is of whole numbers, numbers or text, by its first row.

    Parameters
    ----------
    numbers : titles of columns that are numbers even without a row
    """
    import vtk

    node.RemoveAllColumns()
    known = {**dict.fromkeys((tr(title) for title in _NUMBERS), float), tr("Nodule"): int}
    for column, title in enumerate(titles):
        values = [row[column] for row in rows]
        kind = type(values[0]) if values else float if title in numbers else known.get(title, str)
        array = {int: vtk.vtkIntArray, float: vtk.vtkDoubleArray, str: vtk.vtkStringArray}[kind]()
        array.SetName(title)
        for value in values:
            array.InsertNextValue(value)
        node.AddColumn(array)
    # Renamed in Slicer 5.10.
    titled = getattr(node, "SetUseColumnTitleAsColumnHeader", None) or node.SetUseColumnNameAsColumnHeader
    titled(True)
    node.SetLocked(True)


def markups_node(logics: SceneLogics, ct_node: Any, result: RadiologyResult, name: str) -> Any:
    """A fiducial list, one point a nodule at its centre, under the CT's transform; locked against dragging."""
    node = logics.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(ct_node.GetTransformNodeID())
    for nodule in result.nodules:
        index = node.AddControlPointWorld(turned(nodule.centre_lps_mm).tolist())
        node.SetNthControlPointLabel(index, f"{nodule.label}: {probability(nodule.malignancy)}")
        node.SetNthControlPointDescription(index, describe(nodule))
        node.SetNthControlPointAssociatedNodeID(index, ct_node.GetID())
        node.SetNthControlPointLocked(index, True)
        node.SetNthControlPointSelected(index, False)
    node.SetLocked(True)
    display = node.GetDisplayNode()
    display.SetColor(*nodule_colour(1))
    display.SetSelectedColor(1.0, 1.0, 1.0)
    display.SetGlyphTypeFromString("CrossDot2D")
    display.SetGlyphScale(2.0)
    display.SetTextScale(3.0)
    display.SetOccludedVisibility(True)
    return node


def describe(nodule: Nodule) -> str:
    """Size and malignancy in one line."""
    size = tr("{long:.1f} x {short:.1f} mm, {volume:.0f} mm\u00b3, {hu:.0f} HU").format(
        long=nodule.long_axis_mm, short=nodule.short_axis_mm, volume=nodule.volume_mm3, hu=nodule.mean_hu
    )
    return f"{size}; {tr('malignancy')} {probability(nodule.malignancy)}"


def jump_to(logics: SceneLogics, nodes: CaseNodes, row: int) -> None:
    """Centre every slice view and 3D view on the nodule of a row, and select its markup.

    With a heatmap in front that is not drawn at the nodule's middle, on the nearest slice of the nodule where it is.

    Raises
    ------
    InvalidInput : the table has no such row.
    """
    if not 0 <= row < nodes.markups.GetNumberOfControlPoints():
        raise InvalidInput("There is no such nodule.", "Choose a row of the table.")
    place = [0.0, 0.0, 0.0]
    nodes.markups.GetNthControlPointPositionWorld(row, place)
    place = onto_map(logics, nodes, place)
    for view in nodes_by_class(logics.scene, "vtkMRMLSliceNode"):
        view.JumpSliceByCentering(*place)
    for camera in nodes_by_class(logics.scene, "vtkMRMLCameraNode"):
        _turn(camera, place)
    for index in range(nodes.markups.GetNumberOfControlPoints()):
        nodes.markups.SetNthControlPointSelected(index, index == row)


def _turn(camera_node: Any, place: list[float]) -> None:
    """The camera keeps its direction and distance and looks at ``place``."""
    away = np.array(camera_node.GetPosition()) - np.array(camera_node.GetFocalPoint())
    camera_node.SetFocalPoint(*place)
    camera_node.SetPosition(*(np.array(place) + away))
    camera_node.ResetClippingRange()


def row_of(nodes: CaseNodes, segment: str) -> Optional[int]:
    """The row of a segment by its id; None where it is not one of the nodules."""
    table = nodes.table
    labels = [int(table.GetCellText(row, 0)) for row in range(table.GetNumberOfRows())]
    return next((row for row, label in enumerate(labels) if segment_id(label) == segment), None)
