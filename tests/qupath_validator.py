"""What QuPath's importer refuses, so that a file can be judged without QuPath.

refusals()   every reason why QuPath 0.5.1, 0.6.0 or 0.7.0 would not take a collection; empty where all take it

One bad feature makes the whole file fail. What was seen: a classification with a name and no colour, ``"name": null``,
``"geometry": null``, an unclosed ring; in 0.6 and 0.7 also polygons that cross themselves and overlapping parts of a
MultiPolygon. What else its reader is built on is checked as well: kinds, UUIDs that are there once, numbers as
measurements, texts as metadata, childObjects as features, and no NaN, which JSON does not have.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

import shapely

KINDS = ("annotation", "detection", "tile", "cell")
KEYS = {"type", "id", "geometry", "properties", "nucleusGeometry"}


def refusals(collection: Any) -> list[str]:
    """Reasons, each with where it is."""
    if not isinstance(collection, dict) or collection.get("type") != "FeatureCollection":
        return ["no FeatureCollection"]
    if not isinstance(collection.get("features"), list):
        return ["features is no list"]
    seen: set[str] = set()
    return [f"{where}: {why}" for where, why in _all(collection["features"], "features", seen)]


def _all(features: list[Any], where: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    for number, feature in enumerate(features):
        place = f"{where}[{number}]"
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            yield place, "no Feature"
            continue
        if set(feature) - KEYS:
            yield place, f"unknown keys {sorted(set(feature) - KEYS)}"
        yield from ((place, why) for why in _identity(feature, seen))
        yield from ((place, why) for why in _geometry(feature.get("geometry")))
        properties = feature.get("properties")
        if not isinstance(properties, dict):
            yield place, "no properties"
            continue
        yield from ((place, why) for why in _properties(properties))
        children = properties.get("childObjects", [])
        if not isinstance(children, list):
            yield place, "childObjects is no list"
        else:
            yield from _all(children, f"{place}.childObjects", seen)


def _identity(feature: dict[str, Any], seen: set[str]) -> Iterator[str]:
    given = feature.get("id")
    try:
        if str(uuid.UUID(given)) != given:
            yield "the id is no UUID as Java writes it"
    except (ValueError, TypeError, AttributeError):
        yield "the id is no UUID"
    if isinstance(given, str):
        if given in seen:
            yield "the id is there twice"
        seen.add(given)


def _properties(properties: dict[str, Any]) -> Iterator[str]:
    if properties.get("objectType") not in KINDS:
        yield f"objectType is {properties.get('objectType')!r}"
    if "name" in properties and not (isinstance(properties["name"], str) and properties["name"]):
        yield "name is null, empty or no text"
    if "isLocked" in properties and not isinstance(properties["isLocked"], bool):
        yield "isLocked is no bool"
    if "classification" in properties:
        yield from _classification(properties["classification"])
    measurements = properties.get("measurements", {})
    if not isinstance(measurements, dict):
        yield "measurements is no object"
    else:
        for name, value in measurements.items():
            if type(value) not in (int, float) or not math.isfinite(value) or not name:
                yield f"measurement {name!r} is {value!r}"
    metadata = properties.get("metadata", {})
    if not isinstance(metadata, dict) or not all(k and isinstance(v, str) for k, v in metadata.items()):
        yield "metadata is not text by name"


def _classification(body: Any) -> Iterator[str]:
    if not isinstance(body, dict) or not (isinstance(body.get("name"), str) and body["name"]):
        yield "the classification has no name"
        return
    colour = body.get("color")
    if not (isinstance(colour, list) and len(colour) == 3 and all(type(c) is int and 0 <= c <= 255 for c in colour)):
        yield "the classification has a name and no colour"


def _geometry(body: Any) -> Iterator[str]:
    if not isinstance(body, dict) or body.get("type") not in ("Polygon", "MultiPolygon"):
        yield "geometry is null, or neither Polygon nor MultiPolygon"
        return
    parts = [body.get("coordinates")] if body["type"] == "Polygon" else body.get("coordinates")
    if not isinstance(parts, list) or not parts or not all(isinstance(p, list) and p for p in parts):
        yield "a geometry without rings"
        return
    for ring in (ring for part in parts for ring in part):
        if not isinstance(ring, list) or len(ring) < 4 or not all(_point(p) for p in ring):
            yield "a ring of fewer than four corners, or a corner that is no two finite numbers"
            return
        if ring[0] != ring[-1]:
            yield "an unclosed ring"
            return
    shape = shapely.MultiPolygon([(part[0], part[1:]) for part in parts])
    if not shape.is_valid:  # crossings, holes outside, overlapping parts
        yield shapely.is_valid_reason(shape)
    if not shape.area > 0:
        yield "a shape without area"


def _point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(
        type(v) in (int, float) and math.isfinite(v) for v in point
    )  # fmt: skip
