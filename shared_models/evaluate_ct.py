"""Figures of the CT models on real nodules.

overlap_cases, malignancy_cases         nodule by nodule, read one at a time; what cannot be used is left out
evaluate_ct_slices, evaluate_ct_cubes   Dice against one reader
evaluate_ct_malignancy                  AUROC against the readers' mean rating, beside the area alone; calibration
compared                                scores of the same nodules, and how far one is above others
evaluate_ct_series                      a whole series with tumour boxes: hit slices, false positives

Each returns None where ``data_root`` holds no data for it. Intervals are by bootstrap over patients; of one single
series there is no interval over patients, so the box slices are resampled and the card says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from . import ct_data
from .contract.errors import LungXAIError
from .contract.values import Array
from .ct_neighbourhood import Prompt
from .ct_pipeline import CTModels, analyse_ct
from .ct_search import outlined
from .evidence_cases import PART, Cases, Exclusion
from .evidence_reading import Nodule, nodules
from .evidence_strata import contact_class, density_class, diameter_mm, rating_class, size_class
from .statistics import auroc, bootstrap_ci, brier, delong, ece_of_mass
from .tumour_boxes import series_folders, tumour_of


def measure(of: Callable[[Array], float], groups: Array) -> dict[str, Any]:
    """{"value", "ci95"} of a statistic of an index array."""
    return {"value": float(of(np.arange(len(groups)))), "ci95": [float(x) for x in bootstrap_ci(of, groups)]}


def dice(found: Array, truth: Array) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else 1.0


def _dice_summary(cases: Cases) -> dict[str, Any]:
    values, plain, groups = cases.values["Dice"], cases.rivals["threshold at the point"], cases.groups
    return {
        "n": len(values),
        "patients": len(set(groups.tolist())),
        "dice_mean": measure(lambda i: float(values[i].mean()), groups),
        "dice_median": measure(lambda i: float(np.median(values[i])), groups),
        "baseline": {"threshold_dice_mean": measure(lambda i: float(plain[i].mean()), groups)},
        "cases": cases,
    }


def thresholded(hu: Array) -> Array:
    """The baseline: the piece over -400 HU at the centre of a patch or cube, opened by one voxel."""
    from scipy import ndimage

    dense = ndimage.binary_opening(hu > -400)
    marks, count = ndimage.label(dense)
    if not count:
        return np.zeros(hu.shape, bool)
    places = np.argwhere(marks > 0)
    centre = places[np.linalg.norm(places - np.array(hu.shape) / 2, axis=1).argmin()]
    result: Array = marks == marks[tuple(centre)]
    return result


def pointed_at(hu: Array, spacing_mm: tuple[float, float, float], models: CTModels) -> Array:
    """The nodule as it is segmented when a user points at the middle of a patch or cube; bool, shape of ``hu``.

    Patches are centred on their nodule, and may hold another one that the reader did not mark.
    """
    middle = np.array([(n - 1) / 2 for n in hu.shape])
    return outlined_at(models.network, hu, spacing_mm, middle, models.device, models.refine)


def outlined_at(
    network: Any, hu: Array, spacing_mm: tuple[float, float, float], point: Array, device: str = "cpu",
    refine: Optional[Any] = None,
) -> Array:  # fmt: skip
    """What is segmented when a user points at ``point``; bool, shape of ``hu``, empty where no nodule is seen.

    ``spacing_mm`` is along (column, row, slice) index, ``hu`` and ``point`` (slices, rows, columns); ``refine`` is of
    ct_refine, or None.
    """
    piece = outlined(network, hu, spacing_mm, Prompt(point, point), "point", device, refine=refine)
    mask = np.zeros(hu.shape, bool)
    if piece is not None:
        mask[piece.where] = piece.mask
    return mask


def _strata(nodule: Nodule) -> dict[str, str]:
    row = nodule.row
    return {
        "size": size_class(diameter_mm(nodule.mask, nodule.pixel_mm)),
        "density": density_class(row.number("texture")),
        "contact": contact_class(nodule.hu, nodule.mask, nodule.pixel_mm),
        "subtlety": rating_class(row.number("subtlety")),
        "margin": rating_class(row.number("margin")),
    }


def _columns(rows: list[dict[str, str]]) -> dict[str, Array]:
    return {name: np.array([row[name] for row in rows], dtype=str) for name in rows[0]}


def overlap_cases(kind: str, data_root: Path, split: str, models_root: Path) -> Optional[Cases]:
    """Dice of every patch ("slices") or cube ("cubes") of the split, segmented from a point at its centre.

    None where there is no table of them, or none can be used.
    """
    if not (data_root / (ct_data.SLICES if kind == "slices" else ct_data.CUBES)).is_dir():
        return None
    models = CTModels.load(models_root)
    ids, groups, scores, plain, strata, exclusions = [], [], [], [], [], []
    for nodule in nodules(data_root, kind, split):
        if isinstance(nodule, Exclusion):
            exclusions.append(nodule)
            continue
        flat = nodule.hu.ndim == 2
        hu, mask = (part[None] if flat else part for part in (nodule.hu, nodule.mask))
        try:
            found = pointed_at(hu, (nodule.pixel_mm, nodule.pixel_mm, 1.0), models)
        except LungXAIError as fault:
            exclusions.append(Exclusion(nodule.row.case, fault.message))
            continue
        scores.append(dice(found, mask))
        plain.append(dice(thresholded(nodule.hu), nodule.mask))
        ids.append(nodule.row.case)
        groups.append(nodule.row.group)
        strata.append(_strata(nodule))
    if not ids:
        return None
    return Cases(
        f"ct_{kind}", split, "nodule", "patient", np.array(ids), np.array(groups), (), np.empty(0, int),
        np.empty((len(ids), 0)), {"Dice": np.array(scores)}, {"threshold at the point": np.array(plain)},
        _columns(strata), tuple(exclusions),
        notes=("Against one reader's outline, not a consensus; segmented from a point at the nodule's centre.",),
    )  # fmt: skip


def evaluate_ct_slices(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Dice on one-slice patches, each on its native pixels, segmented from a point at its centre."""
    cases = overlap_cases("slices", data_root, split, models_root)
    return None if cases is None else _dice_summary(cases)


