"""Fit the fusion's weights on composed cases of the split "val".

    python -m shared_models.train_fusion --data ../shared/data

The fold of each nodule patient, tile field and clinical patient is drawn; cases are composed within a fold, anew and
anew, at every strength of degraded tiles and with modalities missing, so that no pairing and no strength decides. The
penalty is chosen by cross-validation over the folds. Conformal sets are calibrated on independent cases of each fold,
with weights fitted without that fold. The split "test" is not read. Takes about five minutes on 2 cores.

recombined()   cases of the split, and the fold of each
trained()      what models/model.json holds
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .clinical import ClinicalModel
from .code_version import git_commit
from .composed_cohort import STRENGTHS, Drawn, drawn, without
from .composed_parts import Parts
from .conformal import fit as fit_conformal
from .contract.fusion_result import MODALITIES
from .contract.values import Array
from .ct_malignancy import BUNDLE as MALIGNANCY
from .ct_malignancy import WEIGHTS as MALIGNANCY_WEIGHTS
from .fusion_baselines import Stacking
from .fusion_card import write_bundle
from .fusion_cases import FusionCase
from .fusion_fit import chosen, fitted, fixed, log_odds, loss, named, of_cases
from .fusion_weights import FusionWeights
from .model_bundle import MODELS_ROOT

SPLIT = "val"  # the models themselves were fitted on "train" and calibrated on "val"
CLASSES_OF_COHORT = ("adenocarcinoma", "squamous_cell", "normal")
COVERAGE = 0.9
_FOLDS, _REPEATS = 5, 1  # repeats at each strength, and with and without missing modalities
_MISSING = 0.3


def _folds_of(parts: Parts, seed: int) -> tuple[Array, Array, Array]:
    """Fold of each nodule, tile and clinical patient; whole patients and fields stay together."""
    rng = np.random.default_rng(seed)

    def dealt(names: Array) -> Array:
        unique, place = np.unique(names, return_inverse=True)
        folds: Array = rng.permutation(np.arange(len(unique)) % _FOLDS)[place]
        return folds

    return dealt(parts.nodules.patients), dealt(parts.tiles.groups), dealt(parts.patients.patients)


def _drawn_in(parts: Parts, folds: tuple[Array, Array, Array], fold: int, seed: int, again: bool) -> list[Drawn]:
    """composed_cohort.drawn() of one fold's parts, as rows of the whole tables."""
    nodules, tiles, people = (np.flatnonzero(of == fold) for of in folds)
    held = drawn(
        parts.nodules.patients[nodules], parts.malignant[nodules], parts.tiles.groups[tiles],
        parts.tiles.labels[tiles], parts.patients.squamous[people], seed=seed, again=again,
    )  # fmt: skip
    return [
        replace(
            case, case_id=f"fold-{fold}-{seed}-{case.case_id}", nodule=int(nodules[case.nodule]),
            tile=int(tiles[case.tile]), patient=None if case.patient is None else int(people[case.patient]),
        )
        for case in held
    ]  # fmt: skip


def recombined(parts: Parts, folds: tuple[Array, Array, Array], seed: int) -> tuple[list[FusionCase], Array]:
    """Cases at every strength, half of them with modalities missing; and the fold of each."""
    cases: list[FusionCase] = []
    places: list[int] = []
    for fold in range(_FOLDS):
        for repeat in range(_REPEATS):
            for number, strength in enumerate(STRENGTHS):
                made_of = _drawn_in(parts, folds, fold, seed + 100 * repeat + number, again=True)
                found = parts.cases(made_of, strength)
                for part in (found, without(found, _MISSING, seed + repeat)):
                    cases += part
                    places += [fold] * len(part)
        print(f"fold {fold + 1} of {_FOLDS}: {len(cases)} cases", flush=True)
    return cases, np.array(places)


def _independent(parts: Parts, folds: tuple[Array, Array, Array], fold: int, seed: int) -> list[FusionCase]:
    """Cases of one fold that share no part, each of a strength that is drawn, with modalities missing."""
    made_of = _drawn_in(parts, folds, fold, seed, again=False)
    strengths = np.random.default_rng(seed + fold).choice(list(STRENGTHS), len(made_of))
    found = [parts.cases([case], str(strength))[0] for case, strength in zip(made_of, strengths)]
    return without(found, _MISSING, seed)


def trained(parts: Parts, clinical_model: ClinicalModel, seed: int) -> dict[str, Any]:
    """The numbers of the bundle, with what they were chosen by."""
    classes = CLASSES_OF_COHORT
    folds = _folds_of(parts, seed)
    malignancy = parts.ct.malignancy.bundle
    prevalence = float(json.loads(malignancy.path(MALIGNANCY_WEIGHTS).read_text())["prevalence"])
    cases, places = recombined(parts, folds, seed)
    table = of_cases(cases, clinical_model, prevalence, classes)
    penalty, losses = chosen(table, places)
    numbers = fitted(table, penalty)
    weights, exponents = named(numbers)
    probabilities, labels = [], []
    for fold in range(_FOLDS):
        left = of_cases(_independent(parts, folds, fold, seed), clinical_model, prevalence, classes)
        probabilities.append(np.exp(log_odds(left, fitted(table.part(places != fold), penalty))))
        labels.append(left.labels)
    held = fit_conformal(np.concatenate(probabilities), np.concatenate(labels), COVERAGE)
    threshold = max(0.0, 1.0 - held.thresholds[0])  # of 1 - probability; none where it is infinite
    return {
        "weights": weights, "reliability": exponents,
        "fitted_with": {
            "radiology": malignancy.weights_sha256,
            "pathology": parts.slide.provenance.weights_sha256,
            "clinical": clinical_model.provenance.weights_sha256,
        },
        "told_apart": {
            "radiology": ["cancer", "normal"], "pathology": list(classes), "clinical": list(classes[:2]),
        },
        "malignancy_prevalence": prevalence,
        "conformal": {
            "coverage": COVERAGE, "threshold": round(threshold, 6), "classes": list(classes), "n": held.cases,
        },
        "stacking": Stacking.fitted(table, places).numbers(),
        "fit": {
            "split": SPLIT, "cases": len(cases), "seed": seed, "folds": _FOLDS, "penalty": penalty,
            "loss_of_penalty": {str(p): round(v, 5) for p, v in losses.items()},
            "loss_of_fixed": round(float(np.mean([
                loss(table.part(places == fold), fixed()) for fold in range(_FOLDS)
            ])), 5),
            "parts": {
                "nodule_patients": len(set(parts.nodules.patients.tolist())),
                "tile_fields": len(set(parts.tiles.groups.tolist())), "clinical_patients": len(parts.patients.fields),
            },
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    parts = Parts.read(given.data, SPLIT, given.models)
    if parts is None:
        parser.error("the nodules, tiles and clinical tables are not below --data")
    own = trained(parts, ClinicalModel.load(given.models), given.seed)
    command = f"python -m shared_models.train_fusion --seed {given.seed}"
    write_bundle(given.models, own, {"commit": git_commit(), "seed": given.seed, "command": command})
    found = FusionWeights.load(given.models)
    print(json.dumps({name: own[name] for name in ("weights", "reliability", "conformal", "fit")}, indent=1))
    print(f"written: {found.provenance.model_id}, fitted to {', '.join(MODALITIES)} ({MALIGNANCY} on the CT side)")


if __name__ == "__main__":
    main()
