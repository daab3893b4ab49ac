"""How well every head is calibrated, what else was tried, what its sets and its abstention hold: one Markdown file.

METHODS        ways to calibrate once more what a model says
tried()        each of them on validation, cross-validated over groups: what would be gained
held()         what ships on other cases: calibration errors beside what chance alone shows, sets, abstention
report()       both of all heads, as Markdown

`python -m shared_models.calibration_report --data ../shared/data --out docs/calibration.md`; about two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from . import abstention, conformal
from .calibration import BiasCorrectedTemperature, Isotonic, Platt, Temperature, negative_log_likelihood
from .code_version import git_commit
from .contract.values import Abstention, Array
from .evaluate import CASES
from .evidence_cases import Cases
from .model_bundle import MODELS_ROOT
from .statistics import (
    bca_ci,
    brier_multi,
    brier_parts,
    ece,
    ece_by_chance,
    ece_debiased,
    spiegelhalter,
)

FOLDS, REPEATS = 5, 5
BAR = 0.03  # wished for
COVERAGES = (0.9, 0.95)
ERRORS = (0.02, 0.05)
_LEAST = 1e-7

Apply = Callable[[Array], Array]


def _logits(p: Array) -> Array:
    return np.log(np.clip(p, _LEAST, 1))


def _odds(p: Array) -> Array:
    """Log odds of each class, (n, k)."""
    inside = np.clip(p, _LEAST, 1 - _LEAST)
    return np.log(inside) - np.log1p(-inside)


def _as_it_is(p: Array, labels: Array) -> Apply:
    return lambda other: other


def _temperature(p: Array, labels: Array) -> Apply:
    found = Temperature.fit(_logits(p), labels)
    return lambda other: found.apply(_logits(other))


def _with_biases(p: Array, labels: Array) -> Apply:
    found = BiasCorrectedTemperature.fit(_logits(p), labels)
    return lambda other: found.apply(_logits(other))


def _each(fit: Callable[[Array, Array], Any]) -> Callable[[Array, Array], Apply]:
    """One class against the rest, then scaled to sum to 1 (Zadrozny and Elkan 2002); two classes need one fit."""

    def fitted(p: Array, labels: Array) -> Apply:
        k = p.shape[1]
        found = [fit(_odds(p)[:, c], labels == c) for c in ([1] if k == 2 else range(k))]

        def apply(other: Array) -> Array:
            if k == 2:
                second = found[0].apply(_odds(other)[:, 1])
                return np.stack([1 - second, second], axis=1)
            raised = np.stack([one.apply(_odds(other)[:, c]) for c, one in enumerate(found)], axis=1) + _LEAST
            return raised / raised.sum(axis=1, keepdims=True)

        return apply

    return fitted


METHODS: Mapping[str, Callable[[Array, Array], Apply]] = {
    "as it ships": _as_it_is, "temperature": _temperature, "temperature and class biases": _with_biases,
    "Platt": _each(Platt.fit), "isotonic": _each(Isotonic.fit),
}  # fmt: skip


def _folds(groups: Array, seed: int) -> Array:
    """int (n,): whole groups, in turn after a shuffle."""
    _, place = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(int(place.max()) + 1)
    return (np.argsort(order) % FOLDS)[place]


def tried(cases: Cases) -> dict[str, dict[str, float]]:
    """Each of METHODS, fitted on four fifths of the groups and measured on the rest, mean of five shuffles.

    What ships was itself fitted on these cases, in one to three numbers: it looks a little better here than it is.
    """
    p, labels = cases.probabilities, cases.labels
    found: dict[str, dict[str, float]] = {}
    for name, fit in METHODS.items():
        rows = []
        for seed in range(REPEATS):
            fold, out = _folds(cases.groups, seed), np.zeros_like(p)
            for k in np.unique(fold):
                rest = fold != k
                if len(np.unique(labels[rest])) < p.shape[1]:
                    raise ValueError("Too few groups: a class is missing from four fifths of them.")
                out[fold == k] = fit(p[rest], labels[rest])(p[fold == k])
            right = out.argmax(axis=1) == labels
            rows.append((negative_log_likelihood(out, labels), brier_multi(labels, out), ece(labels, out),
                         ece_debiased(right, out.max(axis=1)), float(right.mean())))  # fmt: skip
        found[name] = dict(zip(("nll", "brier", "ece", "ece_debiased", "accuracy"), np.mean(rows, axis=0).tolist()))
    return found


def held(cases: Cases, tuning: Cases) -> dict[str, Any]:
    """Figures of ``cases``; sets and thresholds are fitted on ``tuning``."""
    p, labels = cases.probabilities, cases.labels
    right, sure = p.argmax(axis=1) == labels, p.max(axis=1)
    found: dict[str, Any] = {
        "n": len(labels), "groups": len(set(cases.groups.tolist())), "ece": ece(labels, p),
        "by_chance": ece_by_chance(p), "ece_debiased": ece_debiased(right, sure), "brier": brier_multi(labels, p),
        "parts": {}, "sets": [], "abstention": [],
    }  # fmt: skip
    for c in [1] if p.shape[1] == 2 else range(p.shape[1]):
        truth = labels == c
        found["parts"][cases.classes[c]] = (*brier_parts(truth, p[:, c]), spiegelhalter(truth, p[:, c])[1])
    for coverage in COVERAGES:
        for by_class in (False, True):
            sets = conformal.fit(tuning.probabilities, tuning.labels, coverage, tuning.groups, by_class=by_class)
            inside = sets.of(p)
            hit = inside[np.arange(len(labels)), labels].astype(float)
            interval = bca_ci(lambda i, hit=hit: float(hit[i].mean()), cases.groups, n=1000)
            did = conformal.measured(inside, labels, cases.groups)
            found["sets"].append({"stated": coverage, "per_class": by_class, "ci95": interval, **did})
    known = tuning.probabilities.argmax(axis=1) == tuning.labels
    for error in ERRORS:
        for bound in (0.95, None):
            chosen = abstention.confidence_for_error(
                known, tuning.probabilities.max(axis=1), error, bound, groups=tuning.groups
            )  # fmt: skip
            none = isinstance(chosen, Abstention)
            did_answer = (float("nan"),) * 2 if none else abstention.answered(right, sure, chosen.confidence)
            found["abstention"].append((error, bound, None if none else chosen, *did_answer))
    return found


def _table(head: str, rows: list[str]) -> str:
    return "\n".join([f"| {head} |", "|" + "---|" * (head.count("|") + 1), *rows])


def _words(name: str, cases: Cases, options: Mapping[str, Mapping[str, float]], found: Mapping[str, Any]) -> str:
    mean, low, high = found["by_chance"]
    within = "within what chance alone shows" if found["ece"] <= high else "more than chance alone shows"
    if mean > BAR:
        bar = f"even a perfect model shows more than {BAR:g} on as few"
    else:
        bar = f"the bar of {BAR:g} is {'kept' if found['ece'] <= BAR else 'missed'}"
    parts = [
        f"| {c} | {v[0]:.4f} | {v[1]:.4f} | {v[2]:.4f} | {v[3]:.3f} |" for c, v in found["parts"].items()
    ]  # fmt: skip
    sets = []
    for s in found["sets"]:
        each = ", ".join("none" if c is None else f"{c:.2f}" for c in s["by_class"])
        low_end, high_end = s["ci95"]
        sets.append(
            f"| {s['stated']:.2f} | {'each class' if s['per_class'] else 'all'} | {s['coverage']:.3f} | "
            f"{low_end:.3f} to {high_end:.3f} | {each} | {s['mean_size']:.2f} | {s['empty']:.2f} |"
        )
    answers = []
    for error, bound, chosen, covered, risk in found["abstention"]:
        said = "no bound" if bound is None else f"with probability {bound:g}"
        tail = "none | | |" if chosen is None else (
            f"{chosen.confidence:.3f} | {chosen.coverage:.3f} | {covered:.3f} | {risk:.3f}"
        )  # fmt: skip
        answers.append(f"| {error:g}, {said} | {tail} |")
    choices = [
        f"| {m} | {v['nll']:.4f} | {v['brier']:.4f} | {v['ece']:.4f} | {v['ece_debiased']:.4f} | {v['accuracy']:.3f} |"
        for m, v in options.items()
    ]
    return f"""## {name}

