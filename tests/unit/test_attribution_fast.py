"""What makes attributions fast must not change them: folded copies, group norms, batches, the choice of the engine."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_networks import SMALL, convolutional, images, model_of
from torch import nn

from shared_models.attribution import method
from shared_models.attribution_batch import SIZES, batch_cpu, even_pieces, filled, pieces, tuned_batch
from shared_models.attribution_network import GroupNorm, Pointwise


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_copy_is_folded_and_answers_the_same(dimensions) -> None:
    network, x = convolutional(dimensions), images(dimensions)
    before = copy.deepcopy(network.state_dict())
    model = model_of(network)
    np.testing.assert_allclose(model.logits(x), network(x).detach(), rtol=1e-4, atol=1e-5)
    assert isinstance(model._quick.norm, nn.Identity) and model._quick.relu.inplace
    assert isinstance(model._quick.second, Pointwise) == (dimensions == 2)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(p.requires_grad for p in network.parameters())


class Grouped(nn.Module):
    """Convolutions with group norms, as in the nodule network; logits of what they give."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm, self.features = nn.Conv2d(2, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.LeakyReLU(0.1)
        self.second, self.after, self.bent = nn.Conv2d(8, 6, 3), nn.GroupNorm(2, 6, eps=0.1), nn.ReLU()
        with torch.no_grad():
            for norm in (self.norm, self.after):
                norm.weight.copy_(torch.randn(norm.num_channels))
                norm.bias.copy_(torch.randn(norm.num_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bent(self.after(self.second(self.features(self.norm(self.first(x)))))).mean((2, 3))[:, :3]


def test_the_copys_group_norm_has_torchs_gradient() -> None:
    network, x = Grouped().eval(), images(count=5, side=7) * 3
    model = model_of(network, engine="torch")
    found = method("saliency", model).attribute(x, 1).values
    assert [type(part) for part in (model._quick.norm, model._quick.after)] == [GroupNorm, GroupNorm]
    leaf = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)
    np.testing.assert_allclose(found, gradient.abs().amax(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.logits(x), network(x).detach(), rtol=1e-4, atol=1e-6)
    # Where pixels do not lie together it is torch's own.
    plain, own = x[:, :1].expand(-1, 8, -1, -1).contiguous(), GroupNorm(network.norm)
    np.testing.assert_allclose(own(plain), network.norm(plain).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["smoothgrad", "integrated_gradients", "saliency", "occlusion"])
def test_many_inputs_with_group_norms_are_torchs_and_the_map_the_same(name) -> None:
    pytest.importorskip("onnx")
    network, how = Grouped().eval(), SMALL.get(name, {})
    x = images(count=5)
    many, few = model_of(network), model_of(network)
    few._grouped = False  # ONNX Runtime takes all
    ours, other = (method(name, model, **how).attribute(x, "a") for model in (many, few))
    np.testing.assert_allclose(ours.values, other.values, rtol=1e-3, atol=1e-5)
    again = method(name, many, **how).attribute(x, "a")
    np.testing.assert_array_equal(ours.values, again.values)
    if "engine" in ours.record:
        assert (ours.record["engine"], other.record["engine"]) == ("torch", "ONNX Runtime")
    assert method("saliency", many).attribute(x[:1], "a").record["engine"] == "ONNX Runtime"  # one is not many
    assert method("saliency", model_of()).attribute(x, "a").record["engine"] == "ONNX Runtime"  # no group norms


def test_what_cannot_be_folded_is_left_as_it_is() -> None:
    class Twice(nn.Module):
        """Its convolution's output is used beside the normalisation, and again after the ReLU."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.features = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()
            self.norm.running_var.fill_(4.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            return (self.features(self.norm(y)) + y).mean((2, 3))

    network, x = Twice().eval(), images()
    model = model_of(network)
    np.testing.assert_allclose(model.logits(x), network(x).detach(), rtol=1e-4, atol=1e-6)
    assert isinstance(model._quick.norm, nn.BatchNorm2d)


def test_batches_grow_until_it_does_not_pay_or_does_not_fit() -> None:
    asked: list[int] = []

    def seconds(size: int) -> float:
        asked.append(size)
        if size > 64:
            raise torch.OutOfMemoryError("no")
        return 1.0 + 0.001 * size

    assert tuned_batch(seconds) == 32 and asked == [8, 32, 128]
    assert tuned_batch(lambda size: 1.0) == 128 and tuned_batch(lambda size: 1.0, (8, 32)) == 32
    assert tuned_batch(lambda size: float(size)) == 8

    def never(size: int) -> float:
        raise torch.OutOfMemoryError("no")

    assert tuned_batch(never) == 1


@pytest.mark.parametrize(
    "count, most, sizes",
    [(1, 128, [1]), (3, 8, [3]), (7, 128, [7]), (17, 32, [17]), (16, 32, [8, 8]), (119, 128, [119]),
     (56, 128, [32, 24]), (136, 128, [128, 8]), (300, 128, [128, 128, 32, 8, 4]), (3, 1, [1, 1, 1])],
)  # fmt: skip
def test_pieces_fill_the_sizes_that_a_gpu_is_given(count, most, sizes) -> None:
    found = list(pieces(count, most))
    assert [part.stop - part.start for part in found] == sizes
    assert [part.start for part in found] == [0, *np.cumsum(sizes)[:-1]]
    assert all(filled(size) in (1, *SIZES) and filled(size) >= size for size in sizes) and filled(1000) == 1000


def test_a_cpus_batches_are_of_like_size() -> None:
    assert [part.stop - part.start for part in even_pieces(49, 16)] == [12, 12, 12, 13]
    assert [(part.start, part.stop) for part in even_pieces(17, 16)] == [(0, 8), (8, 17)]
    assert list(even_pieces(3, 4)) == [slice(0, 3)]
    assert [batch_cpu(space) for space in ((224, 224), (64, 64), (96, 96), (8, 32, 32))] == [4, 16, 7, 8]
