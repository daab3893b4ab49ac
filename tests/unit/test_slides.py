"""StoredSlide: tiles come back as they were sent, each once, and the size of a tile on level 0 is read off the grid."""

import numpy as np
import pytest

from inference_server.slides import StoredSlide, grid_step
from shared_models.contract.codec import encode
from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import SlideTiles


def stored(tmp_path, *batches: SlideTiles, **choices: tuple[float, float]) -> StoredSlide:
    paths = []
    for number, batch in enumerate(batches):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(encode(batch))
    return StoredSlide("s", paths, 1 << 30, **choices)


def batch(origin: list, seed: int = 0, slide_id: str = "s", shape: tuple[int, int] = (8, 8)) -> SlideTiles:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(origin), *shape, 3), dtype=np.uint8)
    return SlideTiles(pixels, np.array(origin, dtype=np.int64), 0.5, slide_id)


def test_tiles_of_several_batches_come_back_in_order_each_origin_once(tmp_path) -> None:
    first, second = batch([[0, 0], [16, 0], [32, 0]]), batch([[32, 0], [48, 0]], seed=1)
    slide = stored(tmp_path, first, second)
    assert slide.origin_px.tolist() == [[0, 0], [16, 0], [32, 0], [48, 0]] and slide.count == 4
    assert np.array_equal(slide.pixels(0, 4), np.concatenate([first.pixels, second.pixels[1:]]))
    assert np.array_equal(slide.pixels(2, 3), first.pixels[2:3]) and slide.tile_px == (16.0, 16.0)


def test_a_tile_size_that_is_given_goes_before_the_grid(tmp_path) -> None:
    assert stored(tmp_path, batch([[0, 0], [64, 0]]), tile_px=(16.0, 16.0)).tile_px == (16.0, 16.0)


@pytest.mark.parametrize(
    ("origin", "shape", "expected"),
    [
        ([[0, 0], [32, 0], [0, 32]], (8, 8), (32.0, 32.0)),
        ([[0, 0], [96, 32]], (8, 8), (32.0, 32.0)),  # square tiles: the smaller step of the two axes
        ([[5, 7]], (8, 16), (16.0, 8.0)),  # one tile: nothing to read it off
        ([[0, 0], [32, 0], [0, 64]], (16, 8), (32.0, 64.0)),
        ([[0, 0], [32, 0]], (16, 8), (32.0, 64.0)),
        ([[0, 0], [0, 64]], (16, 8), (32.0, 64.0)),
    ],
)
def test_grid_step(origin: list, shape: tuple[int, int], expected: tuple[float, float]) -> None:
    assert grid_step(np.array(origin, dtype=np.int64), shape) == expected


def test_frames_of_another_slide_or_none_are_refused(tmp_path) -> None:
    with pytest.raises(InvalidInput):
        stored(tmp_path, batch([[0, 0]], slide_id="other"))
    with pytest.raises(InvalidInput):
        stored(tmp_path)
    with pytest.raises(InvalidInput):
        stored(tmp_path, batch([[0, 0]]), batch([[16, 0]], shape=(4, 4)))


def test_the_picture_puts_every_tile_where_it_lies(tmp_path) -> None:
    """Two tiles of 8 x 8 px at 16 level-0 px a tile: one red, one green two places to the right and one down."""
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    pixels[0, ..., 0] = pixels[1, ..., 1] = 200
    slide = stored(tmp_path, SlideTiles(pixels, np.array([[100, 50], [132, 66]]), 0.5, "s"), tile_px=(16.0, 16.0))
    for max_px in (1200, 12):
        picture, to_level0 = slide.picture(max_px)
        assert max(picture.shape) <= max_px + 2
        for centre, colour in (((108, 58), (200, 0, 0)), ((140, 74), (0, 200, 0)), ((124, 58), (255, 255, 255))):
            column, row, _ = np.linalg.solve(to_level0, [*centre, 1.0])
            assert tuple(picture[round(row), round(column)]) == colour


def test_a_picture_is_the_mean_of_its_pixels_and_at_least_one_a_tile(tmp_path) -> None:
    many = batch([[16 * n, 0] for n in range(50)])
    picture, _ = stored(tmp_path, many).picture(10)
    assert picture.shape[1] >= 50 and picture.shape[0] >= 1
    assert np.abs(picture[0, :50].astype(int) - many.pixels.mean(axis=(1, 2)).astype(int)).max() <= 1
