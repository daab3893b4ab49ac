"""NRRD: one file with its header and its data, raw or gzip. The header never leads to another file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO

import numpy as np

from .contract.errors import BadGeometry, InvalidInput
from .contract.values import CTVolume, checked_affine
from .ct_files import EXPORT, MAX_HEADER_BYTES, Declared, damaged, read_volume

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


def read_nrrd(path: Path) -> tuple[CTVolume, tuple[str, ...]]:
    """A CT in one .nrrd file, and notes in words.

    Raises
    ------
    InvalidInput, BadGeometry, InputTooLarge : see the top of ct_files.py.
    """
    with path.open("rb") as stream:
        field = _nrrd_fields(stream)
        declared = _nrrd_declared(field)
        encoding = field.get("encoding", "").lower()
        if encoding not in ("raw", "gzip", "gz"):
            raise InvalidInput("The NRRD file's encoding is not raw or gzip.", EXPORT)
        packed = encoding != "raw"
        declared.check(path.stat().st_size - stream.tell(), packed)
        return read_volume(stream, packed, declared, "nrrd")


def _nrrd_fields(stream: IO[bytes]) -> dict[str, str]:
    start = stream.read(MAX_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", start)
    if not re.match(rb"NRRD000[1-5]\r?\n", start) or not end:
        raise InvalidInput("This is not a NRRD file with its data inside.", EXPORT)
    stream.seek(end.end())
    field: dict[str, str] = {}
    for line in start[: end.start()].decode("latin-1").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if line.startswith("#") or (colon and value.startswith("=")):
            continue  # a comment, or key:=value
        name = name.strip().lower().replace(" ", "")
        if not colon or name in field:
            raise damaged()
        field[name] = value.strip()
    if "datafile" in field:
        raise InvalidInput("The NRRD header names another file as its data.", EXPORT)
    if any(field.get(skip, "0") != "0" for skip in ("lineskip", "byteskip")):
        raise InvalidInput("The NRRD file's data does not follow its header.", EXPORT)
    return field


def _nrrd_declared(field: dict[str, str]) -> Declared:
    kind = " ".join(field.get("type", "").lower().split())
    dtype = next((t for t, names in _NRRD_TYPES.items() if kind in names), None)
    if dtype is None:
        raise InvalidInput("The NRRD file's voxels are not plain numbers.", "Save the CT itself, in HU.")
    if field.get("dimension") != "3":
        raise InvalidInput("The file does not hold one 3D volume (colour, 4D or 2D).", "Save the CT volume alone.")
    if dtype[1] != "1":
        endian = field.get("endian", "").lower()
        if endian not in ("little", "big"):
            raise damaged()
        dtype = ("<" if endian == "little" else ">") + dtype
    try:
        columns, rows, slices = (int(n) for n in field["sizes"].split())
    except (KeyError, ValueError):
        raise damaged() from None
    sign = _NRRD_SPACES.get(field.get("space", "").lower())
    units = re.findall(r'"([^"]*)"', field.get("spaceunits", ""))
    if sign is None or any(unit not in ("mm", "") for unit in units):
        raise BadGeometry("The file does not say where it lies in the body, in mm.", EXPORT)
    vectors = [_vector(v) for v in re.findall(r"\([^)]*\)", field.get("spacedirections", ""))]
    origin = _vector(field.get("spaceorigin", ""))
    if len(vectors) != 3 or any(len(v) != 3 for v in (*vectors, origin)):
        raise BadGeometry("The file does not say where it lies in the body, in mm.", EXPORT)
    affine = np.eye(4)
    affine[:3] = np.array([*vectors, origin]).T
    affine[:3] *= np.array(sign)[:, None]
    return Declared(dtype, (slices, rows, columns), checked_affine(affine))


def _vector(text: str) -> list[float]:
    try:
        return [float(v) for v in text.strip().strip("()").split(",")]
    except ValueError:
        return []
