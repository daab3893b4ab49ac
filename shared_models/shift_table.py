"""The measures of evaluate_shift.py for reading: a Markdown text, tables, and curves to draw.

presented()   {"text", "tables", "curves"} of a result
curve()       one measure of one model, a line for each shift

"tables": [{"title", "columns", "rows", "note"}], cells are text.
"curves": [{"title", "x_label", "y_label", "x", "lines": {shift: {"y", "low", "high"}}, "note"}].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import shift_ct, shift_slide
from .shift_remedies import AT, REMEDIES

_TITLES = {
    "tiles": "H&E tiles", "malignancy": "Malignancy of nodules (reader's outline)",
    "nodules": "Segmentation of nodules, one slice", "cubes": "Segmentation of nodules, 1 mm cubes",
}  # fmt: skip
_FIRST = {"tiles": "accuracy", "malignancy": "auroc", "nodules": "dice", "cubes": "dice"}
_SAID = {
    "accuracy": "accuracy", "auroc": "AUROC", "dice": "Dice, mean", "ece": "calibration error (ECE)",
    "nll": "negative log-likelihood", "brier": "Brier's score", "foreign": "share told as foreign",
}  # fmt: skip


def _figure(one: Mapping[str, Any], digits: int = 2) -> str:
    low, high = one["ci95"]
    return f"{one['value']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _shift(name: str) -> Any:
    return shift_slide.SHIFTS.get(name) or shift_ct.SHIFTS[name]


def _table(part: str, measure: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Rows: shifts; columns: grades."""
    columns = ["shift", "strengths", "none", *(f"grade {g}" for g in range(1, shift_slide.GRADES + 1))]
    rows = []
    for name, of in found["curves"].items():
        if measure in of:
            shift = _shift(name)
            said = f"{', '.join(f'{s:g}' for s in shift.strengths)} {shift.unit}"
            rows.append([name.replace("_", " "), said, *(_figure(one) for one in of[measure])])
    title = f"{_TITLES[part]}: {_SAID[measure]} under shift"
    return {"title": title, "columns": columns, "rows": rows, "note": _note(found)}


def _note(found: Mapping[str, Any]) -> str:
    return f"n {found['n']} of {found['groups']} groups, 95 % interval by BCa bootstrap over groups"


def _remedies(found: Mapping[str, Any], measure: str) -> dict[str, Any]:
    rows = []
    for name, of in found["remedies"].items():
        for place, grade in enumerate(AT if name != "none" else (0,)):
            label = name.replace("_", " ") if not grade else f"{name.replace('_', ' ')}, grade {grade}"
            rows.append([label, *(_figure(of[remedy][measure][place]) for remedy in REMEDIES)])
    return {
        "title": f"{_TITLES['tiles']}: {_SAID[measure]}, with what could win it back", "rows": rows,
        "columns": ["shift", *REMEDIES.values()],
        "note": f"{_note(found)}. The probe also differs in what its layers learned from: what augmentation wins is "
        "less than the difference to it. The temperature changes no accuracy",
    }  # fmt: skip


def curve(part: str, measure: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Over the grades, 0 is without a shift; ``found`` is a part of evaluate_shift()'s result."""
    lines = {
        name.replace("_", " "): {
            "y": [one["value"] for one in of[measure]], "low": [one["ci95"][0] for one in of[measure]],
            "high": [one["ci95"][1] for one in of[measure]],
        }
        for name, of in found["curves"].items() if measure in of
    }  # fmt: skip
    return {
        "title": f"{_TITLES[part]}: {_SAID[measure]}", "x_label": "grade of the shift", "y_label": _SAID[measure],
        "x": list(range(shift_slide.GRADES + 1)), "lines": lines, "note": _note(found),
    }  # fmt: skip


def _markdown(table: Mapping[str, Any]) -> str:
    lines = [f"**{table['title']}** ({table['note']})", ""]
    lines.append("| " + " | ".join(table["columns"]) + " |")
    lines.append("|" + "---|" * len(table["columns"]))
    lines += ["| " + " | ".join(row) + " |" for row in table["rows"]]
    return "\n".join(lines)


def presented(result: Mapping[str, Any]) -> dict[str, Any]:
    """ "text": Markdown; "tables"; "curves"; of evaluate_shift()'s "models"."""
    tables, curves = [], []
    for part, found in result["models"].items():
        measures = [m for m in (_FIRST[part], "ece", "nll", "brier", "foreign")
                    if all(m in of for of in found["curves"].values())]  # fmt: skip
        for measure in measures:
            curves.append(curve(part, measure, found))
            if measure in (_FIRST[part], "ece", "foreign"):
                tables.append(_table(part, measure, found))
        if found.get("remedies"):
            tables += [_remedies(found, measure) for measure in ("accuracy", "ece")]
    head = (f"Domain shift, split {result['split']}: the same cases under every shift; what each grade is, is in the "
            "column strengths. Shifts are simulated on real cases.")  # fmt: skip
    return {"text": "\n\n".join([head, *(_markdown(table) for table in tables)]) + "\n", "tables": tables,
            "curves": curves}  # fmt: skip
