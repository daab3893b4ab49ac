"""Make the malignancy bundle: python -m shared_models.package_malignancy --data ../shared/data --run out/malignancy

RUN is what train_malignancy wrote. The logistic regression over the features is fitted here on the training split, both
models are weighed on the validation split (maximum likelihood, which calibrates them too). Folds that RUN holds are
measured by the same recipe on the training patients that each left out. "docs/tried.md" of the bundle is kept by hand
and goes into the card. With --test the test split is measured, once,
for the card; without, the card says that it was not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .calibration import sigmoid
from .code_version import git_commit
from .contract.values import Array
from .ct_malignancy import BUNDLE, NAMES, NETWORK, WEIGHTS, features
from .ct_malignancy_card import card, metadata
from .ct_malignancy_network import MALIGNANT, NODULE, MalignancyNetwork, restored, saved
from .ct_malignancy_samples import Pool, as_seen
from .evaluate_ct import compared, evaluate_ct_malignancy, rated
from .model_bundle import MODELS_ROOT, sha256_of
from .statistics import auroc, of_two_classes
from .train_malignancy import logits_of, pool_of
from .training_folds import folds_of
from .training_record import configuration, tried

_LEAST_NODULE = 0.02  # share of validation nodules that look less like a nodule than the bar
_LICENSE = """The weights in this folder are under the Creative Commons Attribution 4.0 International licence
(https://creativecommons.org/licenses/by/4.0/). They were made from LIDC-IDRI, Armato et al. 2011,
doi 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0.
"""


class Rated:
    """Nodules of a pool rated over 3.5 or under 2.5: features and images, by reader's and by network's outline."""

    def __init__(self, pool: Pool) -> None:
        kept, self.malignant = rated(pool.data)
        self.index = kept
        masks = {"reader": pool.data.mask[kept], "network": np.array([pool.own(i) for i in kept])}
        self.seen = {name: as_seen(pool.data, m, kept) for name, m in masks.items()}
        pixel, hu = pool.data.pixel_mm[kept], pool.data.hu[kept]
        self.rows = {
            name: np.array([features(h, m, (p, p)) for h, m, p in zip(hu, each, pixel)])
            for name, each in masks.items()
        }
        self.area = np.array([m.sum() * p**2 for m, p in zip(masks["reader"], pixel)])
        self.patients = pool.data.patients[kept]


def fitted(rows: Array, malignant: Array, held: Array, truth: Array, seed: int) -> dict[str, Any]:
    """The logistic regression over features (n, 13); its shrinkage is chosen on validation (held, truth)."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = rows.mean(0), rows.std(0)

    def scored(c: float) -> tuple[float, Any]:
        model = LogisticRegression(C=c, max_iter=5000, random_state=seed).fit((rows - mean) / scale, malignant)
        return auroc(truth, model.decision_function((held - mean) / scale)), model

    _, model = max((scored(c) for c in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)), key=lambda found: found[0])
    own = {
        "features": list(NAMES), "mean": mean.tolist(), "scale": scale.tolist(),
        "coefficients": model.coef_[0].tolist(), "intercept": float(model.intercept_[0]),
    }  # fmt: skip
    slope, offset = _likeliest(score_of(own, held)[:, None], truth)
    return {**own, "platt": [slope, offset]}


def score_of(own: Mapping[str, Any], rows: Array) -> Array:
    """Log odds (n,) of features (n, 13), by a model of fitted()."""
    answer: Array = (rows - np.array(own["mean"])) / np.array(own["scale"]) @ np.array(own["coefficients"])
    return answer + own["intercept"]


def _likeliest(scores: Array, truth: Array) -> list[float]:
    """One weight a column of ``scores`` (n, k), and the intercept; without shrinkage, as Platt 1999 does it."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, max_iter=5000).fit(scores, truth)
    return [*map(float, model.coef_[0]), float(model.intercept_[0])]


def agreeing(scores: Array, truth: Array) -> list[float]:
    """_likeliest() of two models' log odds (n, 2), none of which speaks against the other: its weight is 0 then."""
    weights = _likeliest(scores, truth)
    if min(weights[:2]) < 0:
        kept = int(np.argmax(weights[:2]))
        own, offset = _likeliest(scores[:, kept : kept + 1], truth)
        if own < 0:
            raise ValueError(f"Both models speak against the truth: weights {weights}. Train the network again.")
        weights = [0.0, 0.0, offset]
        weights[kept] = own
    return weights


def weighed(network: MalignancyNetwork, own: Mapping[str, Any], val: Rated) -> dict[str, Any]:
    """How both are added: fitted on the nodules of validation as they are outlined at run time."""
    logits = logits_of(network, val.seen["network"])
    scores = np.stack([score_of(own, val.rows["network"]), logits[:, MALIGNANT]], 1)
    return {
        "weights": agreeing(scores, val.malignant),
        "least_nodule": float(np.quantile(logits[:, NODULE], _LEAST_NODULE)),
    }


def log_odds(network: MalignancyNetwork, own: Mapping[str, Any], data: Rated, outline: str) -> dict[str, Array]:
    """Of both together, features alone, network alone; (n,) each."""
    logits = logits_of(network, data.seen[outline])
    score = score_of(own, data.rows[outline])
    a, b, c = own["weights"]
    gate = np.minimum(0, logits[:, NODULE] - own["least_nodule"])
    return {"both": a * score + b * logits[:, MALIGNANT] + c + gate, "features": score, "network": logits[:, MALIGNANT]}


def recipe(network: MalignancyNetwork, train: Rated, kept: Array, val: Rated, seed: int) -> dict[str, Any]:
    """The bundle's numbers, from the training nodules ``kept`` and a network trained on their patients."""
    own = fitted(train.rows["reader"][kept], train.malignant[kept], val.rows["reader"], val.malignant, seed)
    return {**own, **weighed(network, own, val)}


