"""One figure of one tile or one nodule: the picture, and every method's map of it side by side.

Subject       the picture and the words around it
Panel         one map, on the pixels of the picture
figure()      Subject and Panels -> an RGB picture
blended()     a map over a grey copy of a picture, in the shared ramps
number()      a value in few characters

Maps lie over a grey copy of the picture, so that all colour comes from the map: H&E is as purple as what speaks
against a class. The copy is darker, since both ramps end bright and their dark ends would pale over white. Each map
has its own scale, the strongest value of either sign; less than a fifth of it is not drawn, where the two ramps look
alike. The legend says so. Every line of text is broken to the width that it has, whatever a model calls its classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .contract.colours import RGB, heat_colour
from .contract.heatmap_words import FAILED, SANITY, title, trust
from .contract.notice import NOTICE
from .contract.results import Heatmap
from .contract.values import Array
from .figure_sheet import INK, Sheet, font, spelled

SYNTHETIC = "SYNTHETIC: drawn or composed, not a patient"
SIDE_PX = 300
OUTLINE: RGB = (255, 214, 0)
_PAD, _GAP = 24, 6
_FAINT, _WARNING = (90, 90, 90), (163, 0, 0)
_TITLE, _BODY, _SMALL = 16, 15, 13
_DRAWN = 0.2  # of the scale; less is not drawn
_FAINTEST, _OPACITY = 0.3, 0.75  # there, and at full colour
_DARKENED = 0.6
_SIZES = ("saliency", "smoothgrad")  # sizes of gradients: how much a pixel matters, either way


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained.

    Parameters
    ----------
    picture : uint8 (rows, columns, 3), RGB, square pixels
    heading, caption : of the figure, and of the picture
    lines : said under the heading: model, probabilities, what is explained
    width : of the picture, in ``unit``; None where its pixel size is not known
    unit : "µm" or "mm"
    outline : bool (rows, columns) of the picture, drawn as an edge; None without
    edges : letters at the left, right, top and bottom edge; empty without
    synthetic : drawn or composed
    """

    picture: Array
    heading: str
    caption: str
    lines: tuple[str, ...]
    width: Optional[float] = None
    unit: str = "µm"
    outline: Optional[Array] = None
    edges: tuple[str, ...] = ()
    synthetic: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """One method's map.

    Parameters
    ----------
    heatmap : as the server gave it
    values : float32 (rows, columns), on the pixels of the picture
    cells : the map's own values here, where ``values`` are interpolated between them: these set the scale
    """

    heatmap: Heatmap
    values: Array
    cells: Optional[Array] = None

    @property
    def most(self) -> tuple[float, float]:
        """The strongest value for the target and the strongest against it on this picture, both 0 or more."""
        own = self.values if self.cells is None else self.cells
        return max(0.0, float(own.max())), max(0.0, -float(own.min()))


def figure(subject: Subject, panels: Sequence[Panel]) -> Array:
    """uint8 (rows, columns, 3): the heading, the picture, a panel for each map, and one legend."""
    cells = len(panels) + 2
    columns = 4 if cells > 6 or cells == 4 else 3
    width = columns * SIDE_PX + (columns + 1) * _PAD
    sheet = Sheet(width)
    y = _header(sheet, subject, width - 2 * _PAD)
    drawn = [_Cell(subject.caption, _annotated(_picture(subject), subject), [])]
    drawn += [_cell(panel, subject) for panel in panels]
    signed = any(panel.most[1] > 0 for panel in panels)
    drawn.append(_Cell("How to read this", None, _legend_words(subject, signed)))
    for start in range(0, cells, columns):
        y = _row(sheet, drawn[start : start + columns], y, signed)
    return sheet.cut(y)


