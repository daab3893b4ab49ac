"""A slide's heatmap as annotations: one per step of its scale.

heatmap_geojson()   the steps as a FeatureCollection
"""

from __future__ import annotations

import json
from typing import Optional

import numpy as np

from shared_models.contract.colours import heat_colour
from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.contract.results import Heatmap

from .backend import RUN_KEY
from .features import NOTICE, Geo, feature, label, made_by
from .outlines import cells, geometry

MAX_CELLS = 2_000_000
MAX_CORNERS = 2_000_000


def heatmap_geojson(heatmap: Heatmap, levels: int = 5, *, run: Optional[str] = None, synthetic: bool = False) -> Geo:
    """A slide's heatmap as one annotation per step of its scale.

    Step k of n covers values over (k - 1) / n to k / n of the map's maximum; what lies in the lowest step is left out,
    and a map of zeros gives no annotation.

    Parameters
    ----------
    run : name of the run that it belongs to, where there is one

    Raises
    ------
    InvalidInput : not a slide's heatmap. InputTooLarge : more cells or corners than QuPath can draw.
    """
    import shapely

    if levels < 2:
        raise InvalidInput("A heatmap needs at least two steps.", "Choose 2 steps or more.")
    if heatmap.modality != "pathology":
        raise InvalidInput("A heatmap of a CT cannot be drawn on a slide.", "Choose a heatmap of the slide.")
    if heatmap.values.size > MAX_CELLS:
        raise InputTooLarge("The heatmap is too large for annotations.", "Explain a region of the slide.")
    top = float(heatmap.values.max())
    if not top > 0:
        return {"type": "FeatureCollection", "features": []}
    step = np.clip(np.ceil(heatmap.values / top * levels), 0, levels).astype(int)
    said = {"LungXAI notice": NOTICE, **made_by([heatmap.provenance]), "LungXAI method": heatmap.method}
    said |= {"LungXAI target": heatmap.target, "LungXAI parameters": json.dumps(dict(heatmap.parameters))}
    if run is not None:
        said[RUN_KEY] = run
    features, corners = [], 0
    for k in range(2, levels + 1):
        area = cells(step == k, heatmap.index_to_world)
        if area is None:
            continue
        corners += int(shapely.get_num_coordinates(area))
        if corners > MAX_CORNERS:
            raise InputTooLarge("The heatmap is too ragged for annotations.", "Choose fewer steps or a smaller region.")
        name = f"LungXAI {heatmap.method} {k}/{levels}"
        low, high = top * (k - 1) / levels, top * k / levels
        measured = {"LungXAI value from": low, "LungXAI value to": high}
        title = f"{heatmap.method} of {heatmap.target}, step {k} of {levels} ({label(synthetic)})"
        kind = (name, heat_colour((k - 0.5) / levels))
        key = f"{run} {heatmap.source_id} {name}"
        features.append(feature(geometry(area), key, kind, measured, title, said))
    return {"type": "FeatureCollection", "features": features}
