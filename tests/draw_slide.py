"""GeoJSON over its slide as a picture, for docs/pathologist.md:

python tests/draw_slide.py --slide composed.tif --objects RUN.tiles.geojson.gz --heatmap RUN.gradcam.geojson.gz \\
    --out docs/images/slide-classes.jpg

Above: the slide with tiles tinted by their class and regions outlined. Below: the heatmap's contours.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Optional

from PIL import Image, ImageDraw, ImageFont

from qupath_bridge.geojson_reader import QuPathObject, read_objects, walk
from shared_models.slide_reader import open_slide

WIDTH, EDGE, BAR = 1400, 12, 40
NOTE = "COMPOSED of real tiles (LC25000, test split), not one specimen. Research use only, not a diagnosis."


def rings(item: QuPathObject) -> list[list[list[list[float]]]]:
    """Polygons of an object, each its outline and its holes."""
    return [item.coordinates] if item.shape == "Polygon" else item.coordinates


def drawn(base: Image.Image, scale: float, objects: list[QuPathObject], opacity: int) -> Image.Image:
    """Tiles and filled annotations tinted, annotations outlined."""
    tint = Image.new("RGBA", base.size, (0, 0, 0, 0))
    for item in objects:
        mask = Image.new("L", base.size, 0)
        pen = ImageDraw.Draw(mask)
        for outline, *holes in rings(item):
            pen.polygon([(x * scale, y * scale) for x, y in outline], fill=opacity)
            for hole in holes:
                pen.polygon([(x * scale, y * scale) for x, y in hole], fill=0)
        if item.colour is not None and (item.kind == "tile" or opacity > 100):
            tint.paste((*item.colour, 255), mask=mask)
    answer = Image.alpha_composite(base.convert("RGBA"), tint)
    pen = ImageDraw.Draw(answer)
    for item in objects:
        if item.kind == "annotation" and item.colour is not None and opacity <= 100:
            for ring in (ring for part in rings(item) for ring in part):
                pen.line([(x * scale, y * scale) for x, y in ring], fill=(*item.colour, 255), width=5, joint="curve")
    return answer.convert("RGB")


def bar(entries: dict[str, tuple[int, int, int]], note: Optional[str] = None) -> Image.Image:
    """A strip with colours and their names."""
    strip = Image.new("RGB", (WIDTH, BAR), "white")
    pen, font, x = ImageDraw.Draw(strip), ImageFont.load_default(19), EDGE
    for name, colour in entries.items():
        pen.rectangle((x, 10, x + 20, 30), fill=colour)
        pen.text((x + 28, 20), name, fill="black", font=font, anchor="lm")
        x += 28 + round(pen.textlength(name, font=font)) + 28
    if note:
        pen.text((EDGE, 20), note, fill=(70, 70, 70), font=font, anchor="lm")
    return strip


def picture(slide: Path, objects: Path, heatmap: Path) -> Image.Image:
    """Both views, one above the other, with their colours."""
    with open_slide(slide) as opened:
        base = Image.fromarray(opened.thumbnail(max(WIDTH, round(WIDTH * opened.dimensions[1] / opened.dimensions[0]))))
        scale = base.width / opened.dimensions[0]
    found, contours = list(walk(read_objects(objects))), list(walk(read_objects(heatmap)))
    kinds = {o.class_name: o.colour for o in found if o.class_name and o.colour}
    steps = {o.class_name.removeprefix("LungXAI "): o.colour for o in contours if o.class_name and o.colour}
    parts: list[Any] = [drawn(base, scale, found, 90), bar(kinds), drawn(base, scale, contours, 170), bar(steps)]
    parts.append(bar({}, NOTE))
    whole = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), "white")
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("slide", "objects", "heatmap", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    picture(given.slide, given.objects, given.heatmap).save(given.out, quality=88)


if __name__ == "__main__":
    main()
