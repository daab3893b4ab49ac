"""Files named by the SHA-256 of their content.

blobs/ab/abcd...   a file; never changed once there
tmp/OWNER.RANDOM   a file being written; whatever is here at start is an orphan and is removed

A file is reserved in full before the first byte (a full disk is told at once, not in the middle), written, synced,
renamed into its place, and its folder synced: it is there whole or not at all.

Disks turn bits over. What is read to be worked with is checked against its name; a file that is not what its name says
is removed, so that the same data can be sent again, and the reader gets an error in place of a wrong answer.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Optional

from shared_models.contract.errors import LungXAIError, OutOfMemory, ServerError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PIECE = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_full() -> OutOfMemory:
    """The error for a full disk."""
    return OutOfMemory("The server's disk is full; nothing was lost.", "Delete cases or free disk space, then retry.")


def damaged() -> ServerError:
    """The error for a file that is gone, or not what was kept."""
    return ServerError(
        "A file that the server kept is damaged or gone.",
        "Send the data again and start the analysis again. If it comes back, have the server's disk checked.",
    )


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


class Kept:
    """A file of the store, open: it can be read to its end even where it is let go meanwhile.

    Raises
    ------
    ServerError : it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: BinaryIO = path.open("rb")
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as fault:
            raise damaged() from fault

    def pieces(self) -> Iterator[bytes]:
        """The content as it lies there, unchecked: a frame brings its own checksum."""
        with self._file as file:
            while piece := file.read(_PIECE):
                yield piece

    def read(self) -> bytes:
        """The content, once; raises ServerError where it is not what was kept."""
        try:
            with self._file as file:
                data = file.read()
        except OSError as fault:
            raise damaged() from fault
        self._compared(hashlib.sha256(data).hexdigest())
        return data

    def checked(self) -> Path:
        """The path of a file that was read through and is what was kept; for those too large to hold."""
        seen = hashlib.sha256()
        try:
            for piece in self.pieces():
                seen.update(piece)
        except OSError as fault:
            raise damaged() from fault
        self._compared(seen.hexdigest())
        return self._path

    def _compared(self, sha256: str) -> None:
        if sha256 != self._path.name:
            self._path.unlink(missing_ok=True)
            raise damaged()


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

    def open(self, sha256: str) -> Kept:
        """The file of this hash; raises ServerError where it is not there."""
        return Kept(self.path(sha256))

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

    def forget_one(self, written: Written) -> None:
        """Give up a complete file that was not adopted."""
        (self.tmp / written.temporary).unlink(missing_ok=True)

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
