"""The one door for CT input: read_ct() takes what the user has and gives a CTVolume, or says what is wrong.

DICOM   a folder with its sub-folders, or one file        ct_dicom.py, ct_slices.py, ct_stack.py, ct_pixels.py
NRRD    .nrrd with its data inside                         ct_nrrd.py, ct_files.py
NIfTI   .nii, .nii.gz                                      ct_nifti.py, ct_files.py
Refused .nhdr, .mhd, .mha, .hdr/.img, pictures, archives

What a file is, is read from its first bytes, not from its name. The geometry is LPS, mm (geometry.py).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Union

import numpy as np

from .contract.errors import InvalidInput, OutOfMemory
from .contract.values import CTVolume, checked_extent
from .ct_dicom import read_dicom
from .ct_files import file_size
from .ct_nifti import read_nifti
from .ct_nrrd import read_nrrd
from .geometry import axial_order

_FORMATS = "Give a DICOM folder, a .nrrd file, or a .nii or .nii.gz file."
_NIFTI_STARTS = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}


def read_ct(path: Union[str, os.PathLike[str]]) -> tuple[CTVolume, tuple[str, ...]]:
    """Read one CT.

    Parameters
    ----------
    path : a DICOM folder (one or many series: an axial CT with the most slices is chosen), or one file

    Returns
    -------
    The volume, int16 HU, and notes in words: what was chosen, left out, or assumed. The notes hold no identifiers.

    Raises
    ------
    InvalidInput : no CT there, or it is damaged, or its values are not HU.
    BadGeometry, SpacingUnknown : its voxels cannot be placed in the body.
    InputTooLarge : beyond 2048 x 2048 x 2048 voxels or 2 GiB, before memory is taken.
    OutOfMemory : allowed, but this machine has too little memory.
    """
    try:
        volume, notes = _read(Path(path))
        checked_extent(volume.voxels.shape, volume.ijk_to_lps)
    except MemoryError:
        raise OutOfMemory("There is too little memory for this CT.", "Close programs, or crop the CT.") from None
    except PermissionError:
        raise InvalidInput("The CT may not be read.", "Check the permissions of the folder and its files.") from None
    except OSError:
        raise InvalidInput("The CT could not be read from the disk.", "Check the path and the disk.") from None
    return volume, notes


def _read(path: Path) -> tuple[CTVolume, tuple[str, ...]]:
    if path.is_dir():
        return _axial(*read_dicom(path))
    file_size(path)
    with path.open("rb") as stream:
        start = stream.read(352)
    if start[128:132] == b"DICM" or start[:2] in (b"\x08\x00", b"\x02\x00") or path.suffix.lower() == ".dcm":
        return _axial(*read_dicom(path))
    if start[:4] == b"NRRD":
        return read_nrrd(path)
    if start[:4] in _NIFTI_STARTS or (start[:2] == b"\x1f\x8b" and path.name.lower().endswith(".nii.gz")):
        return read_nifti(path)
    if b"NDims" in start or path.suffix.lower() in (".mha", ".mhd"):
        raise InvalidInput("MetaImage files (.mha, .mhd) are not read.", "Save the CT as NRRD (.nrrd).")
    raise InvalidInput("This file is no CT that can be read.", _FORMATS)


def _axial(volume: CTVolume, notes: tuple[str, ...]) -> tuple[CTVolume, tuple[str, ...]]:
    voxels, affine = axial_order(volume.voxels, volume.ijk_to_lps)
    if np.shares_memory(voxels, volume.voxels):
        return volume, notes
    note = "The series is not axial; its axes were put in axial order, no voxel was moved."
    return replace(volume, voxels=voxels, ijk_to_lps=affine), (*notes, note)
