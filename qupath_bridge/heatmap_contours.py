"""A slide's heatmap as annotations: one per step of its scale, for and against its target.

heatmap_geojson()   the steps as a FeatureCollection
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Optional

import numpy as np

from shared_models.contract.colours import METHOD_LABELS, heat_colour
from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.contract.heatmap_words import parts, target_words, trust
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import Heatmap

from .backend import RUN_KEY
from .features import Geo, feature, label, made_by
from .outlines import cells, geometry

MAX_CELLS = 2_000_000
MAX_CORNERS = 2_000_000
# Cells of a tile that contours are drawn of: finer ones would be thousands of specks.
_MOST_PER_TILE = 7


def heatmap_geojson(heatmap: Heatmap, levels: int = 5, *, run: Optional[str] = None, synthetic: bool = False) -> Geo:
    """A slide's heatmap as one annotation per step of its scale.

    Step k of n covers values over (k - 1) / n to k / n of the map's largest absolute value; what lies in the lowest
    step is left out, and a map of zeros gives no annotation. What speaks against the target has steps of its own, in
    colours and under a name of their own. A map of more than 7 x 7 cells a tile is averaged first.

    Parameters
    ----------
    run : name of the run that it belongs to, where there is one

    Raises
    ------
    InvalidInput : not a slide's heatmap. InputTooLarge : more cells or corners than QuPath can draw.
    """
    if levels < 2:
        raise InvalidInput("A heatmap needs at least two steps.", "Choose 2 steps or more.")
    if heatmap.modality != "pathology":
        raise InvalidInput("A heatmap of a CT cannot be drawn on a slide.", "Choose a heatmap of the slide.")
    heatmap = _coarser(heatmap)
    if heatmap.values.size > MAX_CELLS:
        raise InputTooLarge("The heatmap is too large for annotations.", "Explain a region of the slide.")
    top = float(np.abs(heatmap.values).max())
    features: list[Geo] = []
    if top > 0:
        speaks_for, against = parts(heatmap)
        for part, word in ((speaks_for, ""), (against, " against")):
            if part is not None:
                features += _steps(part, word, top, levels, run, synthetic)
    return {"type": "FeatureCollection", "features": features}


def _coarser(heatmap: Heatmap) -> Heatmap:
    """The means of whole blocks of cells, at most _MOST_PER_TILE of them to a tile."""
    per_tile = heatmap.parameters.get("cells_per_tile", 0)
    side = int(per_tile) // _MOST_PER_TILE if isinstance(per_tile, (int, float)) else 1
    if side < 2:
        return heatmap
    rows, columns = (-(-length // side) for length in heatmap.values.shape)
    padded = np.zeros((rows * side, columns * side), np.float32)
    padded[: heatmap.values.shape[0], : heatmap.values.shape[1]] = heatmap.values
    matrix = heatmap.index_to_world.copy()
    matrix[:2, 2] += matrix[:2, :2] @ np.full(2, (side - 1) / 2)
    matrix[:2, :2] *= side
    values = padded.reshape(rows, side, columns, side).mean(axis=(1, 3))
    said = {**heatmap.parameters, "contours": f"drawn of means of {side} x {side} cells"}
    return replace(heatmap, values=values, index_to_world=matrix, parameters=said)


def _steps(
    part: Heatmap, word: str, top: float, levels: int, run: Optional[str], synthetic: bool
) -> list[Any]:  # fmt: skip
    """One annotation per step of a map of values of 0 to ``top``."""
    import shapely

    step = np.clip(np.ceil(part.values / top * levels), 0, levels).astype(int)
    said = {"LungXAI notice": NOTICE, **made_by([part.provenance]), "LungXAI method": part.method}
    said |= {"LungXAI target": part.target, "LungXAI parameters": json.dumps(dict(part.parameters))}
    said["LungXAI trust"] = trust(part)
    if run is not None:
        said[RUN_KEY] = run
    features, corners = [], 0
    for k in range(2, levels + 1):
        area = cells(step == k, part.index_to_world)
        if area is None:
            continue
        corners += int(shapely.get_num_coordinates(area))
        if corners > MAX_CORNERS:
            raise InputTooLarge("The heatmap is too ragged for annotations.", "Choose fewer steps or a smaller region.")
        name = f"LungXAI {part.method}{word} {k}/{levels}"
        low, high = top * (k - 1) / levels, top * k / levels
        measured = {"LungXAI value from": low, "LungXAI value to": high}
        what = f"{METHOD_LABELS[part.method]}: {target_words(part.target)}"
        title = f"{what}, step {k} of {levels} ({label(synthetic)})"
        kind = (name, heat_colour((k - 0.5) / levels, against=bool(word)))
        key = f"{run} {part.source_id} {name}"
        features.append(feature(geometry(area), key, kind, measured, title, said))
    return features
