"""The result of the task "xai" as text.

markdown()   a table for each subject: methods x measures with 95 % intervals, the best one, sanity checks
rows()       the same as flat rows, for CSV

Bold: the best of the six. "+": proven to beat both floors. "*": differs from Grad-CAM. "!": a floor does better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .faithfulness import FLOORS, MEASURES

_REFERENCE, _LEVEL = "gradcam", 0.05
COLUMNS = ("subject", "n", "groups", "method", "measure", "value", "low", "high", "p_gradcam", "p_random", "p_centre")
LEGEND = (
    "Up: higher is better. Bold: the best of the six. `+`: beats both floors. `*`: differs from Grad-CAM. `!`: a "
    "floor does better than the best. Paired permutation over groups, Holm, p <= 0.05. Insertion and deletion: area "
    "under the target's probability; iou_best looks at the mask and is optimistic. Research use only."
)


def rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One a subject, method and measure, with the keys COLUMNS."""
    for name, subject in result["subjects"].items():
        for method, measures in subject["measures"].items():
            for measure, found in measures.items():
                tests = subject["tests"].get(measure, {}).get(method, {})
                low, high = found["ci95"]
                p = (tests.get(other, "") for other in (_REFERENCE, *FLOORS))
                yield dict(zip(COLUMNS, (
                    name, subject["n"], subject["groups"], method, measure, found["value"], low, high, *p,
                )))  # fmt: skip


def markdown(result: Mapping[str, Any]) -> str:
    """All subjects, one below the other."""
    parts = [_subject(name, subject) for name, subject in result["subjects"].items()]
    return "\n".join([*parts, LEGEND, f"Seed {result['seed']}."])


def _subject(name: str, subject: Mapping[str, Any]) -> str:
    measures = [m for m in MEASURES if m in subject["tests"]]
    ends = ", ".join(f"{subject[key]['value']:.2f} {said}" for key, said in (
        ("whole", "of the whole picture"), ("erased_blur", "blurred"), ("erased_mean", "at its mean")
    ))  # fmt: skip
    lines = [
        f"**{name}**: n {subject['n']}, {subject['groups']} groups; the target's probability is {ends}.\n",
        "| method | " + " | ".join(f"{m} {'up' if MEASURES[m] else 'down'}" for m in measures) + " | sanity |",
        "|---" * (len(measures) + 2) + "|",
    ]
    for method, found in subject["measures"].items():
        cells = [_cell(method, m, found[m], subject) for m in measures]
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {_sanity(subject['sanity'].get(method))} |")
    for measure in measures:
        best = subject["best"][measure]
        below = f", below {' and '.join(best['below'])}" if best["below"] else ""
        beats = f", beats {', '.join(best['beats'])}" if best["beats"] else ", beats none provably"
        names = " and ".join([best["method"], *best["tied"]])
        lines.append(f"{'' if measure != measures[0] else chr(10)}- {measure}: {names}{beats}{below}")
    return "\n".join(lines) + "\n"


def _cell(method: str, measure: str, found: Mapping[str, Any], subject: Mapping[str, Any]) -> str:
    value, (low, high) = found["value"], found["ci95"]
    best = subject["best"][measure]
    text = f"{value:.2f}"
    if method in (best["method"], *best["tied"]):
        text = f"**{text}**" + ("!" if best["below"] else "")
    tests = subject["tests"][measure].get(method, {})
    sign = 1 if MEASURES[measure] else -1
    over = [
        tests[floor] <= _LEVEL and sign * (value - subject["measures"][floor][measure]["value"]) > 0
        for floor in FLOORS if floor in tests
    ]  # fmt: skip
    text += "+" if over and all(over) else ""
    text += "*" if tests.get(_REFERENCE, 1.0) <= _LEVEL else ""
    return f"{text} ({low:.2f} to {high:.2f})"


def _sanity(verdict: Any) -> str:
    if verdict is None:
        return ""
    return f"{'passed' if verdict['passed'] else 'FAILED'}, {verdict['spearman'][-1]:.2f}"
