"""Occlusion against captum's and by hand; from coarse to fine against the dense map."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from tiny_networks import NAMES, Linear, convolutional, images, model_of

from shared_models.attribution import Explained, Occlusion, rank_correlation
from shared_models.attribution_occlusion import levels
from shared_models.contract.errors import InputTooLarge, InvalidInput


@pytest.mark.parametrize("dimensions, window, stride", [(2, 3, 2), (2, 4, 1), (2, (2, 5), (2, 3)), (3, 3, 2)])
def test_dense_is_captums(dimensions, window, stride) -> None:
    network, x = convolutional(dimensions), images(dimensions, 2, side=8 if dimensions == 2 else 5)
    found = Occlusion(model_of(network), window=window, stride=stride, baseline=0.25).attribute(x, 1)
    sides = window if isinstance(window, tuple) else (window,) * dimensions
    steps = stride if isinstance(stride, tuple) else (stride,) * dimensions
    expected = captum.attr.Occlusion(network).attribute(
        x, sliding_window_shapes=(2, *sides), strides=(2, *steps), target=1, baselines=0.25
    )
    np.testing.assert_allclose(found.values, expected[:, 0].detach(), rtol=1e-3, atol=1e-5)
    assert found.signed and found.record["windows_evaluated"] == found.record["windows"]


def test_on_a_linear_network_the_fall_is_what_was_covered() -> None:
    weights = torch.zeros(2, 1, 4, 4)
    weights[0, 0, 1, 2] = 5.0
    model = Explained(Linear(weights), ("up", "down"), layer="same")
    x = torch.ones(1, 1, 4, 4)
    x[0, 0, 1, 2] = 3.0
    found = Occlusion(model, window=2, stride=2, baseline=0.0).attribute(x, "up").values[0]
    expected = np.zeros((4, 4))
    expected[0:2, 2:4] = 15.0
    np.testing.assert_allclose(found, expected)
    kept = Occlusion(model, window=1, stride=1, baseline="mean").attribute(x, "up").values[0]
    assert kept[1, 2] == pytest.approx(5 * (3 - 18 / 16))
    against = Occlusion(model, window=2, stride=2, baseline=0.0).attribute(x, "down", contrast="up").values[0]
    np.testing.assert_allclose(against, -expected)


def test_a_prompt_is_not_covered() -> None:
    weights = torch.ones(1, 2, 4, 4)
    model = Explained(Linear(weights), ("up",), layer="same", fixed_channels=(1,))
    found = Occlusion(model, window=2, stride=2, baseline=0.0).attribute(torch.ones(1, 2, 4, 4), "up")
    np.testing.assert_allclose(found.values, np.full((1, 4, 4), 4.0))


def test_faster_scores_are_used_where_there_are() -> None:
    network, x = convolutional(), images(count=1)
    asked = []

    def scores(batch: np.ndarray) -> np.ndarray:
        asked.append(len(batch))
        with torch.no_grad():
            return network(torch.from_numpy(batch)).numpy()

    plain = Occlusion(model_of(network), window=4, stride=2).attribute(x, 0).values
    found = Occlusion(model_of(network, scores=scores), window=4, stride=2).attribute(x, 0).values
    np.testing.assert_allclose(found, plain, rtol=1e-3, atol=1e-5)
    assert sum(asked) == 10  # nine windows and the image


@pytest.mark.parametrize("counts", [(9, 9), (6, 7), (1, 4), (3, 3, 4)])
def test_levels_are_nested_and_end_with_all(counts) -> None:
    found = levels(counts)
    for coarse, fine in zip(found, found[1:]):
        assert not (coarse & ~fine).any()
    assert found[-1].all() and found[0].sum() < found[-1].sum()


class Spot(torch.nn.Module):
    """Sees a smooth spot: the map is smooth, so few windows tell all of it."""

    def __init__(self) -> None:
        super().__init__()
        at = torch.linspace(-2, 2, 48)
        self.weights = torch.exp(-(at[:, None] ** 2) - (at[None] - 0.5) ** 2)[None, None]
        self.same = torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh((self.same(x) * self.weights).sum((1, 2, 3)) / 100)[:, None].repeat(1, 3)


def test_coarse_to_fine_matches_the_dense_map_with_fewer_windows() -> None:
    model, x = model_of_spot(), images(side=48, count=1)[:, :1]
    dense = Occlusion(model, window=12, stride=2, baseline=0.0).attribute(x, 0)
    quick = Occlusion(model, window=12, stride=2, baseline=0.0, coarse_to_fine=True).attribute(x, 0)
    assert quick.record["windows_evaluated"] < 0.6 * dense.record["windows_evaluated"]
    assert rank_correlation(dense.values, quick.values) > 0.99
    all_of_it = Occlusion(model, window=12, stride=2, baseline=0.0, coarse_to_fine=True, agreement=1.0)
    np.testing.assert_allclose(all_of_it.attribute(x, 0).values, dense.values, rtol=1e-5, atol=1e-7)


def model_of_spot() -> Explained:
    return Explained(Spot(), NAMES, layer="same")


def test_coarse_to_fine_on_volumes_and_on_flat_scores() -> None:
    x = images(3, 1, side=6)
    model = model_of(convolutional(3))
    dense = Occlusion(model, window=2, stride=1).attribute(x, 0)
    quick = Occlusion(model, window=2, stride=1, coarse_to_fine=True).attribute(x, 0)
    assert quick.values.shape == (1, 6, 6, 6) and rank_correlation(dense.values, quick.values) > 0.8
    flat = Occlusion(model, window=2, stride=1, coarse_to_fine=True).attribute(torch.full_like(x, 0.3), 0)
    assert np.abs(flat.values).max() < 1e-5


def test_windows_that_cannot_be() -> None:
    model, x = model_of(convolutional()), images()
    for wrong in ({"window": 9}, {"window": 2, "stride": 3}, {"window": (2, 2, 2)}, {"window": 0}):
        with pytest.raises(InvalidInput):
            Occlusion(model, **wrong).attribute(x)
    with pytest.raises(InputTooLarge):
        Occlusion(model, window=2, stride=1).attribute(torch.zeros(1, 2, 400, 400))
