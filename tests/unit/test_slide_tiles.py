"""The grid of tiles: size and overlap of what is drawn, the field that stays, regions; what is refused."""

import numpy as np
import pytest

from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.slide_tiles import MAX_TILES, TileGrid, tissue_grid, tissue_tiles

shapely = pytest.importorskip("shapely")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")

from shared_models.slide_reader import open_slide  # noqa: E402

FIELD, MPP = 100, 1.0  # the model's


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """2000 x 1500 px of 0.5 um; tissue (with detail) from (400, 300) to (1600, 1300)."""
    picture = np.full((1500, 2000, 3), 243, np.uint8)
    shade = np.random.default_rng(0).integers(-25, 25, (1000, 1200, 1))
    picture[300:1300, 400:1600] = np.array([200, 125, 180]) + shade
    path = tmp_path_factory.mktemp("grid") / "s.tif"
    tifffile.imwrite(path, picture, photometric="rgb", tile=(256, 256), compression="zlib")
    return path


@pytest.fixture
def slide(path, monkeypatch):
    monkeypatch.setattr("shared_models.slide_tiles.THUMBNAIL_PX", 500)  # 4 px of the slide: as exact, and quicker
    with open_slide(path, 0.5) as opened:
        yield opened


def _drawn(grid: TileGrid) -> np.ndarray:
    """float (n, 2), upper left of what is drawn."""
    return grid.origin_px + (np.array(grid.tile_px) - np.array(grid.drawn_px)) / 2


def test_without_choices_tiles_lie_edge_to_edge(slide) -> None:
    grid = tissue_grid(slide, FIELD, MPP)
    assert grid.tile_px == grid.step_px == grid.drawn_px == (200.0, 200.0)
    assert len(np.unique(grid.origin_px, axis=0)) == grid.count and (grid.origin_px % 200 == 0).all()
    assert grid.origin_px.tolist() == sorted(grid.origin_px.tolist(), key=lambda o: (o[1], o[0]))
    inside = [[x, y] for y in range(400, 1200, 200) for x in range(400, 1600, 200)]
    assert all(origin in grid.origin_px.tolist() for origin in inside) and grid.count <= 6 * 6
    assert TileGrid(grid.origin_px, (3.0, 4.0)).step_px == (3.0, 4.0)
    assert np.array_equal(grid.rest(5).origin_px, grid.origin_px[5:]) and grid.rest(5).step_px == grid.step_px


def test_smaller_tiles_keep_the_models_field_centred_on_them(slide) -> None:
    grid = tissue_grid(slide, FIELD, MPP, tile_um=50)
    assert grid.tile_px == (200.0, 200.0) and grid.drawn_px == grid.step_px == (100.0, 100.0)
    drawn = _drawn(grid)
    assert (drawn % 100 == 0).all() and (drawn >= 300).all() and (drawn < (1600, 1300)).all()
    assert 10 * 12 <= grid.count <= 12 * 13
    (tiles,) = tissue_tiles(slide, FIELD, MPP, 400, grid)
    assert tiles.pixels.shape == (grid.count, FIELD, FIELD, 3)
    some = tiles.origin_px[7]
    assert np.array_equal(tiles.pixels[7], slide.read(int(some[0]), int(some[1]), 200, 200, FIELD))


def test_overlapping_tiles_are_a_step_apart(slide) -> None:
    grid = tissue_grid(slide, FIELD, MPP, overlap=0.5)
    assert grid.tile_px == grid.drawn_px == (200.0, 200.0) and grid.step_px == (100.0, 100.0)
    assert np.unique(np.diff(np.unique(grid.origin_px[:, 0]))).tolist() == [100]
    assert grid.count > 3 * tissue_grid(slide, FIELD, MPP).count
    both = tissue_grid(slide, FIELD, MPP, tile_um=50, overlap=0.25)
    assert both.drawn_px == (100.0, 100.0) and both.step_px == (75.0, 75.0)
    assert np.abs(_drawn(both) / 75 - np.rint(_drawn(both) / 75)).max() < 0.01


