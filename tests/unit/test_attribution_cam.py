"""Grad-CAM against captum, Grad-CAM++ against its derivation by derivatives of the third order."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from tiny_networks import convolutional, images

from shared_models.attribution import Explained, GradCam, GradCamPlusPlus
from shared_models.attribution_cam import grad_cam_pp

NAMES = ("a", "b", "c")
BOTH = pytest.mark.parametrize("dimensions", [2, 3])


def model_of(network, layer: str = "features", **settings) -> Explained:
    return Explained(network, NAMES, layer=layer, **settings)


@BOTH
@pytest.mark.parametrize("layer", ["features", "first", "halved"])
def test_grad_cam_is_captums(dimensions, layer) -> None:
    network, x = convolutional(dimensions), images(dimensions)
    reference = captum.attr.LayerGradCam(network, getattr(network, layer))
    found = GradCam(model_of(network, layer), positive=False).attribute(x, 1)
    cells = reference.attribute(x, target=1).detach()
    np.testing.assert_allclose(found.cells, cells[:, 0], rtol=1e-4, atol=1e-6)
    mode = "bilinear" if dimensions == 2 else "trilinear"
    sized = captum.attr.LayerAttribution.interpolate(cells, tuple(x.shape[2:]), mode)
    np.testing.assert_allclose(found.values, sized[:, 0], rtol=1e-4, atol=1e-6)
    cut = GradCam(model_of(network, layer)).attribute(x, 1)
    np.testing.assert_allclose(cut.cells, cells[:, 0].clamp_min(0), rtol=1e-4, atol=1e-6)
    assert found.signed and not cut.signed and cut.record["layer"] == layer


def derived(features: torch.Tensor, tail) -> torch.Tensor:
    """Grad-CAM++ of one image by eq. 10 to 19 of the paper: derivatives of Y = exp(S), each taken by autograd."""
    features = features.double().requires_grad_(True)
    y = torch.exp(tail(features))
    (first,) = torch.autograd.grad(y, features, create_graph=True)
    weights = torch.zeros(features.shape[1], dtype=torch.float64)
    for k in range(features.shape[1]):
        for place in np.ndindex(*features.shape[2:]):
            at = (0, k, *place)
            second = torch.autograd.grad(first[at], features, create_graph=True)[0][at]
            third = torch.autograd.grad(second, features, retain_graph=True)[0][at]
            below = 2 * second + features[0, k].sum() * third
            alpha = second / below if float(below.detach()) != 0 else torch.zeros(())
            weights[k] += float(alpha.detach()) * max(float(first[at].detach()), 0)
    shape = (1, -1, *[1] * (features.ndim - 2))
    # exp(S) is common to all cells and left out in ours.
    return (weights.reshape(shape) * features).sum(1).clamp_min(0).detach() / float(y.detach())


@BOTH
def test_grad_cam_pp_is_what_the_paper_derives(dimensions) -> None:
    network, x = convolutional(dimensions), images(dimensions, 1, side=4 if dimensions == 2 else 2)
    double = convolutional(dimensions).double()

    def tail(a: torch.Tensor) -> torch.Tensor:
        return double.head(double.bent(double.hidden(double.halved(a))).flatten(2).mean(2))[0, 2]

    features = network.features(network.second(network.relu(network.norm(network.first(x))))).detach()
    found = GradCamPlusPlus(model_of(network)).attribute(x, 2)
    expected = derived(features, tail)
    assert expected.max() > 0
    np.testing.assert_allclose(found.cells, expected, rtol=1e-4, atol=1e-7)


def test_grad_cam_pp_by_hand() -> None:
    # One channel, two cells, A = (1, 3), g = (0.5, -2): the first has alpha 1 / (2 + 0.5 * 4), the second is cut.
    features, gradient = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[0.5, -2.0]]]])
    np.testing.assert_allclose(grad_cam_pp(features, gradient), [[[0.125, 0.375]]])
    tiny = grad_cam_pp(features, gradient * 1e-25)  # its cube is below single precision
    np.testing.assert_allclose(tiny, [[[0.25e-25, 0.75e-25]]], rtol=1e-5)
    assert not grad_cam_pp(features, torch.zeros_like(gradient)).any()


def test_nothing_before_the_layer_is_remembered() -> None:
    network = convolutional()
    model = model_of(network)
    aim = model.aim(images(), 0)
    score, (features,) = model.score(aim, captures=True, tail=True)
    assert features.is_leaf and features.requires_grad and score.requires_grad


def test_a_relu_in_place_after_the_layer_does_not_change_what_is_seen() -> None:
    network, x = convolutional(norm=False), images()
    network.relu.inplace = True
    other = convolutional(norm=False)
    expected = captum.attr.LayerGradCam(other, other.first).attribute(x, target=0).detach()
    found = GradCam(model_of(network, "first"), positive=False).attribute(x, 0)
    np.testing.assert_allclose(found.cells, expected[:, 0], rtol=1e-4, atol=1e-6)
