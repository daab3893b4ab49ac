"""The folders of a download: which lie where, without ever leaving the root.

checked_root()      the root, or a clear error
patient_folders()   folders named by a patient of the collection, wherever the download put them
files_below()       the regular files of one folder

Links that lead out of the root are not followed; they are told to ``report``. Pipes and devices are passed over.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ..contract.errors import InvalidInput
from .case import Exclusion, Report

_DEEPEST = 12
_TO_PATIENT = 5
_LINK = "a link that leads out of the folder"
_FOLDER_LINK = "a link to a folder, which is not followed"
_LOST = "a link that leads nowhere"
_DEEP = "a folder nested deeper than downloads are"


def checked_root(root: Path) -> Path:
    """``root`` resolved.

    Raises
    ------
    InvalidInput : it is not a folder.
    """
    if not root.is_dir():
        raise InvalidInput("The cohort's folder is not there.", "Give the folder that the download made.")
    return root.resolve()


def inside(path: Path, root: Path) -> bool:
    """Whether ``path`` with its links followed lies below ``root``, which is resolved."""
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def patient_folders(
    root: Path, pattern: re.Pattern[str], report: Report, skip: Callable[[str], bool] = lambda name: False
) -> Iterator[Path]:
    """Folders whose whole name matches ``pattern``, at most five levels below ``root``, by name within each level.

    Not looked for inside another such folder, nor in folders of which ``skip(name)`` is true.
    """

    def walk(folder: Path, depth: int) -> Iterator[Path]:
        for entry in _entries(folder):
            if not entry.is_dir(follow_symlinks=True) or skip(entry.name):
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                report(Exclusion("file", _FOLDER_LINK if inside(path, root) else _LINK))
                continue
            if pattern.fullmatch(entry.name):
                yield path
            elif depth < _TO_PATIENT:
                yield from walk(path, depth + 1)

    yield from walk(root, 1)


def files_below(folder: Path, root: Path, report: Report, patient_id: str = "") -> Iterator[Path]:
    """Regular files below ``folder``, in the order of their names; a link to a file inside ``root`` counts as one."""

    def walk(here: Path, depth: int) -> Iterator[Path]:
        for entry in _entries(here):
            path = Path(entry.path)
            if entry.is_symlink():
                if not path.exists():
                    report(Exclusion("file", _LOST, patient_id))
                    continue
                if not inside(path, root):
                    report(Exclusion("file", _LINK, patient_id))
                    continue
                if path.is_dir():
                    report(Exclusion("file", _FOLDER_LINK, patient_id))
                    continue
            try:
                mode = entry.stat().st_mode
            except OSError:
                continue
            if stat.S_ISDIR(mode):
                if depth >= _DEEPEST:
                    report(Exclusion("file", _DEEP, patient_id))
                    continue
                yield from walk(path, depth + 1)
            elif stat.S_ISREG(mode):
                yield path

    yield from walk(folder, 1)
