"""LC25000, the lung part: 768 px H&E tiles of three classes, and the 224 px copy of them with source groups.

Source: Borkowski et al. 2019, arXiv:1912.12142; https://github.com/tampapath/lung_colon_image_set. Groups of tiles made
from one source field: Batchkala et al. 2024, doi 10.1007/978-3-031-73748-0_2.

Layouts: lung_image_sets/{lung_aca,lung_n,lung_scc}/*.jpeg as in LC25000.zip (750 fields, turned and mirrored to
15,000 tiles, without any name of the field); or a tiles.csv (file, label, group, split) beside the three folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..contract.errors import InvalidInput
from .case import SPLITS, Cohort, CohortCase, CohortImage, Exclusion, Report
from .folders import checked_root, files_below, inside
from .tables import one_table, read_table

LABELS = {"lung_aca": "adenocarcinoma", "lung_scc": "squamous_cell", "lung_n": "normal"}
NAME = "lc25000"
_MAX_TILE_BYTES = 16 << 20
_SUFFIXES = (".jpeg", ".jpg", ".png")
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def read(root: Path, report: Report) -> Iterator[CohortCase]:
    """A case per source field where tiles.csv names them, else per tile.

    Raises
    ------
    InvalidInput : neither layout, or tiles.csv lacks a column.
    """
    root = checked_root(root)
    table = one_table(root, "tiles.csv")
    if table is not None:
        yield from _grouped(table, root, report)
        return
    folders = _class_folders(root)
    if not folders:
        raise InvalidInput(
            "There is no lung_aca, lung_n or lung_scc folder here.",
            "Unzip LC25000.zip and give the folder lung_colon_image_set, or one with tiles.csv.",
        )
    for folder in folders:
        for path in files_below(folder, root, report):
            image = _tile(path, path.stem, report)
            if image is not None:
                name = f"{folder.name}/{path.stem}"
                yield CohortCase(name, name, NAME, LABELS[folder.name], images=(image,), splittable=False)


def _class_folders(root: Path) -> list[Path]:
    found: dict[str, Path] = {}
    for depth in range(4):
        for name in LABELS:
            for path in sorted(root.glob("*/" * depth + name)):
                if path.is_dir() and not path.is_symlink():
                    found.setdefault(name, path)
    return [found[name] for name in sorted(found)]


def _grouped(table: Path, root: Path, report: Report) -> Iterator[CohortCase]:
    groups: dict[str, list[dict[str, str]]] = {}
    for row in read_table(table, ("file", "label", "group", "split")):
        groups.setdefault(row["group"], []).append(row)
    for group, rows in sorted(groups.items()):
        if not group or len({(row["label"], row["split"]) for row in rows}) > 1:
            report(Exclusion("row", "a source field of two classes, of two splits, or without a name"))
            continue
        label, split = LABELS.get(rows[0]["label"]), rows[0]["split"]
        if label is None or split not in SPLITS:
            report(Exclusion("row", "a class or split that there is not"))
            continue
        images = []
        for row in rows:
            name = PurePosixPath(row["file"])
            path = table.parent / name
            if name.is_absolute() or ".." in name.parts or not inside(path, root):
                report(Exclusion("tile", "it is not there, or its name leads out of the folder"))
                continue
            image = _tile(path, name.stem, report, group)
            if image is not None:
                images.append(image)
        if images:
            yield CohortCase(group, group, NAME, label, images=tuple(images), split=split)


def _tile(path: Path, name: str, report: Report, group: str = "") -> CohortImage | None:
    if path.suffix.lower() not in _SUFFIXES:
        return None
    with path.open("rb") as file:
        head = file.read(8)
        size = file.seek(0, 2)
        file.seek(max(0, size - 12))
        end = file.read()
    whole = (head.startswith(_JPEG) and b"\xff\xd9" in end) or (head == _PNG and b"IEND" in end)
    if size > _MAX_TILE_BYTES or not whole:
        report(Exclusion("tile", "a picture that is cut short, too large, or none"))
        return None
    return CohortImage(path, "tile", slide_id=name, group=group)


COHORT = Cohort(
    NAME, "LC25000 lung tiles", "its authors: free for AI research; groups CC BY 4.0",
    "arXiv:1912.12142",
    "tile-level accuracy within one laboratory; no patients are known, so never accuracy by patient",
    "lung_image_sets/{lung_aca,lung_n,lung_scc}/*.jpeg, or tiles.csv beside the three folders", read,
    ("The tiles of a source field are changed copies of one picture.",), "source field",
)  # fmt: skip
