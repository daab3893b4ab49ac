"""For tests of the panel: the real .ui under PySide6 with stand-ins, the real workflow, a practice server."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any, Callable

MODULE = Path(__file__).parents[2] / "SlicerLungXAI"
UI = MODULE / "Resources" / "UI" / "SlicerLungXAI.ui"


class Opened:
    """A panel over a scene, as SlicerLungXAI.py makes it, and what it asked of the application."""

    def __init__(self, logics: Any, data_dir: Path) -> None:
        from LungXAILib.panel import Host, Panel
        from LungXAILib.preferences import Preferences
        from stand_ins.qt_names import application, qt_names
        from stand_ins.slicer_app import Settings
        from stand_ins.widgets import by_name, load_ui

        application()
        self.logics = logics
        self.widget = load_ui(str(UI))
        self.ui = by_name(self.widget)
        self.widget.setMRMLScene(logics.scene)
        self.files: list[str] = []
        self.settings = Settings()
        host = Host(qt_names(), on_node_chosen, self.files.append, data_dir=data_dir)
        self.panel = Panel(self.ui, logics, host, Preferences(self.settings))

    def point_at(self, server: Any) -> None:
        """Name a server in the panel."""
        self.ui.urlEdit.setText(server.url)
        self.ui.tokenEdit.setText(server.token)

    def load(self, node: Any) -> Any:
        """What happens in Slicer when a volume is added: the selector has it."""
        self.ui.ctSelector.refill()
        self.ui.ctSelector.setCurrentNode(node)
        return node

    def finish(self) -> str:
        """Run the timer's slot until nothing is under way; the state."""
        until(lambda: not self.panel.workflow.busy, self.panel.tick, 300.0)
        return self.panel.workflow.state

    def close(self) -> None:
        """Take it down, and let nothing of it be destroyed later by some other thread."""
        self.panel.close()
        self.widget.deleteLater()
        gc.collect()


def on_node_chosen(widget: Any, callback: Any) -> Any:
    signal = "currentNodeChanged(vtkMRMLNode*)"
    widget.connect(signal, callback)
    return lambda: widget.disconnect(signal, callback)


def until(true: Callable[[], Any], tick: Callable[[], None] = lambda: None, patience_s: float = 60.0) -> None:
    """Tick until ``true`` is; AssertionError when it never is."""
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, "this did not happen in time"
        tick()
        time.sleep(0.01)
