"""NIfTI files as nnU-Net reads and writes them, through SimpleITK: one volume a file, millimetres.

write_volume()   an array and its affine to .nii.gz
read_labels()    a segmentation, on exactly the grid of the volume that it belongs to

NIfTI keeps a place in float32, so a label file lies off its CT by up to some micrometres: it is accepted where every
corner of the grid lies within TOLERANCE_MM, and then has the CT's own affine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .contract.errors import BadGeometry, InvalidInput
from .contract.values import Array, checked_affine
from .ct_files import MAX_BYTES, MAX_SIDE, file_size
from .training_folder import unwritable

TOLERANCE_MM = 0.01
_SQUARE = 1e-4  # cosine between two axes; NIfTI readers refuse more


def write_volume(path: Path, array: Array, ijk_to_lps: Array) -> None:
    """Write (slices, rows, columns), int16 or uint8, whose (column, row, slice, 1) the affine maps to LPS mm.

    Raises
    ------
    BadGeometry : the axes are not at right angles, as under a tilted gantry.
    ServerError : the file cannot be written.
    """
    import SimpleITK

    affine = checked_affine(ijk_to_lps)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SQUARE:
        raise BadGeometry(
            "The CT's slices are shifted sideways (tilted gantry), which nnU-Net's files cannot hold.",
            "Resample the CT to a straight grid first, in 3D Slicer with Resample Scalar/Vector/DWI Volume.",
        )
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection(direction.ravel().tolist())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(image, str(path), True)
        if not path.stat().st_size:
            raise OSError(28, "no space left")
    except OSError as fault:
        raise unwritable(path, fault) from fault
    except RuntimeError as fault:  # ITK's words name the whole path
        raise unwritable(path, OSError(5, "the file could not be written")) from fault


def _declared(path: Path) -> Any:
    """A reader of one NIfTI file whose header was looked at, and nothing else."""
    import SimpleITK

    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InvalidInput(f"{path.name} is not a NIfTI file.", "nnU-Net writes NAME.nii.gz.")
    file_size(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as fault:
        raise InvalidInput(f"{path.name} cannot be read as NIfTI.", "Predict again.") from fault
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        raise InvalidInput(f"{path.name} does not hold one 3D volume.", "Give one segmentation a file.")
    size = reader.GetSize()
    if max(size) > MAX_SIDE or int(np.prod(size)) * 2 > MAX_BYTES:
        raise InvalidInput(f"{path.name} is larger than any CT that can be read.", "Crop the CT.")
    return reader


def affine_of(image: Any) -> Array:
    """(4, 4), index (column, row, slice, 1) to LPS mm, of a SimpleITK image or reader."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def read_labels(path: Path, shape: tuple[int, ...], ijk_to_lps: Array) -> Array:
    """uint8 (slices, rows, columns) of a segmentation on the grid of a CT.

    Parameters
    ----------
    shape, ijk_to_lps : of the CT

    Raises
    ------
    InvalidInput : not a NIfTI file, or its values are not whole numbers from 0 to 255.
    BadGeometry : another grid; nothing is resampled silently.
    """
    reader = _declared(path)
    if tuple(reader.GetSize()[::-1]) != tuple(shape):
        found = " x ".join(map(str, reader.GetSize()))
        raise BadGeometry(
            f"{path.name} has {found} voxels, the CT has {' x '.join(map(str, shape[::-1]))}.",
            "Give the prediction of this very CT, made from the file that was exported for it.",
        )
    corners = np.array([[c, r, s, 1] for c in (0, shape[2] - 1) for r in (0, shape[1] - 1) for s in (0, shape[0] - 1)])
    off = float(np.abs(corners @ (affine_of(reader) - np.asarray(ijk_to_lps)).T)[:, :3].max())
    if off > TOLERANCE_MM:
        raise BadGeometry(
            f"{path.name} lies up to {off:.3g} mm away from the CT.", "Give the prediction of this very CT."
        )
    import SimpleITK

    try:
        found = SimpleITK.GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as fault:
        raise InvalidInput(f"{path.name} is damaged, or too large for this machine.", "Predict again.") from fault
    if found.min() < 0 or found.max() > 255 or (found.dtype.kind == "f" and (found != np.rint(found)).any()):
        raise InvalidInput(f"{path.name} holds values that are no labels.", "Give the segmentation, not the scores.")
    return np.ascontiguousarray(found.astype(np.uint8))
