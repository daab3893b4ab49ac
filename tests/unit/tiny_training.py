"""A task of training_loop that takes milliseconds: a small network learns which of two blobs a point belongs to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor, nn

from shared_models.training_request import TrainRequest
from shared_models.training_task import TrainingTask


class Blobs(TrainingTask):
    """``broken_at`` makes the loss of that step (from 0) NaN; ``figures`` takes the place of the validation.

    A ``plain`` network has no batch norm and no dropout.
    """

    name = "blobs"
    epochs = 3

    def __init__(
        self, epochs: int = 3, patience: Optional[int] = None, together: Optional[int] = None,
        figures: Optional[Sequence[float]] = None, broken_at: int = -1, count: int = 48,
        rate: float = 0.05, plain: bool = False,
    ) -> None:  # fmt: skip
        self.epochs, self.patience, self.together = epochs, patience, together
        self.figures, self.broken_at, self.count, self.rate_, self.plain = figures, broken_at, count, rate, plain
        random = np.random.default_rng(0)
        self.y = random.integers(2, size=count)
        self.x = (random.normal(0, 1, (count, 4)) + 1.5 * self.y[:, None]).astype(np.float32)
        self.settings = {"rate": rate}
        self.calls, self.validations = 0, 0
        self.seen: list[list[int]] = []

    def network(self) -> nn.Module:
        if self.plain:
            return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(network.parameters(), lr=self.rate_)

    def plan(self, epoch: int, random: np.random.Generator) -> Sequence[Any]:
        return list(random.permutation(self.count).reshape(-1, 8))

    def batch(self, planned: Any, random: np.random.Generator) -> Any:
        self.seen.append(planned.tolist())
        noise = random.normal(0, 0.1, (len(planned), 4)).astype(np.float32)
        return torch.from_numpy(self.x[planned] + noise), torch.from_numpy(self.y[planned]).float()

    def loss(self, network: nn.Module, batch: Any, random: np.random.Generator, device: torch.device) -> Tensor:
        x, y = (part.to(device) for part in batch)
        self.calls += 1
        loss = nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], y)
        return loss * math.nan if self.calls - 1 == self.broken_at else loss

    def validated(self, network: nn.Module) -> dict[str, float]:
        network.eval()
        with torch.inference_mode():
            right = ((network(torch.from_numpy(self.x))[:, 0] > 0).numpy() == self.y).mean()
        self.validations += 1
        return {"val_accuracy": float(right if self.figures is None else self.figures[self.validations - 1])}

    def score(self, figures: Mapping[str, float]) -> float:
        """Accuracy on validation."""
        return figures["val_accuracy"]

    def share(self, done: int) -> float:
        return 0.5 if done else 0.0

    def told(self) -> dict[str, Any]:
        return {"points": self.count}


def request(out: Path, **given: Any) -> TrainRequest:
    """Of a run on one thread of the CPU."""
    return TrainRequest("blobs", out, out, device="cpu", threads=1, command="a test", **given)


def in_two(request: TrainRequest) -> None:
    """What each of two processes does: gradients shared, then weights averaged every 3 steps, then a failure."""
    from dataclasses import replace

    from shared_models.training_loop import train

    train(Blobs(epochs=2, plain=True), replace(request, out=request.out / "shared"))
    train(Blobs(epochs=1, plain=True, together=3), replace(request, out=request.out / "apart"))
    train(Blobs(epochs=2, plain=True, together=3), replace(request, out=request.out / "apart", resume=True))
    train(Blobs(plain=True, broken_at=2), replace(request, out=request.out / "broken"))
