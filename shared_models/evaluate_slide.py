"""Figures of the H&E model on real tiles.

tile_metrics()       of one split that is in memory
evaluate_he_tiles()  the task "he_tiles" of `lungxai evaluate`
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.values import CLASSES
from .slide_data import TileSet, read_tiles
from .slide_pipeline import SlideModel
from .statistics import accuracy, bootstrap_ci, ece, macro_auroc, macro_f1


def tile_metrics(model: SlideModel, tiles: TileSet) -> dict[str, Any]:
    """Accuracy, macro F1 and macro AUROC with 95 % intervals by bootstrap over groups; calibration error; baseline."""
    found = [model.probabilities(tiles.pixels[i : i + 64]) for i in range(0, len(tiles.pixels), 64)]
    p = np.concatenate(found)[:, [CLASSES.index(name) for name in model.classes]].astype(np.float64)
    labels = np.array([model.classes.index(name) for name in tiles.labels])
    guess = p.argmax(axis=1)

    def measure(of: Any) -> dict[str, Any]:
        return {
            "value": float(of(np.arange(len(labels)))),
            "ci95": [float(x) for x in bootstrap_ci(of, tiles.groups)],
        }

    return {
        "n": len(labels),
        "groups": len(set(tiles.groups.tolist())),
        "accuracy": measure(lambda i: accuracy(labels[i], guess[i])),
        "macro_f1": measure(lambda i: macro_f1(labels[i], guess[i])),
        "auroc": measure(lambda i: macro_auroc(labels[i], p[i])),
        "ece": float(ece(labels, p)),
        "baseline": {"majority_accuracy": Counter(labels.tolist()).most_common(1)[0][1] / len(labels)},
    }


def evaluate_he_tiles(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """The task "he_tiles"; None where ``data_root`` holds no tiles of the split."""
    tiles = read_tiles(data_root, split)
    if tiles is None or not len(tiles.labels):
        return None
    return tile_metrics(SlideModel.load(models_root, "cpu"), tiles)
