"""What training_loop needs to know of something that can be trained: one class, overridden by each task.

TrainingTask   network, optimiser, rate; the batches of an epoch; the loss; validation; what is kept

The loop owns the rest: steps, moving average, checkpoints, resuming, early stopping, precision, processes, record,
curves. A task holds its data and its recipe and keeps no state that changes between steps, so that a checkpoint of the
loop is all of it.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor, nn

from .contract.values import Array


class TrainingTask(abc.ABC):
    """Something to train.

    Attributes
    ----------
    name : of train.TASKS
    epochs : how many at most
    patience : end after so many epochs without a better score; None never does
    precision : "fp32", "bf16" or "fp16" of the forward pass, unless the user says otherwise
    clip : largest norm of the gradient
    together : None: the gradients of all processes are averaged at every step, and an epoch's batches are shared out
        among them. A number: each process takes every step on batches of its own, and the weights are averaged after
        so many steps (local SGD, Stich 2019, arXiv:1805.09767).
    settings : the recipe, plain values; a run is only gone on with if they are the same
    """

    name: str
    epochs: int
    patience: Optional[int] = None
    precision: str = "fp32"
    clip: float = 1.0
    together: Optional[int] = None
    settings: Mapping[str, Any]

    @abc.abstractmethod
    def network(self) -> nn.Module:
        """A new network, on the CPU; torch's random state is seeded before."""

    @abc.abstractmethod
    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """For the parameters that are to be learned."""

    @abc.abstractmethod
    def plan(self, epoch: int, random: np.random.Generator) -> Sequence[Array]:
        """What each step of an epoch is made of: int arrays that batch() understands, as many in every epoch.

        ``random`` is all the chance there is in it.
        """

    @abc.abstractmethod
    def batch(self, planned: Array, random: np.random.Generator) -> Any:
        """One batch, on the CPU."""

    @abc.abstractmethod
    def loss(self, network: nn.Module, batch: Any, random: np.random.Generator, device: torch.device) -> Tensor:
        """The scalar to be made smaller; ``network`` may be wrapped, and answers in float32."""

    @abc.abstractmethod
    def validated(self, network: nn.Module) -> dict[str, float]:
        """Figures of the validation split; ``network`` holds the averaged weights. Never the test split."""

    @abc.abstractmethod
    def score(self, figures: Mapping[str, float]) -> float:
        """What the best epoch is chosen by: higher is better. ``figures`` also holds the "epoch", from 1."""

    @property
    def scored_by(self) -> str:
        """score() in words, for the record."""
        return " ".join((self.score.__doc__ or "").split())

    def random(self, seed: int, rank: int, processes: int) -> np.random.Generator:
        """The generator of one process, at the beginning of the run."""
        return np.random.default_rng(seed if processes == 1 else [seed, rank])

    def begun(self, epoch: int, seed: int, rank: int, random: np.random.Generator) -> np.random.Generator:
        """Called before each epoch; the generator that process ``rank`` goes on with. A task may seed torch here."""
        return random

    def training(self, network: nn.Module) -> None:
        """Put the network into training mode; a task may keep parts of it still."""
        network.train()

    def rate(self, base: float, done: int, total: int) -> float:
        """Learning rate at the step after ``done`` steps of ``total``, of parameters that the optimiser gives ``base``.

        By default a warm-up over 100 steps times half a cosine.
        """
        return base * (0.5 + 0.5 * math.cos(math.pi * (done + 1) / total)) * min(1.0, (done + 1) / 100)

    def share(self, done: int) -> float:
        """Share of the moving average that is kept at the step after ``done`` steps; 0 takes the new weights."""
        return 0.99 if done else 0.0

    def told(self) -> dict[str, Any]:
        """Counts of the data and the like, for the record; a run is only gone on with if they are the same."""
        return {}

    def kept(self, network: nn.Module) -> dict[str, Tensor]:
        """The state dict that best.pt holds."""
        return network.state_dict()

    def finished(self, best: dict[str, Tensor]) -> dict[str, Any]:
        """Once, at the end, with what best.pt holds: more for the record, such as a temperature."""
        return {}
