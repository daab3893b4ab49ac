"""The worker process: holds the models of one device and computes; nothing here touches HTTP or the database.

in   ("run", Task)   ("ahead", frame)   ("cancel", job_id)   ("stop",)
out  ("ready", device, models, problems)  |  ("unavailable", error body, fatal), and then it leaves
     ("classified", frame), an "ahead" that was done or could not be; the answers stay in this process
     ("progress", job_id, stage, fraction)
     ("done", job_id, {part: Written})  |  ("failed", job_id, error body)  |  ("cancelled", job_id)

A thread reads the pipe, so that a cancel is seen by the pipelines' ``cancelled`` while the main thread computes, and
so that the worker leaves when the server is gone, whatever it is doing. Results are written to tmp/ and named in
"done"; only the server moves them into its record.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional, Union

import numpy as np

from shared_models.contract.codec import decode, encode
from shared_models.contract.errors import (
    BadGeometry,
    Cancelled,
    InvalidInput,
    LungXAIError,
    OutOfMemory,
    ServerError,
)
from shared_models.contract.jsonforms import to_json
from shared_models.contract.results import CT_TARGETS, Heatmap, LabelVolume
from shared_models.contract.values import Array, CTVolume

from .batcher import Batcher
from .blobs import Blobs, Written, disk_full
from .engine import Task
from .models import Backend, CTAnswer, DeviceMissing, loader
from .settings import Settings
from .slides import StoredSlide, mapped
from .worker_memory import KeptFrames, TileAnswers, key_of

log = logging.getLogger("lungxai.worker")
_PROGRESS_EVERY_S = 0.1


def run(pipe: Any, settings: Settings) -> None:
    """The process's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server says when to stop
    os.umask(0o077)
    if hasattr(os, "nice"):
        os.nice(settings.worker_nice)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    inbox = _Inbox(pipe)
    try:
        backend = loader(settings.backend)(
            settings.models, settings.device, settings.model_threads, settings.slide_model, settings.added_models
        )
    except LungXAIError as fault:
        pipe.send(("unavailable", fault.body(), isinstance(fault, DeviceMissing)))
        return
    problems = {modality: fault.body() for modality, fault in backend.problems.items()}
    pipe.send(("ready", backend.device, list(backend.models), problems))
    Worker(pipe, inbox, backend, settings).work()


