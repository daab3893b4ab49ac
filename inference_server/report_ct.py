"""What the report says of the CT.

ct_values()   CaseRecord -> what templates/report_ct.html shows
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

from shared_models.contract.results import placed

from . import report_pictures as pictures
from .case_record import CaseRecord
from .report_charts import percent
from .report_heatmaps import map_words

MOST_NODULES = 5
# Of a map's strongest value: with less of it a picture shows next to nothing, and says so, or is left out.
_WEAK, _NOTHING = 0.1, 0.01


def ct_values(record: CaseRecord) -> Optional[dict[str, Any]]:
    """What the template shows as ``ct``; None where no CT was analysed."""
    result, mask, volume, maps = record.radiology, record.mask, record.volume, record.ct_heatmaps
    if result is None:
        return None
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
