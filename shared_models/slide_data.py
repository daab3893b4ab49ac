"""The H&E tiles of ../shared/data: LC25000's lung tiles at 224 px, split by source group.

TileSet          pixels, labels, groups and file names of one split
read_tiles()     reads one; None where the folder is absent
SPACING_UM_PX    micrometres per pixel of these tiles, an assumption

LC25000 does not publish its pixel size. In 379 isolated red cells of its normal tiles the median diameter is 7.5 px;
red cells measure 6.5 to 7.5 um in a section, so a pixel is 0.87 to 1.0 um. A model trained here looks at 0.9 um.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from .contract.values import Array

FOLDER = "lc25000_lung_224"
SPACING_UM_PX = 0.9
LABELS = {"lung_aca": "adenocarcinoma", "lung_scc": "squamous_cell", "lung_n": "normal"}
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class TileSet:
    """Tiles of one split.

    Parameters
    ----------
    pixels : uint8 (n, 224, 224, 3), RGB
    labels : (n,) names of contract CLASSES
    groups : (n,) source field; the four tiles of a group are changed copies of one field
    files : (n,) paths below the folder
    """

    pixels: Array
    labels: Array
    groups: Array
    files: tuple[str, ...]


def read_tiles(data: Path, split: str) -> Optional[TileSet]:
    """The tiles of one of SPLITS, in the order of tiles.csv; None where ``data`` does not hold them."""
    from PIL import Image

    table = data / FOLDER / "tiles.csv"
    if not table.is_file():
        return None
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    pixels = np.empty((len(rows), 224, 224, 3), np.uint8)
    for index, row in enumerate(rows):
        with Image.open(data / FOLDER / row["file"]) as picture:
            pixels[index] = np.asarray(picture.convert("RGB"))
    return TileSet(
        pixels,
        np.array([LABELS[row["label"]] for row in rows]),
        np.array([row["group"] for row in rows]),
        tuple(row["file"] for row in rows),
    )
