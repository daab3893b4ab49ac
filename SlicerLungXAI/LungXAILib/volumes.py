"""Volume nodes to CTVolume and back.

volume_of()      a scalar volume node as a CTVolume, or why it is no CT; its linear transforms are part of the geometry
series_uid_of()  the series' identifier, or the name that stands for it
affine_of()      where a node's voxels lie in the world
volume_node()    a node made from a CTVolume

Read from the disk: loading.py. DICOM identifiers: dicom_source.py.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import Array, CTVolume, checked_affine

from .coordinates import array_of, turned_affine, vtk_matrix
from .dicom_source import DicomSource, dicom_source
from .loading import load_ct
from .logics import SceneLogics

__all__ = [
    "DicomSource", "affine_of", "dicom_source", "load_ct", "same_place", "series_uid_of", "volume_node", "volume_of",
    "voxels_of", "world_of",
]  # fmt: skip

SERIES_ATTRIBUTE = "LungXAI.SeriesUID"
_CHOOSE = "Choose the axial CT series."
_SAMPLES = 1 << 20


def volume_of(node: Any) -> CTVolume:
    """The CT that a volume node shows, in world coordinates.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode; int16 voxels are shared with it, not copied

    Returns
    -------
    CTVolume; its ``series_uid`` is the DICOM one, or a name made from the voxels that stays the same when the file is
    loaded again.

    Raises
    ------
    InvalidInput : nothing chosen, no voxels, colour, labels, a time sequence, or values that are no HU.
    BadGeometry : under a transform that bends space, or without a usable affine.
    """
    check_kind(node)
    affine = affine_of(node)
    voxels = _whole_hu(voxels_of(node))
    return CTVolume(voxels, affine, series_uid_of(node))


def series_uid_of(node: Any) -> str:
    """What volume_of() calls the series of a node."""
    source = dicom_source(node)
    known = (source.series_uid if source is not None else "") or node.GetAttribute(SERIES_ATTRIBUTE)
    return known or _name(voxels_of(node), affine_of(node, world=False))


def check_kind(node: Any) -> None:
    """Raise InvalidInput, in words, for a node that cannot hold one CT."""
    if node is None:
        raise InvalidInput("No volume is chosen.", _CHOOSE)
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InvalidInput("This is not a volume of grey values.", _CHOOSE)
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InvalidInput("This volume holds labels, not a CT.", _CHOOSE)
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InvalidInput("This volume is empty.", "Load the CT again.")
    if image.GetNumberOfScalarComponents() != 1 or node.IsA("vtkMRMLMultiVolumeNode"):
        raise InvalidInput("This volume has several values per voxel (colour or 4D).", _CHOOSE)
    if _is_frame_of_sequence(node):
        raise InvalidInput("This volume is one frame of a time sequence (4D).", "Export one phase as a volume.")
    if image.GetDimensions()[2] < 2:
        raise InvalidInput("This is a single picture, not a CT volume.", _CHOOSE)


def _is_frame_of_sequence(node: Any) -> bool:
    scene = node.GetScene()
    if scene is None:
        return False
    browsers = scene.GetNodesByClass("vtkMRMLSequenceBrowserNode")
    browsers.UnRegister(None)
    found = (browsers.GetItemAsObject(i) for i in range(browsers.GetNumberOfItems()))
    return any(browser.IsProxyNodeID(node.GetID()) for browser in found)


def voxels_of(node: Any) -> Array:
    """View of a node's voxels, (slices, rows, columns)."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def affine_of(node: Any, world: bool = True) -> Array:
    """``ijk_to_lps`` (4, 4) mm of a volume node.

    Parameters
    ----------
    world : with its parent transforms; else in the node's own frame

    Raises
    ------
    BadGeometry : a parent transform bends space, or the affine cannot be inverted.
    """
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = array_of(matrix)
    if world:
        affine = world_of(node) @ affine
    return checked_affine(turned_affine(affine))


