"""The training of the 3D network of thin slices, on made-up balls (no patient's data)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

pytest.importorskip("accelerate", reason="training needs the extra [train]")

from shared_models import ct_refine, train_refine  # noqa: E402
from shared_models.contract.errors import InvalidInput  # noqa: E402
from shared_models.ct_data import Nodules  # noqa: E402
from shared_models.ct_neighbourhood import Prompt  # noqa: E402
from shared_models.ct_refine import Field  # noqa: E402
from shared_models.ct_refine_samples import (  # noqa: E402
    Answered,
    answered,
    centred,
    coded,
    cut,
    decoded,
    drawn,
    prompts_of,
)  # fmt: skip
from shared_models.evaluate_refine import before, held_out  # noqa: E402
from shared_models.train_refine import Recipe, RefineTask  # noqa: E402
from shared_models.training_loop import train  # noqa: E402
from shared_models.training_request import TrainRequest  # noqa: E402

CUBE = 51


class Bright(torch.nn.Module):
    """Stands in for the 2D network: sure where HU is over -400."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > 0, 2.2, -6.0)


def ball(radius_mm: float) -> np.ndarray:
    """bool, of a cube: a ball beside its middle."""
    place = np.indices((CUBE,) * 3) - np.array((25, 26, 24))[:, None, None, None]
    inside: np.ndarray = np.sqrt((place**2).sum(0)) <= radius_mm
    return inside


def cubes(count: int = 3) -> Nodules:
    """Balls of growing size."""
    mask = np.array([ball(5 + k) for k in range(count)])
    rows = tuple({"name": f"n{k}", "patient_id": f"p{k}"} for k in range(count))
    return Nodules(np.where(mask, 40, -850).astype(np.int16), mask, rows)


def pool(count: int = 3, prompts: int = 2) -> Answered:
    """The 2D network draws every ball 2 mm too wide."""
    data = cubes(count)
    asked = [prompts_of(mask, prompts, np.random.default_rng(k)) for k, mask in enumerate(data.mask)]
    low, high = (np.array([[getattr(p, end) for p in of] for of in asked], np.float32) for end in ("low", "high"))
    wide = np.array([ball(7 + k) for k in range(count)])
    logit = coded(torch.from_numpy(np.where(wide, 2.0, -4.0)))[:, None].repeat(prompts, 1)
    return Answered(data.hu, data.mask, low, high, logit, data.patients, np.arange(count).astype(str))


def on_cpu(held: Answered) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(getattr(held, name)) for name in ("hu", "mask", "low", "high", "logit")}


def test_answers_are_kept_with_the_weights_that_gave_them(tmp_path: Path) -> None:
    class Counted(Bright):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Counted.calls += 1
            return super().forward(x)

    file = tmp_path / "out" / "train.npz"
    first = answered(cubes(1), Counted(), "abc", file, 2)
    assert first.logit.shape == (1, 2, CUBE, CUBE, CUBE) and first.low[0, 0].tolist() == [25, 25, 25]
    found = decoded(torch.from_numpy(first.logit[0, 0])) > 0
    assert 2 * (found.numpy() & first.mask[0]).sum() / (found.sum() + first.mask[0].sum()) > 0.9
    calls = Counted.calls
    np.testing.assert_array_equal(answered(cubes(1), Counted(), "abc", file, 2).logit, first.logit)
    assert Counted.calls == calls
    answered(cubes(1), Counted(), "other weights", file, 2)
    assert Counted.calls == 2 * calls
    file.write_bytes(file.read_bytes()[:-50])
    answered(cubes(1), Counted(), "other weights", file, 2)
    assert Counted.calls == 3 * calls


def test_prompts_lie_at_the_nodule() -> None:
    mask = cubes(1).mask[0]
    made = prompts_of(mask, 7, np.random.default_rng(0))
    assert made[0].centre.tolist() == [25, 25, 25]
    assert [p.is_point for p in made] == [True, True, True, False, True, True, False]
    assert all(np.linalg.norm(p.centre - (25, 26, 24)) < 8 for p in made)
    inside = np.round(made[2].centre).astype(int)
    assert mask[tuple(inside)]


def test_logits_are_kept_within_a_fortieth() -> None:
    logit = torch.linspace(-6, 6, 100)
    assert (decoded(torch.from_numpy(coded(logit))) - logit).abs().max() <= 6 / 255 + 1e-5


def test_a_field_of_the_run_time_is_cut_as_the_pipeline_does() -> None:
    held = pool(2)
    fields = cut(on_cpu(held), centred(held, np.array([0, 1]), np.array([0, 1])))
    for k, prompt in enumerate((0, 1)):
        field = Field(Prompt(held.low[k, prompt], held.high[k, prompt]), (1.0, 1.0, 1.0))
        whole = (slice(0, CUBE),) * 3
        logit = decoded(torch.from_numpy(held.logit[k, prompt]))
        own = ct_refine.inputs(field.seen(held.hu[k]), field.asked(), field.answered(logit, whole))
        torch.testing.assert_close(fields.seen[k : k + 1], own, atol=2e-5, rtol=1e-5)
    assert fields.truth[0].sum() == held.mask[0].sum() and fields.known[0].all()


