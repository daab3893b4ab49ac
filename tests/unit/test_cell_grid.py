"""Outlines traced along a grid, against unions of shapely's own, and grids found again in rounded origins."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qupath_bridge.cell_grid import fitted, traced
from qupath_bridge.class_regions import class_regions


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 11), st.integers(1, 11), st.integers(1, 3), st.integers(0, 10**6))
def test_each_region_is_the_union_of_its_cells_and_valid(rows, columns, kinds, seed) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(0, kinds + 1, (rows, columns))
    table[0, 0] = 1
    place = random.permutation(np.argwhere(table)[:, ::-1])
    kind = table[place[:, 1], place[:, 0]]
    outlines = traced(place - 3, kind)
    found = outlines.polygons(outlines.corners + 3)
    assert sorted(set(outlines.region.tolist())) == list(range(len(found)))
    for number, (outline, *holes) in enumerate(found):
        own = place[outlines.region == number]
        assert len(set(kind[outlines.region == number].tolist())) == 1
        shape = shapely.Polygon(outline, holes)
        assert shape.is_valid and shapely.equals(shape, shapely.union_all(shapely.box(*own.T, *(own + 1).T)))
        assert [outline[0][1], outline[0][0]] == min([y, x] for x, y in outline)
    # Regions of one kind meet in a corner at most, so all of them together are a valid shape too.
    for one in range(1, kinds + 1):
        parts = [(o, holes) for n, (o, *holes) in enumerate(found) if one in kind[outlines.region == n]]
        assert shapely.MultiPolygon(parts).is_valid


def test_cells_around_a_corner_are_parted_there_by_whether_they_belong_together() -> None:
    # A ring of cells whose hole touches the outside in a corner; drawn the other way its outline would meet itself.
    table = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]])
    place = np.argwhere(table)[:, ::-1]
    outlines = traced(place, np.zeros(len(place), int))
    ((outline, hole),) = outlines.polygons(outlines.corners)
    assert len(set(map(tuple, outline))) == len(outline) - 1 and [2, 2] in outline and [2, 2] in hole
    assert shapely.Polygon(outline, [hole]).is_valid and shapely.Polygon(outline, [hole]).area == 7


@settings(max_examples=80, deadline=None)
@given(st.floats(5, 700), st.floats(0, 900), st.integers(1, 40), st.integers(0, 10**6))
def test_rounded_origins_are_found_on_their_grid(side, begin, count, seed) -> None:
    place = np.unique(np.random.default_rng(seed).integers(0, 30, (count, 2)), axis=0)
    for first in (0.0, begin):
        cells = fitted(np.rint(place * side + first), (side, side))
        assert cells is not None
        # Up to a whole number of cells, since a grid that does not begin at the corner may begin anywhere.
        assert (np.ptp(cells.place - place, axis=0) == 0).all()
        corner = np.array(cells.first_px) + cells.place * side
        assert np.abs(corner - (place * side + first)).max() <= (1.01 if first else 0.51)


@pytest.mark.parametrize(
    "origins", [[(0, 0), (150, 0)], [(0, 0), (100, 0), (100, 0)], [(0, 0), (2, 0), (104, 0)], [(0, 0), (1 << 61, 3)]]
)
def test_tiles_that_lie_anyhow_are_no_grid(origins) -> None:
    assert fitted(np.array(origins), (100.0, 100.0)) is None


@pytest.mark.parametrize("origins", [[(0, 0), (60, 30), (90, 90), (400, 0)], [(0, 0), (100, 0), (200, 0), (200, 100)]])
def test_regions_share_no_area_and_every_tile_counts_once(origins) -> None:
    kind = np.array([1, 0, 1, 0])
    whole, parts = class_regions(np.array(origins), (100.0, 100.0), kind)
    shapes = [shapely.geometry.shape(p.geometry) for p in parts]
    for n, one in enumerate(shapes):
        assert all(one.intersection(other).area == 0 for other in shapes[:n])
    assert sum(s.area for s in shapes) == pytest.approx(shapely.geometry.shape(whole.geometry).area)
    assert [p.area_px2 for p in parts] == [s.area for s in shapes] and sum(p.tiles for p in parts) == len(origins)
