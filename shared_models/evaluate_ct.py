"""Figures of the CT models on real nodules.

evaluate_ct_slices, evaluate_ct_cubes   Dice against one reader
evaluate_ct_malignancy                  AUROC against the readers' mean rating, beside the area alone; calibration
compared                                scores of the same nodules, and how far one is above others
evaluate_ct_series                      a whole series with tumour boxes: hit slices, false positives

Each returns None where ``data_root`` holds no data for it. Intervals are by bootstrap over patients; of one single
series there is no interval over patients, so the box slices are resampled and the card says so.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from . import ct_data
from .contract.values import Array
from .ct_neighbourhood import Prompt
from .ct_pipeline import CTModels, analyse_ct
from .ct_search import outlined
from .statistics import auroc, bootstrap_ci, brier, delong, ece_of_mass

SERIES = Path("lung_pet_ct_dx_dicom")
_MAX_XML = 1 << 20


def measure(of: Callable[[Array], float], groups: Array) -> dict[str, Any]:
    """{"value", "ci95"} of a statistic of an index array."""
    return {"value": float(of(np.arange(len(groups)))), "ci95": [float(x) for x in bootstrap_ci(of, groups)]}


def dice(found: Array, truth: Array) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else 1.0


def _dice_summary(scores: list[float], threshold: list[float], groups: Array) -> dict[str, Any]:
    values, plain = np.array(scores), np.array(threshold)
    return {
        "n": len(values),
        "patients": len(set(groups.tolist())),
        "dice_mean": measure(lambda i: float(values[i].mean()), groups),
        "dice_median": measure(lambda i: float(np.median(values[i])), groups),
        "baseline": {"threshold_dice_mean": measure(lambda i: float(plain[i].mean()), groups)},
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
    return outlined_at(models.network, hu, spacing_mm, np.array([(n - 1) / 2 for n in hu.shape]), models.device)


def outlined_at(
    network: Any, hu: Array, spacing_mm: tuple[float, float, float], point: Array, device: str = "cpu"
) -> Array:
    """What is segmented when a user points at ``point``; bool, shape of ``hu``, empty where no nodule is seen.

    ``spacing_mm`` is along (column, row, slice) index, ``hu`` and ``point`` (slices, rows, columns).
    """
    piece = outlined(network, hu, spacing_mm, Prompt(point, point), "point", device)
    mask = np.zeros(hu.shape, bool)
    if piece is not None:
        mask[piece.where] = piece.mask
    return mask


def evaluate_ct_slices(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Dice on one-slice patches, each on its native pixels, segmented from a point at its centre."""
    if not (data_root / ct_data.SLICES).is_dir():
        return None
    models, data = CTModels.load(models_root), ct_data.slices(data_root, split)
    scores, plain = [], []
    for hu, mask, pixel in zip(data.hu, data.mask, data.pixel_mm):
        scores.append(dice(pointed_at(hu[None], (pixel, pixel, 1.0), models)[0], mask))
        plain.append(dice(thresholded(hu), mask))
    return _dice_summary(scores, plain, data.patients)


