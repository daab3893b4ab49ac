"""JobBoard: every job from acknowledged to ended, and who wants to hear of it.

A job is in the database before the client gets its id. Its stage and fraction live in memory only: after a restart
an unfinished job is queued again and begins anew. A job during which the server itself died twice is not tried again.

States: queued -> running -> done | failed | cancelled; running -> queued where its worker was lost through no
fault of the job (see worker_engine.py).
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from shared_models.contract import routes
from shared_models.contract.errors import InvalidInput, LungXAIError, RequestError, ServerBusy, ServerError, from_body
from shared_models.contract.jobs import JobProgress

from .blobs import Written
from .cases import Cases, missing
from .engine import Engine, Task

log = logging.getLogger("lungxai.jobs")
_MAX_ATTEMPTS = 2
_ENDED = ("done", "failed", "cancelled")


@dataclass
class _Live:
    """An unfinished job."""

    task: Task
    case_id: str
    progress: JobProgress


class JobBoard:
    """The jobs of one server; the engine's Listener.

    Parameters
    ----------
    max_queued : jobs that may wait; the next one is refused
    """

    def __init__(self, cases: Cases, engine: Engine, max_queued: int) -> None:
        self._cases = cases
        self._engine = engine
        self._max_queued = max_queued
        self._live: dict[str, _Live] = {}
        self._lock = threading.Lock()
        self._watchers: dict[object, tuple[str, Callable[[], None]]] = {}

    def start(self) -> None:
        """Take up what an earlier server acknowledged and did not end, in the order it came."""
        self._engine.start(self)
        for row in self._cases.jobs("state IN ('queued', 'running')"):
            if row["attempts"] >= _MAX_ATTEMPTS:
                fault = ServerError("The server ended twice while it worked on this job.", "Ask its operator.")
                self._cases.end_job(row["job_id"], "failed", fault.body())
                continue
            self._submit(row["job_id"], row["case_id"], row["kind"], json.loads(row["request"]), row["volume"])

    def add(self, case_id: str, kind: str, request: Mapping[str, Any]) -> str:
        """Acknowledge a job; its id.

        Raises
        ------
        ServerBusy : too many jobs wait.
        ModelUnavailable : this server cannot run such a job, and will not be able to without its operator.
        InvalidInput : the CT or the tiles were not sent.
        """
        self._cases.check(case_id)
        status = self._engine.status()
        problem = status.problem or status.problems.get(kind)
        if problem is not None:
            raise problem
        if len(self._live) >= self._max_queued:
            raise ServerBusy("Too many jobs are waiting.", "Try again in a minute.")
        volume: Optional[str] = request.get("volume")
        if kind == "radiology" and not self._cases.has_volume(str(volume)):
            raise InvalidInput("The server does not hold this CT.", "Send the CT first.")
        if kind == "pathology" and not self._cases.tile_frames(case_id, request["slide_id"]):
            raise InvalidInput("The server holds no tiles of this slide.", "Send its tiles first.")
        job_id = f"job-{secrets.token_hex(8)}"
        self._cases.add_job(job_id, case_id, kind, request, volume)
        self._submit(job_id, case_id, kind, request, volume)
        return job_id

    def _submit(self, job_id: str, case_id: str, kind: str, request: Mapping[str, Any], volume: Optional[str]) -> None:
        frames = self._cases.tile_frames(case_id, request["slide_id"]) if kind == "pathology" else ()
        correction = self._cases.pinned(case_id, job_id) if request.get("corrected") else None
        task = Task(job_id, kind, request, volume, frames, correction)
        with self._lock:
            self._live[job_id] = _Live(task, case_id, JobProgress(job_id, case_id, kind, "queued", "waiting", 0.0, 0))
        self._engine.submit(task)
        self._tell()

    def ahead(self, frame: str) -> None:
        """Let a batch of tiles be classified before its job comes, where the models have nothing else to do."""
        self._engine.ahead(frame)

    def get(self, job_id: str) -> JobProgress:
        """Where a job stands; a 404 where there is none."""
        routes.job(job_id)
        with self._lock:
            live = self._live.get(job_id)
        if live is not None:
            return self._placed(live.progress)
        rows = self._cases.jobs("job_id = ?", job_id)
        if not rows:
            raise missing("job")
        return _ended(rows[0])

    def of_case(self, case_id: str) -> list[JobProgress]:
        """Every job of a case that the record still has, oldest first."""
        rows = self._cases.jobs("case_id = ?", case_id)
        return [_ended(row) if row["state"] in _ENDED else self.get(row["job_id"]) for row in rows]

    def unfinished(self) -> list[JobProgress]:
        """Those that run, and the newest of each kind of each case unless it is done: what a list of cases says."""
        newest = "state != 'done' AND seq IN (SELECT max(seq) FROM jobs GROUP BY case_id, kind) OR state = 'running'"
        found = []
        for row in self._cases.jobs(newest):
            try:
                found.append(_ended(row) if row["state"] in _ENDED else self.get(row["job_id"]))
            except RequestError:
                pass  # its case was deleted a moment ago
        return found

    def cancel(self, job_id: str) -> JobProgress:
        """Stop a job; one that has ended stays as it ended."""
        if not self.get(job_id).ended:
            self._engine.cancel(job_id)
        return self.get(job_id)

    def delete_case(self, case_id: str) -> None:
        """Stop the case's jobs and remove the case."""
        self._cases.check(case_id)
        with self._lock:
            mine = [job_id for job_id, live in self._live.items() if live.case_id == case_id]
        for job_id in mine:
            self._engine.cancel(job_id)
        self._cases.delete(case_id)

    def watch(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback``, from any thread, whenever the job moves or its place may; the function that ends this."""
        key = object()
        self._watchers[key] = (job_id, callback)
        return lambda: (self._watchers.pop(key, None), None)[1]

    def _tell(self, job_id: Optional[str] = None) -> None:
        """Wake who watches ``job_id``; everyone where the queue moved."""
        for watched, callback in list(self._watchers.values()):
            if job_id is None or watched == job_id:
                callback()

    def _placed(self, progress: JobProgress) -> JobProgress:
        if progress.state != "queued":
            return progress
        order = self._engine.waiting()
        ahead = order.index(progress.job_id) if progress.job_id in order else 0
        with self._lock:
            running = sum(live.progress.state == "running" for live in self._live.values())
        return replace(progress, queue_position=ahead + (1 if running else 0))

    # The engine's news

    def started(self, job_id: str) -> None:
        self._written(lambda: self._cases.start_job(job_id))
        self._move(job_id, state="running", stage="starting", fraction=0.0)

    def progressed(self, job_id: str, stage: str, fraction: float) -> None:
        self._move(job_id, stage=stage, fraction=fraction)

    def requeued(self, job_id: str) -> None:
        self._written(lambda: self._cases.requeue_job(job_id))
        self._cases.blobs.forget(job_id)
        self._move(job_id, state="queued", stage="waiting", fraction=0.0)

    def done(self, job_id: str, outputs: Mapping[str, Written]) -> None:
        with self._lock:
            live = self._live.get(job_id)
        if live is None:
            return
        try:
            self._cases.put_results(live.case_id, live.task.kind, outputs, job_id, live.task.volume)
        except Exception as fault:
            log.error("a result could not be kept: %s", type(fault).__name__)
            remedy = "Start the job again; if that does not help, run `lungxai doctor` on the server."
            unknown = ServerError("The result could not be kept.", remedy)
            self.failed(job_id, fault if isinstance(fault, LungXAIError) else unknown)
            return
        self._end(job_id, True, "done")

    def failed(self, job_id: str, error: LungXAIError) -> None:
        written = self._written(lambda: self._cases.end_job(job_id, "failed", error.body()))
        self._end(job_id, written, "failed", error)

    def cancelled(self, job_id: str) -> None:
        written = self._written(lambda: self._cases.end_job(job_id, "cancelled"))
        self._end(job_id, written, "cancelled")

    def _move(self, job_id: str, **changes: Any) -> None:
        with self._lock:
            live = self._live.get(job_id)
            if live is not None:
                live.progress = replace(live.progress, **changes)
        self._tell(None if "state" in changes else job_id)

    def _end(self, job_id: str, written: bool, state: str, error: Optional[LungXAIError] = None) -> None:
        """Forget a job, since the record has its end; where that could not be written, memory keeps it."""
        self._cases.blobs.forget(job_id)
        with self._lock:
            if written:
                self._live.pop(job_id, None)
            elif job_id in self._live:
                live = self._live[job_id]
                live.progress = replace(live.progress, state=state, stage=state, error=error)
        self._tell()

    def _written(self, change: Callable[[], None]) -> bool:
        """Make a change of the record; False where that failed (a full disk), which must not stop the engine."""
        try:
            change()
            return True
        except (LungXAIError, sqlite3.Error) as fault:
            log.error("a job's state could not be written: %s", type(fault).__name__)
            return False


def _ended(row: sqlite3.Row) -> JobProgress:
    error = None if row["error"] is None else from_body(json.loads(row["error"]))
    state = row["state"]
    return JobProgress(
        row["job_id"], row["case_id"], row["kind"], state, state, 1.0 if state == "done" else 0.0, 0, error
    )
