"""JobProgress: where a job stands, as the server's events tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from .errors import InvalidInput, LungXAIError, from_body

STATES = ("queued", "running", "done", "failed", "cancelled")


@dataclass(frozen=True)
class JobProgress:
    """One moment of a job.

    Parameters
    ----------
    job_id, case_id : identifiers
    kind : "radiology" or "pathology"
    state : one of STATES
    stage : what is being done, in words
    fraction : of the whole job, 0 to 1
    queue_position : jobs that go first; 0 once it runs
    error : why it failed
    """

    job_id: str
    case_id: str
    kind: str
    state: str
    stage: str
    fraction: float
    queue_position: int
    error: Optional[LungXAIError] = None

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in (self.job_id, self.case_id, self.kind, self.stage)) or (
            not isinstance(self.queue_position, int)
        ):
            raise InvalidInput("The job's progress is not valid.", "Check the versions of both sides.")
        if self.state not in STATES or not 0.0 <= self.fraction <= 1.0 or self.queue_position < 0:
            raise InvalidInput("The job's progress is not valid.", "Check the versions of both sides.")

    @property
    def ended(self) -> bool:
        """True once nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "error": self.error.body() if self.error else None}

    @staticmethod
    def from_json(body: object) -> JobProgress:
        """Raises InvalidInput for anything that is not a job's progress."""
        try:
            fields = dict(body)  # type: ignore[call-overload]
            error = fields.pop("error", None)
            return JobProgress(**fields, error=None if error is None else from_body(error))
        except (TypeError, ValueError) as fault:
            raise InvalidInput("The job's progress is not valid.", "Check the versions of both sides.") from fault
