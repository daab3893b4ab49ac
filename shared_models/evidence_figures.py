"""Pictures of the evidence page, as SVG with text that stays text.

figures_of()    every picture of one task: Figure(name, title, alt, svg)
Drawing         one picture; what other pictures are drawn with

Colours are Okabe and Ito's, and lines differ in their dashes too, so that they are told apart in grey. The same figures
give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .contract.colours import CLASS_COLOURS, CLASS_LABELS
from .evidence_cases import Cases

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
GREY = "#666666"
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "lungxai", "font.family": "sans-serif", "font.size": 9,
    "font.sans-serif": ["DejaVu Sans"], "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
    "legend.fontsize": 8, "figure.constrained_layout.use": True, "lines.linewidth": 1.6,
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """``alt`` says in words what the picture shows; ``svg`` is the file. ``counted`` and ``synthetic`` say of which
    cases it is, where those are not the task's."""

    name: str
    title: str
    alt: str
    svg: bytes
    counted: str = ""
    synthetic: str = ""


def said(name: str) -> str:
    """A class as readers see it."""
    return CLASS_LABELS.get(name, name.replace("_", " "))


def _colour(name: str, place: int) -> str:
    if name in CLASS_COLOURS and name != "small_cell":  # yellow lines are not seen on white
        return "#{:02x}{:02x}{:02x}".format(*CLASS_COLOURS[name])
    return "#8a7a00" if name == "small_cell" else PALETTE[place % len(PALETTE)]


class Drawing:
    """One picture: ``axes`` to draw on inside ``with``, ``svg`` after it."""

    def __init__(self, width: float, height: float, columns: int = 1) -> None:
        self._size, self._columns = (width, height), columns

    def __enter__(self) -> Drawing:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure as Sheet

        self._context = matplotlib.rc_context(_STYLE)
        self._context.__enter__()
        self._sheet = Sheet(figsize=self._size)
        FigureCanvasSVG(self._sheet)
        every = self._sheet.subplots(1, self._columns, squeeze=False)[0]
        self.each, self.axes = list(every), every[0]
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            held = io.BytesIO()
            self._sheet.savefig(held, format="svg", metadata={"Date": None, "Creator": "LungXAI"})
            self.svg = held.getvalue()
        self._context.__exit__(kind, *rest)


def figures_of(cases: Cases, figures: Mapping[str, Any]) -> list[Figure]:
    """The pictures of one task; ``figures`` are evidence_measures.measured()'s of the same cases."""
    drawn = [_subgroups(cases, figures)]
    if not cases.classes:
        drawn = [_overlap(cases), *drawn]
    else:
        drawn = [_confusion(cases, figures), _roc(cases, figures), _reliability(cases, figures),
                 _decision(cases, figures), _risk(figures), *drawn]  # fmt: skip
    return [one for one in drawn if one is not None]


def _confusion(cases: Cases, figures: Mapping[str, Any]) -> Figure:
    counts = np.array(figures["confusion"])
    rows = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(rows, 1)
    names = [said(name) for name in cases.classes]
    k = len(names)
    with Drawing(2.6 + 0.95 * k, 1.6 + 0.62 * k) as drawing:
        axes = drawing.axes
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1.25)
        for i in range(k):
            for j in range(k):
                dark = share[i, j] > 0.65
                axes.text(j, i, f"{counts[i, j]}\n{100 * share[i, j]:.0f} %", ha="center", va="center",
                          color="white" if dark else "black")  # fmt: skip
        axes.set_xticks(range(k), [name.replace(" ", "\n", 1) for name in names])
        axes.set_yticks(range(k), [name.replace(" ", "\n", 1) for name in names])
        axes.set_xlabel("the model says")
        axes.set_ylabel("truth")
        axes.grid(False)
        axes.spines[:].set_visible(False)
    cells = "; ".join(
        f"{names[i]} called {names[j]}: {counts[i, j]}" for i in range(k) for j in range(k) if counts[i, j]
    )
    return Figure("confusion", "Confusion matrix: counts and shares of each row", f"Confusion matrix. {cells}.",
                  drawing.svg)  # fmt: skip


