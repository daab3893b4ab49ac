"""The report of a case: one HTML page that needs nothing else, for a tumour board.

render()   CaseRecord -> HTML (templates/report.html)
The pictures are made in report_pictures.py, the charts in report_charts.py, the fused answer in report_fusion.py, what
stands beside a heatmap in report_heatmaps.py.
The page holds no script and asks for nothing from outside; its only name for the patient is the case's pseudonymous id.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import numpy as np

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.fusion_result import PART_LABELS
from shared_models.contract.results import (
    Heatmap,
    LabelVolume,
    PathologyResult,
    RadiologyResult,
    placed,
)
from shared_models.contract.values import CLASSES, Array, CTVolume
from shared_models.model_bundle import SLIDE_MODEL

from . import report_pictures as pictures
from .case_record import CaseRecord
from .report_charts import percent, probability_chart
from .report_fusion import clinical_words, fusion_values
from .report_heatmaps import map_words
from .report_words import Words, _, ngettext, speaking

MOST_NODULES = 5
# Of a map's strongest value: with less of it a picture shows next to nothing, and says so, or is left out.
_WEAK, _NOTHING = 0.1, 0.01
_TEMPLATES = Path(__file__).parent / "templates"


def render(
    record: CaseRecord,
    *,
    paper: str = "a4",
    created: Optional[datetime.datetime] = None,
    words: Optional[Words] = None,
) -> str:
    """The report as HTML; whatever the record does not have is said to be missing.

    Parameters
    ----------
    paper : of PAPERS, the sheet that it is printed on
    created : when it is written; now, unless given
    words : its language; English, unless given
    """
    ct_heatmaps, slide_heatmaps = record.ct_heatmaps, record.slide_heatmaps
    moment = created or datetime.datetime.now(datetime.timezone.utc)
    shown = {} if record.slide is None else {record.slide.slide_id: record.slide.picture()}
    with speaking(words or Words()) as speech:
        return (
            _environment()
            .get_template("report.html")
            .render(
                record=record,
                case_id=record.case_id,
                language=speech.language,
                paper=paper,
                created=moment.strftime("%Y-%m-%d %H:%M"),
                synthetic=record.synthetic,
                fusion=None if record.fusion is None else fusion_values(record.fusion, record.clinical),
                ct=None if record.radiology is None else _ct(record.radiology, record.mask, record.volume, ct_heatmaps),
                slide=None if record.pathology is None else _slide(record.pathology, shown, slide_heatmaps),
                clinical=None
                if record.clinical is None
                else [
                    (PART_LABELS[name], said or "not known") for name, said in clinical_words(record.clinical).items()
                ],
                provenance=_provenance(record.radiology, record.pathology, record.fusion),
                maps=[
                    (map_words(heatmap).title, heatmap.modality, heatmap.parameters)
                    for maps in (ct_heatmaps, slide_heatmaps)
                    for heatmap in maps.values()
                ],
            )
        )


def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment: Any = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, extensions=["jinja2.ext.i18n"],
    )  # fmt: skip
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(_, ngettext, newstyle=True)
    return environment


def _ct(
    result: RadiologyResult, mask: Optional[LabelVolume], volume: Optional[CTVolume], maps: Mapping[str, Heatmap]
) -> dict[str, Any]:
    whole = []
    if volume is not None:
        shape = (volume.voxels.shape[0], volume.voxels.shape[1], volume.voxels.shape[2])
        for heatmap in maps.values():
            values = placed(heatmap.values, heatmap.index_to_world, shape, volume.ijk_to_lps)
            whole.append((map_words(heatmap), values, pictures.top_of(heatmap)))
    rows = []
    for nodule in result.nodules:
        x, y, z = nodule.centre_lps_mm
        entry: dict[str, Any] = {
            "nodule": nodule,
            "malignancy": percent(nodule.malignancy),
            "place": f"{x:.0f}, {y:.0f}, {z:.0f}",
            "images": [],
            "not_here": [],
        }
        if volume is not None and len(rows) < MOST_NODULES:
            crop = pictures.crop_of(volume, nodule)
            entry["slice"] = crop.slice_index + 1
            where = f"nodule {nodule.label}, slice {crop.slice_index + 1}"
            full = pictures.data_uri(pictures.whole_slice(volume, crop, crop.slice_index))
            key = pictures.data_uri(pictures.key_image(volume, mask, nodule, crop))
            entry["images"] = [
                (full, f"Axial slice with a frame at {where}", "Where it lies", None),
                (key, f"Enlarged axial CT of {where}, outlined", "Outline of the segmentation", None),
            ]
            for words, values, top in whole:
                drawn = pictures.crop_of_map(values, crop, volume, nodule)
                share = pictures.strongest(values, drawn) / max(top, 1e-12)
                if share < _NOTHING:
                    entry["not_here"].append(words)
                    continue
                uri = pictures.data_uri(pictures.overlay(volume, values, top, drawn))
                if drawn.slice_index != crop.slice_index:
                    words = replace(words, title=f"{words.title}, slice {drawn.slice_index + 1}")
                here = "" if share >= _WEAK else f"Here it reaches {percent(share)} of its strongest value."
                entry["images"].append((uri, f"Heatmap {words.title} over {where}", here, words))
        rows.append(entry)
    middle = None
    if volume is not None and not rows:
        middle = pictures.data_uri(pictures.whole_slice(volume, None, len(volume.voxels) // 2))
    return {
        "result": result,
        "rows": rows,
        "most": MOST_NODULES,
        "window": pictures.WINDOW_WORDS,
        "middle": middle,
        "has_maps": bool(whole),
        "malignancy": percent(result.malignancy),
        "spacing": None if volume is None else " x ".join(f"{s:.2f}" for s in volume.spacing_mm),
    }


def _slide(
    result: PathologyResult, shown: Mapping[str, tuple[Array, Array]], maps: Mapping[str, Heatmap]
) -> dict[str, Any]:
    images: list[Any] = []
    if result.slide_id in shown and len(result.origin_px):
        picture, to_level0 = shown[result.slide_id]
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


def _provenance(*results: Any) -> list[Any]:
    found: dict[str, Any] = {}
    for result in results:
        for provenance in () if result is None else result.provenance:
            found.setdefault(provenance.weights_sha256, provenance)
    return list(found.values())
