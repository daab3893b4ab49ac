"""Gradients on ONNX Runtime: the same as torch's, kinks and ties included, or torch's where there is no translation."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from tiny_networks import convolutional, images
from torch import nn

from shared_models.attribution import Explained, Saliency, SmoothGrad, attribute_all
from shared_models.attribution_onnx_gradient import compiled

pytest.importorskip("onnx")


class Headed(nn.Module):
    """Layers, and two logits of all that they give."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(*layers)
        self.power = nn.Parameter(torch.randn(2, 4096))

    def forward(self, x):
        y = self.layers(x).flatten(1)
        return y @ self.power[:, : y.shape[1]].t()


def gradients(network, x, seed=((1.0, 0.0),)):
    """On ONNX Runtime, or None; and by torch."""
    seeds = torch.tensor(seed)
    found = compiled(network, "", x[:1], seeds, None, lambda net, inputs, given: net(inputs))
    leaf = x.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(network(leaf), leaf, seeds.expand(len(x), -1))
    return (None if found is None else found(x, seeds.expand(len(x), -1), None).gradient), expected


def padded(*pad: int) -> nn.Module:
    return nn.ZeroPad2d(pad)


NORM = nn.BatchNorm2d(4)
NORM.running_mean.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
NORM.running_var.fill_(0.7)
GROUP = nn.GroupNorm(2, 4)
with torch.no_grad():
    GROUP.weight.copy_(torch.tensor([0.5, -1.0, 2.0, 1.5]))
    GROUP.bias.copy_(torch.tensor([0.1, 0.2, -0.3, 0.0]))
LAYERS = {
    "1 x 1": (nn.Conv2d(2, 5, 1),),
    "3 x 3": (nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3)),
    "uneven kernel": (nn.Conv2d(2, 4, (1, 5), padding=(0, 2)),),
    "padded beyond its kernel": (nn.Conv2d(2, 4, 3, padding=4),),
    "stride 2": (nn.Conv2d(2, 4, 3, stride=2, padding=1),),
    "stride 2, padded as TensorFlow does": (padded(0, 1, 0, 1), nn.Conv2d(2, 4, 3, stride=2)),
    "stride 1, padded before": (padded(1, 0, 2, 1), nn.Conv2d(2, 4, 3)),
    "stride that leaves an edge out": (nn.Conv2d(2, 4, 3, stride=3),),
    "each channel": (nn.Conv2d(2, 4, 1), padded(1, 2, 1, 2), nn.Conv2d(4, 4, 5, stride=2, groups=4)),
    "each channel, stride 1": (nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 5, padding=2, groups=4)),
    "groups": (nn.Conv2d(2, 4, 1), nn.Conv2d(4, 6, 3, padding=1, groups=2)),
    "transposed": (nn.ConvTranspose2d(2, 3, 2, stride=2),),
    "batch norm folded": (nn.Conv2d(2, 4, 3), NORM, nn.ReLU6()),
    "batch norm alone": (nn.Conv2d(2, 4, 3), nn.ReLU(), NORM),
    "group norm": (nn.Conv2d(2, 4, 3), GROUP, nn.LeakyReLU(0.1, inplace=True)),
    "instance norm as groups": (nn.Conv2d(2, 4, 3), nn.GroupNorm(4, 4), nn.LeakyReLU(0.2)),
    "highest": (nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2)),
    "mean": (nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(2)),
    "clipped": (nn.Hardtanh(0.2, 0.8), nn.Conv2d(2, 3, 1)),
}


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS.keys())
def test_each_layer_has_torchs_gradient(layers) -> None:
    network, x = Headed(*layers).eval(), images(count=2)
    found, expected = gradients(network, x, seed=((1.0, 0.5),))
    assert found is not None and expected.abs().max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bend", [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1)])
