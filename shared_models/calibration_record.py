"""How often what a model says came true, kept in its bundle as docs/calibration.json, so that every answer can say it.

Calibration    one model's figures; like() finds the cases that were answered about the same, interval() how far the
               calibration curve is uncertain there
record()       measures one head: bars and curve on validation, expected calibration error on test
read()         what a bundle holds of these very weights, or None

`python -m shared_models.calibration_record --data ../shared/data` writes it for every head that there is data for;
about three minutes. Research use only.

Bars and curve are of the validation split, on which the head was calibrated too: they say what the calibration rests
on, and are a little too good. The error is of the test split, on which nothing was chosen.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from .calibration import Bin, Platt, reliability, sigmoid
from .code_version import git_commit
from .contract.values import Array
from .evaluate import CASES
from .evidence_cases import Cases
from .model_bundle import MODELS_ROOT, Bundle
from .statistics import bootstrap_ci, ece, ece_by_chance
from .whole_file import written

FILE = "docs/calibration.json"
HEADS = {
    "ct_malignancy": "lung_nodule_malignancy", "he_tiles": "lung_he_lite0", "clinical": "lung_clinical_subtype",
}  # fmt: skip
BARS = 6
RESAMPLES, _SEED = 2000, 0
_GRID = np.linspace(-7, 7, 57)  # log odds that the curve is kept at


@dataclass(frozen=True)
class Calibration:
    """Of one model.

    Attributes
    ----------
    unit, grouped_by : what a case is, and what of them is not independent: "nodule", "patient"
    bars : class to its reliability bars on ``split``, by rising probability, equally many cases in each; of two classes
        the second one only
    curve : class to (probability, low, high), by rising probability: what of the cases rated so comes true, 95 of 100
        logistic curves refitted on resampled groups; of two classes the second one only, of more none
    n, groups : of the bars and the curve
    test_n, test_groups : of the error
    ece : expected calibration error, winning class, 15 bins of equal width; ece_ci95 : bootstrap over groups
    by_chance : (mean, low, high) of what a perfectly calibrated model would show on as many cases
    notes : sentences for the reader
    weights_sha256 : of the model; commit : of the code that measured it
    """

    unit: str
    grouped_by: str
    split: str
    n: int
    groups: int
    bars: Mapping[str, Sequence[Bin]]
    curve: Mapping[str, Sequence[tuple[float, float, float]]]
    test_n: int
    test_groups: int
    ece: float
    ece_ci95: tuple[float, float]
    by_chance: tuple[float, float, float]
    notes: tuple[str, ...]
    weights_sha256: str
    commit: str

    def like(self, name: str, probability: float) -> Optional[Bin]:
        """The bar of the cases whose probability of class ``name`` was nearest, or None where there is none.

        Between two bars the border lies half way from the last case of the one to the first of the other.
        """
        bars = list(self.bars.get(name, ()))
        for bar, above in zip(bars, bars[1:]):
            if probability <= (bar.high + above.low) / 2:
                return bar
        return bars[-1] if bars else None

    def interval(self, name: str, probability: float) -> Optional[tuple[float, float]]:
        """(low, high) of the curve of class ``name`` there, or None where there is none.

        It is of the calibration, not of the single case, and widened where needed to hold ``probability`` itself.
        """
        points = self.curve.get(name)
        if not points:
            return None
        at, low, high = np.array(points).T
        inside = float(np.clip(probability, at[0], at[-1]))
        return (
            min(float(np.interp(inside, at, low)), probability),
            max(float(np.interp(inside, at, high)), probability),
        )


def _curve(cases: Cases, resamples: int) -> list[tuple[float, float, float]]:
    """Of the second of two classes."""
    odds = np.clip(cases.probabilities[:, 1], 1e-6, 1 - 1e-6)
    odds = np.log(odds) - np.log1p(-odds)
    names, place = np.unique(cases.groups, return_inverse=True)
    members = [np.flatnonzero(place == k) for k in range(len(names))]
    random = np.random.default_rng(_SEED)
    found: list[Array] = []
    while len(found) < resamples:
        chosen = np.concatenate([members[k] for k in random.integers(len(names), size=len(names))])
        if 0 < cases.labels[chosen].sum() < len(chosen):
            found.append(Platt.fit(odds[chosen], cases.labels[chosen]).apply(_GRID))
    low, high = np.quantile(np.array(found), (0.025, 0.975), axis=0)
    return list(zip(sigmoid(_GRID).tolist(), low.tolist(), high.tolist()))


def record(
    tuning: Cases, test: Cases, weights_sha256: str, commit: str, bars: int = BARS, resamples: int = RESAMPLES
) -> Calibration:
    """Bars and curve of ``tuning``, error of ``test``.

    Parameters
    ----------
    weights_sha256 : of the model; commit : of the code
    resamples : of the groups, for the curve and the error's interval
    """
    p, labels, groups = test.probabilities, test.labels, test.groups
    two = len(tuning.classes) == 2
    columns = [1] if two else range(len(tuning.classes))

    def error(index: Array) -> float:
        return ece(labels[index], p[index])

    low, high = bootstrap_ci(error, groups, resamples)
    mean, least, most = ece_by_chance(p, draws=resamples)
    return Calibration(
        tuning.unit, tuning.grouped_by, tuning.split, len(tuning), len(set(tuning.groups.tolist())),
        {tuning.classes[c]: reliability(tuning.labels == c, tuning.probabilities[:, c], bars) for c in columns},
        {tuning.classes[1]: _curve(tuning, resamples)} if two else {},
        len(test), len(set(groups.tolist())), error(np.arange(len(test))), (low, high), (mean, least, most),
        tuple(tuning.notes), weights_sha256, commit,
    )  # fmt: skip


def read(folder: Path, weights_sha256: str) -> Optional[Calibration]:
    """What the bundle ``folder`` holds of the weights with this hash; None where that was not measured."""
    try:
        held = json.loads((folder / FILE).read_text())
        bars = {
            name: tuple(Bin(**{**bar, "ci95": tuple(bar["ci95"])}) for bar in row) for name, row in held["bars"].items()
        }
        found = Calibration(
            **{name: held[name] for name in Calibration.__dataclass_fields__ if name not in ("bars", "notes")},
            bars=bars, notes=tuple(held["notes"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.weights_sha256 == weights_sha256 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--head", action="append", choices=list(HEADS), help="only this one; may be repeated")
    given = parser.parse_args()
    commit = git_commit()  # before the first file is written
    for head in given.head or HEADS:
        module, function = CASES[head].split(":")
        cases = getattr(importlib.import_module(f".{module}", __package__), function)
        tuning, test = (cases(given.data, split, given.models) for split in ("val", "test"))
        if tuning is None or test is None:
            print(f"{head}: no data.")
            continue
        path = given.models / HEADS[head] / FILE
        found = record(tuning, test, Bundle.load(path.parents[1]).weights_sha256, commit)
        command = "python -m shared_models.calibration_record --data ../shared/data"
        written(path, (json.dumps({**asdict(found), "command": command}, indent=1) + "\n").encode())
        print(f"{head}: {found.n} cases of {found.split}, error {found.ece:.3f} on {found.test_n} of test: {path}")


if __name__ == "__main__":
    main()
