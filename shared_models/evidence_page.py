"""The evidence page: one HTML file that asks nothing of the network.

page()      the page of a result
TITLES      what each task is called there
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from .evidence_cases import PART
from .evidence_figures import said

TEMPLATE = Path(__file__).with_name("evidence_page.html")
TITLES = {
    "he_tiles": "H&E: the class of a tile",
    "ct_slices": "CT: outlines on single slices",
    "ct_cubes": "CT: outlines in three dimensions",
    "ct_malignancy": "CT: malignancy of a nodule, as readers rate it",
    "ct_series": "CT: a whole series with tumour boxes",
    "clinical": "Clinical fields: adenocarcinoma or squamous cell carcinoma",
    "fusion": "Fusion of the modalities",
    "shift": "Domain shift: real cases, changed by a program",
    "out_of_distribution": "Inputs unlike the training data",
    "xai": "How faithful the explanations are",
}
_SMALL_P = 0.001


def page(result: Mapping[str, Any], sections: Sequence[Mapping[str, Any]]) -> str:
    """HTML of what evidence.written() has put together; ``sections`` carry the pictures."""
    from jinja2 import Environment, StrictUndefined

    engine = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    engine.filters["rival"] = lambda name: name if name.startswith(PART) else f"baseline: {name}"
    engine.filters.update(number=_number, interval=_interval, p=_p, share=_share, said=said, svg=_svg, cell=_cell)
    shown = [_section(one, result) for one in sections]
    return engine.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        r=result, commit=result["commit"][:12] + ("-dirty" if result["commit"].endswith("-dirty") else "") or "unknown",
        sections=shown, summary=[row for one in shown for row in _summary(one, result["tests"])],
        synthetic=[one["title"] for one in shown if one["synthetic"]],
    )  # fmt: skip


def _section(one: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    name, own = one["name"], one["own"]
    figures = result["tasks"][name]["figures"]
    base, _, part = name.partition("_")
    title = TITLES.get(name) or (f"{TITLES[base]}: {part.replace('_', ' ')}" if base in TITLES else name)
    return {
        "name": name, "title": own.get("title") or title, "figures": figures, "pictures": one["pictures"],
        "note": own.get("note") or "", "tables": [*own.get("tables", ()), *_explanations(own), *ablations(own)],
        "synthetic": (figures or {}).get("synthetic") or own.get("synthetic") or own.get("label") or "",
        "counted": figures["counted"] if figures else f"n {own.get('n', 'not stated')}",
        "plain": [] if figures else _plain_measures(own),
        "tests": [test for test in result["tests"] if test["task"] == name],
    }  # fmt: skip


def _plain_measures(own: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Measures of a task that hands over no cases, baselines last."""
    found = [(name, v) for name, v in own.items() if isinstance(v, Mapping) and "value" in v]
    return found + [(f"baseline: {name}", v) for name, v in (own.get("baseline") or {}).items()]


def _explanations(own: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The result of the task "xai" as tables: methods by measures."""
    return [
        {
            "title": subject, "note": f"n {of['n']}, {of['groups']} groups.",
            "columns": ["method", *next(iter(of["measures"].values()))],
            "rows": [[method, *measures.values()] for method, measures in of["measures"].items()],
        }
        for subject, of in (own.get("subjects") or {}).items()
    ]  # fmt: skip


_ABLATION = (
    "What", "Accuracy", "Macro F1", "Macro AUROC", "Log loss", "Answered", "Only the fusion right", "Only this right",
    "p, McNemar", "p, Holm in its family", "p, over groups",
)  # fmt: skip


def ablations(own: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ablation tables of the task "fusion", one a cohort; those of fusion_ablation.ablation()."""
    found = []
    for name, of in (own.get("cohorts") or {}).items():
        counts, rows = of["accounting"], []
        for what, m in of["rows"].items():
            test = of["tests"].get(what, {})
            rows.append([
                f"{what} (the fusion)" if what == of["main"] else what, m["accuracy"], m["macro_f1"], m["auroc"],
                m["nll"], m["answered"], test.get("only_fused"), test.get("only_other"), _p(test.get("p")),
                _p(test.get("p_holm")), _p(test.get("p_by_group")),
            ])  # fmt: skip
        classes = ", ".join(f"{said(c)} {n}" for c, n in counts["classes"].items())
        found.append({
            "title": f"Ablation, {name}", "columns": _ABLATION, "rows": rows, "synthetic": of["label"],
            "counted": f"{counts['cases']} cases of {counts['groups']} groups",
            "note": f"{classes}. 95 % intervals in brackets. Holm's correction here is over the single modalities, and "
            "over the other rows; in the section of all tests it is over the whole page.",
        })  # fmt: skip
    return found


def _summary(section: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a headline measure, with the strongest baseline by that measure."""
    figures = section["figures"]
    if not figures:
        return [
            {"section": section, "measure": name, "found": v if isinstance(v, Mapping) else {"value": v}, "test": None}
            for name, v in section["plain"]
        ]
    rows = []
    for name, found in figures["measures"].items():
        if name.startswith("median") or "at least" in name:
            continue
        known = [
            t for t in tests
            if t["task"] == section["name"] and t["measure"] == name and not (
                name == "accuracy" and t["test"] != "McNemar, exact") and not t["rival"].startswith(PART)
        ]  # fmt: skip
        strongest = min(known, key=lambda t: t["difference"]) if known else None
        rows.append({"section": section, "measure": name, "found": found, "test": strongest})
    return rows


def _svg(data: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(data).decode()


def _number(value: Optional[float], places: int = 3) -> str:
    return "not defined" if value is None else f"{value:.{places}f}"


def _interval(limits: Optional[Sequence[Optional[float]]]) -> str:
    if not limits or limits[0] is None or limits[1] is None:
        return ""
    return f"{limits[0]:.3f} to {limits[1]:.3f}"


def _p(value: Optional[float]) -> str:
    if value is None:
        return ""
    return f"< {_SMALL_P}" if value < _SMALL_P else f"{value:.3f}"


def _share(count: int, row: Sequence[int]) -> str:
    return f"{100 * count / sum(row):.1f} %" if sum(row) else ""


def _cell(value: Any) -> str:
    """A cell of a table that a task hands over itself."""
    if isinstance(value, Mapping) and "value" in value:
        limits = _interval(value.get("ci95"))
        return f"{_number(value['value'])} ({limits})" if limits else _number(value["value"])
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)