def world_of(node: Any) -> Array:
    """Matrix (4, 4) of a node's parent transforms, from its own frame to the world, both RAS.

    Raises
    ------
    BadGeometry : one of them bends space.
    """
    import vtk

    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise BadGeometry(
            "The CT lies under a transform that bends space.", "Harden the transform, or take the CT out of it."
        )
    to_world = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(to_world)
    return array_of(to_world)


def same_place(first: Array, second: Array, shape: tuple[int, ...]) -> bool:
    """Whether two affines put each voxel of a (slices, rows, columns) grid at the same place, within 10 micrometres."""
    far = np.array(shape[::-1], dtype=np.float64)
    corners = np.array([[*(far * bits), 1.0] for bits in np.ndindex(2, 2, 2)]).T
    return bool(np.abs((first - second) @ corners).max() < 0.01)


def flipped(axis: int, count: int) -> Array:
    """Matrix (4, 4) from the index of a grid whose ``axis`` was turned round to the index before."""
    turn = np.eye(4)
    turn[axis, axis], turn[axis, 3] = -1.0, count - 1.0
    return turn


def _whole_hu(voxels: Array) -> Array:
    """int16 HU; the same rules as for files (shared_models/ct_files.py), in the same words."""
    low, high = voxels.min(), voxels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InvalidInput("The volume holds values that are not numbers.", "Replace them with -1024.")
    if low < -32768 or high > 32767:
        raise InvalidInput("The volume's values lie outside what HU can be.", "Choose the CT itself, in HU.")
    low, high = round(float(low)), round(float(high))
    if low >= 0 or (low > -5 and high < 5):
        raise InvalidInput(
            f"The values run from {low} to {high}: a CT in HU has air below -200, so these are not HU.",
            "Choose the CT itself, in HU; not a mask, a PET or a picture.",
        )
    if voxels.dtype.kind == "f":
        voxels = np.rint(voxels)
    return voxels.astype(np.int16, copy=False)


def _name(voxels: Array, local_affine: Array) -> str:
    """A name for a CT without one: by its grid and a sample of its voxels, for hashing them all would take long.

    Slicer turns the slices of a left-handed grid round when it loads a scene: the name is that of the right-handed one.
    """
    if np.linalg.det(local_affine[:3, :3]) < 0:
        local_affine = local_affine @ flipped(2, len(voxels))
        voxels = voxels[::-1]
    flat = np.ascontiguousarray(voxels).reshape(-1)
    digest = hashlib.sha256(repr((voxels.shape, local_affine.round(6).tolist())).encode())
    digest.update(np.rint(flat[:: 1 + flat.size // _SAMPLES]).astype("<i2").tobytes())
    return f"volume-{digest.hexdigest()[:24]}"


def volume_node(logics: SceneLogics, volume: CTVolume, name: str) -> Any:
    """A scalar volume node with the voxels and geometry of ``volume``, and its series_uid as an attribute."""
    node = logics.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    set_image(node, volume.voxels, volume.ijk_to_lps)
    node.SetAttribute(SERIES_ATTRIBUTE, volume.series_uid)
    display = add_display(node, -1350.0, 150.0)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    return node


def add_display(node: Any, low: float, high: float) -> Any:
    """A display node with a window from ``low`` to ``high``; Slicer's default one would search the voxels for one."""
    display = node.GetScene().CreateNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.UnRegister(None)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    node.GetScene().AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())
    return display


def set_image(node: Any, voxels: Array, ijk_to_lps: Array) -> None:
    """Put an array (slices, rows, columns) into a volume node; the affine is in the node's own frame."""
    node.SetAndObserveImageData(image_of(voxels))
    node.SetIJKToRASMatrix(vtk_matrix(turned_affine(ijk_to_lps)))


def image_of(voxels: Array) -> Any:
    """vtkImageData with a copy of an array (slices, rows, columns)."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(voxels).reshape(-1), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def lung_window(node: Any) -> None:
    """Level -600 HU, width 1500 HU: the window of the report's pictures."""
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1500.0, -600.0)
