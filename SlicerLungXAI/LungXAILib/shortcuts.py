"""Keyboard shortcuts of the panel: made when the module is entered, gone when it is left.

SHORTCUTS   keys to the button that they press, and what that does
keys_for()  the keys of a button, for its tooltip
install()   makes them; the function that takes them away again
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from .widgets import Connections

# Ctrl+Shift with a letter: none of these is taken by 3D Slicer's main window.
SHORTCUTS: Mapping[str, str] = {
    "Ctrl+Shift+A": "analyseButton",
    "Ctrl+Shift+K": "cancelButton",
    "Ctrl+Shift+J": "nextNoduleButton",
    "Ctrl+Shift+U": "fuseButton",
    "Ctrl+Shift+O": "reportButton",
}


def keys_for(button: str) -> str:
    """The keys that press ``button``; empty where there are none."""
    return next((keys for keys, name in SHORTCUTS.items() if name == button), "")


def install(qt: Any, ui: Any, parent: Any) -> Callable[[], None]:
    """Make the shortcuts.

    Parameters
    ----------
    qt : Qt's classes under one name, as Slicer has them
    ui : the panel's widgets
    parent : widget whose window they belong to
    """
    made, connections = [], Connections()
    for keys, name in SHORTCUTS.items():
        shortcut = qt.QShortcut(qt.QKeySequence(keys), parent)
        # A disabled button does nothing when it is clicked, so a shortcut cannot start what the state forbids.
        connections.add(shortcut.activated, getattr(ui, name).click)
        made.append(shortcut)

    def remove() -> None:
        connections.undo()
        for shortcut in made:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        made.clear()

    return remove
