"""Where the user pointed: markups -> points and boxes in LPS mm.

start_placing()   a new point list or ROI box, and the mouse ready to place it
pointed()         (points, boxes) of a point list or ROI box, for a question about one nodule
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_models.contract.errors import InvalidInput

from .coordinates import array_of, turned
from .logics import SceneLogics
from .text import tr

Point = tuple[float, ...]
_KINDS = {"point": "vtkMRMLMarkupsFiducialNode", "box": "vtkMRMLMarkupsROINode"}


def start_placing(logics: SceneLogics, kind: str) -> Any:
    """A new markup node, and the mouse in place mode for it.

    Parameters
    ----------
    kind : "point" or "box"
    """
    node = logics.scene.AddNewNodeByClass(_KINDS[kind], tr("This nodule"))
    node.CreateDefaultDisplayNodes()
    selection, interaction = logics.application.GetSelectionNode(), logics.application.GetInteractionNode()
    selection.SetReferenceActivePlaceNodeClassName(_KINDS[kind])
    selection.SetActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(False)
    interaction.SetCurrentInteractionMode(interaction.Place)
    return node


def pointed(node: Any) -> tuple[tuple[Point, ...], tuple[tuple[Point, Point], ...]]:
    """Points and boxes that a markup node gives, in world coordinates.

    Parameters
    ----------
    node : vtkMRMLMarkupsFiducialNode or vtkMRMLMarkupsROINode; a turned ROI gives the box around it

    Raises
    ------
    InvalidInput : nothing is chosen, or nothing was placed yet.
    """
    if node is None:
        raise InvalidInput(tr("No point or box is chosen."), tr("Press Point or Box, then mark the nodule."))
    if node.IsA("vtkMRMLMarkupsROINode"):
        return (), (_box(node),)
    points = []
    for place in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(place) == node.PositionDefined:
            position = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(place, position)
            points.append(tuple(float(x) for x in turned(position)))
    if not points:
        raise InvalidInput(tr("No point was placed yet."), tr("Click on the nodule in a slice view."))
    return tuple(points), ()


def _box(node: Any) -> tuple[Point, Point]:
    size = np.array(node.GetSize(), dtype=np.float64)
    if not (size > 0).all():
        raise InvalidInput(tr("The box has no size yet."), tr("Draw it around the nodule."))
    signs = np.array(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5])).reshape(3, -1).T
    corners = np.column_stack([signs * size, np.ones(8)])
    world = corners @ array_of(node.GetObjectToWorldMatrix()).T
    lps = turned(world[:, :3])
    low, high = lps.min(axis=0), lps.max(axis=0)
    return tuple(float(x) for x in low), tuple(float(x) for x in high)
