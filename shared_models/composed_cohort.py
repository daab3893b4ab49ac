"""Composed cases: a nodule, a tile and clinical fields of DIFFERENT people, matched by class. No patient is whole here.

drawn()      which nodule, tile and patient make which case: labels alone, no model is asked
Drawn        one such case
VERSIONS     how the cohort is made harder; declared, with STRENGTHS, before any of it was measured on the split "test"
STRENGTHS    how tiles are degraded
degraded()   tiles of a strength
without()    a case with modalities missing at random

adenocarcinoma   a nodule that LIDC's readers rate malignant, a tile of LC25000's adenocarcinoma, fields of TCGA-LUAD
squamous_cell    the same with LC25000's squamous cell tiles and TCGA-LUSC
normal           a nodule rated benign, a tile of benign lung, and no clinical fields: there is no such table

No part leaves its split. In the independent cohort every nodule patient, tile field and clinical patient is used at
most once, so that the cases are independent; there are as many as the scarcest part allows. Of a patient one nodule, of
a field one tile: what a small biopsy gives. "nodules used again" takes every tile field once, and nodule patients as
often as needed; its cases stay together by nodule patient, their only shared part.

Only cancers have clinical fields, so that their absence would give the label away to whatever looks at it. The pool
does not: a missing modality has no term in it. The version "borrowed" shows it: there the normal cases have the fields
of TCGA patients whom no other case uses, of both types alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from .contract.values import Array, ClinicalFields
from .fusion_cases import FusionCase

TYPES = ("adenocarcinoma", "squamous_cell")
LABEL = "composed: CT, tile and clinical fields are of different people"
# Name -> (strength of the tiles' degradation, share of each modality that is missing, normals borrow fields)
VERSIONS: dict[str, tuple[str, float, bool]] = {
    "clean": ("none", 0.0, False),
    "degraded": ("strong", 0.0, False),
    "missing": ("none", 0.3, False),
    "borrowed": ("none", 0.0, True),
}
# Gaussian blur (px of 0.9 um), haematoxylin and eosin (gains in the space of slide_augmentation.restained), JPEG
# quality. Chosen on the split "val": there the tile model of version 0.1.0 is right in 0.97, 0.94 and 0.93 of the tiles
# and 0, 2 and 15 % of them are too blurred to be looked at.
STRENGTHS: dict[str, Optional[tuple[float, float, float, int]]] = {
    "none": None, "medium": (1.5, 0.7, 1.3, 40), "strong": (3.0, 0.7, 1.3, 30), "severe": (5.0, 0.6, 1.4, 20),
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """``nodule``, ``tile``, ``patient``: rows of the split's tables; ``patient`` is None where there are no fields."""

    case_id: str
    group: str
    label: str
    nodule: int
    tile: int
    patient: Optional[int]


def drawn(
    nodule_patients: Array, malignant: Array, tile_groups: Array, tile_labels: Array, squamous: Array, *,
    seed: int = 0, again: bool = False, borrowed: bool = False,
) -> list[Drawn]:  # fmt: skip
    """Cases of one split.

    Parameters
    ----------
    nodule_patients, malignant : (n,) patient, and whether readers rate it malignant; nodules in between are left out
    tile_groups, tile_labels : (m,) source field and class
    squamous : (p,) bool, of the clinical patients
    seed : which part meets which
    again : take every tile field, and nodules as often as needed
    borrowed : give the normal cases fields of patients that are left over, of both types alike
    """
    rng = np.random.default_rng(seed)
    with_cancer = set(nodule_patients[malignant].tolist())
    rated = {
        True: _one_each(nodule_patients, malignant, rng),
        False: _one_each(nodule_patients, np.array([p not in with_cancer for p in nodule_patients]), rng),
    }
    tiles = {name: _one_each(tile_groups, tile_labels == name, rng) for name in (*TYPES, "normal")}
    people = {name: rng.permutation(np.flatnonzero(squamous == (name == "squamous_cell"))).tolist() for name in TYPES}
    counts = {name: min(len(tiles[name]), len(people[name])) for name in TYPES} | {"normal": len(tiles["normal"])}
    if not again:
        half = len(rated[True]) // 2
        counts["squamous_cell"] = min(counts["squamous_cell"], half)
        counts["adenocarcinoma"] = min(counts["adenocarcinoma"], len(rated[True]) - counts["squamous_cell"])
        # Not more of one type than of the other, but for an odd one.
        counts["adenocarcinoma"] = min(counts["adenocarcinoma"], counts["squamous_cell"] + 1)
        counts["normal"] = min(counts["normal"], len(rated[False]))
    cases: list[Drawn] = []
    used = {True: 0, False: 0}
    for name, count in counts.items():
        cancer = name != "normal"
        if count and not rated[cancer]:
            continue
        for place in range(count):
            nodule = rated[cancer][used[cancer] % len(rated[cancer])]
            used[cancer] += 1
            patient = people[name][place] if cancer else None
            cases.append(
                Drawn(f"{name}-{place:03d}", str(nodule_patients[nodule]), name, nodule, tiles[name][place], patient)
            )
    return _borrowing(cases, people, counts) if borrowed else cases