{found["n"]} cases of {found["groups"]} {cases.grouped_by}s. Expected calibration error **{found["ece"]:.3f}** (winning
class, 15 bins of equal width), {found["ece_debiased"]:.3f} debiased (bins of equal mass). A perfectly calibrated model
would show {mean:.3f} ({low:.3f} to {high:.3f}) on these cases: {within}; {bar}.
Brier score over all classes {found["brier"]:.4f}.

{_table("class | reliability | resolution | uncertainty | Spiegelhalter p", parts)}

Conformal sets (1 - probability), fitted on validation by {cases.grouped_by}; classes in the order
{", ".join(cases.classes)}:

{_table("stated | promised for | covered | 95 % interval | by class | classes in a set | empty sets", sets)}

Abstention: the least confidence that keeps the stated error on validation.

{_table("stated error | least confidence | answered on validation | answered here | wrong of those", answers)}

Calibrated once more, on validation, cross-validated by {cases.grouped_by} ({REPEATS} x {FOLDS} folds):

{_table("method | negative log-likelihood | Brier | ECE | debiased | accuracy", choices)}
"""


def report(data_root: Path, split: str, models_root: Path, only: Optional[list[str]] = None) -> str:
    """Markdown of every head that there is data for; ``split`` is measured, validation is what is fitted on."""
    parts = []
    for name, where in CASES.items():
        if only and name not in only:
            continue
        tuning, cases = (_cases(where, data_root, s, models_root) for s in ("val", split))
        if tuning is not None and cases is not None:
            parts.append(_words(name, cases, tried(tuning), held(cases, tuning)))
    return f"""# Calibration

Split {split}, code at commit {git_commit()[:12]}, by `python -m shared_models.calibration_report --data ROOT`.
Research use only. How the figures are defined: shared_models/calibration_error.py, conformal.py, abstention.py.

{chr(10).join(parts)}"""


def _cases(where: str, data_root: Path, split: str, models_root: Path) -> Optional[Cases]:
    import importlib

    module, function = where.split(":")
    found: Optional[Cases] = getattr(importlib.import_module(f".{module}", __package__), function)(
        data_root, split, models_root
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    parser.add_argument("--head", action="append", choices=list(CASES), help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help="write it there")
    given = parser.parse_args()
    text = report(given.data, given.split, given.models, given.head)
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
