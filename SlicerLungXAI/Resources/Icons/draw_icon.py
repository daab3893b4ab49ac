"""Draws SlicerLungXAI.png: two lungs, a nodule, and the heat around it in the ramp of the heatmaps.

    python SlicerLungXAI/Resources/Icons/draw_icon.py
"""

from __future__ import annotations

from pathlib import Path

SIDE, FINE = 128, 8
_BACK, _LUNG, _LINE, _AIRWAY = (24, 32, 48, 255), (226, 232, 240, 255), (24, 32, 48, 255), (148, 163, 184, 255)
# viridis from its middle to its end, as in shared_models/contract/colours.py
_HEAT = ((42, 120, 142), (53, 183, 121), (144, 215, 67), (253, 231, 37))
_LEFT_LUNG = ((0.55, 0.36), (0.62, 0.21), (0.71, 0.20), (0.81, 0.33), (0.88, 0.53), (0.89, 0.76), (0.84, 0.83))
_LEFT_LUNG += ((0.71, 0.79), (0.60, 0.73), (0.57, 0.61), (0.60, 0.52), (0.56, 0.45))


def draw() -> object:
    """A 128 x 128 picture, PIL."""
    from PIL import Image, ImageChops, ImageDraw, ImageFilter

    size = SIDE * FINE

    def scaled(points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
        return [(x * size, y * size) for x, y in points]

    picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((0, 0, size - 1, size - 1), size // 6, fill=_BACK)
    for start, end in (((0.5, 0.10), (0.5, 0.36)), ((0.5, 0.34), (0.40, 0.46)), ((0.5, 0.34), (0.60, 0.46))):
        pen.line(scaled((start, end)), fill=_AIRWAY, width=size // 22, joint="curve")
        for x, y in scaled((start, end)):
            r = size // 44
            pen.ellipse((x - r, y - r, x + r, y + r), fill=_AIRWAY)
    lungs = Image.new("L", (size, size), 0)
    shape = ImageDraw.Draw(lungs)
    shape.polygon(scaled(_LEFT_LUNG), fill=255)
    shape.polygon(scaled(tuple((1 - x, y) for x, y in _LEFT_LUNG)), fill=255)
    # Blurred and cut again: rounded corners.
    lungs = lungs.filter(ImageFilter.GaussianBlur(size / 40)).point(lambda v: 255 if v > 127 else 0)
    picture.paste(_LUNG, (0, 0), lungs)
    centre, heat = (0.73 * size, 0.56 * size), Image.new("RGBA", (size, size), (0, 0, 0, 0))
    warm = ImageDraw.Draw(heat)
    for radius, colour in zip((0.165, 0.125, 0.085, 0.048), _HEAT):
        r = radius * size
        warm.ellipse((centre[0] - r, centre[1] - r, centre[0] + r, centre[1] + r), fill=(*colour, 255))
    picture.paste(heat, (0, 0), ImageChops.multiply(heat.getchannel("A"), lungs))
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("SlicerLungXAI.png"), optimize=True)  # type: ignore[attr-defined]
