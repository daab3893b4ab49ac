"""The panel's words on heatmaps: what is explained, with which methods, how far each map can be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("PySide6")

from LungXAILib.panel import METHOD_CHECKS, TARGETS, Panel  # noqa: E402
from LungXAILib.practice_server import Behaviour, PracticeServer  # noqa: E402
from LungXAILib.preferences import Preferences  # noqa: E402
from panel_in_test import Opened  # noqa: E402
from test_widget_panel import loaded  # noqa: E402

from shared_models.contract.heatmap_words import FAILED, FAILS, UNMEASURED  # noqa: E402
from shared_models.contract.results import CT_TARGETS, METHODS  # noqa: E402

RED = "#b00020"


@pytest.fixture
def opened(logics, tmp_path: Path):
    made = Opened(logics, tmp_path / "server")
    yield made
    made.close()


def test_what_is_explained_can_be_chosen_and_is_remembered(opened: Opened) -> None:
    loaded(opened)
    ui = opened.ui
    assert set(TARGETS) == {None, *CT_TARGETS} and ui.targetBox.count() == len(TARGETS)
    assert ui.targetBox.currentIndex() == 0 and opened.panel.target() is None
    with PracticeServer() as server:
        opened.point_at(server)
        for place, word in enumerate((None, "malignancy", "nodule")):
            ui.targetBox.setCurrentIndex(place)
            ui.analyseButton.click()
            assert opened.finish() == "done", ui.messageLabel.text()
            assert list(server.jobs.values())[-1].body.get("target") == word
        assert [ui.heatmapBox.itemText(i) for i in range(2)] == ["Grad-CAM: nodule", "none"]
        assert Preferences(opened.settings).target == "nodule"
        # The corrected segmentation is explained as the outlined one was.
        ui.targetBox.setCurrentIndex(0)
        ui.reclassifyButton.click()
        assert opened.finish() == "done", ui.messageLabel.text()
        assert list(server.jobs.values())[-1].body["target"] == "nodule"
    Preferences(opened.settings).target = "malignancy"
    again = Panel(ui, opened.logics, opened.panel.host, Preferences(opened.settings))
    assert again.target() == "malignancy"
    again.close()


def test_all_methods_in_one_click_are_those_that_the_server_has(opened: Opened) -> None:
    ui, panel = opened.ui, opened.panel
    assert panel.methods() == ("gradcam",)
    ui.allMethodsButton.click()
    assert panel.methods() == METHODS
    for name in METHOD_CHECKS.values():
        getattr(ui, name).setChecked(False)
    ui.occlusionCheck.setEnabled(False)
    ui.allMethodsButton.click()
    assert panel.methods() == tuple(method for method in METHODS if method != "occlusion")


def test_the_panel_says_how_far_the_map_that_is_shown_can_be_trusted(opened: Opened) -> None:
    loaded(opened)
    ui, scene = opened.ui, opened.logics.scene
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red")
    composite.SetLayoutName("Red")
    with PracticeServer(Behaviour(signed=True, measured="insertion AUC 0.81", sanity=FAILED)) as server:
        opened.point_at(server)
        ui.analyseButton.click()
        assert opened.finish() == "done", ui.messageLabel.text()
    names = [ui.heatmapBox.itemText(i) for i in range(ui.heatmapBox.count())]
    assert names == ["Grad-CAM: malignancy", "Grad-CAM: against malignancy", "none"]
    model, other = ui.heatmapTrustLabel.text().split("\n")
    assert model == "Model: practice, no model" and "50 %" in other and not ui.heatmapTrustLabel.isHidden()
    assert ui.heatmapWarningLabel.text() == f"{FAILS}; insertion AUC 0.81" and not ui.heatmapWarningLabel.isHidden()
    assert RED in ui.heatmapWarningLabel.styleSheet()
    # The controls move the map of what speaks against as they move the other one.
    against = opened.panel.results.nodes.heatmaps["gradcam", "against malignancy"]
    ui.heatmapBox.setCurrentIndex(1)
    ui.opacitySlider.setValue(0.3)
    ui.thresholdSlider.setValue(0.8)
    assert composite.GetForegroundVolumeID() == against.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    assert against.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.8 * 0.5)
    # Both in one view.
    ui.compareBox.setCurrentIndex(1)
    ui.compareModeBox.setCurrentIndex(1)
    assert scene.GetNodeByID(composite.GetForegroundVolumeID()).GetAttribute("LungXAI.Method") == "blend"
    assert ui.heatmapWarningLabel.text().count(FAILS) == 1
    ui.compareModeBox.setCurrentIndex(0)
    assert [line in ui.heatmapTrustLabel.text() for line in names] == [True, True, False]
    ui.compareBox.setCurrentIndex(0)
    ui.heatmapBox.setCurrentIndex(2)
    assert ui.heatmapTrustLabel.isHidden() and ui.heatmapWarningLabel.isHidden()
    # Another case, that nobody measured.
    with PracticeServer() as server:
        opened.point_at(server)
        ui.analyseButton.click()
        assert opened.finish() == "done", ui.messageLabel.text()
    ui.heatmapBox.setCurrentIndex(0)
    assert UNMEASURED in ui.heatmapTrustLabel.text() and ui.heatmapWarningLabel.isHidden()
