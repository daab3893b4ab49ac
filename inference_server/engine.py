"""Engine: what the JobBoard asks to have done, whoever does it.

JobBoard --submit, cancel--> Engine --started, progressed, done, failed, cancelled--> JobBoard

WorkerEngine (worker_engine.py) is the one there is; another executor only has to keep these two interfaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from shared_models.contract.errors import LungXAIError

from .blobs import Written


@dataclass(frozen=True)
class Task:
    """One job, with everything a worker needs; data is named by the SHA-256 of its frame.

    Parameters
    ----------
    kind : "radiology" or "pathology"
    request : the checked body of the client's request
    volume : the CT of a radiology job
    frames : the batches of tiles of a pathology job
    correction : the corrected segmentation that a radiology job measures
    alone : share no model call with other jobs; one of several that were running when a worker died
    """

    job_id: str
    kind: str
    request: Mapping[str, Any]
    volume: Optional[str] = None
    frames: tuple[str, ...] = ()
    correction: Optional[str] = None
    alone: bool = False


@dataclass(frozen=True)
class EngineStatus:
    """What an engine is and whether it works.

    Parameters
    ----------
    ready : models are loaded and jobs are taken
    device : where they run; None until it is known
    models : one dict a model: model_id, modality, coverage, calibrated, weights_sha256
    problems : modality -> why it has no models
    problem : why nothing can run; None while it may still come up
    fatal : the server was asked for what this machine has not, and should end
    """

    ready: bool = False
    device: Optional[str] = None
    models: tuple[Mapping[str, Any], ...] = ()
    problems: Mapping[str, LungXAIError] = field(default_factory=dict)
    problem: Optional[LungXAIError] = None
    fatal: bool = False


class Listener(Protocol):
    """Hears of every job exactly one end: done, failed or cancelled. Called from a thread of the engine."""

    def started(self, job_id: str) -> None: ...
    def progressed(self, job_id: str, stage: str, fraction: float) -> None: ...
    def requeued(self, job_id: str) -> None: ...
    def done(self, job_id: str, outputs: Mapping[str, Written]) -> None: ...
    def failed(self, job_id: str, error: LungXAIError) -> None: ...
    def cancelled(self, job_id: str) -> None: ...


class Engine(Protocol):
    """Runs tasks in the order they come, as far as it can at once."""

    def start(self, listener: Listener) -> None: ...
    def submit(self, task: Task) -> None: ...
    def ahead(self, frame: str) -> None:
        """Classify a batch of tiles while the rest of its slide is still coming, where nothing else is to be done.

        It has no end that is told: the job that asks for the slide finds the answers, or makes them.
        """
        ...

    def cancel(self, job_id: str) -> None: ...
    def waiting(self) -> tuple[str, ...]: ...
    def status(self) -> EngineStatus: ...
    def stop(self) -> None: ...
