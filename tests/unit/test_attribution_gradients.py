"""Saliency, SmoothGrad and Integrated Gradients: against captum, and against what can be worked out by hand."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from tiny_networks import Linear, convolutional, images, model_of

from shared_models.attribution import Explained, IntegratedGradients, Saliency, SmoothGrad
from shared_models.contract.errors import InvalidInput

BOTH = pytest.mark.parametrize("dimensions", [2, 3])


@BOTH
def test_saliency_is_captums(dimensions) -> None:
    network, x = convolutional(dimensions), images(dimensions)
    expected = captum.attr.Saliency(network).attribute(x.clone(), target=1).amax(1)
    found = Saliency(model_of(network)).attribute(x, "b")
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=1e-4, atol=1e-7)
    assert not found.signed and found.targets == ("b",) * 3


@BOTH
def test_smoothgrad_is_captums_with_the_same_noise(dimensions, monkeypatch) -> None:
    network, x = convolutional(dimensions), images(dimensions)
    method = SmoothGrad(model_of(network), samples=5, noise=0.2, seed=3)
    noises = method.noises(tuple(x.shape[1:]), x.device)
    # captum repeats each image for each of its samples: ours draw the same for every image.
    monkeypatch.setattr(torch, "normal", lambda mean, std: noises.repeat(len(x), *[1] * (x.ndim - 1)))
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(network))
    expected = tunnel.attribute(x.clone(), nt_samples=5, stdevs=0.2, target=2, abs=False).abs().amax(1)
    np.testing.assert_allclose(method.attribute(x, 2).values, expected.numpy(), rtol=1e-4, atol=1e-7)
    assert noises.std() == pytest.approx(0.2, rel=0.15)


def test_smoothgrad_does_not_depend_on_the_batch_but_on_the_seed() -> None:
    network, x = convolutional(), images()
    first, other = (SmoothGrad(model_of(network, batch=size), samples=6).attribute(x, 0).values for size in (8, 5))
    np.testing.assert_allclose(first, other, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(first, SmoothGrad(model_of(network, batch=8), samples=6).attribute(x, 0).values)
    alone = SmoothGrad(model_of(network), samples=6).attribute(x[1:2], 0).values
    np.testing.assert_allclose(alone[0], first[1], rtol=1e-5, atol=1e-8)
    assert not np.allclose(first, SmoothGrad(model_of(network), samples=6, seed=1).attribute(x, 0).values, rtol=1e-3)


@BOTH
def test_integrated_gradients_are_captums(dimensions) -> None:
    network, x = convolutional(dimensions), images(dimensions)
    start = torch.full_like(x, 0.25)
    reference = captum.attr.IntegratedGradients(network)
    expected = reference.attribute(x, start, target=0, n_steps=9, method="riemann_trapezoid").sum(1).detach()
    expected *= 9 / 8  # captum's weights sum to 8 / 9
    method = IntegratedGradients(model_of(network), baseline=0.25, steps=8, most_steps=8)
    np.testing.assert_allclose(method.attribute(x, 0).values, expected, rtol=1e-3, atol=1e-5)
    # All pieces halved twice have the points of 8 steps.
    halved = IntegratedGradients(model_of(network), baseline=0.25, steps=2, most_steps=8, tolerance=0)
    np.testing.assert_allclose(halved.attribute(x, 0).values, expected, rtol=1e-3, atol=1e-5)
    # Another rule, with points enough for both.
    other = reference.attribute(x, start, target=0, n_steps=256).sum(1).detach()
    many = IntegratedGradients(model_of(network), baseline=0.25, tolerance=0, most_steps=256).attribute(x, 0)
    assert np.abs(many.values - other.numpy()).max() < 0.01 * np.abs(other.numpy()).max()
    assert many.completeness.max() < 0.05


def test_on_a_linear_network_all_is_known() -> None:
    weights = torch.tensor([[[[1.0, -2.0], [0.0, 3.0]], [[0.5, 0.0], [-1.0, -4.0]]]] * 2)
    weights[1] *= -1
    model = Explained(Linear(weights), ("up", "down"), layer="same", low=0, high=1)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]])
    np.testing.assert_array_equal(Saliency(model).attribute(x, "up").values, [[[1, 2], [1, 4]]])
    np.testing.assert_allclose(SmoothGrad(model).attribute(x, "up").values, [[[1, 2], [1, 4]]], rtol=1e-6)
    found = IntegratedGradients(model, baseline=0.0, steps=1).attribute(x, "up")
    np.testing.assert_allclose(found.values, [[[3.5, -4], [-7, -20]]], rtol=1e-6)
    assert found.completeness == [0] and found.converged and found.record["steps"] == 1
    against = IntegratedGradients(model, baseline=0.0).attribute(x, "up", contrast="down").values
    np.testing.assert_allclose(against, 2 * found.values, rtol=1e-6)


def test_steps_are_raised_until_complete_or_it_is_said() -> None:
    class Step(torch.nn.Module):
        """Rises only on the last tenth of the way: few steps miss it."""

        same = torch.nn.Identity()

        def forward(self, x):
            return torch.relu(x.sum((1, 2, 3)) - 0.9)[:, None] * torch.ones(1, 2)

    model = Explained(Step(), ("a", "b"), fast=False)
    x = torch.full((1, 1, 1, 1), 1.0)
    fine = IntegratedGradients(model, baseline=0.0, steps=2, tolerance=0.05).attribute(x, 0)
    # Even steps would have to be 16 or more; halved where the score rises, fewer do.
    assert fine.converged.all() and 4 < fine.record["steps"] < 16 and fine.completeness[0] <= 0.05
    gap = abs(float(fine.values.sum()) - 0.1) / 0.1
    assert fine.completeness[0] == pytest.approx(gap, rel=1e-3) and gap <= 0.05
    short = IntegratedGradients(model, baseline=0.0, steps=2, most_steps=4, tolerance=0.05).attribute(x, 0)
    assert not short.converged.any() and short.record["steps"] == 4 and short.completeness[0] > 0.05
    assert short.record["converged"] is False and "not reached in 1 of 1" in short.record["completeness"]


def test_only_what_is_not_complete_goes_on() -> None:
    network, x = convolutional(), images(count=2)
    x[0] = 0.25  # equal to its baseline
    method = IntegratedGradients(model_of(network), baseline=0.25, steps=1, most_steps=8, tolerance=0)
    found = method.attribute(x, 0)
    assert found.completeness[0] == 0 and not found.values[0].any() and found.record["steps"] > 1
    alone = method.attribute(x[1:], 0)
    np.testing.assert_allclose(found.values[1], alone.values[0], rtol=1e-5, atol=1e-7)


def test_a_prompt_is_neither_noised_nor_attributed_to() -> None:
    network, x = convolutional(), images()
    model = model_of(network, fixed_channels=(1,))
    x1 = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(x1)[:, 0].sum(), x1)
    np.testing.assert_allclose(Saliency(model).attribute(x, 0).values, gradient[:, 0].abs(), rtol=1e-4, atol=1e-7)
    assert not SmoothGrad(model).noises((2, 8, 8), x.device)[:, 1].any()
    found = IntegratedGradients(model, steps=64, most_steps=64).attribute(x, 0)
    start = x.clone()
    start[:, 0] = 0
    difference = (network(x) - network(start))[:, 0].detach().numpy()
    np.testing.assert_allclose(found.values.sum((1, 2)), difference, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 8, "most_steps": 4}, {"tolerance": -1}])
def test_settings_that_cannot_be(wrong) -> None:
    with pytest.raises(InvalidInput):
        IntegratedGradients(model_of(convolutional()), **wrong)
    with pytest.raises(InvalidInput):
        SmoothGrad(model_of(convolutional()), samples=0)


def test_steps_are_placed_where_the_score_rises() -> None:
    """The score rises within a few percent of the way: placed steps come closer to the dense map than as many even."""

    class Steep(torch.nn.Module):
        same = torch.nn.Identity()

        def forward(self, x):
            return torch.tanh(80 * (x.mean((1, 2, 3)) - 0.3))[:, None] * x[:, 0, :, :1].sum(1) * torch.ones(1, 2)

    model = Explained(Steep(), ("a", "b"), fast=False)
    x = torch.rand((1, 1, 4, 4), generator=torch.Generator().manual_seed(0)) * 0.2 + 0.9

    def found(**settings):
        return IntegratedGradients(model, baseline=0.0, **settings).attribute(x, 0)

    dense = found(steps=4096, most_steps=4096).values
    placed = found(steps=8, tolerance=0.01, most_steps=256)
    even = found(steps=placed.record["steps"], most_steps=placed.record["steps"])
    assert placed.converged.all() and placed.record["steps"] < 64
    assert np.abs(placed.values - dense).max() < np.abs(even.values - dense).max() / 4
