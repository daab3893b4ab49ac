"""The one training loop, with a tiny task: what it learns and keeps, and that nothing that stops it costs a step."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs the extra [train]")

from tiny_training import Blobs  # noqa: E402
from tiny_training import request as asked  # noqa: E402

from shared_models.contract.errors import InvalidInput, ModelUnavailable, ServerError  # noqa: E402
from shared_models.training_average import WeightAverage  # noqa: E402
from shared_models.training_folder import RunFolder  # noqa: E402
from shared_models.training_loop import train  # noqa: E402
from shared_models.training_progress import Progress, duration  # noqa: E402

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _quick(request_name, monkeypatch) -> None:
    """Pictures and commits take longer than these trainings: only where they are looked at."""
    if request_name != "test_it_learns_and_writes_everything_down":
        monkeypatch.setattr("shared_models.training_loop.curves", lambda record: b"")
        monkeypatch.setattr("shared_models.training_record.git_commit", lambda: "c0ffee")


@pytest.fixture
def request_name(request) -> str:
    return request.node.name


def states(out: Path) -> dict:
    return torch.load(out / "last.pt", weights_only=True)


def same(one: dict, other: dict) -> bool:
    """Whether two checkpoints hold the same weights, averages, moments and random states, bit for bit."""
    def flat(value):
        if isinstance(value, dict):
            return [x for key in sorted(value, key=str) for x in flat(value[key])]
        if isinstance(value, (list, tuple)):
            return [x for part in value for x in flat(part)]
        return [value]

    for part in ("network", "average", "optimisers", "random", "epoch", "step"):
        for a, b in zip(flat(one[part]), flat(other[part]), strict=True):
            if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b):
                return False
    return True


def test_it_learns_and_writes_everything_down(tmp_path, capsys) -> None:
    record = train(Blobs(epochs=15), asked(tmp_path / "run", seed=4))
    told = json.loads((tmp_path / "run" / "result.json").read_text())
    assert told == json.loads(json.dumps(record))
    assert told["task"] == "blobs" and told["command"] == "a test" and told["seed"] == 4 and len(told["commit"]) >= 40
    assert told["settings"]["rate"] == 0.05 and told["points"] == 48 and told["chosen_by"] == "Accuracy on validation."
    assert [row["epoch"] for row in told["history"]] == [*range(1, 16)] and told["history"][-1]["step"] == 90
    assert told["history"][-1]["loss"] < 0.75 * told["history"][0]["loss"] and told["best"] > 0.9
    accuracies = [row["val_accuracy"] for row in told["history"]]
    assert told["best"] == max(accuracies) and told["best_epoch"] == accuracies.index(max(accuracies)) + 1
    assert (tmp_path / "run" / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.name[0] != ".") == [
        "best.pt", "curves.png", "last.pt", "result.json"]  # fmt: skip
    said = capsys.readouterr().out
    assert "epoch 15/15" in said and "best epoch" in said and " left" in said


def test_the_steps_are_those_of_a_plain_loop(tmp_path) -> None:
    """Worked out here without the loop: AdamW, the rate, the clipping, the average."""
    task = Blobs(epochs=2)
    train(task, asked(tmp_path, seed=3))
    torch.manual_seed(3)
    random, network = np.random.default_rng(3), task.network()
    network.train()
    average = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.05)
    for epoch in range(2):
        for k, planned in enumerate(task.plan(epoch, random)):
            done = epoch * 6 + k
            for group in optimiser.param_groups:
                group["lr"] = 0.05 * (0.5 + 0.5 * np.cos(np.pi * (done + 1) / 12)) * min(1.0, (done + 1) / 100)
            loss = task.loss(network, task.batch(planned, random), random, torch.device("cpu"))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            for name, p in network.named_parameters():
                average[name] = p.detach().clone() if not done else 0.5 * average[name] + 0.5 * p.detach()
    kept = states(tmp_path)
    assert all(torch.equal(kept["network"][name], value) for name, value in network.state_dict().items())
    for name, value in average.items():
        torch.testing.assert_close(kept["average"][name], value, rtol=1e-5, atol=1e-7)
    assert torch.equal(kept["average"]["1.running_mean"], network.state_dict()["1.running_mean"])


class _Stopped(Exception):
    pass


class _StopsAt(Blobs):
    """Stands in for a process that is killed: at a step, after a checkpoint in the middle of the epoch or none."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.stop = step

    def loss(self, *given):
        if self.calls == self.stop:
            raise _Stopped
        return super().loss(*given)


