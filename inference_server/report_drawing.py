"""Pictures for the report, whatever they show: how they are written, and their scale bars.

data_uri()    RGB to a PNG in a data: URI
photo_uri()   to a JPEG, for tissue, which as PNG is ten times as large
magnified()   a small picture, so many times as large
with_bar()    tissue with a scale bar
draw_bar()    the bar alone; letter_px() how large letters are
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from shared_models.contract.values import Array

_LEAST_FOR_A_BAR = 120


def data_uri(rgb: Array) -> str:
    """uint8 (rows, columns, 3) as a PNG in a data: URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def photo_uri(rgb: Array) -> str:
    """uint8 (rows, columns, 3) as a JPEG in a data: URI; to be looked at, never to be measured."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "JPEG", quality=88, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def letter_px(width: int) -> int:
    """Height of letters that can still be read where the picture is printed 4 cm wide."""
    return max(14, round(width / 17))


def draw_bar(draw: Any, size: tuple[int, int], length: int, words: str, ink: str, edge: str) -> None:
    """A scale bar of ``length`` pixels at the lower left of a picture of ``size``, (width, height)."""
    from PIL import ImageFont

    letter = letter_px(size[0])
    thick, away = max(4, letter // 5), letter // 2 + 2
    low = size[1] - away
    draw.rectangle((away, low - thick, away + length, low), fill=ink, outline=edge)
    place, font = (away, low - thick - letter // 5), ImageFont.load_default(letter)
    draw.text(place, words, fill=ink, font=font, anchor="ls", stroke_width=2, stroke_fill=edge)


def magnified(picture: Array, least: int) -> tuple[Array, int]:
    """A small picture so many times as large that both sides have ``least`` pixels, and how many times that is."""
    factor = -(-least // min(picture.shape[:2]))
    return (picture if factor <= 1 else picture.repeat(factor, axis=0).repeat(factor, axis=1)), max(1, factor)


def with_bar(picture: Array, um_per_px: float) -> Array:
    """Tissue with a scale bar of about a quarter of its width; as it is where it is too small for one.

    Parameters
    ----------
    picture : uint8 (rows, columns, 3); um_per_px : micrometres a pixel of it
    """
    from PIL import Image, ImageDraw

    if min(picture.shape[:2]) < _LEAST_FOR_A_BAR:
        return picture
    wanted = 0.3 * picture.shape[1] * um_per_px
    power = 10.0 ** np.floor(np.log10(wanted))
    bar_um = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    image = Image.fromarray(picture)
    words = f"{bar_um / 1000:g} mm" if bar_um >= 1000 else f"{bar_um:g} um"  # Pillow's own font has no micro sign
    draw_bar(ImageDraw.Draw(image), image.size, round(bar_um / um_per_px), words, "black", "white")
    return np.asarray(image)
