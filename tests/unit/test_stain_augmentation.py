"""Stain changed at random in a tile's own colours. The tiles here are synthetic."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_stain import ONE, OTHER, _amounts, _drawn  # noqa: E402

from shared_models import train_slide  # noqa: E402
from shared_models.slide_augmentation import augmented, restained, restained_macenko  # noqa: E402


def _batch(*tiles: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float()


def test_nothing_asked_is_nothing_changed() -> None:
    batch = _batch(_drawn(_amounts(1), ONE), _drawn(_amounts(2), OTHER), np.full((96, 96, 3), 255, np.uint8))
    kept = batch.clone()
    assert torch.allclose(restained_macenko(batch, torch.ones(3, 3), torch.zeros(3, 3)), kept, atol=0.05)
    assert torch.equal(batch, kept)


@pytest.mark.parametrize("matrix", [ONE, OTHER], ids=["one", "other"])
def test_each_stain_is_changed_along_its_own_colour(matrix) -> None:
    amounts, gain = _amounts(3), np.array([1.3, 0.7])
    wanted = _batch(_drawn(amounts * gain, matrix))
    asked = torch.tensor([[*gain, 1.0]], dtype=torch.float32)
    got = restained_macenko(_batch(_drawn(amounts, matrix)), asked, torch.zeros(1, 3))
    # White is 255 here and 240 where the tile was drawn, so that a gain changes the light a little too.
    assert (got - wanted).abs().mean() < 4
    fixed = restained(_batch(_drawn(amounts, matrix)), asked, torch.zeros(1, 3))
    assert (got - wanted).abs().mean() < 0.6 * (fixed - wanted).abs().mean()


def test_an_offset_adds_stain_everywhere() -> None:
    batch = _batch(_drawn(_amounts(4), ONE))
    got = restained_macenko(batch, torch.ones(1, 3), torch.tensor([[0.2, 0.0, 0.0]]))
    added = torch.log((batch + 1) / (got + 1)).mean(dim=(0, 2, 3)).numpy()
    assert added == pytest.approx(0.2 * ONE[0], abs=0.01)


def test_a_tile_whose_stains_cannot_be_told_is_changed_in_the_fixed_space() -> None:
    batch = _batch(_drawn(_amounts(5), ONE), np.full((96, 96, 3), 200, np.uint8))
    gain, offset = torch.tensor([[1.4, 0.7, 1.2]]).repeat(2, 1), torch.full((2, 3), 0.05)
    got, fixed = restained_macenko(batch, gain, offset), restained(batch, gain, offset)
    assert torch.equal(got[1], fixed[1]) and (got[0] - fixed[0]).abs().mean() > 1


def test_augmented_takes_the_space_it_is_told_and_draws_the_same() -> None:
    batch = _batch(*(_drawn(_amounts(s), ONE) for s in range(4)))

    def changed(**options: str) -> torch.Tensor:
        return augmented(batch, np.random.default_rng(7), **options)

    assert torch.equal(changed(), changed(stain="hed"))
    assert torch.equal(changed(stain="macenko"), changed(stain="macenko"))
    assert 0.5 < (changed() - changed(stain="macenko")).abs().mean() < 60
    assert torch.isfinite(changed(stain="macenko")).all()
    with pytest.raises(KeyError):
        changed(stain="none")


@pytest.mark.parametrize("options, expected", [([], "hed"), (["--stain-augmentation", "macenko"], "macenko")])
def test_training_takes_the_option(options, expected, monkeypatch) -> None:
    given: list = []
    monkeypatch.setattr(sys, "argv", ["train_slide", "--data", "d", "--out", "o", *options])
    monkeypatch.setattr("shared_models.train.run", given.append)
    with pytest.raises(SystemExit) as ended:
        train_slide.main()
    (request,) = given
    assert ended.value.code == 0 and (request.data, request.out) == (Path("d"), Path("o"))
    assert request.with_recipe(train_slide.Recipe()).stain_augmentation == expected
