"""Database: the SQLite file of one data folder, and the lock that gives the folder to one server.

cases    pseudonymous id, whether synthetic, when made (UTC)
volumes  CT frames by SHA-256; they belong to every case that uses them
slides   one row a slide; every batch of a slide has its mpp and tile size
tiles    one row a batch of tiles
parts    what else a case holds, one row a file: clinical, radiology, radiology/mask, pathology, fusion, ...
jobs     every acknowledged job; a row is written before the client hears of it
notes    what a tumour board wrote of a case; rows are added and never changed

Write-ahead log, synchronous=FULL: what was committed is there after kill -9 and after a power cut.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput, ServerError

from .blobs import disk_full

VERSION = 2
_RESTORE = "Restore it from a backup, or start with another folder: --data-dir."
_SCHEMA = """
CREATE TABLE cases (case_id TEXT PRIMARY KEY, synthetic INTEGER NOT NULL, created TEXT NOT NULL) STRICT;
CREATE TABLE volumes (sha256 TEXT PRIMARY KEY, bytes INTEGER NOT NULL, created TEXT NOT NULL) STRICT;
CREATE TABLE slides (
  case_id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE, slide_id TEXT NOT NULL,
  mpp REAL NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL, PRIMARY KEY (case_id, slide_id)) STRICT;
CREATE TABLE tiles (
  seq INTEGER PRIMARY KEY, case_id TEXT NOT NULL, slide_id TEXT NOT NULL, sha256 TEXT NOT NULL,
  count INTEGER NOT NULL, bytes INTEGER NOT NULL, UNIQUE (case_id, slide_id, sha256),
  FOREIGN KEY (case_id, slide_id) REFERENCES slides ON DELETE CASCADE) STRICT;
CREATE TABLE parts (
  case_id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE, name TEXT NOT NULL, sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL, created TEXT NOT NULL, PRIMARY KEY (case_id, name)) STRICT;
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE, case_id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE,
  kind TEXT NOT NULL, request TEXT NOT NULL, volume TEXT REFERENCES volumes, state TEXT NOT NULL,
  error TEXT, attempts INTEGER NOT NULL DEFAULT 0, created TEXT NOT NULL, ended TEXT) STRICT;
CREATE INDEX tiles_by_hash ON tiles (sha256);
CREATE INDEX parts_by_hash ON parts (sha256);
CREATE INDEX jobs_by_case ON jobs (case_id);
CREATE INDEX jobs_by_volume ON jobs (volume);
"""
# What each version added to the one before it.
_ADDED = {
    2: """
CREATE TABLE notes (
  seq INTEGER PRIMARY KEY, case_id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE, text TEXT NOT NULL,
  decision TEXT NOT NULL, author TEXT NOT NULL, about TEXT NOT NULL, created TEXT NOT NULL) STRICT;
CREATE INDEX notes_by_case ON notes (case_id);
""",
}


def now() -> str:
    """This moment, UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def unusable(why: str) -> ServerError:
    """The error for a data folder that cannot be written to."""
    return ServerError(f"The data folder cannot be used: {why}.", "Free disk space, or choose another: --data-dir.")


def _lock(path: Path) -> int:
    """Take the data folder for this process; freed by the system however the process ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows: an open file of SQLite's own has to do
        pass
    except OSError as fault:
        os.close(handle)
        raise ServerError(
            "Another server is using this data folder.", "Stop it, or give this one another --data-dir."
        ) from fault
    return handle


class Database:
    """One connection, used by all threads in turn.

    Raises
    ------
    ServerError : another server has the folder, a newer version made it, its record is damaged or missing, or it
        cannot be written to. Nothing in it is changed then.
    """

    def __init__(self, data_dir: Path) -> None:
        self._handle: Optional[int] = None
        self._turn = threading.RLock()
        self._db: Any = None
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = _lock(data_dir / "lock")
            self._open(data_dir)
        except BaseException as fault:
            self.close()
            if isinstance(fault, sqlite3.OperationalError) and re.search("full|open|readonly|locked|I/O", str(fault)):
                raise unusable(str(fault)) from fault
            if isinstance(fault, sqlite3.DatabaseError):
                raise ServerError("The record of this data folder, cases.sqlite, is damaged.", _RESTORE) from fault
            if isinstance(fault, OSError):
                raise unusable(os.strerror(fault.errno or 0)) from fault
            raise

    def _open(self, data_dir: Path) -> None:
        path = data_dir / "cases.sqlite"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # the log files get the rights of this one
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            self._db.execute(f"PRAGMA {pragma}")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise ServerError("A newer version of LungXAI made this data folder.", "Update LungXAI.")
        # What a damaged record does not name would be taken for left over, and swept away.
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check")
        if version == 0 and any(data_dir.glob("blobs/*/*")):
            raise ServerError("The data folder holds files, but its record, cases.sqlite, is missing.", _RESTORE)
        if version < VERSION:
            with self.change():
                for number, schema in ((1, _SCHEMA), *_ADDED.items()):
                    if number > version:
                        for statement in schema.split(";\n"):
                            self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        with self._turn:
            if self._db is not None:
                self._db.close()
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed and on disk when the block ends, undone when it raises.

        Raises
        ------
        OutOfMemory : the disk is full; nothing was changed.
        """
        with self._turn:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as fault:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(fault, sqlite3.OperationalError) and "full" in str(fault):
                    raise disk_full() from fault
                raise

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._turn:
            return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> Optional[sqlite3.Row]:
        found = self.rows(query, *values)
        return found[0] if found else None

    def number(self, query: str, *values: Any) -> int:
        """The only column of the only row; NULL is 0."""
        return int(self.rows(query, *values)[0][0] or 0)


def unique(fault: sqlite3.IntegrityError, what: str) -> InvalidInput:
    """The error for a name that is taken."""
    return InvalidInput(f"There is a {what} of this name already.", "Choose another name, or go on with that one.")
