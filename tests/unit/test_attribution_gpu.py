"""The methods on a GPU: the CPU's maps, in batches that were measured; and how a batch is measured, without a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import convolutional, images

from shared_models import attribution_model
from shared_models.attribution import METHODS, Explained, method, rank_correlation
from shared_models.attribution_batch import batch_cpu
from shared_models.attribution_network import ieee

NAMES = ("a", "b", "c")
SETTINGS = {
    "occlusion": {"window": 4, "stride": 2}, "smoothgrad": {"samples": 6},
    "integrated_gradients": {"baseline": 0.5, "steps": 8, "most_steps": 8},
}  # fmt: skip


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield "cuda"
    torch.backends.cudnn.allow_tf32 = before


def model_of(device: str, dimensions: int = 2, **settings) -> Explained:
    network = convolutional(dimensions).to(device)
    return Explained(network, NAMES, layer="features", fixed_channels=(1,), device=device, **settings)


@pytest.mark.gpu
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_draws_the_cpus_map(gpu, name, dimensions) -> None:
    x, how = images(dimensions, count=11), SETTINGS.get(name, {})
    model = model_of(gpu, dimensions)
    found = method(name, model, precision="fp32", **how).attribute(x)
    again = method(name, model, precision="fp32", **how).attribute(x)
    expected = method(name, model_of("cpu", dimensions), **how).attribute(x)
    assert found.targets == expected.targets and found.record["precision"] == "fp32"
    assert found.record.get("engine", "torch") == "torch"
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.values, again.values, rtol=1e-4, atol=1e-6)
    assert not any(key[1] == "precision" for key in model.tuned)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_whatever_precision_a_gpu_chooses_the_map_is_the_same(gpu, name) -> None:
    x, how = images(side=16, count=9), SETTINGS.get(name, {})
    expected = method(name, model_of(gpu), precision="fp32", **how).attribute(x, 0)
    for asked in ("auto", "mixed"):
        found = method(name, model_of(gpu), precision=asked, **how).attribute(x, 0)
        same = [rank_correlation(a, b) for a, b in zip(found.values, expected.values)]
        assert found.record["precision"] in ("bf16", "fp32") and min(same[:4]) >= 0.99


@pytest.mark.gpu
def test_the_networks_that_ship_have_their_faster_copy_on_a_gpu(gpu) -> None:
    """Though TF32, a GPU's default, rounds by more than the copy is compared by."""
    from shared_models.ct_attribution import malignancy_model
    from shared_models.ct_malignancy_network import MalignancyNetwork

    torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    model = malignancy_model(MalignancyNetwork().to(gpu), gpu)
    model.logits(torch.rand(1, 3, 64, 64))
    assert torch.backends.cudnn.allow_tf32
    assert model._quick is not None
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in model._quick.modules())


# --- without one


def test_each_size_is_measured_once_and_none_that_is_not_needed(monkeypatch) -> None:
    """On the device "meta", which has shapes alone; a pass takes as long as the test says."""
    model = Explained(torch.nn.Identity(), NAMES, device="meta")
    aim, asked = aim_of(12), []

    def took(run, device) -> float:
        assert device.type == "meta"
        run()
        return 1.0 + 0.001 * asked[-1]

    monkeypatch.setattr(attribution_model, "seconds_of", took)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # that device has none

    def run(part) -> None:
        asked.append(len(part.inputs))

    assert model.at_once("this", aim, run) == 8 and not asked  # so few are not worth measuring
    assert model.at_once("this", aim, run, 20) == 32 and set(asked) == {8, 32}
    asked.clear()
    assert model.at_once("this", aim, run, 33) == 32 and not asked
    assert model.at_once("this", aim, run, 10**6) == 128 and set(asked) == {128}
    assert model.at_once("that", aim, run, 20) == 32 and set(asked) == {8, 32, 128}
    model.batch = 5
    assert model.at_once("this", aim, run) == 5 and len(model.full(aim_of(3)).inputs) == 3
    assert Explained(torch.nn.Identity(), NAMES).at_once("this", aim, run) == batch_cpu((4, 4))


def aim_of(count: int) -> attribution_model.Aim:
    x = torch.rand(count, 3, 4, 4, device="meta")
    return attribution_model.Aim(x, torch.zeros(count, dtype=torch.int64, device="meta"))


def test_a_gpus_batch_is_filled() -> None:
    model = Explained(torch.nn.Identity(), NAMES, device="meta")
    assert [len(model.full(aim_of(count)).inputs) for count in (1, 3, 8, 11, 40)] == [1, 8, 8, 32, 128]
    assert [part.stop for part in model.pieces(136, 128)] == [128, 136]


def test_tf32_is_off_where_all_digits_are_asked_for() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        with ieee():
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before
