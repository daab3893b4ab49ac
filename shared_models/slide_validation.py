"""How the tile network is judged while it is trained: the validation tiles as they are, and after fixed shifts.

as_batch(), class_indices()   tiles as tensors
logits_of()                   in evaluation, of either
judged()                      loss and accuracy of both
calibrated()                  the temperature that fits both together
"""

from __future__ import annotations

import math
from typing import Callable, Optional

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from .contract.values import Array
from .slide_augmentation import shifted
from .slide_data import TileSet
from .slide_early import EarlyLayers
from .slide_network import SLIDE_CLASSES, SlideNetwork

# Without such instructions bfloat16 is emulated, and ten times slower than float32.
BF16 = any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def as_batch(pixels: Array) -> Tensor:
    """uint8 (n, h, w, 3) -> float (n, 3, h, w), 0 to 255, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()


def class_indices(tiles: TileSet) -> Tensor:
    """int64 (n,), positions in SLIDE_CLASSES."""
    return torch.tensor([SLIDE_CLASSES.index(label) for label in tiles.labels])


def logits_of(
    network: SlideNetwork, early: EarlyLayers, tiles: TileSet, shift: bool = False, size: int = 32,
    restain: Optional[Callable[[Array], Array]] = None,
) -> Tensor:  # fmt: skip
    """float32 (n, 3) logits in evaluation, of the tiles as they are or after the fixed shifts, then normalised."""
    network.eval()
    answers = []
    device = next(network.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(tiles.pixels), size):
            batch = as_batch(tiles.pixels[start : start + size])
            batch = shifted(batch) if shift else batch
            if restain is not None:
                batch = as_batch(restain(batch.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()))
            features = early(batch) if device.type == "cpu" else network.early(batch.to(device), early.blocks)
            answers.append(_late(network, features, early.blocks).cpu())
    return torch.cat(answers)


def _late(network: SlideNetwork, features: Tensor, blocks: int) -> Tensor:
    device = features.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=BF16 or device == "cuda"):
        return network.late(features.to(memory_format=torch.channels_last), blocks).float()


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the lowest cross-entropy, by golden section on its logarithm."""
    low, high = math.log(0.2), math.log(5.0)
    ratio = (math.sqrt(5) - 1) / 2

    def loss(log_t: float) -> float:
        return float(functional.cross_entropy(logits / math.exp(log_t), labels))

    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return math.exp((low + high) / 2)


def judged(
    network: SlideNetwork, early: EarlyLayers, tiles: TileSet, labels: Tensor,
    restain: Optional[Callable[[Array], Array]],
) -> dict[str, float]:  # fmt: skip
    row = {}
    for name, shift in (("val", False), ("shifted", True)):
        logits = logits_of(network, early, tiles, shift, restain=restain)
        row[f"{name}_loss"] = float(functional.cross_entropy(logits, labels))
        row[f"{name}_accuracy"] = float((logits.argmax(1) == labels).float().mean())
    return row


def calibrated(
    network: SlideNetwork, early: EarlyLayers, tiles: TileSet, labels: Tensor,
    restain: Optional[Callable[[Array], Array]],
) -> dict[str, float]:  # fmt: skip
    """The temperature, on the validation tiles as they are and shifted, taken together."""
    both = torch.cat([logits_of(network, early, tiles, shift, restain=restain) for shift in (False, True)])
    return {"temperature": fitted_temperature(both, torch.cat([labels, labels]))}
