"""The nodules' segmentation: one segment a nodule, with its colour, terminology and closed surface.

segmentation_node()   LabelVolume -> vtkMRMLSegmentationNode on the CT's grid
segment_id()          of a nodule
show_3d()             the surfaces in the 3D views
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import LabelVolume, Nodule, RadiologyResult
from shared_models.contract.values import Array

from .colours import nodule_colour
from .logics import SceneLogics
from .terminology import TAG, nodule_entry
from .text import tr

LABEL_TAG = "LungXAI.Label"
_BINARY, _SURFACE = "Binary labelmap", "Closed surface"


def segment_id(label: int) -> str:
    """Id of the segment of the nodule with ``label``; the label stays readable when segments are renamed."""
    return f"nodule_{label}"


def check_labels(mask: LabelVolume, result: RadiologyResult) -> None:
    """Raise InvalidInput unless every label of the mask is a nodule of the result and the other way round."""
    marked = set(np.unique(mask.labels[mask.labels > 0]).tolist())
    if marked != {nodule.label for nodule in result.nodules}:
        raise InvalidInput("The outlines do not belong to these nodules.", "Analyse the CT again.")


def segmentation_node(logics: SceneLogics, ct_node: Any, mask: LabelVolume, result: RadiologyResult, name: str) -> Any:
    """A segmentation on the CT's grid, under the CT's transform.

    Parameters
    ----------
    mask : on the grid of ``ct_node``; see results.import_case(), which checks that
    """
    node = logics.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    # Before the reference geometry, which is else that of the moved CT: saving the scene would resample the outlines.
    node.SetAndObserveTransformNodeID(ct_node.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct_node)
    node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(_BINARY)
    if result.nodules:
        boxes = _boxes(mask.labels)
        image = _labelmap(mask.labels, boxes[0], ct_node)
        for nodule in result.nodules:
            segment = _segment(nodule, image)
            segment.AddRepresentation(_SURFACE, _surface(mask.labels, nodule.label, boxes[nodule.label], ct_node))
            segmentation.AddSegment(segment, segment_id(nodule.label))
    display = node.GetDisplayNode()
    display.SetPreferredDisplayRepresentationName2D(_BINARY)
    display.SetPreferredDisplayRepresentationName3D(_SURFACE)
    # An outline alone: a filled segment would hide the CT and the heatmap under it.
    display.SetOpacity2DFill(0.0)
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DOutline(1.0)
    return node


Box = tuple[slice, ...]


def _boxes(labels: Array) -> dict[int, Box]:
    """The smallest box (slices, rows, columns) of each label, and that of all of them under 0."""
    marked = np.flatnonzero(labels)
    values = labels.reshape(-1)[marked]
    low, high = np.full((256, 3), np.iinfo(np.int64).max), np.full((256, 3), -1)
    for axis, place in enumerate(np.unravel_index(marked, labels.shape)):
        np.minimum.at(low[:, axis], values, place)
        np.maximum.at(high[:, axis], values, place)
    low[0], high[0] = low.min(axis=0), high.max(axis=0)
    known = [0, *np.unique(values).tolist()]
    return {n: tuple(slice(int(a), int(b) + 1) for a, b in zip(low[n], high[n])) for n in known}


def _labelmap(labels: Array, box: Box, ct_node: Any) -> Any:
    """vtkOrientedImageData of a box of the CT's grid, in the CT's own frame."""
    import vtk
    from slicer import vtkOrientedImageData
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtkOrientedImageData()
    image.SetExtent(*(bound for part in box[::-1] for bound in (part.start, part.stop - 1)))
    scalars = numpy_to_vtk(np.ascontiguousarray(labels[box]).reshape(-1), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    matrix = vtk.vtkMatrix4x4()
    ct_node.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    return image


def _surface(labels: Array, label: int, box: Box, ct_node: Any) -> Any:
    """vtkPolyData around one nodule, by Slicer's own conversion.

    Of a labelmap of its own, as large as the nodule: of the shared one Slicer would search the whole CT once a nodule.
    """
    from slicer import vtkSegment, vtkSegmentation

    segment, alone = vtkSegment(), vtkSegmentation()
    segment.AddRepresentation(_BINARY, _labelmap(labels, box, ct_node))
    segment.SetLabelValue(label)
    alone.SetSourceRepresentationName(_BINARY)
    alone.AddSegment(segment, "nodule")
    alone.CreateRepresentation(_SURFACE)
    return segment.GetRepresentation(_SURFACE)


def _segment(nodule: Nodule, image: Any) -> Any:
    from slicer import vtkSegment

    segment = vtkSegment()
    segment.SetName(nodule_name(nodule))
    segment.SetColor(*nodule_colour(nodule.label))
    segment.SetTag(TAG, nodule_entry(nodule.side))
    segment.SetTag(LABEL_TAG, str(nodule.label))
    segment.SetLabelValue(nodule.label)
    segment.AddRepresentation(_BINARY, image)
    return segment


def nodule_name(nodule: Nodule) -> str:
    """For example "Nodule 1, right lung"."""
    sides = {"left": tr("left lung"), "right": tr("right lung"), None: ""}
    return ", ".join(filter(None, [tr("Nodule {number}").format(number=nodule.label), sides[nodule.side]]))


def show_3d(segmentation_node: Any, shown: bool = True) -> None:
    """Show or hide the nodules' surfaces in the 3D views."""
    if shown:
        segmentation_node.CreateClosedSurfaceRepresentation()
    segmentation_node.GetDisplayNode().SetVisibility3D(shown)
