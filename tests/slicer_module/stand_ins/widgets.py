"""ctk and qMRML widgets as far as the panel uses them, and loading of a .ui file with them."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Callable, Optional

from PySide6 import QtCore, QtUiTools, QtWidgets


class ctkCollapsibleButton(QtWidgets.QFrame):  # noqa: N801
    """A section with a title that opens and closes."""

    def __init__(self, parent: Optional[QtWidgets.QWidget] = None) -> None:
        super().__init__(parent)
        self._title = QtWidgets.QToolButton(self)
        self._title.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._title.setArrowType(QtCore.Qt.ArrowType.DownArrow)
        self._title.setAutoRaise(True)
        self._title.setCheckable(True)
        self._title.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._title.setStyleSheet("QToolButton { background: palette(button); font-weight: bold; }")
        self._title.clicked.connect(lambda: self.setCollapsed(not self._collapsed))
        self.setContentsMargins(0, 24, 0, 4)
        self._collapsed = False

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        self._title.setGeometry(0, 0, self.width(), 22)

    def setText(self, text: str) -> None:  # noqa: N802
        self._title.setText(text)

    def _text(self) -> str:
        return self._title.text()

    def isCollapsed(self) -> bool:  # noqa: N802
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:  # noqa: N802
        self._collapsed = collapsed
        arrow = QtCore.Qt.ArrowType.RightArrow if collapsed else QtCore.Qt.ArrowType.DownArrow
        self._title.setArrowType(arrow)
        self.setMaximumHeight(26 if collapsed else 16777215)

    text = QtCore.Property(str, _text, setText)
    collapsed = QtCore.Property(bool, isCollapsed, setCollapsed)


class ctkSliderWidget(QtWidgets.QWidget):  # noqa: N801
    """A slider with a spin box."""

    valueChanged = QtCore.Signal(float)  # noqa: N815

    def __init__(self, parent: Optional[QtWidgets.QWidget] = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, 100)
        self._spin = QtWidgets.QDoubleSpinBox()
        row.addWidget(self._slider)
        row.addWidget(self._spin)
        self._slider.valueChanged.connect(lambda n: self._spin.setValue(n / 100))
        self._spin.valueChanged.connect(lambda v: self._slider.setValue(round(100 * v)))
        self._spin.valueChanged.connect(self.valueChanged)
        self.setFocusProxy(self._slider)

    def _value(self) -> float:
        return self._spin.value()

    def setValue(self, value: float) -> None:  # noqa: N802
        self._spin.setValue(value)

    value = QtCore.Property(float, _value, setValue)
    minimum = QtCore.Property(float, lambda self: self._spin.minimum(), lambda self, v: self._spin.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._spin.maximum(), lambda self, v: self._spin.setMaximum(v))
    singleStep = QtCore.Property(  # noqa: N815
        float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v)
    )


class ctkPathLineEdit(QtWidgets.QWidget):  # noqa: N801
    """A path with a button that browses."""

    def __init__(self, parent: Optional[QtWidgets.QWidget] = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._edit = QtWidgets.QLineEdit()
        row.addWidget(self._edit)
        row.addWidget(QtWidgets.QToolButton(text="..."))
        self.setFocusProxy(self._edit)

    def setCurrentPath(self, path: str) -> None:  # noqa: N802
        self._edit.setText(path)

    currentPath = QtCore.Property(str, lambda self: self._edit.text(), setCurrentPath)  # noqa: N815


class qMRMLNodeComboBox(QtWidgets.QComboBox):  # noqa: N801
    """A choice of nodes; ``nodes`` is filled from the scene when it is set and on refill()."""

    def __init__(self, parent: Optional[QtWidgets.QWidget] = None) -> None:
        super().__init__(parent)
        self._nodes: list[Any] = []
        self._types: list[str] = []
        self._none = False
        self._scene: Any = None
        self._slots: list[Callable[..., None]] = []
        self.currentIndexChanged.connect(lambda _: [slot(self.currentNode()) for slot in list(self._slots)])
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)

    def connect(self, signal: str, slot: Callable[..., None]) -> bool:  # type: ignore[override]
        assert signal == "currentNodeChanged(vtkMRMLNode*)"
        self._slots.append(slot)
        return True

    def disconnect(self, signal: str, slot: Callable[..., None]) -> bool:  # type: ignore[override]
        self._slots.remove(slot)
        return True

    @property
    def connected(self) -> int:
        return len(self._slots)

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        self._scene = scene
        self.refill()

    def refill(self) -> None:
        """What the real one does when nodes are added to or removed from its scene."""
        before = self.currentNode()
        self._nodes = [None] if self._none else []
        for kind in self._types:
            found = self._scene.GetNodesByClass(kind)
            found.UnRegister(None)
            self._nodes += [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]
        self.blockSignals(True)
        self.clear()
        self.addItems(["None" if node is None else node.GetName() for node in self._nodes])
        self.blockSignals(False)
        self.setCurrentIndex(-1)
        self.setCurrentNode(before if before in self._nodes else next(iter(self._nodes), None))

    def currentNode(self) -> Any:  # noqa: N802
        place = self.currentIndex()
        return self._nodes[place] if 0 <= place < len(self._nodes) else None

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        if node is not None and node not in self._nodes:
            self.refill()
        self.setCurrentIndex(self._nodes.index(node) if node in self._nodes else -1)

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)

    def _set_none(self, allowed: bool) -> None:
        self._none = allowed

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)  # noqa: N815
    noneEnabled = QtCore.Property(bool, lambda self: self._none, _set_none)  # noqa: N815


class qMRMLWidget(QtWidgets.QWidget):  # noqa: N801
    """The outermost widget: it hands the scene on, as the .ui file's connections say."""

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        for box in self.findChildren(qMRMLNodeComboBox):
            box.setMRMLScene(scene)


_KINDS = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit, qMRMLNodeComboBox, qMRMLWidget)
CUSTOM = {kind.__name__: kind for kind in _KINDS}


class _Loader(QtUiTools.QUiLoader):
    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:  # noqa: N802
        kind = CUSTOM.get(name)
        if kind is None:
            return super().createWidget(name, parent, object_name)
        made = kind(parent)
        made.setObjectName(object_name)
        return made


def load_ui(path: str) -> Any:
    """The widget of a .ui file."""
    file = QtCore.QFile(str(Path(path)))
    assert file.open(QtCore.QIODevice.OpenModeFlag.ReadOnly), path
    loader = _Loader()
    widget = loader.load(file)
    file.close()
    assert widget is not None, loader.errorString()
    return widget


def by_name(widget: Any) -> types.SimpleNamespace:
    """Its widgets by name, as slicer.util.childWidgetVariables() gives them."""
    found = {child.objectName(): child for child in widget.findChildren(QtWidgets.QWidget) if child.objectName()}
    return types.SimpleNamespace(**{name: child for name, child in found.items() if not name.startswith("qt_")})
