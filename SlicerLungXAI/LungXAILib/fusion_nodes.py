"""The fused answer as nodes: a table in words, and bar charts of probabilities and of contributions.

fusion_table()         classes by row: fused, before any evidence, and what each modality contributed
probability_chart()    bars before and after the evidence, in the colours of the classes
contribution_chart()   bars by modality: weighted log evidence, 0 is neutral

A class that nothing assessed has no bar of its own: its share is in the grey bar "not assessed". A modality that is
missing has no bars; the chart's title names it.
"""

from __future__ import annotations

import math
from typing import Any

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, NOT_ASSESSED, RGB
from shared_models.contract.results import MODALITIES, FusionResult
from shared_models.contract.values import CLASSES

from .colours import rgb
from .logics import SceneLogics
from .nodules import fill
from .text import NOT_ASSESSED as NOT_ASSESSED_WORDS
from .text import NOTICE, probability, tr

MODALITY_NAMES = {"radiology": "CT", "pathology": "Slide", "clinical": "Clinical fields"}


def fusion_table(logics: SceneLogics, fusion: FusionResult, name: str) -> Any:
    """A vtkMRMLTableNode, all in words: a missing modality is "missing", a class without an answer "not assessed"."""
    node = logics.scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    titles = ("Class", "Fused", "Before any evidence", *(MODALITY_NAMES[m] for m in MODALITIES))
    rows = [
        (
            tr(CLASS_LABELS[name]),
            probability(fusion.probabilities[name]),
            probability(fusion.prior[name]),
            *(_contribution(fusion, modality, name) for modality in MODALITIES),
        )
        for name in CLASSES
    ]
    weights = [f"{fusion.weights[m]:.2f}" if m in fusion.weights else tr("missing") for m in MODALITIES]
    rows.append((tr("Not assessed by any modality"), probability(fusion.not_assessed_mass), "", "", "", ""))
    rows.append((tr("Weight"), "", "", *weights))
    rows.append((tr("Agreement"), fusion.agreement, "", "", "", ""))
    if fusion.abstention is not None:
        words = f"{fusion.abstention.reason} {fusion.abstention.what_would_help}"
        rows.append((tr("No answer"), words, "", "", "", ""))
    fill(node, tuple(tr(title) for title in titles), rows)
    return node


def _contribution(fusion: FusionResult, modality: str, name: str) -> str:
    if modality in fusion.missing:
        return tr("missing")
    value = fusion.contributions[modality].get(name, 0.0)
    return f"{value:+.2f}" if abs(value) >= 0.005 else tr("neutral")


def probability_chart(logics: SceneLogics, fusion: FusionResult, name: str) -> list[Any]:
    """Chart, table of numbers and series: percent before any evidence, and fused."""
    assessed = [c for c in CLASSES if fusion.probabilities[c] is not None]
    rest = math.fsum(fusion.prior[c] for c in CLASSES if c not in assessed)
    bars: list[tuple[str, RGB]] = [(tr(CLASS_LABELS[c]), CLASS_COLOURS[c]) for c in assessed]
    before = [100.0 * fusion.prior[c] for c in assessed]
    after = [100.0 * float(fusion.probabilities[c] or 0.0) for c in assessed]
    if len(assessed) < len(CLASSES):
        bars.append((tr(NOT_ASSESSED_WORDS), NOT_ASSESSED))
        before.append(100.0 * rest)
        after.append(100.0 * fusion.not_assessed_mass)
    rows = [(tr("Before any evidence"), before), (tr("Fused"), after)]
    return _chart(logics, name, tr("Fused probability"), tr("Probability (%)"), bars, rows, fusion)


def contribution_chart(logics: SceneLogics, fusion: FusionResult, name: str) -> list[Any]:
    """Chart, table of numbers and series: what each modality that took part contributed to each class."""
    bars = [(tr(CLASS_LABELS[c]), CLASS_COLOURS[c]) for c in CLASSES]
    rows = [
        (tr(MODALITY_NAMES[m]), [float(fusion.contributions[m].get(c, 0.0)) for c in CLASSES])
        for m in MODALITIES
        if m in fusion.weights
    ]
    return _chart(logics, name, tr("Contributions"), tr("Weighted log evidence"), bars, rows, fusion)


def _chart(
    logics: SceneLogics,
    name: str,
    title: str,
    unit: str,
    bars: list[tuple[str, RGB]],
    rows: list[tuple[str, list[float]]],
    fusion: FusionResult,
) -> list[Any]:
    scene = logics.scene
    numbers = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{name}, numbers")
    step = tr("Step")
    titles = (step, *(label for label, _ in bars))
    fill(numbers, titles, [(label, *values) for label, values in rows], numbers=titles[1:])
    numbers.SetHideFromEditors(True)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    made = [chart, numbers]
    for label, colour in bars:
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", label)
        series.SetAndObserveTableNodeID(numbers.GetID())
        series.SetPlotType(series.PlotTypeBar)
        series.SetLabelColumnName(step)
        series.SetYColumnName(label)
        series.SetColor(*rgb(colour))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        made.append(series)
    missing = [tr(MODALITY_NAMES[m]) for m in fusion.missing]
    words = [title, *([tr("missing: {names}").format(names=", ".join(missing))] if missing else []), NOTICE]
    chart.SetTitle("; ".join(words))
    chart.SetTitleVisibility(True)
    chart.SetYAxisTitle(unit)
    chart.SetYAxisTitleVisibility(True)
    chart.SetLegendVisibility(True)
    return made
