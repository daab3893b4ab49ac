"""What corrections win back on shifted H&E tiles: stain normalisation, augmentation, test-time adaptation.

REMEDIES     name -> what it is
remedies()   accuracy and calibration of each, under every shift at the grades of AT

macenko      every tile brought to the stain of a typical training tile (stain.py), the weights as they are
batch_norm   batch-norm statistics re-estimated on the shifted tiles, all of one shift at once (test_time_adaptation.py)
temperature  the temperature re-estimated on the shifted tiles, without their labels
no_augmentation   a linear probe on the frozen ImageNet network, trained on the tiles as they are: no weights of this
             network trained without augmentation are kept, so this is the nearest that stands for them. It differs
             in more than augmentation; what the augmentation is worth is less than the difference to it

The target stain, the probe's shrinkage and the temperature's bar come from training and validation tiles; the shifted
tiles' labels are only used to measure.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import shift_slide
from .contract.values import Array
from .test_time_adaptation import expected_accuracy, matched_temperature, restandardised

AT = (4,)
REMEDIES = {
    "as it is": "the model that ships", "macenko": "Macenko normalisation", "batch_norm": "batch-norm adaptation",
    "temperature": "temperature re-estimated", "no_augmentation": "ImageNet probe, no augmentation",
}  # fmt: skip
_PROBE_SHRINKAGE = (0.003, 0.03, 0.3)
_TARGET_TILES = 60


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """float64 (n, k)."""
    scaled = logits.astype(np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    answer: Array = raised / raised.sum(axis=1, keepdims=True)
    return answer


def run(network: Any, pixels: Array) -> tuple[Array, Array]:
    """Logits (n, k) and features (n, d) of a torch SlideNetwork, of uint8 (n, h, w, 3)."""
    import torch

    from .out_of_distribution_slide import features_of

    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 16):
            batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 16])).permute(0, 3, 1, 2).float()
            found.append([part.numpy() for part in features_of(network, batch)])
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


class Probe:
    """A linear probe on the frozen ImageNet network; learns from training tiles as they are, one of a source field."""

    def __init__(self, train: Any, val: Any, classes: tuple[str, ...]) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import log_loss
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from .fit_out_of_distribution import first_of_each
        from .slide_network import SlideNetwork, imagenet_weights

        self._network = imagenet_weights(SlideNetwork()).eval()
        sets = []
        for tiles in (train, val):
            kept = first_of_each(tiles.groups, 1)
            sets.append((run(self._network, tiles.pixels[kept])[1], [classes.index(n) for n in tiles.labels[kept]]))
        (x, y), (held, truth) = sets

        def tried(c: float) -> tuple[float, Any]:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500)).fit(x, y)
            return float(log_loss(truth, model.predict_proba(held))), model

        self._model = min((tried(c) for c in _PROBE_SHRINKAGE), key=lambda one: one[0])[1]

    def __call__(self, pixels: Array) -> Array:
        """Probabilities (n, k)."""
        answer: Array = self._model.predict_proba(run(self._network, pixels)[1])
        return answer


def remedies(
    model: Any, data_root: Path, pixels: Array, truth: Array, groups: Array, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:  # fmt: skip
    """shift -> remedy -> measure -> one figure for each grade of AT; shift "none" has one, of the tiles as they are.

    Parameters
    ----------
    model : SlideModel; pixels uint8 (n, h, h, 3), truth int (n,), groups (n,), as in evaluate_shift.tile_curves()
    """
    from .evaluate_shift import measured
    from .fit_out_of_distribution import first_of_each
    from .slide_data import read_tiles
    from .stain import normalised, target_of

    train, val = read_tiles(data_root, "train"), read_tiles(data_root, "val")
    if train is None or val is None:
        return {}
    target = target_of(train.pixels[first_of_each(train.groups, 1)[:_TARGET_TILES]], "macenko")[0]
    held = first_of_each(val.groups, 1)
    held_logits, temperature = model.logits(val.pixels[held]), float(model.card["lungxai"]["temperature"])
    held_truth = np.array([model.classes.index(name) for name in val.labels[held]])
    held_sure = softmax(held_logits, temperature).max(axis=1)
    held_right = held_logits.argmax(axis=1) == held_truth
    network = model._torch()
    probe = Probe(train, val, model.classes)

    def temperature_of(logits: Array) -> float:
        sure = softmax(logits, temperature).max(axis=1)
        return matched_temperature(logits, expected_accuracy(held_sure, held_right, sure))

    def all_of(seen: Array) -> dict[str, Array]:
        logits = model.logits(seen)
        adapted = run(restandardised(network, seen), seen)[0]
        return {
            "as it is": softmax(logits, temperature),
            "macenko": softmax(model.logits(normalised(seen, target, "macenko").pixels), temperature),
            "batch_norm": softmax(adapted, temperature),
            "temperature": softmax(logits, temperature_of(logits)),
            "no_augmentation": probe(seen),
        }

    found: dict[str, dict[str, dict[str, Any]]] = {}
    conditions: list[tuple[str, tuple[int, ...]]] = [("none", (0,)), *((name, AT) for name in shift_slide.SHIFTS)]
    for name, grades in conditions:
        print(f"remedies of {name}", end=" ", file=sys.stderr, flush=True)
        rows = [all_of(shift_slide.shifted(pixels, name, grade, seed) if grade else pixels) for grade in grades]
        figures = [{remedy: measured(truth, p, groups) for remedy, p in row.items()} for row in rows]
        found[name] = {
            remedy: {measure: [one[remedy][measure] for one in figures] for measure in figures[0][remedy]}
            for remedy in REMEDIES
        }
    return found
