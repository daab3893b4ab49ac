"""The task "shift" of ``lungxai evaluate``: how right and how calibrated each model stays on shifted inputs.

COUNTS             how many cases of each kind, unless --cases says otherwise
measured()         accuracy, calibration error, Brier's score, log loss, and how many inputs are told as foreign
tile_curves()      of the H&E model, every shift at every grade, or at some
nodule_curves()    Dice of the segmentation and the malignancy model's AUROC and calibration, on single slices
cube_curves()      Dice in 3D under thick slices
evaluate_shift()   all of them, with what corrections win back (shift_remedies.py), as shift_table.py shows them

Every case is seen under every shift, so that curves are paired. Intervals are BCa bootstrap over groups: source fields,
patients. The strengths are in shift_slide.py and shift_ct.py. Nodules are segmented from a point in their middle; their
malignancy is rated with the reader's outline, so that its curve does not hold the segmentation's failures.
Calibration error of tiles is debiased (calibration_error.py); that of few cases has a wide interval all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from . import shift_ct, shift_slide
from .contract.values import CLASSES, Array
from .out_of_distribution import UNRELIABLE

COUNTS = {"tiles": 48, "nodules": 24, "cubes": 4}
GRADES = shift_slide.GRADES
_RESAMPLES = 500


def interval(of: Callable[[Array], float], groups: Array) -> dict[str, Any]:
    """{"value", "ci95"} of a statistic of an index array."""
    from .intervals import bca_ci

    low, high = bca_ci(of, groups, n=_RESAMPLES)
    return {"value": float(of(np.arange(len(groups)))), "ci95": [float(low), float(high)]}


def measured(truth: Array, probabilities: Array, groups: Array, foreign: Optional[Array] = None) -> dict[str, Any]:
    """Of one condition.

    Parameters
    ----------
    truth : int (n,), column that is right; probabilities : (n, k)
    groups : (n,), what is resampled
    foreign : bool (n,), told as out of distribution; None where that is not assessed
    """
    from .calibration_error import brier_multi, ece_debiased

    right, sure = probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)
    own = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1.0)
    found = {
        "accuracy": interval(lambda i: float(right[i].mean()), groups),
        "ece": interval(lambda i: ece_debiased(right[i], sure[i]), groups),
        "brier": interval(lambda i: brier_multi(truth[i], probabilities[i]), groups),
        "nll": interval(lambda i: float(-np.log(own[i]).mean()), groups),
    }
    if foreign is not None:
        found["foreign"] = interval(lambda i: float(foreign[i].mean()), groups)
    return found


def one_of_each(labels: Array, groups: Array, count: int, seed: int) -> Array:
    """Indices of ``count`` cases, each of another group, the labels in turn."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.sort(np.unique(groups[order], return_index=True)[1])]
    queues = [order[labels[order] == name] for name in np.unique(labels)]
    turns = [queue[k] for k in range(max(map(len, queues))) for queue in queues if k < len(queue)]
    return np.array(turns[:count], dtype=int)


def tile_curves(
    answers: Callable[[Array], tuple[Array, Optional[Array]]], pixels: Array, truth: Array, groups: Array, seed: int,
    grades: Sequence[int] = range(GRADES + 1),
) -> dict[str, dict[str, list[Any]]]:  # fmt: skip
    """shift -> measure -> one figure a grade.

    Parameters
    ----------
    answers : uint8 tiles -> probabilities (n, k), and bool (n,) which are foreign, or None
    pixels : uint8 (n, h, h, 3); truth : int (n,); groups : (n,)
    """
    plain = measured(truth, *_ordered(answers(pixels), groups)) if 0 in grades else None
    found: dict[str, dict[str, list[Any]]] = {}
    for name in shift_slide.SHIFTS:
        print(name, end=" ", file=sys.stderr, flush=True)
        rows = [
            plain if grade == 0 else
            measured(truth, *_ordered(answers(shift_slide.shifted(pixels, name, grade, seed)), groups))
            for grade in grades
        ]  # fmt: skip
        found[name] = {measure: [row[measure] for row in rows if row] for measure in (rows[0] or {})}
    return found


