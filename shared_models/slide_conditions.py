"""The tile model under what other laboratories bring, on tiles of one split: a table for its card.

condition_figures()    accuracy, loss, macro AUROC and calibration error under each of CONDITIONS
CONDITIONS             name -> uint8 tiles changed

The mixed shifts are slide_augmentation.shifted(): eight changes, one a tile. "0.5 x mpp" is a tile read at half its
micrometres per pixel (the middle enlarged), "2 x mpp" at twice (smaller, mirrored tissue around it). Graded strengths
of each shift alone: shift_slide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .calibration import Temperature, negative_log_likelihood
from .contract.values import Array
from .shift_slide import SHIFTS
from .slide_augmentation import shifted
from .slide_data import TileSet
from .slide_pipeline import SlideModel
from .statistics import accuracy, ece, macro_auroc


def _mixed(pixels: Array) -> Array:
    import torch

    tiles = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float()
    return shifted(tiles).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _spacing(factor: float) -> Callable[[Array], Array]:
    """Tiles as read at ``factor`` times their micrometres per pixel."""
    strength, direction = (1 / factor - 1, 1) if factor < 1 else (factor - 1, -1)
    return lambda pixels: np.stack([SHIFTS["mpp"].change(tile, strength, direction) for tile in pixels])


CONDITIONS: dict[str, Callable[[Array], Array]] = {
    "as they are": lambda pixels: pixels,
    "mixed shifts": _mixed,
    **{f"{factor:g} x mpp": _spacing(factor) for factor in (0.5, 0.7, 1.4, 2.0)},
}


def condition_figures(model: SlideModel, tiles: TileSet, temperature: float, size: int = 64) -> dict[str, Any]:
    """By condition: "accuracy", "wrong", "loss", "auroc", "ece", at ``temperature``."""
    labels = np.array([model.classes.index(name) for name in tiles.labels])
    answer = {}
    for name, change in CONDITIONS.items():
        starts = range(0, len(labels), size)
        logits = np.concatenate([model.logits(change(tiles.pixels[i : i + size])) for i in starts])
        p = Temperature(temperature).apply(logits)
        guess = p.argmax(axis=1)
        answer[name] = {
            "accuracy": float(accuracy(labels, guess)), "wrong": int((guess != labels).sum()),
            "loss": negative_log_likelihood(p, labels), "auroc": float(macro_auroc(labels, p)),
            "ece": float(ece(labels, p)),
        }  # fmt: skip
    return answer
