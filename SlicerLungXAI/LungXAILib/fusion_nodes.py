"""The fused answer as nodes: a table in words, and bar charts of probabilities and of contributions.

fusion_table()         classes by row: fused, before any evidence, what each modality and each field contributed;
                       then what would be said without each of them
probability_chart()    bars before and after the evidence, in the colours of the classes
contribution_chart()   bars by modality: weighted log evidence, 0 is neutral
known_fields()         the clinical fields, and the base, that contributed anything
left_out()             what would be said without each part, in words
what_decides()         the same in a few sentences: only the parts without which the answer would be another

A class that nothing assessed has no bar of its own: its share is in the grey bar "not assessed". A modality that is
missing has no bars; the chart's title names it.
"""

from __future__ import annotations

import math
from typing import Any

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, NOT_ASSESSED, RGB
from shared_models.contract.fusion_result import MODALITIES, PART_LABELS, FusionResult, LeftOut
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.notice import NOTICE
from shared_models.contract.values import CLASSES

from .colours import rgb
from .logics import SceneLogics
from .nodules import fill
from .text import NOT_ASSESSED as NOT_ASSESSED_WORDS
from .text import probability, tr

MODALITY_NAMES = {name: PART_LABELS[name] for name in MODALITIES}


def fusion_table(logics: SceneLogics, fusion: FusionResult, name: str) -> Any:
    """A vtkMRMLTableNode, all in words: a missing modality is "missing", a class without an answer "not assessed"."""
    node = logics.scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    fields = known_fields(fusion)
    titles = ("Class", "Fused", "Before any evidence", *(PART_LABELS[part] for part in (*MODALITIES, *fields)))
    rows: list[tuple[str, ...]] = [
        (
            tr(CLASS_LABELS[name]),
            probability(fusion.probabilities[name]),
            probability(fusion.prior[name]),
            *(_contribution(fusion, modality, name) for modality in MODALITIES),
            *(field_share(fusion, field, name) for field in fields),
        )
        for name in CLASSES
    ]
    weights = [f"{fusion.weights[m]:.2f}" if m in fusion.weights else tr("missing") for m in MODALITIES]
    rows.append((tr("Not assessed by any modality"), probability(fusion.not_assessed_mass)))
    rows.append((tr("Weight"), "", "", *weights))
    rows.append((tr("Agreement"), fusion.agreement))
    if fusion.conformal_set:
        rows.append((tr("Likely classes"), set_words(fusion)))
    rows += [(tr("Reliability"), words) for words in reliability_words(fusion)]
    if fusion.abstention is not None:
        rows.append((tr("No answer"), f"{fusion.abstention.reason} {fusion.abstention.what_would_help}"))
    rows += [(tr("Without: {part}").format(part=part), words) for part, words in left_out(fusion)]
    fill(node, tuple(tr(title) for title in titles), [row + ("",) * (len(titles) - len(row)) for row in rows])
    return node


def known_fields(fusion: FusionResult) -> list[str]:
    """The clinical fields, and the base, with a share that is not 0; none from a server before 0.2."""
    return [name for name, row in fusion.field_contributions.items() if any(row.values())]


def field_share(fusion: FusionResult, field: str, name: str) -> str:
    """A field's share of what the clinical fields contribute to a class; smaller than theirs, so with a digit more."""
    value = fusion.field_contributions[field].get(name, 0.0)
    return f"{value:+.3f}" if abs(value) >= 0.0005 else tr("neutral")


def left_out(fusion: FusionResult) -> list[tuple[str, str]]:
    """Part, and what would be said without it."""
    return [(tr(PART_LABELS[part]), _said(left)) for part, left in fusion.leave_one_out.items()]


def _said(left: LeftOut) -> str:
    if left.answer is None:
        return tr("No answer")
    return f"{tr(CLASS_LABELS[left.answer])} {probability(left.probabilities[left.answer])}"


def what_decides(fusion: FusionResult) -> list[str]:
    """Sentences; none where nothing can be left out."""
    others = [part for part, left in fusion.leave_one_out.items() if left.answer != fusion.answer]
    words = tr("Without {part}: {answer}.")
    told = [
        words.format(part=_within(tr(PART_LABELS[part])), answer=_within(_said(fusion.leave_one_out[part])))
        for part in others
    ]
    if fusion.leave_one_out and not others:
        told.append(tr("No one part alone decides: without any of them the answer would be the same."))
    return told


def _within(label: str) -> str:
    """A label as it stands within a sentence."""
    return label if label.isupper() else label[:1].lower() + label[1:]


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
