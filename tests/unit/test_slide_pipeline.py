"""Slides from file to result: readers, tissue, tiles, aggregation, heatmap grid, ONNX against torch."""

from __future__ import annotations

import numpy as np
import pytest

from shared_models.contract.errors import InputTooLarge, InvalidInput, SpacingUnknown
from shared_models.contract.provenance import Provenance
from shared_models.contract.values import CLASSES

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")
pytest.importorskip("scipy")

from shared_models.model_bundle import MODELS_ROOT  # noqa: E402
from shared_models.slide_heatmaps import slide_heatmap  # noqa: E402
from shared_models.slide_pipeline import BUNDLE, SlideModel, slide_result  # noqa: E402
from shared_models.slide_reader import open_slide  # noqa: E402
from shared_models.slide_tiles import tissue_grid, tissue_tiles  # noqa: E402
from shared_models.slide_tissue import tissue_mask  # noqa: E402

KNOWN = ("adenocarcinoma", "squamous_cell", "normal")
PROVENANCE = (Provenance("test", "0" * 64, "test", False, "cpu", KNOWN),)


def _picture(size: int = 512) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("options", [
    {"tile": (128, 128)}, {"tile": (128, 128), "compression": "zlib"}, {"rowsperstrip": 48},
    {"rowsperstrip": 48, "compression": "zlib"},
])  # fmt: skip
def test_tiff_pixels_and_resolution_tags(tmp_path, options) -> None:
    picture = _picture()
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", resolution=(20000, 20000),
                     resolutionunit="CENTIMETER", **options)  # fmt: skip
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.dimensions == (512, 512) and slide.mpp == pytest.approx(0.5)
        assert np.array_equal(slide.read(100, 37, 200, 90, (200, 90)), picture[37:127, 100:300])
        assert (slide.read(500, 500, 40, 40, 40)[20:, 20:] == 255).all()


def test_ome_mpp_and_its_unit(tmp_path) -> None:
    for unit, value in (("µm", 0.25), ("nm", 250.0)):
        physical = {f"PhysicalSize{a}{n}": v for a in "XY" for n, v in (("", value), ("Unit", unit))}
        tifffile.imwrite(tmp_path / "a.ome.tif", _picture(), photometric="rgb", tile=(128, 128),
                         metadata={"axes": "YXS", **physical})  # fmt: skip
        with open_slide(tmp_path / "a.ome.tif") as slide:
            assert slide.mpp == pytest.approx(0.25)


def test_unknown_pixel_size_is_asked_for(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _picture(), photometric="rgb", tile=(128, 128), resolution=(72, 72),
                     resolutionunit="INCH")  # fmt: skip
    with pytest.raises(SpacingUnknown, match="--mpp"):
        open_slide(tmp_path / "a.tif")
    with open_slide(tmp_path / "a.tif", mpp=0.5) as slide:
        assert slide.mpp == 0.5


def test_refusals(tmp_path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _picture()[..., 0], tile=(128, 128))
    with pytest.raises(InvalidInput, match="RGB"):
        open_slide(path, 0.5)
    tifffile.imwrite(path, _picture().astype(np.uint16), photometric="rgb", tile=(128, 128))
    with pytest.raises(InvalidInput, match="16 bits"):
        open_slide(path, 0.5)
    path.write_bytes(b"II*\0 nothing of a slide")
    with pytest.raises(InvalidInput):
        open_slide(path, 0.5)
    with pytest.raises(InvalidInput):
        open_slide(tmp_path / "none.svs")


def test_strips_too_large_are_refused_and_a_cut_off_file_is_said(tmp_path) -> None:
    path = tmp_path / "a.tif"
    black = np.zeros((6000, 6000, 3), np.uint8)
    tifffile.imwrite(path, black, photometric="rgb", rowsperstrip=6000, compression="zlib")
    with pytest.raises(InputTooLarge):
        open_slide(path, 0.5)
    tifffile.imwrite(path, _picture(), photometric="rgb", tile=(128, 128))
    path.write_bytes(path.read_bytes()[:-60000])
    with pytest.raises(InvalidInput), open_slide(path, 0.5) as slide:
        slide.read(0, 0, 512, 512, 512)


def test_mask_leaves_out_glass_black_and_green_ink() -> None:
    picture = np.full((200, 400, 3), 243, np.uint8)
    picture[50:150, 20:100] = (200, 120, 180)
    picture[50:150, 120:200] = (30, 140, 60)
    picture[50:150, 300:380] = 10
    mask = tissue_mask(picture)
    assert mask[60:140, 30:90].all() and not mask[:, 110:].any() and not mask[:40].any()


