"""Pictures of tasks that hand over their own curves and ablation tables; see evidence_figures.

curves_figure()     lines with bands
ablation_figure()   one measure of every way to fuse, with intervals
of_result()         all of them that a task's result asks for
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .evidence_figures import DASHES, GREY, PALETTE, Drawing, Figure


def of_result(own: Mapping[str, Any]) -> Iterator[Figure]:
    """The pictures of what a task found beside its cases: its "curves", and its "cohorts" of ablations."""
    for place, curve in enumerate(own.get("curves", ())):
        yield curves_figure(f"curve{place + 1}", curve)
    for place, (name, of) in enumerate((own.get("cohorts") or {}).items()):
        yield ablation_figure(f"ablation{place + 1}", name, of)


def ablation_figure(name: str, cohort: str, of: Mapping[str, Any]) -> Figure:
    """Accuracy and macro AUROC of every row of fusion_ablation.ablation()."""
    rows = list(of["rows"].items())
    measures = {"accuracy": "accuracy", "auroc": "macro AUROC"}
    with Drawing(9.2, 0.8 + 0.2 * len(rows), 2) as drawing:
        for axes, (key, words) in zip(drawing.each, measures.items()):
            for y, (what, m) in enumerate(rows):
                main = what == of["main"]
                axes.plot(m[key]["ci95"], [y, y], color=PALETTE[1] if main else PALETTE[0], lw=2 if main else 1.2)
                axes.plot(m[key]["value"], y, "D" if main else "s", ms=5.5 if main else 4,
                          color=PALETTE[1] if main else PALETTE[0])  # fmt: skip
            axes.axvline(of["rows"][of["main"]][key]["value"], color=GREY, lw=0.9, ls=":")
            axes.set(xlabel=words, ylim=(len(rows) - 0.5, -0.5))
        drawing.each[0].set_yticks(range(len(rows)), [what for what, _ in rows])
        drawing.each[1].set_yticks(range(len(rows)), [""] * len(rows))
    told = "; ".join(f"{what} {m['accuracy']['value']:.3f}, {m['auroc']['value']:.3f}" for what, m in rows)
    title = f"Ablation, {cohort}: diamond and dotted line, the fusion; 95 % intervals"
    counts = of["accounting"]
    return Figure(name, title, f"Accuracy and macro AUROC, {cohort}. {told}.", drawing.svg,
                  f"{counts['cases']} cases of {counts['groups']} groups", of["label"])  # fmt: skip


def curves_figure(name: str, curve: Mapping[str, Any]) -> Figure:
    """Lines over x with bands: {"title", "x", "x_label", "y_label", "lines": name -> {"y", "low", "high"}}."""
    lines: Mapping[str, Mapping[str, Sequence[float]]] = curve["lines"]
    x = curve["x"]
    places = x if all(isinstance(v, (int, float)) for v in x) else list(range(len(x)))
    with Drawing(4.6, 3.0) as drawing:
        for place, (label, line) in enumerate(lines.items()):
            colour, dash = PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)]
            y = [np.nan if v is None else v for v in line["y"]]
            drawing.axes.plot(places, y, color=colour, ls=dash, marker="o", ms=3, label=label)
            if "low" in line and "high" in line:
                low, high = ([np.nan if v is None else v for v in line[side]] for side in ("low", "high"))
                drawing.axes.fill_between(places, low, high, color=colour, alpha=0.13, lw=0)
        if places is not x:
            drawing.axes.set_xticks(places, [str(v) for v in x])
        drawing.axes.set(xlabel=curve.get("x_label", ""), ylabel=curve.get("y_label", ""))
        drawing.axes.legend()
    told = "; ".join(f"{label} from {line['y'][0]} to {line['y'][-1]}" for label, line in lines.items())
    return Figure(name, str(curve.get("title", name)), f"{curve.get('title', name)}. {told}.", drawing.svg)