def test_random_fields_show_nodule_answer_and_truth_in_one_place() -> None:
    held = pool(3)
    draw = drawn(held, np.array([0, 1, 2] * 4), np.random.default_rng(3), tilt=0.0)
    assert draw.turned.any() and not draw.turned.all() and (draw.step < 0).any() and (draw.step.abs() != 1).any()
    fields = cut(on_cpu(held), draw)
    dense = fields.seen[:, 0] > 0
    for k in range(12):
        truth = fields.truth[k] > 0.5
        assert truth.any() and 2 * (dense[k] & truth).sum() / (dense[k].sum() + truth.sum()) > 0.9
        assert not (truth & (fields.logit[k] < 0)).any() and (fields.logit[k] > 0).sum() > 1.2 * truth.sum()
        assert (fields.known[k] == 0).any() or draw.step[k].abs().min() > 0.9
    again = cut(on_cpu(held), drawn(held, np.array([0, 1, 2] * 4), np.random.default_rng(3), tilt=0.0))
    torch.testing.assert_close(again.seen, fields.seen, atol=0, rtol=0)


def test_what_is_unknown_costs_nothing() -> None:
    held = pool(1)
    fields = cut(on_cpu(held), centred(held, np.array([0]), np.array([0])))
    fields.known[:, :5] = 0
    change = torch.zeros_like(fields.logit)
    plain = train_refine.loss_of(change, fields)
    change[:, :5] = 5.0
    assert train_refine.loss_of(change, fields) == plain
    change[:, 20] = 5.0
    assert train_refine.loss_of(change, fields) > plain


def test_it_learns_and_goes_on_bit_for_bit_where_it_stopped(tmp_path: Path, monkeypatch) -> None:
    class Stopped(RefineTask):
        def plan(self, epoch, random):
            if epoch == 1:
                raise KeyboardInterrupt
            return super().plan(epoch, random)

    def small(width: int, dropout: float = 0.0) -> torch.nn.Module:
        made = torch.nn.Conv3d(4, 1, 1)
        for part in made.parameters():
            torch.nn.init.zeros_(part)
        return made

    def run(kind: type, out: str, **given) -> dict:
        request = TrainRequest("ct_refine", tmp_path, tmp_path / out, seed=1, device="cpu", threads=1, **given)
        return train(kind(pool(), pool(), recipe, "abc"), request)

    monkeypatch.setattr(train_refine, "network", small)
    recipe = Recipe(epochs=2, epoch_steps=20, batch=2, prompts=2, rate=0.2, average=0.5)
    whole = run(RefineTask, "whole")
    first, last = whole["history"]
    assert last["val_dice"] > last["val_before"] + 0.05 and last["loss"] < first["loss"]
    assert last["val_before"] == first["val_before"] and whole["corrects"] == "abc" and whole["train_cubes"] == 3
    told = whole["val_pieces"]
    assert told["n"] == 3 and told["mean_after"] > told["mean_before"] + 0.05
    with pytest.raises(KeyboardInterrupt):
        run(Stopped, "parts")
    parts = run(RefineTask, "parts", resume=True)
    assert parts["resumed"] and [row["loss"] for row in parts["history"]] == [first["loss"], last["loss"]]
    ours, theirs = (torch.load(tmp_path / name / "best.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_command_makes_answers_a_network_and_folds(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(train_refine.ct_data, "cubes", lambda root, split: cubes(2))
    (tmp_path / "data" / "lidc_nodule_3d_51").mkdir(parents=True)
    monkeypatch.setattr(train_refine, "load_2d", lambda path: Bright())
    monkeypatch.setitem(ct_refine.FEATURES, 8, (8,) * 6)  # as fast as it gets
    settings = {"folds": "2", "prompts": "1", "epoch_steps": "1", "batch": "1", "width": "8"}
    request = TrainRequest("ct_refine", tmp_path / "data", tmp_path / "out", device="cpu", threads=1, epochs=1,
                           settings=settings)  # fmt: skip
    train_refine.trained(request)
    for name in ("network", "fold_0", "fold_1"):
        assert json.loads((tmp_path / "out" / name / "result.json").read_text())["task"] == "ct_refine"
    held = answered(cubes(2), None, _sha(), tmp_path / "out" / "train.npz", 1)
    probability = held_out(tmp_path / "out", held, 0)
    assert np.abs(probability - before(held, 0)).max() < 0.2 and probability.shape == (2, CUBE, CUBE, CUBE)
    found = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert found["before"]["dice"] > 0.8 and 0 < found["after"]["threshold"] < 1
    (tmp_path / "out" / "fold_1" / "held.npz").unlink()
    with pytest.raises(InvalidInput, match="every fold"):
        held_out(tmp_path / "out", held, 0)
    with pytest.raises(InvalidInput, match="already"):
        train_refine.trained(request)


def _sha() -> str:
    from shared_models.ct_pipeline import BUNDLE, WEIGHTS
    from shared_models.model_bundle import MODELS_ROOT, Bundle, sha256_of

    return sha256_of(Bundle.load(MODELS_ROOT / BUNDLE).path(WEIGHTS))


def test_settings_that_do_not_go_together_and_missing_cubes_are_told(tmp_path: Path) -> None:
    for wrong in ({"width": 12}, {"folds": 1}, {"batch": 0}, {"part": "half"}, {"tilt": -1.0}):
        with pytest.raises(ValueError):
            Recipe(**wrong)
    with pytest.raises(InvalidInput, match="holds no"):
        train_refine.trained(TrainRequest("ct_refine", tmp_path, tmp_path / "out", device="cpu"))
