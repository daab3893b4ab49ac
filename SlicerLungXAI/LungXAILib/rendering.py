"""Slices and surfaces of a scene as pictures, without a screen: trame-slicer's views over slicer-core.

PLANES, LAYOUT_NAMES     the slice views and what Slicer calls them
WINDOWS                  width and level of the CT windows, HU
rendering_problem()      why nothing can be drawn on this machine, or None
Views                    an axial, a sagittal, a coronal and a 3D view of one scene
  look_at()              puts a CT behind all of them
  show_legends()         draws the colour legend of a heatmap that was put in front of the CT just now
  picture()              what a view shows, as an array
place_mm()               where a slice lies, in words
whole_slice(), kept_whole()   a slice view that shows all of its slice
dressed()                edge letters, scale, orientation marker and notice of one view
save_png()               an array as a file

Needs the extra ``viewer``, and EGL or OSMesa where there is no screen.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import ModelUnavailable
from shared_models.contract.notice import NOTICE
from shared_models.contract.values import Array

from .heat_labels import LEGEND_PLACE
from .logics import SceneLogics
from .naming import nodes_by_class
from .text import tr

PLANES = ("Axial", "Sagittal", "Coronal")
THREE_D = "ThreeD"
WINDOWS = {"lung": (1500.0, -600.0), "mediastinum": (400.0, 40.0)}
BACKGROUND = (13, 17, 23)
_LEGEND_PX = 33  # wide; the words are 13 pixels high then

# Left, right and top edge of each slice view, as Slicer turns them; the scale lies at the bottom.
_EDGES = {"Axial": "RLA", "Sagittal": "APS", "Coronal": "RLS"}
# Axes, of right, anterior and superior, that run across and down each slice view.
_IN_PLANE = {"Axial": (0, 1), "Sagittal": (1, 2), "Coronal": (0, 2)}
# Layout names of the slice views, those of Slicer's default layout.
LAYOUT_NAMES = {"Axial": "Red", "Sagittal": "Yellow", "Coronal": "Green"}
_PROBE = """
import vtkmodules.vtkRenderingOpenGL2, sys
from vtkmodules.vtkRenderingCore import vtkRenderWindow
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(16, 16)
window.Render()
sys.exit(0 if window.SupportsOpenGL() else 3)
"""


def rendering_problem() -> Optional[str]:
    """Why nothing can be drawn here, in words; None where it can.

    Drawn once in a process of its own, for a graphics library that is missing or broken can end the process.
    """
    import importlib.util

    for package in ("slicer_core", "slicer", "trame_slicer"):
        if importlib.util.find_spec(package) is None:
            return tr("The viewer is not installed: run pip install 'lungxai[viewer]'.")
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return tr("The graphics library does not answer.")
    if probe.returncode:
        return tr(
            "Nothing can be drawn without a screen: install libegl1, libegl-mesa0 and libgl1-mesa-dri, or libosmesa6."
        )
    return None


def require_rendering() -> None:
    """Raise ModelUnavailable, with what to install, where nothing can be drawn."""
    problem = rendering_problem()
    if problem is not None:
        raise ModelUnavailable(tr("The viewer cannot draw here."), problem)


@contextmanager
def quiet() -> Iterator[None]:
    """VTK's warnings held back: of events that its next version drops, which trame-slicer still asks for."""
    from vtkmodules.vtkCommonCore import vtkObject

    shown = vtkObject.GetGlobalWarningDisplay()
    vtkObject.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        vtkObject.SetGlobalWarningDisplay(shown)


