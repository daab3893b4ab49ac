"""The state machine without Qt, against a practice server that is well, slow, dead, old or faulty."""

from __future__ import annotations

import gc
import logging
import threading

import numpy as np
import pytest
from LungXAILib import jobs
from LungXAILib.batch import summary
from LungXAILib.practice_server import Behaviour, PracticeServer
from LungXAILib.pump import Pump, Talk
from LungXAILib.server_connection import Address
from LungXAILib.workflow import CANCELLING, DONE, FAILED, IDLE, RUNNING, Errand, Workflow
from panel_in_test import until

from shared_models.contract.errors import Cancelled, InvalidInput
from shared_models.contract.values import ClinicalFields, CTVolume


def ct(shape=(24, 48, 48), seed=0) -> CTVolume:
    voxels = np.random.default_rng(seed).integers(-1000, 400, shape, dtype=np.int16)
    return CTVolume(voxels, np.diag([2.0, 2.0, 3.0, 1.0]), f"series-{seed}")


def address_of(server) -> Address:
    return Address(server.url, server.token)


WHOLE_LUNG = jobs.Question()


def errand(server, got, question=WHOLE_LUNG, volume=None) -> Errand:
    volume = ct() if volume is None else volume
    return Errand("a CT", lambda: jobs.analyse(address_of(server), volume, question), got.append)


def ran(workflow: Workflow, *errands: Errand) -> str:
    assert workflow.start(errands)
    until(lambda: not workflow.busy, workflow.tick)
    return workflow.state


def test_idle_running_done_and_again() -> None:
    states, got = [], []
    workflow = Workflow(lambda: states.append(workflow.state))
    assert workflow.state == IDLE and not workflow.busy
    with PracticeServer(Behaviour(job_s=0.3)) as server:
        assert workflow.start([errand(server, got, jobs.Question(explain=("gradcam",)))])
        assert workflow.state == RUNNING
        assert not workflow.start([errand(server, got)]), "a second run began during the first"
        stages = set()
        until(lambda: (stages.add(workflow.stage), not workflow.busy)[1], workflow.tick)
        assert workflow.state == DONE and workflow.fraction == 1.0
        assert {"sending the CT", "pretending"} <= stages
        assert [h.method for h in got[0].heatmaps] == ["gradcam"] and len(got[0].radiology.nodules) == 1
        assert ran(workflow, errand(server, got)) == DONE
    assert states[0] == RUNNING and states[-1] == DONE and FAILED not in states
    assert len(got) == 2


def test_a_dead_server_fails_in_words_and_the_module_goes_on() -> None:
    with PracticeServer() as server:
        dead = address_of(server)
    workflow, got = Workflow(), []
    volume = ct()
    assert ran(workflow, Errand("a CT", lambda: jobs.analyse(dead, volume, jobs.Question()), got.append)) == FAILED
    assert "cannot be reached" in workflow.message and workflow.remedy and not got
    with PracticeServer() as server:
        assert ran(workflow, errand(server, got)) == DONE and len(got) == 1


def test_a_server_that_dies_during_a_job_fails_in_words() -> None:
    workflow, got = Workflow(), []
    server = PracticeServer(Behaviour(job_s=30.0))
    with server:
        workflow.start([errand(server, got)])
        until(lambda: server.jobs, workflow.tick)
        server.token = "changed, as by a new start"
        server.behaviour.answer_s = 0.0
        # The stream of the job goes on in its own thread; what follows it is refused.
        server.behaviour.job_s = 0.0
        until(lambda: not workflow.busy, workflow.tick)
    assert workflow.state == FAILED and "token" in workflow.message and not got


@pytest.mark.parametrize(
    ("behaviour", "token", "words"),
    [
        (Behaviour(), "wrong", "token is missing or wrong"),
        (Behaviour(protocol=99), "", "another protocol"),
        (Behaviour(fail="The model ran out of ideas."), "", "ran out of ideas"),
        (Behaviour(lungxai=False), "", "unreadable"),
    ],
    ids=["wrong token", "wrong protocol", "failing job", "not lungxai"],
)
def test_a_server_that_does_not_fit_fails_in_words(behaviour, token, words) -> None:
    workflow, got = Workflow(), []
    with PracticeServer(behaviour) as server:
        address = Address(server.url, token or server.token)
        volume = ct()
        state = ran(workflow, Errand("a CT", lambda: jobs.analyse(address, volume, jobs.Question()), got.append))
    assert state == FAILED and words in workflow.message and workflow.remedy and not got