def evaluate_ct_cubes(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Dice in 3D on 1 mm cubes, segmented from a point at the centre, as in a CT of 1 mm slices."""
    cases = overlap_cases("cubes", data_root, split, models_root)
    return None if cases is None else _dice_summary(cases)


def rated(data: ct_data.Nodules) -> tuple[Array, Array]:
    """Indices of nodules with a mean rating over 3.5 or under 2.5, and whether it is over."""
    mean = np.array([float(row["malignancy_mean"] or "nan") for row in data.rows])
    kept = np.flatnonzero((mean > 3.5) | (mean < 2.5))
    return kept, mean[kept] > 3.5


def compared(
    truth: Array, scores: Mapping[str, Array], groups: Array, main: str, against: Sequence[str]
) -> dict[str, Any]:
    """AUROC of every score (n,), and what ``main`` is better than each of ``against`` by, with DeLong's p.

    The interval of a difference is by bootstrap over ``groups`` (n,), which DeLong's test does not know of.
    """
    result: dict[str, Any] = {
        "n": len(truth), "malignant": int(truth.sum()), "patients": len(set(groups.tolist())),
    }  # fmt: skip
    for name, score in scores.items():
        result[f"auroc_{name}"] = measure(lambda i, s=score: auroc(truth[i], s[i]), groups)
    for name in against:
        a, b = scores[main], scores[name]
        difference = measure(lambda i, a=a, b=b: auroc(truth[i], a[i]) - auroc(truth[i], b[i]), groups)
        result[f"over_{name}"] = {**difference, "p_delong": delong(truth, a, b)[1]}
    return result


BENIGN, MALIGNANT = 2.5, 3.5  # mean ratings below and above which a nodule counts
_SCORES = ("own_mask", "reader_mask", "features_only", "network_only", "area_only", "area_own_mask")
_RIVALS = {
    "area of the reader's outline alone": "area_only", "area of the network's outline alone": "area_own_mask",
    f"{PART}measurements alone": "features_only", f"{PART}network alone": "network_only",
}  # fmt: skip


def _malignancy_scores(nodule: Nodule, models: CTModels) -> dict[str, float]:
    hu, mask, pixel = nodule.hu, nodule.mask, (nodule.pixel_mm, nodule.pixel_mm)
    model = models.malignancy
    found = pointed_at(hu[None], (*pixel, 1.0), models)[0]
    # A nodule that the network did not segment is not called malignant.
    evidence = model.evidence(hu, found, pixel) if found.any() else None
    return {
        "own_mask": model.weighed(evidence) if evidence else 0.0,
        "reader_mask": model.of_slice(hu, mask, pixel),
        "features_only": evidence.features if evidence else -np.inf,
        "network_only": evidence.network if evidence else -np.inf,
        "area_only": float(mask.sum()) * nodule.pixel_mm**2,
        "area_own_mask": float(found.sum()) * nodule.pixel_mm**2,
    }


def malignancy_cases(data_root: Path, split: str, models_root: Path) -> Optional[Cases]:
    """Every rated nodule of the split, with the network's outline as on a real CT; "values" has every score.

    A nodule whose mean rating is between BENIGN and MALIGNANT, or missing, is left out.
    """
    if not (data_root / ct_data.SLICES).is_dir():
        return None
    models = CTModels.load(models_root)
    ids, groups, truth, strata, exclusions = [], [], [], [], []
    scores: dict[str, list[float]] = {name: [] for name in _SCORES}
    for nodule in nodules(data_root, "slices", split):
        if isinstance(nodule, Exclusion):
            exclusions.append(nodule)
            continue
        row, rating = nodule.row, nodule.row.number("malignancy_mean")
        if not (rating < BENIGN or rating > MALIGNANT):
            said = "no rating" if rating != rating else f"a mean rating between {BENIGN} and {MALIGNANT}"
            exclusions.append(Exclusion(row.case, f"{said} of malignancy"))
            continue
        try:
            answer = _malignancy_scores(nodule, models)
        except LungXAIError as fault:
            exclusions.append(Exclusion(row.case, fault.message))
            continue
        for name, value in answer.items():
            scores[name].append(value)
        ids.append(row.case)
        groups.append(row.group)
        truth.append(rating > MALIGNANT)
        strata.append(_strata(nodule))
    if not ids:
        return None
    arrays = {name: np.array(values) for name, values in scores.items()}
    p = arrays["own_mask"]
    return Cases(
        "ct_malignancy", split, "nodule", "patient", np.array(ids), np.array(groups), ("benign", "malignant"),
        np.array(truth, dtype=int), np.stack([1 - p, p], axis=1), arrays,
        {said: arrays[name] for said, name in _RIVALS.items()}, _columns(strata), tuple(exclusions),
        notes=(
            f"Malignant as LIDC's readers rate it (mean over {MALIGNANT} against under {BENIGN}), not histology; "
            "nodules rated between are left out, so real nodules are harder.",
        ),
    )  # fmt: skip


def evaluate_ct_malignancy(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """AUROC with the network's outline, as on a real CT, and with the reader's; of the features and of the area alone.

    "over_area_only" is the difference to the area of the reader's outline: the bar that the model has to pass.
    Calibration is of the probability with the network's outline.
    """
    cases = malignancy_cases(data_root, split, models_root)
    if cases is None:
        return None
    malignant, groups, p = cases.labels == 1, cases.groups, cases.probabilities[:, 1]
    result = compared(malignant, cases.values, groups, "own_mask", ("area_only", "features_only"))
    result["auroc"] = result.pop("auroc_own_mask")
    result["brier"] = measure(lambda i: brier(malignant[i], p[i]), groups)
    result["ece"] = measure(lambda i: ece_of_mass(malignant[i], p[i]), groups)
    return {**result, "cases": cases}


def evaluate_ct_series(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Share of the box slices where the found mask meets the box, and pieces that meet no box; whole series.

    The series belongs to no split: it was never trained on.
    """
    from scipy import ndimage

    from .ct_reader import read_ct

    folders = series_folders(data_root)
    if not folders:
        return None
    models = CTModels.load(models_root)
    hits, false = [], []
    for folder in folders:
        volume, _ = read_ct(folder)
        labels = analyse_ct(volume, models).mask.labels
        truth = tumour_of(data_root, folder, volume)
        hits += [bool((labels[k][truth[k]] > 0).any()) for k in np.flatnonzero(truth.any(axis=(1, 2)))]
        found = ndimage.find_objects(labels)
        false.append(sum(not (truth[w] & (labels[w] == n)).any() for n, w in enumerate(found, 1) if w is not None))
    if not hits:
        return None
    hit, wrong = np.array(hits, float), np.array(false, float)
    return {
        "n": len(folders), "box_slices": len(hits),
        "box_hit": measure(lambda i: float(hit[i].mean()), np.arange(len(hit))),
        "false_positives": measure(lambda i: float(wrong[i].mean()), np.arange(len(wrong))),
        "note": "box_hit is resampled over slices of the series; false positives are per series",
    }  # fmt: skip