class _Inbox:
    """What the server says, read by a thread of its own."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self.tasks: queue.SimpleQueue[Union[Task, str]] = queue.SimpleQueue()  # a text is a batch to do ahead
        self.cancelled: set[str] = set()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                what, *rest = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # the server is gone: nobody wants the answer
            if what in ("run", "ahead"):
                self.tasks.put(*rest)
            elif what == "cancel":
                self.cancelled.add(*rest)
            else:
                os._exit(0)


class _OpenSlide:
    """A pathology job that is being worked on: its slide, the answers so far, and the tiles that have none yet."""

    def __init__(self, task: Task, slide: StoredSlide, answers: Array, quality: Array, todo: Array) -> None:
        self.task = task
        self.slide = slide
        self.answers = answers
        self.quality = quality
        self.todo = todo
        self.done = 0


class Worker:
    """Takes tasks from the inbox; slides that are there together share their model calls."""

    def __init__(self, pipe: Any, inbox: _Inbox, backend: Backend, settings: Settings) -> None:
        self._pipe = pipe
        self._inbox = inbox
        self._backend = backend
        self._blobs = Blobs(settings.data_dir)
        self._max_decoded = settings.max_decoded_bytes
        self._tile_batch = settings.tile_batch
        self._batcher = Batcher(settings.tile_batch)
        self._answers = TileAnswers(backend.answer_columns)
        self._maps = KeptFrames()
        self._last_ct: Optional[tuple[str, CTAnswer]] = None  # what it was asked, and its answer
        self._slides: dict[str, _OpenSlide] = {}
        self._told: dict[str, tuple[float, str]] = {}

    def work(self) -> None:
        while True:
            self._take(block=not self._slides)
            if self._slides:
                self._one_batch()

    def _take(self, block: bool) -> None:
        """Every task that is there; waits for one where there is nothing else to do."""
        while True:
            try:
                task = self._inbox.tasks.get(block=block)
            except queue.Empty:
                return
            if isinstance(task, str):
                self._ahead(task)
                self._send("classified", task)
            elif task.kind == "radiology":
                with self._answering(task):
                    self._send("done", task.job_id, self._radiology(task))
            else:
                with self._answering(task):
                    self._open(task)
            block = False

    # CT

    def _radiology(self, task: Task) -> dict[str, Written]:
        assert task.volume is not None
        self._stop_if_cancelled(task)
        self._progress(task.job_id, "reading the CT", 0.0)
        volume = decode(self._blobs.open(task.volume).read(), self._max_decoded)
        if not isinstance(volume, CTVolume):
            raise InvalidInput("This is not a CT volume.", "Send the CT again.")
        request = task.request
        target = request.get("target", CT_TARGETS[0])
        asked = key_of(
            task.volume, task.correction if request.get("corrected") else None, request["points_lps_mm"],
            request["boxes_lps_mm"], request.get("search", True),
        )  # fmt: skip
        known = self._last_ct[1] if self._last_ct is not None and self._last_ct[0] == asked else None
        keys = {method: key_of(asked, method, target) for method in request["explain"]}
        done = self._backend.analyse_ct(
            volume,
            points_lps_mm=[tuple(point) for point in request["points_lps_mm"]],
            boxes_lps_mm=[tuple(tuple(corner) for corner in box) for box in request["boxes_lps_mm"]],
            explain=tuple(method for method, key in keys.items() if known is None or self._maps.get(key) is None),
            search=bool(request.get("search", True)),
            corrected=self._correction(task, volume) if request.get("corrected") else None,
            progress=lambda stage, fraction: self._progress(task.job_id, stage, fraction),
            cancelled=lambda: task.job_id in self._inbox.cancelled,
            target=target,
            known=known,
        )
        self._stop_if_cancelled(task)
        self._last_ct = asked, done
        outputs = {"radiology": self._json(task, done.result), "radiology/mask": self._frame(task, done.mask)}
        return outputs | self._heatmaps(task, "radiology", keys, done.heatmaps)

    def _heatmaps(
        self, task: Task, modality: str, keys: Mapping[str, str], made: Mapping[str, Heatmap]
    ) -> dict[str, Written]:
        """The job's heatmaps, those that were made now and those that are remembered; ``keys`` by method."""
        outputs = {}
        for method, key in keys.items():
            frame = encode(made[method]) if method in made else self._maps.get(key)
            if frame is None:  # there is no nodule to explain
                continue
            self._maps.put(key, frame)
            outputs[f"{modality}/heatmaps/{method}"] = self._blobs.put(task.job_id, frame)
        return outputs

    def _correction(self, task: Task, volume: CTVolume) -> LabelVolume:
        """The segmentation that a reader corrected, on exactly the CT's grid."""
        if task.correction is None:
            raise InvalidInput("The corrected segmentation is gone.", "Send it again.")
        labels = decode(self._blobs.open(task.correction).read(), self._max_decoded)
        if not isinstance(labels, LabelVolume):
            raise InvalidInput("This is not a segmentation.", "Send the corrected segmentation.")
        same = labels.labels.shape == volume.voxels.shape and np.allclose(
            labels.ijk_to_lps, volume.ijk_to_lps, rtol=0, atol=1e-3
        )
        if not same:
            raise BadGeometry(
                "The corrected segmentation is not on the CT's grid.", "Correct the segmentation of this very CT."
            )
        return labels

    # Slides

    def _ahead(self, frame: str) -> None:
        """Classify a batch before its job comes. What goes wrong is said by the job, which tries again."""
        if frame in self._answers:
            return
        try:
            head, pixels = mapped(self._blobs.open(frame).checked(), self._max_decoded)
            rows = np.full((len(pixels), self._answers.columns + 1), np.nan, np.float32)
            said = head.fields.get("quality")
            for start in range(0, len(pixels), self._tile_batch):
                part = slice(start, start + self._tile_batch)
                rows[part, :-1] = self._backend.tile_answers(np.asarray(pixels[part]))
                rows[part, -1] = said[part] if said else _judged(pixels[part], float(head.fields["mpp"]))
        except Exception as fault:
            log.warning("a batch was not classified ahead: %s", type(fault).__name__)
            return
        self._answers.put(frame, rows)

    def _open(self, task: Task) -> None:
        given = task.request.get("tile_px")
        slide = StoredSlide(
            task.request["slide_id"],
            [self._blobs.open(sha).checked() for sha in task.frames],
            self._max_decoded,
            (given[0], given[1]) if given else None,
        )
        answers = np.full((slide.count, self._answers.columns), np.nan, dtype=np.float32)
        todo = np.ones(slide.count, bool)
        quality = slide.quality.copy()
        for number, frame in enumerate(task.frames):
            known = self._answers.get(frame)
            if known is not None:
                tiles, places = slide.of_frame(number)
                answers[tiles], quality[tiles], todo[tiles] = known[places, :-1], known[places, -1], False
        job = _OpenSlide(task, slide, answers, quality, np.flatnonzero(todo))
        self._slides[task.job_id] = job
        self._progress(task.job_id, "classifying tiles", 0.0)
        if len(job.todo):
            self._batcher.add(task.job_id, len(job.todo), slide.shape)
        else:
            self._finish(job)

    def _one_batch(self) -> None:
        """One model call with tiles of every open slide, then the end of each slide that is complete."""
        for opened in list(self._slides.values()):
            with self._answering(opened.task):
                self._stop_if_cancelled(opened.task)
        shares = self._batcher.next()
        if not shares:
            return
        jobs = [self._slides[share.job_id] for share in shares]
        try:
            tiles = [job.todo[share.start : share.stop] for job, share in zip(jobs, shares)]
            pixels = [job.slide.chosen(chosen) for job, chosen in zip(jobs, tiles)]
            answers = self._backend.tile_answers(np.concatenate(pixels))
        except Exception as fault:
            for job in jobs:
                with self._answering(job.task):
                    raise fault
            return
        start = 0
        for job, share, chosen, seen in zip(jobs, shares, tiles, pixels):
            stop = start + len(chosen)
            job.answers[chosen] = answers[start:stop]
            start = stop
            job.done = share.stop
            with self._answering(job.task):
                unjudged = np.isnan(job.quality[chosen])
                if unjudged.any():
                    job.quality[chosen[unjudged]] = _judged(seen[unjudged], job.slide.mpp)
                whole = 0.5 if job.task.request["explain"] else 1.0
                known = job.slide.count - len(job.todo) + job.done
                self._progress(job.task.job_id, "classifying tiles", whole * known / job.slide.count)
                if job.done == len(job.todo):
                    self._finish(job)

    def _finish(self, job: _OpenSlide) -> None:
        task, slide = job.task, job.slide
        for number, frame in enumerate(task.frames):  # the same tiles again, with a heatmap, cost nothing more
            tiles, places = slide.of_frame(number)
            if len(tiles) == slide.size_of_frame(number):  # each of its tiles was first sent in this batch
                self._answers.put(frame, np.concatenate([job.answers[tiles], job.quality[tiles, None]], axis=1))
        result = self._backend.slide_result(
            slide.slide_id, slide.mpp, slide.tile_px, slide.origin_px, job.answers, job.quality
        )
        outputs = {"pathology": self._json(task, result)}
        request = task.request
        target, contrast = request.get("target"), request.get("contrast")
        asked = key_of(task.frames, slide.slide_id, slide.tile_px, target, contrast)
        keys = {method: key_of(asked, method) for method in request["explain"]}
        missing = [method for method, key in keys.items() if self._maps.get(key) is None]
        made: Mapping[str, Heatmap] = {}
        if missing:
            made = self._backend.slide_heatmaps(
                missing, result, slide.pixels, target=target, contrast=contrast,
                progress=lambda stage, fraction: self._progress(task.job_id, stage, 0.5 + 0.5 * fraction),
                cancelled=lambda: task.job_id in self._inbox.cancelled,
            )  # fmt: skip
        self._stop_if_cancelled(task)
        outputs |= self._heatmaps(task, "pathology", keys, made)
        self._slides.pop(task.job_id)
        self._send("done", task.job_id, outputs)

    # Answers

    @contextmanager
    def _answering(self, task: Task) -> Iterator[None]:
        """Whatever is raised inside becomes this job's end, in words for its reader."""
        answer: tuple[Any, ...]
        try:
            yield
            return
        except Cancelled:
            answer = ("cancelled", task.job_id)
        except Exception as fault:
            answer = ("failed", task.job_id, _in_words(fault).body())
        self._slides.pop(task.job_id, None)
        self._batcher.remove(task.job_id)
        self._blobs.forget(task.job_id)
        self._send(*answer)

    def _stop_if_cancelled(self, task: Task) -> None:
        if task.job_id in self._inbox.cancelled:
            raise Cancelled("The job was cancelled.", "")

    def _progress(self, job_id: str, stage: str, fraction: float) -> None:
        """Tell the server, at most ten times a second unless the stage changes."""
        at, last = self._told.get(job_id, (0.0, ""))
        now = time.monotonic()
        if stage != last or now - at >= _PROGRESS_EVERY_S:
            self._told[job_id] = (now, stage)
            self._send("progress", job_id, stage, min(1.0, max(0.0, float(fraction))))

    def _send(self, what: str, job_id: str, *rest: Any) -> None:
        if what != "progress":
            self._told.pop(job_id, None)
            self._inbox.cancelled.discard(job_id)
        self._pipe.send((what, job_id, *rest))

    def _json(self, task: Task, value: Any) -> Written:
        return self._blobs.put(task.job_id, json.dumps(to_json(value), allow_nan=False).encode())

    def _frame(self, task: Task, value: Any) -> Written:
        return self._blobs.put(task.job_id, encode(value))


def _judged(pixels: Array, mpp: float) -> Array:
    """float32 (n,), quality of tiles that their sender did not judge."""
    from shared_models.slide_quality import tile_quality

    quality: Array = tile_quality(pixels, mpp)
    return quality


def _in_words(fault: Exception) -> LungXAIError:
    """A fault as an error for the job's reader; the log says where it was raised, never what it was raised with."""
    if isinstance(fault, LungXAIError):
        return fault
    # torch's own class is not imported for this: a worker of another backend has no torch.
    if isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError":
        return OutOfMemory("There is not enough memory for this job.", "Crop the CT, or send it to a larger machine.")
    if isinstance(fault, OSError) and fault.errno == errno.ENOSPC:
        return disk_full()
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "?" if trace is None else f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
    log.error("a job failed: %s at %s", type(fault).__name__, where)
    return ServerError("The models could not process this job.", f"Report this: {type(fault).__name__} at {where}.")