def _ordered(answer: tuple[Array, Optional[Array]], groups: Array) -> tuple[Array, Array, Optional[Array]]:
    return answer[0], groups, answer[1]


def slide_answers(model: Any) -> Callable[[Array], tuple[Array, Optional[Array]]]:
    """What tile_curves() asks, of a SlideModel."""
    columns = [CLASSES.index(name) for name in model.classes]

    def answers(pixels: Array) -> tuple[Array, Optional[Array]]:
        found = np.concatenate([model.answers_with_reliability(pixels[i : i + 32]) for i in range(0, len(pixels), 32)])
        foreign = found[:, -1] < UNRELIABLE if model.judges_reliability else None
        return found[:, columns].astype(np.float64), foreign

    return answers


def nodule_curves(models: Any, data: Any, kept: Array, seed: int) -> dict[str, dict[str, list[Any]]]:
    """shift -> "dice", and "foreign" where it is assessed -> one figure a grade; nodules ``kept`` of ct_data.slices."""
    from .evaluate_ct import dice
    from .fit_out_of_distribution import outline_of

    outline, middle = outline_of(models.network), (np.array(data.hu.shape[1:]) - 1) / 2
    groups = data.patients[kept]

    def dices(name: str, grade: int) -> dict[str, Any]:
        values = np.array([
            dice(outline(_shifted(data, i, name, grade, seed), float(data.pixel_mm[i]), middle), data.mask[i])
            for i in kept
        ])  # fmt: skip
        return interval(lambda i: float(values[i].mean()), groups)

    names = [name for name, shift in shift_ct.SHIFTS.items() if not shift.volumes_only]
    plain = dices(names[0], 0)
    return {name: {"dice": [plain, *(dices(name, grade) for grade in range(1, GRADES + 1))]} for name in names}


def _shifted(data: Any, index: int, name: str, grade: int, seed: int) -> Array:
    pixel = float(data.pixel_mm[index])
    return shift_ct.shifted(data.hu[index], name, grade, (1.0, pixel, pixel), seed * 100003 + int(index))


def malignancy_curves(model: Any, data: Any, kept: Array, malignant: Array, seed: int) -> dict[str, Any]:
    """shift -> "auroc", "ece", "brier", "nll", "foreign" -> one figure a grade; by the reader's outline."""
    from .calibration_error import ece_debiased
    from .statistics import auroc

    groups = data.patients[kept]

    def row(name: str, grade: int) -> dict[str, Any]:
        each = [
            model.assessed_slice(_shifted(data, i, name, grade, seed), data.mask[i], (float(data.pixel_mm[i]),) * 2)
            for i in kept
        ]  # fmt: skip
        p = np.array([one.probability for one in each])
        own = np.clip(np.where(malignant, p, 1 - p), 1e-7, 1)
        found = {
            "auroc": interval(lambda i: auroc(malignant[i], p[i]), groups),
            "ece": interval(lambda i: ece_debiased(malignant[i], p[i]), groups),
            "brier": interval(lambda i: float(((p[i] - malignant[i]) ** 2).mean()), groups),
            "nll": interval(lambda i: float(-np.log(own[i]).mean()), groups),
        }
        if model.familiar is not None:
            foreign = np.array([one.malignancy is None for one in each])
            found["foreign"] = interval(lambda i: float(foreign[i].mean()), groups)
        return found

    names = [name for name, shift in shift_ct.SHIFTS.items() if not shift.volumes_only]
    plain = row(names[0], 0)
    curves = {}
    for name in names:
        print(name, end=" ", file=sys.stderr, flush=True)
        rows = [plain, *(row(name, grade) for grade in range(1, GRADES + 1))]
        curves[name] = {measure: [one[measure] for one in rows] for measure in plain}
    return curves


def cube_curves(models: Any, data: Any, kept: Array, seed: int) -> dict[str, Any]:
    """ "slice_thickness" -> "dice" -> one figure a grade, of cubes of 1 mm."""
    from .evaluate_ct import dice, outlined_at

    middle = (np.array(data.hu.shape[1:]) - 1) / 2

    def row(grade: int) -> dict[str, Any]:
        values = []
        for i in kept:
            hu = shift_ct.shifted(data.hu[i], "slice_thickness", grade, (1.0, 1.0, 1.0), seed)
            found = outlined_at(models.network, hu, (1.0, 1.0, 1.0), middle, refine=models.refine)
            values.append(dice(found, data.mask[i]))
        array = np.array(values)
        return interval(lambda i: float(array[i].mean()), data.patients[kept])

    return {"slice_thickness": {"dice": [row(grade) for grade in range(GRADES + 1)]}}