def evaluate_ct_cubes(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Dice in 3D on 1 mm cubes, segmented from a point at the centre, as in a CT of 1 mm slices."""
    if not (data_root / ct_data.CUBES).is_dir():
        return None
    models, data = CTModels.load(models_root), ct_data.cubes(data_root, split)
    scores, plain = [], []
    for hu, mask in zip(data.hu, data.mask):
        scores.append(dice(pointed_at(hu, (1.0, 1.0, 1.0), models), mask))
        plain.append(dice(thresholded(hu), mask))
    return _dice_summary(scores, plain, data.patients)


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


def evaluate_ct_malignancy(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """AUROC with the network's outline, as on a real CT, and with the reader's; of the features and of the area alone.

    "over_area_only" is the difference to the area of the reader's outline: the bar that the model has to pass.
    Calibration is of the probability with the network's outline.
    """
    if not (data_root / ct_data.SLICES).is_dir():
        return None
    models, data = CTModels.load(models_root), ct_data.slices(data_root, split)
    kept, malignant = rated(data)
    model = models.malignancy
    scores: dict[str, list[float]] = {
        name: [] for name in ("own_mask", "reader_mask", "features_only", "network_only", "area_only", "area_own_mask")
    }
    for i in kept:
        pixel = (data.pixel_mm[i], data.pixel_mm[i])
        hu, mask = data.hu[i], data.mask[i]
        found = pointed_at(hu[None], (*pixel, 1.0), models)[0]
        scores["reader_mask"].append(model.of_slice(hu, mask, pixel))
        scores["area_only"].append(float(mask.sum()))
        scores["area_own_mask"].append(float(found.sum()))
        # A nodule that the network did not segment is not called malignant.
        evidence = model.evidence(hu, found, pixel) if found.any() else None
        scores["own_mask"].append(model.weighed(evidence) if evidence else 0.0)
        scores["features_only"].append(evidence.features if evidence else -np.inf)
        scores["network_only"].append(evidence.network if evidence else -np.inf)
    arrays = {name: np.array(values) for name, values in scores.items()}
    for name in ("area_only", "area_own_mask"):
        arrays[name] = arrays[name] * data.pixel_mm[kept] ** 2
    groups, p = data.patients[kept], arrays["own_mask"]
    result = compared(malignant, arrays, groups, "own_mask", ("area_only", "features_only"))
    result["auroc"] = result.pop("auroc_own_mask")
    result["brier"] = measure(lambda i: brier(malignant[i], p[i]), groups)
    result["ece"] = measure(lambda i: ece_of_mass(malignant[i], p[i]), groups)
    return result


def tumour_boxes(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """SOPInstanceUID to (first column, first row, last column, last row) of the Pascal VOC files below ``folder``."""
    boxes = {}
    for path in sorted(folder.rglob("*.xml")):
        if path.stat().st_size > _MAX_XML:
            continue
        box = ElementTree.fromstring(path.read_bytes()).find("./object/bndbox")
        if box is not None:
            xmin, ymin, xmax, ymax = (round(float(box.findtext(n) or "nan")) for n in ("xmin", "ymin", "xmax", "ymax"))
            boxes[path.stem] = (xmin, ymin, xmax, ymax)
    return boxes


def evaluate_ct_series(data_root: Path, split: str, models_root: Path) -> Optional[dict[str, Any]]:
    """Share of the box slices where the found mask meets the box, and pieces that meet no box; whole series.

    The series belongs to no split: it was never trained on.
    """
    from scipy import ndimage

    from .ct_reader import read_ct

    folders = sorted({path.parent for path in (data_root / SERIES).glob("*/*.dcm")})
    if not folders:
        return None
    models = CTModels.load(models_root)
    hits, groups, false = [], [], []
    for folder in folders:
        volume, _ = read_ct(folder)
        analysis = analyse_ct(volume, models)
        boxes = tumour_boxes(data_root / SERIES / "Annotation" / folder.name) or tumour_boxes(data_root / SERIES)
        labels = analysis.mask.labels
        truth = np.zeros(labels.shape, bool)
        for uid, k in slice_of(folder, volume.ijk_to_lps).items():
            if uid in boxes:
                x0, y0, x1, y1 = boxes[uid]
                truth[k, y0 : y1 + 1, x0 : x1 + 1] = True
                hits.append(bool((labels[k] > 0)[y0 : y1 + 1, x0 : x1 + 1].any()))
                groups.append(uid)
        found = ndimage.find_objects(labels)
        false.append(sum(not (truth[w] & (labels[w] == n)).any() for n, w in enumerate(found, 1) if w is not None))
    if not hits:
        return None
    hit, wrong = np.array(hits, float), np.array(false, float)
    return {
        "n": len(folders), "box_slices": len(hits),
        "box_hit": measure(lambda i: float(hit[i].mean()), np.array(groups)),
        "false_positives": measure(lambda i: float(wrong[i].mean()), np.arange(len(wrong))),
        "note": "box_hit is resampled over slices of the series; false positives are per series",
    }  # fmt: skip


def slice_of(folder: Path, ijk_to_lps: Array) -> dict[str, int]:
    """SOPInstanceUID to slice index, by position, of the DICOM files in ``folder``."""
    import pydicom

    from .geometry import lps_to_index

    found = {}
    for path in sorted(folder.rglob("*.dcm")):
        tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "ImagePositionPatient"])
        position = [float(v) for v in tags.ImagePositionPatient]
        found[str(tags.SOPInstanceUID)] = int(round(float(lps_to_index(ijk_to_lps, position)[2])))
    return found
