"""The 3D Slicer application over slicer-core: what SlicerLungXAI.py asks of it, no more.

install()   puts ``qt``, ``ctk``, ``slicer.app`` and the like in place, through pytest's monkeypatch, which undoes it
"""

from __future__ import annotations

import os
import sys
import types
import typing
from typing import Any, Callable, Optional

from .qt_names import application, qt_names
from .widgets import by_name, load_ui, qMRMLWidget


class Settings:
    """A QSettings of this process only."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def value(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def setValue(self, name: str, value: Any) -> None:  # noqa: N802
        self.values[name] = value


class App:
    """slicer.app."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.slots: dict[str, list[Callable[[], None]]] = {}

    def userSettings(self) -> Settings:  # noqa: N802
        return self.settings

    def connect(self, signal: str, slot: Callable[[], None]) -> None:
        self.slots.setdefault(signal, []).append(slot)


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """As in Slicer: made with a parent that has a layout; resources lie beside the module's file."""

    module_path = ""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.layout = parent.layout()

    def setup(self) -> None:
        return None

    def resourcePath(self, name: str) -> str:  # noqa: N802
        return os.path.join(os.path.dirname(self.module_path), "Resources", name)


class ScriptedLoadableModuleLogic:
    """Keeps one vtkMRMLScriptedModuleNode in the scene, where there is such a class, else a text node."""

    def getParameterNode(self) -> Any:  # noqa: N802
        import slicer

        scene = slicer.mrmlScene
        found = scene.GetSingletonNode("SlicerLungXAI", "vtkMRMLTextNode")
        if found is None:
            found = slicer.vtkMRMLTextNode()
            found.SetSingletonTag("SlicerLungXAI")
            found.SetName("SlicerLungXAI")
            found = scene.AddNode(found)
        return found


class ScriptedLoadableModuleTest:
    def __init__(self) -> None:
        self.said: list[str] = []

    def delayDisplay(self, text: str) -> None:  # noqa: N802
        self.said.append(text)


class WithinRange:
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


def parameter_node_wrapper(kind: type) -> type:
    """Typed properties kept in a node's attributes; connectGui() binds the widgets that name a parameter."""
    hints = typing.get_type_hints(kind)
    defaults = {name: getattr(kind, name, None) for name in hints}

    def made(name: str, plain: Any) -> property:
        def get(self: Any) -> Any:
            text = self.parameterNode.GetAttribute(name)
            if plain in (float, str):
                return (defaults[name] if defaults[name] is not None else plain()) if text is None else plain(text)
            return None if not text else self.parameterNode.GetScene().GetNodeByID(text)

        def put(self: Any, value: Any) -> None:
            plain_value = str(value) if plain in (float, str) else "" if value is None else value.GetID()
            self.parameterNode.SetAttribute(name, plain_value)

        return property(get, put)

    def init(self: Any, node: Any) -> None:
        self.parameterNode, self.bound = node, []

    def connect_gui(self: Any, gui: Any) -> int:
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if not name:
                continue
            assert name in hints, f"{widget.objectName()} names a parameter that is not there: {name}"
            self.bound.append(_bind(self, name, widget))
        return 1

    def disconnect_gui(self: Any, tag: int) -> None:
        while self.bound:
            self.bound.pop()()

    members = {name: made(name, plain) for name, plain in hints.items()}
    return type(kind.__name__, (), {
        **members, "__init__": init, "connectGui": connect_gui, "disconnectGui": disconnect_gui, "allParameters": hints,
    })  # fmt: skip


def _bind(parameters: Any, name: str, widget: Any) -> Callable[[], None]:
    value = getattr(parameters, name)
    if hasattr(widget, "currentNode"):
        if value is not None:
            widget.setCurrentNode(value)

        def changed(*_: Any) -> None:
            setattr(parameters, name, widget.currentNode())

        widget.connect("currentNodeChanged(vtkMRMLNode*)", changed)
        return lambda: widget.disconnect("currentNodeChanged(vtkMRMLNode*)", changed)
    signal = widget.textChanged if hasattr(widget, "textChanged") else widget.valueChanged
    (widget.setText if hasattr(widget, "textChanged") else widget.setValue)(value)

    def put(new: Any) -> None:
        setattr(parameters, name, new)

    signal.connect(put)
    return lambda: signal.disconnect(put)


def install(monkeypatch: Any, logics: Any, module_path: str) -> types.SimpleNamespace:
    """Put the stand-ins in place.

    Returns
    -------
    Namespace with ``app``, ``qt``, ``parent`` (widget for the module) and ``sample_data`` (what was registered).
    """
    import slicer

    application()
    qt = qt_names()
    app = App()
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for kind in (
        ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest,
    ):  # fmt: skip
        setattr(scripted, kind.__name__, kind)
    monkeypatch.setattr(ScriptedLoadableModuleWidget, "module_path", module_path)
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper.WithinRange, wrapper.parameterNodeWrapper = WithinRange, parameter_node_wrapper  # type: ignore[attr-defined]
    registered: list[dict[str, Any]] = []
    sample_data = types.ModuleType("SampleData")
    sample_data.SampleDataLogic = types.SimpleNamespace(  # type: ignore[attr-defined]
        registerCustomSampleDataSource=lambda **given: registered.append(given)
    )
    for name, module in {
        "qt": qt,
        "ctk": types.ModuleType("ctk"),
        "slicer.ScriptedLoadableModule": scripted,
        "slicer.parameterNodeWrapper": wrapper,
        "SampleData": sample_data,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "SlicerLungXAI", raising=False)
    monkeypatch.setattr(slicer, "app", app, raising=False)
    monkeypatch.setattr(slicer, "mrmlScene", logics.scene, raising=False)
    monkeypatch.setattr(slicer.util, "loadUI", load_ui)
    monkeypatch.setattr(slicer.util, "childWidgetVariables", by_name)
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: dict(os.environ))
    if not hasattr(slicer.util, "VTKObservationMixin"):
        monkeypatch.setattr(slicer.util, "VTKObservationMixin", VTKObservationMixin, raising=False)
    monkeypatch.setattr("LungXAILib.logics.SceneLogics.of_slicer", classmethod(lambda cls: logics))
    parent = qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    return types.SimpleNamespace(app=app, qt=qt, parent=parent, sample_data=registered)


class VTKObservationMixin:
    def __init__(self) -> None:
        self.observed: list[tuple[Any, int]] = []

    def addObserver(self, subject: Any, event: Any, method: Optional[Callable[[Any, Any], None]]) -> None:  # noqa: N802
        self.observed.append((subject, subject.AddObserver(event, method)))

    def removeObservers(self) -> None:  # noqa: N802
        for subject, tag in self.observed:
            subject.RemoveObserver(tag)
        self.observed.clear()
