"""Colours in the scene: the heat ramp and the classes are those of the contract, the same in QuPath and the report.

heat_node()       the procedural colour node of all heatmaps, and another one of what speaks against; one each a scene
two_sided_node()  a colour table of both ramps, for a blend of the two; fade_below() hides its middle
nodule_colour()   of a nodule's outline, surface and markup: tells nodules apart, and means nothing else
rgb()             0 to 255 as 0 to 1
"""

from __future__ import annotations

from typing import Any

from shared_models.contract import colours
from shared_models.contract.colours import RGB, heat_colour

from .naming import nodes_by_class

HEAT_NAME = "LungXAI heat (viridis)"
AGAINST_NAME = "LungXAI heat against (purples)"
BOTH_NAME = "LungXAI heat, for and against"
HEAT_ATTRIBUTE = "LungXAI.HeatColours"
_STEPS = 20
_TABLE = 256


def rgb(colour: RGB) -> tuple[float, float, float]:
    """A colour of 0 to 255 as VTK has it, 0 to 1."""
    red, green, blue = colour
    return red / 255.0, green / 255.0, blue / 255.0


def nodule_colour(label: int) -> tuple[float, float, float]:
    """Colour of the nodule with ``label``, 0 to 1; they repeat after six."""
    return rgb(colours.nodule_colour(label))


def heat_node(scene: Any, against: bool = False) -> Any:
    """The scene's procedural colour node of a heat ramp: 0 is the least of a map's window, 1 the most.

    Parameters
    ----------
    against : the ramp of what speaks against a target
    """
    import vtk

    side = "against" if against else "1"
    for node in nodes_by_class(scene, "vtkMRMLProceduralColorNode"):
        if node.GetAttribute(HEAT_ATTRIBUTE) == side:
            return node
    node = scene.CreateNodeByClass("vtkMRMLProceduralColorNode")
    node.UnRegister(None)
    node.SetName(AGAINST_NAME if against else HEAT_NAME)
    node.SetAttribute(HEAT_ATTRIBUTE, side)
    ramp = vtk.vtkDiscretizableColorTransferFunction()
    for step in range(_STEPS + 1):
        ramp.AddRGBPoint(step / _STEPS, *rgb(heat_colour(step / _STEPS, against)))
    node.SetAndObserveColorTransferFunction(ramp)
    scene.AddNode(node)
    return node


def two_sided_node(scene: Any) -> Any:
    """A new colour table: its lower half is the ramp of what speaks against, the most at its end, its upper half the
    ramp of what speaks for."""
    node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetName(BOTH_NAME)
    node.SetTypeToUser()
    node.SetNumberOfColors(_TABLE)
    for index in range(_TABLE):
        side = _side(index)
        node.SetColor(index, f"{side:+.2f}", *rgb(heat_colour(abs(side), side < 0)), 1.0)
    scene.AddNode(node)
    return node


def fade_below(table: Any, threshold: float) -> None:
    """Make the middle of a two-sided table transparent: all that is weaker than ``threshold``, 0 to 1."""
    modifying = table.StartModify()
    for index in range(_TABLE):
        # The innermost step of each side holds 0, which says nothing.
        table.SetOpacity(index, 0.0 if abs(_side(index)) < max(threshold, 2.0 / _TABLE) else 1.0)
    table.EndModify(modifying)


def _side(index: int) -> float:
    """Middle of a step of a two-sided table, -1 to 1."""
    return (2 * index + 1) / _TABLE - 1.0
