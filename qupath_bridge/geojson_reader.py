"""GeoJSON that QuPath exported, or that annotations.py wrote, as typed objects.

read_objects()   the objects of a .geojson or .geojson.gz file
objects_of()     the same of a collection in memory
QuPathObject     one object with its children
walk()           objects with all their children, parents first

A file may be anybody's: its size, packed and unpacked, its depth and the number of its objects are bounded. Unknown
keys are passed over. Shapes are kept as they are; tests/qupath_validator.py says what QuPath would refuse of them.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InputTooLarge, InvalidInput

from .project_json import colour_rgb, entry, parse_object

MAX_PACKED_BYTES = 512 << 20
MAX_BYTES = 1 << 30
MAX_OBJECTS = 2_000_000
KINDS = ("annotation", "detection", "tile", "cell", "tmaCore", "root")
SHAPES = ("Polygon", "MultiPolygon", "Point", "MultiPoint", "LineString", "MultiLineString")
_REMEDY = "Export the objects from QuPath again, as GeoJSON."
_CHUNK = 1 << 20


@dataclass(frozen=True)
class QuPathObject:
    """One object.

    Parameters
    ----------
    kind : of KINDS
    object_id : UUID that QuPath gave it, or None
    shape : "Polygon" and so on, of SHAPES
    coordinates : GeoJSON's own nesting, level-0 pixels
    name : as a pathologist sees it, or None
    class_name, colour : of its classification; None where it has none. ``colour`` is (red, green, blue)
    locked : whether QuPath lets it be moved
    measurements : name to value; a value that QuPath wrote as not a number is NaN
    metadata : key to text, which QuPath 0.5 and later keep
    children : objects below it
    """

    kind: str
    object_id: Optional[str]
    shape: str
    coordinates: Any
    name: Optional[str]
    class_name: Optional[str]
    colour: Optional[tuple[int, int, int]]
    locked: bool
    measurements: Mapping[str, float]
    metadata: Mapping[str, str]
    children: tuple[QuPathObject, ...]


def walk(objects: Iterable[QuPathObject]) -> Iterator[QuPathObject]:
    """Each object and all below it, parents first."""
    for item in objects:
        yield item
        yield from walk(item.children)


def read_objects(path: Path) -> tuple[QuPathObject, ...]:
    """The objects of a file.

    Parameters
    ----------
    path : ends in .geojson, .json, or either with .gz

    Raises
    ------
    InvalidInput : not there, not GeoJSON, or an object that makes no sense.
    InputTooLarge : more bytes or objects than any real slide has.
    """
    return objects_of(parse_object(_content(path), path.name))


def _content(path: Path) -> bytes:
    from shared_models.contract.server_option import small_file

    if not path.name.endswith((".geojson", ".json", ".geojson.gz", ".json.gz")):
        raise InvalidInput(f"{path.name} is no GeoJSON file.", "Its name ends in .geojson or .geojson.gz.")
    try:
        content = small_file(path, MAX_PACKED_BYTES)
    except OSError as fault:
        raise InvalidInput(f"{path.name} cannot be read: {fault.strerror or fault}.", "Check the path.") from fault
    if len(content) > MAX_PACKED_BYTES:
        raise InputTooLarge(f"{path.name} is too large.", "Export fewer objects at once.")
    if not path.name.endswith(".gz"):
        return content
    unpacker, answer, source = zlib.decompressobj(wbits=31), io.BytesIO(), memoryview(content)
    try:
        for start in range(0, len(source), _CHUNK):
            piece: Any = source[start : start + _CHUNK]
            while piece and not unpacker.eof:
                # Asked for piece by piece, so that a bomb is seen before it has gone off.
                answer.write(unpacker.decompress(piece, _CHUNK))
                piece = unpacker.unconsumed_tail
                if answer.tell() > MAX_BYTES:
                    raise InputTooLarge(f"{path.name} unpacks to too much.", "Export fewer objects at once.")
    except zlib.error as fault:
        raise InvalidInput(f"{path.name} is damaged.", _REMEDY) from fault
    if not unpacker.eof:
        raise InvalidInput(f"{path.name} is cut off.", _REMEDY)
    return answer.getvalue()


def objects_of(collection: Mapping[str, Any]) -> tuple[QuPathObject, ...]:
    """The objects of a FeatureCollection, or of one Feature; raises as read_objects() does."""
    if collection.get("type") == "Feature":
        features: Any = [collection]
    elif collection.get("type") == "FeatureCollection":
        features = collection.get("features")
    else:
        features = None
    if not isinstance(features, list):
        raise InvalidInput("The file holds no GeoJSON objects.", _REMEDY)
    count = [0]
    return tuple(_object(feature, count) for feature in features)


def _object(feature: Any, count: list[int]) -> QuPathObject:
    count[0] += 1
    if count[0] > MAX_OBJECTS:
        raise InputTooLarge(f"The file holds more than {MAX_OBJECTS} objects.", "Export fewer objects at once.")
    geometry = entry(feature, "geometry", dict, {})
    shape, coordinates = entry(geometry, "type", str, ""), geometry.get("coordinates")
    if not isinstance(feature, dict) or shape not in SHAPES or not isinstance(coordinates, list):
        raise InvalidInput(f"Object {count[0]} of the file has no shape that QuPath knows.", _REMEDY)
    properties = entry(feature, "properties", dict, {})
    kind = entry(properties, "objectType", str, "annotation")
    if kind not in KINDS:
        raise InvalidInput(f"Object {count[0]} of the file is of the unknown kind {kind[:20]!r}.", _REMEDY)
    children = entry(properties, "childObjects", list, []) or entry(properties, "children", list, [])
    class_name, colour = _classification(properties.get("classification"))
    return QuPathObject(
        kind=kind,
        object_id=entry(feature, "id", str, "") or None,
        shape=shape,
        coordinates=coordinates,
        name=entry(properties, "name", str, "") or None,
        class_name=class_name,
        colour=colour,
        locked=entry(properties, "isLocked", bool, False),
        measurements=_measurements(properties.get("measurements")),
        metadata={k: v for k, v in entry(properties, "metadata", dict, {}).items() if isinstance(v, str)},
        children=tuple(_object(child, count) for child in children),
    )


def _classification(body: Any) -> tuple[Optional[str], Optional[tuple[int, int, int]]]:
    name = entry(body, "name", str, "")
    if not name:  # a class derived of others has a list of names
        names = entry(body, "names", list, [])
        name = ": ".join(n for n in names if isinstance(n, str))
    if not name:
        return None, None
    return name, colour_rgb(body.get("color", body.get("colorRGB")))


def _measurements(body: Any) -> dict[str, float]:
    """By name, as 0.4 and later write them, or the list of {name, value} of earlier ones."""
    if isinstance(body, list):
        body = {entry(item, "name", str, ""): item.get("value") for item in body if isinstance(item, dict)}
    answer = {}
    for name in body if isinstance(body, dict) else ():
        value = entry(body, name, float, math.nan)
        answer[name] = value
    return answer
