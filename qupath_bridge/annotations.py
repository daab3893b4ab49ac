"""Results as GeoJSON that QuPath 0.5 to 0.7 imports: drop the file on the viewer.

slide_geojson()     one locked annotation for the run; below it each region of a class, and each tile with its numbers
heatmap_geojson()   a heatmap as annotations: one per step of its scale (heatmap_contours.py)
run_name()          the name of a run: the same slide, model and parameters give the same one
write_geojson()     to .geojson or .geojson.gz, complete or not at all

QuPath refuses a whole file for one bad feature, so each is checked here: closed rings, valid polygons whose parts do
not overlap, a colour with every class name, no null and no NaN. Coordinates are level-0 pixels, to 2 decimals.

Measurements of a tile, for QuPath's measurement maps and tables:
  P(class)              for each class that was assessed; one that was not has no measurement
  Entropy (bits)        of the classes that the tile is drawn by; 0 where the model is sure
  Malignancy score      1 - P(Normal), where normal tissue was assessed
  Quality               0 (useless) to 1 (sharp, whole tissue), where it was judged
  Attribution (method)  mean of the heatmap over the tile as it is drawn
Model, weights, parameters, case and the run's name are metadata of the run's annotation, of its regions and of
heatmaps; QuPath has kept metadata of an object since 0.5. Where a slide falls into more than MAX_TOLD_REGIONS regions,
they name their run alone, which says the rest: QuPath would hold the same texts so many times.
"""

from __future__ import annotations

import json
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from shared_models.contract.colours import CLASS_LABELS, METHOD_LABELS
from shared_models.contract.errors import InvalidInput
from shared_models.contract.notice import NOTICE
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, Parameter, PathologyResult
from shared_models.whole_file import written

from .backend import CASE_KEY, RUN_KEY, SLIDE_KEY
from .class_regions import class_regions
from .features import SPACE, Geo, feature, label, made_by
from .heatmap_contours import heatmap_geojson
from .tile_classes import tile_classes
from .tile_objects import Sides, tile_corners, tile_features, tile_means

__all__ = [
    "FIELD_KEY", "heatmap_geojson", "run_name", "slide_geojson", "tile_means", "write_geojson",
]  # fmt: skip

FIELD_KEY = "LungXAI field px"
MAX_TOLD_REGIONS = 2_000
_AT_ONCE = 2_000


def run_name(slide_id: str, provenance: Sequence[Provenance], parameters: Mapping[str, Parameter]) -> str:
    """12 hexadecimal digits; another slide, model or parameter gives another name."""
    said = [slide_id, [[p.model_id, p.weights_sha256] for p in provenance], sorted(parameters.items())]
    return uuid.uuid5(SPACE, json.dumps(said)).hex[:12]


