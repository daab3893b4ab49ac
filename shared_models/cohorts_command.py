"""``lungxai cohorts``: what a public collection holds, what was left out and why, its split, and whether it leaks."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .code_version import code_version
from .cohorts.case import CohortCase
from .contract.errors import InvalidInput, ServerError

_EXAMPLES = """\
examples:
  lungxai cohorts                                                    the readers, their licences, what each can show
  lungxai cohorts lc25000 ../shared/data/lc25000_lung_224 --audit
  lungxai cohorts tcga-lung /data/tcga --json tcga.json --csv tcga.csv
  lungxai cohorts lidc-idri /data/manifest-1600709154662 --splits nodules.csv
  lungxai cohorts sclc /data/CMB-LCA --balanced --keep earlier.csv   exact shares; nobody of earlier.csv moves

ROOT is the folder as the download made it; nothing in it is changed. Only headers are read, a patient at a time. The
split is by patient, 70/15/15, by a hash of the pseudonym, so adding patients moves nobody. --audit looks for the same
patient, series or slide in two splits, and for pictures that are nearly the same. Ends with 1 where something leaks.
Research use only, not a diagnosis.
"""
COLUMNS = ("case_id", "patient_id", "cohort", "label", "split", "modality", "image_id", "group", "count", "path")


def register(subparsers: Any) -> None:
    """Add ``cohorts`` to the command line."""
    parser = subparsers.add_parser(
        "cohorts", help="public collections: accounting, splits, leakage audit", epilog=_EXAMPLES,
        description="Read a public collection as it was downloaded, and account for it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", help="the collection; without it, all are listed")
    parser.add_argument("root", nargs="?", type=Path, metavar="ROOT", help="folder of its download")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the accounting (and audit) there")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row per image there")
    parser.add_argument("--audit", action="store_true", help="look for leakage between the splits")
    parser.add_argument(
        "--embedding", choices=("colours", "network", "none"), default="colours",
        help="candidates among tiles: by colours (default), by the H&E network's features (slow), or no comparison",
    )  # fmt: skip
    parser.add_argument("--splits", type=Path, metavar="CSV", help="a table with patient_id and split, which is kept")
    parser.add_argument("--balanced", action="store_true", help="exact shares within each class (small collections)")
    parser.add_argument("--keep", type=Path, metavar="CSV", help="with --balanced: an earlier --csv, kept as it was")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """The exit code: 0, or 1 where something leaks."""
    from .cohorts.registry import COHORTS

    if given.name is None:
        for cohort in COHORTS.values():
            print(f"{cohort.name}\n  what     {cohort.title}\n  licence  {cohort.license}\n  source   {cohort.source}")
            print(f"  layout   {cohort.layout}\n  shows    {cohort.shows}\n")
        print("Research use only, not a diagnosis.")
        return 0
    if given.name not in COHORTS:
        raise InvalidInput("There is no reader of that name.", f"One of: {', '.join(COHORTS)}.")
    if given.root is None:
        raise InvalidInput("The folder of the download is missing.", f"lungxai cohorts {given.name} ROOT")
    if given.keep and not given.balanced:
        raise InvalidInput("--keep goes with --balanced.", "Use --splits to give a split.")
    for path in (given.json, given.csv):
        if path is not None and not path.resolve().parent.is_dir():
            raise InvalidInput("The folder to write to is not there.", "Make it first.")
    from .cohorts.accounting import Accounting

    accounting = Accounting(COHORTS[given.name])
    cases = accounting.counted(_split(given, accounting))
    if given.csv is not None:
        with _written(given.csv) as file:
            cases = _rows(cases, csv.writer(file), given.root.resolve())
            audit = _consumed(cases, given)
    else:
        audit = _consumed(cases, given)
    print(accounting.text())
    if audit is not None:
        print("\n" + audit.text())
    if given.json is not None:
        body = {**accounting.body(), "seed": given.seed, "code_version": code_version()}
        with _written(given.json) as file:
            json.dump({**body, "audit": audit.body() if audit is not None else None}, file, indent=1)
            file.write("\n")
    return int(audit is not None and audit.count > 0)


def _split(given: argparse.Namespace, accounting: Any) -> Iterator[CohortCase]:
    from .cohorts.split import balanced, read_splits, with_splits

    known = read_splits(given.splits) if given.splits else {}
    read = accounting.cohort.read
    if given.balanced:
        # Shares are only exact once every patient is known: the collection is read twice, so that no case is held.
        patients = {
            case.patient_id: case.label
            for case in read(given.root, lambda left_out: None) if case.splittable and case.split is None
        }  # fmt: skip
        earlier = {**(read_splits(given.keep) if given.keep else {}), **known}
        known = {**balanced(patients, given.seed, earlier), **known}
    return with_splits(read(given.root, accounting.report), known, given.seed)


def _consumed(cases: Iterable[CohortCase], given: argparse.Namespace) -> Any:
    """Read to the end; the audit where it is wanted."""
    if not given.audit:
        for _ in cases:
            pass
        return None
    from .cohorts import leakage

    embed, name, modality, confirm = _comparison(given)
    return leakage.audit(cases, embed, name, modality, confirm)


def _comparison(given: argparse.Namespace) -> tuple[Any, str, str, Any]:
    """(embedding, its name, modality, how two are laid over each other)."""
    from .cohorts import embedding
    from .cohorts.alignment import aligned

    if given.embedding == "none":
        return None, "", "tile", None
    if given.name != "lc25000":
        return embedding.ct_vectors, "three small slices of each CT", "CT", None
    if given.embedding == "colours":
        return embedding.colour_vectors, "how often each colour is in them", "tile", aligned
    network = embedding.NetworkVectors()
    return network, network.name, "tile", aligned


def _rows(cases: Iterable[CohortCase], writer: Any, root: Path) -> Iterator[CohortCase]:
    writer.writerow(COLUMNS)
    for case in cases:
        for image in case.images or (None,):
            place = ["", "", "", "", ""] if image is None else [
                image.modality, image.image_id, image.group, image.count, image.path.relative_to(root).as_posix()
            ]  # fmt: skip
            writer.writerow([case.case_id, case.patient_id, case.cohort, case.label or "", case.split or "", *place])
        yield case


class _written:  # noqa: N801  a context manager reads as a verb
    """A text file that is there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Any:
        try:
            self._file = self._part.open("w", newline="", encoding="utf-8")
        except OSError as fault:
            raise ServerError("A result cannot be written.", "Check the folder's permissions and room.") from fault
        return self._file

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit("Run it as: lungxai cohorts")
