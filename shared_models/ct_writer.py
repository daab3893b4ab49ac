"""Volumes to NRRD files that 3D Slicer, ITK and read_ct() put in exactly the CT's place.

File written (text, then one empty line, then gzip):
    NRRD0005
    type, dimension 3, space left-posterior-superior, sizes (columns rows slices),
    space directions (one vector per index axis, mm, every float64 in full), space origin, endian little, encoding gzip
    key:=value for every field given

The file appears under its name complete or not at all: it is written beside it, synced, then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Optional, Union

import numpy as np

from .contract.errors import InvalidInput, ServerError
from .contract.values import Array, checked_affine

_TYPES = {"uint8": "uint8", "int16": "int16", "float32": "float"}
# Level 1 is 4 times as fast as the default on CT and costs a tenth of the size.
_LEVEL = 1


def write_nrrd(
    path: Union[str, os.PathLike[str]],
    array: Array,
    ijk_to_lps: Array,
    fields: Optional[Mapping[str, str]] = None,
) -> None:
    """Write one volume.

    Parameters
    ----------
    path : ends in .nrrd; an existing file is replaced
    array : uint8, int16 or float32 (slices, rows, columns); floats are finite
    ijk_to_lps : (4, 4), mm; maps (column, row, slice, 1) to LPS
    fields : key/value pairs for the header, such as the method of a heatmap; no patient data

    Raises
    ------
    InvalidInput : another dtype, NaN, or a field that a header cannot hold.
    BadGeometry : not an affine.
    ServerError : the disk is full or the folder cannot be written; no file is left behind.
    """
    array = np.asarray(array)
    if array.ndim != 3 or 0 in array.shape or array.dtype.name not in _TYPES:
        raise InvalidInput(f"A {array.ndim}D array of {array.dtype} cannot be saved.", "Save uint8, int16 or float32.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput("The volume holds values that are not numbers.", "Report this: the result is faulty.")
    header = _header(array, checked_affine(ijk_to_lps), fields or {})
    with _replacing(Path(path)) as file:
        file.write(header)
        with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:  # no name, no time: equal volumes, equal files
            for one_slice in array:
                little = one_slice.astype(one_slice.dtype.newbyteorder("<"), copy=False)
                packed.write(np.ascontiguousarray(little).tobytes())


def _header(array: Array, affine: Array, fields: Mapping[str, str]) -> bytes:
    def vector(values: Any) -> str:
        return "(" + ",".join(repr(float(v)) for v in values) + ")"

    lines = [
        "NRRD0005",
        f"type: {_TYPES[array.dtype.name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in array.shape[::-1]),
        "space directions: " + " ".join(vector(axis) for axis in affine[:3, :3].T),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        "space origin: " + vector(affine[:3, 3]),
    ]
    for key, value in fields.items():
        # A key with a colon or a line break would be read as another field, such as "data file".
        if not key or not key.isprintable() or not key.isascii() or ":" in key or key != key.strip() or key[0] == "#":
            raise InvalidInput("A header field has a name that a NRRD file cannot hold.", "Use plain words.")
        text = str(value).replace("\\", "\\\\").replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\n")
        lines.append(f"{key}:={text}")
    return ("\n".join(lines) + "\n\n").encode()


@contextlib.contextmanager
def _replacing(path: Path) -> Any:
    """A file open for writing that takes the place of ``path`` when the block ends well, and vanishes otherwise."""
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            _sync(file)
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as fault:
        raise _unwritable(fault) from None  # the fault names the path, which may name a patient
    finally:
        part.unlink(missing_ok=True)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(fault: OSError) -> ServerError:
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return ServerError("The volume was not saved: the disk is full.", "Free space or choose another folder.")
    reason = os.strerror(fault.errno) if fault.errno else "input/output error"
    return ServerError(f"The volume was not saved: {reason.lower()}.", "Check that the folder exists and is writable.")
