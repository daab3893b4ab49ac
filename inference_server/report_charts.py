"""The charts of the report as SVG text: drawn here, so that they need no script and print sharply.

probability_chart()    one bar a class; a class that was not assessed is hatched and says so
contribution_chart()   what each modality adds to each class, to the left or right of neutral
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Optional

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.values import CLASSES

_LABEL, _BAR, _ROW = 200, 320, 30
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


def contribution_chart(contributions: Mapping[str, Mapping[str, float]]) -> str:
    """Bars of weighted log evidence by modality; empty where no modality took part."""
    names = [m for m in contributions if any(contributions[m].values())]
    if not names:
        return ""
    top = max(abs(v) for m in names for v in contributions[m].values())
    middle, half = _LABEL + 40 + _BAR / 2, _BAR / 2 - 20
    parts, y = [], 0
    for modality in names:
        parts.append(f'<text x="4" y="{y + 20}" class="t b">{escape(modality)}</text>')
        y += 26
        for name in CLASSES:
            value = contributions[modality][name]
            length = abs(value) / top * half
            x = middle if value >= 0 else middle - length
            end, anchor = (x + length + 6, "start") if value >= 0 else (x - 6, "end")
            label = escape(CLASS_LABELS[name])
            parts.append(f'<text x="{_LABEL - 10}" y="{y + 14}" text-anchor="end" class="t">{label}</text>')
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 3}" width="{max(length, 0.8):.1f}" height="14" fill="{_colour(name)}" '
                f'stroke="#333" stroke-width="0.5"/>'
                f'<text x="{end:.1f}" y="{y + 14}" text-anchor="{anchor}" class="t s">{value:+.2f}</text>'
            )
            y += 21
        y += 6
    parts.append(f'<line x1="{middle}" x2="{middle}" y1="22" y2="{y}" stroke="#333"/>')
    title = "Contribution of each modality to each class, in log units; right of the line speaks for the class"
    return _svg(_LABEL + _BAR + 70, y, title, "".join(parts))
