"""The ablation table of the fusion on cases with a known class, whatever cohort they are of.

ablation()    every combination of modalities, with fixed and learned weights, raw and calibrated; other ways to fuse;
              tests of the fusion against each; conformal sets
answers()     what each of them answers: name -> Answers
text()        the table as Markdown

A single modality "alone" answers by its own calibrated probabilities, over the prior where it tells classes not apart:
the CT cannot name a type, so that its likeliest cancer is always the same one. Who has nothing to go by answers the
prior. Every case counts, also those where the fusion would rather give no answer; how many those are is in the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

import numpy as np

from .composed_parts import accounting
from .contract.fusion_result import MODALITIES, FusionResult
from .contract.values import CLASSES, Array
from .fusion import MALIGNANCY_PREVALENCE, PRIOR, pooled
from .fusion_baselines import BASELINES, Stacking, alone, over
from .fusion_cases import FusionCase
from .fusion_fit import evidence_of, of_cases
from .fusion_weights import FusionWeights
from .intervals import bca_ci
from .paired_tests import holm, mcnemar, sign_flip
from .statistics import accuracy, macro_auroc, macro_f1

NAMES = {"radiology": "CT", "pathology": "H&E", "clinical": "clinical"}
SUBSETS = (
    ("radiology", "pathology"), ("radiology", "clinical"), ("pathology", "clinical"), MODALITIES,
)  # fmt: skip
MAIN = "CT + H&E + clinical, learned weights"
RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Answers:
    """``probabilities`` (n, classes), given that it is one of them; ``answered`` share of cases with an answer."""

    probabilities: Array
    answered: Optional[float] = None
    sets: Optional[Array] = None  # bool (n, classes), the conformal sets; None where there are none


def posterior(result: FusionResult) -> dict[str, float]:
    """Class to probability over CLASSES, those not assessed too: the prior and the contributions."""
    raw = {c: result.prior[c] * math.exp(sum(row[c] for row in result.contributions.values())) for c in CLASSES}
    total = math.fsum(raw.values())
    return {c: value / total for c, value in raw.items()}


def answers(
    cases: Sequence[FusionCase], classes: tuple[str, ...], clinical_model: Any, learned: Optional[FusionWeights],
    stacking: Optional[Stacking], raw_clinical: Any = None,
) -> dict[str, Answers]:  # fmt: skip
    """What every way to fuse, and every modality alone, says of the cases; parameters as in ablation()."""

    prevalence = MALIGNANCY_PREVALENCE if learned is None else learned.malignancy_prevalence

    def said(part: Sequence[str], weights: Optional[FusionWeights], raw: bool = False) -> Answers:
        rows, answered, sets = [], [], []
        for case in cases:
            seen = _raw(case) if raw else case
            held = {name: getattr(seen, name) if name in part else None for name in MODALITIES}
            model = raw_clinical if raw else clinical_model
            result = pooled(**held, clinical_model=model, learned=weights, malignancy_prevalence=prevalence)
            rows.append(posterior(result))
            answered.append(result.answer is not None)
            sets.append([c in result.conformal_set for c in classes])
        table = np.array(sets)
        whole = weights is not None and weights.conformal is not None and bool(table.any(axis=1).all())
        return Answers(over(rows, classes), float(np.mean(answered)), table if whole else None)

    evidence = [evidence_of(case, clinical_model, prevalence) for case in cases]
    found = {}
    for name in MODALITIES:
        rows = [alone(one[name]) if name in one else dict(PRIOR) for one in evidence]
        found[f"{NAMES[name]} alone"] = Answers(over(rows, classes))
    ways: dict[str, Optional[FusionWeights]] = {"fixed": None}
    if learned is not None:
        ways["learned"] = learned
    for part in SUBSETS:
        for way, weights in ways.items():
            found[f"{' + '.join(NAMES[n] for n in part)}, {way} weights"] = said(part, weights)
    if raw_clinical is not None:
        for way, weights in ways.items():
            found[f"CT + H&E + clinical, {way} weights, not calibrated"] = said(MODALITIES, weights, raw=True)
    for name, fuse in BASELINES.items():
        found[name] = Answers(over([fuse(one) for one in evidence], classes))
    if stacking is not None and stacking.classes == classes:
        found["stacking (logistic regression)"] = Answers(
            stacking.probabilities(of_cases(cases, clinical_model, prevalence, classes))
        )
    return found


def _raw(case: FusionCase) -> FusionCase:
    return replace(case, radiology=case.raw_radiology or case.radiology, pathology=case.raw_pathology or case.pathology)


def ablation(
    cases: Sequence[FusionCase], classes: tuple[str, ...], clinical_model: Any, learned: Optional[FusionWeights],
    stacking: Optional[Stacking] = None, raw_clinical: Any = None, label: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The table of one cohort.

    Parameters
    ----------
    cases : of any cohort, composed or truly paired; those of a class outside ``classes`` are counted and left out
    classes : told apart
    learned : None where there are no learned weights: then the fixed ones are tested
    raw_clinical : the clinical model before calibration; None leaves the rows without calibration out
    label : what every table says of the cases

    Returns
    -------
    "label", "accounting", "rows" (name -> accuracy, macro_f1, auroc with intervals, nll, answered), "tests" (name ->
    exact McNemar of the fusion against it; Holm over the single modalities, and over the others), "most" (the p that a
    fusion would have that mends every error of a modality and makes none), "conformal".
    """
    kept = [case for case in cases if case.label in classes]
    if not kept:
        raise ValueError("No case is of a class that is told apart.")
    found = answers(kept, classes, clinical_model, learned, stacking, raw_clinical)
    main = MAIN if MAIN in found else "CT + H&E + clinical, fixed weights"
    labels = np.array([classes.index(case.label) for case in kept])
    groups = np.array([case.group for case in kept])
    right = {name: answer.probabilities.argmax(axis=1) == labels for name, answer in found.items()}
    single = [f"{NAMES[name]} alone" for name in MODALITIES]
    result: dict[str, Any] = {
        "label": label, "accounting": {**accounting(kept), "other_classes": len(cases) - len(kept)}, "main": main,
        "rows": {name: _measures(answer, labels, groups) for name, answer in found.items()},
        "tests": {}, "most": {name: min(1.0, 2.0 ** (1 - int((~right[name]).sum()))) for name in single},
        "conformal": _conformal(found[main].sets, labels, learned),
        "cases": {
            "ids": [case.case_id for case in kept], "groups": groups.tolist(),
            "labels": [case.label for case in kept], "classes": list(classes),
            "probabilities": found[main].probabilities.tolist(),
            "rivals": {name: answer.probabilities.tolist() for name, answer in found.items() if name != main},
            "unit": "case", "grouped_by": "patient or field", "synthetic": label,
        },
    }  # fmt: skip
    for family in (single, [name for name in found if name not in (*single, main)]):
        told = {name: mcnemar(right[main], right[name]) for name in family}
        for (name, (only_main, only_other, p)), corrected in zip(told.items(), holm([t[2] for t in told.values()])):
            result["tests"][name] = {"only_fused": only_main, "only_other": only_other, "p": p, "p_holm": corrected}
            if len(set(groups.tolist())) < len(groups):
                differences = right[main].astype(float) - right[name]
                result["tests"][name]["p_by_group"] = sign_flip(differences, groups)
    return result


