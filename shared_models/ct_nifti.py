"""NIfTI-1 and NIfTI-2: one .nii or .nii.gz file. RAS becomes LPS here."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .contract.errors import BadGeometry, InvalidInput
from .contract.values import Array, CTVolume, checked_affine
from .ct_files import EXPORT, MAX_HEADER_BYTES, Declared, Inflating, damaged, read_volume
from .geometry import ras_to_lps

_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_NIFTI_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


def read_nifti(path: Path) -> tuple[CTVolume, tuple[str, ...]]:
    """A CT in one .nii or .nii.gz file (NIfTI-1 or -2), and notes in words.

    The sform is taken where there is one, else the qform, as the standard says.

    Raises
    ------
    InvalidInput, BadGeometry, InputTooLarge : see the top of ct_files.py.
    """
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        notes: list[str] = []
        try:
            head = Inflating(stream).read(544) if packed else stream.read(544)
            declared, offset = _nifti_declared(head, notes)
        except (struct.error, EOFError, OSError, zlib.error):
            raise damaged() from None
        declared.check(path.stat().st_size - (0 if packed else offset), packed)
        stream.seek(0 if packed else offset)
        return read_volume(stream, packed, declared, "nifti", notes, skip=offset if packed else 0)


def _nifti_declared(head: bytes, notes: list[str]) -> tuple[Declared, int]:
    end = "<" if head[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    size = struct.unpack_from(end + "i", head)[0]
    if size == 348 and head[344:348] == b"n+1\0":
        dims = struct.unpack_from(end + "8h", head, 40)
        code = struct.unpack_from(end + "h", head, 70)[0]
        pixdim = struct.unpack_from(end + "8f", head, 76)
        offset, slope, intercept = struct.unpack_from(end + "3f", head, 108)
        units = head[123]
        codes = struct.unpack_from(end + "2h", head, 252)
        quaternion = struct.unpack_from(end + "6f", head, 256)
        rows = struct.unpack_from(end + "12f", head, 280)
    elif size == 540 and head[4:12] == b"n+2\0\r\n\x1a\n":
        code = struct.unpack_from(end + "h", head, 12)[0]
        dims = struct.unpack_from(end + "8q", head, 16)
        pixdim = struct.unpack_from(end + "8d", head, 104)
        offset, slope, intercept = struct.unpack_from(end + "q2d", head, 168)
        codes = struct.unpack_from(end + "2i", head, 344)
        quaternion = struct.unpack_from(end + "6d", head, 352)
        rows = struct.unpack_from(end + "12d", head, 400)
        units = struct.unpack_from(end + "i", head, 500)[0]
    elif size == 348 and head[344:348] in (b"ni1\0", bytes(4)):
        raise InvalidInput("The data of this NIfTI or Analyze header lies in another file.", EXPORT)
    else:
        raise InvalidInput("This is not a NIfTI file.", EXPORT)
    if dims[0] not in (3, 4, 5, 6, 7) or any(n != 1 for n in dims[4 : dims[0] + 1]):
        raise InvalidInput("The file does not hold one 3D volume (4D or 2D).", "Save one phase as its own file.")
    if code not in _NIFTI_TYPES:
        raise InvalidInput("The NIfTI file's voxels are not plain numbers.", "Save the CT itself, in HU.")
    if not math.isfinite(offset) or not size + 4 <= offset <= MAX_HEADER_BYTES or offset != int(offset):
        raise damaged()
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        slope, intercept = 1.0, 0.0  # the standard: a slope of 0 means no scaling
    affine = _nifti_affine(codes, np.array(rows), quaternion, pixdim, notes)
    if units & 7 not in _NIFTI_MM:
        raise BadGeometry("The file's unit of length is unknown.", EXPORT)
    if units & 7 == 0:
        notes.append("The file names no unit of length; mm is taken.")
    affine[:3] *= _NIFTI_MM[units & 7]
    shape = (int(dims[3]), int(dims[2]), int(dims[1]))
    declared = Declared(end + _NIFTI_TYPES[code], shape, checked_affine(ras_to_lps(affine)), slope, intercept)
    return declared, int(offset)


def _nifti_affine(
    codes: Sequence[int], rows: Array, quaternion: Sequence[float], pixdim: Sequence[float], notes: list[str]
) -> Array:
    """Index -> RAS (4, 4)."""
    qform, sform = codes
    if sform > 0:
        return np.vstack([rows.reshape(3, 4), [0, 0, 0, 1]])
    if qform <= 0:
        raise BadGeometry("The file does not say where it lies in the body.", EXPORT)
    b, c, d = (float(v) for v in quaternion[:3])
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d)) if math.isfinite(b + c + d) else math.nan
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    spacing = np.array(pixdim[1:4], dtype=np.float64)
    if not (spacing > 0).all():
        raise BadGeometry("The file's voxel spacing is missing or zero.", EXPORT)
    spacing[2] *= -1 if pixdim[0] < 0 else 1
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = quaternion[3:]
    return affine
