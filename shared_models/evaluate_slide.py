"""Figures of the H&E model on real tiles.

tile_metrics()       of one split that is in memory
he_tile_cases()      tile by tile, read in batches; a tile that cannot be used is left out, with the reason
evaluate_he_tiles()  the task "he_tiles" of `lungxai evaluate`

Beside the network stands what colour alone says: mean and standard deviation of red, green and blue of each tile,
linear discriminant analysis on the training tiles.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.values import CLASSES, Array
from .evidence_cases import Cases, Exclusion
from .evidence_reading import tiles as read_batches
from .evidence_strata import sharpness_class
from .slide_data import FOLDER, SPACING_UM_PX, TileSet
from .slide_pipeline import SlideModel
from .slide_quality import tile_quality
from .statistics import accuracy, bootstrap_ci, ece, macro_auroc, macro_f1

_SHRINKAGE = 0.01


def tile_metrics(model: SlideModel, tiles: TileSet) -> dict[str, Any]:
    """Accuracy, macro F1 and macro AUROC with 95 % intervals by bootstrap over groups; calibration error; baseline."""
    found = [model.probabilities(tiles.pixels[i : i + 64]) for i in range(0, len(tiles.pixels), 64)]
    p = np.concatenate(found)[:, [CLASSES.index(name) for name in model.classes]].astype(np.float64)
    return _metrics(np.array([model.classes.index(name) for name in tiles.labels]), p, tiles.groups)


def _metrics(labels: Array, p: Array, groups: Array) -> dict[str, Any]:
    guess = p.argmax(axis=1)

    def measure(of: Any) -> dict[str, Any]:
        return {
            "value": float(of(np.arange(len(labels)))),
            "ci95": [float(x) for x in bootstrap_ci(of, groups)],
        }

    return {
        "n": len(labels),
        "groups": len(set(groups.tolist())),
        "accuracy": measure(lambda i: accuracy(labels[i], guess[i])),
        "macro_f1": measure(lambda i: macro_f1(labels[i], guess[i])),
        "auroc": measure(lambda i: macro_auroc(labels[i], p[i])),
        "ece": float(ece(labels, p)),
        "baseline": {"majority_accuracy": Counter(labels.tolist()).most_common(1)[0][1] / len(labels)},
    }


def _colours(pixels: Array) -> Array:
    """float64 (n, 6): mean and standard deviation of each channel, of uint8 (n, h, w, 3)."""
    each = pixels.reshape(len(pixels), -1, 3).astype(np.float32)
    return np.concatenate([each.mean(axis=1), each.std(axis=1)], axis=1).astype(np.float64)


class ColourBaseline:
    """Linear discriminant analysis of the tiles' colours: what needs no network.

    Parameters
    ----------
    rows : (n, 6) of _colours(); labels : (n,) places among ``k`` classes

    Source: Fisher 1936; equal priors, the covariance shrunk by 1 % towards its diagonal.
    """

    def __init__(self, rows: Array, labels: Array, k: int) -> None:
        self._present = [c for c in range(k) if (labels == c).sum() > 1]
        means = np.stack([rows[labels == c].mean(axis=0) for c in self._present])
        inner = rows - means[np.searchsorted(self._present, labels)]
        covariance = inner.T @ inner / len(rows)
        covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.diag(np.diag(covariance))
        self._weights = np.linalg.solve(covariance + 1e-9 * np.eye(len(covariance)), means.T)
        self._offset = -0.5 * np.einsum("cd,dc->c", means, self._weights)
        self._k = k

    @classmethod
    @lru_cache(maxsize=1)
    def trained(cls, data_root: Path, classes: tuple[str, ...]) -> Optional[ColourBaseline]:
        """On the training tiles; None where fewer than two classes have any."""
        rows, labels = [np.empty((0, 6))], []
        for batch in read_batches(data_root, "train"):
            if not isinstance(batch, Exclusion):
                known = [tile for tile in batch if tile.label in classes]
                if known:
                    rows.append(_colours(np.stack([tile.pixels for tile in known])))
                    labels += [classes.index(tile.label) for tile in known]
        places = np.array(labels, dtype=int)
        often = [c for c in range(len(classes)) if (places == c).sum() > 1]
        kept = np.isin(places, often)
        return cls(np.concatenate(rows)[kept], places[kept], len(classes)) if len(often) > 1 else None

    def probabilities(self, rows: Array) -> Array:
        """(n, k); 0 for a class without training tiles."""
        scores = rows @ self._weights + self._offset
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        answer = np.zeros((len(rows), self._k))
        answer[:, self._present] = raised / raised.sum(axis=1, keepdims=True)
        return answer


def he_tile_cases(data_root: Path, split: str, models_root: Path) -> Optional[Cases]:
    """The model's answer for every tile of the split; None where there is no table of tiles or no tile can be used."""
    if not (data_root / FOLDER / "tiles.csv").is_file():
        return None
    model = SlideModel.load(models_root, "cpu")
    places = [CLASSES.index(name) for name in model.classes]
    rows, answers, colours, exclusions = [], [], [], []
    quality: list[float] = []
    for batch in read_batches(data_root, split):
        if isinstance(batch, Exclusion):
            exclusions.append(batch)
            continue
        known = [tile for tile in batch if tile.label in model.classes]
        exclusions += [
            Exclusion(tile.row.case, f"the model does not assess {tile.label}")
            for tile in batch if tile.label not in model.classes
        ]  # fmt: skip
        if known:
            pixels = np.stack([tile.pixels for tile in known])
            p = model.probabilities(pixels)[:, places].astype(np.float64)
            answers.append(p / p.sum(axis=1, keepdims=True))
            colours.append(_colours(pixels))
            # Tiles of another size show the same field.
            quality += tile_quality(pixels, SPACING_UM_PX * model.tile_px / pixels.shape[1]).tolist()
            rows += [(tile.row.case, tile.row.group, tile.label) for tile in known]
    if not rows:
        return None
    ids, groups, labels = (np.array(column, dtype=str) for column in zip(*rows))
    baseline = ColourBaseline.trained(data_root, model.classes) if split != "train" else None
    return Cases(
        "he_tiles", split, "tile", "source field", ids, groups, model.classes,
        np.array([model.classes.index(name) for name in labels]), np.concatenate(answers),
        rivals={} if baseline is None else {"colour alone": baseline.probabilities(np.concatenate(colours))},
        strata={"class": labels, "sharpness": np.array([sharpness_class(q) for q in quality])},
        exclusions=tuple(exclusions),
        notes=("Tile by tile: no patient is known. Tiles of one source field are altered copies of it.",),
    )  # fmt: skip


def evaluate_he_tiles(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """The task "he_tiles"; None where ``data_root`` holds no tiles of the split."""
    cases = he_tile_cases(data_root, split, models_root)
    if cases is None:
        return None
    return {**_metrics(cases.labels, cases.probabilities, cases.groups), "cases": cases}