class Views:
    """Four views of one scene, drawn only when asked.

    They are made before a case is imported: the manager of the colour legends sees only those that come later.

    Parameters
    ----------
    logics : of the scene
    size_px : (width, height) of each picture
    words : lines in the upper left corner of each; the notice that goes with every output is added

    Attributes
    ----------
    slices : plane, of PLANES, to its trame_slicer SliceView
    three_d : trame_slicer ThreeDView
    """

    def __init__(self, logics: SceneLogics, size_px: tuple[int, int] = (600, 600), words: Sequence[str] = ()) -> None:
        from trame_slicer.views import ThreeDView
        from trame_slicer.views.render_scheduler import NoScheduleRendering

        self._logics = logics
        prepare(logics)
        self.slices: dict[str, Any] = {}
        with quiet():
            for plane in PLANES:
                self.slices[plane] = slice_view(logics, plane, NoScheduleRendering())
            self.three_d = ThreeDView(
                logics.scene, logics.application, THREE_D, scheduled_render_strategy=NoScheduleRendering()
            )
            for view in (*self.slices.values(), self.three_d):
                view.render_window().SetMultiSamples(0)
                view.render_window().SetSize(*size_px)
                dressed(view, [*words, tr(NOTICE)])

    def look_at(self, ct_node: Any) -> None:
        """Put a CT behind all slices, whole and centred; it also gives the 3D view its surroundings."""
        look_at(list(self.slices.values()), self.three_d, ct_node)

    def show_legends(self) -> None:
        """Draw the legend of what lies in front of the CT now, in the slices."""
        show_legends(self._logics, self.slices.values())

    def picture(self, name: str) -> Array:
        """What one view shows.

        Parameters
        ----------
        name : of PLANES, or THREE_D

        Returns
        -------
        uint8 (rows, columns, 3), RGB
        """
        view = self.three_d if name == THREE_D else self.slices[name]
        with quiet():
            view.render()
        return pixels(view)

    def close(self) -> None:
        """Give the graphics memory back."""
        for view in (*self.slices.values(), self.three_d):
            view.finalize()


def slice_view(logics: SceneLogics, plane: str, strategy: Any = None) -> Any:
    """A trame_slicer SliceView of one plane, of PLANES; ``strategy`` says when it draws."""
    from slicer import vtkMRMLSliceNode
    from trame_slicer.views import SliceView

    name = LAYOUT_NAMES[plane]
    view = SliceView(logics.scene, logics.application, name, scheduled_render_strategy=strategy)
    view.set_orientation(plane)
    # In 3D the slice shows the whole CT, however far this view is zoomed.
    view.get_view_node().SetSliceResolutionMode(vtkMRMLSliceNode.SliceFOVMatchVolumesSpacingMatch2DView)
    return view


def prepare(logics: SceneLogics) -> None:
    """What views need of a scene that was made without them."""
    import slicer

    if logics.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        logics.scene.AddNode(crosshair)
    slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(logics.application)
    slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(logics.application)


def dressed(view: Any, words: Sequence[str] = ()) -> None:
    """Give one view its edge letters, scale, orientation marker, and words in the upper left corner."""
    from slicer import vtkMRMLAbstractViewNode as ViewNode
    from vtkmodules.vtkRenderingAnnotation import vtkCornerAnnotation

    note = vtkCornerAnnotation()
    note.SetMaximumFontSize(15)
    note.SetMinimumFontSize(10)
    note.SetNonlinearFontScaleFactor(0.4)
    text = note.GetTextProperty()
    text.SetColor(0.93, 0.93, 0.93)
    text.SetShadow(True)
    note.SetText(vtkCornerAnnotation.UpperLeft, "\n".join(words))
    plane = view.get_orientation() if hasattr(view, "get_orientation") else None
    if plane in _EDGES:
        edges = (vtkCornerAnnotation.LeftEdge, vtkCornerAnnotation.RightEdge, vtkCornerAnnotation.UpperEdge)
        for edge, letter in zip(edges, _EDGES[plane]):
            note.SetText(edge, letter)
        view.set_ruler(ViewNode.RulerTypeThin, ViewNode.RulerColorYellow)
        view.set_orientation_marker(ViewNode.OrientationMarkerTypeAxes, ViewNode.OrientationMarkerSizeSmall)
    else:
        view.set_orientation_marker(ViewNode.OrientationMarkerTypeCube, ViewNode.OrientationMarkerSizeSmall)
        view.set_background_color(list(BACKGROUND))
        view.set_box_visible(False)
    view.first_renderer().AddViewProp(note)


