"""Results as GeoJSON that QuPath 0.5 to 0.7 imports: drop the file on the viewer.

slide_geojson()     tiles with one measurement per class, and one annotation per region of a class
heatmap_geojson()   a heatmap as annotations: one per step of its scale
write_geojson()     to .geojson or .geojson.gz, complete or not at all

QuPath refuses a whole file for one bad feature, so each is checked here: closed rings, valid polygons whose parts do
not overlap, a colour with every class name, no null and no NaN. Coordinates are level-0 pixels, to 2 decimals.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, heat_colour
from shared_models.contract.errors import InputTooLarge, InvalidInput, ServerError
from shared_models.contract.results import Heatmap, PathologyResult
from shared_models.contract.values import CLASSES

NOTICE = "Research use only, not a diagnosis."
MAX_CELLS = 2_000_000
MAX_CORNERS = 2_000_000
_SPACE = uuid.UUID("9f3c55d2-8a51-4a3e-9d2b-5f1f3f3d6a10")

Geo = dict[str, Any]


def slide_geojson(result: PathologyResult, *, synthetic: bool = False) -> Geo:
    """Tiles, and the outline of each contiguous region of one class.

    A tile bears the class it most looks like, and "P(class)" for every class that was assessed. A class that was not
    assessed has no measurement.
    """
    import shapely

    label = _label(synthetic)
    width, height = result.tile_px
    known = [i for i in range(len(CLASSES)) if len(result.origin_px) and np.isfinite(result.tile_probabilities[0, i])]
    features: list[Geo] = []
    by_class: dict[str, list[Any]] = {name: [] for name in CLASSES}
    for (x, y), row in zip(result.origin_px.tolist(), result.tile_probabilities):
        if not known:
            break
        winner = CLASSES[max(known, key=lambda i: row[i])]
        box = shapely.box(x, y, x + width, y + height)
        by_class[winner].append(box)
        measured = {f"P({CLASS_LABELS[CLASSES[i]]})": round(float(row[i]), 5) for i in known}
        features.append(_feature("tile", box, winner, measured, f"{result.slide_id} tile {x} {y}", None))
    outlines = []
    for name, boxes in by_class.items():
        centres = shapely.STRtree(shapely.centroid(boxes))
        for area in _regions(boxes, result.tile_px):
            measured = {"LungXAI tiles": float(len(centres.query(area, predicate="contains")))}
            slide = result.probabilities[name]
            if slide is not None:
                measured["LungXAI P(slide)"] = round(slide, 5)
            title = f"{CLASS_LABELS[name]} ({label})"
            outlines.append(
                _feature("annotation", area, name, measured, f"{result.slide_id} {name} {_corner(area)}", title)
            )
    return {"type": "FeatureCollection", "features": outlines + features}


def heatmap_geojson(heatmap: Heatmap, levels: int = 5, *, synthetic: bool = False) -> Geo:
    """A slide's heatmap as one annotation per step of its scale.

    Step k of n covers values over (k - 1) / n to k / n of the map's maximum; what lies in the lowest step is left out,
    and a map of zeros gives no annotation.

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
    m = heatmap.index_to_world
    features, corners = [], 0
    for k in range(2, levels + 1):
        area = _cells(step == k, m)
        if area is None:
            continue
        corners += int(shapely.get_num_coordinates(area))
        if corners > MAX_CORNERS:
            raise InputTooLarge("The heatmap is too ragged for annotations.", "Choose fewer steps or a smaller region.")
        name = f"LungXAI {heatmap.method} {k}/{levels}"
        low, high = top * (k - 1) / levels, top * k / levels
        measured = {"LungXAI value from": low, "LungXAI value to": high}
        title = f"{heatmap.method} of {heatmap.target}, step {k} of {levels} ({_label(synthetic)})"
        feature = _feature("annotation", area, None, measured, f"{heatmap.source_id} {name}", title)
        feature["properties"]["classification"] = {"name": name, "color": list(heat_colour((k - 0.5) / levels))}
        features.append(feature)
    return {"type": "FeatureCollection", "features": features}


