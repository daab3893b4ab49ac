"""What the six methods share: attribute() over any number of inputs, in batches and in the precision that fit.

Method         ``attribute(inputs, target)``; a method fills in _maps()
tuned_batch()  the batch that computes fastest, by doubling
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Callable, ClassVar, Optional

import numpy as np
import torch
from torch import Tensor

from .attribution_model import BATCH_CPU, Aim, Explained, Target
from .attribution_result import Attribution, Setting, rank_correlation
from .contract.errors import InvalidInput, OutOfMemory
from .contract.values import Array

PRECISIONS = ("fp32", "mixed", "auto")
SAME = 0.99  # rank correlation with fp32 from which on a map counts as the same
_MOST, _GAIN = 512, 1.05


@dataclass(frozen=True, eq=False)
class Maps:
    """What a method computed of some inputs, on the device; as in Attribution."""

    values: Tensor
    cells: Optional[Tensor] = None
    completeness: Optional[Array] = None
    converged: Optional[Array] = None
    said: tuple[tuple[str, Setting], ...] = ()


class Method(ABC):
    """One attribution method on one model.

    Parameters
    ----------
    precision : "fp32"; "mixed" computes in bfloat16 where the map of the first input has a rank correlation of 0.99
        or more with its map in fp32, and else in fp32; "auto" is "mixed" on a GPU and "fp32" on a CPU

    Attributes
    ----------
    name : as in contract METHODS
    signed : whether negative values are evidence against
    """

    name: ClassVar[str]
    signed: ClassVar[bool]

    def __init__(self, model: Explained, *, precision: str = "auto") -> None:
        if precision not in PRECISIONS:
            raise InvalidInput(f"There is no precision {precision}.", f"Use {', '.join(PRECISIONS)}.")
        self.model = model
        self.precision = precision

    @abstractmethod
    def _maps(self, aim: Aim) -> Maps:
        """The maps of all inputs of ``aim``."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Setting]:
        """What was chosen."""

    def attribute(
        self, inputs: Any, target: Target = None, *, contrast: Target = None, given: Optional[Tensor] = None
    ) -> Attribution:
        """Maps of inputs.

        Parameters
        ----------
        inputs : float numpy or torch (n, channels, *space), space being (rows, columns) or (slices, rows, columns)
        target : output to explain, by name or index, one for all or one each; None: each input's highest logit
        contrast : output whose logit is subtracted
        given : (n, ...), what the model's forward needs beside the inputs

        Returns
        -------
        Attribution, in input space; the map of an input does not depend on the others

        Raises
        ------
        InvalidInput : a class outside the model, or inputs that are not images. OutOfMemory : on a GPU.
        """
        return self.explained(self.model.aim(inputs, target, contrast, given))

    def explained(self, aim: Aim) -> Attribution:
        """The same as attribute(), of a question that is already put."""
        try:
            maps, precision = self._precise(aim)
        except torch.OutOfMemoryError as fault:
            raise OutOfMemory("The GPU has too little memory for this map.", "Use a smaller batch.") from fault
        return self.result(aim, maps, precision)

    def result(self, aim: Aim, maps: Maps, precision: str = "fp32") -> Attribution:
        """The maps as the value that is handed out."""
        names = self.model.outputs
        against = None if aim.contrast is None else tuple(names[int(i)] for i in aim.contrast)
        settings = {**self.settings, **dict(maps.said), "normalisation": "none", "precision": precision}
        return Attribution(
            _array(maps.values), self.name, tuple(names[int(i)] for i in aim.targets), against, self.signed, settings,
            None if maps.cells is None else _array(maps.cells), maps.completeness, maps.converged,
        )  # fmt: skip

    def _precise(self, aim: Aim) -> tuple[Maps, str]:
        asked = self.precision
        if asked == "fp32" or (asked == "auto" and self.model.device.type == "cpu"):
            return self._maps(aim), "fp32"
        key = (self.name, "precision", aim.inputs.shape[1:], tuple(self.settings.items()))
        if key not in self.model.tuned:
            one = aim.of([0])
            exact = _array(self._maps(one).values)
            with self._mixed():
                rough = _array(self._maps(one).values)
            self.model.tuned[key] = bool(np.isfinite(rough).all()) and rank_correlation(exact, rough) >= SAME
        mixed = self.model.tuned[key]
        with self._mixed() if mixed else nullcontext():
            return self._maps(aim), "bf16" if mixed else "fp32"

    def _mixed(self) -> Any:
        return torch.autocast(self.model.device.type, torch.bfloat16)

    def _batch(self, aim: Aim, run: Callable[[Aim], object]) -> int:
        """Inputs at once: what the model says, 4 on a CPU, or on a GPU what is fastest for ``run`` on this shape."""
        if self.model.batch is not None:
            return self.model.batch
        if self.model.device.type == "cpu":
            return BATCH_CPU
        key = (self.name, "batch", aim.inputs.shape[1:], torch.is_autocast_enabled())
        if key not in self.model.tuned:

            def seconds(size: int) -> float:
                repeated = aim.of(torch.zeros(size, dtype=torch.int64))
                begun = time.perf_counter()
                run(repeated)
                torch.cuda.synchronize()
                return time.perf_counter() - begun

            self.model.tuned[key] = tuned_batch(seconds)
        return int(self.model.tuned[key])


def tuned_batch(seconds: Callable[[int], float], first: int = 8, most: int = _MOST) -> int:
    """The batch that computes fastest: doubled until an input takes hardly less time, or the memory does not suffice.

    Parameters
    ----------
    seconds : how long a batch of this size takes; it may raise torch.OutOfMemoryError
    """
    best, size, least = 1, first, float("inf")
    while size <= most:
        try:
            seconds(size)  # the first pass of a size allocates and chooses kernels
            each = seconds(size) / size
        except torch.OutOfMemoryError:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            break
        if each * _GAIN > least:
            break
        best, least, size = size, each, size * 2
    return best


def _array(values: Tensor) -> Array:
    return np.ascontiguousarray(values.detach().float().cpu().numpy())
