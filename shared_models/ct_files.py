"""One-file CT volumes, read without trusting a byte of their headers: what NRRD and NIfTI share.

Declared        what a header says of the data, checked against the limits and the file's size
read_volume()   the data after the header -> CTVolume and notes

The parsers (ct_nrrd.py, ct_nifti.py) are our own because the usual readers follow ``data file: /etc/passwd`` and
inflate without a limit. Here a header never names another file; the declared size is checked against the limits and
against the file's own size before memory is taken; the data is inflated slice by slice and stopped one byte past the
declared size.

Refused, with a remedy: detached data, 4D, colour, no orientation, NaN, and values that are no HU (a picture of 0 to
255, stored values without their offset, values scaled to one).
"""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .contract.errors import InputTooLarge, InvalidInput
from .contract.values import Array, CTVolume
from .geometry import axial_order

MAX_SIDE = 2048
MAX_BYTES = 2 << 30
MAX_HEADER_BYTES = 1 << 20
_PIECE_BYTES = 1 << 18
_SPARE_MEMBERS, _LEAST_PER_MEMBER = 64, 256
MAX_RATIO = 1100  # zlib cannot do better than 1032
EXPORT = "Export it again from 3D Slicer as NRRD or NIfTI."


@dataclass(frozen=True, eq=False)
class Declared:
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
            raise damaged()
        if max(self.shape) > MAX_SIDE or math.prod(self.shape) * 2 > MAX_BYTES:
            slices, rows, columns = self.shape
            raise InputTooLarge(
                f"The volume has {columns} x {rows} x {slices} voxels; {MAX_SIDE} each way and 2 GiB are allowed.",
                "Crop it.",
            )
        if size > MAX_RATIO * available if packed else size != available:
            raise damaged()


def damaged() -> InvalidInput:
    """The error for a file whose header and data contradict each other."""
    return InvalidInput("The file's header and content do not agree: it is damaged or cut short.", "Copy it again.")


class Inflating:
    """The gzip stream in ``stream``; it inflates no more than is read from it.

    Not gzip.GzipFile, which reads a name in a header byte by byte to its end, however far that is, and goes through
    any number of empty members.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._engine = zlib.decompressobj(31)  # gzip, its checksum included
        self._input = b""
        self._members, self._given = 1, 0

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer at the end; zlib.error or EOFError where the stream is damaged or cut short."""
        parts: list[bytes] = []
        while size > 0:
            if self._engine.eof and not self._next_member():
                break
            self._input = self._input or self._stream.read(_PIECE_BYTES)
            ended = not self._input
            part = self._engine.decompress(self._input, size)
            self._input = self._engine.unconsumed_tail
            if ended and not part and not self._engine.eof:
                raise EOFError
            parts.append(part)
            size -= len(part)
            self._given += len(part)
        return b"".join(parts)

    def _next_member(self) -> bool:
        rest = self._engine.unused_data.lstrip(b"\0")  # some writers pad
        while not rest:
            piece = self._stream.read(_PIECE_BYTES)
            if not piece:
                return False
            rest = piece.lstrip(b"\0")
        self._members += 1
        if self._members > _SPARE_MEMBERS + self._given // _LEAST_PER_MEMBER:
            raise zlib.error("members without content")
        self._engine, self._input = zlib.decompressobj(31), rest
        return True


def read_volume(
    stream: IO[bytes], packed: bool, declared: Declared, name: str, notes: Sequence[str] = (), skip: int = 0
) -> tuple[CTVolume, tuple[str, ...]]:
    """The data at the stream's place as a CT, and notes in words.

    Parameters
    ----------
    packed : gzip
    declared : checked already
    name, notes : start of the volume's name; what the header's parser has to say
    skip : bytes of header before the data, inside the gzip stream

    Raises
    ------
    InvalidInput : too little or too much data, damaged, NaN, or not HU.
    """
    source: Any = Inflating(stream) if packed else stream
    voxels = np.empty(declared.shape, np.int16)
    dtype = np.dtype(declared.dtype)
    wanted = voxels[0].size * dtype.itemsize
    try:
        if len(source.read(skip)) != skip:
            raise damaged()
        for index in range(len(voxels)):
            data = source.read(wanted)
            if len(data) != wanted:
                raise damaged()
            voxels[index] = _hu(np.frombuffer(data, dtype).reshape(voxels.shape[1:]), declared)
        if source.read(1):
            raise damaged()
    except (EOFError, OSError, zlib.error):
        raise damaged() from None
    _check_hu(voxels)
    ordered, affine = axial_order(voxels, declared.ijk_to_lps)
    notes = list(notes)
    if ordered is not voxels:
        notes.append("The file's slices are not axial; its axes were put in axial order, no voxel was moved.")
    digest = hashlib.sha256(affine.tobytes())
    digest.update(ordered.data)
    return CTVolume(ordered, affine, f"{name}-{digest.hexdigest()[:24]}"), tuple(notes)


def _hu(stored: Array, declared: Declared) -> Array:
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
        values = np.rint(values)
    return values.astype(np.int16)


def _check_hu(voxels: Array) -> None:
    low, high = int(voxels.min()), int(voxels.max())
    if low >= 0 or (low > -5 and high < 5):  # the second: scaled to [-1, 1], then rounded
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
