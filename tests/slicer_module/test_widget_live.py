"""The panel against the live server with the real models: a synthetic CT, a real answer in the scene, its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PySide6")

from draw_panel import CAPTION, draw  # noqa: E402
from LungXAILib import record, samples  # noqa: E402
from panel_in_test import Opened, until  # noqa: E402

from inference_server import doctor  # noqa: E402
from inference_server.local import LocalServer  # noqa: E402
from shared_models.contract.client import Client  # noqa: E402


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LocalServer(Path(tmp_path_factory.mktemp("live")), ready_s=120.0) as (url, token):
        yield url, token


@pytest.fixture
def opened(logics, tmp_path: Path, live):
    made = Opened(logics, tmp_path / "own server")
    made.ui.urlEdit.setText(live[0])
    made.ui.tokenEdit.setText(live[1])
    made.load(samples.phantom_node(logics))
    yield made
    made.close()


def test_a_point_is_answered_near_the_point_and_a_correction_by_hand(opened: Opened) -> None:
    ui = opened.ui
    ui.scopeBox.setCurrentIndex(1)
    ui.placePointButton.click()
    x, y, z = samples.NODULES[0][0]
    ui.placeSelector.currentNode().AddControlPointWorld(-x, -y, z)
    ui.analyseButton.click()
    assert opened.finish() == "done", ui.messageLabel.text()
    nodes = opened.panel.results.nodes
    (nodule,) = (n for n in record.radiology_of(nodes.record).nodules if n.found_by == "point")
    assert np.linalg.norm(np.subtract(nodule.centre_lps_mm, (x, y, z))) < 9.0
    ui.reclassifyButton.click()
    assert opened.finish() == "done", ui.messageLabel.text()
    assert {n.found_by for n in record.radiology_of(opened.panel.results.nodes.record).nodules} == {"hand"}
    ui.smokingBox.setCurrentIndex(2)
    ui.packYearsEdit.setText("30")
    ui.fuseButton.click()
    assert opened.finish() == "done", ui.messageLabel.text()
    assert ui.adenocarcinomaValue.text().endswith("%") and ui.largeCellValue.text() == "not assessed"
    ui.reportButton.click()
    assert opened.finish() == "done" and "esearch use only" in Path(opened.files[0]).read_text()
    ui.pdfButton.click()
    if not doctor._pdf().ok:  # neither Pango nor a browser here
        assert opened.finish() == "failed" and "PDF" in ui.messageLabel.text()
        return
    assert opened.finish() == "done", ui.messageLabel.text()
    assert Path(opened.files[1]).suffix == ".pdf" and Path(opened.files[1]).read_bytes().startswith(b"%PDF-")


def test_cancel_stops_the_live_servers_job(opened: Opened, live) -> None:
    ui = opened.ui
    ui.caseEdit.setText("to-be-cancelled")
    with Client(*live) as client:

        def job() -> dict:
            known = [case["case_id"] for case in client.cases()]
            jobs = client.case("to-be-cancelled")["jobs"] if "to-be-cancelled" in known else []
            return jobs[0] if jobs else {}

        ui.analyseButton.click()
        until(lambda: job().get("state") == "running", opened.panel.tick, 300.0)
        ui.cancelButton.click()
        assert opened.finish() == "idle"
        until(lambda: job()["state"] == "cancelled", patience_s=300.0)


def test_what_was_pointed_at_is_found_and_the_picture_shows_it(tmp_path: Path) -> None:
    from PySide6.QtGui import QImage

    path = tmp_path / "panel.png"
    draw(path, _look)
    image = QImage(str(path))
    assert image.width() == 480 and image.height() > 1000 and "not by 3D Slicer" in CAPTION
    colours = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
    assert len(colours) > 40


def _look(opened: Opened) -> None:
    ui, nodes = opened.ui, opened.panel.results.nodes
    assert opened.panel.report is None or opened.panel.report.kind == "ready"
    result = record.radiology_of(nodes.record)
    # Pointed at, for whether the search finds them by itself is a matter of the weights, measured elsewhere.
    centres = np.array([nodule.centre_lps_mm for nodule in result.nodules])
    centre, diameter = samples.NODULES[0]
    assert np.linalg.norm(centres - centre, axis=1).min() < diameter / 2
    assert ui.noduleTable.rowCount() == len(result.nodules) and len(nodes.heatmaps) == 1
    assert record.read(nodes.record)["synthetic"] is True
    sha = {entry["weights_sha256"] for entry in record.read(nodes.record)["radiology"]["provenance"]}
    assert sha and all(len(value) == 64 for value in sha)
    assert "not assessed" in {ui.noduleTable.item(0, c).text() for c in range(ui.noduleTable.columnCount())}
    assert ui.adenocarcinomaValue.text().endswith("%") and ui.largeCellValue.text() == "not assessed"
