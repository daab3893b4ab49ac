"""Results as GeoJSON that QuPath 0.5 to 0.7 imports: drop the file on the viewer.

slide_geojson()     one locked annotation for the run; below it each region of a class, and each tile with its numbers
heatmap_geojson()   a heatmap as annotations: one per step of its scale
run_name()          the name of a run: the same slide, model and parameters give the same one
write_geojson()     to .geojson or .geojson.gz, complete or not at all

QuPath refuses a whole file for one bad feature, so each is checked here: closed rings, valid polygons whose parts do
not overlap, a colour with every class name, no null and no NaN. Coordinates are level-0 pixels, to 2 decimals.

Measurements of a tile, for QuPath's measurement maps and tables:
  P(class)              for each class that was assessed; one that was not has no measurement
  Entropy (bits)        of the assessed classes; 0 where the model is sure
  Malignancy score      1 - P(Normal), where normal tissue was assessed
  Attribution (method)  mean of the heatmap over the tile
Model, weights, parameters and the run's name are metadata of the run's annotation, of its regions and of heatmaps;
QuPath has kept metadata of an object since 0.5.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, METHOD_LABELS, heat_colour
from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, Parameter, PathologyResult
from shared_models.contract.values import CLASSES, Array

from .backend import RUN_KEY
from .outlines import box_ring, cells, centres_in, corner, geometry, joined, regions
from .project_json import replace_file

NOTICE = "Research use only, not a diagnosis."
MAX_CELLS = 2_000_000
MAX_CORNERS = 2_000_000
ENTROPY, MALIGNANCY = "Entropy (bits)", "Malignancy score"
_SPACE = uuid.UUID("9f3c55d2-8a51-4a3e-9d2b-5f1f3f3d6a10")

Geo = dict[str, Any]


def run_name(slide_id: str, provenance: Sequence[Provenance], parameters: Mapping[str, Parameter]) -> str:
    """12 hexadecimal digits; another slide, model or parameter gives another name."""
    said = [slide_id, [[p.model_id, p.weights_sha256] for p in provenance], sorted(parameters.items())]
    return uuid.uuid5(_SPACE, json.dumps(said)).hex[:12]


def slide_geojson(
    result: PathologyResult,
    heatmaps: Sequence[Heatmap] = (),
    *,
    slide_mpp: Optional[float] = None,
    parameters: Optional[Mapping[str, Parameter]] = None,
    synthetic: bool = False,
) -> Geo:
    """A run: its annotation, and below it regions and tiles. A slide without assessed tiles gives no objects.

    Parameters
    ----------
    heatmaps : of the same slide; each gives every tile one more measurement
    slide_mpp : micrometres per level-0 pixel, for areas in mm2
    parameters : of the run, beside the model: kept in the metadata, and part of the run's name
    synthetic : the slide is drawn or composed

    Raises
    ------
    InvalidInput : a heatmap of another slide, or not on the slide's axes.
    """
    chosen = dict(parameters or {})
    run = run_name(result.slide_id, result.provenance, chosen)
    known = [i for i in range(len(CLASSES)) if len(result.origin_px) and np.isfinite(result.tile_probabilities[0, i])]
    if not known:
        return {"type": "FeatureCollection", "features": []}
    origin, table = result.origin_px, np.asarray(result.tile_probabilities[:, known], float)
    winner = np.array(known)[table.argmax(axis=1)]
    made_by = {RUN_KEY: run, "LungXAI notice": NOTICE, **_model(result.provenance)}
    label = _label(synthetic)
    areas = []
    for i in known:
        name = CLASSES[i]
        own = regions(joined(origin[winner == i], result.tile_px))
        for area, count in zip(own, centres_in(own, origin[winner == i], result.tile_px)):
            measured = {"LungXAI tiles": float(count), **_area(area, slide_mpp)}
            slide = result.probabilities[name]
            if slide is not None:
                measured["LungXAI P(slide)"] = round(slide, 5)
            title = f"{CLASS_LABELS[name]} ({label})"
            areas.append(_feature("annotation", area, f"{run} {name} {corner(area)}", name, measured, title, made_by))
    whole = joined(origin, result.tile_px)
    measured = {"LungXAI tiles": float(len(origin)), **_area(whole, slide_mpp)}
    measured |= {f"LungXAI P({CLASS_LABELS[c]})": round(p, 5) for c, p in result.probabilities.items() if p is not None}
    said = {**made_by, "LungXAI parameters": json.dumps(chosen, sort_keys=True)}
    said |= {f"LungXAI note {n}": note for n, note in enumerate(result.notes, 1)}
    if result.abstention is not None:
        said["LungXAI abstention"] = result.abstention.reason
    for heatmap in heatmaps:
        said[f"LungXAI attribution {METHOD_LABELS[heatmap.method]}"] = f"of {heatmap.target}, mean over the tile"
    top = _feature("annotation", whole, run, None, measured, f"LungXAI run {run} ({label})", said)
    top["properties"]["childObjects"] = areas + _tiles(result, known, table, winner, heatmaps, run)
    return {"type": "FeatureCollection", "features": [top]}


def _tiles(
    result: PathologyResult, known: list[int], table: Array, winner: Array, heatmaps: Sequence[Heatmap], run: str
) -> list[Geo]:
    """One object per tile, made of whole columns: a slide can have 100,000 of them."""
    columns = {f"P({CLASS_LABELS[CLASSES[i]]})": table[:, k] for k, i in enumerate(known)}
    with np.errstate(divide="ignore", invalid="ignore"):
        columns[ENTROPY] = np.abs(np.where(table > 0, table * np.log2(table), 0.0).sum(axis=1))
    normal = CLASSES.index("normal")
    if normal in known and len(known) > 1:
        columns[MALIGNANCY] = 1.0 - table[:, known.index(normal)]
    for heatmap in heatmaps:
        columns[f"Attribution ({METHOD_LABELS[heatmap.method]})"] = tile_means(result, heatmap)
    names = list(columns)
    numbers = np.round(np.stack(list(columns.values()), axis=1), 5).tolist()
    width, height = result.tile_px
    kinds = {i: {"name": CLASS_LABELS[CLASSES[i]], "color": list(CLASS_COLOURS[CLASSES[i]])} for i in known}
    return [
        {
            "type": "Feature",
            "id": _id(f"{run} tile {x} {y}"),
            "geometry": {"type": "Polygon", "coordinates": [box_ring(x, y, width, height)]},
            "properties": {
                "objectType": "tile",
                "classification": kinds[kind],
                "measurements": {name: value for name, value in zip(names, row) if math.isfinite(value)},
            },
        }
        for (x, y), kind, row in zip(result.origin_px.tolist(), winner.tolist(), numbers)
    ]


def tile_means(result: PathologyResult, heatmap: Heatmap) -> Array:
    """Mean of a heatmap's cells that have their centre in each tile, float64 (n,); NaN for a tile without any.

    Raises
    ------
    InvalidInput : not a heatmap of this slide, or its axes are not the slide's.
    """
    m = heatmap.index_to_world
    if heatmap.modality != "pathology" or heatmap.source_id != result.slide_id:
        raise InvalidInput("The heatmap is not one of this slide.", "Choose a heatmap of the slide.")
    if m[0, 1] or m[1, 0] or not (m[0, 0] > 0 and m[1, 1] > 0):
        raise InvalidInput("The heatmap does not lie along the slide's axes.", "Compute it again.")
    rows, columns = heatmap.values.shape
    table = np.zeros((rows + 1, columns + 1))
    table[1:, 1:] = np.cumsum(np.cumsum(heatmap.values, axis=0, dtype=float), axis=1)
    scale, first = np.diag(m)[:2], m[:2, 2]
    begin = np.ceil((result.origin_px - first) / scale - 1e-6).astype(int)
    end = np.ceil((result.origin_px + np.array(result.tile_px) - first) / scale - 1e-6).astype(int)
    (x0, y0), (x1, y1) = (np.clip(ends, 0, [columns, rows]).T for ends in (begin, end))
    count = (x1 - x0) * (y1 - y0)
    total = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


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
    said = {"LungXAI notice": NOTICE, **_model([heatmap.provenance]), "LungXAI method": heatmap.method}
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
        title = f"{heatmap.method} of {heatmap.target}, step {k} of {levels} ({_label(synthetic)})"
        feature = _feature("annotation", area, f"{run} {heatmap.source_id} {name}", None, measured, title, said)
        feature["properties"]["classification"] = {"name": name, "color": list(heat_colour((k - 0.5) / levels))}
        features.append(feature)
    return {"type": "FeatureCollection", "features": features}


def _label(synthetic: bool) -> str:
    return "SYNTHETIC, research use only" if synthetic else "research use only"


def _model(provenance: Sequence[Provenance]) -> dict[str, str]:
    return {
        "LungXAI model": ", ".join(p.model_id for p in provenance),
        "LungXAI weights sha256": ", ".join(p.weights_sha256 for p in provenance),
        "LungXAI code version": ", ".join(sorted({p.code_version for p in provenance})),
        "LungXAI calibrated": ", ".join("yes" if p.calibrated else "no" for p in provenance),
        "LungXAI not assessed": ", ".join(
            CLASS_LABELS[c] for c in CLASSES if not any(c in p.coverage for p in provenance)
        ),
    }  # fmt: skip


def _area(shape: Any, slide_mpp: Optional[float]) -> dict[str, float]:
    measured = {"LungXAI area px^2": round(float(shape.area), 2)}
    if slide_mpp is not None:
        measured["LungXAI area mm^2"] = round(float(shape.area) * slide_mpp**2 / 1e6, 6)
    return measured


def _id(key: str) -> str:
    # The same object gets the same id each time, so that a second import can be told from the first.
    return str(uuid.uuid5(_SPACE, key))


def _feature(
    kind: str, shape: Any, key: str, name: Optional[str], measured: Mapping[str, float], title: str,
    metadata: Mapping[str, str],
) -> Geo:  # fmt: skip
    properties: Geo = {"objectType": kind, "name": title}
    if name is not None:
        properties["classification"] = {"name": CLASS_LABELS[name], "color": list(CLASS_COLOURS[name])}
    properties["isLocked"] = True
    properties["measurements"] = {k: float(v) for k, v in measured.items() if math.isfinite(v)}
    properties["metadata"] = {k: v for k, v in metadata.items() if v}
    return {"type": "Feature", "id": _id(key), "geometry": geometry(shape), "properties": properties}


def write_geojson(path: Union[str, os.PathLike[str]], collection: Mapping[str, Any]) -> None:
    """Write to ``path``, which ends in .geojson or .geojson.gz.

    Raises
    ------
    InvalidInput : another ending. ServerError : the disk is full or the folder cannot be written to.
    """
    target = Path(path)
    if not target.name.endswith((".geojson", ".geojson.gz")):
        raise InvalidInput("QuPath reads .geojson and .geojson.gz.", "Choose one of these endings.")
    content = json.dumps(collection, allow_nan=False, separators=(",", ":")).encode()
    if target.name.endswith(".gz"):
        content = gzip.compress(content, 6, mtime=0)
    replace_file(target, content)
