"""Colours in the scene: the heat ramp and the classes are those of the contract, the same in QuPath and the report.

heat_node()       the procedural colour node of all heatmaps; one a scene
nodule_colour()   of a nodule's outline, surface and markup: tells nodules apart, and means nothing else
rgb()             0 to 255 as 0 to 1
"""

from __future__ import annotations

from typing import Any

from shared_models.contract.colours import RGB, heat_colour

HEAT_NAME = "LungXAI heat (viridis)"
HEAT_ATTRIBUTE = "LungXAI.HeatColours"
_STEPS = 20

# Paul Tol's "bright" scheme, told apart by colour-blind readers and bright on a CT.
_NODULES: tuple[RGB, ...] = (
    (238, 102, 119),
    (102, 204, 238),
    (204, 187, 68),
    (170, 51, 119),
    (68, 119, 170),
    (34, 136, 51),
)


def rgb(colour: RGB) -> tuple[float, float, float]:
    """A colour of 0 to 255 as VTK has it, 0 to 1."""
    red, green, blue = colour
    return red / 255.0, green / 255.0, blue / 255.0


def nodule_colour(label: int) -> tuple[float, float, float]:
    """Colour of the nodule with ``label``, 0 to 1; they repeat after six."""
    return rgb(_NODULES[(label - 1) % len(_NODULES)])


def heat_node(scene: Any) -> Any:
    """The scene's procedural colour node of the heat ramp: 0 is the least of a map's window, 1 the most."""
    import vtk

    found = scene.GetNodesByClass("vtkMRMLProceduralColorNode")
    found.UnRegister(None)
    for index in range(found.GetNumberOfItems()):
        node = found.GetItemAsObject(index)
        if node.GetAttribute(HEAT_ATTRIBUTE):
            return node
    node = scene.CreateNodeByClass("vtkMRMLProceduralColorNode")
    node.UnRegister(None)
    node.SetName(HEAT_NAME)
    node.SetAttribute(HEAT_ATTRIBUTE, "1")
    ramp = vtk.vtkDiscretizableColorTransferFunction()
    for step in range(_STEPS + 1):
        ramp.AddRGBPoint(step / _STEPS, *rgb(heat_colour(step / _STEPS)))
    node.SetAndObserveColorTransferFunction(ramp)
    scene.AddNode(node)
    return node
