"""A heatmap as OME-TIFF: read back by tifffile, openslide and the suite's own reader; small, flat in memory, or not
there at all. The slides here are made of numbers alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from test_geojson_torture import BY, slide

from qupath_bridge.heatmap_tiff import BLOCK_PX, write_heatmap_tiff
from shared_models.contract.colours import heat_colour
from shared_models.contract.errors import InputTooLarge, InvalidInput, ServerError
from shared_models.contract.results import Heatmap
from shared_models.slide_heatmaps import slide_heatmap
from shared_models.slide_reader import open_slide

WHITE = (255, 255, 255)
SIZE, TILE, MPP = (9001, 5003), 224.4, 0.4521


def made(size=SIZE, tile=TILE, places=((3, 4), (4, 4), (5, 4), (20, 10), (20, 11), (39, 21))):
    """A result and its heatmap; each tile's 7 x 7 cells have one value, which grows from tile to tile."""
    origins = np.rint(np.array(places) * tile).astype(np.int64)
    result = slide(origins, 0, (tile, tile))
    maps = np.ones((len(places), 7, 7), np.float32) * np.arange(len(places))[:, None, None]
    return result, slide_heatmap(result, maps, "gradcam", "squamous_cell", BY, {"note": "<µ&>"})


def middles(result) -> list:
    """(x, y) of the middle of each tile."""
    return [(int(x), int(y)) for x, y in result.origin_px + np.array(result.tile_px) / 2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("heat") / "slide.gradcam.ome.tif"
    result, heatmap = made()
    write_heatmap_tiff(path, heatmap, SIZE, MPP, tiles=result, synthetic=True)
    return path, result, heatmap


def test_it_is_an_ome_tiff_of_the_slides_size_with_a_pyramid_in_subifds(written) -> None:
    path, _, _ = written
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome and tif.is_bigtiff and len(tif.series) == 1 and len(tif.pages) == 1
        levels = tif.series[0].levels
        assert [level.shape for level in levels] == [(5003, 9001, 3), (1250, 2250, 3), (312, 562, 3)]
        assert [level.axes for level in levels] == ["YXS"] * 3 and len(tif.pages[0].subifds) == 2
        for page in (tif.pages[0], *tif.pages[0].pages):
            assert page.is_tiled and page.photometric == tifffile.PHOTOMETRIC.RGB and page.bitspersample == 8
        assert all(page.subfiletype == 1 for page in tif.pages[0].pages)
        root = ElementTree.fromstring(tif.ome_metadata)
    ome = {"o": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
    pixels = root.find(".//o:Pixels", ome)
    assert (pixels.get("SizeX"), pixels.get("SizeY"), pixels.get("Type")) == ("9001", "5003", "uint8")
    assert float(pixels.get("PhysicalSizeX")) == float(pixels.get("PhysicalSizeY")) == MPP
    assert pixels.get("PhysicalSizeXUnit") == "µm" and pixels.find("o:Channel", ome).get("SamplesPerPixel") == "3"
    image = root.find("o:Image", ome)
    assert "Grad-CAM of squamous_cell" in image.get("Name") and "SYNTHETIC, research use only" in image.get("Name")
    said = image.find("o:Description", ome).text
    for part in ("Research use only", "SYNTHETIC", "Grad-CAM", "squamous_cell", "Model test", "0" * 64, "maximum, 5",
                 "RGB (253, 231, 37) is 5", "RGB (68, 1, 84) is 0", "White: no tile", '"note"'):  # fmt: skip
        assert part in said, part


def test_every_level_shows_each_tile_in_its_colour_and_glass_in_white(written) -> None:
    path, result, _ = written
    with tifffile.TiffFile(path) as tif:
        for page in (tif.pages[0], *tif.pages[0].pages):
            pixels = page.asarray()
            sx, sy = page.imagewidth / SIZE[0], page.imagelength / SIZE[1]
            for n, (x, y) in enumerate(middles(result)):
                assert tuple(pixels[int(y * sy), int(x * sx)]) == heat_colour(n / 5), (page.shape, n)
            for x, y in ((10, 10), (9000, 10), (10, 5002), (9000, 5002), (4000, 1000), (2500, 2000)):
                assert tuple(pixels[int(y * sy), int(x * sx)]) == WHITE
    first = tifffile.imread(path)
    (x, y), side = result.origin_px[0], TILE
    # The edges of a tile, to the pixel that its rounded origin leaves open.
    row = first[int(y + side / 2)]
    assert tuple(row[x - 2]) == WHITE and tuple(row[x + 1]) == heat_colour(0)
    assert tuple(first[y - 2, int(x + 50)]) == WHITE and tuple(first[y + 1, int(x + 50)]) == heat_colour(0)


def test_our_reader_and_openslide_see_the_same(written) -> None:
    import openslide

    path, result, _ = written
    with open_slide(path) as opened:
        assert opened.dimensions == SIZE and opened.mpp == pytest.approx(MPP) and len(opened.level_sizes) == 3
        for n, (x, y) in enumerate(middles(result)):
            for scale in (1, 4, 16):
                seen = opened.read(x - scale, y - scale, 2 * scale, 2 * scale, 2)
                assert np.abs(seen.astype(int) - heat_colour(n / 5)).max() <= 1
        assert tuple(opened.thumbnail(500)[0, 0]) == WHITE
    with openslide.OpenSlide(str(path)) as other:
        assert other.dimensions == SIZE
        for n, (x, y) in enumerate(middles(result)):
            assert other.read_region((x, y), 0, (1, 1)).getpixel((0, 0))[:3] == heat_colour(n / 5)
        assert other.read_region((10, 10), 0, (1, 1)).getpixel((0, 0)) == (*WHITE, 255)


def test_blocks_of_one_colour_are_in_the_file_once_and_none_is_without_bytes(written) -> None:
    path, _, _ = written
    with tifffile.TiffFile(path) as tif:
        tables = [(p.dataoffsets, p.databytecounts) for p in (tif.pages[0], *tif.pages[0].pages)]
    assert all(length > 0 for _, lengths in tables for length in lengths)
    white = tables[0][0][0]
    assert sum(offset == white for offset in tables[0][0]) > 150 and white in tables[1][0]
    assert path.stat().st_size < 200_000
    assert all(o + n <= path.stat().st_size for offsets, lengths in tables for o, n in zip(offsets, lengths))


def test_without_tiles_cells_of_zero_are_white_and_what_speaks_against_has_the_other_ramp(tmp_path) -> None:
    values = np.array([[0, -3, 1], [2, 0, 4]], np.float32)
    matrix = np.array([[100.0, 0, 150], [0, 100, 50], [0, 0, 1]])
    heatmap = Heatmap(values, matrix, "s", "pathology", "gradcam", "normal", BY, {})
    write_heatmap_tiff(tmp_path / "a.ome.tiff", heatmap, (450, 150), 0.5)
    with tifffile.TiffFile(tmp_path / "a.ome.tiff") as tif:
        assert len(tif.series[0].levels) == 1
        pixels = tif.asarray()
        said = tif.ome_metadata
    assert "against the target" in said and "RGB (242, 240, 247) is -4" in said
    expected = [
        [WHITE, heat_colour(0.75, against=True), heat_colour(0.25)], [heat_colour(0.5), WHITE, heat_colour(1)],
    ]  # fmt: skip
    for row in range(2):
        for column in range(3):  # the second row is cut off by the slide's edge
            block = pixels[row * 100 : row * 100 + 50, 100 + column * 100 : 200 + column * 100].reshape(-1, 3)
            assert len(np.unique(block, axis=0)) == 1
            assert np.abs(block[0].astype(int) - expected[row][column]).max() <= 3  # there are 127 shades of each
    assert (pixels[:, :100] == 255).all() and (pixels[:, 400:] == 255).all()


def test_a_map_of_zeros_and_a_block_that_a_tile_fills_are_drawn_too(tmp_path) -> None:
    result, heatmap = made((4096, 4096), 2048.0, ((0, 0), (1, 0)))
    nothing = Heatmap(
        np.zeros_like(heatmap.values), heatmap.index_to_world, "s", "pathology", "gradcam", "normal", BY, {}
    )
    for name, one in (("a", heatmap), ("b", nothing)):
        write_heatmap_tiff(tmp_path / f"{name}.ome.tif", one, (4096, 4096), 0.25, tiles=result)
        pixels = tifffile.imread(tmp_path / f"{name}.ome.tif")
        assert (pixels[:2048, :2048] == heat_colour(0)).all() and (pixels[2048:] == 255).all()
        assert (pixels[:2048, 2048:] == heat_colour(1 if name == "a" else 0)).all()
    # 4 x 4 blocks below one tile each, all of them one of three colours.
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert BLOCK_PX == 512 and len(set(tif.pages[0].dataoffsets)) == 3


def test_what_cannot_be_drawn_is_refused_and_nothing_is_left(tmp_path) -> None:
    result, heatmap = made()
    ct = Heatmap(np.zeros((1, 1, 1), np.float32), np.eye(4), "s", "radiology", "gradcam", "nodule", BY, {})
    across = np.array([[0, 9.0, 1], [9, 0, 1], [0, 0, 1]])
    turned = Heatmap(heatmap.values, across, "s", "pathology", "gradcam", "x", BY, {})
    foreign = Heatmap(heatmap.values, heatmap.index_to_world, "t", "pathology", "gradcam", "x", BY, {})
    path = tmp_path / "a.ome.tif"
    for wrong in (ct, turned, foreign):
        with pytest.raises(InvalidInput):
            write_heatmap_tiff(path, wrong, SIZE, MPP, tiles=result)
    with pytest.raises(InvalidInput, match="ome.tif"):
        write_heatmap_tiff(tmp_path / "a.tif", heatmap, SIZE, MPP)
    for size, mpp in (((0, 9), 0.5), (SIZE, float("nan")), (SIZE, 0.0)):
        with pytest.raises(InvalidInput):
            write_heatmap_tiff(path, heatmap, size, mpp)
    with pytest.raises(InputTooLarge):
        write_heatmap_tiff(path, heatmap, (2_000_000, 9), MPP)
    with pytest.raises(ServerError):
        write_heatmap_tiff(tmp_path / "absent" / "a.ome.tif", heatmap, SIZE, MPP)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path) -> None:
    result, heatmap = made()
    path = tmp_path / "a.ome.tif"
    path.write_bytes(b"the one before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(ServerError, match="could not be written"):
            write_heatmap_tiff(path, heatmap, SIZE, MPP, tiles=result)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"the one before" and list(tmp_path.iterdir()) == [path]


HUGE = """
import sys
import numpy as np
from test_heatmap_tiff import made
from qupath_bridge.heatmap_tiff import write_heatmap_tiff
places = [(x, y) for x in range(100, 112) for y in range(40, 52)] + [(0, 0), (222, 222)]
result, heatmap = made((100_000, 100_000), 448.0, places)
before = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
write_heatmap_tiff(sys.argv[1], heatmap, (100_000, 100_000), 0.25, tiles=result)
print((int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) - before) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmHWM is of Linux")
def test_a_slide_of_100_000_by_100_000_pixels_takes_little_memory_and_a_small_file(tmp_path) -> None:
    path, here = tmp_path / "huge.ome.tif", Path(__file__).parent
    places = [str(here), str(here.parent), str(here.parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places!r}\n{HUGE}", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 100, f"{done.stdout} MiB more"
    assert path.stat().st_size < 4 << 20
    with open_slide(path) as opened:
        assert opened.dimensions == (100_000, 100_000) and opened.mpp == pytest.approx(0.25)
        assert tuple(opened.read(99_700, 99_700, 2, 2, 1)[0, 0]) == heat_colour(1)
        assert tuple(opened.read(50_000, 90_000, 2, 2, 1)[0, 0]) == WHITE
