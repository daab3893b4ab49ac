"""The LIDC nodules of ../shared/data as arrays: one-slice patches and 1 mm cubes, by the split of their patients."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SLICES = Path("lidc_nodule_slices")
CUBES = Path("lidc_nodule_3d_51")
_PATCH, _CUBE = 71, 51


@dataclass(frozen=True, eq=False)
class Nodules:
    """Nodules of one split.

    Parameters
    ----------
    hu : int16 (n, 71, 71) patches, or (n, 51, 51, 51) cubes (slices, rows, columns)
    mask : bool, same shape; one reader's
    rows : the table's row of each
    """

    hu: Any
    mask: Any
    rows: tuple[dict[str, str], ...]

    @property
    def pixel_mm(self) -> Any:
        """float64 (n,), in-plane pixel size of each patch."""
        return np.array([float(row["pixel_mm"]) for row in self.rows])

    @property
    def patients(self) -> Any:
        return np.array([row["patient_id"] for row in self.rows])


def _read(folder: Path, table: str, archive: str, split: str, shape: tuple[int, ...]) -> Nodules:
    with (folder / table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(folder / archive, allow_pickle=False) as data:
        hu, packed = data["hu"], data["mask"]
    keep = np.array([row["split"] == split for row in rows])
    size = int(np.prod(shape))
    mask = np.unpackbits(packed[keep].reshape(int(keep.sum()), -1), axis=1)[:, :size].reshape(-1, *shape).astype(bool)
    return Nodules(hu[keep], mask, tuple(row for row, kept in zip(rows, keep) if kept))


def slices(root: Path, split: str) -> Nodules:
    """Patches of the largest slice of each nodule, native pixels."""
    return _read(root / SLICES, "nodules.csv", "lidc_nodule_slices_71px.npz", split, (_PATCH, _PATCH))


def cubes(root: Path, split: str) -> Nodules:
    """Cubes of about 1 mm; those of split "exclude" have no known patient and are in no other split.

    In the file the slices run along the last axis: there the images are smoother and the masks shorter, as between
    thick slices. Here they run along the first.
    """
    held = _read(root / CUBES, "nodules3d.csv", "lidc_nodule_3d_51.npz", split, (_CUBE, _CUBE, _CUBE))
    return Nodules(*(np.ascontiguousarray(np.moveaxis(part, 3, 1)) for part in (held.hu, held.mask)), held.rows)
