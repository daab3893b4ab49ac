"""Draws docs/images/panel.png: the panel with a result in it.

    .venv/bin/python tests/slicer_module/draw_panel.py [FILE]

It is drawn by PySide6 without a screen, with stand-ins for ctk and qMRML widgets, and says so: in 3D Slicer the same
.ui file looks like 3D Slicer. The CT is synthetic; the answer is that of the real models on a server of its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Callable

if __name__ == "__main__":
    _REPO = Path(__file__).parents[2]
    sys.path[:0] = [str(_REPO), str(_REPO / "SlicerLungXAI"), str(Path(__file__).parent)]

from LungXAILib import samples
from LungXAILib.logics import SceneLogics
from panel_in_test import Opened

from inference_server.local import LocalServer

CAPTION = "Drawn by PySide6 with stand-in widgets, not by 3D Slicer. Synthetic CT, real models."
_WIDTH = 480


def draw(path: Path, look: Callable[[Opened], None] = lambda opened: None) -> None:
    """Analyse the synthetic CT, fuse, and save a picture of the panel.

    Parameters
    ----------
    look : called with the panel before it is closed
    """
    from PySide6 import QtGui, QtWidgets

    logics = SceneLogics.headless()
    with tempfile.TemporaryDirectory() as folder, LocalServer(None, ready_s=60.0) as (url, token):
        opened = Opened(logics, Path(folder))
        ui, panel = opened.ui, opened.panel
        try:
            opened.load(samples.phantom_node(logics))
            ui.urlEdit.setText(url)
            ui.tokenEdit.setText(token)
            ui.scopeBox.setCurrentIndex(1)
            ui.placePointButton.click()
            for (x, y, z), _ in samples.NODULES:
                ui.placeSelector.currentNode().AddControlPointWorld(-x, -y, z)
            for press in (panel.test_server, panel.analyse):
                press()
                assert opened.finish() == "done", ui.messageLabel.text()
            ui.ageEdit.setText("67")
            ui.sexBox.setCurrentIndex(2)
            ui.smokingBox.setCurrentIndex(2)
            ui.packYearsEdit.setText("38")
            panel.case.fuse()
            assert opened.finish() == "done", ui.messageLabel.text()
            ui.nextNoduleButton.click()
            ui.urlEdit.setText("http://127.0.0.1:8765")
            QtWidgets.QApplication.setStyle("Fusion")
            opened.widget.setFixedWidth(_WIDTH)
            opened.widget.adjustSize()
            opened.widget.show()
            QtWidgets.QApplication.processEvents()
            opened.widget.setFixedSize(_WIDTH, opened.widget.sizeHint().height())
            QtWidgets.QApplication.processEvents()
            shot = opened.widget.grab()
            whole = QtGui.QPixmap(shot.width(), shot.height() + 26)
            whole.fill(QtGui.QColor("#202020"))
            pen = QtGui.QPainter(whole)
            pen.drawPixmap(0, 0, shot)
            pen.setPen(QtGui.QColor("white"))
            font = pen.font()
            font.setPixelSize(11)
            pen.setFont(font)
            pen.drawText(6, shot.height() + 17, CAPTION)
            pen.end()
            path.parent.mkdir(parents=True, exist_ok=True)
            assert whole.save(str(path)), path
            look(opened)
        finally:
            opened.close()
            logics.scene.Clear(True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else _REPO / "docs" / "images" / "panel.png")
