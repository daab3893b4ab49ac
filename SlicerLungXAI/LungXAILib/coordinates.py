"""The one file that turns RAS (Slicer) into LPS (the contract) and back, and numpy matrices into VTK's.

turned()                     points between RAS and LPS, mm; its own inverse
turned_affine()              an affine to RAS as one to LPS; its own inverse
array_of(), vtk_matrix()     4 x 4 matrices
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_models.contract.values import Array

_TURN = np.array([-1.0, -1.0, 1.0])


def turned(points: Any) -> Array:
    """Points (..., 3) in RAS mm as LPS mm, or the other way round."""
    return np.asarray(points, dtype=np.float64) * _TURN


def turned_affine(affine: Array) -> Array:
    """Affine (4, 4) to RAS as one to LPS, or the other way round."""
    return np.diag([*_TURN, 1.0]) @ affine


def array_of(matrix: Any) -> Array:
    """float64 (4, 4) of a vtkMatrix4x4."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def vtk_matrix(affine: Array) -> Any:
    """vtkMatrix4x4 of an array (4, 4)."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(affine[row, column]))
    return matrix
