"""How faithful is a map, and does it lie where it should? All measures of one explained picture.

MEASURES     name -> whether more is better
Case         one picture with its score, its baselines and, for CT, the reader's mask
floors()     the maps that any method must beat: random, and a bell at the centre
measured()   every map of a case by every measure

The measures themselves are in faithfulness_curves.py and localisation.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .contract.values import Array
from .faithfulness_curves import Removals, Score, blurred, curves, infidelity, mean_of, scored, sensitivity
from .localisation import best_iou, energy_inside, iou_at, mask_auroc, pointing_game

MEASURES = {
    "insertion_blur": True, "insertion_mean": True, "deletion_blur": False, "deletion_mean": False,
    "sensitivity_n": True, "infidelity": False, "pointing_game": True, "energy_inside": True, "mask_auroc": True,
    "iou_fixed": True, "iou_best": True,
}  # fmt: skip
RANDOM, CENTRE = "floor: random", "floor: centred Gaussian"
FLOORS = (RANDOM, CENTRE)
_BELL = 1 / 6  # its standard deviation, as a share of the picture's side: three of them reach the edge


@dataclass(frozen=True, eq=False)
class Case:
    """One picture whose answer is explained.

    Parameters
    ----------
    picture : float32 (channels, rows, columns), as the network sees it
    score : float32 (n, channels, rows, columns) -> (n,), probability of the target
    group : patient, or source field
    channels : those that may be erased; a prompt is not a part of the picture
    sigma_px : of the blur
    cell, steps : of the curves
    target : index of the logit that is explained
    region : bool (rows, columns), where the answer is given, for a segmentation; None for a class
    mask : bool (rows, columns), the reader's; None where there is none
    pixel_mm : of the picture's grid, where there is a mask
    label : what it truly is, where that is known
    """

    picture: Array
    score: Score
    group: str
    channels: tuple[int, ...]
    sigma_px: float
    cell: int
    steps: int
    target: int = 0
    region: Optional[Array] = None
    mask: Optional[Array] = None
    pixel_mm: float = 1.0
    label: str = ""


def floors(shape: tuple[int, int], seed: int) -> dict[str, Array]:
    """Maps (rows, columns) of nothing: noise from ``seed``, and a bell at the centre."""
    away = [(np.arange(n) - (n - 1) / 2) / (n * _BELL) for n in shape]
    bell = np.exp(-0.5 * (away[0][:, None] ** 2 + away[1][None] ** 2))
    return {RANDOM: np.random.default_rng(seed).random(shape), CENTRE: bell}


def measured(
    case: Case, maps: Mapping[str, Array], thresholds: Mapping[str, float], seed: int = 0
) -> dict[str, dict[str, float]]:  # fmt: skip
    """name of a map -> measure -> value.

    Parameters
    ----------
    maps : (rows, columns), on the picture's grid
    thresholds : share of its maximum at which a map is cut, by name; from other cases. Used where there is a mask
    seed : of lots and random sets; the same for all maps, so that they are compared on the same

    "whole" and "erased_blur", "erased_mean" are the target's probability of the picture and of nothing but the
    baseline: where that stays high, no map can score well in deletion, and insertion says little.
    """
    baselines = {
        "blur": blurred(case.picture, case.channels, case.sigma_px), "mean": mean_of(case.picture, case.channels)
    }  # fmt: skip
    ends = scored(np.stack([case.picture, *baselines.values()]), case.score)
    whole = float(ends[0])
    removals = Removals.drawn(case.picture, baselines["mean"], case.score, cell=case.cell, seed=seed)
    result = {}
    for name, values in maps.items():
        found = {"whole": whole}
        for (kind, baseline), nothing in zip(baselines.items(), ends[1:]):
            both = curves(
                values, case.picture, baseline, case.score, cell=case.cell, steps=case.steps, seed=seed,
                ends=(whole, float(nothing)),
            )  # fmt: skip
            found[f"erased_{kind}"] = float(nothing)
            found[f"deletion_{kind}"], found[f"insertion_{kind}"] = both.deletion_auc, both.insertion_auc
        found["sensitivity_n"] = sensitivity(values, removals)
        found["infidelity"] = infidelity(values, removals)
        if case.mask is not None:
            found["pointing_game"] = pointing_game(values, case.mask, case.pixel_mm)
            found["energy_inside"] = energy_inside(values, case.mask)
            found["mask_auroc"] = mask_auroc(values, case.mask)
            found["iou_fixed"] = iou_at(values, case.mask, thresholds[name])
            found["iou_best"] = best_iou(values, case.mask)
        result[name] = found
    return result