def test_the_whole_slide_is_covered_where_all_is_asked_for(slide) -> None:
    for choice in ({}, {"tile_um": 50}, {"overlap": 0.3}, {"tile_um": 37.0, "overlap": 0.6}):
        grid = tissue_grid(slide, FIELD, MPP, 0.0, **choice)
        cells = _drawn(grid)
        assert (cells.min(axis=0) == 0).all()
        assert ((np.array(slide.dimensions) - cells.max(axis=0) - grid.drawn_px) <= 0.25 * grid.drawn_px[0] + 1).all()
        assert (cells.max(axis=0) < slide.dimensions).all()


def test_a_region_takes_tiles_whose_centre_lies_in_it(slide) -> None:
    ring = shapely.Point(1000, 800).buffer(400).difference(shapely.Point(1000, 800).buffer(150))
    apart = shapely.MultiPolygon([ring, shapely.box(1450, 1150, 1600, 1300)])
    grid = tissue_grid(slide, FIELD, MPP, tile_um=25, region=apart)
    whole = tissue_grid(slide, FIELD, MPP, tile_um=25)
    centre = _drawn(whole) + 25
    expected = whole.origin_px[shapely.contains_xy(apart, centre[:, 0], centre[:, 1])]
    assert 0 < grid.count < whole.count and np.array_equal(grid.origin_px, expected)
    crossed = shapely.Polygon([(500, 400), (1000, 900), (1000, 400), (500, 900)])  # mended, not refused
    assert tissue_grid(slide, FIELD, MPP, tile_um=25, region=crossed).count > 20


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"tile_um": 101}, "larger than the 100 µm"),
        ({"tile_um": 0}, "side of 0"),
        ({"tile_um": -5}, "side of -5"),
        ({"tile_um": float("nan")}, "side of nan"),
        ({"overlap": 0.9}, "overlap by 0.9"),
        ({"overlap": -0.1}, "overlap by -0.1"),
        ({"overlap": float("nan")}, "overlap by nan"),
        ({"region": shapely.Polygon()}, "empty"),
        ({"region": shapely.Polygon([(0, 0), (5, 5), (10, 10)])}, "empty"),
        ({"region": shapely.LineString([(0, 0), (900, 900)])}, "not an area"),
        ({"region": shapely.box(3000, 3000, 4000, 4000)}, "outside the slide"),
        ({"region": shapely.box(0, 0, 250, 250)}, "No tile with tissue"),
        ({"region": shapely.box(801, 801, 820, 820)}, "No tile with tissue"),
    ],
)
def test_what_is_refused(slide, choice, match) -> None:
    with pytest.raises(InvalidInput, match=match) as caught:
        tissue_grid(slide, FIELD, MPP, **choice)
    assert caught.value.remedy


class Vast:
    """A slide of 900,000 px a side that is tissue all over; only its thumbnail is there."""

    mpp, dimensions, slide_id = 0.25, (900_000, 900_000), "vast"

    def thumbnail(self, max_px: int) -> np.ndarray:
        return np.full((max_px // 4, max_px // 4, 3), (200, 120, 180), np.uint8)


def test_too_many_tiles_are_refused_without_holding_them() -> None:
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(InputTooLarge, match=f"more than {MAX_TILES}"):
        tissue_grid(Vast(), 224, 0.9)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with pytest.raises(InputTooLarge, match="any real slide"):
        tissue_grid(Vast(), 224, 0.9, tile_um=2)
    few = tissue_grid(Vast(), 224, 0.9, region=shapely.box(400_000, 400_000, 420_000, 420_000))
    assert 500 < few.count < 800
    assert held < 400 << 20


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("biopsy.svs", "biopsy"), ("biopsy.ome.tif", "biopsy"), ("TCGA-05-01Z.3f2b.svs", "TCGA-05-01Z"),
        ("1.2.840.1.dcm", "1.2.840.1"), ("1.2.840.2", "1.2.840.2"), (".hidden", ".hidden"),
    ],
)  # fmt: skip
def test_two_dicom_slides_of_one_maker_have_two_names(tmp_path, file, name) -> None:
    tifffile.imwrite(tmp_path / file, np.full((64, 64, 3), 200, np.uint8), photometric="rgb", tile=(64, 64))
    with open_slide(tmp_path / file, 0.5) as slide:
        assert slide.slide_id == name
