"""For tests of the Slicer side: a real MRML scene of slicer-core, without a screen."""

import pytest


def _slicer_core() -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'lungxai[viewer]'")
    if not hasattr(slicer, "vtkMRMLScene"):  # this very folder is called slicer, and passes for an empty package
        pytest.skip("slicer-core is not installed: pip install 'lungxai[viewer]'")


@pytest.fixture
def logics():
    """An empty scene with its logics."""
    _slicer_core()
    from LungXAILib.logics import SceneLogics

    made = SceneLogics.headless()
    yield made
    made.scene.Clear(True)


@pytest.fixture(scope="module")
def module_logics():
    """The same, for tests that share what is costly to make; they must not change it."""
    _slicer_core()
    from LungXAILib.logics import SceneLogics

    made = SceneLogics.headless()
    yield made
    made.scene.Clear(True)


class _Listener:
    CallDataType = "string0"

    def __init__(self, said: list) -> None:
        self._said = said

    def __call__(self, caller, event, text) -> None:
        self._said.append(text)


@pytest.fixture
def complaints():
    """What VTK and MRML complain about during a test, errors and warnings, as a list of texts."""
    _slicer_core()
    import vtk

    said: list = []
    window = vtk.vtkOutputWindow()
    for event in ("ErrorEvent", "WarningEvent"):
        window.AddObserver(event, _Listener(said))
    earlier = vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(window)
    yield said
    vtk.vtkOutputWindow.SetInstance(earlier)