def _one_each(groups: Array, kept: Array, rng: np.random.Generator) -> list[int]:
    """One row, drawn, of each group among the rows that are kept; the groups in an order that is drawn too."""
    names = rng.permutation(np.unique(groups[kept]))
    return [int(rng.choice(np.flatnonzero(kept & (groups == name)))) for name in names]


def _borrowing(cases: list[Drawn], people: dict[str, list[int]], counts: dict[str, int]) -> list[Drawn]:
    rest = {name: people[name][counts[name] :] for name in TYPES}
    pairs = [index for both in zip(rest[TYPES[0]], rest[TYPES[1]]) for index in both]
    changed, place = [], 0
    for case in cases:
        if case.label == "normal" and place < len(pairs):
            case, place = replace(case, patient=pairs[place]), place + 1
        changed.append(case)
    return changed


def degraded(pixels: Array, strength: str) -> Array:
    """Tiles out of focus, of another laboratory's stain, and compressed.

    Parameters
    ----------
    pixels : uint8 (n, h, w, 3)
    strength : of STRENGTHS
    """
    change = STRENGTHS[strength]
    if change is None:
        return pixels
    import torch
    from scipy.ndimage import gaussian_filter

    from .slide_augmentation import jpeg, restained

    sigma, haematoxylin, eosin, quality = change
    gain, offset = torch.tensor([[haematoxylin, eosin, 1.0]]), torch.zeros(1, 3)
    made = []
    for tile in pixels:
        soft = torch.from_numpy(gaussian_filter(tile.astype(np.float32), (sigma, sigma, 0)))
        stained = restained(soft.permute(2, 0, 1)[None], gain, offset)[0].permute(1, 2, 0)
        made.append(jpeg(stained.round().clamp(0, 255).to(torch.uint8).numpy(), quality))
    return np.stack(made) if made else pixels


def without(cases: Sequence[FusionCase], share: float, seed: int = 0) -> list[FusionCase]:
    """Each modality of each case missing with probability ``share``; where CT and slide would both be, both stay.

    What is missing depends on the case's name and the seed alone, not on its class or its results: so that the rule
    for cases that would have nothing does not look at the clinical fields, which only cancers have.
    """
    changed = []
    for case in cases:
        digest = hashlib.sha256(f"{seed} {case.case_id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        radiology, pathology, clinical = (rng.random() >= share for _ in range(3))
        if not (radiology or pathology):
            radiology = pathology = True
        changed.append(
            replace(
                case,
                radiology=case.radiology if radiology else None,
                pathology=case.pathology if pathology else None,
                clinical=case.clinical if clinical else None,
                raw_radiology=case.raw_radiology if radiology else None,
                raw_pathology=case.raw_pathology if pathology else None,
            )
        )
    return changed


def fields_of(patient: Optional[int], fields: Sequence[ClinicalFields]) -> Optional[ClinicalFields]:
    """The clinical fields of a drawn case."""
    return None if patient is None else fields[patient]
