"""The main thread is never held up while a CT of 150 MB is packed, sent to a real server (a model that is none), and
its answer unpacked: a loop that ticks every 10 ms, as the panel's timer does, counts the ticks that come late.

Counted as a fraction, because a busy machine delays a tick now and then whatever we do.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from fake_server import fake_server
from LungXAILib import jobs
from LungXAILib.server_connection import Address
from LungXAILib.workflow import DONE, Errand, Workflow

from shared_models.contract.values import CTVolume

TICK_S, LATE_S = 0.010, 0.050
MAX_LATE = 0.02


def large_ct() -> CTVolume:
    """157 MB: 300 slices of 512 x 512."""
    rng = np.random.default_rng(0)
    one = rng.normal(-400, 300, (30, 512, 512)).astype(np.int16)
    return CTVolume(np.concatenate([one] * 10), np.diag([0.7, 0.7, 1.0, 1.0]), "quick")


def lateness(workflow: Workflow, errand: Errand) -> tuple[list[float], set[str]]:
    """How much later than asked each tick of a run came, seconds; and the stages that were seen."""
    late, stages = [], set()
    workflow.start([errand])
    before = time.perf_counter()
    while workflow.busy:
        time.sleep(TICK_S)
        now = time.perf_counter()
        late.append(now - before - TICK_S)
        before = now
        workflow.tick()
        stages.add(workflow.stage)
        before = time.perf_counter()
    return late, stages


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = fake_server(Path(tmp_path_factory.mktemp("server")))
    with running as (url, token):
        yield Address(url, token)


def test_packing_sending_and_unpacking_150_mb_leave_the_main_thread_alone(server: Address) -> None:
    volume, got = large_ct(), []
    assert volume.voxels.nbytes > 150e6
    work = jobs.analyse(server, volume, jobs.Question(explain=("gradcam",)))
    workflow = Workflow()
    late, stages = lateness(workflow, Errand("CT", lambda: work, got.append))
    assert workflow.state == DONE, f"{workflow.message} {workflow.remedy}"
    assert {"packing the CT", "sending the CT", "fetching the results"} <= stages
    # The heatmap of the fake model is as large as the CT, in float32: 315 MB come back.
    assert got[0].heatmaps[0].values.nbytes > 300e6
    share = np.mean(np.array(late) > LATE_S)
    assert len(late) > 100 and share <= MAX_LATE, f"{share:.1%} of {len(late)} ticks late, worst {max(late):.3f} s"


def test_the_measure_sees_a_thread_that_holds_the_interpreter() -> None:
    """The same loop beside work that does hold it: the measure is not blind."""
    numbers = np.random.default_rng(0).random(3_000_000).tolist()

    def holding(talk: object) -> None:
        sorted(numbers)  # one call of C that lets no other thread in

    workflow = Workflow()
    late, _ = lateness(workflow, Errand("numbers", lambda: holding))
    assert workflow.state == DONE and max(late) > LATE_S
