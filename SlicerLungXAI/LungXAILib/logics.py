"""SceneLogics: a MRML scene and the module logics that results need.

SceneLogics.of_slicer()   of the running application
SceneLogics.headless()    of slicer-core, without a screen; also over a scene and application logic made elsewhere
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional


@dataclass(frozen=True, eq=False)
class SceneLogics:
    """A scene and its logics; each is the MRML object of its name.

    Parameters
    ----------
    scene : vtkMRMLScene
    application : vtkSlicerApplicationLogic
    volumes, segmentations, markups, subject_hierarchy, terminologies, colours : module logics;
        registering them makes the scene know their nodes
    """

    scene: Any
    application: Any
    volumes: Any
    segmentations: Any
    markups: Any
    subject_hierarchy: Any
    terminologies: Any
    colours: Any

    @classmethod
    def of_slicer(cls) -> SceneLogics:
        """Of the running 3D Slicer."""
        import slicer

        modules = slicer.modules
        volumes = modules.volumes.logic()
        return cls(
            scene=volumes.GetMRMLScene(),
            application=volumes.GetMRMLApplicationLogic(),
            volumes=volumes,
            segmentations=modules.segmentations.logic(),
            markups=modules.markups.logic(),
            subject_hierarchy=modules.subjecthierarchy.logic(),
            terminologies=modules.terminologies.logic(),
            colours=modules.colors.logic(),
        )

    @classmethod
    def headless(cls, scene: Optional[Any] = None, application: Optional[Any] = None) -> SceneLogics:
        """Over slicer-core, without Qt or a screen.

        Parameters
        ----------
        scene, application : of a program that has its own (trame-slicer's SlicerApp); logics that it has registered
            are taken, missing ones are added. Without them both are made.
        """
        import slicer

        if scene is None:
            scene = slicer.vtkMRMLScene()
        if application is None:
            application = slicer.vtkSlicerApplicationLogic()
            application.SetMRMLScene(scene)
            application.GetColorLogic().SetMRMLScene(scene)
            application.GetColorLogic().AddDefaultColorNodes()
            # Without slice views of an application these stay empty, but loading a scene looks into them.
            import vtk

            application.SetSliceLogics(vtk.vtkCollection())
            application.SetViewLogics(vtk.vtkCollection())
            # A scene bundle is packed here.
            application.SetTemporaryPath(tempfile.gettempdir())

        def logic(name: str, kind: Any) -> Any:
            found = application.GetModuleLogic(name)
            return found if found is not None else _registered(name, kind(), scene, application)

        logics = cls(
            scene=scene,
            application=application,
            colours=logic("Colors", slicer.vtkMRMLColorLogic),
            terminologies=logic("Terminologies", slicer.vtkSlicerTerminologiesModuleLogic),
            volumes=logic("Volumes", slicer.vtkSlicerVolumesLogic),
            segmentations=logic("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
            markups=logic("Markups", slicer.vtkSlicerMarkupsLogic),
            subject_hierarchy=logic("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic),
        )
        if not scene.GetClassNameByTag("ColorLegendDisplay"):  # the full colour logic wants an installed Slicer
            scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        return logics


def _registered(name: str, logic: Any, scene: Any, application: Any) -> Any:
    """A module logic made known to the application. Share directory, application, scene: in this order."""
    share = _share_directory(name)
    if share is not None:
        logic.SetModuleShareDirectory(str(share))
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    application.SetModuleLogic(name, logic)
    return logic


def _share_directory(name: str) -> Optional[Path]:
    """Folder with a module's own files. slicer-core ships none; trame-slicer brings the terminologies."""
    if name != "Terminologies":
        return None
    found = importlib.util.find_spec("trame_slicer")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "resources" / "terminologies"
    return folder if folder.is_dir() else None
