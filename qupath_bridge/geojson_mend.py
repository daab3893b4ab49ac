"""Objects of any origin as GeoJSON that QuPath takes whole, since one bad feature makes it refuse the file.

mended()           objects as a collection, with what was done to them in words
sound_geometry()   the area of one object
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from typing import Any, Optional

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, NOT_ASSESSED

from .geojson_reader import QuPathObject
from .outlines import geometry, sound

_COLOURS = {label: CLASS_COLOURS[name] for name, label in CLASS_LABELS.items()}


def mended(objects: Iterable[QuPathObject]) -> tuple[dict[str, Any], list[str]]:
    """A FeatureCollection of the objects, and what was changed or left out, one sentence each.

    Polygons that cross themselves or overlap are made valid; what then has no area is left out with its children. A
    class without a colour gets the models' own, or grey; ids that are none, or are there twice, are made anew.
    """
    done = {"mended": 0, "left out": 0, "coloured": 0, "named anew": 0}
    seen: set[str] = set()
    features = [f for f in (_feature(item, done, seen) for item in objects) if f is not None]
    words = {
        "mended": "crossed themselves, overlapped or were not closed, and were made valid",
        "left out": "had no shape that QuPath draws and were left out",
        "coloured": "had a class without a colour and were given one",
        "named anew": "had no id of their own and were given one",
    }
    notes = [f"{count} objects {words[what]}." for what, count in done.items() if count]
    return {"type": "FeatureCollection", "features": features}, notes


def sound_geometry(item: QuPathObject) -> Optional[dict[str, Any]]:
    """The object's area as a valid Polygon or MultiPolygon; None where it has none, as a line or a point."""
    found, _ = _shape(item)
    return found if found is not None and found["type"] in ("Polygon", "MultiPolygon") else None


def _feature(item: QuPathObject, done: dict[str, int], seen: set[str]) -> Optional[dict[str, Any]]:
    shape, changed = _shape(item) if item.kind != "root" else (None, True)
    if shape is None:
        done["left out"] += 1
        return None
    done["mended"] += changed
    properties: dict[str, Any] = {"objectType": item.kind}
    if item.name:
        properties["name"] = item.name
    if item.class_name:
        done["coloured"] += item.colour is None
        colour = item.colour or _COLOURS.get(item.class_name, NOT_ASSESSED)
        properties["classification"] = {"name": item.class_name, "color": list(colour)}
    if item.locked:
        properties["isLocked"] = True
    measured = {name: value for name, value in item.measurements.items() if name and math.isfinite(value)}
    if measured:
        properties["measurements"] = measured
    if item.metadata:
        properties["metadata"] = dict(item.metadata)
    children = [f for f in (_feature(child, done, seen) for child in item.children) if f is not None]
    if children:
        properties["childObjects"] = children
    named = _id(item.object_id)
    if named is None or named in seen:
        done["named anew"] += 1
        named = str(uuid.uuid4())
    seen.add(named)
    return {"type": "Feature", "id": named, "geometry": shape, "properties": properties}


def _id(given: Optional[str]) -> Optional[str]:
    try:
        return str(uuid.UUID(given)) if given else None
    except ValueError:
        return None


def _shape(item: QuPathObject) -> tuple[Optional[dict[str, Any]], bool]:
    """The shape as QuPath takes it, None where there is none, and whether it had to be changed."""
    import shapely
    from shapely.geometry import shape

    given = {"type": item.shape, "coordinates": item.coordinates}
    try:
        read = shape(given)
        if not math.isfinite(sum(map(abs, read.bounds))):
            return None, True
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError, shapely.errors.ShapelyError):
        return None, True
    if item.shape not in ("Polygon", "MultiPolygon"):
        return (None, True) if read.is_empty or read.has_z else (given, False)
    read, flat = shapely.force_2d(read), not read.has_z
    if flat and read.is_valid and read.area > 0 and _closed(item.coordinates, item.shape):
        return given, False
    whole = sound(read)
    return (None, True) if whole is None else (geometry(whole), True)


def _closed(coordinates: Any, kind: str) -> bool:
    parts = [coordinates] if kind == "Polygon" else coordinates
    return all(ring[0] == ring[-1] for part in parts for ring in part)
