"""Tissue on a thumbnail: pen of four colours, borders and folds are left out; tissue like them is not.

The slide here is COMPOSED of real tiles (LC25000, test split), with pen strokes and folds drawn on it.
"""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared_models.slide_data import FOLDER, read_tiles

pytest.importorskip("scipy")

from scipy.ndimage import gaussian_filter  # noqa: E402

from shared_models.slide_tissue import TissueMap, ink, tissue_layers, tissue_mask  # noqa: E402

UM = 3.6
INKS = {"green": (20, 120, 60), "blue": (30, 60, 160), "black": (35, 33, 38), "red": (210, 30, 45)}
PINK, GLASS = (205, 130, 185), 244


def _stroke(shape: tuple[int, ...], points: list[tuple[float, float]], width: int) -> np.ndarray:
    """float (rows, columns): 1 on a line, falling off at its edge."""
    picture = Image.new("L", (shape[1], shape[0]))
    ImageDraw.Draw(picture).line(points, fill=255, width=width, joint="curve")
    return gaussian_filter(np.asarray(picture, np.float32) / 255, 0.8)


def _penned(picture: np.ndarray, stroke: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    share = 0.9 * stroke[..., None]
    return (picture * (1 - share) + np.array(colour) * share).astype(np.uint8)


def _folded(picture: np.ndarray, stroke: np.ndarray, times: float) -> np.ndarray:
    """Light passes ``times`` as much tissue: optical density times ``times``."""
    density = np.clip(picture, 1, 245) / 245
    return (245 * density ** (1 + (times - 1) * stroke[..., None])).astype(np.uint8)


@pytest.fixture(scope="module")
def composed(real_data) -> np.ndarray:
    """uint8 (rows, columns, 3) at 3.6 um: 6 x 18 real tiles on glass."""
    tiles = read_tiles(real_data, "test")
    if tiles is None:
        pytest.skip(f"the tiles are not here: {real_data / FOLDER}")
    chosen = tiles.pixels[np.linspace(0, len(tiles.pixels) - 1, 108).astype(int)]
    small = chosen.reshape(108, 56, 4, 56, 4, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    blocks = small.reshape(6, 18, 56, 56, 3).transpose(0, 2, 1, 3, 4).reshape(6 * 56, 18 * 56, 3)
    return np.pad(blocks, ((60, 60), (60, 60), (0, 0)), constant_values=GLASS)


def test_pen_on_real_tiles_is_left_out_and_little_else(composed) -> None:
    plain = tissue_layers(composed, UM)
    assert plain.pen.sum() == 0 and plain.fold.sum() <= 0.01 * plain.tissue.sum()
    picture, strokes = composed, np.zeros(composed.shape[:2], np.float32)
    for number, colour in enumerate(INKS.values()):
        x = 100 + 240 * number
        stroke = _stroke(picture.shape, [(x, 20), (x + 60, 160), (x + 40, 300), (x + 110, 430)], 14)
        picture, strokes = _penned(picture, stroke, colour), np.maximum(strokes, stroke)
        assert tissue_mask(picture, UM)[stroke > 0.5].mean() < 0.05
    left = tissue_layers(picture, UM)
    assert left.tissue[strokes > 0.5].mean() < 0.05
    away = plain.tissue & (gaussian_filter(strokes, 10) < 0.002)
    assert (~left.tissue[away]).mean() < 0.03


@pytest.mark.parametrize("name", INKS)
def test_pen_on_glass_and_on_pink(name) -> None:
    picture = np.full((200, 400, 3), GLASS, np.uint8)
    picture[20:180, 20:200] = PINK
    stroke = _stroke(picture.shape, [(60, 5), (110, 195)], 8) + _stroke(picture.shape, [(250, 20), (350, 180)], 8)
    mask = tissue_mask(_penned(picture, stroke, INKS[name]), 8.0)
    assert mask[stroke > 0.5].mean() < 0.02 and mask[:, 215:].mean() < 0.001
    assert mask[30:170, 150:190].all() and mask[100:170, 30:60].all()


def test_blood_eosin_and_haematoxylin_are_no_ink() -> None:
    stains = [(200, 60, 80), (195, 55, 80), (230, 120, 170), (90, 50, 140), (60, 40, 120), (150, 100, 190)]
    coloured, black = ink(np.array(stains, np.float32))
    assert not coloured.any() and not black.any()
    coloured, black = ink(np.array(list(INKS.values()), np.float32))
    assert (coloured | black).all()


def test_a_single_cell_of_ink_colour_is_no_stroke() -> None:
    picture = np.full((200, 200, 3), PINK, np.uint8)
    picture[50::40, 50::40] = picture[51::40, 50::40] = INKS["red"]
    assert tissue_mask(picture, 8.0)[2:-2, 2:-2].all()


def test_a_fold_is_left_out_and_dense_tissue_is_not() -> None:
    rng = np.random.default_rng(0)
    picture = np.full((300, 400, 3), PINK, np.float32) + rng.normal(0, 6, (300, 400, 1))
    picture[180:280, 40:140] = np.array((110, 60, 150)) + rng.normal(0, 6, (100, 100, 1))  # a dense nest, 800 um wide
    stroke = _stroke(picture.shape, [(40, 40), (200, 90), (370, 60)], 8)
    layers = tissue_layers(_folded(picture.clip(1, 245), stroke, 2.5), 8.0)
    assert layers.fold[stroke > 0.8].mean() > 0.9
    assert layers.fold[gaussian_filter(stroke, 6) < 0.01].mean() < 0.01
    assert layers.tissue[190:270, 50:130].mean() > 0.99
    assert not (layers.tissue & layers.fold).any()
    assert not tissue_layers(_folded(picture.clip(1, 245), stroke, 2.5), 60.0).fold.any()  # too coarse to say


def test_black_borders_are_left_out() -> None:
    picture = np.full((200, 300, 3), PINK, np.uint8)
    picture[:, :20] = picture[-15:] = 8
    layers = tissue_layers(picture, 10.0)
    assert layers.pen[:, :18].all() and layers.pen[-13:].all() and not layers.tissue[:, :19].any()
    assert layers.tissue[5:180, 30:290].all()


def test_shares_of_a_mask() -> None:
    mask = np.zeros((10, 20), bool)
    mask[:5, :10] = True
    origins = np.array([[0, 0], [50, 0], [100, 50], [-50, -50], [95, 0]])
    shares = TissueMap(mask, (200, 100)).shares(origins, 100, 100)
    assert shares.tolist() == pytest.approx([0.5, 0.25, 0.0, 0.25, 0.0], abs=0.06)
