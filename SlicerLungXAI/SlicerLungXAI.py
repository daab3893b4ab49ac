"""LungXAI in 3D Slicer: the four classes that Slicer looks for, and nothing that can be elsewhere.

SlicerLungXAI                what the module is; its sample data
SlicerLungXAIParameterNode   what is kept in the scene
SlicerLungXAIWidget          the panel, handed over to LungXAILib.panel
SlicerLungXAILogic           one CT analysed from a script
SlicerLungXAITest            the self-test

Research use only, not a diagnosis.
"""

# Without "from __future__ import annotations": the parameter node wrapper reads the annotations as types.
import os
from typing import Annotated, Any, Optional, Union

import qt
import slicer
from LungXAILib import jobs, results, samples, self_test
from LungXAILib.batch import chosen
from LungXAILib.logics import SceneLogics
from LungXAILib.panel import Host, Panel
from LungXAILib.preferences import Preferences
from LungXAILib.pump import Talk
from LungXAILib.server_connection import Address
from LungXAILib.text import tr
from LungXAILib.volumes import volume_of
from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from shared_models.contract.notice import NOTICE


class SlicerLungXAI(ScriptedLoadableModule):
    """The module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = tr("LungXAI")
        parent.categories = [tr("Machine Learning")]
        parent.dependencies = ["Volumes", "Segmentations", "Markups", "SubjectHierarchy", "Tables", "Plots"]
        parent.contributors = ["The LungXAI project"]
        parent.helpText = (
            tr("Finds lung nodules on a CT, says what they may be and why, and joins the slide of the same case.")
            + " "
            + tr(NOTICE)
        )
        parent.acknowledgementText = tr("After arXiv 2604.16104; what the models know and do not is on their cards.")
        slicer.app.connect("startupCompleted()", register_samples)


def register_samples() -> None:
    """Offer the synthetic CT in the Sample Data module."""
    import SampleData

    icons = os.path.join(os.path.dirname(__file__), "Resources", "Icons")
    samples.register(SampleData, os.path.join(icons, "SlicerLungXAI.png"))


@parameterNodeWrapper
class SlicerLungXAIParameterNode:
    """What is kept in the scene: no token, no address, nothing of the patient but the pseudonymous case.

    Parameters
    ----------
    ct : the CT that is analysed
    place : point list or box that marks the nodule
    caseId : identifier that CT and slide share
    opacity, threshold : of the heatmap, 0 to 1
    """

    ct: vtkMRMLScalarVolumeNode
    place: Union[vtkMRMLMarkupsFiducialNode, vtkMRMLMarkupsROINode]
    caseId: str  # noqa: N815
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    threshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.25


class SlicerLungXAIWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Optional[SlicerLungXAILogic] = None
        self.panel: Optional[Panel] = None
        self._parameters: Any = None
        self._gui_tag: Any = None

    def setup(self) -> None:
        """Make the panel; called once."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/SlicerLungXAI.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = SlicerLungXAILogic()
        host = Host(
            qt=qt,
            on_node_chosen=_on_node_chosen,
            open_file=lambda path: qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path)),
            variables=slicer.util.startupEnvironment(),
        )
        self.panel = Panel(self.ui, SceneLogics.of_slicer(), host, Preferences(slicer.app.userSettings()))
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.on_scene_start_close)
        self.addObserver(scene, scene.EndCloseEvent, self.on_scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self.on_scene_changed)
        self._bind_parameters()

    def cleanup(self) -> None:
        """The module goes away: nothing is left behind."""
        self.removeObservers()
        self._release_parameters()
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def enter(self) -> None:
        """The module is shown."""
        self._bind_parameters()
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        """The module is left; a job goes on."""
        self._release_parameters()
        if self.panel is not None:
            self.panel.exit()

    def on_scene_start_close(self, caller: Any, event: Any) -> None:
        """The scene is about to be emptied."""
        self._release_parameters()
        if self.panel is not None:
            self.panel.scene_closing()

    def on_scene_changed(self, caller: Any, event: Any) -> None:
        """The scene was emptied, or another one was loaded."""
        self._bind_parameters()
        if self.panel is not None:
            self.panel.results.rescan()

    def _bind_parameters(self) -> None:
        """Tie the widgets to the scene's parameter node."""
        if self._parameters is not None or self.logic is None:
            return
        self._parameters = self.logic.getParameterNode()
        if self._parameters.ct is None:
            self._parameters.ct = next(iter(chosen(slicer.mrmlScene)), None)
        self._gui_tag = self._parameters.connectGui(self.ui)

    def _release_parameters(self) -> None:
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self._parameters = self._gui_tag = None


def _on_node_chosen(widget: Any, callback: Any) -> Any:
    """Call ``callback`` when another node is chosen; the function that ends this."""
    signal = "currentNodeChanged(vtkMRMLNode*)"
    widget.connect(signal, callback)
    return lambda: widget.disconnect(signal, callback)


class SlicerLungXAILogic(ScriptedLoadableModuleLogic):
    """The module from a script; the panel does not need it."""

    def getParameterNode(self) -> Any:  # noqa: N802
        """The parameters, typed."""
        return SlicerLungXAIParameterNode(super().getParameterNode())

    def analyse(
        self,
        ct_node: Any,
        address: Address,
        explain: tuple[str, ...] = ("gradcam",),
        case_id: str = "",
        target: Optional[str] = None,
    ) -> results.CaseNodes:
        """Analyse a CT and put what was found into the scene. Waits until it is done.

        Parameters
        ----------
        ct_node : scalar volume node, HU
        address : of the inference server
        explain : heatmap methods
        case_id : empty makes a new case
        target : what the heatmaps explain, "nodule" or "malignancy"; None leaves it to the server

        Raises
        ------
        LungXAIError : with what to do, in words.
        """
        work = jobs.analyse(address, volume_of(ct_node), jobs.Question(case_id, explain=explain, target=target))
        return results.import_case(SceneLogics.of_slicer(), ct_node, work(Talk()))


class SlicerLungXAITest(ScriptedLoadableModuleTest):
    """The self-test: a synthetic CT, a server in this process without a model, no network."""

    def setUp(self) -> None:  # noqa: N802
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:  # noqa: N802
        self.setUp()
        for step in self_test.run(SceneLogics.of_slicer()):
            self.delayDisplay(step)
        self.delayDisplay(tr("The self-test passed."))
