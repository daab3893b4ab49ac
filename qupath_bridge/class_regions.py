"""The contiguous regions of each class, made of cells that lie edge to edge.

ClassRegion      one of them: shape, area, how many tiles
class_regions() all regions of a slide, and the shape of all tiles together

Tiles on one grid are traced along it (cell_grid.py). Tiles that lie anyhow, as a program of others may send them, are
united one by one, and what two classes would share goes to the one that comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shared_models.contract.values import Array

from .cell_grid import Cells, fitted, traced
from .features import Geo
from .outlines import corner, geometry, joined, regions, rings_geometry, sound


@dataclass(frozen=True)
class ClassRegion:
    """A contiguous region of one class.

    Parameters
    ----------
    kind : index of its class
    geometry : GeoJSON Polygon, or MultiPolygon for all tiles together; level-0 pixels
    area_px2 : level-0 pixels
    tiles : how many have their centre in it
    corner : (x, y), its uppermost, then leftmost corner: no two regions share it
    """

    kind: int
    geometry: Geo
    area_px2: float
    tiles: int
    corner: tuple[float, float]


def class_regions(
    origin_px: Array, cell_px: tuple[float, float], kind: Array
) -> tuple[ClassRegion, list[ClassRegion]]:  # fmt: skip
    """All tiles together, and the regions of each class; no two of them overlap.

    Parameters
    ----------
    origin_px : (n, 2), upper left (x, y) of each tile's cell, level-0 pixels; n >= 1
    cell_px : (width, height) of a cell, level-0 pixels
    kind : int (n,), the class of each tile; -1 for none
    """
    cells = fitted(origin_px, cell_px)
    if cells is None:
        return _united(np.asarray(origin_px, float), cell_px, kind)
    outlines = traced(cells.place, kind)
    tiles = np.bincount(outlines.region).tolist()
    kinds = np.empty(len(tiles), int)
    kinds[outlines.region] = kind
    answer = [
        ClassRegion(of, rings_geometry([rings]), count * cells.area_px2, count, (rings[0][0][0], rings[0][0][1]))
        for rings, count, of in zip(outlines.on_slide(cells), tiles, kinds.tolist())
    ]
    # Within a class in reading order. A tile without a class belongs to the whole alone.
    return _whole(cells), sorted((r for r in answer if r.kind >= 0), key=lambda region: region.kind)


def _whole(cells: Cells) -> ClassRegion:
    count = len(cells.place)
    parts = traced(cells.place, np.zeros(count, int)).on_slide(cells)
    first = parts[0][0][0]
    return ClassRegion(-1, rings_geometry(parts), count * cells.area_px2, count, (first[0], first[1]))


def _united(origin_px: Array, cell_px: tuple[float, float], kind: Array) -> tuple[ClassRegion, list[ClassRegion]]:
    import shapely

    parts: list[tuple[int, Any]] = []
    taken = None
    found = [of for of in np.unique(kind).tolist() if of >= 0]
    for of in found:
        own = joined(origin_px[kind == of], cell_px)
        if taken is not None and own is not None:
            own = sound(shapely.difference(own, taken))
        parts += [(of, part) for part in regions(own)]
        taken = own if taken is None else taken if own is None else shapely.union(taken, own)
    # The nearest: what lies where two classes would overlap has its centre in a region of the other.
    centres = shapely.points(origin_px + np.array(cell_px) / 2)
    counts = np.zeros(len(parts), int)
    for of in found:
        own_parts = [n for n, (its, _) in enumerate(parts) if its == of]
        if own_parts:
            nearest = shapely.STRtree([parts[n][1] for n in own_parts]).nearest(centres[kind == of])
            np.add.at(counts, np.array(own_parts)[nearest], 1)
    whole: Any = joined(origin_px, cell_px)  # there are tiles, and they have an area
    all_tiles = ClassRegion(-1, geometry(whole), float(whole.area), len(origin_px), corner(_first(whole)))
    return all_tiles, [
        ClassRegion(of, geometry(part), float(part.area), int(count), corner(part))
        for (of, part), count in zip(parts, counts)
    ]


def _first(shape: Any) -> Any:
    return getattr(shape, "geoms", [shape])[0]
