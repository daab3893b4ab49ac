"""What lies in a data folder: cases, groups and classes of each split, and what is in two splits at once.

accounting()    one entry a data set, counted from the tables alone
models_in()     the models that were measured: name, weights, what they know
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from . import ct_data, slide_data
from .clinical_data import FOLDER as CLINICAL
from .clinical_data import TABLES, split_of
from .model_bundle import bundles

NO_SPLIT = "none"
_SPLITS = {"train", "val", "test"}


def accounting(data: Path) -> list[dict[str, Any]]:
    """Of each data set that is there: {"name", "unit", "grouped_by", "splits": split -> {"n", "groups", "classes"},
    "in_two_splits": groups that are in more than one, "elsewhere": of CT, patients of the other table in other splits};
    a table that cannot be read is said so in "problem"."""
    found = []
    where: dict[str, dict[str, set[str]]] = {}
    for name, unit, grouped_by, tables, split, group, label in _SETS:
        paths = [(known, data / path) for known, path in tables if (data / path).is_file()]
        if not paths:
            continue
        entry: dict[str, Any] = {"name": name, "unit": unit, "grouped_by": grouped_by}
        try:
            counts, groups = _counted(paths, split, group, label)
            found.append({**entry, **counts})
        except (OSError, UnicodeDecodeError, csv.Error):
            found.append({**entry, "splits": {}, "in_two_splits": 0, "problem": "its table cannot be read"})
            continue
        if group == "patient_id":
            where[name] = groups
            for other, theirs in where.items():
                if other != name:
                    found[-1]["elsewhere"] = sum(
                        len(own & theirs[s]) for split_, own in groups.items() for s in theirs
                        if s != split_ and {s, split_} <= _SPLITS
                    )  # fmt: skip
    return found


def _counted(
    paths: list[tuple[str, Path]], split: Callable[[Mapping[str, str]], str], group: str,
    label: Callable[[Mapping[str, str], str], str],
) -> tuple[dict[str, Any], dict[str, set[str]]]:  # fmt: skip
    n: Counter[str] = Counter()
    groups: dict[str, set[str]] = defaultdict(set)
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for known, path in paths:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            for place, row in enumerate(rows):
                if path.suffix == ".tsv" and place < 2:  # two more header rows follow the first
                    continue
                where = split(row)
                n[where] += 1
                groups[where].add(row.get(group) or f"\0{path.name}{place}")
                classes[where][label(row, known)] += 1
    often = Counter(name for each in groups.values() for name in each)
    order = {"train": 0, "val": 1, "test": 2}
    counts = {
        "splits": {
            where: {"n": n[where], "groups": len(groups[where]), "classes": dict(sorted(classes[where].items()))}
            for where in sorted(n, key=lambda s: (order.get(s, 3), s))
        },
        "in_two_splits": sum(count > 1 for count in often.values()),
    }
    return counts, groups


def _split(row: Mapping[str, str]) -> str:
    return row.get("split") or NO_SPLIT


def _malignancy(column: str) -> Callable[[Mapping[str, str], str], str]:
    def of(row: Mapping[str, str], _: str) -> str:
        try:
            rating = float(row.get(column) or "nan")
        except ValueError:
            rating = float("nan")
        if rating != rating:
            return "not rated"
        return "rated benign" if rating < 2.5 else "rated malignant" if rating > 3.5 else "rated between"

    return of


def _tile_label(row: Mapping[str, str], _: str) -> str:
    label = row.get("label") or "no label"
    return slide_data.LABELS.get(label, label[:40])


_SETS: tuple[Any, ...] = (
    ("H&E tiles", "tile", "source field", [("", f"{slide_data.FOLDER}/tiles.csv")], _split, "group", _tile_label),
    ("CT nodules, one slice each", "nodule", "patient", [("", ct_data.SLICES / "nodules.csv")], _split, "patient_id",
     _malignancy("malignancy_mean")),
    ("CT nodules, cubes", "nodule", "patient", [("", ct_data.CUBES / "nodules3d.csv")], _split, "patient_id",
     _malignancy("malignancy")),
    ("Clinical tables", "patient", "patient", [(name, CLINICAL / table) for name, table in TABLES.items()],
     lambda row: split_of(row.get("bcr_patient_barcode") or ""), "bcr_patient_barcode", lambda _, known: known),
)  # fmt: skip


def models_in(root: Path) -> list[dict[str, Any]]:
    """[{"model", "weights_sha256", "coverage"}] of the models under ``root``."""
    return [
        {"model": one.model_id, "weights_sha256": one.weights_sha256, "coverage": list(one.own["coverage"])}
        for one in bundles(root)
    ]


def excluded(reasons: Mapping[str, int]) -> Optional[str]:
    """Exclusions in one sentence; None where there are none."""
    if not reasons:
        return None
    return "; ".join(f"{count} left out: {reason}" for reason, count in reasons.items())
