"""The charts of the report as SVG text: drawn here, so that they need no script and print sharply.

probability_chart()    one bar a class; a class that was not assessed is hatched and says so
contribution_chart()   what each modality adds to each class, to the left or right of neutral
field_chart()          the same of each clinical field, for the classes that the clinical model tells apart

Colours are never alone: each bar has its class beside it or in the legend, and its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Optional

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.fusion_result import BASE, PART_LABELS
from shared_models.contract.values import CLASSES

_LABEL, _BAR, _ROW = 200, 320, 30
_MIDDLE, _HALF = _LABEL + 40 + _BAR // 2, _BAR // 2 - 20
_HATCH = (
    '<pattern id="{id}" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="8" height="8" fill="#fff"/><line x1="0" y1="0" x2="0" y2="8" stroke="#888" stroke-width="3"/>'
    "</pattern>"
)


def percent(value: Optional[float]) -> str:
    """In words: never "0 %" for what is only unlikely, never a number for what was not assessed."""
    if value is None:
        return "not assessed"
    return "under 1 %" if value < 0.01 else "over 99 %" if value > 0.99 else f"{100 * value:.0f} %"


def _colour(name: str) -> str:
    return "rgb({},{},{})".format(*CLASS_COLOURS[name])


def _svg(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{body}</svg>'
    )


def probability_chart(values: Mapping[str, Optional[float]], title: str, key: str) -> str:
    """``key`` makes the ids of this chart its own within the page."""
    parts, words = [f"<defs>{_HATCH.format(id=f'h-{key}')}</defs>"], []
    for row, name in enumerate(CLASSES):
        y, value = row * _ROW, values[name]
        label = escape(CLASS_LABELS[name])
        parts.append(f'<text x="{_LABEL - 10}" y="{y + 20}" text-anchor="end" class="t">{label}</text>')
        if value is None:
            words.append(f"{CLASS_LABELS[name]} not assessed")
            parts.append(
                f'<rect x="{_LABEL}" y="{y + 5}" width="{_BAR}" height="20" fill="url(#h-{key})" stroke="#888"/>'
                f'<text x="{_LABEL + _BAR + 8}" y="{y + 20}" class="t">not assessed</text>'
            )
            continue
        words.append(f"{CLASS_LABELS[name]} {percent(value)}")
        parts.append(
            f'<rect x="{_LABEL}" y="{y + 5}" width="{_BAR}" height="20" fill="#f2f2f2"/>'
            f'<rect x="{_LABEL}" y="{y + 5}" width="{max(1.5, _BAR * value):.1f}" height="20" '
            f'fill="{_colour(name)}" stroke="#333" stroke-width="0.5"/>'
            f'<text x="{_LABEL + _BAR + 8}" y="{y + 20}" class="t">{percent(value)}</text>'
        )
    return _svg(_LABEL + _BAR + 110, _ROW * len(CLASSES), f"{title}: {', '.join(words)}", "".join(parts))


def _signed_bar(y: int, height: int, value: float, top: float, name: str, decimals: int = 2) -> str:
    """A bar in the colour of class ``name``, to the left or right of the middle; ``top`` is the longest."""
    length = abs(value) / top * _HALF
    x = _MIDDLE if value >= 0 else _MIDDLE - length
    end, anchor = (x + length + 6, "start") if value >= 0 else (x - 6, "end")
    words = f"{value:+.{decimals}f}" if value else "0"
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{max(length, 0.8):.1f}" height="{height}" fill="{_colour(name)}" '
        f'stroke="#333" stroke-width="0.5"/>'
        f'<text x="{end:.1f}" y="{y + height - 3}" text-anchor="{anchor}" class="t s">{words}</text>'
    )


def contribution_chart(contributions: Mapping[str, Mapping[str, float]]) -> str:
    """Bars of weighted log evidence by modality; empty where no modality took part."""
    names = [m for m in contributions if any(contributions[m].values())]
    if not names:
        return ""
    top = max(abs(v) for m in names for v in contributions[m].values())
    parts, y = [], 0
    for modality in names:
        parts.append(f'<text x="4" y="{y + 20}" class="t b">{escape(PART_LABELS[modality])}</text>')
        y += 26
        for name in CLASSES:
            label = escape(CLASS_LABELS[name])
            parts.append(f'<text x="{_LABEL - 10}" y="{y + 14}" text-anchor="end" class="t">{label}</text>')
            parts.append(_signed_bar(y + 3, 14, contributions[modality][name], top, name))
            y += 21
        y += 6
    parts.append(f'<line x1="{_MIDDLE}" x2="{_MIDDLE}" y1="22" y2="{y}" stroke="#333"/>')
    title = "Contribution of each modality to each class, in log units; right of the line speaks for the class"
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
            f'<text x="{x + 20}" y="15" class="t">{escape(CLASS_LABELS[name])}</text>'
        )
        x += 50 + 8 * len(CLASS_LABELS[name])
    y = first = 28
    for part, row in shares.items():
        given = values.get(part)
        height = 15 * len(names)
        label = PART_LABELS[part] if part == BASE else f"{PART_LABELS[part]}: {given or 'not known'}"
        middle = y + height / 2 + 5
        parts.append(f'<text x="{_LABEL - 10}" y="{middle:.0f}" text-anchor="end" class="t">{escape(label)}</text>')
        if given is None and part != BASE:
            parts.append(f'<text x="{_MIDDLE + 6}" y="{middle:.0f}" class="t s">0</text>')
        else:
            bars = (_signed_bar(y + 15 * i, 13, row[name], top, name, decimals=3) for i, name in enumerate(names))
            parts.extend(bars)
        y += height + 8
    parts.append(f'<line x1="{_MIDDLE}" x2="{_MIDDLE}" y1="{first - 3}" y2="{y}" stroke="#333"/>')
    title = "Contribution of each clinical field, in log units; right of the line speaks for the class"
    return _svg(_LABEL + _BAR + 70, y + 2, title, "".join(parts))
