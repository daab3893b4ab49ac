"""What the report says of the H&E slide.

slide_values()   CaseRecord -> what templates/report_slide.html shows
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.results import PathologyResult
from shared_models.contract.values import CLASSES
from shared_models.model_bundle import SLIDE_MODEL

from . import report_pictures as pictures
from .case_record import CaseRecord
from .report_charts import percent, probability_chart
from .report_heatmaps import map_words


def slide_values(record: CaseRecord) -> Optional[dict[str, Any]]:
    """What the template shows as ``slide``; None where no slide was analysed."""
    result, maps = record.pathology, record.slide_heatmaps
    if result is None:
        return None
    images: list[Any] = []
    if record.slide is not None and len(result.origin_px):
        picture, to_level0 = record.slide.picture()
        found = pictures.slide_images(result, picture, to_level0)
        images = [
            (pictures.data_uri(found["slide"]), "The tissue that was analysed", "Tissue that was analysed", None),
            (
                pictures.data_uri(found["classes"]), "Each tile in the colour of its likeliest class",
                "Likeliest class of each tile", None,
            ),
        ]  # fmt: skip
        for heatmap in maps.values():
            words = map_words(heatmap)
            uri = pictures.data_uri(pictures.slide_overlay(picture, to_level0, heatmap))
            images.append((uri, f"Heatmap {words.title} over the slide", "", words))
    known = [i for i in range(len(CLASSES)) if np.isfinite(result.tile_probabilities[:, i]).any()]
    counts = dict.fromkeys((CLASSES[i] for i in known), 0)
    for row in result.tile_probabilities:
        if np.isfinite(row).any():
            counts[CLASSES[int(np.nanargmax(row))]] += 1
    total = max(1, len(result.origin_px))
    return {
        "result": result,
        "images": images,
        "chart": probability_chart(result.probabilities, "Probabilities of the slide", "slide"),
        "tiles": [
            (CLASS_LABELS[n], "rgb({},{},{})".format(*CLASS_COLOURS[n]), c, percent(c / total) if c else "none")
            for n, c in counts.items()
        ],
        "others": _others(result),
        "shipped": any(p.model_id.split(" ")[0] == SLIDE_MODEL for p in result.provenance),
        "quality": _quality(result),
        "has_maps": bool(maps),
    }


def _others(result: PathologyResult) -> list[tuple[str, int, str]]:
    """Classes of a model of others: name, tiles that it is the likeliest of, mean probability."""
    table = result.other_probabilities
    if table is None or not len(table):
        return []
    counts = np.bincount(table.argmax(axis=1), minlength=len(result.other_classes))
    return [(n, int(c), percent(float(m))) for n, c, m in zip(result.other_classes, counts, table.mean(axis=0))]


def _quality(result: PathologyResult) -> str:
    """In words, of the tiles that were classified; empty where nobody judged them."""
    if result.tile_quality is None or not len(result.tile_quality):
        return ""
    low = int((result.tile_quality < 0.5).sum())
    return f"Sharpness and cleanness of its tiles: median {np.median(result.tile_quality):.2f} of 1, {low} below 0.5."
