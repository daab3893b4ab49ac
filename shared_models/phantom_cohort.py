"""Synthetic cases through the real CT models: drawn chests, sampled clinical fields, and real tiles half unreadable.

phantom_cases()   two cases for each tile field of a split: its tile as it is, and severely degraded
LABEL             what every table says of them

The chest is phantom.thorax() with nodules whose diameters are drawn from those of LIDC's training patients, malignant
ones for the two cancers and benign ones for normal; each is outlined from a point at its middle and rated as on a real
CT. A phantom's malignant nodule differs from a benign one in size, and in strands if it is large: no more. There is no
drawing of squamous tissue, so the tiles are real ones of the split. The clinical fields of a cancer are drawn field by
field from the training patients of its type: they are nobody's. Normal cases have none.

Declared before it was measured: that half of the biopsies cannot be read is the scenario, not a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from . import ct_data
from .clinical_data import read_cases
from .composed_parts import Parts, radiology_on
from .contract.errors import BadGeometry
from .contract.results import RadiologyResult
from .contract.values import Array, ClinicalFields
from .evaluate_ct import rated
from .fusion_cases import FusionCase

LABEL = "phantom: drawn CT, sampled clinical fields, real tiles of which half are unreadable"
TILE_STRENGTHS = ("none", "severe")
_A_CHEST = 6  # nodules
_SMALLEST_MM, _LARGEST_MM = 4.0, 28.0


def phantom_cases(parts: Parts, data_root: Path, seed: int = 0) -> list[FusionCase]:
    """Cases of the split of ``parts``, grouped by tile field; the same seed gives the same cases."""
    rng = np.random.default_rng(seed)
    tiles, labels, groups = [], [], []
    for name in np.unique(parts.tiles.groups):
        rows = np.flatnonzero(parts.tiles.groups == name)
        tiles.append(int(rng.choice(rows)))
        labels.append(str(parts.tiles.labels[rows[0]]))
        groups.append(str(name))
    radiology = _radiology(parts, _diameters(data_root, [label != "normal" for label in labels], rng), rng)
    fields = {name: _known(data_root, name) for name in set(labels) - {"normal"}}
    cases = []
    for strength in TILE_STRENGTHS:
        for place, pathology in enumerate(parts.pathology(tiles, strength)):
            label = labels[place]
            clinical = None if label == "normal" else _sampled(fields[label], rng)
            cases.append(
                FusionCase(
                    f"{groups[place]}-{strength}", groups[place], label, radiology[place][0], pathology[0], clinical,
                    radiology[place][1], pathology[1],
                    {"radiology": "phantom", "pathology": f"{parts.tiles.files[tiles[place]]}, {strength}"},
                )
            )  # fmt: skip
    return cases


def _diameters(data_root: Path, malignant: Sequence[bool], rng: np.random.Generator) -> Array:
    """mm, (n,), drawn from the training nodules that readers rate so."""
    train = ct_data.slices(data_root, "train")
    kept, bad = rated(train)
    size = np.array([float(train.rows[i]["equiv_diam_mm"]) for i in kept])
    return np.array([np.clip(rng.choice(size[bad == m]), _SMALLEST_MM, _LARGEST_MM) for m in malignant])


def _radiology(parts: Parts, diameters: Array, rng: np.random.Generator) -> list[tuple[RadiologyResult, ...]]:
    """Calibrated and raw, of a planted nodule of each diameter; several lie in one chest, each is a case."""
    from .phantom import Wanted, thorax

    found: dict[int, tuple[RadiologyResult, ...]] = {}
    waiting = list(np.arange(len(diameters)))
    chest = int(rng.integers(1 << 30))
    at_once = _A_CHEST
    while waiting:
        # The largest first, while there is room for it.
        part = sorted(waiting[:at_once], key=lambda i: -diameters[i])
        wanted = [
            Wanted(float(diameters[i]), 35.0, side="right" if place % 2 else "left") for place, i in enumerate(part)
        ]
        chest += 1
        try:
            phantom = thorax(chest, wanted)
        except BadGeometry:
            if at_once == 1:
                raise
            at_once -= 1
            continue
        waiting, at_once = waiting[at_once:], _A_CHEST
        for i, nodule in zip(part, phantom.nodules):
            found[int(i)] = radiology_on(parts.ct, phantom.volume, nodule.centre_lps_mm)
    return [found[i] for i in range(len(diameters))]


def _known(data_root: Path, label: str) -> dict[str, list[Any]]:
    """Each clinical field to the values, None among them, that the training patients of a type have."""
    held = read_cases(data_root, "train")
    assert held is not None
    chosen = [f for f, s in zip(held.fields, held.squamous) if s == (label == "squamous_cell")]
    return {name: [getattr(f, name) for f in chosen] for name in ("age_years", "sex", "smoking", "pack_years")}


def _sampled(known: dict[str, list[Any]], rng: np.random.Generator) -> ClinicalFields:
    """Fields of nobody: each drawn by itself, but a never-smoker has no pack-years."""
    drawn = {name: values[int(rng.integers(len(values)))] for name, values in known.items()}
    packs: Optional[float] = None if drawn["smoking"] == "never" else drawn["pack_years"]
    return ClinicalFields(drawn["age_years"], drawn["sex"], drawn["smoking"], packs)