def blended(picture: Array, values: Array, top: float) -> Array:
    """uint8 RGB: a map over a darker, grey copy of a picture.

    Parameters
    ----------
    picture : uint8 (rows, columns, 3)
    values : float (rows, columns); weak ones let the picture through
    top : the size of the value that is drawn in full colour
    """
    ramps = np.array([[heat_colour(i / 255, against) for i in range(256)] for against in (False, True)], np.uint8)
    share = np.clip(values / max(top, 1e-30), -1, 1)
    size = np.abs(share)
    heat = ramps[(share < 0).astype(int), np.rint(size * 255).astype(np.uint8)]
    strength = np.where(size < _DRAWN, 0.0, _FAINTEST + (_OPACITY - _FAINTEST) * (size - _DRAWN) / (1 - _DRAWN))
    grey = picture @ np.array([0.299, 0.587, 0.114]) * _DARKENED
    return np.asarray(np.rint(grey[..., None] * (1 - strength[..., None]) + heat * strength[..., None]), np.uint8)


def number(value: float) -> str:
    """Three digits; up to a million without an exponent."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _header(sheet: Sheet, subject: Subject, width: int) -> int:
    y = _PAD // 2
    if subject.synthetic:
        y = sheet.text(SYNTHETIC, _PAD, y, width, _TITLE, _WARNING) + 2
    y = sheet.text(f"{subject.heading}. {NOTICE}", _PAD, y, width, _TITLE) + 2
    for line in subject.lines:
        y = sheet.text(line, _PAD, y, width, _BODY)
    return y + _PAD // 2


# --- cells


@dataclass(frozen=True, eq=False)
class _Cell:
    """A title, a picture (None: the legend's ramps), and lines of (text, size, colour) under it."""

    title: str
    picture: Optional[Array]
    lines: list[tuple[str, int, RGB]]


def _cell(panel: Panel, subject: Subject) -> _Cell:
    heatmap = panel.heatmap
    failed = heatmap.parameters.get(SANITY) == FAILED
    picture = _annotated(_outlined(blended(subject.picture, panel.values, max(panel.most)), subject.outline), subject)
    lines = [(line, _BODY, INK) for line in _scale_words(panel)]
    if heatmap.parameters.get("sign") == "absolute":
        what = "Without sign: what matters, for or against." if heatmap.method in _SIZES else "Only what speaks for it."
        lines.append((what, _SMALL, _FAINT))
    error, converged = (heatmap.parameters.get(key) for key in ("completeness_error", "converged"))
    if error is not None:
        far = "" if converged else ", more than was allowed: do not read its values as exact"
        lines.append((f"Adds up to within {100 * float(error):.2g} %{far}.", _SMALL, _FAINT if converged else _WARNING))
    cells = heatmap.parameters.get("cells_per_tile")
    if cells:
        lines.append((f"{cells} x {cells} cells, interpolated.", _SMALL, _FAINT))
    said = trust(heatmap)
    lines.append((said[0].upper() + said[1:], _SMALL, _WARNING if failed else _FAINT))
    return _Cell(title(heatmap), picture, lines)


def _scale_words(panel: Panel) -> list[str]:
    """What full colour stands for, and how the two signs compare."""
    speaks_for, against = panel.most
    if max(panel.most) <= 0:
        return ["Empty: the map is 0 everywhere on this picture."]
    said = [f"Full colour: {number(max(panel.most))} {panel.heatmap.parameters.get('unit', '')}".strip()]
    if against > 0:
        said.append(f"Most for {number(speaks_for)}, most against {number(against)}")
    return said


def _legend_words(subject: Subject, signed: bool) -> list[tuple[str, int, RGB]]:
    said = [
        "Each map has its own scale, to its strongest value here: compare where methods look, not how strongly.",
        "Less than a fifth of a map's scale is not drawn. Maps lie over a grey, darker copy of the picture.",
    ]
    if not signed:
        said.append("No map here shows anything that speaks against the target.")
    if subject.outline is not None:
        said.append("Yellow line: the nodule as it was segmented.")
    if subject.width is None:
        said.append("No scale bar: the size of a pixel was not given.")
    return [*((line, _SMALL, INK) for line in said)]


def _row(sheet: Sheet, cells: Sequence[_Cell], y: int, signed: bool) -> int:
    """One row of cells, their pictures at one height; where the next row goes."""
    places = [_PAD + n * (SIDE_PX + _PAD) for n in range(len(cells))]
    heights = [sheet.height(cell.title, SIDE_PX, _TITLE) for cell in cells]
    for x, cell, height in zip(places, cells, heights):
        sheet.text(cell.title, x, y + max(heights) - height, SIDE_PX, _TITLE)
    end = below_titles = y + max(heights)
    for x, cell in zip(places, cells):
        low = below_titles + 2
        if cell.picture is None:
            low = _ramps(sheet, x, low, signed)
        else:
            sheet.paste(cell.picture, x, low)
            low += cell.picture.shape[0] + _GAP
        for text, size, colour in cell.lines:
            low = sheet.text(text, x, low, SIDE_PX, size, colour) + 2
        end = max(end, low)
    return end + _PAD // 2


def _ramps(sheet: Sheet, x: int, y: int, signed: bool) -> int:
    """The ramp of what speaks for the target, and of what speaks against it."""
    for against in (False, True)[: 1 + signed]:
        y = sheet.text("Speaks against it" if against else "Speaks for the target", x, y, SIDE_PX, _BODY) + 2
        ramp = np.array([heat_colour(i / (SIDE_PX - 1), against) for i in range(SIDE_PX)], np.uint8)
        bar = np.repeat(ramp[None], 18, axis=0)
        bar[[0, -1]] = bar[:, [0, -1]] = _FAINT
        sheet.paste(bar, x, y)
        ends = round(SIDE_PX - font(_SMALL).getlength("strongest"))
        sheet.text("0", x, y + 20, SIDE_PX, _SMALL)
        y = sheet.text("strongest", x + ends - 1, y + 20, SIDE_PX, _SMALL) + _GAP
    return y + _GAP


# --- the picture


def _picture(subject: Subject) -> Array:
    return _outlined(np.asarray(subject.picture), subject.outline)


def _fit(shape: Sequence[int]) -> tuple[int, int]:
    scale = SIDE_PX / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _outlined(picture: Array, outline: Optional[Array]) -> Array:
    """The picture at the panel's size, with the outline's edge drawn just outside it."""
    from PIL import Image
    from scipy import ndimage

    size = _fit(picture.shape)
    large = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    if outline is not None:
        mask = Image.fromarray(outline.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        inside = np.asarray(mask) > 127
        large[ndimage.binary_dilation(inside, iterations=2) & ~inside] = OUTLINE
    return large


def _annotated(picture: Array, subject: Subject) -> Array:
    """Letters of orientation, and a scale bar of a round length."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw, (w, h) = ImageDraw.Draw(image), image.size
    places = (((4, h // 2), "lm"), ((w - 4, h // 2), "rm"), ((w // 2, 3), "ma"), ((w // 2, h - 3), "md"))
    for letter, (place, anchor) in zip(subject.edges, places):
        draw.text(place, letter, fill="white", font=font(_BODY), anchor=anchor, stroke_width=2, stroke_fill="black")
    if subject.width is not None:
        length = round_length(subject.width)
        draw.rectangle((10, h - 14, 10 + round(length / subject.width * w), h - 10), fill="white", outline="black")
        words = spelled(f"{length:g} {subject.unit}")
        draw.text((10, h - 17), words, "white", font(_SMALL), "ls", stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def round_length(width: float) -> float:
    """The longest of 1, 2, 5, 10, 20 ... that takes at most a third of ``width``."""
    power = 10.0 ** np.floor(np.log10(width / 3))
    return float(power * max(step for step in (1, 2, 5) if step * power <= width / 3 * (1 + 1e-9)))
