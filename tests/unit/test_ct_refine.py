"""The 3D network of thin slices, on positions worked by hand and made-up balls (no patient's data)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shared_models import ct_refine, ct_search, package_ct_refine  # noqa: E402
from shared_models.contract.errors import Cancelled, InvalidInput, ModelUnavailable  # noqa: E402
from shared_models.ct_neighbourhood import Neighbourhood, Prompt, pixel_mm  # noqa: E402
from shared_models.ct_nodules import PLAIN, REFINED, Rule, piece_at  # noqa: E402
from shared_models.ct_pipeline import BUNDLE, REFINE, WEIGHTS, CTModels  # noqa: E402
from shared_models.ct_refine import MOST_LOGIT, SIDE, Field, corrected, correction, logit_of, prompt_map  # noqa: E402
from shared_models.ct_search import outlined  # noqa: E402
from shared_models.ct_segmentation import neighbourhood  # noqa: E402
from shared_models.model_bundle import MODELS_ROOT, Bundle, sha256_of  # noqa: E402

THIN = (0.8, 0.8, 1.0)  # column, row, slice


def point(*index: float) -> Prompt:
    return Prompt(np.array(index, float), np.array(index, float))


class Bright(torch.nn.Module):
    """Stands in for the 2D network: 0.9 where HU is over 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > 1000 / 1200 * 2 - 1, 2.2, -6.0)


class Everywhere(torch.nn.Module):
    """Stands in for the 3D network: the same correction at every voxel."""

    def __init__(self, change: float) -> None:
        super().__init__()
        self.change, self.asked = change, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return torch.full_like(x[:, :1], self.change)


