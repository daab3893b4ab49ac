"""Aim: inputs, and the score of each that is explained: a logit, or the difference of two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True, eq=False)
class Aim:
    """What is explained.

    Parameters
    ----------
    inputs : float (n, channels, *space)
    targets : int64 (n,), output that is explained, of each input
    contrast : int64 (n,), output whose logit is subtracted; None explains the logit alone
    given : (n, ...), whatever the network's forward needs beside the input
    """

    inputs: Tensor
    targets: Tensor
    contrast: Optional[Tensor] = None
    given: Optional[Tensor] = None

    def of(self, rows: Any) -> Aim:
        """The same of some of the inputs; ``rows`` may name one more than once."""
        contrast, given = (None if part is None else part[rows] for part in (self.contrast, self.given))
        return Aim(self.inputs[rows], self.targets[rows], contrast, given)

    def at(self, inputs: Tensor) -> Aim:
        """The same question about other inputs, one for one."""
        return replace(self, inputs=inputs)

    def score(self, logits: Tensor) -> Tensor:
        """(n,) of logits (n, outputs)."""
        score = logits.gather(1, self.targets[:, None])[:, 0]
        return score if self.contrast is None else score - logits.gather(1, self.contrast[:, None])[:, 0]

    def seed(self, outputs: int) -> Tensor:
        """float32 (n, outputs): the gradient of each score by its logits."""
        seed = one_hot(self.targets, outputs)
        return (seed if self.contrast is None else seed - one_hot(self.contrast, outputs)).float()