def test_phantom_tiles_lie_on_its_tissue(tmp_path) -> None:
    from shared_models.phantom_slide import write_slide

    truth = write_slide(tmp_path / "p.ome.tif")
    with open_slide(tmp_path / "p.ome.tif") as slide:
        grid = tissue_grid(slide, 224, 1.71)
        assert slide.mpp == pytest.approx(truth.mpp) and grid.count > 20
        low = np.min([r.outline_px.min(axis=0) for r in truth.regions], axis=0) - 224
        high = np.max([r.outline_px.max(axis=0) for r in truth.regions], axis=0)
        assert (grid.origin_px >= low).all() and (grid.origin_px <= high).all()
        batches = list(tissue_tiles(slide, 224, 1.71, 16, grid))
    assert sum(len(b.pixels) for b in batches) == grid.count
    assert np.array_equal(np.concatenate([b.origin_px for b in batches]), grid.origin_px)


def test_empty_slide_is_said(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((900, 900, 3), 244, np.uint8), photometric="rgb", tile=(128, 128))
    with open_slide(tmp_path / "a.tif", 1.0) as slide, pytest.raises(InvalidInput, match="No tissue"):
        tissue_grid(slide, 224, 1.0)


def _tiles(rows: list[tuple[float, float, float]]) -> np.ndarray:
    answer = np.full((len(rows), len(CLASSES)), np.nan, np.float32)
    answer[:, [CLASSES.index(name) for name in KNOWN]] = np.reshape(rows, (len(rows), 3))
    return answer


def _result(rows: list[tuple[float, float, float]]):
    origin = np.stack([np.arange(len(rows)) * 70, np.zeros(len(rows))], axis=1).astype(np.int64)
    return slide_result("s", 1.0, (70.0, 70.0), origin, _tiles(rows), PROVENANCE)


def test_a_tenth_of_tumour_makes_a_slide_tumour() -> None:
    healthy = (0.01, 0.01, 0.98)
    mixed = _result([healthy] * 90 + [(0.05, 0.9, 0.05)] * 10).probabilities
    # C = 0.95; S(scc) = (10*.95*.9 + 90*.02*.01) / (10*.95^2 + 90*.02^2), by hand
    assert mixed["normal"] == pytest.approx(0.05, abs=1e-6)
    assert mixed["squamous_cell"] == pytest.approx(0.95 * (8.55 + 0.018) / (9.025 + 0.036), abs=1e-5)
    assert mixed["large_cell"] is None and sum(v for v in mixed.values() if v is not None) == pytest.approx(1)
    assert _result([healthy] * 100).probabilities["normal"] == pytest.approx(0.98, abs=1e-6)
    assert _result([]).abstention is not None


def test_heatmap_cells_lie_where_their_tiles_do() -> None:
    result = _result([(0.9, 0.05, 0.05)] * 3)
    maps = np.arange(3 * 49, dtype=np.float32).reshape(3, 7, 7)
    heatmap = slide_heatmap(result, maps, "gradcam", "adenocarcinoma", PROVENANCE[0], {"layer": "any"})
    assert np.array_equal(heatmap.values, np.concatenate(list(maps), axis=1))
    assert heatmap.index_to_world @ np.array([7, 0, 1]) == pytest.approx([75, 5, 1])


@pytest.fixture(scope="module")
def model() -> SlideModel:
    if not (MODELS_ROOT / BUNDLE / "configs" / "metadata.json").is_file():
        pytest.skip("the H&E model is not installed")
    pytest.importorskip("onnxruntime")
    return SlideModel.load(MODELS_ROOT, "cpu")


def test_onnx_agrees_with_torch_and_cells_sum_to_the_logit(model) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("captum")
    from shared_models.slide_attribution import grad_cam

    pixels = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    network = model._torch()
    with torch.inference_mode():
        theirs = network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).numpy()
    assert np.abs(model.logits(pixels) - theirs).max() < 1e-4
    cells = grad_cam(network, pixels, 1, positive=False)
    bias = float(network._fc.bias[1])
    assert cells.sum(axis=(1, 2)) + bias == pytest.approx(theirs[:, 1], abs=1e-3)
    p = model.probabilities(pixels)
    assert np.isnan(p[:, 2:4]).all() and np.nansum(p, axis=1) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InvalidInput):
        model.maps(pixels, ["gradcam"], "large_cell")
