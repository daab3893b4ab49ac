"""Data sets as they are met, not as they were tuned on: a bad case becomes an exclusion with its reason.

rows_of()      a CSV table's rows of one split, numbered by their place in the whole table
Tile, tiles()  H&E tiles one after the other, in batches that are all that is in memory
Nodule, nodules()   LIDC-like patches or cubes, read row by row out of the .npz
MAX_CELL       longest text of a cell that is repeated in a reason

Layouts are those of ../shared/data. Columns that a measure needs for a subgroup only may be missing. A table without a
"split" column is data from elsewhere: all of it is of the split that is asked for.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np

from . import ct_data, slide_data
from .contract.errors import InvalidInput
from .contract.values import CLASSES, Array
from .evidence_cases import Exclusion, Numbers

MAX_CELL = 40
BATCH = 64
_MAX_TILE_BYTES = 1 << 24
_MAX_TILE_SIDE = 2048


@dataclass(frozen=True)
class Row:
    """One row of a table: pseudonyms of case and group, and the cells."""

    case: str
    group: str
    cells: dict[str, str]

    def said(self, column: str) -> str:
        """A cell, shortened to be repeated in a message; "" where there is none."""
        return (self.cells.get(column) or "").strip()[:MAX_CELL]

    def number(self, column: str) -> float:
        """A cell as a number; NaN where there is none."""
        try:
            return float(self.cells.get(column) or "nan")
        except ValueError:
            return float("nan")


def rows_of(table: Path, split: str, unit: str, group: str, needed: tuple[str, ...] = ()) -> list[tuple[int, Row]]:
    """(place in the table, row) of one split.

    Parameters
    ----------
    unit : what the pseudonyms begin with
    group : column of what is not independent; where it is missing or empty, every row stands alone

    Raises
    ------
    InvalidInput : the table cannot be read or lacks a column that is ``needed``.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            head, every = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise InvalidInput(f"{table.name} cannot be read.", "Save it as CSV in UTF-8.") from fault
    for column in needed:
        if column not in head:
            raise InvalidInput(f"{table.name} has no column {column}.", f"It needs {', '.join(needed)}.")
    numbers, found = Numbers("group"), []
    for place, cells in enumerate(every):
        name = numbers.of(cells.get(group) or f"\0{place}")
        if cells.get("split", split) == split:
            found.append((place, Row(f"{unit}-{place + 1:05d}", name, cells)))
    return found


@dataclass(frozen=True, eq=False)
class Tile:
    """``pixels`` uint8 (side, side, 3) RGB; ``label`` one of the contract's CLASSES."""

    row: Row
    pixels: Array
    label: str


def tiles(data: Path, split: str) -> Iterator[Union[list[Tile], Exclusion]]:
    """Batches of at most BATCH tiles of one size, in the table's order, and what was left out on the way.

    Labels are LC25000's folder names or names of CLASSES. Square tiles of 64 to 2048 pixels are taken.
    """
    from PIL import Image, UnidentifiedImageError

    folder = (data / slide_data.FOLDER).resolve()
    batch: list[Tile] = []
    for _, row in rows_of(folder / "tiles.csv", split, "tile", "group", ("file", "label")):
        label = slide_data.LABELS.get(row.said("label"), row.said("label"))
        path = (folder / (row.cells["file"] or "")).resolve()
        if label not in CLASSES:
            yield Exclusion(row.case, f"the label {label!r} is none of the classes")
            continue
        try:
            if folder not in path.parents or not path.is_file():
                raise ValueError("there is no such file in the folder")
            if path.stat().st_size > _MAX_TILE_BYTES:
                raise ValueError("the file is larger than a tile may be")
            with Image.open(path, formats=("JPEG", "PNG", "TIFF")) as picture:
                if picture.width != picture.height or not 64 <= picture.width <= _MAX_TILE_SIDE:
                    raise ValueError(f"{picture.width} x {picture.height} pixels are no tile")
                pixels = np.asarray(picture.convert("RGB"))
        except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as fault:
            known = isinstance(fault, ValueError) and not isinstance(fault, UnidentifiedImageError)
            yield Exclusion(row.case, str(fault) if known else "the picture is damaged")
            continue
        if batch and (len(batch) == BATCH or batch[0].pixels.shape != pixels.shape):
            yield batch
            batch = []
        batch.append(Tile(row, pixels, label))
    if batch:
        yield batch


