"""Training in two processes on the CPU, against the same arithmetic done here one after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="training needs the extra [train]")

from tiny_training import Blobs, in_two  # noqa: E402
from tiny_training import request as asked  # noqa: E402

from shared_models.contract.errors import ServerError  # noqa: E402
from shared_models.training_processes import in_processes  # noqa: E402


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder that in_two() wrote, and the error that it ended with."""
    out = tmp_path_factory.mktemp("two")
    with pytest.raises(ServerError) as told:
        in_processes(2, in_two, asked(out))
    return out, told.value


def _prepared(task: Blobs):
    torch.manual_seed(1)
    network = task.network()
    return network, task.optimiser(network)


def _loss(task: Blobs, network, planned, random):
    return task.loss(network, task.batch(planned, random), random, torch.device("cpu"))


def _set(optimiser, done: int, total: int) -> None:
    for group in optimiser.param_groups:
        group["lr"] = 0.05 * (0.5 + 0.5 * math.cos(math.pi * (done + 1) / total)) * min(1.0, (done + 1) / 100)


def test_gradients_are_shared_and_the_epoch_is_divided(run) -> None:
    task = Blobs(epochs=2, plain=True)
    network, optimiser = _prepared(task)
    randoms = [np.random.default_rng([1, rank]) for rank in range(2)]
    for epoch in range(2):
        plan = task.plan(epoch, np.random.default_rng([1, epoch, 2]))
        for k in range(3):
            _set(optimiser, epoch * 3 + k, 6)
            optimiser.zero_grad()
            for rank in range(2):
                (_loss(task, network, plan[2 * k + rank], randoms[rank]) / 2).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
    kept = torch.load(run[0] / "shared" / "last.pt", weights_only=True)["network"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(kept[name], value, rtol=1e-5, atol=1e-7)


def test_weights_are_averaged_now_and_then_and_the_run_goes_on(run) -> None:
    """One epoch, then one more after --resume: the rate is that of one epoch first, then of two."""
    task = Blobs(plain=True)
    workers = [(*_prepared(task), np.random.default_rng([1, rank])) for rank in range(2)]
    for epoch, total in ((0, 6), (1, 12)):
        plans = [task.plan(epoch, random) for _, _, random in workers]
        for k in range(6):
            for (network, optimiser, random), plan in zip(workers, plans):
                _set(optimiser, epoch * 6 + k, total)
                optimiser.zero_grad()
                _loss(task, network, plan[k], random).backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
            if k % 3 == 2:
                with torch.no_grad():
                    for a, b in zip(workers[0][0].parameters(), workers[1][0].parameters()):
                        mean = (a + b) / 2
                        a.copy_(mean)
                        b.copy_(mean)
    kept = torch.load(run[0] / "apart" / "last.pt", weights_only=True)["network"]
    assert all(torch.equal(kept[name], value) for name, value in workers[0][0].state_dict().items())


def test_the_error_of_a_process_is_the_error(run) -> None:
    assert "epoch 1 at step 3" in run[1].message and "--restart" in run[1].remedy