def slide_geojson(
    result: PathologyResult,
    heatmaps: Sequence[Heatmap] = (),
    *,
    slide_mpp: Optional[float] = None,
    parameters: Optional[Mapping[str, Parameter]] = None,
    synthetic: bool = False,
    step_px: Optional[Sides] = None,
    drawn_px: Optional[Sides] = None,
    case_id: Optional[str] = None,
) -> Geo:
    """A run: its annotation, and below it regions and tiles. A slide without assessed tiles gives no objects.

    Tiles and regions are drawn by the classes of a model of others where the result has any, each in a colour of its
    own; where the suite's own classes were assessed too, those are then measurements of the tiles and no regions.

    Parameters
    ----------
    heatmaps : of the same slide; each gives every tile one more measurement
    slide_mpp : micrometres per level-0 pixel, for areas in mm2
    parameters : of the run, beside the model: kept in the metadata, and part of the run's name
    synthetic : the slide is drawn or composed
    step_px : (width, height), level-0 pixels, from one tile to the next; the field's unless given. Regions are made of
        cells of this size, each in the middle of its tile's field, so that they never overlap
    drawn_px : (width, height) of a tile as it is drawn, in the middle of its field; the field's unless given
    case_id : of a server that keeps the case, so that a script in QuPath can ask it for heatmaps

    Raises
    ------
    InvalidInput : a heatmap of another slide, or not on the slide's axes; or a step or a tile without a size.
    """
    chosen = dict(parameters or {})
    run = run_name(result.slide_id, result.provenance, chosen)
    step, drawn = _sides(step_px or result.tile_px), _sides(drawn_px or result.tile_px)
    classes = tile_classes(result)
    if not classes.names or not len(result.origin_px):
        return {"type": "FeatureCollection", "features": []}
    said = {RUN_KEY: run, "LungXAI notice": NOTICE, **made_by(result.provenance)}
    if case_id is not None:
        said |= {CASE_KEY: case_id, SLIDE_KEY: result.slide_id}
    whole, parts = class_regions(tile_corners(result, step), step, classes.winner)
    told = said if len(parts) <= MAX_TOLD_REGIONS else {RUN_KEY: run, "LungXAI notice": NOTICE}
    areas = []
    for part in parts:
        name = classes.names[part.kind]
        measured = {"LungXAI tiles": float(part.tiles), **_area(part.area_px2, slide_mpp)}
        slide = result.probabilities[classes.keys[part.kind]] if classes.keys is not None else None
        if slide is not None:
            measured["LungXAI P(slide)"] = round(slide, 5)
        kind, title = (name, classes.colours[part.kind]), f"{name} ({label(synthetic)})"
        areas.append(feature(part.geometry, f"{run} {name} {part.corner}", kind, measured, title, told))
    measured = {"LungXAI tiles": float(whole.tiles), **_area(whole.area_px2, slide_mpp)}
    measured |= {f"LungXAI P({CLASS_LABELS[c]})": round(p, 5) for c, p in result.probabilities.items() if p is not None}
    if classes.keys is None:
        means = classes.probabilities.mean(axis=0).tolist()
        measured |= {f"LungXAI mean P({name})": round(mean, 5) for name, mean in zip(classes.names, means)}
    said = {**said, "LungXAI parameters": json.dumps(chosen, sort_keys=True)}
    said[FIELD_KEY] = f"{float(result.tile_px[0])!r} {float(result.tile_px[1])!r}"
    said |= {f"LungXAI note {n}": note for n, note in enumerate(result.notes, 1)}
    if result.abstention is not None:
        said["LungXAI abstention"] = result.abstention.reason
    for heatmap in heatmaps:
        said[f"LungXAI attribution {METHOD_LABELS[heatmap.method]}"] = f"of {heatmap.target}, mean over the tile"
    top = feature(whole.geometry, run, None, measured, f"LungXAI run {run} ({label(synthetic)})", said)
    top["properties"]["childObjects"] = areas + tile_features(result, classes, heatmaps, run, drawn)
    return {"type": "FeatureCollection", "features": [top]}


def _sides(given: Sides) -> Sides:
    width, height = (float(side) for side in given)
    if not (0.05 <= width < 1e9 and 0.05 <= height < 1e9):
        raise InvalidInput("A tile without a size cannot be drawn.", "Choose a larger tile.")
    return width, height


def _area(area_px2: float, slide_mpp: Optional[float]) -> dict[str, float]:
    measured = {"LungXAI area px^2": round(area_px2, 2)}
    if slide_mpp is not None:
        measured["LungXAI area mm^2"] = round(area_px2 * slide_mpp**2 / 1e6, 6)
    return measured


def write_geojson(path: Union[str, os.PathLike[str]], collection: Mapping[str, Any]) -> None:
    """Write to ``path``, which ends in .geojson or .geojson.gz.

    Raises
    ------
    InvalidInput : another ending. ServerError : the disk is full or the folder cannot be written to.
    """
    target = Path(path)
    if not target.name.endswith((".geojson", ".geojson.gz")):
        raise InvalidInput("QuPath reads .geojson and .geojson.gz.", "Choose one of these endings.")
    written(target, _packed(_texts(collection)) if target.name.endswith(".gz") else _texts(collection))


def _texts(collection: Mapping[str, Any]) -> Iterator[bytes]:
    """The JSON, piece by piece, since that of a whole slide is 100 MB and more."""
    yield _json({**collection, "features": []})[:-2]
    for number, top in enumerate(collection["features"]):
        properties = top.get("properties", {}) if isinstance(top, dict) else {}
        children = properties.get("childObjects", [])
        if number:
            yield b","
        if not children:
            yield _json(top)
            continue
        inside = {key: value for key, value in properties.items() if key != "childObjects"}
        rest = {key: value for key, value in top.items() if key != "properties"}
        yield _json({**rest, "properties": {**inside, "childObjects": []}})[:-3]
        for start in range(0, len(children), _AT_ONCE):
            yield (b"," if start else b"") + _json(children[start : start + _AT_ONCE])[1:-1]
        yield b"]}}"
    yield b"]}"


def _json(body: Any) -> bytes:
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()


def _packed(texts: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(6, wbits=31)  # gzip without a time, so that equal objects are equal files
    for text in texts:
        yield packer.compress(text)
    yield packer.flush()
