"""Adapting a tile model to tiles of another laboratory that nobody labelled.

restandardised()       a copy of the network whose batch-norm statistics are re-estimated on those tiles
expected_accuracy()    how many of them it probably gets right, from its confidence on labelled tiles of its own kind
matched_temperature()  the temperature at which its mean confidence is that share

Sources: Schneider et al. 2020, arXiv:2006.16971: statistics of training and target mixed, the training ones counting as
``prior`` tiles. Garg et al. 2022, arXiv:2201.04234 (average thresholded confidence). Departs from the first in: the
target's statistics of a layer are taken where the layers before it use the target's alone, not the mixture.

None of this is done at run time: `lungxai evaluate --task shift` measures whether it would pay.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array

PRIOR = 64  # tiles


def restandardised(network: Any, tiles: Array, prior: float = PRIOR, batch: int = 32) -> Any:
    """A copy of the network, in evaluation mode, adapted to unlabelled tiles.

    Parameters
    ----------
    network : torch, on the CPU; raw pixels (n, 3, h, w) in; left as it is
    tiles : uint8 (n, h, w, 3), at least two
    prior : how many tiles the training statistics count as; 0 keeps only the target's

    Raises
    ------
    InvalidInput : fewer than two tiles, or the network has no batch norm.
    """
    import torch
    from torch import nn

    adapted = copy.deepcopy(network).eval()
    layers = [module for module in adapted.modules() if isinstance(module, nn.BatchNorm2d)]
    if len(tiles) < 2 or not layers:
        raise InvalidInput("The model cannot be adapted to these tiles.", "Give two tiles or more.")
    source = [(layer.running_mean.clone(), layer.running_var.clone(), layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
        layer.train()
    parts = [part for part in np.array_split(tiles, max(1, round(len(tiles) / batch))) if len(part)]
    with torch.inference_mode():
        for part in parts:
            adapted(torch.from_numpy(np.ascontiguousarray(part)).permute(0, 3, 1, 2).float())
    share = prior / (prior + len(tiles))
    with torch.no_grad():
        for layer, (mean, variance, momentum) in zip(layers, source):
            layer.running_mean = share * mean + (1 - share) * layer.running_mean.clone()
            layer.running_var = share * variance + (1 - share) * layer.running_var.clone()
            layer.momentum = momentum
    return adapted.eval()


def confidence(logits: Array, temperature: float) -> Array:
    """float64 (n,): probability of the likeliest class, of logits (n, k)."""
    scaled = logits.astype(np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    answer: Array = raised.max(axis=1) / raised.sum(axis=1)
    return answer


def expected_accuracy(source_confidence: Array, source_right: Array, target_confidence: Array) -> float:
    """Share of target cases whose confidence is above the value that as many source cases exceed as are right.

    Parameters
    ----------
    source_confidence, source_right : (m,), of labelled cases; target_confidence : (n,)
    """
    bar = np.quantile(source_confidence, 1 - float(np.mean(source_right)))
    return float((target_confidence >= bar).mean())


def matched_temperature(logits: Array, accuracy: float) -> float:
    """The temperature, 0.05 to 20, at which the mean confidence of logits (n, k) is nearest to ``accuracy``."""
    from scipy.optimize import brentq

    low, high = 0.05, 20.0

    def over(log_t: float) -> float:
        return float(confidence(logits, float(np.exp(log_t))).mean() - accuracy)

    if over(np.log(low)) <= 0:
        return low
    if over(np.log(high)) >= 0:
        return high
    return float(np.exp(brentq(over, np.log(low), np.log(high), xtol=1e-6)))
