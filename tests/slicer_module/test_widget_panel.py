"""The panel under PySide6 (custom widgets are stand-ins) over a real MRML scene, against a practice server."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6")

from LungXAILib import samples  # noqa: E402
from LungXAILib.practice_server import Behaviour, PracticeServer  # noqa: E402
from LungXAILib.volumes import volume_node  # noqa: E402
from panel_in_test import Opened, until  # noqa: E402

from shared_models.contract.values import CTVolume  # noqa: E402

COARSE = (4.0, 4.0, 6.0)
ALWAYS_FREE = ("testButton", "startServerButton", "analyseButton", "batchButton")


@pytest.fixture
def opened(logics, tmp_path: Path):
    made = Opened(logics, tmp_path / "server")
    yield made
    made.close()


def loaded(opened: Opened, seed: int = 0):
    return opened.load(volume_node(opened.logics, samples.phantom(seed, COARSE), f"CT {seed}"))


def enabled(opened: Opened, *names: str) -> list:
    return [name for name in names if getattr(opened.ui, name).isEnabled()]


def test_without_a_ct_nothing_can_be_analysed(opened: Opened) -> None:
    for_a_case = ("analyseButton", "batchButton", "cancelButton", "fuseButton", "reportButton", "pdfButton")
    assert enabled(opened, *for_a_case) == []
    assert enabled(opened, "testButton", "startServerButton") == ["testButton", "startServerButton"]
    loaded(opened)
    assert enabled(opened, "analyseButton", "batchButton") == ["analyseButton", "batchButton"]


def test_buttons_follow_the_state_of_a_run(opened: Opened) -> None:
    loaded(opened)
    ui = opened.ui
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        opened.point_at(server)
        ui.analyseButton.click()
        assert enabled(opened, *ALWAYS_FREE) == [] and ui.cancelButton.isEnabled()
        until(lambda: server.jobs and "pretending" in ui.stageLabel.text(), opened.panel.tick)
        assert "%" in ui.stageLabel.text() and ui.progressBar.value() > 0
        ui.cancelButton.click()
        assert not ui.cancelButton.isEnabled() and ui.stageLabel.text() == "Stopping ..."
        assert enabled(opened, *ALWAYS_FREE) == []
        assert opened.finish() == "idle" and server.deleted == ["job-1"]
        assert enabled(opened, *ALWAYS_FREE) == list(ALWAYS_FREE) and ui.stageLabel.text() == "Ready."
        server.behaviour.fail, server.behaviour.job_s = "It failed.", 0.0
        ui.analyseButton.click()
        assert opened.finish() == "failed"
        assert ui.messageLabel.text() == "It failed. Try another server." and ui.stageLabel.text() == "Failed."
        server.behaviour.fail = ""
        ui.analyseButton.click()
        assert opened.finish() == "done" and ui.stageLabel.text() == "Done." and not ui.messageLabel.text()
    assert opened.panel._timer.isActive() is False


@pytest.mark.parametrize(
    ("behaviour", "token", "words"),
    [
        (Behaviour(), "wrong", "token is missing or wrong"),
        (Behaviour(protocol=9), "", "another protocol"),
        (None, "", "cannot be reached"),
    ],
    ids=["wrong token", "wrong protocol", "dead"],
)
def test_a_server_that_does_not_fit_leaves_a_message_and_a_free_panel(opened, behaviour, token, words) -> None:
    loaded(opened)
    with PracticeServer(behaviour) as server:
        opened.point_at(server)
        if token:
            opened.ui.tokenEdit.setText(token)
        if behaviour is not None:
            opened.ui.analyseButton.click()
            assert opened.finish() == "failed"
    if behaviour is None:
        opened.ui.analyseButton.click()
        assert opened.finish() == "failed"
    assert words in opened.ui.messageLabel.text()
    assert enabled(opened, *ALWAYS_FREE) == list(ALWAYS_FREE)


def test_the_connection_test_shows_what_it_found(opened: Opened) -> None:
    ui = opened.ui
    with PracticeServer(Behaviour(modalities=("radiology",))) as server:
        opened.point_at(server)
        ui.testButton.click()
        opened.finish()
        assert "no model for pathology" in ui.serverStatusLabel.text()
        assert not ui.serverSection.property("collapsed"), "a section with a warning was closed"
        server.behaviour.modalities = ("radiology", "pathology")
        ui.testButton.click()
        opened.finish()
        assert "Connected" in ui.serverStatusLabel.text() and "Adenocarcinoma" in ui.coverageLabel.text()
        assert ui.serverSection.property("collapsed")
        assert opened.settings.values["LungXAI/ServerUrl"] == server.url
        assert server.token not in str(opened.settings.values), "the token was saved"


def test_the_token_comes_from_a_file(opened: Opened, tmp_path: Path) -> None:
    ui, path = opened.ui, tmp_path / "token"
    with PracticeServer() as server:
        ui.urlEdit.setText(server.url)
        ui.tokenFileEdit.setCurrentPath(str(path))
        ui.testButton.click()
        assert "cannot be read" in ui.serverStatusLabel.text()
        path.write_text(server.token + "\n")
        ui.testButton.click()
        opened.finish()
        assert "Connected" in ui.serverStatusLabel.text()


def test_another_machine_needs_consent_that_is_remembered(opened: Opened) -> None:
    ui = opened.ui
    assert ui.consentCheck.isHidden()
    ui.urlEdit.setText("http://gpu.clinic.example:8765")
    assert not ui.consentCheck.isHidden() and not ui.consentCheck.isChecked()
    ui.testButton.click()
    opened.finish()
    assert "another machine" in ui.serverStatusLabel.text()
    loaded(opened)
    ui.analyseButton.click()
    assert opened.finish() == "failed" and "another machine" in ui.messageLabel.text()
    ui.consentCheck.click()
    ui.urlEdit.setText("http://other.example:8765")
    assert not ui.consentCheck.isChecked(), "consent for one machine passed for another"
    ui.urlEdit.setText("http://gpu.clinic.example:8765")
    assert ui.consentCheck.isChecked()


def test_results_are_shown_jumped_to_drawn_and_compared(opened: Opened) -> None:
    node, ui, scene = loaded(opened), opened.ui, opened.logics.scene
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red")
    composite.SetLayoutName("Red")
    with PracticeServer() as server:
        opened.point_at(server)
        ui.occlusionCheck.setChecked(True)
        ui.analyseButton.click()
        assert opened.finish() == "done"
    nodes = opened.panel.results.nodes
    assert nodes.ct is node and nodes.case_id == ui.caseEdit.text() == "case-1"
    header = [ui.noduleTable.horizontalHeaderItem(c).text() for c in range(ui.noduleTable.columnCount())]
    assert header[:2] == ["Nodule", "Malignancy"]
    row = dict(zip(header, (ui.noduleTable.item(0, c).text() for c in range(len(header)))))
    assert row["Malignancy"] == "70.0 %" and row["Large cell carcinoma"] == "not assessed"
    assert row["Adenocarcinoma"] == "60.0 %"
    assert "1 nodule(s); malignancy of the case: 70.0 %" in ui.summaryLabel.text()
    # A row is clicked: the view is there.
    centre = [0.0, 0.0, 0.0]
    nodes.markups.GetNthControlPointPositionWorld(0, centre)
    ui.noduleTable.setCurrentCell(0, 3)
    placed = [view.GetSliceToRAS().GetElement(i, 3) for i in range(3)]
    assert np.allclose(placed, centre, atol=1e-3)
    ui.nextNoduleButton.click()
    assert ui.noduleTable.currentRow() == 0
    # The first heatmap lies over the CT; sliders and choices move it.
    maps = list(nodes.heatmaps.values())
    assert [ui.heatmapBox.itemText(i) for i in range(3)] == ["Grad-CAM: malignancy", "Occlusion: malignancy", "none"]
    assert composite.GetForegroundVolumeID() == maps[0].GetID()
    ui.opacitySlider.setValue(0.3)
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    ui.thresholdSlider.setValue(0.5)
    assert maps[0].GetDisplayNode().GetLowerThreshold() == pytest.approx(0.5)
    ui.heatmapBox.setCurrentIndex(1)
    assert composite.GetForegroundVolumeID() == maps[1].GetID()
    ui.compareBox.setCurrentIndex(1)
    ui.compareModeBox.setCurrentIndex(1)
    blended = scene.GetNodeByID(composite.GetForegroundVolumeID())
    assert blended not in maps and blended.GetAttribute("LungXAI.Method") == "blend"
    ui.compareBox.setCurrentIndex(0)
    ui.heatmapBox.setCurrentIndex(2)
    assert composite.GetForegroundVolumeID() is None
    shown = nodes.segmentation.GetDisplayNode().GetVisibility3D()
    ui.show3dButton.click()
    assert nodes.segmentation.GetDisplayNode().GetVisibility3D() != shown


def test_this_nodule_from_a_point_and_from_a_box(opened: Opened) -> None:
    loaded(opened)
    ui = opened.ui
    ui.scopeBox.setCurrentIndex(1)
    with PracticeServer() as server:
        opened.point_at(server)
        ui.analyseButton.click()
        assert "No point or box is chosen" in ui.messageLabel.text() and not server.cases
        ui.placePointButton.click()
        point = ui.placeSelector.currentNode()
        interaction = opened.logics.application.GetInteractionNode()
        assert point.IsA("vtkMRMLMarkupsFiducialNode")
        assert interaction.GetCurrentInteractionMode() == interaction.Place
        ui.analyseButton.click()
        assert "No point was placed" in ui.messageLabel.text() and not server.cases
        point.AddControlPointWorld(72.0, -5.0, 118.0)  # RAS
        ui.analyseButton.click()
        assert opened.finish() == "done"
        assert server.jobs["job-1"].body["points_lps_mm"] == [[-72.0, 5.0, 118.0]]
        ui.placeBoxButton.click()
        box = ui.placeSelector.currentNode()
        box.SetCenterWorld(72.0, -5.0, 118.0)
        box.SetSize(20.0, 30.0, 40.0)
        ui.analyseButton.click()
        assert opened.finish() == "done"
        assert server.jobs["job-2"].body["boxes_lps_mm"] == [[[-82.0, -10.0, 98.0], [-62.0, 20.0, 138.0]]]


def test_reclassify_fuse_and_report(opened: Opened) -> None:
    loaded(opened)
    ui = opened.ui
    with PracticeServer() as server:
        opened.point_at(server)
        ui.ageEdit.setText("67")  # typed before there is a case, and kept
        ui.analyseButton.click()
        assert opened.finish() == "done"
        assert ui.ageEdit.text() == "67" and "missing" in ui.pathologyLabel.text()
        ui.reclassifyButton.click()
        assert opened.finish() == "done"
        header = [ui.noduleTable.horizontalHeaderItem(c).text() for c in range(ui.noduleTable.columnCount())]
        assert ui.noduleTable.item(0, header.index("Found by")).text() == "outline of the reader"
        ui.packYearsEdit.setText("many")
        assert ui.packYearsError.text() == "Not a number." and not ui.fuseButton.isEnabled()
        ui.packYearsEdit.setText("30")
        ui.smokingBox.setCurrentIndex(2)
        assert not ui.packYearsError.text() and ui.fuseButton.isEnabled()
        ui.fuseButton.click()
        assert opened.finish() == "done"
        case = server.cases["case-1"]
        assert (case.clinical.age_years, case.clinical.smoking, case.clinical.pack_years) == (67.0, "former", 30.0)
        assert (ui.adenocarcinomaBar.value(), ui.adenocarcinomaValue.text()) == (500, "50.0 %")
        assert (ui.largeCellBar.value(), ui.largeCellValue.text()) == (0, "not assessed")
        assert not ui.largeCellBar.isEnabled()
        cells = [[ui.contributionTable.item(r, c).text() for c in range(3)] for r in range(3)]
        assert cells == [["CT", "1.00", "+0.80"], ["Slide", "missing", "missing"], ["Clinical fields", "0.50", "+0.00"]]
        assert "Missing: Slide." in ui.fusionLabel.text()
        ui.refreshCaseButton.click()
        assert opened.finish() == "done" and "missing" in ui.pathologyLabel.text()
        ui.reportButton.click()
        assert opened.finish() == "done"
        ui.pdfButton.click()
        assert opened.finish() == "failed" and "no pages" in ui.messageLabel.text() and len(opened.files) == 1
    report = Path(opened.files[0])
    assert "Research use only" in report.read_text()
    assert stat.S_IMODE(report.parent.stat().st_mode) == 0o700
    opened.panel.close()
    assert not report.exists()


def test_clinical_fields_of_one_patient_do_not_stay_for_the_next(opened: Opened) -> None:
    ui = opened.ui
    with PracticeServer() as server:
        opened.point_at(server)
        loaded(opened, 1)
        ui.ageEdit.setText("67")
        ui.sexBox.setCurrentIndex(1)
        ui.analyseButton.click()
        assert opened.finish() == "done" and ui.ageEdit.text() == "67"
        ui.fuseButton.click()
        assert opened.finish() == "done"
        loaded(opened, 2)
        assert ui.caseEdit.text() == "", "the next CT would go into the case of the one before"
        ui.analyseButton.click()
        assert opened.finish() == "done" and ui.caseEdit.text() == "case-2"
        assert ui.ageEdit.text() == "" and ui.sexBox.currentIndex() == 0
        ui.shownBox.setCurrentIndex(0)
        assert ui.ageEdit.text() == "67" and ui.sexBox.currentIndex() == 1


def test_a_batch_goes_on_after_one_that_fails_and_says_how_each_went(opened: Opened) -> None:
    first, second = loaded(opened, 1), loaded(opened, 2)
    mask = volume_node(opened.logics, CTVolume(np.zeros((4, 4, 4), np.int16), np.eye(4), "mask"), "A mask")
    opened.load(second)
    ui = opened.ui
    with PracticeServer() as server:
        opened.point_at(server)
        ui.batchButton.click()
        assert opened.finish() == "done"
        assert len(server.cases) == 2
    assert ui.messageLabel.text().startswith("2 of 3 done.")
    lines = [ui.outcomeList.item(i).text() for i in range(ui.outcomeList.count())]
    assert [line.split(":")[0] for line in lines] == [first.GetName(), second.GetName(), mask.GetName()]
    assert lines[0].endswith("done") and "not HU" in lines[2] and not ui.outcomeList.isHidden()
    assert len(opened.panel.results._every) == 2
    # Heatmaps and blends of the run are no CTs.
    with PracticeServer() as server:
        opened.point_at(server)
        ui.batchButton.click()
        opened.finish()
        assert len(server.cases) == 2


def test_a_result_whose_ct_was_deleted_is_left_out_with_a_message(opened: Opened) -> None:
    node = loaded(opened)
    with PracticeServer(Behaviour(job_s=0.3)) as server:
        opened.point_at(server)
        opened.ui.analyseButton.click()
        until(lambda: server.jobs, opened.panel.tick)
        opened.logics.scene.RemoveNode(node)
        assert opened.finish() == "failed"
    message = opened.ui.messageLabel.text()
    assert "closed before its result came" in message and "case-1" in message
    assert opened.panel.results.nodes is None
    assert opened.logics.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_closing_the_scene_stops_the_job(opened: Opened) -> None:
    loaded(opened)
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        opened.point_at(server)
        opened.ui.analyseButton.click()
        until(lambda: server.jobs, opened.panel.tick)
        opened.panel.scene_closing()
        opened.logics.scene.Clear(False)
        assert opened.finish() == "idle" and server.deleted == ["job-1"]
    assert "scene was closed" in opened.ui.messageLabel.text()


def test_deleted_results_are_noticed(opened: Opened) -> None:
    loaded(opened)
    with PracticeServer() as server:
        opened.point_at(server)
        opened.ui.analyseButton.click()
        assert opened.finish() == "done"
    opened.logics.scene.RemoveNode(opened.panel.results.nodes.segmentation)
    opened.ui.show3dButton.click()
    assert "deleted from the scene" in opened.ui.messageLabel.text()
    assert opened.panel.results.nodes is None and not opened.ui.reportButton.isEnabled()


def test_shortcuts_press_buttons_while_the_module_is_shown(opened: Opened) -> None:
    from PySide6.QtGui import QShortcut

    frame = opened.ui.runFrame
    assert frame.findChildren(QShortcut) == []
    opened.panel.enter()
    opened.panel.enter()  # a second time makes no second set
    made = {s.key().toString(): s for s in frame.findChildren(QShortcut)}
    assert set(made) == {"Ctrl+Shift+A", "Ctrl+Shift+K", "Ctrl+Shift+J", "Ctrl+Shift+U", "Ctrl+Shift+O"}
    assert "Ctrl+Shift+A" in opened.ui.analyseButton.toolTip()
    loaded(opened)
    with PracticeServer() as server:
        opened.point_at(server)
        made["Ctrl+Shift+A"].activated.emit()
        assert opened.finish() == "done"
    opened.panel.exit()
    assert frame.findChildren(QShortcut) == []


def test_a_local_server_is_started_used_and_stopped(opened: Opened, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("lungxai")
    if not script.exists():
        pytest.skip("the command lungxai is not installed beside this Python")
    ui = opened.ui
    ui.commandEdit.setCurrentPath(str(script))
    opened.panel.host.variables = dict(os.environ)
    before = ui.urlEdit.text()
    ui.startServerButton.click()
    assert not ui.startServerButton.isEnabled()
    assert opened.finish() == "done", ui.messageLabel.text()
    assert "Connected" in ui.serverStatusLabel.text() and ui.urlEdit.text() != before
    assert enabled(opened, "startServerButton", "stopServerButton") == ["stopServerButton"]
    ui.testButton.click()
    assert opened.finish() == "done" and "Connected" in ui.serverStatusLabel.text()
    process = opened.panel.server._process
    ui.stopServerButton.click()
    assert opened.finish() == "done" and process.poll() is not None and ui.urlEdit.text() == before


def test_closing_the_panel_leaves_no_thread_and_no_timer(logics, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    made = Opened(logics, tmp_path)
    loaded(made)
    with PracticeServer(Behaviour(job_s=60.0)) as server:
        made.point_at(server)
        made.ui.analyseButton.click()
        until(lambda: server.jobs, made.panel.tick)
        timer = made.panel._timer
        assert timer.isActive()
        made.panel.close()
        assert not timer.isActive() and server.deleted == ["job-1"]
        assert made.ui.ctSelector.connected == 0
        made.ui.analyseButton.click()  # a button that is still there does nothing
        assert len(server.jobs) == 1
    until(lambda: not set(threading.enumerate()) - before)


def test_entering_the_module_again_leaves_the_views_as_they_are(opened: Opened) -> None:
    loaded(opened)
    composite = opened.logics.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red")
    with PracticeServer() as server:
        opened.point_at(server)
        opened.ui.analyseButton.click()
        assert opened.finish() == "done"
    opened.panel.enter()
    composite.SetForegroundOpacity(0.123)
    opened.panel.exit()
    opened.panel.enter()
    assert composite.GetForegroundOpacity() == 0.123
