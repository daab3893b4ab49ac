"""The module's self-test: a synthetic CT through a practice server into the scene. No model, no network.

run()   every step with its checks; AssertionError where one does not hold

In 3D Slicer it is run by the Test class (Reload & Test), in pytest on slicer-core.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np

from shared_models.contract.heatmap_words import AGAINST, FAILED
from shared_models.contract.values import ClinicalFields

from . import corrections, heat_labels, heatmaps, jobs, nodules, record, results, samples, server_connection
from .batch import chosen
from .logics import SceneLogics
from .practice_server import Behaviour, PracticeServer
from .pump import Work
from .server_connection import Address
from .volumes import volume_of
from .workflow import CANCELLING, DONE, IDLE, RUNNING, Errand, Workflow

_PATIENCE_S = 60.0


def run(logics: SceneLogics) -> Iterator[str]:
    """Run every step; yields what it is about to do, in words."""
    yield "draw a synthetic CT"
    node = samples.phantom_node(logics)
    volume = volume_of(node)
    assert np.array_equal(volume.voxels, samples.phantom().voxels), "voxels of the node differ from what was drawn"
    assert node in chosen(logics.scene), "the CT is not offered for analysis"
    with PracticeServer(Behaviour(signed=True, sanity=FAILED)) as server:
        address = Address(server.url, server.token)
        yield "test the connection"
        assert server_connection.test_connection(server.url, server.token).kind == "ready"
        assert server_connection.test_connection(server.url, "wrong").kind == "wrong_token"
        yield "analyse the CT"
        point = samples.NODULES[0][0]
        question = jobs.Question("selftest", True, (point,), (), ("gradcam", "occlusion"), "nodule")
        cases = _done(lambda: jobs.analyse(address, volume_of(node), question))
        nodes = results.import_case(logics, node, cases[0])
        yield "look at the results"
        sides = ("nodule", f"{AGAINST}nodule")
        assert set(nodes.heatmaps) == {(method, side) for method in ("gradcam", "occlusion") for side in sides}
        assert all(heat_labels.fails(node) for node in nodes.heatmaps.values()), "a failed sanity check is not said"
        found = record.radiology_of(nodes.record).nodules
        assert nodes.table.GetNumberOfRows() == len(found) == 1
        assert np.linalg.norm(np.subtract(found[0].centre_lps_mm, point)) < 3.0, "the nodule is not where it was drawn"
        heatmaps.show(logics, nodes, ("occlusion", sides[1]), 0.5, 0.2)
        heatmaps.compare(logics, nodes, ("occlusion", sides[0]), ("occlusion", sides[1]), 0.5)
        nodules.jump_to(logics, nodes, 0)
        yield "correct and classify again"
        labels = corrections.corrected_labels(nodes)
        again = _done(lambda: jobs.reclassify(address, nodes.case_id, labels, ("gradcam",)))
        nodes = results.import_case(logics, node, again[0])
        assert record.radiology_of(nodes.record).nodules[0].found_by == "hand"
        yield "fuse with clinical fields"
        fields = ClinicalFields(age_years=67.0, smoking="former", pack_years=30.0)
        fused = _done(lambda: jobs.fuse(address, nodes.case_id, fields))
        nodes = results.import_case(logics, node, fused[0])
        fusion = record.fusion_of(nodes.record)
        assert fusion is not None and fusion.missing == ("pathology",)
        assert len(results.case_nodes(logics)) == 1, "a case was imported twice"
        assert "Research use only" in _done(lambda: jobs.report(address, nodes.case_id))[0]
    with PracticeServer(Behaviour(job_s=30.0)) as server:
        yield "cancel a job"
        _cancelled(Address(server.url, server.token), server, node)
    results.remove_case(logics, "selftest")
    logics.scene.RemoveNode(node)


def _done(prepare: Callable[[], Work]) -> list[Any]:
    """What one errand delivers."""
    got: list[Any] = []
    workflow = Workflow()
    assert workflow.start([Errand("self-test", prepare, got.append)])
    _until(workflow, lambda: not workflow.busy)
    assert workflow.state == DONE, f"{workflow.state}: {workflow.message} {workflow.remedy}"
    return got


def _cancelled(address: Address, server: PracticeServer, node: Any) -> None:
    workflow = Workflow()
    work: Work = jobs.analyse(address, volume_of(node), jobs.Question())
    workflow.start([Errand("self-test", lambda: work)])
    _until(workflow, lambda: bool(server.jobs))
    assert workflow.state == RUNNING
    workflow.cancel()
    assert workflow.state == CANCELLING
    _until(workflow, lambda: not workflow.busy)
    assert workflow.state == IDLE, f"{workflow.state}: {workflow.message}"
    assert server.deleted == list(server.jobs), "the server was not told to stop"


def _until(workflow: Workflow, true: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < end, "this did not happen in time"
        workflow.tick()
        time.sleep(0.01)
