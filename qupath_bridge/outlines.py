"""Shapes that QuPath takes: valid, closed, without parts that overlap, on a grid of 0.01 px of level 0.

sound()        any shape as valid polygons, or None where nothing is left
joined()       tiles as one shape; gaps that come of rounded origins are closed
regions()      its contiguous parts, in a fixed order
centres_in()   how many tiles each of them holds
cells()        cells of a map, placed on the slide
geometry()     a shape as GeoJSON
box_ring()     the ring of one tile
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


def centres_in(areas: list[Any], origin_px: Array, tile_px: tuple[float, float]) -> Array:
    """How many of the tiles have their centre in each of the areas, int (n areas,)."""
    import shapely

    centres = shapely.points(np.asarray(origin_px, float) + np.array(tile_px) / 2)
    _, area = shapely.STRtree(areas).query(centres, predicate="intersects")
    return np.bincount(area, minlength=len(areas))


def corner(area: Any) -> tuple[float, float]:
    """The uppermost, then leftmost corner: no two regions of one class share it."""
    y, x = min((y, x) for x, y in area.exterior.coords)
    return x, y


def cells(inside: Array, index_to_world: Array) -> Optional[Any]:
    """Union of the cells, placed on the slide; runs along a row are one box, so that large maps stay quick.

    Parameters
    ----------
    inside : bool (rows, columns)
    index_to_world : (3, 3), (column, row, 1) to level-0 pixels; (0, 0) is the centre of the first cell
    """
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
    return sound(affine_transform(shapely.union_all(boxes), [m[0, 0], m[0, 1], m[1, 0], m[1, 1], m[0, 2], m[1, 2]]))


def geometry(shape: Any) -> dict[str, Any]:
    """A Polygon or MultiPolygon as GeoJSON, to 2 decimals."""
    polygons = [[_ring(p.exterior.coords), *(_ring(hole.coords) for hole in p.interiors)]
                for p in getattr(shape, "geoms", [shape])]  # fmt: skip
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def box_ring(x: float, y: float, width: float, height: float) -> list[list[float]]:
    """The closed ring of a rectangle, in the order of QuPath's own."""
    left, top, right, low = round(x, 2), round(y, 2), round(x + width, 2), round(y + height, 2)
    return [[left, top], [left, low], [right, low], [right, top], [left, top]]


def _ring(coordinates: Iterable[Any]) -> list[list[float]]:
    return [[round(float(x), 2), round(float(y), 2)] for x, y in coordinates]
