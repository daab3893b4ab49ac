"""A moving average of a network's weights: what is validated and kept instead of the weights of the last step."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """A copy of ``network`` whose parameters follow slowly.

    Buffers are copied, not averaged: batch-norm statistics are averages already, and averaged once more they would lag
    behind for hundreds of steps.

    Attributes
    ----------
    module : the copy, in evaluation mode, on the network's device
    """

    def __init__(self, network: nn.Module) -> None:
        self.module = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, share: float) -> None:
        """Keep ``share`` of each parameter, 0 to 1, and take the rest from ``network``."""
        ours, theirs = list(self.module.parameters()), [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - share)
        for own, other in zip(self.module.buffers(), network.buffers()):
            own.copy_(other)
