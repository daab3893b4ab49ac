"""Cells on one grid, and the outlines of those that belong together, traced along the cells' edges.

Cells      cells of one size on one grid, by column and row
fitted()   tiles as Cells, where their origins lie on one grid; rounded origins do
traced()   the contiguous regions of cells of one kind, as rings of corners
Outlines   traced()'s answer; polygons() places it on the slide

A grid is traced in a second where a general union of as many rectangles takes a minute. The rings are valid as they
come: no ring meets itself, also where cells touch in a corner alone, since there the two sides are told apart by
whether they belong to one region. Nothing here depends on the size of the box around the cells, only on their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from shared_models.contract.values import Array

Ring = list[list[float]]

# Right, down, left, up, with the cell on the right hand.
_RIGHT, _DOWN, _LEFT, _UP = range(4)
_MOST_CORNERS = 1 << 60
# Origins are rounded to whole pixels: half a pixel to either side.
_ROUNDED_PX = 0.5 + 1e-6
_LEAST_ROUNDED_CELL_PX = 4.0


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells on one grid.

    Parameters
    ----------
    first_px : (x, y), upper left corner of column 0 and row 0, level-0 pixels
    cell_px : (width, height), level-0 pixels; need not be whole
    place : int64 (n, 2), (column, row) of each cell, no two alike
    """

    first_px: tuple[float, float]
    cell_px: tuple[float, float]
    place: Array

    @property
    def area_px2(self) -> float:
        """Of one cell."""
        return self.cell_px[0] * self.cell_px[1]


def fitted(origin_px: Array, cell_px: tuple[float, float]) -> Optional[Cells]:
    """Tiles as cells of one grid, None where they do not lie on one or two of them lie on one cell.

    Parameters
    ----------
    origin_px : (n, 2), upper left (x, y) of each cell, level-0 pixels, each within half a pixel of its place
    """
    origins = np.asarray(origin_px, float)
    axes = [_axis(origins[:, k], cell_px[k]) for k in (0, 1)]
    if not len(origins) or axes[0] is None or axes[1] is None:
        return None
    (x, column), (y, row) = axes[0], axes[1]
    if (np.ptp(column) + 4) * (np.ptp(row) + 4) > _MOST_CORNERS:
        return None
    place = np.stack([column, row], axis=1).astype(np.int64)
    if len(np.unique(place, axis=0)) < len(place):
        return None
    return Cells((x, y), cell_px, place)


def _axis(values: Array, step: float) -> Optional[tuple[float, Array]]:
    """Where the grid begins, and the index of each value on it."""
    if not len(values) or np.abs(values).max() > 1e12:
        return None
    # A grid that begins at the slide's corner has its edges there and not where rounding would put them.
    for begin in (0.0, float(values[0])):
        index = np.rint((values - begin) / step)
        rest = values - begin - index * step
        low, high = float(rest.min()), float(rest.max())
        if low == high:
            return begin + low, index
        if step >= _LEAST_ROUNDED_CELL_PX and max(-low, high) <= _ROUNDED_PX:
            return begin, index
        if step >= _LEAST_ROUNDED_CELL_PX and high - low <= 2 * _ROUNDED_PX:
            return begin + (low + high) / 2, index
    return None


@dataclass(frozen=True, eq=False)
class Outlines:
    """The contiguous regions of cells, numbered by their uppermost, then leftmost corner.

    Parameters
    ----------
    region : int (n,), number of the region of each cell
    corners : int64 (m, 2), (column, row) of the rings' corners, one ring after the other; corner (c, r) is the upper
        left one of cell (c, r)
    stops : int (rings,), where each ring ends in ``corners``
    owner : int (rings,), the region that each ring belongs to, in order; its outline comes first, then its holes
    """

    region: Array
    corners: Array
    stops: Array
    owner: Array

    def polygons(self, corners_px: Array) -> list[list[Ring]]:
        """For each region its closed rings.

        Parameters
        ----------
        corners_px : (m, 2), ``corners`` on the slide, level-0 pixels; written to 2 decimals
        """
        placed: list[list[float]] = (np.round(np.asarray(corners_px, float), 2) + 0.0).tolist()
        answer: list[list[Ring]] = [[] for _ in range(int(self.owner[-1]) + 1)] if len(self.owner) else []
        start = 0
        for stop, owner in zip(self.stops.tolist(), self.owner.tolist()):
            answer[owner].append([*placed[start:stop], list(placed[start])])
            start = stop
        return answer

    def on_slide(self, cells: Cells) -> list[list[Ring]]:
        """polygons(), where the grid is that of ``cells``."""
        return self.polygons(np.array(cells.first_px) + self.corners * np.array(cells.cell_px))