def test_at_the_kinks_it_is_torchs(bend) -> None:
    x = torch.tensor([[[[-1.0, 0.0, -0.0, 1.0, 6.0, 7.0, 1e-30, 5.9999995]]]])
    found, expected = gradients(Headed(bend), x)
    assert found is not None
    np.testing.assert_array_equal(found, expected)


def test_of_a_tie_the_first_is_the_highest() -> None:
    x = torch.tensor([[[[1.0, 1.0, 0.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]])
    found, expected = gradients(Headed(nn.MaxPool2d(2)), x)
    assert found is not None
    np.testing.assert_array_equal(found, expected)
    assert (found != 0).sum() == 2


@pytest.mark.parametrize(
    "layer", [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3), nn.GELU(), nn.Conv2d(2, 2, 3, dilation=2), nn.InstanceNorm2d(2)]
)
def test_what_has_no_translation_is_torchs(layer) -> None:
    """Or is translated after all; then it must be right."""
    found, expected = gradients(Headed(layer).eval(), images())
    if found is not None:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    model = Explained(Headed(layer), ("a", "b"))
    values = Saliency(model).attribute(images(), "a")
    np.testing.assert_allclose(values.values, expected.abs().amax(1), rtol=1e-4, atol=1e-5)
    assert values.record["engine"] == ("torch" if found is None else "ONNX Runtime")


def test_overlapping_windows_are_not_translated() -> None:
    assert gradients(Headed(nn.MaxPool2d(3, 2, 1)), images())[0] is None


@pytest.mark.parametrize("contrast", [None, "c"])
def test_maps_do_not_depend_on_the_engine(contrast) -> None:
    network, x = convolutional(), images()
    for method in (Saliency, SmoothGrad):
        ours, plain = (
            method(Explained(network, ("a", "b", "c"), layer="features", engine=engine)).attribute(
                x, ["a", "b", "a"], contrast=contrast
            )
            for engine in ("auto", "torch")
        )
        assert (ours.record["engine"], plain.record["engine"]) == ("ONNX Runtime", "torch")
        np.testing.assert_allclose(ours.values, plain.values, rtol=1e-4, atol=1e-6)


def test_cams_come_from_the_same_pass() -> None:
    network, x = convolutional(), images()
    three = ("saliency", "gradcam", "gradcam_pp")
    ours, plain = (
        attribute_all(Explained(network, ("a", "b", "c"), layer="features", engine=engine), x, "b", three)
        for engine in ("auto", "torch")
    )
    for name in three:
        np.testing.assert_allclose(ours[name].values, plain[name].values, rtol=1e-4, atol=1e-6)
        assert plain[name].values.any()


def test_a_network_that_differs_from_its_trace_is_torchs() -> None:
    class Fickle(nn.Module):
        """Answers otherwise each time it is asked, as what depends on more than its input may."""

        def __init__(self) -> None:
            super().__init__()
            self.asked = 0

        def forward(self, x):
            self.asked += 1
            return (self.asked * x).sum((2, 3))

    x = images()
    seed = torch.tensor([[1.0, 0.0]])
    assert compiled(Fickle(), "", x[:1], seed, None, lambda net, inputs, given: net(inputs)) is None


def test_without_onnx_it_is_torchs(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = Saliency(Explained(convolutional(), ("a", "b", "c"), layer="features")).attribute(images(), "a")
    assert found.record["engine"] == "torch"


def test_the_slide_and_nodule_networks_are_translated() -> None:
    """Those that the suite ships: with weights drawn at random, which their layers do not depend on."""
    from shared_models.ct_attribution import malignancy_model, nodule_model
    from shared_models.ct_malignancy_network import MalignancyNetwork
    from shared_models.ct_network import network as nodule_network
    from shared_models.slide_attribution import explained
    from shared_models.slide_network import SLIDE_CLASSES, SlideNetwork

    torch.manual_seed(0)
    made = torch.Generator().manual_seed(0)
    region = (torch.rand((1, 1, 32, 32), generator=made) > 0.8).float()
    for model, x, given in (
        (explained(SlideNetwork(), SLIDE_CLASSES), torch.rand((1, 3, 64, 64), generator=made) * 255, None),
        (nodule_model(nodule_network()), torch.rand((1, 3, 32, 32), generator=made) * 2 - 1, region),
        (malignancy_model(MalignancyNetwork()), torch.rand((1, 3, 64, 64), generator=made) * 2 - 1, None),
    ):
        found = Saliency(model).attribute(x, 0, given=given)
        assert found.record["engine"] == "ONNX Runtime"
        leaf = x.clone().requires_grad_(True)
        score = model._forward(model.network, leaf, given)[:, 0].sum()
        (gradient,) = torch.autograd.grad(score, leaf)
        gradient[:, list(model.fixed_channels)] = 0
        expected = gradient.abs().amax(1)
        # A ReLU that is all but zero may turn by rounding, which shows at few places.
        assert float((torch.from_numpy(found.values.copy()) - expected).norm() / expected.norm()) < 0.02


def test_masks_stay_in_blocks() -> None:
    """Fewer changes of layout, and the same numbers; where a value is repeated along an axis it is reordered still."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from shared_models.attribution_onnx_layout import optimised

    draw = np.random.default_rng(0)
    weights = {
        "w": draw.normal(size=(32, 32, 1, 1)), "v": draw.normal(size=(16, 32, 1, 1)), "low": np.zeros(()),
        "u": draw.normal(size=(32, 16, 1, 1)),
    }  # fmt: skip
    steps = [
        ("Conv", ("x", "w"), "a"), ("Greater", ("a", "low"), "m"), ("Cast", ("m",), "f"), ("Conv", ("a", "w"), "b"),
        ("Mul", ("b", "f"), "c"), ("Conv", ("c", "v"), "d"), ("Conv", ("d", "u"), "e"),
        ("GlobalAveragePool", ("e",), "g"), ("Mul", ("e", "g"), "h"), ("Conv", ("h", "w"), "y"),
    ]  # fmt: skip
    nodes = [helper.make_node(kind, into, [out], **({"to": 1} if kind == "Cast" else {})) for kind, into, out in steps]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 32, 6, 5)) for name in "xy"]
    held = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "masks", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    x = draw.normal(size=(1, 32, 6, 5)).astype(np.float32)

    import onnxruntime

    off = onnxruntime.SessionOptions()
    off.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    answers = [onnxruntime.InferenceSession(each, off).run(None, {"x": x})[0] for each in (model, optimised(model))]
    assert np.abs(answers[1] - answers[0]).max() < 1e-5 * np.abs(answers[0]).max()
    found = onnx.load_from_string(optimised(model)).graph
    kinds = [node.op_type for node in found.node]
    if "ReorderInput" not in kinds and "ReorderOutput" not in kinds:
        pytest.skip("ONNX Runtime does not convolve in blocks on this processor")
    makers = {name: node.op_type for node in found.node for name in node.output}
    (greater,) = (node for node in found.node if node.op_type == "Greater")
    assert makers[greater.input[0]] != "ReorderOutput"
    assert kinds.count("ReorderInput") == 2  # of x, and of what was multiplied channel by channel


def test_inputs_are_computed_side_by_side_and_keep_their_order() -> None:
    """With two threads several inputs run at once: each answer is its own input's."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model = Explained(network, ("a", "b", "c", "d"))
    x = torch.rand(9, 3, 12, 12)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        passed, scores = model.passed(model.aim(x, "b")), model.scored(model.aim(x, "b"))
    finally:
        torch.set_num_threads(before)
    assert passed is not None
    leaf = x.clone().requires_grad_(True)
    logits = network(leaf)
    gradient = torch.autograd.grad(logits[:, 1].sum(), leaf)[0]
    torch.testing.assert_close(passed.gradient, gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scores, logits[:, 1].detach(), rtol=1e-4, atol=1e-6)
    assert any(type(made).__name__ == "OnnxLogits" for made in model._compiled.values())
