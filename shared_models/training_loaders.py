"""Batches drawn ahead by processes of their own, so that a fast GPU does not wait for samples.

Ahead       the batches of one epoch, in order
step_random the generator of one step

Each step draws from a generator of its own, made of seed, epoch, process and step: the same batches come out with one
loader or with twenty, and a run that is gone on with in the middle of an epoch draws what it would have drawn.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .contract.values import Array
from .training_task import TrainingTask

_AHEAD = 4  # batches that each loader has ready


def step_random(seed: int, epoch: int, rank: int, step: int) -> np.random.Generator:
    """The generator that the batch of a step is drawn from."""
    return np.random.default_rng([seed, epoch, rank, step])


class _Steps(Dataset[Any]):
    """The batch of each step of a plan from ``first`` on."""

    def __init__(self, task: TrainingTask, plan: Sequence[Array], first: int, seeds: tuple[int, int, int]) -> None:
        self.task, self.plan, self.first, self.seeds = task, plan, first, seeds

    def __len__(self) -> int:
        return len(self.plan) - self.first

    def __getitem__(self, index: int) -> Any:
        step = self.first + index
        return self.task.batch(self.plan[step], step_random(*self.seeds, step))


def _alone(number: int) -> None:
    torch.set_num_threads(1)
    # Both reach the whole group: the training stops after its step, and then ends its loaders.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _same(item: Any) -> Any:
    return item


class Ahead:
    """An iterator over the batches of ``plan`` from step ``first`` on, drawn by ``loaders`` processes.

    Parameters
    ----------
    seeds : (seed, epoch, rank); see step_random()

    Use it as a context manager: leaving it ends the loaders.
    """

    def __init__(
        self, task: TrainingTask, plan: Sequence[Array], first: int, seeds: tuple[int, int, int], loaders: int
    ) -> None:  # fmt: skip
        # Forked, so that the data is shared and not copied; they compute on the CPU alone. A generator of its own, so
        # that torch's random state in the main process is that of a run without loaders.
        self._batches: Any = iter(DataLoader(
            _Steps(task, plan, first, seeds), batch_size=None, num_workers=loaders, collate_fn=_same,
            prefetch_factor=_AHEAD, worker_init_fn=_alone, multiprocessing_context="fork",
            generator=torch.Generator().manual_seed(seeds[0]),
        ))  # fmt: skip

    def __enter__(self) -> Iterator[Any]:
        batches: Iterator[Any] = self._batches
        return batches

    def __exit__(self, *_: object) -> None:
        # DataLoader has no public way to end loaders whose batches nobody wants any more.
        with contextlib.suppress(AttributeError):
            self._batches._shutdown_workers()
