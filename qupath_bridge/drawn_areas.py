"""Areas that a pathologist drew, from GeoJSON that QuPath exported.

drawn_areas()   their names, classes and shapes

Only what a person drew counts. What a run of the suite made is passed over, its class regions too: a second run within
the first one's "Adenocarcinoma" would take a model's answer for a pathologist's. So are heatmaps, tiles and cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .backend import Geo
from .geojson_mend import sound_geometry
from .geojson_reader import read_objects, walk

_OWN = "LungXAI "


def drawn_areas(paths: Iterable[Path]) -> Iterator[tuple[frozenset[str], Geo]]:
    """Of each area its name and its class, as far as it has any, and its GeoJSON Polygon or MultiPolygon.

    Shapes that cross themselves are made valid. Lines and points have no area and are left out.

    Parameters
    ----------
    paths : .geojson or .geojson.gz; raises as read_objects()
    """
    for path in paths:
        for item in walk(read_objects(path)):
            if item.kind != "annotation" or any(key.startswith(_OWN) for key in item.metadata):
                continue
            area = sound_geometry(item)
            if area is not None:
                yield frozenset(word for word in (item.name, item.class_name) if word), area
