"""Cases: what the server keeps, in the database and in files, changed together or not at all.

Order of every change: files adopted, then the transaction, then files let go that nothing names any more.
A death in between leaves a file that nothing names; the next start removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from shared_models.contract import routes
from shared_models.contract.board_note import BoardNote
from shared_models.contract.errors import InputTooLarge, InvalidInput, OutOfMemory, RequestError, ServerBusy

from .blobs import Blobs, Kept, Written
from .database import Database, now, unique, unusable
from .settings import Settings

UNUSED_VOLUME_HOURS = 24
KEPT_JOBS = 500  # of one case
KEPT_NOTES = 1000  # of one case
_ANSWERS = ("radiology", "pathology", "clinical", "fusion")
CORRECTION = "correction"
_PINNED = "correction/"  # and a job's id: what that job measures, whatever is sent after it
_SIZES = "SELECT sum(bytes) FROM (SELECT DISTINCT sha256, bytes FROM parts"  # a pinned file counts once
_REFERENCES = (
    "SELECT (SELECT count(*) FROM parts WHERE sha256 = ?1) + (SELECT count(*) FROM tiles WHERE sha256 = ?1)"
    " + (SELECT count(*) FROM jobs WHERE volume = ?1)"
)


def missing(what: str) -> RequestError:
    """404: there is no such thing."""
    fault = RequestError(f"There is no such {what}.", "Check the identifier, or create it first.")
    fault.status = 404
    return fault


class Cases:
    """The record of one data folder.

    Raises
    ------
    ServerError : another server has the folder, or it cannot be used; see Database.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._db = Database(settings.data_dir)
        self._files = threading.RLock()  # held while files are adopted or let go, and taken before the database's
        try:
            self.blobs = Blobs(settings.data_dir)
            self._sweep()
        except BaseException as fault:
            self._db.close()
            if isinstance(fault, OSError):
                raise unusable(os.strerror(fault.errno or 0)) from fault
            raise

    def _sweep(self) -> None:
        """Let go of CTs that no case took up, and of files that nothing names."""
        with self._db.change() as db:
            oldest = (datetime.now(timezone.utc) - timedelta(hours=UNUSED_VOLUME_HOURS)).isoformat()
            db.execute(
                "DELETE FROM volumes WHERE created < ? AND sha256 NOT IN (SELECT volume FROM jobs WHERE volume NOTNULL)"
                " AND sha256 NOT IN (SELECT sha256 FROM parts)",
                (oldest,),
            )
        kept = self._db.rows("SELECT sha256 FROM parts UNION SELECT sha256 FROM tiles UNION SELECT sha256 FROM volumes")
        self.blobs.sweep({row[0] for row in kept})

    def close(self) -> None:
        self._db.close()

    # Cases

    def create(self, case_id: Optional[str], synthetic: bool) -> str:
        """A new case; its id."""
        chosen = case_id or f"case-{secrets.token_hex(6)}"
        routes.case(chosen)
        if self._db.number("SELECT count(*) FROM cases") >= self._settings.max_cases:
            raise ServerBusy("The server holds as many cases as it may.", "Delete cases that are done.")
        try:
            with self._db.change() as db:
                db.execute("INSERT INTO cases VALUES (?, ?, ?)", (chosen, int(synthetic), now()))
        except sqlite3.IntegrityError as fault:
            raise unique(fault, "case") from fault
        return chosen

    def check(self, case_id: str) -> None:
        """Raises InvalidInput or a 404 where there is no such case."""
        routes.case(case_id)
        if self._db.row("SELECT 1 FROM cases WHERE case_id = ?", case_id) is None:
            raise missing("case")

    def all(self) -> list[dict[str, Any]]:
        """Every case, newest first, without its jobs."""
        rows = self._db.rows("SELECT * FROM cases ORDER BY created DESC, rowid DESC")
        names: dict[str, list[str]] = {}
        for case_id, name in self._db.rows("SELECT case_id, name FROM parts"):
            names.setdefault(case_id, []).append(name)
        return [_case(row, names.get(row["case_id"], [])) for row in rows]

    def get(self, case_id: str) -> dict[str, Any]:
        """What one case holds; its jobs are the JobBoard's."""
        self.check(case_id)
        row = self._db.row("SELECT * FROM cases WHERE case_id = ?", case_id)
        assert row is not None
        parts = {r["name"]: r["sha256"] for r in self._db.rows("SELECT * FROM parts WHERE case_id = ?", case_id)}
        slides = self._db.rows(
            "SELECT slide_id, mpp, sum(count) AS tiles FROM slides JOIN tiles USING (case_id, slide_id)"
            " WHERE case_id = ? GROUP BY slide_id ORDER BY min(seq)",
            case_id,
        )
        return {
            **_case(row, list(parts)),
            "about": self.results_sha256(case_id),
            "volume": parts.get("radiology/volume"),
            "slides": [dict(slide) for slide in slides],
            "heatmaps": {
                modality: sorted(n.rsplit("/", 1)[1] for n in parts if n.startswith(f"{modality}/heatmaps/"))
                for modality in ("radiology", "pathology")
            },
        }

    def delete(self, case_id: str) -> None:
        """Remove a case, and every file that no other case uses."""
        self.check(case_id)
        with self._files:
            freed = self._db.rows(
                "SELECT sha256 FROM parts WHERE case_id = ?1 UNION SELECT sha256 FROM tiles WHERE case_id = ?1"
                " UNION SELECT volume FROM jobs WHERE case_id = ?1 AND volume NOTNULL",
                case_id,
            )
            with self._db.change() as db:
                db.execute("DELETE FROM cases WHERE case_id = ?", (case_id,))
                unused = [row[0] for row in freed if not db.execute(_REFERENCES, (row[0],)).fetchone()[0]]
                db.executemany("DELETE FROM volumes WHERE sha256 = ?", [(sha,) for sha in unused])
            for sha in unused:
                self.blobs.remove(sha)

    # What goes in

    def room(self, size: int, case_id: Optional[str] = None) -> None:
        """Raises InputTooLarge or OutOfMemory where ``size`` more bytes are more than may be kept."""
        if case_id is not None:
            used = self._db.number(
                "SELECT coalesce((SELECT sum(bytes) FROM tiles WHERE case_id = ?1), 0)"
                f" + coalesce(({_SIZES} WHERE case_id = ?1)), 0)",
                case_id,
            )
            if used + size > self._settings.max_case_bytes:
                raise InputTooLarge("This case holds as much data as a case may.", "Send fewer tiles, or a new case.")
        used = self._db.number(
            f"SELECT coalesce((SELECT sum(bytes) FROM tiles), 0) + coalesce(({_SIZES})), 0)"
            " + coalesce((SELECT sum(bytes) FROM volumes), 0)"
        )
        if used + size > self._settings.max_total_bytes:
            raise OutOfMemory("The server holds as much data as it may.", "Delete cases that are done.")

    def has_volume(self, sha256: str) -> bool:
        routes.volume(sha256)
        row = self._db.row("SELECT 1 FROM volumes WHERE sha256 = ?", sha256)
        return row is not None and self.blobs.path(sha256).exists()

    def add_volume(self, written: Written) -> None:
        with self._kept([written]), self._db.change() as db:
            db.execute("INSERT OR IGNORE INTO volumes VALUES (?, ?, ?)", (written.sha256, written.size, now()))

    def check_slide(self, case_id: str, slide_id: str, mpp: float, height: int, width: int) -> None:
        """Raises InvalidInput where the slide's earlier batches had another mpp or tile size."""
        known = self._db.row("SELECT * FROM slides WHERE case_id = ? AND slide_id = ?", case_id, slide_id)
        if known and (known["mpp"], known["height"], known["width"]) != (mpp, height, width):
            raise InvalidInput(
                "These tiles have another pixel size or tile size than the slide's earlier ones.",
                "Send all tiles of one slide alike, or under another slide name.",
            )

    def add_tiles(
        self, case_id: str, slide_id: str, mpp: float, height: int, width: int, count: int, written: Written
    ) -> int:
        """Keep one batch; tiles of the slide so far. The same batch again changes nothing."""
        with self._kept([written]), self._db.change() as db:
            self.check(case_id)
            self.check_slide(case_id, slide_id, mpp, height, width)
            db.execute("INSERT OR IGNORE INTO slides VALUES (?, ?, ?, ?, ?)", (case_id, slide_id, mpp, height, width))
            db.execute(
                "INSERT OR IGNORE INTO tiles (case_id, slide_id, sha256, count, bytes) VALUES (?, ?, ?, ?, ?)",
                (case_id, slide_id, written.sha256, count, written.size),
            )
        return self._db.number("SELECT sum(count) FROM tiles WHERE case_id = ? AND slide_id = ?", case_id, slide_id)

    def tile_frames(self, case_id: str, slide_id: str) -> tuple[str, ...]:
        """SHA-256 of each batch of a slide, in the order they came."""
        rows = self._db.rows(
            "SELECT sha256 FROM tiles WHERE case_id = ? AND slide_id = ? ORDER BY seq", case_id, slide_id
        )
        return tuple(row[0] for row in rows)

    # Parts

    def part(self, case_id: str, name: str) -> Optional[Kept]:
        """The file of one part; None where the case has none."""
        self.check(case_id)
        with self._files:
            row = self._db.row("SELECT sha256 FROM parts WHERE case_id = ? AND name = ?", case_id, name)
            return None if row is None else self.blobs.open(row[0])

    def volume(self, sha256: str) -> Kept:
        """The file of a CT; a 404 where there is none."""
        with self._files:
            if not self.has_volume(sha256):
                raise missing("CT")
            return self.blobs.open(sha256)

    def parts(self, case_id: str, *names: str) -> dict[str, Kept]:
        """The files of the case's parts, or of those named, all of one moment: a result and its own mask."""
        self.check(case_id)
        with self._files:
            found = self.hashes(case_id)
            return {name: self.blobs.open(sha) for name, sha in found.items() if not names or name in names}

    def hashes(self, case_id: str) -> dict[str, str]:
        """Name to SHA-256 of each part."""
        rows = self._db.rows("SELECT name, sha256 FROM parts WHERE case_id = ? ORDER BY name", case_id)
        return {row["name"]: row["sha256"] for row in rows}

    def put_json(
        self, case_id: str, name: str, body: Mapping[str, Any], made_from: Optional[Mapping[str, str]] = None
    ) -> bool:
        """Set a small part, for example the clinical fields.

        Parameters
        ----------
        made_from : name to SHA-256 of every part that ``body`` was made from; where one is another by now, or one is
            there that was not, nothing is set and the answer is False
        """
        self.check(case_id)
        data = json.dumps(body, allow_nan=False).encode()
        self.room(len(data), case_id)
        written = self.blobs.put("part", data)
        with self._files:
            if made_from is not None:
                held = self.hashes(case_id)
                if any(held.get(part) != made_from.get(part) for part in ("radiology", "pathology", "clinical")):
                    self.blobs.forget_one(written)
                    return False
            self._replace(case_id, name, {name: written}, None, None)
        return True

    def put_correction(self, case_id: str, written: Written) -> None:
        """Keep a corrected segmentation; it goes when a job has measured it, or with the next one."""
        with self._kept([written]):
            with self._db.change() as db:
                self.check(case_id)
                old = db.execute("SELECT sha256 FROM parts WHERE case_id = ? AND name = ?", (case_id, CORRECTION))
                gone = [row[0] for row in old.fetchall()]
                db.execute("DELETE FROM parts WHERE case_id = ? AND name = ?", (case_id, CORRECTION))
                row = (case_id, CORRECTION, written.sha256, written.size, now())
                db.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", row)
            self._let_go(gone)

    def correction(self, case_id: str) -> Optional[str]:
        """SHA-256 of the corrected segmentation that waits to be measured."""
        return self.hashes(case_id).get(CORRECTION)

    def pinned(self, case_id: str, job_id: str) -> Optional[str]:
        """SHA-256 of the corrected segmentation that this job measures."""
        return self.hashes(case_id).get(_PINNED + job_id)

    def put_results(
        self, case_id: str, modality: str, outputs: Mapping[str, Written], job_id: str, volume: Optional[str]
    ) -> None:
        """Set a modality's results and end its job, at once. Of a case deleted meanwhile nothing is kept."""
        self._replace(case_id, modality, outputs, job_id, volume)

    def _replace(
        self, case_id: str, kind: str, outputs: Mapping[str, Written], job_id: Optional[str], volume: Optional[str]
    ) -> None:
        """Replace ``kind`` and everything under it. The fusion goes too: it was made from what there was before."""
        rows = [(case_id, name, w.sha256, w.size, now()) for name, w in outputs.items()]
        if volume is not None:
            rows.append((case_id, f"{kind}/volume", volume, 0, now()))  # its bytes are counted in volumes
        where = " FROM parts WHERE case_id = ? AND (name = ? OR name GLOB ? OR name = 'fusion')"
        gone = (case_id, kind, f"{kind}/*")
        with self._kept(outputs.values()):
            with self._db.change() as db:
                old = db.execute("SELECT sha256" + where, gone).fetchall()
                db.execute("DELETE" + where, gone)
                measured = _unpinned(db, job_id)
                if measured:
                    row = (case_id, CORRECTION, measured[0][0])
                    db.execute("DELETE FROM parts WHERE case_id = ? AND name = ? AND sha256 = ?", row)
                if db.execute("SELECT 1 FROM cases WHERE case_id = ?", (case_id,)).fetchone() is not None:
                    db.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", rows)
                if job_id is not None:
                    db.execute("UPDATE jobs SET state = 'done', ended = ? WHERE job_id = ?", (now(), job_id))
            self._let_go(row[0] for row in (*old, *measured))

    @contextmanager
    def _kept(self, files: Iterable[Written]) -> Iterator[None]:
        """Files adopted for the transaction inside; those that no row names after it are removed again."""
        with self._files:
            adopted = []
            try:
                for written in files:
                    self.blobs.adopt(written)
                    adopted.append(written.sha256)
                yield
            finally:
                self._let_go(adopted)

    def _let_go(self, hashes: Iterable[str]) -> None:
        for sha256 in set(hashes):
            used = self._db.number(_REFERENCES, sha256)
            if not used and self._db.row("SELECT 1 FROM volumes WHERE sha256 = ?", sha256) is None:
                self.blobs.remove(sha256)

    # The board's notes

    def add_note(self, case_id: str, note: BoardNote) -> BoardNote:
        """Keep a note; it comes back with its time, and with which results of the case were there."""
        size = sum(len(part.encode()) for part in (note.text, note.decision, note.author))
        self.room(size, case_id)
        kept = replace(note, created=now(), about=self.results_sha256(case_id))
        with self._db.change() as db:
            self.check(case_id)
            if db.execute("SELECT count(*) FROM notes WHERE case_id = ?", (case_id,)).fetchone()[0] >= KEPT_NOTES:
                raise InputTooLarge("This case holds as many notes as a case may.", "Go on with a new case.")
            db.execute(
                "INSERT INTO notes (case_id, text, decision, author, about, created) VALUES (?, ?, ?, ?, ?, ?)",
                (case_id, kept.text, kept.decision, kept.author, kept.about, kept.created),
            )
        return kept

    def notes(self, case_id: str) -> list[BoardNote]:
        """Every note of a case, oldest first."""
        self.check(case_id)
        query = "SELECT text, decision, author, created, about FROM notes WHERE case_id = ? ORDER BY seq"
        return [BoardNote(**dict(row)) for row in self._db.rows(query, case_id)]

    def results_sha256(self, case_id: str) -> str:
        """Changes with each result and each clinical field of a case: what a note was written about."""
        held = {name: sha for name, sha in self.hashes(case_id).items() if name in _ANSWERS}
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()

    # Jobs

    def add_job(self, job_id: str, case_id: str, kind: str, request: Mapping[str, Any], volume: Optional[str]) -> None:
        """Write a job down; it survives whatever happens from here on. Of those that ended the newest are kept.

        Raises
        ------
        InvalidInput : it is to measure a corrected segmentation, and there is none.
        """
        try:
            with self._db.change() as db:
                db.execute(
                    "INSERT INTO jobs (job_id, case_id, kind, request, volume, state, created)"
                    " VALUES (?, ?, ?, ?, ?, 'queued', ?)",
                    (job_id, case_id, kind, json.dumps(request), volume, now()),
                )
                if request.get("corrected"):
                    pinned = db.execute(
                        "INSERT INTO parts SELECT case_id, ?, sha256, bytes, ? FROM parts"
                        " WHERE case_id = ? AND name = ?",
                        (_PINNED + job_id, now(), case_id, CORRECTION),
                    )
                    if not pinned.rowcount:
                        raise InvalidInput(
                            "The server holds no corrected segmentation.", "Send the corrected segmentation first."
                        )
                db.execute(
                    "DELETE FROM jobs WHERE case_id = ?1 AND state NOT IN ('queued', 'running')"
                    " AND seq <= (SELECT seq FROM jobs WHERE case_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                    (case_id, KEPT_JOBS),
                )
        except sqlite3.IntegrityError as fault:  # the case or the volume was deleted a moment ago
            raise missing("case or volume") from fault

    def start_job(self, job_id: str) -> None:
        with self._db.change() as db:
            db.execute("UPDATE jobs SET state = 'running', attempts = attempts + 1 WHERE job_id = ?", (job_id,))

    def requeue_job(self, job_id: str) -> None:
        """Back to the queue through no fault of the job, so this start does not count."""
        with self._db.change() as db:
            db.execute("UPDATE jobs SET state = 'queued', attempts = attempts - 1 WHERE job_id = ?", (job_id,))

    def end_job(self, job_id: str, state: str, error: Optional[Mapping[str, str]] = None) -> None:
        """End a job without a result; a job that has ended stays as it ended."""
        text = None if error is None else json.dumps(error)
        with self._files:
            with self._db.change() as db:
                db.execute(
                    "UPDATE jobs SET state = ?, error = ?, ended = ?"
                    " WHERE job_id = ? AND state IN ('queued', 'running')",
                    (state, text, now(), job_id),
                )
                freed = _unpinned(db, job_id)
            self._let_go(row[0] for row in freed)

    def jobs(self, where: str = "1", *values: Any) -> list[sqlite3.Row]:
        """Rows of jobs in the order they came; ``where`` is code, never input."""
        return self._db.rows(f"SELECT * FROM jobs WHERE {where} ORDER BY seq", *values)


def _unpinned(db: sqlite3.Connection, job_id: Optional[str]) -> list[Any]:
    """Let go of what a job was to measure; its row of parts."""
    if job_id is None:
        return []
    return db.execute("DELETE FROM parts WHERE name = ? RETURNING sha256", (_PINNED + job_id,)).fetchall()


def _case(row: sqlite3.Row, parts: list[str]) -> dict[str, Any]:
    held = {name: name in parts for name in _ANSWERS}
    return {"case_id": row["case_id"], "synthetic": bool(row["synthetic"]), "created": row["created"], **held}