def validated(network: MalignancyNetwork, own: Mapping[str, Any], pool: Pool, val: Rated) -> dict[str, Any]:
    """What the card says of validation: AUROC of each, and how the counter-examples beside its nodules are rated."""
    found = log_odds(network, own, val, "network")
    made, data = pool.made, pool.data
    beside = logits_of(network, as_seen(data, made.other, made.owner))
    pixel = data.pixel_mm[made.owner]
    rows = np.array([features(data.hu[i], m, (p, p)) for i, m, p in zip(made.owner, made.other, pixel)])
    score = score_of(own, rows)
    a, b, c = own["weights"]
    weighed_odds = a * score + b * beside[:, MALIGNANT] + c
    gated = weighed_odds + np.minimum(0, beside[:, NODULE] - own["least_nodule"])
    nodule = logits_of(network, val.seen["network"])[:, NODULE]
    return {
        "auroc": {**{k: auroc(val.malignant, v) for k, v in found.items()}, "area": auroc(val.malignant, val.area)},
        "nodule_auroc": auroc(np.r_[np.ones(len(nodule)), np.zeros(len(beside))], np.r_[nodule, beside[:, NODULE]]),
        "others": len(beside),
        "others_called_malignant": {
            "features": float((own["platt"][0] * score + own["platt"][1] > 0).mean()),
            "without_nodule_output": float((weighed_odds > 0).mean()), "all": float((gated > 0).mean()),
        },
    }  # fmt: skip


def cross_validated(run: Path, train: Pool, rows: Rated, val: Rated, command: Mapping[str, Any]) -> Optional[Any]:
    """Measures on the training patients that each fold left out; None where RUN holds no folds, or not all."""
    count, seed = int(command["folds"]), int(command["seed"])
    if count < 2 or not all((run / f"fold_{k}" / "best.pt").is_file() for k in range(count)):
        return None
    fold = folds_of(train.data.patients, count, seed)[rows.index]
    scores: dict[str, Array] = {}
    for k in range(count):
        network = restored(run / f"fold_{k}" / "best.pt")
        own = recipe(network, rows, np.flatnonzero(fold != k), val, seed)
        # By the reader's outline: the segmentation network was trained on these nodules.
        for name, values in log_odds(network, own, rows, "reader").items():
            held = scores.setdefault(name, np.zeros(len(fold)))
            held[fold == k] = values[fold == k]
    scores["area"] = rows.area
    p = across_folds(np.stack([scores["features"], scores["network"]], 1), rows.malignant, fold)
    return {
        "folds": count, **compared(rows.malignant, scores, rows.patients, "both", ("area", "features")),
        "calibration": of_two_classes(rows.malignant, p),
    }  # fmt: skip


def across_folds(scores: Array, malignant: Array, fold: Array) -> Array:
    """Probability (n,), by weights of the two log odds (n, 2) that were fitted on the other folds.

    It says how well calibrated this way of weighing is, on more nodules than validation and test have.
    """
    p = np.zeros(len(fold))
    for k in np.unique(fold):
        a, b, c = _likeliest(scores[fold != k], malignant[fold != k])
        p[fold == k] = sigmoid(scores[fold == k] @ np.array([a, b]) + c)
    return p


def _settings(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the run was made; the first ones said so in their command alone."""
    words = run["command"].split()
    return run.get("settings") or {n[2:]: value for n, value in zip(words, words[1:]) if n.startswith("--")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder that train_malignancy wrote")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--test", action="store_true", help="measure the test split, for the card")
    given = parser.parse_args()
    packaged = git_commit()  # before anything is written
    run = json.loads((given.run / "network" / "result.json").read_text())
    command = _settings(run)
    pools = {"train": pool_of(given.data, "train", given.run, command["outlines"])}
    pools["val"] = pool_of(given.data, "val", given.run)
    train, val = Rated(pools["train"]), Rated(pools["val"])
    folder = given.models / BUNDLE
    for name in ("models", "configs", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    saved(restored(given.run / "network" / "best.pt"), folder / NETWORK)
    network = restored(folder / NETWORK)  # as it is read back, in half precision
    own = recipe(network, train, np.arange(len(train.malignant)), val, int(command["seed"]))
    own |= {"prevalence": float(val.malignant.mean()), "n_train": len(train.malignant), "n_val": len(val.malignant)}
    (folder / WEIGHTS).write_text(json.dumps(own, indent=1) + "\n")
    validation = validated(network, own, pools["val"], val)
    crossed = cross_validated(given.run, pools["train"], train, val, command)
    weights = {name: sha256_of(folder / name) for name in (WEIGHTS, NETWORK)}
    training = {"commit": run["commit"], "packaged": packaged, "seed": run["seed"], "command": run["command"]}
    told = metadata({"prevalence": own["prevalence"], "training": training, "weights": weights})
    (folder / "configs" / "metadata.json").write_text(json.dumps(told, indent=1) + "\n")
    configuration(run, folder)
    (folder / "LICENSE").write_text(_LICENSE)
    test = evaluate_ct_malignancy(given.data, "test", given.models) if given.test else None
    if test is not None:
        test.pop("cases", None)
    measures = {"validation": validation, "cross_validation": crossed, "test": test}
    (given.run / "measures.json").write_text(json.dumps({"commit": packaged, **measures}, indent=1) + "\n")
    print(json.dumps(measures, indent=1))
    (folder / "docs" / "README.md").write_text(card(run, own, measures, tried(folder)))


if __name__ == "__main__":
    main()
