"""Batcher: which tiles of which slides go into the next model call.

It counts tiles, not requests: 32 slides of one tile are one call, and a slide of 10,000 tiles does not keep a slide
of 20 waiting, since every slide gets an equal share of each call and what one leaves goes to the others.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Tiles ``start`` to ``stop`` (exclusive) of one job."""

    job_id: str
    start: int
    stop: int


@dataclass
class _Pending:
    next: int
    count: int
    shape: tuple[int, int]


class Batcher:
    """Shares model calls of at most ``limit`` tiles among jobs.

    Parameters
    ----------
    limit : tiles in one call
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("limit")
        self._limit = limit
        self._jobs: dict[str, _Pending] = {}  # who was served last stands last

    def add(self, job_id: str, count: int, shape: tuple[int, int]) -> None:
        """A job of ``count`` tiles of ``shape`` (height, width); only tiles of one shape share a call."""
        if job_id in self._jobs or count < 1:
            raise ValueError("job")
        self._jobs[job_id] = _Pending(0, count, shape)

    def remove(self, job_id: str) -> None:
        """Forget a job, for example one that was cancelled."""
        self._jobs.pop(job_id, None)

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def next(self) -> list[Share]:
        """The next call's tiles; a job's last share removes it. Empty when nothing is left."""
        if not self._jobs:
            return []
        shape = next(iter(self._jobs.values())).shape
        group = [job_id for job_id, job in self._jobs.items() if job.shape == shape][: self._limit]
        # The smallest first, so that what it does not need is known when the others are served.
        order = sorted(group, key=lambda job_id: self._jobs[job_id].count - self._jobs[job_id].next)
        room, shares = self._limit, {}
        for place, job_id in enumerate(order):
            job = self._jobs[job_id]
            take = min(job.count - job.next, -(-room // (len(order) - place)))
            shares[job_id] = Share(job_id, job.next, job.next + take)
            room -= take
        for job_id in group:
            job = self._jobs.pop(job_id)
            job.next = shares[job_id].stop
            if job.next < job.count:
                self._jobs[job_id] = job
        return [shares[job_id] for job_id in group]