def _regions(boxes: list[Any], tile_px: tuple[float, float]) -> list[Any]:
    """The contiguous regions of ``boxes``, in a fixed order.

    Tiles whose side is no whole number of pixels have rounded origins, so neighbours can part by a pixel; such gaps
    are closed.
    """
    import shapely

    if not boxes:
        return []
    slack = 0.0 if all(float(side).is_integer() for side in tile_px) else 1.0
    union = shapely.union_all(shapely.buffer(boxes, slack, join_style="mitre") if slack else boxes)
    whole = _sound(shapely.buffer(union, -slack, join_style="mitre") if slack else union)
    return [] if whole is None else sorted(getattr(whole, "geoms", [whole]), key=_corner)


def _corner(area: Any) -> tuple[float, float]:
    """The uppermost, then leftmost corner: no two regions of one class share it."""
    y, x = min((y, x) for x, y in area.exterior.coords)
    return x, y


def _label(synthetic: bool) -> str:
    return "SYNTHETIC, research use only" if synthetic else "research use only"


def _cells(inside: Any, index_to_world: Any) -> Optional[Any]:
    """Union of the cells, placed on the slide; runs along a row are one box, so that large maps stay quick."""
    import shapely
    from shapely.affinity import affine_transform

    boxes = []
    for row in np.flatnonzero(inside.any(axis=1)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], inside[row].astype(np.int8), [0]])))
        for first, stop in zip(edges[::2], edges[1::2]):
            boxes.append(shapely.box(first - 0.5, row - 0.5, stop - 0.5, row + 0.5))
    if not boxes:
        return None
    m = index_to_world
    return _sound(affine_transform(shapely.union_all(boxes), [m[0, 0], m[0, 1], m[1, 0], m[1, 1], m[0, 2], m[1, 2]]))


def _sound(shape: Any) -> Optional[Any]:
    """``shape`` as valid polygons on the grid of 0.01 px, or None where nothing is left."""
    import shapely

    # set_precision keeps it valid while rounding; rounding alone can make rings cross.
    neat = shapely.set_precision(shapely.make_valid(shape), 0.01)
    parts = [p for p in shapely.get_parts(neat) if p.geom_type == "Polygon" and p.area > 0]
    # QuPath takes parts that touch in a point, not parts that overlap; a union has no such parts.
    return None if not parts else parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _feature(
    kind: str, shape: Any, name: Optional[str], measured: Mapping[str, float], key: str, title: Optional[str]
) -> Geo:
    properties: Geo = {"objectType": kind}
    if title is not None:
        properties["name"] = title
    if name is not None:
        properties["classification"] = {"name": CLASS_LABELS[name], "color": list(CLASS_COLOURS[name])}
    properties["measurements"] = {k: float(v) for k, v in measured.items() if math.isfinite(v)}
    if kind == "annotation":
        properties["isLocked"] = True
    polygons = [_rings(part) for part in getattr(shape, "geoms", [shape])]
    geometry = (
        {"type": "Polygon", "coordinates": polygons[0]}
        if len(polygons) == 1
        else {"type": "MultiPolygon", "coordinates": polygons}
    )
    # The same object gets the same id each time, so that a second import can be told from the first.
    return {"type": "Feature", "id": str(uuid.uuid5(_SPACE, key)), "geometry": geometry, "properties": properties}


def _rings(polygon: Any) -> list[list[list[float]]]:
    def ring(coordinates: Iterable[Any]) -> list[list[float]]:
        return [[round(float(x), 2), round(float(y), 2)] for x, y in coordinates]

    return [ring(polygon.exterior.coords), *(ring(hole.coords) for hole in polygon.interiors)]


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
    part = target.with_name(target.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, target)
    except OSError as fault:
        part.unlink(missing_ok=True)
        raise ServerError(f"{target.name} could not be written: {fault.strerror}.", "Free disk space.") from fault
