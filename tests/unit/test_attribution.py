"""What holds of every attribution method: targets, errors, symmetry, flat images, shared passes, speed-ups."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_networks import NAMES, SMALL, Linear, convolutional, images, model_of
from torch import nn

from shared_models.attribution import METHODS, Explained, attribute_all, method, rank_correlation
from shared_models.attribution_baseline import BASELINES, baseline
from shared_models.contract.errors import InvalidInput, OutOfMemory

EACH = pytest.mark.parametrize("name", METHODS)


@EACH
def test_the_predicted_class_is_the_default(name) -> None:
    network, x = convolutional(seed=6), images(count=5, seed=2) * torch.tensor([9.0, -9, 1, 4, -2]).reshape(5, 1, 1, 1)
    best = network(x).argmax(1).tolist()
    assert len(set(best)) > 1
    found = method(name, model_of(network), **SMALL.get(name, {})).attribute(x)
    assert found.targets == tuple(NAMES[i] for i in best) and found.method == name
    each = method(name, model_of(network), **SMALL.get(name, {})).attribute(x, [NAMES[i] for i in best])
    np.testing.assert_array_equal(found.values, each.values)
    assert found.values.shape == (5, 8, 8) and found.record["normalisation"] == "none"
    assert found.signed or found.values.min() >= 0


@EACH
@pytest.mark.parametrize("target", ["d", 3, -1, True, 1.5, ["a", "b"]])
def test_a_class_outside_the_model_is_an_error(name, target) -> None:
    with pytest.raises(InvalidInput):
        method(name, model_of(), **SMALL.get(name, {})).attribute(images(), target)


def test_other_questions_that_cannot_be_put() -> None:
    model, x = model_of(), images()
    with pytest.raises(InvalidInput, match="does not assess small cell.*Choose one of a, b, c"):
        model.aim(x, "small cell")
    with pytest.raises(InvalidInput, match="with itself"):
        model.aim(x, "a", "a")
    for wrong in (x[0], x[:0], x * float("nan")):
        with pytest.raises(InvalidInput):
            model.aim(wrong, 0)
    with pytest.raises(InvalidInput, match="not known"):
        method("lime", model)
    with pytest.raises(InvalidInput, match="no such setting"):
        method("saliency", model, window=3)
    with pytest.raises(InvalidInput, match="not asked for"):
        attribute_all(model, x, 0, ("saliency",), occlusion={"window": 2})
    with pytest.raises(InvalidInput, match="no layer"):
        Explained(convolutional(), NAMES, layer="nothing")
    with pytest.raises(InvalidInput):
        method("saliency", model, precision="fp8")


@pytest.mark.parametrize("name", ["integrated_gradients", "occlusion", "gradcam"])
def test_a_contrast_is_the_difference_of_two_classes(name) -> None:
    model, x = model_of(), images()
    settings = {"positive": False} if name == "gradcam" else SMALL[name]
    one, other, both = (
        method(name, model, **settings).attribute(x, target, contrast=against).values
        for target, against in (("a", None), ("b", None), ("a", "b"))
    )
    np.testing.assert_allclose(both, one - other, rtol=1e-3, atol=1e-5)
    record = method(name, model, **settings).attribute(x, "a", contrast="b").record
    assert record["contrast"] == "b"


class Symmetric(nn.Module):
    """The mean of a network's answers to an image and to its mirror image, or to all turns: it sees no difference."""

    def __init__(self, network: nn.Module, ways: list) -> None:
        super().__init__()
        self.network, self.ways = network, ways

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.network(way(x)) for way in self.ways]).mean(0)


@pytest.mark.parametrize("name", [m for m in METHODS if not m.startswith("gradcam")])
def test_the_map_turns_with_the_image(name) -> None:
    ways = [lambda x, k=k: torch.rot90(x, k, (2, 3)) for k in range(4)]
    model = Explained(Symmetric(convolutional(), ways), NAMES)
    settings = dict(SMALL.get(name, {}))
    if name == "smoothgrad":
        settings["noise"] = 0.0  # the noise is drawn for places, and does not turn
    x = images()
    upright = method(name, model, **settings).attribute(x, 0).values
    turned = method(name, model, **settings).attribute(torch.rot90(x, 1, (2, 3)), 0).values
    np.testing.assert_allclose(turned, np.rot90(upright, 1, (1, 2)), rtol=1e-3, atol=1e-5)


@EACH
def test_the_map_of_a_mirrored_image_by_a_mirrored_network_is_mirrored(name) -> None:
    network = convolutional()
    mirrored = copy.deepcopy(network)
    with torch.no_grad():
        for part in (mirrored.first, mirrored.hidden):
            part.weight.copy_(part.weight.flip(-1))
    x, settings = images(), dict(SMALL.get(name, {}))
    if name == "smoothgrad":
        settings["noise"] = 0.0
    one = method(name, model_of(network), **settings).attribute(x, 0).values
    other = method(name, model_of(mirrored), **settings).attribute(x.flip(-1), 0).values
    assert one.any()
    np.testing.assert_allclose(other, one[..., ::-1], rtol=1e-3, atol=1e-5)


@EACH
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 1e4, -1e4])
def test_flat_and_saturated_images_give_finite_maps(name, dimensions, value) -> None:
    x = torch.full((1, 2, *[8 if dimensions == 2 else 4] * dimensions), value)
    settings = {**SMALL, "occlusion": {"window": 2, "stride": 2, "baseline": "mean"}}.get(name, {})
    found = method(name, model_of(convolutional(dimensions)), **settings).attribute(x)
    assert np.isfinite(found.values).all() and found.values.shape == tuple(x.shape[:1] + x.shape[2:])
    if name in ("occlusion",):
        assert np.abs(found.values).max() <= 1e-4 * max(1, abs(value))


