"""The synthetic slide: a real pyramid, the stated pixel size, two textures where the outlines say."""

from pathlib import Path

import numpy as np
import pytest

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("scipy")

from shared_models.phantom_slide import SlideTruth, write_slide  # noqa: E402


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SlideTruth]:
    path = tmp_path_factory.mktemp("slide") / "phantom.ome.tif"
    return path, write_slide(path, seed=0, mpp=0.5)


def test_it_is_a_tiled_pyramid_with_its_pixel_size_and_its_label(slide: tuple[Path, SlideTruth]) -> None:
    path, truth = slide
    with tifffile.TiffFile(path) as file:
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(2688, 3584, 3), (1344, 1792, 3), (672, 896, 3)]
        assert all(level.keyframe.is_tiled and level.keyframe.tile == (256, 256) for level in levels)
        ome = file.ome_metadata
        assert 'PhysicalSizeX="0.5"' in ome and "µm" in ome and "Synthetic" in ome and "not a patient" in ome
        value, over = file.pages[0].tags["XResolution"].value
        assert value / over == pytest.approx(1e4 / 0.5)  # pixels per cm
        full, half = levels[0].asarray()[:512, :512].astype(float), levels[1].asarray()[:256, :256]
        np.testing.assert_allclose(full.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)), half, atol=0.51)
    assert truth.mpp == 0.5 and truth.size_px == (3584, 2688)


def test_the_textures_lie_inside_their_outlines(slide: tuple[Path, SlideTruth]) -> None:
    shapely = pytest.importorskip("shapely")
    path, truth = slide
    pixels = tifffile.imread(path, level=2).astype(float)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    means = {}
    covered = np.zeros(pixels.shape[:2], bool)
    for region in truth.regions:
        outline = shapely.Polygon(region.outline_px)
        assert outline.is_valid and outline.area > 1e6
        inside = shapely.contains_xy(outline.buffer(-24), columns * 4 + 2, rows * 4 + 2)
        covered |= shapely.contains_xy(outline.buffer(24), columns * 4 + 2, rows * 4 + 2)
        means[region.kind] = pixels[inside].mean(axis=0)
    glass = pixels[~covered]
    assert glass.min() > 225 and glass.std() < 5
    # Haematoxylin takes red and green: the crowded nuclei are darker and bluer than the airy tissue.
    assert means["tumour-like"][0] < means["normal-like"][0] - 30
    assert means["tumour-like"][2] - means["tumour-like"][1] > means["normal-like"][2] - means["normal-like"][1] + 20


def test_the_seed_decides_the_pixels(slide: tuple[Path, SlideTruth], tmp_path: Path) -> None:
    again = write_slide(tmp_path / "a.ome.tif", seed=0)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif"), tifffile.imread(slide[0]))
    assert all((a.outline_px == b.outline_px).all() for a, b in zip(again.regions, slide[1].regions))
    assert again.mpp == 0.9
