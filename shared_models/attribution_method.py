"""What the six methods share: attribute() over any number of inputs, in batches and in the precision that fit.

Method   ``attribute(inputs, target)``; a method fills in _maps()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

import numpy as np
import torch
from torch import Tensor

from .attribution_aim import Aim
from .attribution_batch import SIZES, seconds_of
from .attribution_model import Explained, Target
from .attribution_network import ieee
from .attribution_result import Attribution, Setting, rank_correlation
from .contract.errors import InvalidInput, OutOfMemory
from .contract.values import Array

PRECISIONS = ("fp32", "mixed", "auto")
SAME = 0.99  # rank correlation with fp32 from which on a map counts as the same
_COMPARED = 4  # inputs of the first call whose maps must all be the same


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
    precision : "fp32", with all its digits on a GPU too (no TF32); "mixed" computes in bfloat16 where the maps of the
        first inputs have a rank correlation of 0.99 or more with their maps in fp32, and else in fp32; "auto" is
        "mixed" on a GPU, for 8 inputs or more and where that is faster too, and "fp32" on a CPU

    Attributes
    ----------
    name : as in contract METHODS
    signed : whether negative values are evidence against
    mixes : whether it may be computed in bfloat16 at all
    """

    name: ClassVar[str]
    signed: ClassVar[bool]
    mixes: ClassVar[bool] = True

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
        mixed = self._may_mix(aim) and self._mixes(aim)
        with self._mixed() if mixed else ieee():
            return self._maps(aim), "bf16" if mixed else "fp32"

    def _may_mix(self, aim: Aim) -> bool:
        if self.precision == "auto":  # a GPU computes few inputs as fast in whatever precision
            return self.mixes and self.model.device.type != "cpu" and len(aim.inputs) >= SIZES[0]
        return self.mixes and self.precision == "mixed"

    def _mixes(self, aim: Aim) -> bool:
        """Whether maps in bfloat16 are the same and, unless it was asked for, faster; found at the first call."""
        key = (self.name, "precision", self.precision, aim.inputs.shape[1:], tuple(self.settings.items()))
        if key not in self.model.tuned:
            some = aim.of(slice(0, _COMPARED))
            with ieee():
                exact = _array(self._maps(some).values)
            with self._mixed():
                rough = _array(self._maps(some).values)
            same = bool(np.isfinite(rough).all()) and all(rank_correlation(a, b) >= SAME for a, b in zip(exact, rough))
            self.model.tuned[key] = same and (self.precision == "mixed" or self._faster(aim))
        return bool(self.model.tuned[key])

    def _faster(self, aim: Aim) -> bool:
        """Whether bfloat16 is, each once everything is ready."""
        used = []
        for precision in (ieee, self._mixed):
            with precision():
                self._maps(aim)
                used.append(seconds_of(lambda: self._maps(aim), self.model.device))
        return used[1] < used[0]

    def _mixed(self) -> Any:
        return torch.autocast(self.model.device.type, torch.bfloat16)


def _array(values: Tensor) -> Array:
    return np.ascontiguousarray(values.detach().float().cpu().numpy())