def _measures(answer: Answers, labels: Array, groups: Array) -> dict[str, Any]:
    p, guess = answer.probabilities, answer.probabilities.argmax(axis=1)

    def measure(of: Callable[[Array], float]) -> dict[str, Any]:
        return {"value": float(of(np.arange(len(labels)))), "ci95": list(bca_ci(of, groups, n=RESAMPLES))}

    return {
        "accuracy": measure(lambda i: accuracy(labels[i], guess[i])),
        "macro_f1": measure(lambda i: macro_f1(labels[i], guess[i])),
        "auroc": measure(lambda i: macro_auroc(labels[i], p[i])),
        "nll": float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12)).mean()),
        "answered": answer.answered,
    }


def _conformal(sets: Optional[Array], labels: Array, learned: Optional[FusionWeights]) -> Optional[dict[str, Any]]:
    if sets is None or learned is None or learned.conformal is None:
        return None
    return {
        "stated": learned.conformal.coverage, "coverage": float(sets[np.arange(len(labels)), labels].mean()),
        "mean_size": float(sets.sum(axis=1).mean()),
    }  # fmt: skip


def text(name: str, found: Mapping[str, Any]) -> str:
    """Markdown of ablation()."""
    counts = found["accounting"]
    classes = ", ".join(f"{c.replace('_', ' ')} {n}" for c, n in counts["classes"].items())
    label = f" *{found['label'][:1].upper()}{found['label'][1:]}.*" if found["label"] else ""
    lines = [
        f"**Fusion, {name}**: n {counts['cases']}, {counts['groups']} groups ({classes}).{label}", "",
        "| what | accuracy | macro F1 | macro AUROC | log loss | answered |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row, m in found["rows"].items():
        each = " | ".join(_interval(m[key]) for key in ("accuracy", "macro_f1", "auroc"))
        answered = "" if m["answered"] is None else f"{m['answered']:.2f}"
        shown = f"**{row}**" if row == found["main"] else row
        lines.append(f"| {shown} | {each} | {m['nll']:.3f} | {answered} |")
    lines += [
        "",
        f"| {found['main']}, against | only it is right | only the other | p (McNemar) | p (Holm) | by group |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for other, t in found["tests"].items():
        if " + " in other and "CT + H&E + clinical" not in other:
            continue  # the pairs: in the JSON
        by_group = f"{t['p_by_group']:.2g}" if "p_by_group" in t else ""
        lines.append(
            f"| {other} | {t['only_fused']} | {t['only_other']} | {t['p']:.2g} | {t['p_holm']:.2g} | {by_group} |"
        )
    most = ", ".join(f"{one} {p:.2g}" for one, p in found["most"].items())
    lines += ["", f"The least p that mending every error of a modality, and making none, would have here: {most}."]
    if found["conformal"] is not None:
        c = found["conformal"]
        lines.append(
            f"Conformal sets, stated coverage {c['stated']:.2f}: held the class in {c['coverage']:.2f} of the cases, "
            f"{c['mean_size']:.2f} classes on average."
        )
    return "\n".join(lines) + "\n"


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found["ci95"]
    return f"{found['value']:.3f} ({low:.3f} to {high:.3f})"