def evaluate_shift(
    data_root: Path, split: str, models_root: Path, cases: Optional[int] = None, seed: int = 0,
    parts: Sequence[str] = ("tiles", "malignancy", "nodules", "cubes"),
) -> Optional[dict[str, Any]]:  # fmt: skip
    """The task "shift"; None where there is nothing to measure on.

    Parameters
    ----------
    cases : tiles and nodules, instead of COUNTS; quicker, with wider intervals. All rated nodules are taken for the
        malignancy where it is not given.
    parts : which models
    """
    from .shift_table import presented

    counts = dict(COUNTS) if cases is None else {"tiles": cases, "nodules": cases, "cubes": max(2, cases // 6)}
    found: dict[str, Any] = {}
    if "tiles" in parts:
        found |= _tiles(data_root, split, models_root, counts["tiles"], seed)
    if {"malignancy", "nodules", "cubes"} & set(parts):
        found |= _ct(data_root, split, models_root, counts, cases, seed, parts)
    if not found:
        return None
    result = {"n": sum(one["n"] for one in found.values()), "seed": seed, "split": split, "models": found}
    return {**result, **presented(result)}


def _tiles(data_root: Path, split: str, models_root: Path, count: int, seed: int) -> dict[str, Any]:
    from .shift_remedies import remedies
    from .slide_data import read_tiles
    from .slide_pipeline import SlideModel

    tiles = read_tiles(data_root, split)
    if tiles is None or not len(tiles.labels):
        return {}
    model = SlideModel.load(models_root)
    kept = one_of_each(tiles.labels, tiles.groups, count, seed)
    truth = np.array([model.classes.index(name) for name in tiles.labels[kept]])
    groups, pixels = tiles.groups[kept], tiles.pixels[kept]
    found = {"n": len(kept), "groups": len(set(groups)), "model": model.provenance.model_id,
             "weights_sha256": model.provenance.weights_sha256,
             "curves": tile_curves(slide_answers(model), pixels, truth, groups, seed)}  # fmt: skip
    more = remedies(model, data_root, pixels, truth, groups, seed)
    return {"tiles": {**found, "remedies": more}}


def _ct(
    data_root: Path, split: str, models_root: Path, counts: Any, cases: Optional[int], seed: int, parts: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    from . import ct_data
    from .ct_pipeline import CTModels
    from .evaluate_ct import rated

    found: dict[str, Any] = {}
    if not (data_root / ct_data.SLICES).is_dir():
        return found
    models = CTModels.load(models_root)
    said = {"weights_sha256": models.provenance[0].weights_sha256}
    data = ct_data.slices(data_root, split)
    if "malignancy" in parts:
        kept, malignant = rated(data)
        if cases is not None and cases < len(kept):
            chosen = np.sort(one_of_each(malignant.astype(int), data.patients[kept], cases, seed))
            kept, malignant = kept[chosen], malignant[chosen]
        curves = malignancy_curves(models.malignancy, data, kept, malignant, seed)
        found["malignancy"] = {"n": len(kept), "groups": len(set(data.patients[kept])), "curves": curves,
                               "weights_sha256": models.provenance[1].weights_sha256}  # fmt: skip
    if "nodules" in parts:
        kept = one_of_each(np.zeros(len(data.rows)), data.patients, counts["nodules"], seed)
        found["nodules"] = {"n": len(kept), "groups": len(kept), **said,
                            "curves": nodule_curves(models, data, kept, seed)}  # fmt: skip
    if "cubes" in parts and (data_root / ct_data.CUBES).is_dir():
        cubes = ct_data.cubes(data_root, split)
        kept = one_of_each(np.zeros(len(cubes.rows)), cubes.patients, counts["cubes"], seed)
        found["cubes"] = {"n": len(kept), "groups": len(kept), **said, "curves": cube_curves(models, cubes, kept, seed)}
    return found
