"""Integrated Gradients: the mean gradient on the straight way from a baseline to the image, times the difference.

IntegratedGradients   with as many steps as its completeness error asks for

The attributions must sum to f(image) - f(baseline); how far they miss it is measured for every input, and the steps
are doubled until the error is under a stated share of that difference, or the most steps are reached, which is said.
The integral is the trapezoid rule's, whose points are all used again when the steps double. With s steps it has s + 1
points, and is captum's IntegratedGradients(method="riemann_trapezoid", n_steps=s + 1) times (s + 1) / s: the weights of
captum 0.9 sum to s / (s + 1) there, ours to 1.

Source: Sundararajan et al. 2017, arXiv:1703.01365.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .attribution_baseline import Baseline, baseline, said
from .attribution_gradients import engine, scored_gradients
from .attribution_method import Maps, Method
from .attribution_model import Aim, Explained
from .attribution_result import Setting
from .contract.errors import InvalidInput
from .contract.values import Array

# Below this share of the scores the image and its baseline count as equal: the rest is rounding.
_ROUNDING = 1e-5


class IntegratedGradients(Method):
    """What each place adds to the score, against a baseline; signed, summed over the channels.

    Parameters
    ----------
    baseline : as attribution_baseline.baseline
    steps : to begin with
    most_steps : not doubled beyond this
    tolerance : completeness error that is small enough, as a share of |f(image) - f(baseline)|
    """

    name, signed = "integrated_gradients", True

    def __init__(
        self, model: Explained, *, baseline: Baseline = "black", steps: int = 16, most_steps: int = 512,
        tolerance: float = 0.05, precision: str = "auto",
    ) -> None:  # fmt: skip
        super().__init__(model, precision=precision)
        if not 1 <= steps <= most_steps <= 65536 or not 0 <= tolerance < 1:
            remedy = "Choose at least one step, no more than most_steps, and a tolerance of 0 or more and less than 1."
            raise InvalidInput("Integrated Gradients cannot be computed so.", remedy)
        self.baseline, self.steps, self.most_steps, self.tolerance = baseline, steps, most_steps, tolerance

    @property
    def settings(self) -> dict[str, Setting]:
        return {
            "unit": "logit", "channels": "summed", "baseline": said(self.baseline), "tolerance": self.tolerance,
            "most_steps": self.most_steps,
        }  # fmt: skip

    def _maps(self, aim: Aim) -> Maps:
        start = baseline(self.model, aim.inputs, self.baseline)
        away = aim.inputs - start
        low, f_start = self._summed(aim, start, away, [0.0])
        high, f_image = self._summed(aim, start, away, [1.0])
        wanted = f_image - f_start
        floor = _ROUNDING * (1 + np.abs(f_image))
        total = 0.5 * (low + high)  # half of each end; the points between follow
        result, error = torch.zeros_like(total), np.zeros(len(total))
        used = np.zeros(len(total), np.int64)
        todo, steps, points = np.arange(len(total)), self.steps, [k / self.steps for k in range(1, self.steps)]
        while True:
            rows = torch.from_numpy(todo).to(total.device)
            total[rows] += self._summed(aim.of(rows), start[rows], away[rows], points)[0]
            result[rows] = total[rows] * away[rows] / steps
            found = result[rows].sum(dim=tuple(range(1, result.ndim)), dtype=torch.float64).cpu().numpy()
            missed, difference = np.abs(found - wanted[todo]), np.abs(wanted[todo])
            error[todo] = np.where(missed <= floor[todo], 0.0, missed / np.maximum(difference, floor[todo]))
            used[todo] = steps
            todo = todo[error[todo] > self.tolerance]
            if not len(todo) or 2 * steps > self.most_steps:
                break
            steps, points = 2 * steps, [(2 * k + 1) / (2 * steps) for k in range(steps)]
        fine = error <= self.tolerance
        note: tuple[tuple[str, Setting], ...] = (("steps", int(used.max())), *engine(self.model, aim))
        if not fine.all():
            note += (("completeness", f"not reached in {int((~fine).sum())} of {len(fine)} maps"),)
        return Maps(result.sum(dim=1), None, error, fine, note)

    def _summed(self, aim: Aim, start: Tensor, away: Tensor, points: list[float]) -> tuple[Tensor, Array]:
        """The sum of each input's gradients at these shares of its way, float64 (n,) the sum of its scores there."""
        total, scores = torch.zeros_like(start), torch.zeros(len(start), dtype=torch.float64, device=start.device)
        size = self._batch(aim, lambda part: scored_gradients(self.model, part))
        count = len(aim.inputs) * len(points)
        shares = torch.tensor(points, dtype=start.dtype, device=start.device)
        shape = (-1, *[1] * (start.ndim - 1))
        for first in range(0, count, size):
            index = torch.arange(first, min(first + size, count), device=start.device)
            rows, at = index // len(points), shares[index % len(points)].reshape(shape)
            gradient, score = scored_gradients(self.model, aim.of(rows).at(start[rows] + at * away[rows]))
            total.index_add_(0, rows, gradient)
            scores.index_add_(0, rows, score.double())
        return total, scores.cpu().numpy()
