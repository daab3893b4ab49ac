"""Qt widgets as the panel uses them, in PythonQt (3D Slicer) and PySide6 (tests) alike.

read()          a property: an attribute in PythonQt, a method in PySide6
fill()          a table from rows of text
choices()       the entries of a combo box, its choice kept where it is still there
Connections     signals to slots, all undone at once

Setters (setText, setEnabled, ...) are the same in both and are called as they are. Signals with several signatures
differ, so none is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable


def read(widget: Any, name: str) -> Any:
    """Value of the property ``name``."""
    value = getattr(widget, name, None)
    if value is None:
        value = getattr(widget, "is" + name[0].upper() + name[1:])
    return value() if callable(value) else value


def text_of(widget: Any) -> str:
    """Text of a line edit, without the space around it."""
    return str(read(widget, "text")).strip()


def fill(qt: Any, table: Any, header: Sequence[str], rows: Sequence[Sequence[str]], faint: str) -> None:
    """Put rows of text into a QTableWidget; cells that say ``faint`` are grey and italic."""
    table.clear()
    table.setColumnCount(len(header))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(list(header))
    for row, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(f"{header[column]}: {text}")
            if text == faint:
                font = qt.QFont()
                font.setItalic(True)
                item.setFont(font)
                item.setForeground(qt.QBrush(qt.QColor(119, 119, 119)))
            table.setItem(row, column, item)
    table.resizeColumnsToContents()
    # As high as its rows, within limits: an inner scroll bar beside the panel's own is a nuisance.
    height = 60 + 30 * min(max(len(rows), 1), 6)
    table.setMinimumHeight(height)
    table.setMaximumHeight(height)


def choices(box: Any, texts: Sequence[str]) -> None:
    """Set the entries of a combo box."""
    before = str(read(box, "currentText"))
    blocked = box.blockSignals(True)
    box.clear()
    for text in texts:
        box.addItem(text)
    box.setCurrentIndex(list(texts).index(before) if before in texts else 0 if texts else -1)
    box.blockSignals(blocked)


def choose(box: Any, index: int) -> None:
    """Choose an entry of a combo box without telling anyone."""
    blocked = box.blockSignals(True)
    box.setCurrentIndex(index)
    box.blockSignals(blocked)


class Connections:
    """Signals connected to slots."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, signal: Any, slot: Callable[[], Any]) -> None:
        """Call ``slot()``, without what the signal carries."""

        def called(*_: Any) -> None:
            slot()

        signal.connect(called)
        self._made.append((signal, called))

    def undo(self) -> None:
        """Disconnect everything."""
        for signal, slot in self._made:
            signal.disconnect(slot)
        self._made.clear()
