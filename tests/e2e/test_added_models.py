"""A TorchScript model of somebody else, from ``lungxai models add`` to the server's answers and to QuPath.

Models and slides are made here and mean nothing; what is tested is that the numbers are the model's own.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tifffile = pytest.importorskip("tifffile")

from PIL import Image  # noqa: E402
from torchscript_models import LUNG, MEAN, STD, Tiny, config, write  # noqa: E402

from inference_server.local import LocalServer  # noqa: E402
from shared_models.contract.client import Client  # noqa: E402
from shared_models.contract.errors import InvalidInput, ModelUnavailable  # noqa: E402
from shared_models.contract.values import CLASSES, ClinicalFields, SlideTiles  # noqa: E402
from shared_models.model_bundle import MODELS_ROOT, sha256_of  # noqa: E402
from shared_models.wsinfer_bundle import Wanted, add_model  # noqa: E402

MINE = ("acinus", "keratin pearl", "alveolus")
ASSIGNED = ("acinus=adenocarcinoma", "keratin pearl=squamous_cell", "alveolus=normal")


def _lungxai(*arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "shared_models.command_line", *map(str, arguments)], text=True, capture_output=True,
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """Two added models: "own" at 0.25 um/px and 350 px, whose classes stay its own, and "mapped"."""
    root, theirs = tmp_path_factory.mktemp("added"), tmp_path_factory.mktemp("theirs")
    write(theirs / "own", Tiny(6), config(spacing_um_px=0.25))
    told = _lungxai("models", "add", theirs / "own", "--added-models", root, "--yes", "--class", "benign=normal")
    assert told.returncode == 0, told.stderr
    steps = [{"name": "Resize", "arguments": {"size": [72, 72], "interpolation": 3}}, {"name": "ToTensor"},
             {"name": "Normalize", "arguments": {"mean": [0.5] * 3, "std": [0.1] * 3}}]  # fmt: skip
    body = config(MINE, patch_size_pixels=96, transform=steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared_models.wsinfer_bundle.tried", lambda *_: {"methods": [], "probabilities_already": False})
        add_model(Wanted.found(write(theirs / "mapped", Tiny(3, seed=2), body, 72), classes=ASSIGNED), root)
    return root, theirs


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The clinical model alone, which the fusion needs: the CT's take long to load."""
    name = "lung_clinical_subtype"
    if not (MODELS_ROOT / name).is_dir():
        pytest.skip(f"there is no {name} in {MODELS_ROOT}")
    root = tmp_path_factory.mktemp("shipped")
    shutil.copytree(MODELS_ROOT / name, root / name)
    return root


@pytest.fixture(scope="module", params=["own", "mapped"])
def server(request, added, shipped, tmp_path_factory):
    with LocalServer(tmp_path_factory.mktemp("data"), device="cpu", slide_model=request.param,
                     added_models=added[0], models=shipped) as (url, token):  # fmt: skip
        yield request.param, url, token


@pytest.fixture
def client(server):
    with Client(server[1], server[2]) as connected:
        yield connected


def by_hand(theirs, name: str, tiles: np.ndarray) -> np.ndarray:
    """What the TorchScript says, with PIL and arithmetic written out here once more."""
    side, code = (224, Image.Resampling.BILINEAR) if name == "own" else (72, Image.Resampling.BICUBIC)
    x = np.stack([np.asarray(Image.fromarray(t).resize((side, side), code), dtype=np.float32) for t in tiles]) / 255
    x = (x - np.float32(MEAN)) / np.float32(STD) if name == "own" else (x - np.float32(0.5)) / np.float32(0.1)
    with torch.no_grad():
        module = torch.jit.load(str(theirs / name / "torchscript_model.pt"))
        return torch.softmax(module(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()), dim=1).numpy()


