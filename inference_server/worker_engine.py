"""WorkerEngine: a queue, and one spawned process per device.

Order. First come, first served. While slides are being classified, the slides next in the queue join them and share
their model calls; a CT at the head of the queue waits for the slides that run, and no slide overtakes it.

Ahead. Batches of tiles that were sent with the wish to be classified before their job comes go to a worker that has no
CT and for which nothing waits, two at a time, so that what comes next waits for two batches at most. They are wishes:
they are forgotten with the worker, or where too many wait.

Deaths. A job that ran alone when its worker died fails at once: run again, it would most likely kill it again. Of
several that ran together, or beside batches ahead of their job, nobody knows which one it was: each runs again, alone.
A worker ended by us, because it did not answer a cancel, costs the other jobs nothing: they go back to the head of the
queue. Workers are started again after a growing pause; after ``max_crashes`` deaths in a row outside of any job the
engine gives up and says so.

Threads. One thread owns the workers and calls the listener; submit(), cancel() and waiting() only touch the queue,
under its lock, and are called from anywhere.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections import deque
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any, Optional

from shared_models.contract.errors import LungXAIError, ModelUnavailable, ServerError, from_body

from .engine import EngineStatus, Listener, Task
from .settings import Settings
from .worker import run

log = logging.getLogger("lungxai.engine")
_MAX_TOGETHER = 64
_MOST_AHEAD = 4096  # batches that wait; what is forgotten is classified by its job
_AHEAD_AT_ONCE = 2
_LONG_S = 300.0  # who lived this long did not die of starting


class _Worker:
    """One process and what it is doing. Touched by the engine's thread alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")
        self.running: dict[str, Task] = {}
        self.cancel_by: dict[str, float] = {}  # job -> when patience ends
        self.ahead: set[str] = set()  # batches that it classifies before their job
        self.status = EngineStatus()
        self.crashes = 0
        self.restart_at: Optional[float] = 0.0
        self.started_at = 0.0
        self.killed = False
        self.process: Any = None
        self.pipe: Any = None

    def start(self) -> None:
        self.pipe, theirs = self._context.Pipe()
        self.process = self._context.Process(
            target=run, args=(theirs, self._settings), name="lungxai-worker", daemon=True
        )
        self.process.start()
        theirs.close()
        self.restart_at = None
        self.started_at = time.monotonic()
        self.killed = False

    def takes(self, task: Task) -> bool:
        if not self.status.ready or self.process is None:
            return False
        if not self.running:
            return True
        together = [task, *self.running.values()]
        return len(together) <= _MAX_TOGETHER and all(t.kind == "pathology" and not t.alone for t in together)

    def free_for_ahead(self) -> bool:
        idle = self.status.ready and self.process is not None and "pathology" not in self.status.problems
        slides = all(t.kind == "pathology" and not t.alone for t in self.running.values())
        return idle and slides and len(self.ahead) < _AHEAD_AT_ONCE

    def send(self, message: tuple[Any, ...]) -> None:
        try:
            self.pipe.send(message)
        except (OSError, ValueError):  # it is dead: its sentinel says so next
            pass

    def ended(self) -> Optional[int]:
        """Tidy up after a death; the exit code."""
        self.process.join()
        code: Optional[int] = self.process.exitcode
        self.pipe.close()
        self.process = self.pipe = None
        self.status = replace(self.status, ready=False)
        self.running, self.cancel_by, self.ahead = {}, {}, set()
        return code