def ball(shape: tuple[int, ...], middle: tuple[float, ...], radius_mm: float, spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    """bool; ``spacing`` along (slice, row, column)."""
    place = np.indices(shape).astype(float) - np.array(middle)[:, None, None, None]
    inside: np.ndarray = np.sqrt(((place * np.array(spacing)[:, None, None, None]) ** 2).sum(0)) <= radius_mm
    return inside


def test_a_field_lies_where_it_was_worked_out_by_hand() -> None:
    # 0.5 mm columns, 0.8 mm rows, 2 mm slices: a voxel of the field is 2, 1.25 and 0.5 indices.
    field = Field(point(10.2, 100.4, 200.7), (0.5, 0.8, 2.0))
    assert field.centre.tolist() == [10.5, 100.5, 201.5]
    firsts = (10.5 - 23.5 * 0.5, 100.5 - 23.5 * 1.25, 201.5 - 23.5 * 2)
    for along, first, step in zip(field.along, firsts, (0.5, 1.25, 2)):
        assert along.shape == (1, SIDE)
        assert float(along[0, 0]) == pytest.approx(first) and float(along[0, 5]) == pytest.approx(first + 5 * step)
    # A plane through HU space is what trilinear interpolation keeps; beyond the border its last voxel is repeated.
    k, j, i = np.indices((12, 160, 300))
    hu = (10 * k + 3 * j - 2 * i).astype(np.int16)
    seen = field.seen(hu)[0].numpy()
    wanted = [np.clip(a[0].numpy(), 0, n - 1) for a, n in zip(field.along, hu.shape)]
    z, y, x = np.meshgrid(*wanted, indexing="ij")
    np.testing.assert_allclose(seen, 10 * z + 3 * y - 2 * x, atol=2e-3)


def test_a_ct_of_1_mm_is_not_interpolated_and_comes_back_in_place() -> None:
    values = np.random.default_rng(0).integers(-1000, 400, (60, 64, 70)).astype(np.int16)
    field = Field(point(30, 30.3, 35.4), (1.0, 1.0, 1.0))
    inner = values[7:55, 7:55, 12:60]  # 30.5 - 23.5, and 35.5 - 23.5
    np.testing.assert_array_equal(field.seen(values)[0].numpy(), inner)
    back = field.back(field.seen(values), (slice(0, 60), slice(5, 40), slice(0, 70))).numpy()
    assert back.shape == (60, 35, 70)
    np.testing.assert_array_equal(back[7:55, 2:35, 12:60], values[7:55, 7:40, 12:60])
    assert not back[:7].any() and not back[55:].any() and not back[:, :2].any() and not back[:, :, 60:].any()


def test_fine_voxels_get_the_correction_between_those_of_the_field() -> None:
    field = Field(point(20, 40, 40), (0.5, 0.5, 2.0))  # centres: 20.5, 40.5, 40.5
    values = torch.zeros(1, SIDE, SIDE, SIDE)
    values[0, 24, 24, 24] = 8.0  # at slice 20.5 + 0.25, row and column 40.5 + 1
    back = field.back(values, (slice(18, 24), slice(38, 46), slice(38, 46))).numpy()
    # Slice 21 is 0.5 mm away from it, rows and columns 41 and 42 are 0.25 mm away, 40 and 43 are 0.75 mm.
    assert back[3, 3, 3] == pytest.approx(8 * 0.5 * 0.75 * 0.75) and back[3, 2, 5] == pytest.approx(8 * 0.5 * 0.25**2)
    assert back[2].max() == 0  # slice 20 is 1.5 mm away


def test_the_logit_is_least_where_nothing_was_asked() -> None:
    field = Field(point(20, 40, 40), (1.0, 1.0, 1.0))
    logit = torch.full((10, 20, 30), 4.0)
    seen = field.answered(logit, (slice(15, 25), slice(30, 50), slice(20, 50)))[0]
    assert float(seen[20, 20, 20]) == 4.0  # 20.5 - 3.5, ...
    assert (seen[:18] == -MOST_LOGIT).all() and (seen == 4).sum() == 10 * 20 * 30


def test_a_point_is_a_bell_and_a_box_is_filled() -> None:
    field = Field(point(20, 40, 40), (0.5, 0.5, 2.0))
    seen = field.asked()[0].numpy()
    assert np.unravel_index(seen.argmax(), seen.shape) in [(22, 23, 23), (23, 23, 23)]
    assert seen.max() == pytest.approx(np.exp(-0.5 * (0.5**2 + 0.25**2 + 0.25**2) / 9), rel=1e-5)
    along = [torch.arange(SIDE)[None].float()] * 3
    low, high, step = torch.tensor([[10.0, 12, 14]]), torch.tensor([[20.0, 22, 24]]), torch.ones(1, 3)
    box = prompt_map(along, low, high, step)[0]
    assert (box[10:21, 12:23, 14:25] == 1).all() and float(box[22, 15, 15]) == pytest.approx(np.exp(-2))
    bell = prompt_map(along, low, low, step)[0]
    assert float(bell[10, 12, 14]) == 1 and float(bell[13, 12, 14]) == pytest.approx(np.exp(-0.5))


def test_a_correction_moves_the_logit_and_none_changes_nothing() -> None:
    probability = np.array([0.0, 1e-4, 0.3, 0.5, 0.9, 1.0], np.float32)
    np.testing.assert_array_equal(corrected(probability, torch.zeros(6)).numpy(), probability)
    moved = corrected(probability, torch.full((6,), 2.0)).numpy()
    assert moved[3] == pytest.approx(1 / (1 + np.exp(-2))) and moved[2] == pytest.approx(1 / (1 + 7 / 3 * np.exp(-2)))
    assert (moved <= 1).all() and (np.diff(moved) >= 0).all()
    assert logit_of(np.array([0.0, 1.0])).tolist() == pytest.approx([-MOST_LOGIT, MOST_LOGIT], abs=1e-3)


def test_an_untrained_network_changes_nothing() -> None:
    torch.manual_seed(0)
    made = ct_refine.network(8).eval()
    hu = np.where(ball((40, 70, 70), (20, 35, 35), 7, THIN[::-1]), 40, -850).astype(np.int16)
    before = outlined(Bright(), hu, THIN, point(20, 35, 35), "point")
    around = neighbourhood(hu.shape, THIN, point(20, 35, 35))
    probability = np.random.default_rng(0).random([w.stop - w.start for w in around.where]).astype(np.float32)
    np.testing.assert_array_equal(ct_refine.refined([made], hu, around, probability), probability)
    assert before is not None and piece_at(before.mask.astype(np.float32), point(0, 0, 0), THIN[::-1]) is not None


def test_mirrored_fields_have_mirrored_corrections() -> None:
    torch.manual_seed(1)
    made = ct_refine.network(8).eval()
    torch.nn.init.normal_(made.final_conv.weight)
    seen = torch.randn(1, 4, SIDE, SIDE, SIDE)
    plain = correction([made], seen)
    assert plain.std() > 0.01
    torch.testing.assert_close(correction([made], seen.flip(4)), plain.flip(3), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(correction([made], seen.flip(3)), plain.flip(2), atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        assert (made(seen)[:, 0].flip(3) - made(seen.flip(4))[:, 0]).abs().max() > 0.01  # one view alone is not


def test_networks_that_are_joined_answer_together_each_to_a_view_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(2)
    made = [ct_refine.network(8).eval() for _ in range(5)]
    for k, one in enumerate(made):
        torch.nn.init.constant_(one.final_conv.bias, k)
        torch.save(one.state_dict(), tmp_path / f"{k}.pt")
    members = ct_refine.load(*(tmp_path / f"{k}.pt" for k in range(5)))
    ct_refine.joined(members, tmp_path / "refine.pt")
    seen = torch.zeros(1, 4, SIDE, SIDE, SIDE)
    assert correction(ct_refine.load(tmp_path / "refine.pt"), seen).unique().tolist() == [2.0]
    left, right = Everywhere(1.0), Everywhere(3.0)
    assert correction([left, right], seen).unique().tolist() == [2.0] and left.asked == right.asked == 2


def test_cancel_stops_between_views() -> None:
    stop, model = iter([False, False, True]), Everywhere(0.0)
    with pytest.raises(Cancelled):
        correction([model], torch.zeros(1, 4, SIDE, SIDE, SIDE), cancelled=lambda: next(stop))
    assert model.asked == 2


@pytest.mark.parametrize("kind", ["point", "box"])
def test_only_thin_slices_seen_at_their_own_pixel_are_corrected(kind, monkeypatch) -> None:
    hu = np.where(ball((40, 70, 70), (20, 35, 35), 7, THIN[::-1]), 40, -850).astype(np.int16)
    asked = point(20, 35, 35) if kind == "point" else Prompt(np.array([14.0, 27, 27]), np.array([26.0, 43, 43]))
    monkeypatch.setattr(ct_search, "REFINED", PLAIN)
    less, plain = Everywhere(-4.0), outlined(Bright(), hu, THIN, asked, kind)
    same = outlined(Bright(), hu, THIN, asked, kind, refine=[Everywhere(0.0)])
    assert same.where == plain.where and (same.mask == plain.mask).all()
    found = outlined(Bright(), hu, THIN, asked, kind, refine=[less])
    assert less.asked and found.score < plain.score  # the correction reached the answer
    thick = Everywhere(-4.0)
    outlined(Bright(), hu, (0.8, 0.8, 5.0), asked, kind, refine=[thick])
    assert not thick.asked
    far = Neighbourhood(hu.shape, THIN, asked, 64, 1.5 * pixel_mm(THIN))
    assert not ct_refine.refinable(far) and ct_refine.refinable(neighbourhood(hu.shape, THIN, asked))


def test_where_the_2d_network_sees_nothing_there_is_nothing_to_correct() -> None:
    model, empty = Everywhere(12.0), np.full((40, 70, 70), -850, np.int16)
    assert outlined(Bright(), empty, THIN, point(20, 35, 35), "point", refine=[model]) is None
    assert not model.asked


def test_the_rule_of_a_corrected_probability() -> None:
    probability = np.where(ball((31, 41, 41), (15, 20, 20), 10), 0.52, 0.0).astype(np.float32)
    whole = piece_at(probability, point(15, 20, 20), (1, 1, 1), rule=Rule(0.5, 0.0))
    np.testing.assert_array_equal(whole, probability > 0)
    assert piece_at(probability, point(15, 20, 20), (1, 1, 1), rule=Rule(0.5, 0.9)).any((1, 2)).sum() == 7
    assert 0 < REFINED.threshold < 1 and PLAIN == (0.6, 0.3)


def test_weights_say_how_wide_the_network_is_and_broken_ones_are_refused(tmp_path: Path) -> None:
    torch.save(ct_refine.network(8).state_dict(), tmp_path / "refine.pt")
    assert len(ct_refine.load(tmp_path / "refine.pt")[0].final_conv.weight[0]) == 8
    (tmp_path / "none.pt").write_bytes(b"not weights")
    torch.save({"conv_0.conv_0.conv.weight": torch.zeros(8, 4, 3, 3, 3)}, tmp_path / "part.pt")
    seven = {"conv_0.conv_0.conv.weight": torch.zeros(7, 4, 3, 3, 3)}
    torch.save(ct_refine.network(8).state_dict() | seven, tmp_path / "seven.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"members": []}, tmp_path / "empty.pt")
    for name in ("empty.pt", "none.pt", "part.pt", "seven.pt", "list.pt", "missing.pt"):
        with pytest.raises(ModelUnavailable, match="3D network"):
            ct_refine.load(tmp_path / name)


@pytest.fixture
def packaged(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and models with the bundle whose weights it corrects."""
    folder = tmp_path / "models" / BUNDLE
    shutil.copytree(MODELS_ROOT / BUNDLE, folder)
    (folder / REFINE).unlink(missing_ok=True)
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    metadata["lungxai"]["weights"].pop(REFINE, None)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (tmp_path / "run" / "network").mkdir(parents=True)
    torch.save(ct_refine.network(8).state_dict(), tmp_path / "run" / "network" / "best.pt")
    record = {"corrects": sha256_of(MODELS_ROOT / BUNDLE / WEIGHTS), "commit": "c0ffee" * 7, "seed": 1, "best_epoch": 2,
              "command": "lungxai train ct_refine", "settings": {"folds": 0, "prompts": 6},
              "train_cubes": 79, "train_patients": 60, "history": [{}, {}]}  # fmt: skip
    (tmp_path / "run" / "network" / "result.json").write_text(json.dumps(record))
    return tmp_path / "run", tmp_path / "models"


def test_a_bundle_takes_it_only_for_the_weights_that_it_corrects(packaged) -> None:
    run, models = packaged
    package_ct_refine.with_refinement(run, models)
    bundle = Bundle.load(models / BUNDLE)  # which checks the sha256
    assert len(ct_refine.load(bundle.path(REFINE))[0].final_conv.weight[0]) == 8
    assert bundle.own["refine"]["training"]["epoch"] == 2 and bundle.own["weights"].keys() == {WEIGHTS, REFINE}
    with (models / BUNDLE / WEIGHTS).open("ab") as file:
        file.write(b"0")
    with pytest.raises(InvalidInput, match="not the bundle's"):
        package_ct_refine.with_refinement(run, models)


def test_the_card_says_it_once(packaged, monkeypatch) -> None:
    run, models = packaged
    package_ct_refine.with_refinement(run, models)
    found = {"n": 23, "mean_before": 0.7, "mean_after": 0.75, "median_before": 0.71, "median_after": 0.74, "better": 15,
             "worse": 4}  # fmt: skip
    monkeypatch.setattr(package_ct_refine, "judged", lambda data, models, members: found)
    said = package_ct_refine.refinement(run, run, models)
    assert "mean Dice 0.700 before, 0.750 after" in said and "79 cubes of 60 patients" in said
    assert "Commit\nc0ffeec0ffee," in said
    card = f"**Data.** LIDC.\n\n{said}"
    assert package_ct_refine.without_refinement(card) == "**Data.** LIDC."
    assert package_ct_refine.without_refinement(f"{card}\n\nMore.") == "**Data.** LIDC.\n\nMore."


def test_the_pipeline_uses_it_where_the_bundle_has_it(packaged) -> None:
    run, models = packaged
    malignancy = SimpleNamespace(bundle=Bundle.load(MODELS_ROOT / "lung_nodule_malignancy"))
    assert CTModels(Bundle.load(models / BUNDLE), malignancy, "cpu").refine is None
    package_ct_refine.with_refinement(run, models)
    assert len(CTModels(Bundle.load(models / BUNDLE), malignancy, "cpu").refine[0].final_conv.weight[0]) == 8