def place_mm(view: Any) -> str:
    """Where a slice lies, in words: "S 79.9 mm" is above the origin of the scanner, "R" right of it, "A" before it."""
    axis, below, above = {"Axial": (2, "I", "S"), "Sagittal": (0, "L", "R"), "Coronal": (1, "P", "A")}[
        view.get_orientation()
    ]
    value = view.get_view_node().GetSliceToRAS().GetElement(axis, 3)
    return f"{above if value >= 0 else below} {abs(value):.1f} mm"


def look_at(slice_views: list[Any], three_d: Any, ct_node: Any) -> None:
    """As Views.look_at(), for views made elsewhere."""
    for view in slice_views:
        view.set_background_volume_id(ct_node.GetID())
        view.fit_view_to_content()
    fit_three_d(three_d, ct_node)


def whole_slice(view: Any) -> None:
    """Show the whole slice, without moving it through the CT."""
    place = view.get_slice_value()
    view.fit_view_to_content()
    view.set_slice_value(place)


@contextmanager
def kept_whole(slice_views: Sequence[Any], ct_node: Any) -> Iterator[None]:
    """While the views jump: one that showed its whole slice does so afterwards, one that was zoomed in stays so."""
    bounds = [0.0] * 6
    ct_node.GetRASBounds(bounds)
    whole = []
    for view in slice_views:
        across, down, _ = view.get_view_node().GetFieldOfView()
        first, second = _IN_PLANE[view.get_orientation()]
        sides = [bounds[2 * axis + 1] - bounds[2 * axis] for axis in (first, second)]
        if across >= 0.98 * sides[0] and down >= 0.98 * sides[1]:
            whole.append(view)
    yield
    for view in whole:
        whole_slice(view)


def fit_three_d(view: Any, ct_node: Any) -> None:
    """Look at the whole chest from the front and a little from above."""
    bounds = [0.0] * 6
    ct_node.GetRASBounds(bounds)
    camera = view.get_camera_node()
    centre = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    far = 2.35 * max(bounds[2 * axis + 1] - bounds[2 * axis] for axis in range(3))
    camera.SetFocalPoint(*centre)
    camera.SetPosition(centre[0] - 0.35 * far, centre[1] + 0.88 * far, centre[2] + 0.32 * far)
    camera.SetViewUp(0.0, 0.0, 1.0)
    view.renderer().ResetCameraClippingRange()


def show_legends(logics: SceneLogics, views: Iterable[Any]) -> None:
    """Draw the legend of what lies in front of the CT now, in ``views`` and in no other.

    Its manager does not see that a volume came to the front, so the legends are touched. It scales their words to the
    bar's width, so that width is kept small.
    """
    views = list(views)
    width = max(view.render_window().GetSize()[0] for view in views)
    for legend in nodes_by_class(logics.scene, "vtkMRMLColorLegendDisplayNode"):
        legend.SetViewNodeIDs([view.get_view_node_id() for view in views])
        legend.SetSize(_LEGEND_PX / width, 0.4)
        legend.SetPosition(*LEGEND_PLACE)
        legend.Modified()


def pixels(view: Any) -> Array:
    """What a view has drawn last: uint8 (rows, columns, 3), RGB, the top row first."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

    grab = vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.ShouldRerenderOff()
    grab.SetInputBufferTypeToRGB()
    grab.Update()
    image = grab.GetOutput()
    columns, rows, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1].copy()


def save_png(picture: Array, path: Path) -> None:
    """Write an array (rows, columns, 3) of uint8."""
    from PIL import Image

    Image.fromarray(picture).save(path, optimize=True)
