"""Stains of real tiles: Macenko against torchstain, Vahadane against scikit-learn; the command that makes a target."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from shared_models import stain
from shared_models.slide_data import FOLDER
from shared_models.stain import METHODS, Stain, density, macenko, normalised, normaliser
from shared_models.stain_vahadane import sparse_codes, sparse_stains


@pytest.fixture(scope="module")
def tiles(real_data) -> np.ndarray:
    """30 tiles of the validation split, evenly taken, so of all three classes: uint8 (30, 224, 224, 3)."""
    with (real_data / FOLDER / "tiles.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["split"] == "val"]
    chosen = [Image.open(real_data / FOLDER / name) for name in names[:: len(names) // 30][:30]]
    return np.stack([np.asarray(picture.convert("RGB")) for picture in chosen])


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((a * b).sum(axis=1), -1, 1))).max())


def test_macenko_as_torchstain_has_it(tiles) -> None:
    pytest.importorskip("torchstain", reason="torchstain is not installed")
    from torchstain.numpy.normalizers import NumpyMacenkoNormalizer

    def theirs(tile: np.ndarray) -> Stain:
        fitted = NumpyMacenkoNormalizer()
        fitted.fit(tile)
        return Stain(fitted.HERef.T, fitted.maxCRef)

    found = [(tile, own) for tile in tiles if (own := macenko(tile[None])) is not None]
    assert len(found) >= 25
    reference = NumpyMacenkoNormalizer()
    reference.fit(max(found, key=lambda pair: pair[1].angle)[0])
    target = Stain(reference.HERef.T, reference.maxCRef)
    ratios, compared = [], 0
    for tile, own in found:
        source = theirs(tile)
        # The same pixels, the same plane, the same percentiles: only rounding may part them.
        assert _degrees(own.matrix, source.matrix) < 0.01
        ratios.append(own.max_concentration / source.max_concentration)
        if np.abs(np.log(target.max_concentration / source.max_concentration)).max() > np.log(2):
            continue  # more than a stain is strengthened here
        # They truncate and leave out the 1 that density adds, we round: 1 level. Only where both concentrations are
        # positive: theirs may be negative, ours may not.
        ours = normalised(tile[None], target, "macenko", source=source).pixels[0].astype(int)
        densities = -np.log((tile.reshape(-1, 3) + 1.0) / 240)
        inside = (np.linalg.lstsq(source.matrix.T, densities.T, rcond=None)[0] >= 0).all(axis=0)
        assert inside.mean() > 0.3
        difference = np.abs(ours - reference.normalize(tile, stains=False)[0]).reshape(-1, 3)
        assert difference[inside].max() <= 1
        compared += 1
    assert compared >= 5
    # Strengths over tissue, not over tissue and glass, and of concentrations of 0 or more: near, not the same.
    assert np.median(ratios, axis=0) == pytest.approx([1, 1], abs=0.1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_vahadane_as_scikit_learn_learns_it(tiles) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is not installed")
    for tile in tiles[[2, 27]]:
        pixels = density(tile.reshape(-1, 3)).astype(np.float64)
        pixels = pixels[pixels.mean(axis=1) >= 0.15][::199]
        start = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
        ours = sparse_stains(pixels, start / np.linalg.norm(start, axis=1, keepdims=True))
        learned = decomposition.DictionaryLearning(
            2, alpha=0.1, max_iter=400, tol=1e-10, fit_algorithm="cd", positive_code=True, positive_dict=True,
            random_state=0,
        ).fit(pixels).components_  # fmt: skip
        theirs = learned / np.linalg.norm(learned, axis=1, keepdims=True)
        theirs = theirs[np.argsort(-theirs[:, 0])]

        def loss(matrix: np.ndarray, of: np.ndarray = pixels) -> float:
            codes = sparse_codes(of, matrix, 0.1)
            return float((((of - codes @ matrix) ** 2).sum() / 2 + 0.1 * codes.sum()) / len(of))

        # The valley is flat: theirs stops a few degrees short, at a loss that is no lower than ours.
        assert _degrees(ours, theirs) < 4
        assert loss(ours) <= loss(theirs) + 1e-6 < loss(start / np.linalg.norm(start, axis=1, keepdims=True))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_real_tiles_come_nearer_to_each_other(tiles, method) -> None:
    target, used = stain.target_of(tiles, method)
    got = normalised(tiles, target, method)
    assert got.changed.sum() == used >= 20
    moved = got.pixels[got.changed]
    after = [s for tile in moved if (s := METHODS[method](tile[None])) is not None]
    before = [METHODS[method](tile[None]) for tile in tiles[got.changed]]
    turned = [np.median([_degrees(s.matrix, target.matrix) for s in some]) for some in (before, after)]
    assert turned[1] < 0.6 * turned[0]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_command_prints_a_section_that_a_card_may_hold(real_data, tiles, method, monkeypatch, capsys) -> None:
    given = ["stain", "--data", str(real_data), "--split", "val", "--method", method, "--tiles", "12", "--seed"]

    def printed(seed: str) -> dict:
        monkeypatch.setattr(sys, "argv", [*given, seed])
        stain.main()
        return json.loads(capsys.readouterr().out)

    first = printed("1")
    made = first["made_from"]
    assert (made["tiles"], made["split"], made["seed"], made["validated"]) == (12, "val", 1, False)
    assert 0 < made["tiles_with_stain"] <= 12
    assert normaliser(first)(tiles[:2]).shape == (2, 224, 224, 3)
    assert printed("1") == first and printed("2")["target"] != first["target"]


def test_the_command_without_data_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stain", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match="--data"):
        stain.main()
