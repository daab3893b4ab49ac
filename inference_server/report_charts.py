"""The charts of the report as SVG text: drawn here, so that they need no script and print sharply.

answer_chart()         the first page's: one row a class, its probability and what each modality adds, side by side
probability_chart()    one bar a class; a class that was not assessed is hatched and says so
contribution_chart()   what each modality adds to each class, to the left or right of neutral
field_chart()          the same of each clinical field, for the classes that the clinical model tells apart
percent()              a probability in words

Colours are never alone: each bar has its class beside it or in the legend, and its number. Fonts are set on the SVG
itself: a program that makes a PDF does not look for them in the page's style.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Optional

from shared_models.contract.colours import CLASS_COLOURS
from shared_models.contract.fusion_result import BASE, MODALITIES
from shared_models.contract.values import CLASSES

from .report_words import _, class_words, part_words

FONTS = "Arial, Helvetica, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_LABEL, _BAR, _ROW = 172, 230, 26
_MIDDLE, _HALF = _LABEL + 40 + _BAR // 2, _BAR // 2 - 20
# Of answer_chart(), left to right: class, bar, number, then one column a modality.
_CLASS, _LENGTH, _NUMBER, _COLUMN, _LINE = 178, 150, 92, 140, 22
_SMALL, _BOLD = ' font-size="12"', ' font-weight="700"'
_HATCH = (
    '<pattern id="{id}" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="8" height="8" fill="#fff"/><line x1="0" y1="0" x2="0" y2="8" stroke="#888" stroke-width="3"/>'
    "</pattern>"
)


def percent(value: Optional[float]) -> str:
    """In words: never "0 %" for what is only unlikely, never a number for what was not assessed."""
    if value is None:
        return _("not assessed")
    return _("under 1 %") if value < 0.01 else _("over 99 %") if value > 0.99 else f"{100 * value:.0f} %"


def _colour(name: str) -> str:
    return "rgb({},{},{})".format(*CLASS_COLOURS[name])


def _svg(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="{FONTS}" '
        f'font-size="13" fill="#1a1a1a" xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{body}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _probability(x: int, y: int, length: int, height: int, name: str, value: Optional[float], key: str) -> str:
    """One bar with its number behind it."""
    number = _text(x + length + 8, y + height - 5, percent(value))
    frame = f'<rect x="{x}" y="{y}" width="{length}" height="{height}"'
    if value is None:
        return f'{frame} fill="url(#h-{key})" stroke="#888"/>{number}'
    return (
        f'{frame} fill="#f2f2f2"/><rect x="{x}" y="{y}" width="{max(1.5, length * value):.1f}" height="{height}" '
        f'fill="{_colour(name)}" stroke="#333" stroke-width="0.5"/>{number}'
    )


def _in_words(values: Mapping[str, Optional[float]]) -> str:
    return ", ".join(f"{class_words(name)} {percent(values[name])}" for name in CLASSES)


def probability_chart(values: Mapping[str, Optional[float]], title: str, key: str) -> str:
    """``key`` makes the ids of this chart its own within the page."""
    parts = [f"<defs>{_HATCH.format(id=f'h-{key}')}</defs>"]
    for row, name in enumerate(CLASSES):
        parts.append(_text(_LABEL - 10, row * _ROW + 19, class_words(name), "end"))
        parts.append(_probability(_LABEL, row * _ROW + 4, _BAR, 18, name, values[name], key))
    return _svg(_LABEL + _BAR + 110, _ROW * len(CLASSES), f"{title}: {_in_words(values)}", "".join(parts))


def answer_chart(values: Mapping[str, Optional[float]], contributions: Mapping[str, Mapping[str, float]]) -> str:
    """One row a class: its probability, then a column for each modality that took part, right of 0 speaks for it."""
    names = [m for m in MODALITIES if any(contributions.get(m, {}).values())]
    top = max((abs(v) for m in names for v in contributions[m].values()), default=1.0)
    first = _CLASS + _LENGTH + _NUMBER
    middles = {m: first + _COLUMN * i + _COLUMN // 2 for i, m in enumerate(names)}
    height = 20 + _LINE * len(CLASSES)
    parts = [
        f"<defs>{_HATCH.format(id='h-answer')}</defs>",
        _text(_CLASS, 12, _("Probability"), more=_BOLD),
    ]
    half = _COLUMN // 2 - 5
    for m in names:
        left, right = middles[m] - half, middles[m] + half
        parts.append(f'<rect x="{left}" y="17" width="{2 * half}" height="{height - 17}" fill="#f2f2f2"/>')
        parts.append(_text(middles[m], 12, part_words(m), "middle", _BOLD))
        parts.append(_text(left + 3, 12, "−") + _text(right - 3, 12, "+", "end"))
        parts.append(f'<line x1="{middles[m]}" x2="{middles[m]}" y1="17" y2="{height}" stroke="#333"/>')
    for row, name in enumerate(CLASSES):
        y = 20 + row * _LINE
        parts.append(_text(_CLASS - 10, y + 15, class_words(name), "end"))
        parts.append(_probability(_CLASS, y + 2, _LENGTH, 17, name, values[name], "answer"))
        for m in names:
            length = abs(contributions[m][name]) / top * (half - 4)
            x = middles[m] - (length if contributions[m][name] < 0 else 0)
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 4}" width="{max(length, 0.8):.1f}" height="13" fill="{_colour(name)}" '
                'stroke="#333" stroke-width="0.5"/>'
            )
    title = _("Probability of each class, and what each modality adds to it: %(values)s") % {
        "values": _in_words(values)
    }
    return _svg(first + _COLUMN * len(MODALITIES), height + 2, title, "".join(parts))


def _signed_bar(y: int, height: int, value: float, top: float, name: str, decimals: int = 2) -> str:
    """A bar in the colour of class ``name``, to the left or right of the middle; ``top`` is the longest."""
    length = abs(value) / top * _HALF
    x = _MIDDLE if value >= 0 else _MIDDLE - length
    end, anchor = (x + length + 6, "start") if value >= 0 else (x - 6, "end")
    words = f"{value:+.{decimals}f}" if value else "0"
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{max(length, 0.8):.1f}" height="{height}" fill="{_colour(name)}" '
        f'stroke="#333" stroke-width="0.5"/>{_text(end, y + height - 3, words, anchor, _SMALL)}'
    )


def contribution_chart(contributions: Mapping[str, Mapping[str, float]]) -> str:
    """Bars of weighted log evidence by modality; empty where no modality took part."""
    names = [m for m in contributions if any(contributions[m].values())]
    if not names:
        return ""
    top = max(abs(v) for m in names for v in contributions[m].values())
    parts, y = [], 0
    for modality in names:
        parts.append(_text(4, y + 20, part_words(modality), more=_BOLD))
        y += 26
        for name in CLASSES:
            parts.append(_text(_LABEL - 10, y + 14, class_words(name), "end"))
            parts.append(_signed_bar(y + 3, 14, contributions[modality][name], top, name))
            y += 21
        y += 6
    parts.append(f'<line x1="{_MIDDLE}" x2="{_MIDDLE}" y1="22" y2="{y}" stroke="#333"/>')
    title = _("Contribution of each modality to each class, in log units; right of the line speaks for the class")
    return _svg(_LABEL + _BAR + 70, y, title, "".join(parts))


def field_chart(shares: Mapping[str, Mapping[str, float]], values: Mapping[str, Optional[str]]) -> str:
    """Bars of each known field's share, then of what the model says before any field; empty where all are 0.

    Parameters
    ----------
    shares : FusionResult.field_contributions
    values : field to what was given, in words; None where it is not known
    """
    names = [c for c in CLASSES if any(row[c] for row in shares.values())]
    if not names:
        return ""
    top = max(abs(v) for row in shares.values() for v in row.values())
    parts, x = [], 4
    for name in names:
        parts.append(
            f'<rect x="{x}" y="3" width="14" height="14" fill="{_colour(name)}" stroke="#333" stroke-width="0.5"/>'
        )
        parts.append(_text(x + 20, 15, class_words(name)))
        x += 50 + 8 * len(class_words(name))
    y = first = 28
    for part, row in shares.items():
        given = values.get(part)
        height = 15 * len(names)
        label = part_words(part) if part == BASE else f"{part_words(part)}: {given or _('not known')}"
        middle = y + height / 2 + 5
        parts.append(_text(_LABEL - 10, middle, label, "end"))
        if given is None and part != BASE:
            parts.append(_text(_MIDDLE + 6, middle, "0", more=_SMALL))
        else:
            bars = (_signed_bar(y + 15 * i, 13, row[name], top, name, decimals=3) for i, name in enumerate(names))
            parts.extend(bars)
        y += height + 8
    parts.append(f'<line x1="{_MIDDLE}" x2="{_MIDDLE}" y1="{first - 3}" y2="{y}" stroke="#333"/>')
    title = _("Contribution of each clinical field, in log units; right of the line speaks for the class")
    return _svg(_LABEL + _BAR + 70, y + 2, title, "".join(parts))