def _tissue(rng, height: int, width: int) -> np.ndarray:
    """A picture that passes for tissue: pink and purple patches with sharp edges."""
    coarse = np.kron(rng.integers(0, 2, (-(-height // 8), -(-width // 8))), np.ones((8, 8), int))[:height, :width]
    picture = np.where(coarse[..., None], np.array([225, 140, 190]), np.array([120, 60, 150]))
    shade = np.linspace(0, 20, width).astype(int)[None, :, None]
    return np.clip(picture + rng.integers(-20, 20, picture.shape) - shade, 0, 255).astype(np.uint8)


def test_numbers_are_the_model_s_own_and_ours_where_all_are_assigned(server, client, added) -> None:
    name, side, mpp = server[0], *((350, 0.25) if server[0] == "own" else (96, 0.5))
    listed = [m for m in client.info()["models"] if m["modality"] == "pathology"]
    assert [m["model_id"].split()[0] for m in listed] == [name]
    assert (listed[0]["tile_px"], listed[0]["spacing_um_px"]) == (side, mpp) and listed[0]["added"] is True
    assert listed[0]["methods"] == (["saliency"] if name == "own" else []) and not listed[0]["calibrated"]
    rng = np.random.default_rng(7)
    tiles = np.stack([_tissue(rng, side, side) * (0.3 + 0.7 * n / 36) for n in range(37)]).astype(np.uint8)
    origin = np.stack([np.arange(37) * side, np.zeros(37)], axis=1).astype(np.int64)
    case_id = client.create_case(synthetic=True)
    for start in (0, 20):
        batch = slice(start, start + 20)
        client.put_tiles(case_id, SlideTiles(tiles[batch], origin[batch], mpp, "s"))
    client.wait(client.pathology(case_id, "s"))
    result = client.pathology_result(case_id)
    own = by_hand(added[1], name, tiles)
    assert np.ptp(own, axis=0).max() > 0.02  # the tiles do differ
    assert result.other_classes == (LUNG if name == "own" else MINE) and result.mpp == mpp
    order = [next(i for i in range(37) if tuple(origin[i]) == tuple(o)) for o in result.origin_px]
    assert np.abs(result.other_probabilities - own[order]).max() < 1e-5
    (made,) = result.provenance
    assert made.weights_sha256 == sha256_of(added[1] / name / "torchscript_model.pt") and not made.calibrated
    assert any("not validated" in note for note in result.notes)
    client.put_clinical(case_id, ClinicalFields(age_years=70))
    fused = client.fuse(case_id)
    if name == "own":
        assert np.isnan(result.tile_probabilities).all() and set(result.probabilities.values()) == {None}
        assert made.coverage == () and "classes of its own" in result.abstention.reason
        assert "pathology" in fused.missing
    else:
        assert made.coverage == ("adenocarcinoma", "squamous_cell", "normal") and result.abstention is None
        columns = [CLASSES.index(ours) for ours in made.coverage]
        assert np.abs(result.tile_probabilities[:, columns] - own[order]).max() < 1e-5
        assert np.isnan(result.tile_probabilities[:, 2:4]).all()
        assert fused.weights["pathology"] == 0.5 and fused.probabilities["adenocarcinoma"] is not None


def test_heatmaps_that_it_has_and_that_it_has_not(server, client) -> None:
    name, side = server[0], 350 if server[0] == "own" else 96
    tiles = np.stack([_tissue(np.random.default_rng(8), side, side)] * 2)
    case_id = client.create_case(synthetic=True)
    client.put_tiles(case_id, SlideTiles(tiles, np.array([[0, 0], [side, 0]]), 0.25, "s"))
    if name == "own":
        client.wait(client.pathology(case_id, "s", ["saliency"]))
        heatmap = client.heatmap(case_id, "pathology", "saliency")
        assert heatmap.values.shape == (14, 28) and heatmap.target in LUNG and heatmap.values.max() > 0
        assert np.allclose(heatmap.values[:, :14], heatmap.values[:, 14:], rtol=1e-4)
    with pytest.raises(InvalidInput, match="not available for this slide model"):
        client.wait(client.pathology(case_id, "s", ["gradcam"]))


def test_scale_and_size_reach_qupath_s_slide(server, client, added, tmp_path) -> None:
    """A slide at the model's scale, so that its tiles are the picture's own pixels, and one twice as fine."""
    if server[0] != "own":
        pytest.skip("one model is enough")
    pictures = {}
    for mpp, field in ((0.25, 350), (0.125, 700)):
        pictures[field] = _tissue(np.random.default_rng(9), 2 * field + 40, 3 * field + 60)
        tifffile.imwrite(tmp_path / f"s{field}.tif", pictures[field], photometric="rgb", tile=(256, 256),
                         resolutionunit="CENTIMETER", resolution=(1e4 / mpp, 1e4 / mpp))  # fmt: skip
    project = tmp_path / "study" / "project.qpproj"
    slides = [tmp_path / f"s{field}.tif" for field in pictures]
    assert _lungxai("qupath", "new", *slides, "--out", project).returncode == 0
    told = _lungxai("qupath", "classify", project, "--all", "--backend", "files", "--synthetic", "--model", "own",
                    "--server", server[1], LUNGXAI_TOKEN=server[2])  # fmt: skip
    assert told.returncode == 0, told.stderr
    cases = dict(re.findall(r"s(\d+)\.tif: case (\S+)", told.stdout))
    for field, picture in pictures.items():
        result = client.pathology_result(cases[str(field)])
        assert result.tile_px == pytest.approx((field, field)) and result.mpp == 0.25
        inside = [i for i, (x, y) in enumerate(result.origin_px) if x + field <= 3 * field and y + field <= 2 * field]
        places = {(field * i, field * j) for i in range(3) for j in range(2)}
        assert {tuple(o) for o in result.origin_px[inside]} == places
        if field == 350:
            tiles = np.stack([picture[y : y + field, x : x + field] for x, y in result.origin_px[inside]])
            assert np.abs(result.other_probabilities[inside] - by_hand(added[1], "own", tiles)).max() < 1e-5
        (written,) = project.parent.glob(f"lungxai/*s{field}_tif*.tiles.geojson.gz")
        text = gzip.decompress(written.read_bytes()).decode()
        likeliest = {LUNG[k] for k in result.other_probabilities.argmax(axis=1)}
        assert all(f'"{name}"' in text for name in likeliest) and "P(lepidic)" in text
    other = _lungxai("qupath", "classify", project, "--image", "s350.tif", "--backend", "files", "--model", "mapped",
                     "--again", "--server", server[1], LUNGXAI_TOKEN=server[2])  # fmt: skip
    assert other.returncode == 2 and "own" in other.stderr  # that server has another model, and is not asked


def test_a_model_that_is_not_there_is_said_at_once(added, tmp_path) -> None:
    with pytest.raises(ModelUnavailable, match="mapped, own"):
        LocalServer(tmp_path, slide_model="nowhere", models=tmp_path, added_models=added[0]).start()
    told = _lungxai("serve", "--port", "0", "--data-dir", tmp_path / "d", "--slide-model", "nowhere",
                    LUNGXAI_ADDED_MODELS=str(added[0]))  # fmt: skip
    assert told.returncode == 2 and "mapped, own" in told.stderr and not (tmp_path / "d").exists()
