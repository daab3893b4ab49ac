"""How the tile model is trained and read: mixing of tiles, balance, frozen layers, test-time views. Synthetic tiles."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from shared_models.contract.errors import ModelUnavailable  # noqa: E402
from shared_models.model_bundle import MODELS_ROOT, Bundle  # noqa: E402
from shared_models.slide_early import EarlyLayers  # noqa: E402
from shared_models.slide_mixing import Mixed, class_weights, drawn, mixed, mixed_loss  # noqa: E402
from shared_models.slide_network import SlideNetwork  # noqa: E402
from shared_models.slide_pipeline import BUNDLE, SlideModel, turned  # noqa: E402


def _plain(n: int = 4, side: int = 20) -> torch.Tensor:
    """Tile i is i everywhere, so that a pixel tells which tile it is from."""
    return torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 3, side, side).clone()


@pytest.mark.parametrize("seed", range(6))
def test_cutmix_pastes_one_rectangle_and_counts_what_it_pasted(seed) -> None:
    tiles = _plain()
    got = mixed(tiles, np.random.default_rng(seed), mixup=0.0, cutmix=1.0)
    for index, tile in enumerate(got.tiles[:, 0]):
        if got.order[index] == index:
            continue
        pasted = tile == got.order[index]
        assert torch.equal(pasted | (tile == index), torch.ones_like(pasted))
        assert 1 - float(pasted.float().mean()) == pytest.approx(got.share)
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows[:, None] & columns[None])
    assert torch.equal(tiles, _plain())


def test_mixup_weighs_tiles_as_it_weighs_their_loss() -> None:
    got = mixed(_plain(), np.random.default_rng(0), mixup=1.0)
    wanted = got.share * torch.arange(4.0) + (1 - got.share) * got.order
    assert torch.allclose(got.tiles[:, 0, 0, 0], wanted, atol=1e-5) and 0 < got.share < 1
    unmixed = mixed(_plain(), np.random.default_rng(0), mixup=0.0, cutmix=0.0)
    assert unmixed.share == 1.0 and torch.equal(unmixed.tiles, _plain())


def test_loss_of_a_mixed_batch_is_that_of_soft_labels() -> None:
    logits, target, order = torch.randn(4, 3, generator=torch.manual_seed(0)), torch.tensor([0, 1, 2, 1]), [2, 0, 3, 1]
    soft = 0.7 * torch.eye(3)[target] + 0.3 * torch.eye(3)[target[order]]
    wanted = torch.nn.functional.cross_entropy(logits, soft, label_smoothing=0.05)
    got = mixed_loss(logits, target, Mixed(logits, torch.tensor(order), 0.7), 0.05)
    assert float(got) == pytest.approx(float(wanted), abs=1e-6)


def test_classes_are_drawn_equally_often_or_weighed() -> None:
    labels = np.array([0] * 8 + [1] * 2 + [2] * 5)
    rng = np.random.default_rng(0)
    epoch = drawn(labels, 3, "sampling", rng)
    assert np.bincount(labels[epoch]).tolist() == [8, 8, 8]
    assert np.unique(epoch[labels[epoch] == 2], return_counts=True)[1].max() == 2
    assert sorted(drawn(labels, 3, "loss", rng)) == list(range(15))
    weights = class_weights(labels, 3, "loss")
    assert torch.allclose(weights, torch.tensor([15 / 24, 15 / 6, 15 / 15])) and weights[labels].mean() == 1
    assert class_weights(labels, 3, "sampling") is None


def test_frozen_layers_answer_as_torch_does_and_leave_the_network_in_training() -> None:
    torch.manual_seed(0)
    network = SlideNetwork()
    network.train()
    network._blocks[1].eval()
    early = EarlyLayers(network, 3)
    assert network.training and network._blocks[0]._bn1.training and not network._blocks[1]._bn1.training
    network.eval()
    pixels = torch.rand(3, 3, 224, 224) * 255
    with torch.no_grad():
        assert torch.allclose(early(pixels), network.early(pixels, 3), atol=1e-4)
        assert torch.allclose(network.late(early(pixels), 3), network(pixels), atol=1e-4)


def test_training_goes_on_from_weights_on_normalised_tiles(tmp_path, monkeypatch) -> None:
    pytest.importorskip("accelerate", reason="training needs the extra [train]")
    from test_stain import ONE, OTHER, _amounts, _drawn

    from shared_models import train_slide
    from shared_models.model_bundle import sha256_of
    from shared_models.slide_data import TileSet
    from shared_models.stain import normaliser
    from shared_models.training_request import TrainRequest

    pictures = np.stack([_drawn(_amounts(s, 224), ONE if s % 2 else OTHER) for s in range(3)])
    names = np.array(["adenocarcinoma", "squamous_cell", "normal"])
    tiles = TileSet(pictures, names, names, tuple("abc"))
    monkeypatch.setattr(train_slide, "read_tiles", lambda data, split: tiles)
    torch.manual_seed(0)
    torch.save(SlideNetwork().state_dict(), tmp_path / "start.pt")
    settings = {"batch": "3", "rate": "1e-3", "cutmix": "0.5", "balance": "loss", "stain_augmentation": "both",
                "normalise": "macenko", "start": str(tmp_path / "start.pt"), "rounds": "2"}  # fmt: skip
    train_slide.trained(TrainRequest(
        "he_tiles", tmp_path, tmp_path / "run", epochs=1, device="cpu", threads=1, settings=settings
    ))  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["history"][-1]["step"] == 2  # rounds of three tiles
    assert result["settings"]["start"] == sha256_of(tmp_path / "start.pt") and 0.2 < result["temperature"] < 5
    assert not np.array_equal(normaliser(result["stain"])(pictures), pictures)
    before = torch.load(tmp_path / "start.pt", weights_only=True)
    after = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert torch.equal(after["_blocks.2._project_conv.weight"], before["_blocks.2._project_conv.weight"])
    assert not torch.equal(after["_blocks.3._project_conv.weight"], before["_blocks.3._project_conv.weight"])
    assert torch.equal(after["_blocks.9._bn1.running_mean"], before["_blocks.9._bn1.running_mean"])


def test_views_are_the_eight_symmetries() -> None:
    tile = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    assert len({turned(tile, view).tobytes() for view in range(8)}) == 8
    assert np.array_equal(turned(tile, 0), tile) and np.array_equal(turned(tile, 1)[0, 0, 0], tile[0, 0, 1])
    assert np.array_equal(turned(tile, 3)[0, 0, 0], tile[0, 1, 1])
    assert np.array_equal(turned(tile, 4)[0, 0, 1], tile[0, 1, 0])


def test_a_card_may_ask_for_views() -> None:
    if not (MODELS_ROOT / BUNDLE / "configs" / "metadata.json").is_file():
        pytest.skip("the H&E model is not installed")
    bundle = Bundle.load(MODELS_ROOT / BUNDLE)

    def asking(views: object) -> SlideModel:
        metadata = copy.deepcopy(bundle.metadata)
        metadata["lungxai"]["views"] = views
        return SlideModel(replace(bundle, metadata=metadata), "cpu")

    tiles = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    one, four = asking(1), asking(4)
    wanted = np.mean([one.logits(turned(tiles, view)) for view in range(4)], axis=0)
    assert np.allclose(four.logits(tiles), wanted, atol=1e-5) and not np.allclose(one.logits(tiles), wanted, atol=1e-4)
    assert "4 times" in " ".join(four.notes) and not one.notes
    for nonsense in (0, 9, 2.0, True, "2"):
        with pytest.raises(ModelUnavailable, match="views"):
            asking(nonsense)


def test_weights_of_runs_are_averaged(tmp_path) -> None:
    from shared_models.package_slide import averaged

    for name, value in (("a", 1.0), ("b", 4.0)):
        (tmp_path / name).mkdir()
        state = {"weight": torch.full((2, 2), value), "count": torch.tensor(7)}
        torch.save(state, tmp_path / name / "best.pt")
    averaged([tmp_path / "a", tmp_path / "b"], tmp_path / "mean.pt")
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)
    assert torch.equal(mean["weight"], torch.full((2, 2), 2.5)) and mean["weight"].dtype == torch.float32
    assert mean["count"].dtype == torch.int64 and int(mean["count"]) == 7


@pytest.mark.parametrize("side", [256, 288])
def test_a_network_that_enlarges_its_tiles_says_so_in_its_weights(tmp_path, side) -> None:
    from shared_models.package_slide import averaged, biased, export
    from shared_models.slide_network import restored

    torch.manual_seed(0)
    plain = SlideNetwork()
    torch.save(plain.state_dict(), tmp_path / "best.pt")
    averaged([tmp_path], tmp_path / "big.pt", side)
    biased(tmp_path / "big.pt", np.array([1.0, -2.0, 0.5]))
    network = restored(tmp_path / "big.pt")
    pixels = torch.rand(2, 3, 224, 224) * 255
    big = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False)
    with torch.no_grad():
        plain.eval()
        wanted, got = plain(big) + torch.tensor([1.0, -2.0, 0.5]), network(pixels)
    assert torch.allclose(got, wanted, atol=1e-4)
    export(tmp_path / "big.pt", tmp_path / "big.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession((tmp_path / "big.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"pixels": pixels.numpy()})[0] - got.numpy()).max() < 1e-4


def test_conditions_change_tiles_as_they_say() -> None:
    from shared_models.slide_conditions import CONDITIONS

    ramp = np.repeat(np.linspace(0, 255, 224).astype(np.uint8)[None, None, :, None], 224, 1).repeat(3, 3)
    ramp = ramp.repeat(8, 0)
    got = {name: change(ramp) for name, change in CONDITIONS.items()}
    assert np.array_equal(got["as they are"], ramp)
    assert all(tiles.shape == ramp.shape and tiles.dtype == np.uint8 for tiles in got.values())
    # Brightness rises by 255 in a tile; the slope in the middle tells the scale.
    slope = {name: float(tiles[0, 100, 122, 0]) - float(tiles[0, 100, 102, 0]) for name, tiles in got.items()}
    for factor in (0.5, 0.7, 1.4, 2.0):
        assert slope[f"{factor:g} x mpp"] == pytest.approx(20 * 255 / 224 * factor, abs=3)
    assert len({tile.tobytes() for tile in got["mixed shifts"]}) == 8


def test_the_first_losses_are_those_of_the_loop_before_there_was_one_for_all(tmp_path) -> None:
    """Computed with the training script as it was at commit 14e0e0c: same tiles, same weights, seed 3, float32."""
    pytest.importorskip("accelerate", reason="training needs the extra [train]")
    from shared_models.slide_data import TileSet
    from shared_models.train_slide import Recipe, SlideTask
    from shared_models.training_loop import train
    from shared_models.training_request import TrainRequest

    names = np.array(["adenocarcinoma", "squamous_cell", "normal"] * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 224, 224, 3), dtype=np.uint8)
    tiles = TileSet(pixels, names, names, tuple("abcdefghi"))
    torch.manual_seed(0)
    torch.save(SlideNetwork().state_dict(), tmp_path / "start.pt")
    recipe = Recipe(epochs=2, batch=4, rate=1e-3, cutmix=0.4, start=str(tmp_path / "start.pt"))
    request = TrainRequest("he_tiles", tmp_path, tmp_path / "run", seed=3, device="cpu", threads=1, precision="fp32")
    record = train(SlideTask(tiles, tiles, recipe, 3), request)
    losses = [row["loss"] for row in record["history"]]
    assert losses == pytest.approx([1.1017602682, 1.0964419444], abs=2e-4)
    assert [row["val_loss"] for row in record["history"]] == pytest.approx([1.0986944437, 1.0986933708], abs=2e-5)