def test_cancel_stops_the_servers_job() -> None:
    workflow, got = Workflow(), []
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        workflow.start([errand(server, got)])
        until(lambda: server.jobs, workflow.tick)
        workflow.cancel()
        assert workflow.state == CANCELLING
        workflow.cancel()  # a second press changes nothing
        until(lambda: not workflow.busy, workflow.tick)
        assert workflow.state == IDLE and workflow.message == "Cancelled."
        assert server.deleted == ["job-1"] and server.progress("job-1").state == "cancelled"
    assert not got


def test_cancel_stops_an_upload_on_its_way() -> None:
    workflow, got = Workflow(), []
    volume = ct((64, 256, 256))
    with PracticeServer(Behaviour(read_s=0.02)) as server:
        workflow.start([errand(server, got, volume=volume)])
        until(lambda: server.received > 1 << 18, workflow.tick)
        workflow.cancel()
        until(lambda: not workflow.busy, workflow.tick)
        assert workflow.state == IDLE
        assert not server.volumes and not server.jobs, "the upload went on"
        assert server.received < volume.voxels.nbytes // 4
    assert not got


def test_a_job_cancelled_by_another_client_leaves_the_module_idle() -> None:
    workflow, got = Workflow(), []
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        workflow.start([errand(server, got)])
        until(lambda: server.jobs, workflow.tick)
        server.jobs["job-1"].cancelled = True
        until(lambda: not workflow.busy, workflow.tick)
    assert workflow.state == IDLE and "stopped on the server" in workflow.message and not got


def test_cancelling_while_the_server_is_gone_says_that_it_could_not_be_told() -> None:
    workflow = Workflow()
    go = threading.Event()

    def work(talk: Talk) -> None:
        go.wait(10)
        raise InvalidInput("The server cannot be reached.", "Look there.")

    workflow.start([Errand("x", lambda: work)])
    workflow.cancel()
    go.set()
    until(lambda: not workflow.busy, workflow.tick)
    assert workflow.state == IDLE and "could not be told" in workflow.message and workflow.remedy == "Look there."


def test_a_result_that_comes_while_cancelling_is_left_out() -> None:
    workflow, got = Workflow(), []
    go = threading.Event()
    workflow.start([Errand("x", lambda: lambda talk: go.wait(10), got.append)])
    workflow.cancel("The scene was closed.")
    go.set()
    until(lambda: not workflow.busy, workflow.tick)
    assert workflow.state == IDLE and workflow.message == "The scene was closed." and not got


def test_one_that_fails_does_not_stop_the_rest() -> None:
    workflow, got = Workflow(), []

    def colour() -> jobs.Work:
        raise InvalidInput("This is a colour picture.", "Choose a CT.")

    with PracticeServer() as server:
        first, last = errand(server, got, volume=ct(seed=1)), errand(server, got, volume=ct(seed=2))
        assert ran(workflow, first, Errand("a picture", colour), last) == DONE
        assert len(server.cases) == 2
    assert workflow.message == "2 of 3 done." and "failed" in workflow.remedy
    assert [case.radiology.series_uid for case in got] == ["series-1", "series-2"]
    refused = "a picture: This is a colour picture. Choose a CT."
    assert summary(workflow.outcomes) == ["a CT: done", refused, "a CT: done"]


def test_cancelling_a_batch_leaves_the_rest_undone() -> None:
    workflow, got = Workflow(), []
    with PracticeServer(Behaviour(job_s=0.2)) as server:
        workflow.start([errand(server, got, volume=ct(seed=n)) for n in range(3)])
        until(lambda: got, workflow.tick)
        server.behaviour.job_s = 60.0
        until(lambda: len(server.jobs) == 2, workflow.tick)
        workflow.cancel()
        until(lambda: not workflow.busy, workflow.tick)
        assert len(server.jobs) == 2 and server.deleted == ["job-2"]
    assert workflow.state == IDLE and len(got) == 1 and len(workflow.outcomes) == 1


def test_a_fault_while_delivering_is_shown_and_logged(caplog) -> None:
    workflow = Workflow()

    def broken(_: object) -> None:
        raise KeyError("nothing of the patient")

    with caplog.at_level(logging.ERROR, "lungxai.slicer"):
        assert ran(workflow, Errand("x", lambda: lambda talk: 1, broken)) == FAILED
    assert "unexpected" in workflow.message and "nothing of the patient" not in workflow.message
    assert caplog.records[0].exc_info is not None


