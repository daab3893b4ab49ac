"""The task "out_of_distribution" of ``lungxai evaluate``: false alarms on a split, and which foreign inputs are told.

COUNTS                           how many foreign inputs of each kind, unless --cases says otherwise
evaluate_out_of_distribution()   of H&E tiles and of CT nodules; shifted inputs are in the task "shift"

False alarms are inputs of the same kind as in training that are told as foreign; the rate is averaged within groups
(source fields, patients), then over them, with an interval over groups. Of foreign nodules that the malignancy model
would call malignant (0.5 or more) the share that is told is given apart: these are the ones that would mislead.
Vessels of the hilum are those of the real series, which belongs to no split, and of a drawn thorax (SYNTHETIC).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.values import Array
from .out_of_distribution import UNRELIABLE, false_alarms

COUNTS = {"tiles": 40, "beside": 120, "vessels": 24}
_COLUMNS = ["input", "n", "groups", "told as foreign", "95 % interval", "called malignant", "of these told as foreign"]


def _row(name: str, foreign: Array, groups: Array, malignant: Optional[Array] = None) -> dict[str, Any]:
    """Of one kind of input; ``foreign`` and ``malignant`` bool (n,)."""
    from .intervals import bootstrap_ci

    told = foreign.astype(float)

    def rate(i: Array) -> float:
        return false_alarms(told[i], groups[i], 0.5)

    value = rate(np.arange(len(told)))
    low, high = bootstrap_ci(rate, groups, n=1000) if len(set(groups.tolist())) > 1 else (float("nan"),) * 2
    found: dict[str, Any] = {"input": name, "n": len(told), "groups": len(set(groups.tolist())), "value": value,
                             "ci95": [low, high]}  # fmt: skip
    if malignant is not None:
        found |= {"malignant": int(malignant.sum()), "malignant_told": int((malignant & foreign).sum())}
    return found


def _tiles(data_root: Path, split: str, models_root: Path, count: int, seed: int) -> Optional[dict[str, Any]]:
    from .shift_foreign import foreign_tiles
    from .slide_data import read_tiles
    from .slide_pipeline import SlideModel

    tiles = read_tiles(data_root, split)
    if tiles is None or not len(tiles.labels):
        return None
    model = SlideModel.load(models_root)
    if not model.judges_reliability:
        return {"not_assessed": " ".join(model.notes)}

    def foreign(pixels: Array) -> Array:
        parts = [model.answers_with_reliability(pixels[i : i + 32])[:, -1] for i in range(0, len(pixels), 32)]
        return np.concatenate(parts) < UNRELIABLE

    rows = [_row(f"H&E tiles of the split {split} (false alarms)", foreign(tiles.pixels), tiles.groups)]
    for name, pixels in foreign_tiles(data_root, tiles.pixels, split, count, seed).items():
        rows.append(_row(name, foreign(pixels), np.arange(len(pixels))))
    return {"rows": rows, "sha256": model.provenance.weights_sha256}


def _nodules(data_root: Path, split: str, models_root: Path, counts: Any, seed: int) -> Optional[dict[str, Any]]:
    from . import ct_data
    from .ct_pipeline import CTModels
    from .fit_out_of_distribution import as_outlined, outline_of
    from .shift_foreign import Outlined, beside_nodules

    if not (data_root / ct_data.SLICES).is_dir():
        return None
    models = CTModels.load(models_root)
    model = models.malignancy
    if model.familiar is None:
        return {"not_assessed": model.why_not}
    data = ct_data.slices(data_root, split)

    def row(name: str, outlined: Sequence[Outlined]) -> dict[str, Any]:
        each = [model.assessed_slice(one.hu, one.mask, one.pixel_mm) for one in outlined]
        foreign = np.array([one.malignancy is None for one in each])
        called = np.array([one.probability >= 0.5 for one in each])
        return _row(name, foreign, np.array([one.group for one in outlined]), called)

    seen, masks = as_outlined(data, models.network)
    pixels = [(float(p), float(p)) for p in seen.pixel_mm]
    nodules = [Outlined(hu, m, p, str(g)) for hu, m, p, g in zip(seen.hu, masks, pixels, seen.patients)]
    rows = [row(f"nodules of the split {split} (false alarms)", nodules)]
    few = np.random.default_rng(seed).permutation(len(data.rows))[: counts["beside"]]
    some = ct_data.Nodules(data.hu[few], data.mask[few], tuple(data.rows[i] for i in few))
    rows.append(row("vessels and chest wall beside them", list(beside_nodules(some, outline_of(models.network), seed))))
    for name, found in _hilum(data_root, models.network, counts["vessels"], seed).items():
        if found:
            rows.append(row(name, found))
    return {"rows": rows, "sha256": model.bundle.weights_sha256}


def _hilum(data_root: Path, network: Any, count: int, seed: int) -> dict[str, list[Any]]:
    from .ct_reader import read_ct
    from .phantom import thorax
    from .shift_foreign import vessels
    from .tumour_boxes import series_folders, tumour_of

    drawn = thorax(seed)
    found = {"vessels of the hilum, drawn thorax (SYNTHETIC)":
             vessels(drawn.volume, network, "drawn", count // 2, seed, drawn.truth.labels > 0)}  # fmt: skip
    for folder in series_folders(data_root):
        volume, _ = read_ct(folder)
        tumour = tumour_of(data_root, folder, volume)
        found["vessels of the hilum, real series"] = vessels(volume, network, folder.name, count, seed, tumour)
    return found


def evaluate_out_of_distribution(
    data_root: Path, split: str, models_root: Path, cases: Optional[int] = None, seed: int = 0
) -> Optional[dict[str, Any]]:  # fmt: skip
    """The task; None where there is no data for it.

    Parameters
    ----------
    cases : of each foreign kind, instead of COUNTS; false alarms are always measured on the whole split
    """
    counts = dict(COUNTS) if cases is None else dict.fromkeys(COUNTS, cases)
    found = {
        "tiles": _tiles(data_root, split, models_root, counts["tiles"], seed),
        "nodules": _nodules(data_root, split, models_root, counts, seed),
    }  # fmt: skip
    kept = {name: one for name, one in found.items() if one is not None}
    if not kept:
        return None
    tables = [_table(name, one) for name, one in kept.items()]
    text = "\n\n".join(_markdown(table) for table in tables) + "\n"
    n = sum(row["n"] for one in kept.values() for row in one.get("rows", ()))
    return {"n": n, "split": split, "seed": seed, "models": kept, "tables": tables, "text": text}


def _table(name: str, found: dict[str, Any]) -> dict[str, Any]:
    title = {"tiles": "Foreign H&E tiles", "nodules": "Foreign nodules"}[name]
    columns = _COLUMNS[:5] if name == "tiles" else _COLUMNS
    rows = []
    for row in found.get("rows", ()):
        interval = "one group" if np.isnan(row["ci95"][0]) else "{:.3f} to {:.3f}".format(*row["ci95"])
        cells = [row["input"], str(row["n"]), str(row["groups"]), f"{row['value']:.3f}", interval]
        if "malignant" in row:
            cells += [str(row["malignant"]), str(row["malignant_told"])]
        rows.append(cells)
    note = found.get("not_assessed", "threshold set on validation, for false alarms in 5 % of its groups")
    return {"title": title, "columns": columns, "rows": rows, "note": note}


def _markdown(table: dict[str, Any]) -> str:
    lines = [f"**{table['title']}** ({table['note']})", "", "| " + " | ".join(table["columns"]) + " |",
             "|" + "---|" * len(table["columns"])]  # fmt: skip
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in table["rows"]])
