"""ROAR on tiles where one corner alone tells the classes apart: a map of it must cost the accuracy, others must not."""

import numpy as np
import pytest

from shared_models import roar
from shared_models.faithfulness import RANDOM


def _tiles(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.integers(90, 110, (count, 16, 16, 3)).astype(np.uint8)
    pixels[:, 4:8, 8:12] = np.where(labels == 1, 200, 0)[:, None, None, None]
    return pixels, labels


def _features(pixels: np.ndarray) -> np.ndarray:
    """How much each cell differs from the middle grey; a cell at the tile's mean hardly does."""
    cells = pixels.astype(float).mean(axis=3).reshape(len(pixels), 4, 4, 4, 4).mean(axis=(2, 4)).reshape(-1, 16)
    return np.round((cells - 100) / 50)


def test_what_the_right_map_removes_cannot_be_learned_again() -> None:
    train, test = _tiles(60, 0), _tiles(30, 1)
    where = np.zeros((16, 16))
    where[4:8, 8:12] = 1
    maps = {
        "right": tuple(np.broadcast_to(where, (n, 16, 16)) for n in (60, 30)),
        "wrong": tuple(np.broadcast_to(-where, (n, 16, 16)) for n in (60, 30)),
    }
    pixels, labels = (train[0], test[0]), (train[1], test[1])
    found = roar.roar(pixels, labels, maps, _features, (0.1, 0.5, 0.9), cell=4)
    accuracy = {name: rows.mean(axis=1) for name, rows in found.items()}
    assert found["right"].shape == (4, 30) and accuracy["right"][0] == accuracy[RANDOM][0] == 1
    assert accuracy["wrong"].min() == 1 and accuracy["right"][1:].max() == 0.5
    assert 0.5 < accuracy[RANDOM][1:].mean() < 1  # each tile loses the cell by chance
    again = roar.roar(pixels, labels, maps, _features, (0.1, 0.5, 0.9), cell=4)
    assert all(np.array_equal(again[name], found[name]) for name in found)
    said = roar.summary(found, np.arange(30), (0.1, 0.5, 0.9))
    assert said["wrong"]["accuracy"]["0.5"] == 1 and said[RANDOM]["p_random"] is None and said["right"]["p_random"] <= 1
    text = roar.markdown({"methods": said, "train": 60, "test": 30, "seed": 0, "commit": "abc"})
    assert text.index("| right") < text.index("| wrong") and "proxy" in text


def test_exactly_the_highest_cells_are_replaced_by_the_tiles_mean() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    maps = np.zeros((2, 8, 8))
    maps[0, :4, 4:] = 2
    maps[1, 4:] = 1
    changed = roar.removed(pixels, maps, 0.25, cell=4)
    assert (changed[0, :4, 4:] == np.rint(pixels[0].reshape(-1, 3).mean(0))).all()
    kept = np.ones((8, 8), bool)
    kept[:4, 4:] = False
    assert np.array_equal(changed[0][kept], pixels[0][kept])
    assert np.array_equal(changed[1, :4], pixels[1, :4])  # of the two ties one
    assert not np.array_equal(changed[1], pixels[1]) and np.array_equal(roar.removed(pixels, maps, 0.0, cell=4), pixels)
    assert len(np.unique(roar.removed(pixels, maps, 1.0, cell=4)[0].reshape(-1, 3), axis=0)) == 1


def test_the_probe_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(2)
    labels, truth = rng.integers(0, 3, 40), rng.integers(0, 3, 25)
    centres = rng.normal(size=(3, 80))
    train, test = (centres[y] + 6 * rng.normal(size=(len(y), 80)) for y in (labels, truth))
    scale = train.std(axis=0) + 1e-6
    model = linear.Ridge(alpha=100.0).fit((train - train.mean(0)) / scale, np.eye(3)[labels])
    theirs = model.predict((test - train.mean(0)) / scale).argmax(axis=1)
    right = roar.probed(train, labels, test, truth)
    assert np.array_equal(right, theirs == truth) and 0.4 < right.mean() < 1