def roc_curve(y: Any, score: Any) -> tuple[Any, Any]:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1), ties in one step: y bool (n,), score (n,)."""
    order = np.argsort(-score, kind="stable")
    falling, truth = score[order], y[order]
    last = np.r_[falling[1:] != falling[:-1], True]
    hits, alarms = np.cumsum(truth)[last], np.cumsum(~truth)[last]
    return np.r_[0, alarms / max(int((~y).sum()), 1)], np.r_[0, hits / max(int(y.sum()), 1)]


def _roc(cases: Cases, figures: Mapping[str, Any]) -> Any:
    shown = list(figures["per_class"])
    if not shown:
        return None
    told = []
    with Drawing(4.6, 4.2) as drawing:
        axes = drawing.axes
        axes.plot([0, 1], [0, 1], color="#aaaaaa", lw=0.8)
        for place, name in enumerate(shown):
            c = cases.classes.index(name)
            area = figures["per_class"][name]["auroc"]["value"]
            axes.plot(*roc_curve(cases.labels == c, cases.probabilities[:, c]), color=_colour(name, place),
                      ls=DASHES[place % len(DASHES)], label=f"{said(name)}, AUROC {area:.3f}")  # fmt: skip
            told.append(f"{said(name)} {area:.3f}")
        if len(cases.classes) == 2:
            for place, (name, rival) in enumerate(cases.rivals.items(), 1):
                score = rival if rival.ndim == 1 else rival[:, 1]
                area = figures["rivals"][name]["AUROC"]["value"]
                axes.plot(*roc_curve(cases.labels == 1, score), color=PALETTE[(place + 1) % len(PALETTE)], lw=1,
                          ls=DASHES[place % len(DASHES)], label=f"{name}, {area:.3f}")  # fmt: skip
                told.append(f"{name} {area:.3f}")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 - specificity", ylabel="sensitivity", aspect=1)
        axes.legend(loc="lower right")
    title = "ROC curves" if len(cases.classes) == 2 else "ROC curves, one class against the rest"
    return Figure("roc", title, f"{title}. AUROC: {'; '.join(told)}.", drawing.svg)


def _reliability(cases: Cases, figures: Mapping[str, Any]) -> Figure:
    shown = figures["calibration"]
    told = []
    with Drawing(2.65 * len(shown) + 0.4, 3.35, len(shown)) as drawing:
        for axes, (place, (name, one)) in zip(drawing.each, enumerate(shown.items())):
            bins = one["bins"]
            x, y = [b["mean_confidence"] for b in bins], [b["rate"] for b in bins]
            low, high = ([b["ci95"][side] for b in bins] for side in (0, 1))
            colour = "#000000" if name == "winning class" else _colour(name, place)
            axes.plot([0, 1], [0, 1], color="#aaaaaa", lw=0.8)
            axes.vlines(x, low, high, color=colour, lw=1)
            axes.plot(x, y, "o", ms=4, color=colour, mec="white", mew=0.4)
            error = one["ece_debiased"]["value"]
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect=1, xlabel="stated probability",
                     title=f"{said(name)}\nECE {error:.3f}, n {sum(b['n'] for b in bins)}")  # fmt: skip
            axes.title.set_fontsize(9)
            told.append(f"{said(name)} {error:.3f}")
        drawing.axes.set_ylabel("how often it came true")
    return Figure(
        "reliability", "Reliability: equally many cases a point, 95 % intervals by Wilson",
        f"Reliability diagrams. Debiased calibration error: {'; '.join(told)}.", drawing.svg,
    )  # fmt: skip


def _decision(cases: Cases, figures: Mapping[str, Any]) -> Any:
    if not figures["decision"]:
        return None
    from .evidence_measures import THRESHOLDS

    with Drawing(2.9 * len(figures["decision"]) + 0.4, 2.9, len(figures["decision"])) as drawing:
        for axes, (place, (name, curve)) in zip(drawing.each, enumerate(figures["decision"].items())):
            most = max(float(np.mean(cases.labels == cases.classes.index(name))), 0.01)
            axes.plot(THRESHOLDS, curve["model"], color=_colour(name, place), label="the model")
            axes.plot(THRESHOLDS, curve["treat_all"], color=GREY, ls=DASHES[1], label="act on all")
            axes.plot(THRESHOLDS, curve["treat_none"], color="#000000", lw=0.9, ls=DASHES[2], label="act on none")
            axes.set(xlim=(0, 1), ylim=(-0.15 * most, 1.08 * most), xlabel="threshold probability", title=said(name))
            axes.title.set_fontsize(9)
        drawing.axes.set_ylabel("net benefit")
        drawing.axes.legend(loc="lower left")
    told = "; ".join(
        f"{said(name)}: the model is above both others at {_above(curve)} of 99 thresholds"
        for name, curve in figures["decision"].items()
    )
    return Figure("decision", "Decision curves", f"Decision curves. {told}.", drawing.svg)


def _above(curve: Mapping[str, Any]) -> int:
    best = np.maximum(np.array(curve["treat_all"]), np.array(curve["treat_none"]))
    return int((np.array(curve["model"]) > best + 1e-12).sum())


def _risk(figures: Mapping[str, Any]) -> Figure:
    curve = figures["risk_coverage"]
    whole = float(curve["risk"][-1])
    with Drawing(4.2, 2.9) as drawing:
        drawing.axes.step(curve["coverage"], curve["risk"], where="post", color=PALETTE[0])
        drawing.axes.set(xlim=(0, 1.01), ylim=(-0.002, max(0.02, 1.1 * float(max(curve["risk"])))),
                         xlabel="share of cases that are answered, the surest first",
                         ylabel="share of answers that are wrong")  # fmt: skip
    return Figure(
        "risk", "Abstention: what is wrong among the surest answers",
        f"Risk against coverage. Answering all, {whole:.3f} are wrong; area {curve['area']['value']:.4f}.", drawing.svg,
    )  # fmt: skip


def _subgroups(cases: Cases, figures: Mapping[str, Any]) -> Any:
    rows = []
    for by, strata in figures["subgroups"].items():
        for name, entry in strata.items():
            if "measures" in entry:
                rows.append((f"{by}: {said(name)} (n {entry['n']})", next(iter(entry["measures"].items()))))
    if not rows:
        return None
    main, whole = next(iter(figures["measures"].items()))
    with Drawing(6.2, 0.75 + 0.2 * len(rows)) as drawing:
        axes = drawing.axes
        for y, (_, (_, one)) in enumerate(rows):
            axes.plot(one["ci95"], [y, y], color=PALETTE[0], lw=1.4)
            axes.plot(one["value"], y, "s", ms=4.5, color=PALETTE[0])
        axes.axvline(whole["value"], color=GREY, lw=0.9, ls=":")
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        least = np.nanmin([whole["value"], *(v for _, (_, one) in rows for v in (one["ci95"][0], one["value"]))])
        axes.set(xlabel=f"{main}; dotted: all cases", ylim=(len(rows) - 0.5, -0.5), xlim=(max(0, least - 0.03), 1.01))
    told = "; ".join(f"{label} {one['value']:.3f}" for label, (_, one) in rows)
    return Figure("subgroups", f"Subgroups: {main} with 95 % intervals", f"{main} by subgroup. {told}.", drawing.svg)


def _overlap(cases: Cases) -> Figure:
    (name, dice), *_ = cases.values.items()
    names, columns = ["the model", *cases.rivals], [dice, *cases.rivals.values()]
    edges = np.linspace(0, 1, 21)
    with Drawing(4.6, 2.9) as drawing:
        for place, (label, column) in enumerate(zip(names, columns)):
            drawing.axes.stairs(np.histogram(column, edges)[0], edges, fill=place == 0, color=PALETTE[place],
                                ls=DASHES[place % len(DASHES)] if place else "-", lw=1.4, label=label)  # fmt: skip
        drawing.axes.set(xlabel=name, ylabel=f"{cases.unit}s", xlim=(0, 1))
        drawing.axes.legend(loc="upper left")
    told = "; ".join(f"{label}: median {float(np.median(column)):.3f}" for label, column in zip(names, columns))
    return Figure("overlap", f"How the {name} of single {cases.unit}s spreads", f"Histogram. {told}.", drawing.svg)
