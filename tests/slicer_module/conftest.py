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


@pytest.fixture
def reload(logics, tmp_path):
    """Save the scene as a bundle, clear it, load it; loading needs the data manager that an application has."""
    import slicer
    from LungXAILib import results

    remote, manager = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    for logic in (remote, manager):
        logic.SetMRMLApplicationLogic(logics.application)
        logic.SetMRMLScene(logics.scene)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(tmp_path))
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()

    def saved_and_loaded() -> list:
        bundle = tmp_path / "case.mrb"
        assert logics.scene.WriteToMRB(str(bundle))
        logics.scene.Clear(False)
        assert results.case_nodes(logics) == []
        assert logics.scene.ReadFromMRB(str(bundle))
        return results.case_nodes(logics)

    yield saved_and_loaded
    remote.RemoveDataIOFromScene()
