"""PySide6's classes under one name; without a screen."""

import os
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


class _Names(types.ModuleType):
    """Looks a class up in each part of PySide6, which makes its classes when they are asked for."""

    def __getattr__(self, name: str):
        from PySide6 import QtCore, QtGui, QtWidgets

        for part in (QtCore, QtGui, QtWidgets):
            if name.startswith("Q") and hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(name)


def qt_names() -> types.ModuleType:
    """A module like Slicer's ``qt``."""
    return _Names("qt", "stand-in")


def application():
    """The one QApplication of this process."""
    from PySide6.QtWidgets import QApplication

    return QApplication.instance() or QApplication([])
