"""Training of the nodule network by the one loop, on made-up nodules (balls: no patient's data)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.ct_network import load, network
from shared_models.ct_sampling import PATCH, Pool

pytest.importorskip("accelerate", reason="training needs the extra [train]")

from shared_models import train_ct  # noqa: E402
from shared_models.train_ct import SIDES, NoduleTask, Recipe  # noqa: E402
from shared_models.training_loop import train  # noqa: E402
from shared_models.training_request import TrainRequest  # noqa: E402


def pool(count: int = 6, cubes: int = 2) -> Pool:
    """Balls of growing size in the middle, and a bar that is a vessel."""
    rows, columns = np.ogrid[:PATCH, :PATCH]
    distance = np.hypot(rows - 35, columns - 35)
    mask = np.array([distance <= 3 + i for i in range(count)])
    hu = np.where(mask, 30, -850).astype(np.int16)
    hu[:, 10:14, 10:60] = 60
    place = np.indices((51, 51, 51)) - 25
    ball = np.sqrt((place**2).sum(0))
    cube_mask = np.array([ball <= 5 + 2 * i for i in range(cubes)])
    cube_hu = np.where(cube_mask, 20, -800).astype(np.int16)
    diameter = 0.7 * (6 + 2.0 * np.arange(count))
    return Pool(hu, mask, np.full(count, 0.7), cube_hu, cube_mask, diameter, np.full(count, 5.0))


def test_the_first_losses_are_those_of_the_loop_before_there_was_one_for_all(tmp_path) -> None:
    """Computed with the training script as it was at commit 72c311a: one worker, seed 3, validation every 3 steps."""
    recipe = Recipe(epochs=2, epoch_steps=3, average=0.9)
    request = TrainRequest("ct_nodule", tmp_path, tmp_path / "run", seed=3, device="cpu", threads=1)
    record = train(NoduleTask(pool(), pool(4), recipe), request)
    assert [row["step"] for row in record["history"]] == [3, 6]
    assert [row["loss"] for row in record["history"]] == pytest.approx(LOSSES, abs=2e-4)
    assert [row["val_dice"] for row in record["history"]] == pytest.approx(DICE, abs=2e-3)
    assert record["train_patches"] == 6 and record["val_cubes"] == 2 and record["started_from"] is None
    network().load_state_dict(torch.load(tmp_path / "run" / "best.pt", weights_only=True))


LOSSES = [1.61299507, 1.63985872]
DICE = [0.05574497, 0.05790565]


def test_it_goes_on_from_weights_and_a_final_round_keeps_the_last(tmp_path) -> None:
    torch.manual_seed(0)
    start = tmp_path / "before"
    start.mkdir()
    torch.save(network().state_dict(), start / "best.pt")
    (start / "result.json").write_text(json.dumps({"commit": "c0ffee"}))
    task = NoduleTask(pool(), pool(4), Recipe(epochs=2, epoch_steps=1, start_from=str(start / "best.pt"), final=True))
    assert task.started["result"] == {"commit": "c0ffee"} and task.settings["start_from"] == task.started["sha256"]
    first = torch.load(start / "best.pt", weights_only=True)
    assert all(torch.equal(first[name], value) for name, value in task.network().state_dict().items())
    assert [task.score({"val_dice": dice, "epoch": n}) for n, dice in ((1, 0.9), (2, 0.1))] == [1, 2]
    assert NoduleTask(pool(), pool(4), Recipe()).score({"val_dice": 0.9, "epoch": 1}) == 0.9


def test_crops_take_their_sides_in_turn_over_the_epochs() -> None:
    task = NoduleTask(pool(), pool(4), Recipe(epochs=3, epoch_steps=4))
    sides = [int(side) for epoch in range(3) for side in task.plan(epoch, np.random.default_rng(0))]
    assert sides == [SIDES[step % len(SIDES)] for step in range(1, 13)]


def test_what_is_wrong_is_said(tmp_path) -> None:
    for settings, said in (({"start_from": "nowhere.pt"}, "no file"), ({}, "holds no lidc"), ({"mix": "x"}, "mix is"),
                           ({"average": "1.5"}, "average from"), ({"width": "17"}, "width is")):  # fmt: skip
        with pytest.raises(InvalidInput, match=said):
            train_ct.trained(TrainRequest("ct_nodule", tmp_path, tmp_path / "run", settings=settings))
    assert not (tmp_path / "run").exists()


def test_the_earlier_name_asks_for_the_same(tmp_path, monkeypatch) -> None:
    given: list[TrainRequest] = []
    monkeypatch.setattr("shared_models.train.run", given.append)
    words = "train_ct --data d --out o --steps 1000 --rate 4e-4 --seed 2 --workers 3 --mix stratified --final"
    monkeypatch.setattr("sys.argv", words.split())
    with pytest.raises(SystemExit) as ended:
        train_ct.main()
    (request,) = given
    recipe = request.with_recipe(Recipe())
    assert ended.value.code == 0 and (request.epochs, request.processes, request.seed) == (5, 3, 2)
    assert (recipe.epochs, recipe.rate, recipe.mix, recipe.final) == (5, 4e-4, "stratified", True)
    monkeypatch.setattr("sys.argv", ["train_ct", "--data", "d", "--out", "o", "--steps", "300"])
    with pytest.raises(SystemExit) as ended:
        train_ct.main()
    assert ended.value.code == 2


def test_weights_say_how_wide_their_network_is(tmp_path) -> None:
    torch.save(network(24).state_dict(), tmp_path / "wide.pt")
    wide = load(tmp_path / "wide.pt")
    held = network(24).state_dict()
    assert {name: value.shape for name, value in wide.state_dict().items()} == {n: v.shape for n, v in held.items()}
    assert sum(p.numel() for p in wide.parameters()) > 2 * sum(p.numel() for p in network().parameters())
    torch.save({**held, "conv_0.conv_0.conv.weight": torch.zeros(17, 3, 3, 3)}, tmp_path / "other.pt")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        load(tmp_path / "other.pt")
    first = NoduleTask(pool(), pool(), Recipe(width=24)).network().state_dict()["conv_0.conv_0.conv.weight"]
    assert first.shape == (24, 3, 3, 3)


def test_a_teacher_answers_part_of_the_truth(tmp_path) -> None:
    torch.manual_seed(0)
    states = []
    for bias in (9.0, -9.0):  # one calls everything a nodule, the other nothing
        made = network()
        torch.nn.init.zeros_(made.final_conv.weight)
        torch.nn.init.constant_(made.final_conv.bias, bias)
        states.append(tmp_path / f"{bias}.pt")
        torch.save(made.state_dict(), states[-1])
    files = tuple(map(str, states))
    task = NoduleTask(pool(), pool(4), Recipe(batch=3, teachers=files, taught=0.6))
    batch = task.batch(np.array(48), np.random.default_rng(0))
    assert batch.hu.shape == (3, 48, 48)
    seen = torch.zeros(3, 3, 48, 48)
    told = task._taught(batch, seen).truth
    assert torch.allclose(told, 0.4 * batch.truth + 0.6 * 0.5, atol=1e-3)
    alone = NoduleTask(pool(), pool(4), Recipe(teachers=files[:1], taught=1.0))
    assert torch.allclose(alone._taught(batch, seen).truth, torch.ones(3, 48, 48), atol=1e-3)
    assert task.settings["teachers"] != alone.settings["teachers"] and len(task.settings["teachers"][0]) == 64
    plain = NoduleTask(pool(), pool(4), Recipe(batch=3))
    made = network().eval()
    rest = (np.random.default_rng(0), torch.device("cpu"))
    assert plain.loss(made, batch, *rest) != task.loss(made, batch, *rest)
    request = TrainRequest("ct_nodule", tmp_path, tmp_path / "run", settings={"teachers": str(tmp_path / "none.pt")})
    with pytest.raises(InvalidInput, match="none.pt"):
        train_ct.trained(request)
