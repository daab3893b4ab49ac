"""Fit what tells foreign inputs: python -m shared_models.fit_out_of_distribution --data ../shared/data

    --model tiles|nodules   only this one; both otherwise
    --test                  measure afterwards: false alarms on the split test, and how many foreign inputs are told

Run it again whenever the weights of the H&E, the malignancy or the segmentation model are replaced: until then what
they see is "not assessed" in this respect. It takes about two minutes on a free processor
core.

Features and classes are those of the training split; the threshold is the one that FALSE_ALARMS of the validation
groups (source fields, patients) exceed. How many directions are kept was chosen on validation: 8 to 128 told foreign
tiles about equally well there, 16 to 128 foreign outlines. Of the four changed copies of a source field one is taken of
training, two of validation: more changed little there.
What is written lies in the model's own folder, see out_of_distribution.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np

from . import ct_data
from .code_version import git_commit
from .contract.values import Array
from .ct_malignancy import BUNDLE as NODULES
from .ct_pipeline import BUNDLE as SEGMENTATION
from .model_bundle import MODELS_ROOT
from .out_of_distribution import Score, at_rate, fitted, save, weights_of
from .slide_data import TileSet
from .slide_pipeline import BUNDLE as TILES

FALSE_ALARMS = 0.05  # share of validation groups that may exceed the threshold
TILE_DIRECTIONS, NODULE_DIRECTIONS = 32, 64
COPIES = {"train": 1, "val": 2}  # of each source field


def first_of_each(groups: Array, count: int) -> Array:
    """Indices, ascending, of the first ``count`` of each group (n,)."""
    order = np.argsort(groups, kind="stable")
    _, start, size = np.unique(groups[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(start, size)
    answer: Array = np.sort(order[place < count])
    return answer


def tile_features(model: Any, tiles: TileSet, kept: Array) -> Array:
    """float32 (n, d) of the tiles with index ``kept``; ``model`` is a SlideModel."""
    return np.concatenate([model.features(tiles.pixels[kept[i : i + 32]]) for i in range(0, len(kept), 32)])


def fit_tiles(data_root: Path, models_root: Path) -> Optional[tuple[Score, dict[str, Any]]]:
    """The score of the H&E model and what is told of it; None where there are no tiles."""
    from .slide_data import read_tiles
    from .slide_pipeline import SlideModel

    model, found = SlideModel.load(models_root), {}
    for split, copies in COPIES.items():
        tiles = read_tiles(data_root, split)
        if tiles is None or not len(tiles.labels):
            return None
        kept = first_of_each(tiles.groups, copies)
        found[split] = tile_features(model, tiles, kept), tiles.labels[kept], tiles.groups[kept]
    features, labels, groups = found["train"]
    score = fitted(features, labels, TILE_DIRECTIONS)
    score = at_rate(score, score.of(found["val"][0]), found["val"][2], FALSE_ALARMS)
    told = {"train": len(features), "train_groups": len(set(groups)), "val": len(found["val"][0]),
            "val_groups": len(set(found["val"][2])), "stain": model.card["lungxai"].get("stain")}  # fmt: skip
    return score, told


def outline_of(segmentation: Any) -> Callable[[Array, float, Array], Array]:
    """(HU patch, pixel mm, row and column of a point) -> bool patch: what the segmentation network sees there."""
    from .ct_neighbourhood import Prompt
    from .ct_search import outlined

    def outline(hu: Array, pixel: float, point: Array) -> Array:
        at = np.r_[0.0, point]
        # One turn, as the search does it: half the time, and nearly the same outline.
        piece = outlined(segmentation, hu[None], (pixel, pixel, 1.0), Prompt(at, at), "point", turns=1)
        mask = np.zeros((1, *hu.shape), bool)
        if piece is not None:
            mask[piece.where] = piece.mask
        return mask[0]

    return outline


def nodule_features(model: Any, data: ct_data.Nodules, masks: Any) -> Array:
    """float64 (n, 141) of nodules with these outlines (n, 71, 71), none empty; ``model`` is a MalignancyModel."""
    return np.array([
        model.described(hu, mask, (pixel, pixel))[1] for hu, mask, pixel in zip(data.hu, masks, data.pixel_mm)
    ])  # fmt: skip


def as_outlined(data: ct_data.Nodules, segmentation: Any) -> tuple[ct_data.Nodules, Array]:
    """The nodules that the segmentation recognises from a point in their middle, and its outlines (m, 71, 71)."""
    outline, middle = outline_of(segmentation), (np.array(data.hu.shape[1:]) - 1) / 2
    masks = np.array([outline(hu, pixel, middle) for hu, pixel in zip(data.hu, data.pixel_mm)])
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    rows = tuple(data.rows[i] for i in seen)
    return ct_data.Nodules(data.hu[seen], data.mask[seen], rows), masks[seen]


def rating_classes(data: ct_data.Nodules) -> Array:
    """int (n,): benign, uncertain, malignant, by the readers' mean."""
    mean = np.array([float(row["malignancy_mean"] or "nan") for row in data.rows])
    return np.where(mean > 3.5, 2, np.where(mean < 2.5, 0, 1))


def fit_nodules(data_root: Path, models_root: Path) -> Optional[tuple[Score, dict[str, Any]]]:
    """The score of the malignancy model; None where there are no nodules.

    Training nodules are outlined by the reader, validation nodules as at run time by the segmentation network, so that
    the threshold allows for the difference.
    """
    from .ct_pipeline import CTModels

    if not (data_root / ct_data.SLICES).is_dir():
        return None
    models = CTModels.load(models_root)
    train = ct_data.slices(data_root, "train")
    val, masks = as_outlined(ct_data.slices(data_root, "val"), models.network)
    features = nodule_features(models.malignancy, train, train.mask)
    score = fitted(features, rating_classes(train), NODULE_DIRECTIONS, standardise=True)
    score = at_rate(score, score.of(nodule_features(models.malignancy, val, masks)), val.patients, FALSE_ALARMS)
    told = {"train": len(features), "train_groups": len(set(train.patients)), "val": len(masks),
            "val_groups": len(set(val.patients))}  # fmt: skip
    return score, told


_FITS = {"tiles": (fit_tiles, TILES, (TILES,)), "nodules": (fit_nodules, NODULES, (NODULES, SEGMENTATION))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder of the data sets")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR", help="folder of the models")
    parser.add_argument("--model", action="append", choices=list(_FITS), help="only this one; may be repeated")
    parser.add_argument("--test", action="store_true", help="measure on the split test afterwards")
    given = parser.parse_args()
    for name in given.model or _FITS:
        fit, bundle, sources = _FITS[name]
        found = fit(given.data, given.models)
        if found is None:
            parser.error(f"the data of the {name} is not below {given.data}")
        score, told = found
        told |= {"commit": git_commit(), "command": "python -m shared_models.fit_out_of_distribution"}
        save(score, given.models / bundle, weights_of(given.models, *sources), told)
        print(json.dumps({"model": bundle, "threshold": score.threshold, **told}), flush=True)
    if given.test:
        from .evaluate_out_of_distribution import evaluate_out_of_distribution

        found = evaluate_out_of_distribution(given.data, "test", given.models)
        print(found["text"] if found else "There is nothing to measure on.")


if __name__ == "__main__":
    main()
