"""A segmentation corrected by hand, back into labels on the CT's grid, to be measured and classified again.

corrected_labels()   the case's segments -> LabelVolume; Client.put_mask() sends it
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import LabelVolume
from shared_models.contract.values import Array

from .coordinates import array_of, vtk_matrix
from .results import CaseNodes
from .segmentations import LABEL_TAG
from .volumes import affine_of, series_uid_of, world_of

_MAX_LABEL = 255


def corrected_labels(nodes: CaseNodes) -> LabelVolume:
    """The labels that the case's segments draw on the CT's grid.

    A segment keeps the label that it came with; segments that the reader added get the next free ones. Where segments
    overlap, the one that comes first keeps the voxel. Empty segments are left out.

    Raises
    ------
    InvalidInput : nothing is marked, or there are more than 255 segments.
    BadGeometry : CT or outlines lie under a transform that bends space.

    Outlines that were moved against the CT, or whose CT's transform was hardened, are taken where they lie now.
    """
    to_ct = np.linalg.solve(world_of(nodes.ct), world_of(nodes.segmentation))
    shape = nodes.ct.GetImageData().GetDimensions()[::-1]
    labels = np.zeros(shape, np.uint8)
    for segment, label in _numbered(nodes.segmentation.GetSegmentation()):
        first, own = _voxels(nodes, segment, to_ct)
        place = labels[tuple(slice(a, a + n) for a, n in zip(first, own.shape))]
        place[own & (place == 0)] = label
    if not labels.any():
        raise InvalidInput("No voxel is marked.", "Draw at least one nodule in the Segment Editor.")
    return LabelVolume(labels, affine_of(nodes.ct), series_uid_of(nodes.ct))


def _numbered(segmentation: Any) -> list[tuple[str, int]]:
    """Segment ids with their labels."""
    ids = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
    if len(ids) > _MAX_LABEL:
        raise InvalidInput(f"There are {len(ids)} segments; {_MAX_LABEL} can be sent.", "Delete some.")
    labels: dict[str, int] = {}
    for name in ids:
        tag = _tag(segmentation.GetSegment(name))
        if tag.isdigit() and 1 <= int(tag) <= _MAX_LABEL and int(tag) not in labels.values():
            labels[name] = int(tag)
    free = iter(sorted(set(range(1, _MAX_LABEL + 1)) - set(labels.values())))
    return [(name, labels[name] if name in labels else next(free)) for name in ids]


def _tag(segment: Any) -> str:
    import vtk

    value = vtk.reference("")
    return str(value) if segment.GetTag(LABEL_TAG, value) else ""


def _voxels(nodes: CaseNodes, segment: str, to_ct: Array) -> tuple[list[int], Array]:
    """First (slice, row, column) and bool block of a segment on the CT's grid; ``to_ct`` is between their frames."""
    import vtk
    from slicer import vtkOrientedImageData, vtkOrientedImageDataResample
    from vtk.util.numpy_support import vtk_to_numpy

    image = vtkOrientedImageData()
    if not nodes.segmentation.GetBinaryLabelmapRepresentation(segment, image):
        return [0, 0, 0], np.zeros((0, 0, 0), bool)
    grid = vtkOrientedImageData()
    columns, rows, slices = nodes.ct.GetImageData().GetDimensions()
    grid.SetExtent(0, columns - 1, 0, rows - 1, 0, slices - 1)
    matrix = vtk.vtkMatrix4x4()
    nodes.ct.GetIJKToRASMatrix(matrix)
    grid.SetImageToWorldMatrix(matrix)
    own = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(own)
    placed = to_ct @ array_of(own)
    image.SetImageToWorldMatrix(vtk_matrix(placed))
    if not np.allclose(placed, array_of(matrix), rtol=0.0, atol=1e-4):
        # Drawn on another grid: the nearest voxel of the CT's.
        grid.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, grid, image, False, True)
    extent = np.array(image.GetExtent()).reshape(3, 2)[::-1]
    if (extent[:, 1] < extent[:, 0]).any():
        return [0, 0, 0], np.zeros((0, 0, 0), bool)
    block = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(extent[:, 1] - extent[:, 0] + 1) != 0
    # What was drawn outside the CT cannot be sent.
    first = np.maximum(extent[:, 0], 0)
    stop = np.minimum(extent[:, 1] + 1, [slices, rows, columns])
    inside = tuple(slice(a, max(a, b)) for a, b in zip(first - extent[:, 0], stop - extent[:, 0]))
    return first.tolist(), block[inside]