@dataclass(frozen=True, eq=False)
class Nodule:
    """``hu`` int16 and ``mask`` bool: (rows, columns) of a patch, (slices, rows, columns) of a cube."""

    row: Row
    hu: Array
    mask: Array
    pixel_mm: float


_FOLDERS = {
    "slices": (ct_data.SLICES, "nodules.csv", "lidc_nodule_slices_71px.npz"),
    "cubes": (ct_data.CUBES, "nodules3d.csv", "lidc_nodule_3d_51.npz"),
}


def nodules(data: Path, kind: str, split: str) -> Iterator[Union[Nodule, Exclusion]]:
    """Nodules of one split, one at a time, in the table's order; ``kind`` is "slices" or "cubes".

    Raises
    ------
    InvalidInput : the table or the archive as a whole cannot be read.
    """
    folder, table, archive = _FOLDERS[kind]
    needed = ("pixel_mm",) if kind == "slices" else ()
    wanted = dict(rows_of(data / folder / table, split, "nodule", "patient_id", needed))
    seen = -1
    try:
        for place, (hu, packed) in enumerate(zip(*(_members(data / folder / archive, ("hu", "mask"))))):
            seen = place
            if place in wanted:
                yield _nodule(wanted[place], hu, packed, kind)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        pass  # what lies behind the damage is left out below
    for place, row in wanted.items():
        if place > seen:
            yield Exclusion(row.case, "the archive of pictures ends before it, or is damaged there")


def _nodule(row: Row, hu: Array, packed: Array, kind: str) -> Union[Nodule, Exclusion]:
    pixel = row.number("pixel_mm") if kind == "slices" else 1.0
    size = hu.size
    mask = np.unpackbits(packed.reshape(-1).view(np.uint8))[:size].astype(bool)
    if not 0.1 <= pixel <= 5:
        return Exclusion(row.case, f"its pixel size, {row.said('pixel_mm') or 'none'} mm, cannot be")
    if mask.size != size or not mask.any():
        return Exclusion(row.case, "the reader's outline is empty")
    if int(hu.min()) == int(hu.max()):
        return Exclusion(row.case, "its picture is blank")
    mask = mask.reshape(hu.shape)
    if kind == "cubes":  # the slices run along the last axis of the file, see ct_data.cubes()
        hu, mask = (np.ascontiguousarray(np.moveaxis(part, 2, 0)) for part in (hu, mask))
    return Nodule(row, hu.astype(np.int16), mask, pixel)


def _members(archive: Path, names: tuple[str, ...]) -> list[Iterator[Array]]:
    try:
        held = zipfile.ZipFile(archive)
        return [_rows(held.open(f"{name}.npy")) for name in names]
    except (OSError, KeyError, zipfile.BadZipFile) as fault:
        raise InvalidInput(f"{archive.name} cannot be read or lacks {' or '.join(names)}.", "Copy it again.") from fault


def _rows(file: Any) -> Iterator[Array]:
    """The rows of one .npy in an archive, without the others in memory."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as fault:
        raise InvalidInput("An array of nodules cannot be read.", "Save it with numpy.savez_compressed.") from fault
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    if fortran or dtype.kind not in "iub" or not 1 < len(shape) < 5 or row_bytes > 1 << 26:
        raise InvalidInput("An array of nodules has another layout.", "Save integers, nodules along the first axis.")
    for _ in range(shape[0]):
        raw = file.read(row_bytes)
        if len(raw) < row_bytes:
            raise EOFError
        yield np.frombuffer(raw, dtype).reshape(shape[1:])
