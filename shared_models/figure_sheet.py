"""White paper for a figure: text that never runs over its width, and pictures.

spelled()    a text in the letters that the font has
Sheet        grows downwards; text() and paste() put something at a place, cut() gives the picture
wrapped()    a text in lines of at most so many pixels
font(), line_step()   the font, and the height of a line, by size in pixels
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

import numpy as np

from .contract.colours import RGB
from .contract.values import Array

INK: RGB = (20, 20, 20)
_PAPER: RGB = (255, 255, 255)


@functools.lru_cache
def font(size: int) -> Any:
    """Pillow's own font, which is there on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


@functools.lru_cache
def _drawn(letter: str) -> bool:
    mask = font(15).getmask
    return letter == " " or bytes(mask(letter)) != bytes(mask("\uffff"))


def spelled(text: str) -> str:
    """``text`` in letters that the font has: without accents, um for micrometres, a question mark for other scripts.

    Pillow's font has hardly more than ASCII, and draws a box for what it lacks.
    """
    plain = "".join(
        letter if _drawn(letter) else unicodedata.normalize("NFKD", letter)
        for letter in text.replace("\u00b5", "u").replace("\u03bc", "u")
    )
    return "".join(
        letter if _drawn(letter) else "?" for letter in plain if not unicodedata.combining(letter)
    )  # fmt: skip


def wrapped(text: str, width: float, size: int) -> list[str]:
    """``text`` in lines of at most ``width`` pixels; a word that is longer is broken."""
    length = font(size).getlength
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if length(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while length(word) > width:
            fits = max(1, next(n for n in range(1, len(word) + 1) if length(word[:n]) > width) - 1)
            if fits == len(word):
                break
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line] if line else lines


def line_step(size: int) -> int:
    """From one line to the next, pixels."""
    return round(size * 1.3)


class Sheet:
    """White paper that grows downwards.

    Parameters
    ----------
    width : pixels
    """

    def __init__(self, width: int) -> None:
        from PIL import Image

        self._image = Image.new("RGB", (width, 800), _PAPER)

    def _room(self, y: float) -> None:
        if y > self._image.height:
            from PIL import Image

            larger = Image.new("RGB", (self._image.width, 2 * int(y)), _PAPER)
            larger.paste(self._image, (0, 0))
            self._image = larger

    def text(self, text: str, x: int, y: int, width: int, size: int, colour: RGB = INK) -> int:
        """Put a text in lines of at most ``width`` pixels; where the next line goes."""
        from PIL import ImageDraw

        step, lines = line_step(size), wrapped(spelled(text), width, size)
        self._room(y + step * (len(lines) + 1))
        draw = ImageDraw.Draw(self._image)
        for line in lines:
            draw.text((x, y), line, fill=colour, font=font(size))
            y += step
        return y

    @staticmethod
    def height(text: str, width: int, size: int) -> int:
        """What text() will take."""
        return line_step(size) * len(wrapped(spelled(text), width, size))

    def paste(self, picture: Array, x: int, y: int) -> None:
        """Put a picture, uint8 (rows, columns, 3), with its upper left at (x, y)."""
        from PIL import Image

        self._room(y + picture.shape[0])
        self._image.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))

    def cut(self, y: int) -> Array:
        """uint8 (y, width, 3): the sheet down to ``y``."""
        self._room(y)
        return np.asarray(self._image)[:y]