def traced(place: Array, kind: Array) -> Outlines:
    """The contiguous regions of cells of one kind. Cells that touch in a corner alone are not contiguous.

    Parameters
    ----------
    place : int64 (n, 2), (column, row), n >= 1, no two alike
    kind : int (n,)
    """
    order = np.lexsort(place.T)
    shift = place.min(axis=0) - 1  # an empty column and row around, so that no neighbour lies on another row
    column, row = (place[order] - shift).T
    wide = int(column.max()) + 2
    key, kinds = row * wide + column, np.asarray(kind)[order]
    step = (1, wide, -1, -wide)
    beside = {side: _found(key, key + offset) for side, offset in zip((_RIGHT, _DOWN, _LEFT, _UP), step)}
    region = _contiguous(kinds, beside[_RIGHT], beside[_DOWN])
    # An edge of each cell towards whatever is not of its region: (side, where it starts, its direction).
    edges = [(_UP, 0, _RIGHT), (_RIGHT, 1, _DOWN), (_DOWN, wide + 1, _LEFT), (_LEFT, wide, _UP)]
    parts = []
    for side, offset, direction in edges:
        other = beside[side]
        bare = np.flatnonzero((other < 0) | (region[other] != region))
        parts.append((((key[bare] + offset) << 2) | direction, region[bare]))
    edge, owner = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    sort = np.argsort(edge)
    edge, owner = edge[sort], owner[sort]
    following, turns = _following(edge, owner, np.array(step))
    flat, stops, firsts = _walked(following, turns)
    ring_owner = owner[firsts]
    by_region = np.argsort(ring_owner, kind="stable")
    starts = np.concatenate([[0], stops[:-1]])
    picked = _runs(starts[by_region], stops[by_region])
    vertex = edge[flat[picked]] >> 2
    back = np.empty(len(order), np.int64)
    back[order] = region
    corners = np.stack([vertex % wide, vertex // wide], axis=1) + shift
    return Outlines(back, corners, np.cumsum((stops - starts)[by_region]), ring_owner[by_region])


def _found(key: Array, wanted: Array) -> Array:
    """Index in the sorted ``key`` of each wanted value, -1 where it is not there."""
    index = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    return np.where(key[index] == wanted, index, -1)


def _contiguous(kind: Array, right: Array, down: Array) -> Array:
    """Number of the region of each cell; cells are in reading order, and so are the numbers."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = []
    for other in (right, down):
        one = np.flatnonzero((other >= 0) & (kind[other] == kind))
        pairs.append(np.stack([one, other[one]]))
    one, other = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(len(one), np.int8), (one, other)), shape=(len(kind), len(kind)))
    _, label = connected_components(graph, directed=False)
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[number.reshape(-1)]


def _following(edge: Array, owner: Array, step: Array) -> tuple[Array, Array]:
    """The edge that each one leads to, and whether the way turns there.

    Where two cells of one region meet in a corner alone, the way turns left, over to the other cell: so the ring on
    either side passes the corner once. With a right turn one ring would pass it twice, which is not valid.
    """
    direction = edge & 3
    end = (edge >> 2) + step[direction]
    following, turns = np.full(len(edge), -1), np.zeros(len(edge), bool)
    for turn in (3, 0, 1):  # left, straight on, right
        found = _found(edge, (end << 2) | ((direction + turn) & 3))
        fits = (following < 0) & (found >= 0) & (owner[found] == owner)
        following[fits] = found[fits]
        turns[found[fits]] = turn != 0
    return following, turns


def _walked(following: Array, turns: Array) -> tuple[Array, Array, Array]:
    """Every ring once: edges that begin at a corner, where each ring stops among them, and each ring's first edge."""
    after, corner = following.tolist(), turns.tolist()
    seen = bytearray(len(after))
    flat: list[int] = []
    stops, firsts = [], []
    for first in range(len(after)):
        if seen[first]:
            continue
        firsts.append(first)  # the uppermost, then leftmost edge of its ring: of a region, that of the outline
        at = first
        while not seen[at]:
            seen[at] = 1
            if corner[at]:
                flat.append(at)
            at = after[at]
        stops.append(len(flat))
    return np.array(flat), np.array(stops), np.array(firsts)


def _runs(starts: Array, stops: Array) -> Array:
    """All numbers from each start to before its stop, one run after the other."""
    length: Any = stops - starts
    return np.arange(length.sum()) + np.repeat(starts - (np.cumsum(length) - length), length)