@EACH
def test_it_is_the_same_each_time_and_for_each_batch(name) -> None:
    x = images(count=5)
    once, again = (method(name, model_of(), **SMALL.get(name, {})).attribute(x, 1).values for _ in range(2))
    np.testing.assert_array_equal(once, again)
    for size in (1, 3):
        found = method(name, model_of(batch=size), **SMALL.get(name, {})).attribute(x, 1).values
        np.testing.assert_allclose(found, once, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("methods", [METHODS, ("gradcam", "gradcam_pp"), ("saliency", "gradcam_pp"), ("occlusion",)])
def test_together_they_say_the_same_as_alone(methods) -> None:
    network, x = convolutional(), images()
    settings = {name: SMALL[name] for name in methods if name in SMALL}
    passes = []
    network.register_forward_hook(lambda *_: passes.append(1))
    found = attribute_all(model_of(network, fixed_channels=(1,)), x, "b", methods, **settings)
    assert tuple(found) == tuple(methods)
    for name in methods:
        alone = method(name, model_of(network, fixed_channels=(1,)), **SMALL.get(name, {})).attribute(x, "b")
        np.testing.assert_allclose(found[name].values, alone.values, rtol=1e-4, atol=1e-6)
        assert found[name].record == alone.record


def test_passes_are_shared() -> None:
    class Counting(nn.Module):
        passes = 0

        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Counting.passes += 1
            return self.features(x).sum((2, 3))[:, :1].repeat(1, 3)

    model = Explained(Counting(), NAMES, layer="features", engine="torch")
    model.logits(images())  # the copy is made
    Counting.passes = 0
    attribute_all(model, images(), 0, ("saliency", "gradcam", "gradcam_pp"))
    assert Counting.passes == 1


def test_too_little_memory_is_said() -> None:
    class Full(nn.Module):
        full = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if Full.full:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x.mean((2, 3))[:, :1].repeat(1, 3)

    model = Explained(Full(), NAMES)
    model.logits(images())
    Full.full = True
    with pytest.raises(OutOfMemory):
        method("saliency", model).attribute(images(), 0)


def test_mixed_precision_only_where_the_map_stays_the_same() -> None:
    x = images(side=16)
    fine, exact = (method("gradcam_pp", model_of(), precision=how).attribute(x, 0) for how in ("mixed", "fp32"))
    assert fine.record["precision"] == "bf16" and exact.record["precision"] == "fp32"
    assert rank_correlation(fine.values, exact.values) > 0.99 and not np.array_equal(fine.values, exact.values)

    class Delicate(nn.Module):
        """A small difference of large numbers, which bfloat16 loses."""

        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(2, 1, 3, padding=1, bias=False)
            self.features = nn.Identity()
            self.register_buffer("large", torch.tensor(1e3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.one(x)
            z = self.features((y + self.large.to(y.dtype)) - self.large.to(y.dtype))
            return (z.float() ** 2).mean((2, 3)).repeat(1, 3)

    torch.manual_seed(0)
    kept = method("saliency", model_of(Delicate()), precision="mixed").attribute(x, 0)
    assert kept.record["precision"] == "fp32"
    assert method("saliency", model_of()).attribute(x, 0).record["precision"] == "fp32"  # auto, on a CPU


# --- values


def test_baselines() -> None:
    model, x = model_of(low=-1, high=1, fixed_channels=(1,)), images()
    for name in BASELINES:
        found = baseline(model, x, name)
        assert found.shape == x.shape and torch.equal(found[:, 1], x[:, 1])
    assert (baseline(model, x, "white")[:, 0] == 1).all() and (baseline(model, x, "air")[:, 0] == -1).all()
    np.testing.assert_allclose(baseline(model, x, "mean")[:, 0, 0, 0], x[:, 0].mean((1, 2)), rtol=1e-6)
    blurred = baseline(model, x, "blur")[:, 0]
    assert blurred.std() < 0.5 * x[:, 0].std() and blurred.mean() == pytest.approx(float(x[:, 0].mean()), abs=0.05)
    flat = torch.full((1, 2, 8, 8), 0.7)
    np.testing.assert_allclose(baseline(model, flat, "blur"), flat, rtol=1e-5)
    for wrong in ("pink", x[:1]):
        with pytest.raises(InvalidInput):
            baseline(model, x, wrong)


def test_cells_of_what_adds_up_add_up() -> None:
    model, x = model_of(), images()
    found = method("integrated_gradients", model, **SMALL["integrated_gradients"]).attribute(x, 0)
    np.testing.assert_allclose(found.pooled((2, 4)).sum((1, 2)), found.values.sum((1, 2)), rtol=1e-4, atol=1e-6)
    saliency = method("saliency", model).attribute(x, 0)
    np.testing.assert_allclose(saliency.pooled((2, 2))[0, 0, 1], saliency.values[0, :4, 4:].mean(), rtol=1e-5)
    with pytest.raises(InvalidInput):
        saliency.pooled((3, 3))


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    a, b = (np.random.default_rng(seed).integers(0, 9, 50).astype(float) for seed in (0, 1))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0])
    assert rank_correlation(np.zeros(4), np.ones(4)) == 1 and rank_correlation(np.zeros(4), np.arange(4)) == 0


def test_a_linear_network_as_it_is() -> None:
    model = Explained(Linear(torch.ones(3, 2, 8, 8)), NAMES, layer="same")
    assert attribute_all(model, images(), 0, ("saliency",))["saliency"].values.min() == 1
