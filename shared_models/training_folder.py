"""The folder of one run: what it holds, who writes to it, and that no write leaves half a file.

RunFolder    last.pt (checkpoint), best.pt (weights), result.json (record), curves.png
written()    a file whole or not at all; a full disk is an error with a remedy
other_task() the task of the run that a folder holds, where it is not the one wanted
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from .contract.errors import InvalidInput, ServerError

CHECKPOINT, BEST, RECORD, CURVES, LOCK = "last.pt", "best.pt", "result.json", "curves.png", ".running"
# Modules that trained before there was one command: their records name no task.
FORMER = {
    "train_slide": "he_tiles", "train_ct": "ct_nodule", "train_malignancy": "ct_malignancy",
    "train_clinical": "clinical",
}  # fmt: skip
_VERSION = 1


def written(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``: complete and on the disk, or not at all.

    Raises
    ------
    ServerError : the disk is full, or the folder cannot be written; what was there before is still there.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as fault:
        raise unwritable(path, fault) from fault
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def unwritable(path: Path, fault: OSError) -> ServerError:
    """The error for a file of a run that could not be written."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ServerError(
            f"The disk is full: {path.name} was not written. The last checkpoint is still whole.",
            "Free space, then go on with the same command and --resume.",
        )
    why = (fault.strerror or "no reason was given").lower()
    return ServerError(f"{path} cannot be written: {why}.", "Choose another folder with --out, or change its rights.")


def other_task(out: Path, task: str) -> Optional[str]:
    """The task of a run in ``out`` or in a folder right below it, where it is not ``task``."""
    for path in (out / RECORD, *sorted(out.glob(f"*/{RECORD}"))):
        try:
            record = json.loads(path.read_bytes())
            found = record.get("task") or next(
                (name for former, name in FORMER.items() if f".{former}" in record["command"]), None
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if found and found != task:
            return str(found)
    return None


class RunFolder:
    """The folder of a run; made where it is not there.

    Raises
    ------
    ServerError : it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise unwritable(path, fault) from fault

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else trains here meanwhile; the lock goes with the process, however it ends.

        Raises
        ------
        InvalidInput : another process trains into this folder.
        """
        try:
            import fcntl
        except ImportError:  # Windows: two runs in one folder are the user's own affair there
            yield
            return
        try:
            file = (self.path / LOCK).open("a")
        except OSError as fault:
            raise unwritable(self.path, fault) from fault
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidInput(
                    f"Another run is writing to {self.path}.", "Wait for it, stop it, or choose another --out."
                ) from None
            yield

    def check_free(self, task: str, resume: bool, restart: bool) -> None:
        """Whether ``task`` may be trained into this folder.

        Raises
        ------
        InvalidInput : it holds a run of another task, or one of this task and neither word was given.
        """
        other = other_task(self.path, task)
        if other:
            raise InvalidInput(f"{self.path} holds a run of {other}, not of {task}.", "Choose another --out.")
        if (self.path / CHECKPOINT).exists() and not (resume or restart):
            raise InvalidInput(
                f"{self.path} holds a run of {task} already.",
                "Go on with it with --resume, begin anew with --restart, or choose another --out.",
            )

    def clear(self) -> None:
        """Take the run away: a new one that is stopped early must not be gone on with from the old."""
        for name in (CHECKPOINT, BEST, RECORD, CURVES):
            (self.path / name).unlink(missing_ok=True)

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        """Write tensors and plain values with torch; see written()."""
        import torch

        held = io.BytesIO()  # not straight to the disk: torch reports a full one in words of its own
        torch.save(dict(state), held)
        written(self.path / name, held.getvalue())

    def kept(self, name: str) -> dict[str, Any]:
        """What keep() wrote, on the CPU; nothing in it is run.

        Raises
        ------
        InvalidInput : the file is missing or damaged.
        """
        import torch

        path = self.path / name
        if not path.is_file():
            raise InvalidInput(f"{self.path} holds no {name}.", "Leave out --resume, or name the folder of the run.")
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as fault:  # torch raises several kinds for a broken file
            raise InvalidInput(f"{path} is damaged.", "Begin anew with --restart.") from fault
        return state

    def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write what is needed to go on."""
        self.keep(CHECKPOINT, {"version": _VERSION, **state})

    def last(self) -> dict[str, Any]:
        """The checkpoint.

        Raises
        ------
        InvalidInput : there is none, or not one of this version.
        """
        state = self.kept(CHECKPOINT)
        if not isinstance(state, dict) or state.get("version") != _VERSION:
            raise InvalidInput(
                f"The checkpoint in {self.path} was written by another version.", "Begin anew with --restart."
            )
        return state

    def record(self, record: Mapping[str, Any]) -> None:
        """Write result.json."""
        written(self.path / RECORD, (json.dumps(record, indent=1) + "\n").encode())
