"""Two tiles made one in training, and how often each class is drawn.

mixed()          a batch with mixup or CutMix, or as it was
mixed_loss()     cross-entropy of a mixed batch
drawn()          which tiles an epoch sees
class_weights()  what weighted cross-entropy weighs

Sources: mixup, Zhang et al. 2018, arXiv:1710.09412; CutMix, Yun et al. 2019, arXiv:1905.04899. Departs from them in:
a batch is mixed with the share asked for, not always; one share and one rectangle serve a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from .contract.values import Array

_ALPHA = 0.2
BALANCES = ("sampling", "loss", "none")


@dataclass(frozen=True, eq=False)
class Mixed:
    """``tiles`` float (n, 3, h, w); tile i is ``share`` of its own class and 1 - share of that of ``order[i]``."""

    tiles: Tensor
    order: Tensor
    share: float


def mixed(tiles: Tensor, rng: np.random.Generator, mixup: float = 0.5, cutmix: float = 0.0) -> Mixed:
    """``tiles`` float (n, 3, h, w), mixed by mixup in a share ``mixup`` of calls, by CutMix in a share ``cutmix``."""
    drawn_kind = rng.random()
    order = torch.from_numpy(rng.permutation(len(tiles)))
    if drawn_kind < mixup:
        share = float(rng.beta(_ALPHA, _ALPHA))
        return Mixed(share * tiles + (1 - share) * tiles[order], order, share)
    if drawn_kind < mixup + cutmix:
        height, width = tiles.shape[2:]
        # CutMix's area is uniform (beta 1, 1); the label follows the area that was really pasted.
        side = np.sqrt(1 - rng.random())
        tall, wide = round(height * side), round(width * side)
        row, column = (int(rng.integers(0, most + 1)) for most in (height - tall, width - wide))
        tiles = tiles.clone()
        place = (slice(None), slice(None), slice(row, row + tall), slice(column, column + wide))
        tiles[place] = tiles[order][place]
        return Mixed(tiles, order, 1 - tall * wide / (height * width))
    return Mixed(tiles, order, 1.0)


def mixed_loss(
    logits: Tensor, target: Tensor, batch: Mixed, smoothing: float, weights: Optional[Tensor] = None
) -> Tensor:
    """Scalar; ``logits`` (n, k), ``target`` int64 (n,), ``weights`` (k,) of the classes."""
    one = functional.cross_entropy(logits, target, weights, label_smoothing=smoothing)
    if batch.share == 1.0:
        return one
    other = functional.cross_entropy(logits, target[batch.order], weights, label_smoothing=smoothing)
    return batch.share * one + (1 - batch.share) * other


def drawn(labels: Array, classes: int, balance: str, rng: np.random.Generator) -> Array:
    """Indices of one epoch, in random order.

    With ``balance`` "sampling" every class comes equally often, the smaller ones again from their start; else every
    tile comes once.
    """
    if balance != "sampling":
        return rng.permutation(len(labels))
    members = [rng.permutation(np.flatnonzero(labels == c)) for c in range(classes)]
    count = max(len(m) for m in members)
    return rng.permutation(np.concatenate([np.resize(m, count) for m in members]))


def class_weights(labels: Array, classes: int, balance: str) -> Optional[Tensor]:
    """float32 (classes,), inverse to how often a class is there and 1 on average over tiles; None unless "loss"."""
    if balance != "loss":
        return None
    count = np.bincount(labels, minlength=classes).clip(1)
    return torch.from_numpy((len(labels) / (classes * count)).astype(np.float32))