def test_delivering_that_runs_the_timer_does_not_deliver_twice() -> None:
    got = []
    workflow = Workflow()

    def deliver(value: object) -> None:
        got.append(value)
        workflow.tick()

    assert ran(workflow, Errand("x", lambda: lambda talk: 1, deliver)) == DONE and got == [1]


def test_time_left_is_an_estimate_from_what_has_passed() -> None:
    now = [0.0]
    workflow = Workflow(clock=lambda: now[0])
    go = threading.Event()

    def work(talk: Talk) -> None:
        talk.progress("half", 0.25)
        go.wait(10)

    workflow.start([Errand("x", lambda: work)])
    assert workflow.seconds_left is None
    until(lambda: workflow.fraction == 0.25, workflow.tick)
    now[0] = 10.0
    assert workflow.seconds_left == pytest.approx(30.0)
    go.set()
    until(lambda: not workflow.busy, workflow.tick)
    assert workflow.seconds_left is None


def test_closing_ends_the_thread_and_leaves_the_result_out() -> None:
    before = threading.active_count()
    workflow, got = Workflow(), []
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        workflow.start([errand(server, got)])
        until(lambda: server.jobs, workflow.tick)
        assert workflow.close(10.0)
        assert workflow.state == IDLE and server.deleted == ["job-1"]
    until(lambda: threading.active_count() <= before)
    assert not got


def test_a_pump_that_does_nothing_has_no_thread_and_no_news() -> None:
    pump = Pump()
    assert not pump.busy and pump.drain() == (None, None) and pump.close(0.0)
    talk = Talk()
    talk.stop()
    with pytest.raises(Cancelled):
        talk.wait(10.0)


def test_what_became_garbage_is_never_destroyed_in_the_works_thread() -> None:
    """A widget or a node in a cycle, let go of while work runs: another thread must not be the one that destroys it."""
    where = []

    class Widget:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            where.append(threading.current_thread())

    def busy(talk: Talk) -> int:
        kept = [[n] for n in range(200_000)]  # far more than sets off a collection
        return len(kept)

    workflow = Workflow()
    assert gc.isenabled()
    workflow.start([Errand("x", lambda: busy)])
    assert not gc.isenabled()
    for _ in range(100):
        Widget()
    until(lambda: not workflow.busy, workflow.tick)
    assert gc.isenabled()
    gc.collect()
    assert len(where) == 100 and set(where) == {threading.main_thread()}


def test_points_reclassification_clinical_fields_and_report() -> None:
    workflow, got = Workflow(), []
    volume = ct()
    question = jobs.Question("shared-case", True, ((20.0, 20.0, 30.0), (60.0, 60.0, 40.0)), (), ("saliency",))
    with PracticeServer() as server:
        address = address_of(server)
        assert ran(workflow, errand(server, got, question, volume)) == DONE
        case = got[0]
        assert case.case_id == "shared-case" and case.synthetic and len(case.radiology.nodules) == 2
        # The case is there already, and the CT is not sent again.
        sent = server.received
        assert ran(workflow, errand(server, got, question, volume)) == DONE
        assert len(server.cases) == 1 and server.received - sent < 10_000
        again = jobs.reclassify(address, "shared-case", case.mask, ("saliency",))
        assert ran(workflow, Errand("x", lambda: again, got.append)) == DONE
        assert {n.found_by for n in got[-1].radiology.nodules} == {"hand"}
        fuse = jobs.fuse(address, "shared-case", ClinicalFields(age_years=50.0))
        assert ran(workflow, Errand("x", lambda: fuse, got.append)) == DONE
        assert got[-1].clinical == ClinicalFields(age_years=50.0) and got[-1].fusion.missing == ("pathology",)
        assert ran(workflow, Errand("x", lambda: jobs.report(address, "shared-case"), got.append)) == DONE
        assert "Research use only" in got[-1]
        assert ran(workflow, Errand("x", lambda: jobs.standing(address, "shared-case"), got.append)) == DONE
        assert got[-1]["pathology"] is False and got[-1]["clinical"] is True


def test_methods_that_the_server_has_not_are_not_asked_for() -> None:
    assert jobs.known(("gradcam", "occlusion"), ("occlusion",)) == ("occlusion",)
    assert jobs.known(("gradcam",), None) == ("gradcam",)
