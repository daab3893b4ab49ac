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
_BINARY = "Binary labelmap"


def corrected_labels(nodes: CaseNodes) -> LabelVolume:
    """The labels that the case's segments draw on the CT's grid.

    A segment keeps the label that it came with; segments that the reader added get the next free ones. Where segments
    overlap, that of the earlier layer keeps the voxel: the answer's segments share the first. Empty ones are left out.

    Raises
    ------
    InvalidInput : nothing is marked, or there are more than 255 segments.
    BadGeometry : CT or outlines lie under a transform that bends space.

    Outlines that were moved against the CT, or whose CT's transform was hardened, are taken where they lie now.
    """
    to_ct = np.linalg.solve(world_of(nodes.ct), world_of(nodes.segmentation))
    labels = np.zeros(nodes.ct.GetImageData().GetDimensions()[::-1], np.uint8)
    for image, wanted in _layers(nodes.segmentation.GetSegmentation()):
        first, block = _on_grid(image, nodes.ct, to_ct)
        place = labels[tuple(slice(a, a + n) for a, n in zip(first, block.shape))]
        np.copyto(place, wanted[block], where=place == 0)
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


def _layers(segmentation: Any) -> list[tuple[Any, Array]]:
    """Each labelmap that segments share, and the label (256,) to send for each of its values."""
    layers: list[tuple[Any, Array]] = []
    for name, label in _numbered(segmentation):
        segment = segmentation.GetSegment(name)
        image = segment.GetRepresentation(_BINARY)
        if image is None or image.IsEmpty():
            continue
        wanted = next((w for known, w in layers if known is image), None)
        if wanted is None:
            wanted = np.zeros(256, np.uint8)
            layers.append((image, wanted))
        wanted[segment.GetLabelValue()] = label
    return layers


def _on_grid(image: Any, ct_node: Any, to_ct: Array) -> tuple[list[int], Array]:
    """First (slice, row, column) and block of a labelmap's values on the CT's grid; ``to_ct`` is between the frames."""
    import vtk
    from slicer import vtkOrientedImageData, vtkOrientedImageDataResample
    from vtk.util.numpy_support import vtk_to_numpy

    shape = ct_node.GetImageData().GetDimensions()[::-1]
    matrix, own = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    ct_node.GetIJKToRASMatrix(matrix)
    image.GetImageToWorldMatrix(own)
    placed = to_ct @ array_of(own)
    if not np.allclose(placed, array_of(matrix), rtol=0.0, atol=1e-4):
        # Drawn on another grid: the nearest voxel of the CT's.
        grid, moved = vtkOrientedImageData(), vtkOrientedImageData()
        grid.SetExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
        grid.SetImageToWorldMatrix(matrix)
        grid.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        moved.ShallowCopy(image)
        moved.SetImageToWorldMatrix(vtk_matrix(placed))
        image = vtkOrientedImageData()
        resample = vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        if not resample(moved, grid, image, False, False):
            raise InvalidInput("The outlines cannot be put on the CT's grid.", "Draw them on this CT.")
    extent = np.array(image.GetExtent()).reshape(3, 2)[::-1]
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(extent[:, 1] - extent[:, 0] + 1)
    # What was drawn outside the CT cannot be sent.
    first = np.clip(extent[:, 0], 0, shape)
    stop = np.clip(extent[:, 1] + 1, first, shape)
    return first.tolist(), values[tuple(slice(a, b) for a, b in zip(first - extent[:, 0], stop - extent[:, 0]))]
