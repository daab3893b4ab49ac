"""Files named by the SHA-256 of their content.

blobs/ab/abcd...   a file; never changed once there
tmp/OWNER.RANDOM   a file being written; whatever is here at start is an orphan and is removed

A file is reserved in full before the first byte (a full disk is told at once, not in the middle), written, synced,
renamed into its place, and its folder synced: it is there whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import LungXAIError, OutOfMemory

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_full() -> OutOfMemory:
    """The error for a full disk."""
    return OutOfMemory("The server's disk is full; nothing was lost.", "Delete cases or free disk space, then retry.")


def named(fault: OSError) -> LungXAIError:
    """Our error for a failed write."""
    if fault.errno in _FULL:
        return disk_full()
    return LungXAIError("The server could not write to its data folder.", "Run `lungxai doctor` on the server.")


@dataclass(frozen=True)
class Written:
    """A complete file in tmp/, waiting to be adopted."""

    temporary: str
    sha256: str
    size: int


class Sink:
    """One file being written; close() gives it up unless finish() was called."""

    def __init__(self, folder: Path, owner: str, size: Optional[int], reserve: int) -> None:
        if not _OWNER.fullmatch(owner):
            raise ValueError("owner")
        self._path = folder / f"{owner}.{secrets.token_hex(8)}"
        self._hash = hashlib.sha256()
        self._written = 0
        self._file: Optional[int] = None
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            if size is not None:
                if shutil.disk_usage(folder).free < size + reserve:
                    raise disk_full()
                if size and hasattr(os, "posix_fallocate"):  # macOS has none: there the free space is all we check
                    os.posix_fallocate(self._file, 0, size)
        except OSError as fault:
            self.close()
            raise named(fault) from fault
        except LungXAIError:
            self.close()
            raise

    def write(self, data: Any) -> None:
        """Append ``data``; raises OutOfMemory where the disk is full."""
        assert self._file is not None
        self._hash.update(data)
        view = memoryview(data)
        try:
            while view:
                count = os.write(self._file, view)
                self._written += count
                view = view[count:]
        except OSError as fault:
            raise named(fault) from fault

    def finish(self) -> Written:
        """Sync the file; it stays in tmp/ until it is adopted."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, self._written)
            os.fsync(self._file)
        except OSError as fault:
            raise named(fault) from fault
        os.close(self._file)
        self._file = None
        return Written(self._path.name, self._hash.hexdigest(), self._written)

    def close(self) -> None:
        """Give up: nothing stays. Does nothing after finish()."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._path.unlink(missing_ok=True)


class Blobs:
    """The files of one data folder. Any process may write to tmp/; only the one that keeps the record adopts."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "blobs"
        self.tmp = data_dir / "tmp"
        for folder in (data_dir, self.root, self.tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the file of this hash lies, or would lie."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError("sha256")
        return self.root / sha256[:2] / sha256

    def sink(self, owner: str, size: Optional[int] = None, reserve: int = 0) -> Sink:
        """A new file of ``owner`` (a job's id or "upload").

        Parameters
        ----------
        size : bytes to set aside now; None where not known
        reserve : bytes that have to stay free beside them

        Raises
        ------
        OutOfMemory : the disk has no room.
        """
        return Sink(self.tmp, owner, size, reserve)

    def put(self, owner: str, data: bytes) -> Written:
        """Write ``data`` whole to tmp/."""
        sink = self.sink(owner, len(data))
        try:
            sink.write(data)
            return sink.finish()
        finally:
            sink.close()

    def adopt(self, written: Written) -> None:
        """Move a complete file into its place; one that is there already is kept and the new one dropped."""
        target, source = self.path(written.sha256), self.tmp / written.temporary
        try:
            if target.exists():
                source.unlink(missing_ok=True)
                return
            if not target.parent.exists():
                target.parent.mkdir(mode=0o700)
                _sync(self.root)
            os.replace(source, target)
            _sync(target.parent)
        except OSError as fault:
            raise named(fault) from fault

    def remove(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def forget(self, owner: str) -> None:
        """Remove what ``owner`` left in tmp/."""
        for path in self.tmp.glob(f"{owner}.*"):
            path.unlink(missing_ok=True)

    def sweep(self, referenced: set[str]) -> int:
        """At start: empty tmp/ and remove files that the record does not name; how many were removed."""
        orphans = [p for p in self.tmp.iterdir() if p.is_file()]
        orphans += [p for p in self.root.glob("*/*") if p.name not in referenced]
        for path in orphans:
            path.unlink(missing_ok=True)
        return len(orphans)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
