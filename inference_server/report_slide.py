"""What the report says of the H&E slide.

slide_values()     CaseRecord -> what templates/report_slide.html shows, and under "summary" what the first page shows
own_areas()        how much of the slide each tile has to itself, where tiles overlap
The tiles that it shows are chosen in report_tiles.py.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from shared_models.contract.colours import CLASS_COLOURS, NOT_ASSESSED, RGB
from shared_models.contract.results import PathologyResult
from shared_models.contract.values import CLASSES, Array
from shared_models.model_bundle import SLIDE_MODEL
from shared_models.out_of_distribution import UNRELIABLE

from . import report_pictures as pictures
from .case_record import CaseRecord
from .report_charts import percent, probability_chart
from .report_drawing import photo_uri, with_bar
from .report_heatmaps import map_words
from .report_tiles import tile_groups
from .report_words import _, class_words, ngettext
from .slides import StoredSlide

_MOST_PX = 900  # of a side of the slide's pictures
_CELLS = 4  # a side, of a tile, that areas are counted in
_LOW_QUALITY = 0.5


def slide_values(record: CaseRecord) -> Optional[dict[str, Any]]:
    """What the template shows as ``slide``; None where no slide was analysed."""
    result, slide = record.pathology, record.slide
    if result is None:
        return None
    um_per_level0 = None if slide is None else slide.mpp * slide.shape[1] / slide.tile_px[0]
    images = _slide_images(record, um_per_level0)
    nothing = (None, "", "", None)
    plain = [image for image in images if image[3] is None] + [nothing, nothing]  # the tissue, then its class map
    areas = _areas(result, um_per_level0)
    quality = _quality(result, slide)
    return {
        "result": result,
        "images": images,
        "has_pixels": slide is not None,
        "chart": probability_chart(result.probabilities, _("Probabilities of the slide"), "slide"),
        "areas": areas,
        "has_mm2": um_per_level0 is not None,
        "others": _others(result),
        "not_validated": not any(p.model_id.split(" ")[0] == SLIDE_MODEL for p in result.provenance),
        "calibrated": all(p.calibrated for p in result.provenance),
        "quality": quality,
        "tiles": tile_groups(record, um_per_level0),
        "has_maps": bool(record.slide_heatmaps),
        "summary": {
            "thumbnail": plain[0][0], "thumbnail_alt": plain[0][1],
            "class_map": plain[1][0], "class_map_alt": plain[1][1],
            "areas": [(row["label"], row["colour"], row["share"]) for row in areas],
            "quality": " ".join(quality[:1]),
            "words": _summary_words(result, slide),
        },
    }  # fmt: skip


def _summary_words(result: PathologyResult, slide: Optional[StoredSlide]) -> str:
    count = len(result.origin_px)
    said = ngettext("%(n)s tile at %(mpp)s µm per pixel.", "%(n)s tiles at %(mpp)s µm per pixel.", count) % {
        "n": count, "mpp": f"{result.mpp:.2f}"}  # fmt: skip
    return said if slide is not None else said + " " + _("Its pixels are not at hand here.")


def _slide_images(record: CaseRecord, um_per_level0: Optional[float]) -> list[Any]:
    """The slide, its class map and each heatmap over it, as (URI, alt text, caption, MapWords or None)."""
    result, slide = record.pathology, record.slide
    if result is None or slide is None or not len(result.origin_px):
        return []
    picture, to_level0 = slide.picture(_MOST_PX)
    um = (um_per_level0 or 1.0) * to_level0[0, 0]

    def shown(rgb: Array) -> str:
        return photo_uri(with_bar(rgb, um))

    found = pictures.slide_images(result, picture, to_level0)
    images: list[Any] = [
        (shown(found["slide"]), _("The tissue that was analysed"), _("Tissue that was analysed"), None)
    ]
    if np.isfinite(result.tile_probabilities).any():
        caption = _("Likeliest class of each tile, fainter where the model is less sure; colours as in the table")
        images.append((shown(found["classes"]), _("Each tile in the colour of its likeliest class"), caption, None))
    for heatmap in record.slide_heatmaps.values():
        words = map_words(heatmap)
        alt = _("Heatmap %(title)s over the slide") % {"title": words.title}
        images.append((shown(pictures.slide_overlay(picture, to_level0, heatmap)), alt, "", words))
    return images


# --- areas


def own_areas(origin_px: Array, tile_px: tuple[float, float]) -> Array:
    """float64 (n,): the area that each tile has to itself, in level-0 pixels squared.

    Where tiles overlap what they share is divided among them, counted on a grid of a quarter of a tile's side, so that
    the areas sum to what the tiles cover.
    """
    cell = np.array(tile_px) / _CELLS
    first = np.rint((origin_px - origin_px.min(axis=0)) / cell).astype(np.int64)
    steps = np.stack(np.meshgrid(np.arange(_CELLS), np.arange(_CELLS)), axis=-1).reshape(-1, 2)
    cells = (first[:, None] + steps).reshape(-1, 2)
    width = int(cells[:, 0].max()) + 1
    _names, place, counts = np.unique(cells[:, 1] * width + cells[:, 0], return_inverse=True, return_counts=True)
    shares: Array = (1 / counts[place]).reshape(len(origin_px), -1).sum(axis=1) * float(cell.prod())
    return shares


def _areas(result: PathologyResult, um_per_level0: Optional[float]) -> list[dict[str, Any]]:
    """One row a class that was assessed, then what has no answer: label, colour, tiles, share and mm² in words."""
    table = result.tile_probabilities
    if not len(table):
        return []
    area = own_areas(result.origin_px, result.tile_px)
    known = np.isfinite(table).any(axis=0)
    rows: list[tuple[str, Optional[RGB], Array]] = []
    if not known.any() and result.other_probabilities is not None:
        best = result.other_probabilities.argmax(axis=1)
        rows = [(name, None, best == i) for i, name in enumerate(result.other_classes)]
    else:
        answered = np.isfinite(table).any(axis=1)
        best = np.where(answered, np.nan_to_num(table, nan=-1.0).argmax(axis=1), -1)
        rows = [(class_words(name), CLASS_COLOURS[name], best == i) for i, name in enumerate(CLASSES) if known[i]]
        if not answered.all():
            rows.append((_("not assessed"), NOT_ASSESSED, best < 0))
    return [
        {
            "label": label, "colour": None if colour is None else "rgb({},{},{})".format(*colour),
            "tiles": int(inside.sum()), "share": _share(float(area[inside].sum() / area.sum())),
            "mm2": "" if um_per_level0 is None else f"{area[inside].sum() * (um_per_level0 / 1000) ** 2:.2f}",
        }
        for label, colour, inside in rows
    ]  # fmt: skip


def _share(value: float) -> str:
    """Of an area, not of a probability: none and all may be said."""
    return _("none") if value == 0 else f"{100:.0f} %" if value > 1 - 1e-9 else percent(value)


# --- quality


def _others(result: PathologyResult) -> list[tuple[str, int, str]]:
    """Classes of a model of others: name, tiles that it is the likeliest of, mean probability."""
    table = result.other_probabilities
    if table is None or not len(table):
        return []
    counts = np.bincount(table.argmax(axis=1), minlength=len(result.other_classes))
    return [(n, int(c), percent(float(m))) for n, c, m in zip(result.other_classes, counts, table.mean(axis=0))]


def _quality(result: PathologyResult, slide: Optional[StoredSlide]) -> list[str]:
    """In words: of the tiles that were classified, of those that were left out, and how like the training they are."""
    said = []
    quality, like = result.tile_quality, result.tile_reliability
    if quality is not None and len(quality):
        said.append(_("Sharpness and cleanness of its tiles: median %(median)s of 1, %(low)s below 0.5.") % {
            "median": f"{np.median(quality):.2f}", "low": int((quality < _LOW_QUALITY).sum())})  # fmt: skip
    else:
        said.append(_("Sharpness and cleanness of its tiles were not judged."))
    if slide is not None:
        out = slide.count - len(result.origin_px)
        said.append(ngettext("%(n)s tile that was sent was not classified.",
                             "%(n)s tiles that were sent were not classified.", out) % {"n": out}
                    if out else _("Every tile that was sent was classified."))  # fmt: skip
        said[-1] += " " + _("What the reader of the slide left out before, as background or blurred, is not kept.")
    if like is not None and len(like):
        said.append(_("%(n)s of %(all)s tiles look unlike what the model learned from: they do not count for the "
                      "slide, but are in the areas. Reliability of the slide %(mean)s of 1.") % {
            "n": int((like < UNRELIABLE).sum()), "all": len(like),
            "mean": "?" if result.reliability is None else f"{result.reliability:.2f}"})  # fmt: skip
    else:
        said.append(_("Whether its tiles are like what the model learned from was not assessed."))
    return said