@pytest.mark.parametrize(("step", "minutes"), [(6, 10.0), (9, 10.0), (9, 0.0), (1, 0.0), (17, 0.0)])
def test_a_run_that_was_killed_goes_on_with_the_very_same_steps(tmp_path, step, minutes) -> None:
    whole, first, second = Blobs(), _StopsAt(step), Blobs()
    record = train(whole, asked(tmp_path / "whole"))
    with pytest.raises(_Stopped):
        train(first, asked(tmp_path / "part", checkpoint_minutes=minutes))
    done = states(tmp_path / "part")
    assert done["epoch"] * 6 + done["step"] == (step if minutes == 0.0 else step // 6 * 6)
    resumed = train(second, asked(tmp_path / "part", resume=True))
    assert same(states(tmp_path / "whole"), states(tmp_path / "part"))
    assert whole.seen[-len(second.seen):] == second.seen and len(second.seen) == 18 - (done["epoch"] * 6 + done["step"])
    assert [row["loss"] for row in record["history"]] == [row["loss"] for row in resumed["history"]]
    assert len(resumed["resumed"]) == 1
    best = [torch.load(tmp_path / name / "best.pt", weights_only=True) for name in ("whole", "part")]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


_PROGRAM = """
import sys, time
sys.path[:0] = [{here!r}, {root!r}]
from pathlib import Path
from tiny_training import Blobs, request
from shared_models.training_loop import train
class Slow(Blobs):
    def batch(self, *given):
        time.sleep(0.05)
        return super().batch(*given)
try:
    train(Slow(), request(Path({out!r}), resume=True, checkpoint_minutes={minutes}))
except KeyboardInterrupt:
    sys.exit(130)
"""


def _started(out: Path, minutes: float = 10.0) -> subprocess.Popen:
    text = _PROGRAM.format(here=str(HERE), root=str(HERE.parents[1]), out=str(out), minutes=minutes)
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_loaders_draw_the_same_batches_however_many_they_are_and_after_a_stop(tmp_path) -> None:
    for loaders in (1, 3):
        train(Blobs(), asked(tmp_path / str(loaders), loaders=loaders))
    with pytest.raises(_Stopped):
        train(_StopsAt(9), asked(tmp_path / "part", loaders=2, checkpoint_minutes=0.0))
    assert states(tmp_path / "part")["step"] == 3
    record = train(Blobs(), asked(tmp_path / "part", loaders=1, resume=True))
    assert all(same(states(tmp_path / "1"), states(tmp_path / other)) for other in ("3", "part"))
    assert record["settings"]["drawn"].startswith("ahead")
    # A generator for each step: what the loop draws from one generator differs.
    train(Blobs(), asked(tmp_path / "plain"))
    assert not same(states(tmp_path / "1"), states(tmp_path / "plain"))
    with pytest.raises(InvalidInput, match="drawn"):
        train(Blobs(epochs=4), asked(tmp_path / "plain", loaders=1, resume=True))


def test_a_loader_that_fails_ends_the_training_with_its_reason(tmp_path) -> None:
    class Torn(Blobs):
        def batch(self, planned, random):
            raise ValueError("this sample is torn")

    with pytest.raises(ValueError, match="this sample is torn"):
        train(Torn(), asked(tmp_path, loaders=1))


def test_ctrl_c_keeps_a_checkpoint_and_a_killed_process_leaves_a_whole_one(tmp_path) -> None:
    train(Blobs(), asked(tmp_path / "whole"))
    # A real process: interrupted once, then killed without warning, then left to end.
    process = _started(tmp_path / "part")
    assert "epoch 1/3 step" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in said and "Stopping after this step" in errors
    before = states(tmp_path / "part")
    assert 0 < before["epoch"] * 6 + before["step"] < 18
    process = _started(tmp_path / "part", minutes=0.0)
    first = (tmp_path / "part" / "last.pt").stat().st_mtime_ns
    end = time.monotonic() + 60
    while (tmp_path / "part" / "last.pt").stat().st_mtime_ns == first and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    states(tmp_path / "part")
    train(Blobs(), asked(tmp_path / "part", resume=True))
    assert same(states(tmp_path / "whole"), states(tmp_path / "part"))


def test_it_ends_early_where_nothing_gets_better(tmp_path) -> None:
    figures = (0.5, 0.7, 0.6, 0.7, 0.9, 0.9)
    record = train(Blobs(epochs=6, patience=2, figures=figures), asked(tmp_path))
    assert len(record["history"]) == 4 and record["best_epoch"] == 2 and record["ended"].startswith("early")
    # The weights kept are those of that epoch, not the last.
    one = train(Blobs(epochs=6, figures=(0.5, 0.7, *[0.1] * 4)), asked(tmp_path / "again"))
    assert one["best_epoch"] == 2 and one["ended"] == "all epochs"
    best = [torch.load(p / "best.pt", weights_only=True) for p in (tmp_path, tmp_path / "again")]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_a_loss_that_is_no_number_stops_it_before_it_is_kept(tmp_path) -> None:
    with pytest.raises(ServerError, match="epoch 2 at step 2") as told:
        train(Blobs(broken_at=7), asked(tmp_path, checkpoint_minutes=0.0))
    assert "rate" in told.value.remedy and "fp32" in told.value.remedy
    kept = states(tmp_path)
    assert kept["epoch"] * 6 + kept["step"] == 7
    assert all(value.isfinite().all() for value in kept["network"].values())


def test_figures_that_are_no_numbers_choose_nothing(tmp_path) -> None:
    nan = float("nan")
    assert train(Blobs(figures=(nan, 0.4, nan)), asked(tmp_path / "one"))["best_epoch"] == 2
    with pytest.raises(ServerError, match="No epoch"):
        train(Blobs(figures=(nan,) * 3), asked(tmp_path / "none"))


def test_another_run_is_neither_overwritten_nor_mixed_up(tmp_path) -> None:
    train(Blobs(epochs=1), asked(tmp_path))
    with pytest.raises(InvalidInput, match="already") as told:
        train(Blobs(), asked(tmp_path))
    assert "--resume" in told.value.remedy and "--restart" in told.value.remedy
    with pytest.raises(InvalidInput, match="rate = 0.05, not 0.1"):
        train(Blobs(rate=0.1), asked(tmp_path, resume=True))
    with pytest.raises(InvalidInput, match="seed = 1, not 2"):
        train(Blobs(), asked(tmp_path, resume=True, seed=2))
    with pytest.raises(InvalidInput, match="points was 48, now it is 40"):
        train(Blobs(count=40), asked(tmp_path, resume=True))
    other = copy.copy(Blobs())
    other.name = "others"
    with pytest.raises(InvalidInput, match="a run of blobs, not of others"):
        train(other, asked(tmp_path, restart=True))
    assert len(train(Blobs(epochs=2), asked(tmp_path, resume=True))["history"]) == 2
    assert len(train(Blobs(epochs=1), asked(tmp_path, restart=True))["history"]) == 1
    with pytest.raises(_Stopped):  # begun anew and killed at once: nothing of the old run is there to go on with
        train(_StopsAt(0), asked(tmp_path, restart=True))
    assert not (tmp_path / "last.pt").exists() and not (tmp_path / "best.pt").exists()


def test_a_damaged_checkpoint_is_named(tmp_path) -> None:
    train(Blobs(epochs=1), asked(tmp_path))
    whole = (tmp_path / "last.pt").read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        (tmp_path / "last.pt").write_bytes(content)
        with pytest.raises(InvalidInput, match="damaged") as told:
            train(Blobs(), asked(tmp_path, resume=True))
        assert "--restart" in told.value.remedy
    torch.save({"weights": 1}, tmp_path / "last.pt")
    with pytest.raises(InvalidInput, match="another version"):
        train(Blobs(), asked(tmp_path, resume=True))


def test_two_runs_do_not_write_to_one_folder(tmp_path) -> None:
    with RunFolder(tmp_path).locked(), pytest.raises(InvalidInput, match="Another run"):
        train(Blobs(), asked(tmp_path))


def test_less_data_than_a_batch_and_a_device_that_is_not_there(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="less data"):
        train(Blobs(count=0), asked(tmp_path))
    if not torch.cuda.is_available():
        with pytest.raises(ModelUnavailable, match="CUDA"):
            train(Blobs(), dataclasses.replace(asked(tmp_path), device="cuda"))


def test_half_precision_is_used_and_the_weights_stay_float32(tmp_path) -> None:
    full = train(Blobs(epochs=1), asked(tmp_path / "full"))
    half = train(Blobs(epochs=1), asked(tmp_path / "half", precision="bf16"))
    losses = [r["history"][0]["loss"] for r in (full, half)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)
    assert half["settings"]["precision"] == "bf16"
    assert states(tmp_path / "half")["network"]["0.weight"].dtype == torch.float32
    assert train(Blobs(epochs=1), asked(tmp_path / "full again"))["history"][0]["loss"] == losses[0]


def test_average_of_weights() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(network)
    for value, share in ((1.0, 0.0), (3.0, 0.75), (-1.0, 0.5)):
        with torch.no_grad():
            network.weight.fill_(value)
        average.update(network, share)
    assert average.module.weight.item() == pytest.approx(0.25)  # 1, then 1.5, then 0.25
    assert not average.module.weight.requires_grad and not average.module.training


def test_time_left() -> None:
    progress = Progress(epochs=3, epoch_steps=10, name="x", out=None)
    assert progress.left(0, 0) == 0.0
    progress.step(0, 1, 1.0, 2.0)
    assert progress.left(0, 1) == pytest.approx(58)  # 29 steps of 2 s
    progress.validated(5.0)
    assert progress.left(1, 0) == pytest.approx(50)
    assert [duration(s) for s in (40, 600, 11100)] == ["40 s", "10 min", "3 h 05 min"]


def test_environment_is_left_as_it_was(tmp_path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), os.environ.get("RANK")
    train(Blobs(epochs=1), asked(tmp_path))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), os.environ.get("RANK")) == before
