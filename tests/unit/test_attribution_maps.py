"""Maps of tiles and nodules with the networks that ship: their grids, their records, what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared_models import ct_attribution, slide_attribution
from shared_models.attribution import METHODS, GradCam, IntegratedGradients
from shared_models.contract.errors import InvalidInput
from shared_models.ct_malignancy_network import MalignancyNetwork
from shared_models.ct_neighbourhood import Prompt
from shared_models.ct_segmentation import neighbourhood
from shared_models.slide_data import read_tiles
from shared_models.slide_pipeline import SlideModel

QUICK_TILES = {
    "integrated_gradients": {"steps": 2, "most_steps": 2}, "smoothgrad": {"samples": 2},
    "occlusion": {"window": 112, "stride": 56},
}  # fmt: skip
QUICK_CT = {
    "integrated_gradients": {"steps": 2, "most_steps": 2}, "smoothgrad": {"samples": 2},
    "occlusion": {"window": 16, "stride": 16},
}  # fmt: skip


@pytest.fixture(scope="module")
def slide_model() -> SlideModel:
    return SlideModel.load()


@pytest.fixture(scope="module")
def tiles(slide_model):
    return slide_attribution.explained(slide_model._torch(), slide_model.classes, slide_model.logits)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def maps(tiles, pixels):
    return slide_attribution.tile_maps(tiles, pixels, METHODS, settings=QUICK_TILES)


def test_tiles_have_a_map_by_each_method(maps) -> None:
    for name in METHODS:
        values, record = maps[name]
        side = 9 if name.startswith("gradcam") else 28
        assert values.shape == (2, side, side) and values.dtype == np.float32 and np.isfinite(values).all()
        assert values.any() and all(isinstance(v, (str, int, float, bool)) for v in record.values())
        assert ("pooled" in record) != name.startswith("gradcam")
        if record["sign"] == "absolute":
            assert values.min() >= 0
    assert (maps["integrated_gradients"][0] < 0).any() and maps["occlusion"][1]["sign"] == "signed"
    assert maps["integrated_gradients"][1]["baseline"] == maps["occlusion"][1]["baseline"] == "white"
    assert maps["integrated_gradients"][1]["converged"] in (True, False)


def test_a_signed_grad_cam_sums_to_the_logit_less_its_bias(slide_model, tiles, pixels) -> None:
    signed = slide_attribution.grad_cam(slide_model._torch(), pixels, 2, positive=False)
    expected = slide_model.logits(pixels)[:, 2] - slide_model._torch()._fc.bias[2].item()
    np.testing.assert_allclose(signed.sum((1, 2)), expected, rtol=1e-3, atol=1e-3)
    cut = slide_attribution.tile_maps(tiles, pixels, ("gradcam",), "normal")["gradcam"][0]
    np.testing.assert_allclose(cut, np.maximum(signed, 0), rtol=1e-3, atol=1e-4)


def test_flat_tiles_give_finite_maps(tiles) -> None:
    flat = np.stack([np.full((224, 224, 3), value, np.uint8) for value in (255, 0)])
    found = slide_attribution.tile_maps(tiles, flat, METHODS, settings=QUICK_TILES)
    assert all(np.isfinite(values).all() for values, _ in found.values())
    assert np.abs(found["occlusion"][0][0]).max() < 1e-4  # white covered with white
    assert not found["integrated_gradients"][0][0].any() and found["integrated_gradients"][0][1].any()


def test_many_tiles_are_as_few(tiles, pixels, monkeypatch) -> None:
    monkeypatch.setattr(slide_attribution, "_AT_ONCE", 1)
    parted = slide_attribution.tile_maps(tiles, pixels, ("saliency", "gradcam"), ["normal", "squamous_cell"])
    monkeypatch.undo()
    whole = slide_attribution.tile_maps(tiles, pixels, ("saliency", "gradcam"), ["normal", "squamous_cell"])
    for name, (values, _) in whole.items():
        np.testing.assert_allclose(parted[name][0], values, rtol=0.02, atol=1e-3 * values.max())
    assert slide_attribution.tile_maps(tiles, pixels[:0]) == {}


def test_integrated_gradients_are_complete_on_a_real_tile(tiles, real_data) -> None:
    held = read_tiles(real_data, "val")
    tile = held.pixels[int(np.flatnonzero(held.labels == "squamous_cell")[0])]
    x = tile[None, 64:160, 64:160].transpose(0, 3, 1, 2).astype(np.float32)  # smaller, for its many steps
    found = IntegratedGradients(tiles, baseline="white").attribute(x, "squamous_cell")
    image, start = tiles.logits(np.concatenate([x, np.full_like(x, 255)]))[:, 1].tolist()
    error = abs(found.values.sum() - (image - start)) / abs(image - start)
    assert found.completeness[0] == pytest.approx(error, abs=1e-3)
    assert found.converged[0] and error <= 0.05 and found.record["steps"] > 16
    hasty = IntegratedGradients(tiles, baseline="white", most_steps=16).attribute(x, "squamous_cell")
    assert not hasty.converged[0] and hasty.completeness[0] > 0.05


# --- CT


@pytest.fixture(scope="module")
def nodule(phantom):
    """A planted nodule: the CT, the neighbourhood of its box, and its mask there."""
    own = phantom.truth.labels == 1
    low, high = (np.array([f(axis) for axis in np.nonzero(own)], float) for f in (np.min, np.max))
    around = neighbourhood(phantom.volume.voxels.shape, phantom.volume.spacing_mm, Prompt(low, high))
    return phantom.volume.voxels, around, own[around.where]


@pytest.fixture(scope="module")
def segmentation():
    from shared_models.ct_network import load
    from shared_models.ct_pipeline import BUNDLE, WEIGHTS
    from shared_models.model_bundle import MODELS_ROOT, Bundle

    return load(Bundle.load(MODELS_ROOT / BUNDLE).path(WEIGHTS))


def random_malignancy(seed: int = 0) -> MalignancyNetwork:
    torch.manual_seed(seed)
    network = MalignancyNetwork().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return network


def test_nodule_maps_lie_on_the_neighbourhood(segmentation, nodule) -> None:
    hu, around, mask = nodule
    model = ct_attribution.nodule_model(segmentation)
    found = ct_attribution.nodule_maps(model, hu, mask, around, METHODS, QUICK_CT)
    held = mask.any(axis=(1, 2))
    for name in METHODS:
        values, record = found[name]
        assert values.shape == mask.shape and values.dtype == np.float32 and np.isfinite(values).all()
        assert values[held].any() and not values[~held].any(), name
        assert record["slices"] == held.sum() and record["precision"] == "fp32"
    where = np.abs(found["occlusion"][0])
    grown = mask[held]
    assert where[held][grown].mean() > where[held][~grown].mean()
    assert found["integrated_gradients"][1]["baseline"] == "air"


def test_the_nodule_s_grad_cam_is_captums(segmentation, nodule) -> None:
    """Slice by slice with captum, as its users would write it."""
    from captum.attr import LayerGradCam

    from shared_models.ct_network import inputs

    hu, around, mask = nodule
    found = ct_attribution.grad_cam(segmentation, hu, mask, around)
    k = int(np.argmax(mask.sum((1, 2))))
    plane = np.zeros(hu.shape[1:], bool)
    plane[around.where[1:]] = mask[k]
    region = around.planes(plane[None])[:, None]
    seen = inputs(*around.axial(hu, np.array([around.where[0].start + k])))
    method = LayerGradCam(lambda x: (segmentation(x) * region).sum((1, 2, 3)), segmentation.upcat_2)
    cells = method.attribute(seen, relu_attributions=True).detach()
    sized = torch.nn.functional.interpolate(cells, seen.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    expected = around.back(sized)[0]
    np.testing.assert_allclose(found[k], expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_malignancy_maps_lie_in_the_largest_slice(nodule) -> None:
    hu, around, mask = nodule
    model = ct_attribution.malignancy_model(random_malignancy())
    found = ct_attribution.malignancy_maps(model, hu, mask, around, METHODS, QUICK_CT)
    k = int(np.argmax(mask.sum((1, 2))))
    for name in METHODS:
        values, record = found[name]
        assert values.shape == mask.shape and np.isfinite(values).all(), name
        assert not np.delete(values, k, axis=0).any() and record["slices"] == 1
        assert values[k].any() or name.startswith("gradcam")
    from shared_models.ct_malignancy_network import inputs

    plane = np.zeros(hu.shape[1:], bool)
    plane[around.where[1:]] = mask[k]
    seen, grid = inputs(hu[around.where[0].start + k], plane, (around.spacing[1], around.spacing[2]))
    cam = GradCam(model).attribute(seen, "malignant")
    np.testing.assert_allclose(
        found["gradcam"][0][k], grid.back(cam.values[0].copy())[around.where[1:]], rtol=1e-4, atol=1e-7
    )


def test_what_is_no_nodule_is_said(segmentation, nodule) -> None:
    hu, around, mask = nodule
    model = ct_attribution.nodule_model(segmentation)
    for wrong in (np.zeros_like(mask), mask[:, 1:]):
        with pytest.raises(InvalidInput):
            ct_attribution.nodule_maps(model, hu, wrong, around)
