"""What the models answered case by case: all that figures, tests and pictures are made of.

Exclusion        a case that was left out, and why
Cases            one task's answers; save() and load() keep them as CSV
Numbers          pseudonyms: the place in the data set's own table instead of a name
replaced()       a file that is there only when it is complete
of_task()        Cases of the plain dictionary that a task may hand over

Columns of the CSV: id, group, then label and p:CLASS (tasks that name a class), value:NAME (tasks that measure an
overlap), rival:NAME or rival:NAME:CLASS (baselines, on the same cases), by:NAME (subgroups). Numbers are written so
that reading them gives the same bits; an empty cell is "not known".
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array

UNKNOWN = "not known"
PART = "part: "  # how a rival is named that is a piece of the model itself: an ablation, no baseline
_REMEDY = "Run `lungxai evaluate --out` again."


@dataclass(frozen=True)
class Exclusion:
    """A case that was left out: its pseudonym, and the reason in words."""

    case: str
    reason: str


@dataclass(frozen=True, eq=False)
class Cases:
    """One task's answers on one split.

    Parameters
    ----------
    task, split : names
    unit, grouped_by : what a case is and what a group is: "tile" and "source field", "nodule" and "patient"
    ids, groups : (n,) pseudonyms; what has the same group is not independent
    classes : (k,) names; () where the task measures an overlap. With two classes the second is the positive one
    labels : int (n,), places in ``classes``
    probabilities : float (n, k), rows sum to 1
    values : name -> float (n,), measured case by case, e.g. Dice
    rivals : baselines: name -> (n, k) probabilities, or (n,) scores (higher speaks for the second of two classes; of
        an overlap task the same measure as the first of ``values``). Pieces of the model itself begin with PART
    strata : name -> (n,) strings: subgroups
    exclusions : cases left out
    synthetic : what is composed or drawn, in words; "" for real cases
    notes : sentences for the reader
    """

    task: str
    split: str
    unit: str
    grouped_by: str
    ids: Array
    groups: Array
    classes: tuple[str, ...]
    labels: Array
    probabilities: Array
    values: Mapping[str, Array] = field(default_factory=dict)
    rivals: Mapping[str, Array] = field(default_factory=dict)
    strata: Mapping[str, Array] = field(default_factory=dict)
    exclusions: tuple[Exclusion, ...] = ()
    synthetic: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, k = len(self.ids), len(self.classes)
        columns = [self.groups, *self.values.values(), *self.rivals.values(), *self.strata.values()]
        if any(len(column) != n for column in columns) or self.probabilities.shape != (n, k):
            raise ValueError(f"{self.task}: not every column has {n} cases.")
        if k and (len(self.labels) != n or (n and not 0 <= self.labels.min() <= self.labels.max() < k)):
            raise ValueError(f"{self.task}: a label is none of the classes.")
        if not np.isfinite(self.probabilities).all():
            raise ValueError(f"{self.task}: a probability is not a number.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def guess(self) -> Array:
        """int (n,): the class that the model names."""
        return np.asarray(self.probabilities.argmax(axis=1))

    def of(self, kept: Array) -> Cases:
        """Only the cases with these indices, or where this is true."""

        def part(columns: Mapping[str, Array]) -> dict[str, Array]:
            return {name: column[kept] for name, column in columns.items()}

        return Cases(
            self.task, self.split, self.unit, self.grouped_by, self.ids[kept], self.groups[kept], self.classes,
            self.labels[kept] if self.classes else self.labels, self.probabilities[kept], part(self.values),
            part(self.rivals), part(self.strata), self.exclusions, self.synthetic, self.notes,
        )  # fmt: skip

    def counted(self) -> str:
        """In words: how many cases of how many groups."""
        n, groups = len(self), len(set(self.groups.tolist()))
        own = "" if groups == n else f" of {groups} {self.grouped_by}{'s' if groups != 1 else ''}"
        return f"{n} {self.unit}{'s' if n != 1 else ''}{own}"

    def save(self, folder: Path) -> None:
        """Write cases_TASK_SPLIT.csv and its .json (what is not a column) into ``folder``."""
        columns: dict[str, Sequence[Any]] = {"id": self.ids.tolist(), "group": self.groups.tolist()}
        if self.classes:
            columns["label"] = [self.classes[i] for i in self.labels.tolist()]
            columns.update((f"p:{name}", self.probabilities[:, i]) for i, name in enumerate(self.classes))
        columns.update((f"value:{name}", column) for name, column in self.values.items())
        for name, rival in self.rivals.items():
            if rival.ndim == 1:
                columns[f"rival:{name}"] = rival
            else:
                columns.update((f"rival:{name}:{one}", rival[:, i]) for i, one in enumerate(self.classes))
        columns.update((f"by:{name}", column.tolist()) for name, column in self.strata.items())
        stem = folder / f"cases_{self.task}_{self.split}"
        with replaced(stem.with_suffix(".csv")) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*([_cell(value) for value in column] for column in columns.values())))
        about = {
            "task": self.task, "split": self.split, "unit": self.unit, "grouped_by": self.grouped_by,
            "classes": list(self.classes), "synthetic": self.synthetic, "notes": list(self.notes),
            "exclusions": [[one.case, one.reason] for one in self.exclusions],
        }  # fmt: skip
        with replaced(stem.with_suffix(".json")) as file:
            file.write(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, about: Path) -> Cases:
        """What save() wrote; ``about`` is the .json file.

        Raises
        ------
        InvalidInput : one of the two files is missing or was changed so that it cannot be read.
        """
        try:
            said = json.loads(about.read_text())
            with about.with_suffix(".csv").open(newline="") as file:
                head, *rows = csv.reader(file)
            read = dict(zip(head, zip(*rows))) if rows else {name: () for name in head}
            classes = tuple(said["classes"])
            p = np.empty((len(rows), len(classes)))
            for i, name in enumerate(classes):
                p[:, i] = _floats(read[f"p:{name}"])
            rivals: dict[str, Array] = {}
            for column in (name.removeprefix("rival:") for name in head if name.startswith("rival:")):
                name = column.rpartition(":")[0]
                if classes and all(f"rival:{name}:{one}" in read for one in classes):
                    rivals[name] = np.stack([_floats(read[f"rival:{name}:{one}"]) for one in classes], axis=1)
                else:
                    rivals[column] = _floats(read[f"rival:{column}"])
            return cls(
                said["task"], said["split"], said["unit"], said["grouped_by"], np.array(read["id"], dtype=str),
                np.array(read["group"], dtype=str), classes,
                np.array([classes.index(name) for name in read.get("label", ())], dtype=int),
                p, {n.removeprefix("value:"): _floats(read[n]) for n in head if n.startswith("value:")}, rivals,
                {n.removeprefix("by:"): np.array(read[n], dtype=str) for n in head if n.startswith("by:")},
                tuple(Exclusion(*one) for one in said["exclusions"]), said["synthetic"], tuple(said["notes"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise InvalidInput(f"The cases beside {about.name} cannot be read.", _REMEDY) from fault


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value != value else repr(float(value))


def _floats(cells: Sequence[str]) -> Array:
    return np.array([float(cell) if cell else np.nan for cell in cells])


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Any]:
    """A text file that appears under its name only when it is complete."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class Numbers:
    """Pseudonyms by order of first appearance, so that they say nothing and the data's owner can look them up."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._known = prefix, dict[str, int]()

    def of(self, name: str) -> str:
        return f"{self._prefix}-{self._known.setdefault(name, len(self._known) + 1):05d}"


def of_task(task: str, split: str, found: Mapping[str, Any]) -> Optional[Cases]:
    """Cases of a task's dictionary; None where it hands over none.

    Parameters
    ----------
    found : with "cases": {"ids", "groups", "labels" (names), "classes", "probabilities" (n, k)}, and where there are
        any "rivals" (name -> (n, k) or (n,)), "strata", "unit", "grouped_by", "exclusions" ((case, reason) pairs),
        "synthetic", "notes"; or Cases as they are
    """
    given = found.get("cases")
    if given is None or isinstance(given, Cases):
        return given
    classes = tuple(given["classes"])
    groups = Numbers("group")
    return Cases(
        task, split, given.get("unit", "case"), given.get("grouped_by", "group"),
        np.array([f"case-{n + 1:05d}" for n in range(len(given["ids"]))], dtype=str),
        np.array([groups.of(str(name)) for name in given["groups"]], dtype=str), classes,
        np.array([classes.index(name) for name in given["labels"]], dtype=int),
        np.array(given["probabilities"], dtype=np.float64).reshape(len(given["ids"]), len(classes)),
        {}, {name: np.array(rival, dtype=np.float64) for name, rival in given.get("rivals", {}).items()},
        {name: np.array(column, dtype=str) for name, column in given.get("strata", {}).items()},
        tuple(Exclusion(str(case), str(reason)) for case, reason in given.get("exclusions", ())),
        str(given.get("synthetic", "")), tuple(given.get("notes", ())),
    )  # fmt: skip