class WorkerEngine:
    """The engine behind ``lungxai serve``; see engine.py for its interface."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = [_Worker(settings)]
        self._waiting: deque[Task] = deque()
        self._cancels: deque[str] = deque()
        self._ahead: deque[str] = deque(maxlen=_MOST_AHEAD)
        self._lock = threading.Lock()
        self._stopping = False
        self._wake_reader, self._wake_writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
        self._thread = threading.Thread(target=self._loop, name="lungxai-engine", daemon=True)
        self._listener: Listener

    def start(self, listener: Listener) -> None:
        self._listener = listener
        self._thread.start()

    def submit(self, task: Task) -> None:
        with self._lock:
            self._waiting.append(task)
        self._wake()

    def ahead(self, frame: str) -> None:
        with self._lock:
            self._ahead.append(frame)
        self._wake()

    def cancel(self, job_id: str) -> None:
        """A queued job ends at once, a running one as soon as its worker looks, at the latest when patience ends."""
        with self._lock:
            queued = next((t for t in self._waiting if t.job_id == job_id), None)
            if queued is not None:
                self._waiting.remove(queued)
            else:
                self._cancels.append(job_id)
        if queued is not None:
            self._listener.cancelled(job_id)
        self._wake()

    def waiting(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(task.job_id for task in self._waiting)

    def status(self) -> EngineStatus:
        return self._workers[0].status

    def stop(self) -> None:
        """End the workers. What was running stays acknowledged and runs again after the next start."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _wake(self) -> None:
        try:
            self._wake_writer.send_bytes(b"!")
        except OSError:
            pass

    # The engine's own thread

    def _loop(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception as fault:  # one bad moment must not end the server
                log.error("engine: %s", type(fault).__name__)
                time.sleep(0.1)
        for worker in self._workers:
            if worker.process is not None:
                worker.send(("stop",))
                worker.process.join(0.5)
                worker.process.kill()
                worker.process.join()
            for job_id in worker.running:
                self._listener.requeued(job_id)

    def _step(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.restart_at is not None and worker.restart_at <= now:
                worker.start()
            if any(by <= now for by in worker.cancel_by.values()) and not worker.killed:
                log.warning("a worker did not stop a cancelled job in time; it is started again")
                worker.killed = True
                worker.process.kill()
        self._refuse_all_if_broken()
        self._assign()
        self._pass_on_cancels()
        alive = [w for w in self._workers if w.process is not None]
        times = [t for w in self._workers for t in (*w.cancel_by.values(), w.restart_at) if t is not None]
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        if any(w.killed for w in alive):
            timeout = None
        fired = wait([self._wake_reader, *(w.pipe for w in alive), *(w.process.sentinel for w in alive)], timeout)
        if self._wake_reader in fired:
            while self._wake_reader.poll():
                self._wake_reader.recv_bytes()
        for worker in alive:
            if worker.pipe in fired or worker.process.sentinel in fired:
                self._read(worker)
            if worker.process.sentinel in fired:
                self._bury(worker)

    def _assign(self) -> None:
        for worker in self._workers:
            while True:
                with self._lock:
                    if not self._waiting or not worker.takes(self._waiting[0]):
                        break
                    task = self._waiting.popleft()
                    worker.running[task.job_id] = task
                    soon = set(task.frames)
                    self._ahead = deque((f for f in self._ahead if f not in soon), _MOST_AHEAD)
                self._listener.started(task.job_id)
                worker.send(("run", task))
            while worker.free_for_ahead():
                with self._lock:
                    if self._waiting or not self._ahead:
                        break
                    frame = self._ahead.popleft()
                worker.ahead.add(frame)
                worker.send(("ahead", frame))

    def _pass_on_cancels(self) -> None:
        while self._cancels:
            job_id = self._cancels.popleft()
            for worker in self._workers:
                if job_id in worker.running and job_id not in worker.cancel_by:
                    worker.cancel_by[job_id] = time.monotonic() + self._settings.cancel_grace_s
                    worker.send(("cancel", job_id))

    def _refuse_all_if_broken(self) -> None:
        problem = self._workers[0].status.problem
        while problem is not None:
            with self._lock:
                if not self._waiting:
                    return
                task = self._waiting.popleft()
            self._listener.failed(task.job_id, problem)

    def _read(self, worker: _Worker) -> None:
        """Every message there is."""
        try:
            while worker.pipe.poll():
                self._heard(worker, *worker.pipe.recv())
        except (EOFError, OSError):
            pass  # its sentinel says the rest

    def _heard(self, worker: _Worker, what: str, *rest: Any) -> None:
        if what == "ready":
            device, models, problems = rest
            faults = {modality: from_body(body) for modality, body in problems.items()}
            worker.status = EngineStatus(True, device, tuple(models), faults)
            log.info("models ready on %s", device)
            return
        if what == "unavailable":
            body, fatal = rest
            worker.status = EngineStatus(problem=from_body(body), fatal=fatal)
            return
        if what == "classified":
            worker.ahead.discard(*rest)
            return
        job_id, *news = rest
        if job_id not in worker.running:
            return
        if what == "progress":
            self._listener.progressed(job_id, *news)
            return
        worker.running.pop(job_id)
        worker.cancel_by.pop(job_id, None)
        worker.crashes = 0
        if what == "done":
            self._listener.done(job_id, *news)
        elif what == "cancelled":
            self._listener.cancelled(job_id)
        else:
            self._listener.failed(job_id, from_body(*news))

    def _bury(self, worker: _Worker) -> None:
        victims, asked, by_us = list(worker.running.values()), set(worker.cancel_by), worker.killed
        ahead = bool(worker.ahead)
        code = worker.ended()
        if worker.status.problem is not None:  # it said why and left
            return
        log.warning("worker ended, exit code %s, %d job(s) running", code, len(victims))
        again = []
        for task in victims:
            if task.job_id in asked:
                self._listener.cancelled(task.job_id)
            elif by_us:
                again.append(task)
            elif len(victims) == 1 and not ahead:
                self._listener.failed(task.job_id, _died(code))
            else:
                again.append(replace(task, alone=True))
        for task in again:
            self._listener.requeued(task.job_id)
        with self._lock:
            self._waiting.extendleft(reversed(again))
        if not victims and not ahead:
            worker.crashes = 1 if time.monotonic() - worker.started_at > _LONG_S else worker.crashes + 1
        if worker.crashes >= self._settings.max_crashes:
            worker.status = replace(
                worker.status,
                problem=ModelUnavailable(
                    f"The models' process ended {worker.crashes} times in a row.",
                    "Run `lungxai doctor` on the server, then start it again.",
                ),
            )
            return
        worker.restart_at = time.monotonic() + (min(0.5 * 2**worker.crashes, 30.0) if worker.crashes else 0.0)


def _died(code: Optional[int]) -> LungXAIError:
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return ServerError(
        f"The models' process ended unexpectedly ({how}) while it worked on this job.",
        "Start the job again. If it ends again the server may be short of memory: crop the CT, or ask its operator.",
    )
