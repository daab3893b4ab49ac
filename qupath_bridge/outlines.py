"""Shapes that QuPath takes: valid, closed, without parts that overlap, on a grid of 0.01 px of level 0.

sound()           any shape as valid polygons, or None where nothing is left
joined()          tiles as one shape; gaps that come of rounded origins are closed
regions()         its contiguous parts, in a fixed order
corner()          where one of them begins
cells()           cells of a map, placed on the slide
geometry()        a shape as GeoJSON
rings_geometry()  the same of rings
box_rings()       the rings of tiles
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

import numpy as np

from shared_models.contract.values import Array

_GRID_PX = 0.01


def sound(shape: Any) -> Optional[Any]:
    """``shape`` as valid polygons on the grid, or None where nothing is left."""
    import shapely

    if not shapely.is_valid(shape):
        # Part by part: mended as a whole, what two parts share would be cut out of both.
        shape = shapely.make_valid(shapely.get_parts(shape))
    # Polygons alone: the parts of a mixture would each be rounded for themselves, and could then overlap.
    area = shapely.union_all(_polygons(shape))
    # set_precision keeps it valid while rounding; rounding alone can make rings cross.
    return _one(shapely.set_precision(area, _GRID_PX)) if area.area else None


def _polygons(shape: Any) -> list[Any]:
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))
    return [p for p in parts if p.geom_type == "Polygon" and p.area > 0]


def _one(shape: Any) -> Optional[Any]:
    """The polygons of ``shape``. QuPath takes parts that touch in a point, not parts that overlap; these do not."""
    import shapely

    parts = _polygons(shape)
    return None if not parts else parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def joined(origin_px: Array, tile_px: tuple[float, float]) -> Optional[Any]:
    """The shape that tiles cover together, None where there are none.

    Tiles whose side is no whole number of pixels have rounded origins, so neighbours can part by a pixel; such gaps
    are closed.

    Parameters
    ----------
    origin_px : (n, 2), upper left (x, y) of each tile, level-0 pixels
    tile_px : (width, height), level-0 pixels
    """
    import shapely

    if not len(origin_px):
        return None
    origins, sides = np.unique(np.asarray(origin_px, float), axis=0), np.array(tile_px)
    x, y = origins.T
    slack = 0.0 if all(float(side).is_integer() for side in tile_px) else 1.0
    boxes = shapely.box(x - slack, y - slack, x + tile_px[0] + slack, y + tile_px[1] + slack)
    # Tiles that lie edge to edge share whole edges: these are struck out, several times as fast as any union.
    if not slack and not ((origins - origins[0]) % sides).any():
        union = shapely.coverage_union_all(boxes)
        if shapely.is_valid(union):
            return _one(union)  # whole pixels are on the grid
    union = shapely.union_all(boxes)
    return sound(shapely.buffer(union, -slack, join_style="mitre") if slack else union)


def regions(whole: Optional[Any]) -> list[Any]:
    """The contiguous parts of joined()'s answer, in a fixed order."""
    return [] if whole is None else sorted(getattr(whole, "geoms", [whole]), key=corner)


def corner(area: Any) -> tuple[float, float]:
    """The uppermost, then leftmost corner: no two regions of one class share it."""
    y, x = min((y, x) for x, y in area.exterior.coords)
    return x, y


def cells(inside: Array, index_to_world: Array) -> Optional[Any]:
    """Union of the cells, placed on the slide; None where there are none.

    Parameters
    ----------
    inside : bool (rows, columns)
    index_to_world : (3, 3), (column, row, 1) to level-0 pixels; (0, 0) is the centre of the first cell
    """
    import shapely

    from .cell_grid import traced

    place = np.argwhere(inside)[:, ::-1]
    if not len(place):
        return None
    outlines = traced(place, np.zeros(len(place), int))
    corners = (outlines.corners - 0.5) @ index_to_world[:2, :2].T + index_to_world[:2, 2]
    whole = _one(shapely.multipolygons([shapely.Polygon(own[0], own[1:]) for own in outlines.polygons(corners)]))
    # Rounding can make rings cross where a map is turned, or its cells are smaller than a pixel.
    return whole if whole is not None and shapely.is_valid(whole) else sound(whole)


def geometry(shape: Any) -> dict[str, Any]:
    """A Polygon or MultiPolygon as GeoJSON, to 2 decimals."""
    parts = getattr(shape, "geoms", [shape])
    return rings_geometry([[_ring(p.exterior.coords), *(_ring(hole.coords) for hole in p.interiors)] for p in parts])


def rings_geometry(polygons: list[Any]) -> dict[str, Any]:
    """The same of closed rings: of each polygon its outline, then its holes."""
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def box_rings(corner_px: Array, side_px: tuple[float, float]) -> list[list[list[float]]]:
    """The closed rings of rectangles, in the order of QuPath's own.

    Parameters
    ----------
    corner_px : (n, 2), upper left (x, y) of each, level-0 pixels
    side_px : (width, height) of all of them
    """
    first = np.asarray(corner_px, float)
    (left, top), (right, low) = np.round(first, 2).T, np.round(first + np.array(side_px), 2).T
    ring = [(left, top), (left, low), (right, low), (right, top), (left, top)]
    answer: list[list[list[float]]] = np.stack([np.stack(at, axis=1) for at in ring], axis=1).tolist()
    return answer


def _ring(coordinates: Iterable[Any]) -> list[list[float]]:
    return [[round(float(x), 2), round(float(y), 2)] for x, y in coordinates]
