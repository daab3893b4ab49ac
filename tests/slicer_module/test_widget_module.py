"""SlicerLungXAI.py itself, with stand-ins for what only the application has (stand_ins/ beside this): set up, a run to
its end, scenes closed and loaded, clean up. The MRML scene and its logics are the real ones of slicer-core.
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import pytest

pytest.importorskip("PySide6")

from LungXAILib import samples  # noqa: E402
from LungXAILib.naming import nodes_by_class  # noqa: E402
from LungXAILib.practice_server import Behaviour, PracticeServer  # noqa: E402
from LungXAILib.server_connection import Address  # noqa: E402
from LungXAILib.volumes import volume_node  # noqa: E402
from panel_in_test import MODULE, until  # noqa: E402
from stand_ins import slicer_app  # noqa: E402

COARSE = (4.0, 4.0, 6.0)


@pytest.fixture
def app(logics, monkeypatch):
    pytest.importorskip("slicer")
    return slicer_app.install(monkeypatch, logics, str(MODULE / "SlicerLungXAI.py"))


@pytest.fixture
def scripted(app):
    return importlib.import_module("SlicerLungXAI")


@pytest.fixture
def widget(app, scripted):
    made = scripted.SlicerLungXAIWidget(app.parent)
    made.setup()
    yield made
    made.cleanup()


def observers(scene) -> int:
    """How many observers of the events that the widget listens to; asked of VTK itself."""
    return sum(scene.HasObserver(event) for event in (scene.StartCloseEvent, scene.EndCloseEvent, scene.EndImportEvent))


def test_the_module_says_what_it_is_and_offers_its_sample(app, scripted, logics) -> None:
    class Parent:
        pass

    parent = Parent()
    scripted.SlicerLungXAI(parent)
    assert parent.title == "LungXAI" and "not a diagnosis" in parent.helpText and parent.contributors
    for started in app.app.slots["startupCompleted()"]:
        started()
    (sample,) = app.sample_data
    assert sample["category"] == "LungXAI" and Path(sample["thumbnailFileName"]).is_file()
    assert "uris" not in sample, "the sample is downloaded"
    node = sample["customDownloader"](None)
    assert node.GetName() == sample["nodeNames"] and node.GetAttribute("LungXAI.Synthetic") == "1"


def test_a_run_from_the_button_to_the_scene(widget, logics) -> None:
    node = samples.phantom_node(logics)
    widget.ui.ctSelector.refill()
    widget.enter()
    ui, panel = widget.ui, widget.panel
    with PracticeServer() as server:
        ui.urlEdit.setText(server.url)
        ui.tokenEdit.setText(server.token)
        ui.analyseButton.click()
        until(lambda: not panel.workflow.busy, panel.tick)
        assert panel.workflow.state == "done", panel.workflow.message
        assert server.cases["case-1"].synthetic, "the sample was not labelled synthetic"
    assert panel.results.nodes.ct is node and ui.noduleTable.rowCount() == 1
    assert "Synthetic" in ui.summaryLabel.text()
    widget.exit()


def test_the_parameters_are_kept_in_the_scene_and_hold_no_secret(widget, logics) -> None:
    node = samples.phantom_node(logics)
    widget.ui.ctSelector.refill()
    widget.ui.ctSelector.setCurrentNode(node)
    widget.ui.caseEdit.setText("case-77")
    widget.ui.opacitySlider.setValue(0.4)
    widget.ui.tokenEdit.setText("secret-token")
    kept = widget.logic.getParameterNode()
    assert kept.ct is node and kept.caseId == "case-77" and kept.opacity == pytest.approx(0.4)
    values = [kept.parameterNode.GetAttribute(name) or "" for name in kept.parameterNode.GetAttributeNames()]
    assert not any("secret" in value for value in values)
    assert set(kept.allParameters) == {"ct", "place", "caseId", "opacity", "threshold"}


def test_an_emptied_scene_stops_the_job_and_the_widget_goes_on(widget, logics) -> None:
    volume_node(logics, samples.phantom(0, COARSE), "CT")
    ui, panel = widget.ui, widget.panel
    ui.ctSelector.refill()
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        ui.urlEdit.setText(server.url)
        ui.tokenEdit.setText(server.token)
        ui.analyseButton.click()
        until(lambda: server.jobs, panel.tick)
        logics.scene.Clear(False)
        until(lambda: not panel.workflow.busy, panel.tick)
        assert panel.workflow.state == "idle" and server.deleted == ["job-1"]
        assert "scene was closed" in ui.messageLabel.text()
        server.behaviour.job_s = 0.0
        volume_node(logics, samples.phantom(1, COARSE), "another CT")
        ui.ctSelector.refill()
        ui.analyseButton.click()
        until(lambda: not panel.workflow.busy, panel.tick)
        assert panel.workflow.state == "done"


def test_a_loaded_scene_shows_its_cases_again(widget, logics, tmp_path: Path) -> None:
    volume_node(logics, samples.phantom(0, COARSE), "CT")
    ui, panel = widget.ui, widget.panel
    ui.ctSelector.refill()
    with PracticeServer() as server:
        ui.urlEdit.setText(server.url)
        ui.tokenEdit.setText(server.token)
        ui.analyseButton.click()
        until(lambda: not panel.workflow.busy, panel.tick)
    # As a scene file: for a bundle slicer-core lacks a part of the application (see test_scene_bundle.py).
    file = str(tmp_path / "scene.mrml")
    logics.scene.SetRootDirectory(str(tmp_path))
    for node in nodes_by_class(logics.scene, "vtkMRMLStorableNode"):
        storage = node.GetStorageNode() or (node.AddDefaultStorageNode() and node.GetStorageNode())
        if storage is not None:
            extension = storage.GetDefaultWriteFileExtension()
            assert extension, node.GetClassName()
            storage.SetFileName(str(tmp_path / f"{node.GetID()}.{extension}"))
            assert storage.WriteData(node), node.GetName()
    assert logics.scene.Commit(file)
    logics.scene.Clear(False)
    assert ui.noduleTable.rowCount() == 0 and panel.results.nodes is None
    logics.scene.SetURL(file)
    assert logics.scene.Connect()
    assert panel.results.nodes.case_id == "case-1" and ui.noduleTable.rowCount() == 1


def test_the_logic_analyses_from_a_script(app, scripted, logics) -> None:
    node = volume_node(logics, samples.phantom(0, COARSE), "CT")
    with PracticeServer() as server:
        address = Address(server.url, server.token)
        nodes = scripted.SlicerLungXAILogic().analyse(node, address, ("saliency",), "scripted")
    assert nodes.case_id == "scripted" and list(nodes.heatmaps) == [("saliency", "malignancy")]


def test_the_self_test_passes(app, scripted) -> None:
    test = scripted.SlicerLungXAITest()
    test.runTest()
    assert test.said[-1] == "The self-test passed." and len(test.said) == 8


def test_cleaning_up_leaves_no_observer_no_thread_and_no_timer(app, scripted, logics) -> None:
    volume_node(logics, samples.phantom(0, COARSE), "CT")
    threads, seen = set(threading.enumerate()), observers(logics.scene)
    made = scripted.SlicerLungXAIWidget(app.parent)
    made.setup()
    made.enter()
    assert observers(logics.scene) == 3
    timer, selector = made.panel._timer, made.ui.ctSelector
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        made.ui.urlEdit.setText(server.url)
        made.ui.tokenEdit.setText(server.token)
        made.ui.analyseButton.click()
        until(lambda: server.jobs, made.panel.tick)
        made.cleanup()
        assert server.deleted == ["job-1"]
    assert observers(logics.scene) == seen and not timer.isActive() and selector.connected == 0
    until(lambda: not set(threading.enumerate()) - threads)
    made.cleanup()  # a second time does nothing
    logics.scene.Clear(False)
