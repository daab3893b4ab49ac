"""One-file CT volumes, NRRD and NIfTI, read without trusting a byte of their headers.

read_nrrd, read_nifti   -> CTVolume and notes
The parsers are our own because the usual readers follow ``data file: /etc/passwd`` and inflate without a limit.
Here a header never names another file; the declared size is checked against the limits and against the file's own
size before memory is taken; the data is inflated slice by slice and stopped one byte past the declared size.

Refused, with a remedy: detached data, 4D, colour, no orientation, NaN, and values that are no HU (a picture of 0 to
255, stored values without their offset, values scaled to one).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .contract.errors import BadGeometry, InputTooLarge, InvalidInput
from .contract.values import Array, CTVolume, checked_affine
from .geometry import axial_order, ras_to_lps

MAX_SIDE = 2048
MAX_BYTES = 2 << 30
MAX_HEADER_BYTES = 1 << 20
MAX_RATIO = 1100  # zlib cannot do better than 1032
_EXPORT = "Export it again from 3D Slicer as NRRD or NIfTI."
_NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_NRRD_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_NIFTI_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


@dataclass(frozen=True, eq=False)
class _Declared:
    """What a header says of the data after it; checked before any of the data is read."""

    dtype: str
    shape: tuple[int, int, int]  # slices, rows, columns
    ijk_to_lps: Array
    slope: float = 1.0
    intercept: float = 0.0

    def check(self, available: int, packed: bool) -> None:
        """Raise unless the size is allowed and the ``available`` bytes of the file can hold it."""
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if min(self.shape) < 1:
            raise _damaged()
        if max(self.shape) > MAX_SIDE or math.prod(self.shape) * 2 > MAX_BYTES:
            slices, rows, columns = self.shape
            raise InputTooLarge(
                f"The volume has {columns} x {rows} x {slices} voxels; {MAX_SIDE} each way and 2 GiB are allowed.",
                "Crop it.",
            )
        if size > MAX_RATIO * available if packed else size != available:
            raise _damaged()


def _damaged() -> InvalidInput:
    return InvalidInput("The file's header and content do not agree: it is damaged or cut short.", "Copy it again.")


def read_nrrd(path: Path) -> tuple[CTVolume, tuple[str, ...]]:
    """A CT in one .nrrd file, and notes in words.

    Raises
    ------
    InvalidInput, BadGeometry, InputTooLarge : see the top of the file.
    """
    with path.open("rb") as stream:
        field = _nrrd_fields(stream)
        declared = _nrrd_declared(field)
        encoding = field.get("encoding", "").lower()
        if encoding not in ("raw", "gzip", "gz"):
            raise InvalidInput("The NRRD file's encoding is not raw or gzip.", _EXPORT)
        packed = encoding != "raw"
        declared.check(path.stat().st_size - stream.tell(), packed)
        return _volume(stream, packed, declared, "nrrd")


def _nrrd_fields(stream: IO[bytes]) -> dict[str, str]:
    start = stream.read(MAX_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", start)
    if not re.match(rb"NRRD000[1-5]\r?\n", start) or not end:
        raise InvalidInput("This is not a NRRD file with its data inside.", _EXPORT)
    stream.seek(end.end())
    field: dict[str, str] = {}
    for line in start[: end.start()].decode("latin-1").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if line.startswith("#") or (colon and value.startswith("=")):
            continue  # a comment, or key:=value
        name = name.strip().lower().replace(" ", "")
        if not colon or name in field:
            raise _damaged()
        field[name] = value.strip()
    if "datafile" in field:
        raise InvalidInput("The NRRD header names another file as its data.", _EXPORT)
    if any(field.get(skip, "0") != "0" for skip in ("lineskip", "byteskip")):
        raise InvalidInput("The NRRD file's data does not follow its header.", _EXPORT)
    return field


def _nrrd_declared(field: dict[str, str]) -> _Declared:
    kind = " ".join(field.get("type", "").lower().split())
    dtype = next((t for t, names in _NRRD_TYPES.items() if kind in names), None)
    if dtype is None:
        raise InvalidInput("The NRRD file's voxels are not plain numbers.", "Save the CT itself, in HU.")
    if field.get("dimension") != "3":
        raise InvalidInput("The file does not hold one 3D volume (colour, 4D or 2D).", "Save the CT volume alone.")
    if dtype[1] != "1":
        endian = field.get("endian", "").lower()
        if endian not in ("little", "big"):
            raise _damaged()
        dtype = ("<" if endian == "little" else ">") + dtype
    try:
        columns, rows, slices = (int(n) for n in field["sizes"].split())
    except (KeyError, ValueError):
        raise _damaged() from None
    sign = _NRRD_SPACES.get(field.get("space", "").lower())
    units = re.findall(r'"([^"]*)"', field.get("spaceunits", ""))
    if sign is None or any(unit not in ("mm", "") for unit in units):
        raise BadGeometry("The file does not say where it lies in the body, in mm.", _EXPORT)
    vectors = [_vector(v) for v in re.findall(r"\([^)]*\)", field.get("spacedirections", ""))]
    origin = _vector(field.get("spaceorigin", ""))
    if len(vectors) != 3 or any(len(v) != 3 for v in (*vectors, origin)):
        raise BadGeometry("The file does not say where it lies in the body, in mm.", _EXPORT)
    affine = np.eye(4)
    affine[:3] = np.array([*vectors, origin]).T
    affine[:3] *= np.array(sign)[:, None]
    return _Declared(dtype, (slices, rows, columns), checked_affine(affine))


def _vector(text: str) -> list[float]:
    try:
        return [float(v) for v in text.strip().strip("()").split(",")]
    except ValueError:
        return []


def read_nifti(path: Path) -> tuple[CTVolume, tuple[str, ...]]:
    """A CT in one .nii or .nii.gz file (NIfTI-1 or -2), and notes in words.

    The sform is taken where there is one, else the qform, as the standard says.

    Raises
    ------
    InvalidInput, BadGeometry, InputTooLarge : see the top of the file.
    """
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        notes: list[str] = []
        try:
            head = _inflating(stream).read(544) if packed else stream.read(544)
            declared, offset = _nifti_declared(head, notes)
        except (struct.error, EOFError, OSError, zlib.error):
            raise _damaged() from None
        declared.check(path.stat().st_size - (0 if packed else offset), packed)
        stream.seek(0 if packed else offset)
        return _volume(stream, packed, declared, "nifti", notes, skip=offset if packed else 0)


def _nifti_declared(head: bytes, notes: list[str]) -> tuple[_Declared, int]:
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
        raise InvalidInput("The data of this NIfTI or Analyze header lies in another file.", _EXPORT)
    else:
        raise InvalidInput("This is not a NIfTI file.", _EXPORT)
    if dims[0] not in (3, 4, 5, 6, 7) or any(n != 1 for n in dims[4 : dims[0] + 1]):
        raise InvalidInput("The file does not hold one 3D volume (4D or 2D).", "Save one phase as its own file.")
    if code not in _NIFTI_TYPES:
        raise InvalidInput("The NIfTI file's voxels are not plain numbers.", "Save the CT itself, in HU.")
    if not math.isfinite(offset) or not size + 4 <= offset <= MAX_HEADER_BYTES or offset != int(offset):
        raise _damaged()
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        slope, intercept = 1.0, 0.0  # the standard: a slope of 0 means no scaling
    affine = _nifti_affine(codes, np.array(rows), quaternion, pixdim, notes)
    if units & 7 not in _NIFTI_MM:
        raise BadGeometry("The file's unit of length is unknown.", _EXPORT)
    if units & 7 == 0:
        notes.append("The file names no unit of length; mm is taken.")
    affine[:3] *= _NIFTI_MM[units & 7]
    shape = (int(dims[3]), int(dims[2]), int(dims[1]))
    declared = _Declared(end + _NIFTI_TYPES[code], shape, checked_affine(ras_to_lps(affine)), slope, intercept)
    return declared, int(offset)


def _nifti_affine(
    codes: Sequence[int], rows: Array, quaternion: Sequence[float], pixdim: Sequence[float], notes: list[str]
) -> Array:
    """Index -> RAS (4, 4)."""
    qform, sform = codes
    if sform > 0:
        return np.vstack([rows.reshape(3, 4), [0, 0, 0, 1]])
    if qform <= 0:
        raise BadGeometry("The file does not say where it lies in the body.", _EXPORT)
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
        raise BadGeometry("The file's voxel spacing is missing or zero.", _EXPORT)
    spacing[2] *= -1 if pixdim[0] < 0 else 1
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = quaternion[3:]
    return affine


def _inflating(stream: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=stream, mode="rb")


def _volume(
    stream: IO[bytes], packed: bool, declared: _Declared, name: str, notes: Sequence[str] = (), skip: int = 0
) -> tuple[CTVolume, tuple[str, ...]]:
    source: Any = _inflating(stream) if packed else stream
    voxels = np.empty(declared.shape, np.int16)
    dtype = np.dtype(declared.dtype)
    wanted = voxels[0].size * dtype.itemsize
    try:
        if len(source.read(skip)) != skip:
            raise _damaged()
        for index in range(len(voxels)):
            data = source.read(wanted)
            if len(data) != wanted:
                raise _damaged()
            voxels[index] = _hu(np.frombuffer(data, dtype).reshape(voxels.shape[1:]), declared)
        if source.read(1):
            raise _damaged()
    except (EOFError, OSError, zlib.error):
        raise _damaged() from None
    _check_hu(voxels)
    ordered, affine = axial_order(voxels, declared.ijk_to_lps)
    notes = list(notes)
    if ordered is not voxels:
        notes.append("The file's slices are not axial; its axes were put in axial order, no voxel was moved.")
    digest = hashlib.sha256(affine.tobytes())
    digest.update(ordered.data)
    return CTVolume(ordered, affine, f"{name}-{digest.hexdigest()[:24]}"), tuple(notes)


def _hu(stored: Array, declared: _Declared) -> Array:
    """One slice as whole numbers in the int16 range, or InvalidInput."""
    values = stored
    if (declared.slope, declared.intercept) != (1.0, 0.0):
        values = stored.astype(np.float64) * declared.slope + declared.intercept
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InvalidInput("The volume holds values that are not numbers.", "Replace them with -1024 and save again.")
    if low < -32768 or high > 32767:
        raise InvalidInput("The volume's values lie outside what HU can be.", "Save the CT itself, in HU.")
    if values.dtype.kind == "f":
        # Rounding would hide that the values were scaled to one: the check is on the numbers as they came.
        if 0 < max(abs(low), abs(high)) < 2:
            raise InvalidInput("The values of one slice lie within 2 of 0: they are not HU.", "Save the CT in HU.")
        values = np.rint(values)
    return values.astype(np.int16)


def _check_hu(voxels: Array) -> None:
    low, high = int(voxels.min()), int(voxels.max())
    if low >= 0 or high - low <= 2:
        raise InvalidInput(
            f"The values run from {low} to {high}: a CT in HU has air below -200, so these are not HU.",
            "Save the CT itself in HU; stored values without their offset, and pictures, cannot be read.",
        )


def file_size(path: Path) -> int:
    """Bytes of a regular file.

    Raises
    ------
    InvalidInput : a pipe, a device, or not readable. InputTooLarge : more than any allowed volume needs.
    """
    if not path.is_file() or not os.access(path, os.R_OK):
        raise InvalidInput("The file cannot be read.", "Check that it exists and may be read.")
    size = path.stat().st_size
    if size > 4 * MAX_BYTES + MAX_HEADER_BYTES:  # float64 takes four times what int16 does
        raise InputTooLarge("The file is larger than any CT that can be read.", "Crop it.")
    return size
