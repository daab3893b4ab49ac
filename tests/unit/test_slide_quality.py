"""Quality of tiles: real sharp tiles stay, blurred ones go; pen, glass and black count against a tile.

Blurred, pale and enlarged tiles are made here of real ones (LC25000, val split, 0.9 um).
"""

import io

import numpy as np
import pytest
from PIL import Image

from shared_models.contract.errors import InvalidInput, SpacingUnknown
from shared_models.slide_data import FOLDER, read_tiles
from shared_models.slide_quality import LEAST_QUALITY, focus, tile_quality

gaussian_filter = pytest.importorskip("scipy.ndimage").gaussian_filter
MPP = 0.9


@pytest.fixture(scope="module")
def real(real_data) -> np.ndarray:
    tiles = read_tiles(real_data, "val")
    if tiles is None:
        pytest.skip(f"the tiles are not here: {real_data / FOLDER}")
    return tiles.pixels


def _blurred(tiles: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([gaussian_filter(t.astype(np.float32), (sigma, sigma, 0)).round() for t in tiles]).astype(np.uint8)


def _jpeg(tile: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _texture(count: int = 2, side: int = 224) -> np.ndarray:
    """Pink with fine detail: sharp, and of no pen's colour."""
    shade = np.random.default_rng(0).integers(-30, 30, (count, side, side, 1))
    return (np.array([200, 120, 180]) + shade).astype(np.uint8)


def test_real_tiles_are_kept_and_blurred_ones_left_out(real) -> None:
    assert (tile_quality(real, MPP) < LEAST_QUALITY).mean() < 0.01
    some = real[::9]
    last = tile_quality(some, MPP)
    for sigma in (1, 2, 4, 6):
        quality = tile_quality(_blurred(some, sigma), MPP)
        assert np.median(quality) < np.median(last), sigma
        last = quality
        if sigma >= 4:
            assert (quality < LEAST_QUALITY).mean() > 0.9
    jpeg = np.stack([_jpeg(tile, 80) for tile in _blurred(some, 4)])
    assert (tile_quality(jpeg, MPP) < LEAST_QUALITY).mean() > 0.9


def test_compression_pale_stain_and_scale_are_not_blur(real) -> None:
    some = real[::24]
    assert (tile_quality(np.stack([_jpeg(tile, 50) for tile in some]), MPP) >= LEAST_QUALITY).all()
    pale = (245 - (245 - np.minimum(some, 245).astype(np.float32)) * 0.5).astype(np.uint8)
    assert (tile_quality(pale, MPP) >= LEAST_QUALITY).all()
    twice = np.stack([np.asarray(Image.fromarray(t).resize((448, 448), Image.Resampling.BICUBIC)) for t in some])
    assert np.abs(focus(twice, MPP / 2) - focus(some, MPP)).max() < 0.25
    assert (tile_quality(_blurred(twice, 8), MPP / 2) < LEAST_QUALITY).mean() > 0.9


def test_pen_glass_and_black_count_against_a_tile() -> None:
    tiles = np.repeat(_texture(1), 6, axis=0)
    for index, colour in enumerate([(20, 120, 60), (30, 60, 160), (210, 30, 45), (20, 20, 22)], start=1):
        tiles[index, :, :90] = colour
    tiles[5, :, :200] = 243
    quality = tile_quality(tiles, MPP)
    assert quality.dtype == np.float32 and quality[0] > 0.95
    assert (quality[1:5] < LEAST_QUALITY).all()
    assert 0 < quality[5] < quality[0]
    assert tile_quality(np.full((1, 224, 224, 3), 243, np.uint8), MPP)[0] == 0
    noisy = np.random.default_rng(1).integers(240, 244, (1, 224, 224, 3)).astype(np.uint8)
    assert tile_quality(noisy, MPP)[0] == 0  # the camera's noise on glass is no detail


def test_a_tile_is_judged_alone_whatever_batch_it_is_in() -> None:
    tiles = _texture(70, 64)
    tiles[::3, :, :40] = (20, 120, 60)
    together = tile_quality(tiles, MPP)
    assert together.shape == (70,) and np.allclose(together, [tile_quality(t[None], MPP)[0] for t in tiles], atol=1e-5)
    assert together[::3].max() < together[1::3].min()
    assert tile_quality(tiles[:0], MPP).shape == (0,)
    assert tile_quality(_texture(1, 225)[:, :201], MPP)[0] > 0.95


@pytest.mark.parametrize(
    ("pixels", "mpp", "kind"),
    [
        (np.zeros((1, 224, 224, 3), np.float32), MPP, InvalidInput),
        (np.zeros((224, 224, 3), np.uint8), MPP, InvalidInput),
        (np.zeros((1, 8, 8, 3), np.uint8), MPP, InvalidInput),
        (np.zeros((1, 64, 64, 3), np.uint8), 0.0, SpacingUnknown),
        (np.zeros((1, 64, 64, 3), np.uint8), float("nan"), SpacingUnknown),
    ],
)
def test_what_is_no_tile_is_refused(pixels, mpp, kind) -> None:
    with pytest.raises(kind):
        tile_quality(pixels, mpp)
