"""For tests that draw: the phantom as a whole case, what the machine lacks to draw, and where things are in a picture.

The nodules are those that were planted, the heatmaps are drawn around them: known colours at known places.
"""

from __future__ import annotations

import functools
from typing import Any, Optional

import numpy as np
import pytest
import scene_cases
from LungXAILib.case_results import CaseResults

from shared_models.contract.results import Heatmap, LabelVolume

TOP = 4.0  # the largest value of each heatmap
RADIUS_MM = 14.0


@functools.lru_cache(maxsize=1)
def _problem() -> Optional[str]:
    from LungXAILib.rendering import rendering_problem

    return rendering_problem()


def require_drawing() -> None:
    """Skip, with the reason, where nothing can be drawn."""
    if _problem() is not None:
        pytest.skip(str(_problem()))


def phantom_case(phantom: Any, case_id: str = "case-drawn", **other: Any) -> CaseResults:
    """The phantom with its two planted nodules, and a heatmap of each method: a hill over one nodule each."""
    from shared_models.geometry import resampled

    volume, truth = phantom.volume, phantom.truth
    labels = resampled(truth.labels, truth.ijk_to_lps, volume.ijk_to_lps, volume.voxels.shape, labels=True)
    labels = labels.astype(np.uint8)
    found = tuple(scene_cases.nodule(volume, labels, label) for label in (1, 2))
    fields = {
        "radiology": scene_cases.radiology(volume, found),
        "mask": LabelVolume(labels, volume.ijk_to_lps, volume.series_uid),
        "heatmaps": (
            hill(volume, found[0].centre_lps_mm, "gradcam"),
            hill(volume, found[1].centre_lps_mm, "integrated_gradients"),
        ),
        "fusion": scene_cases.fusion(slide=False),
        **other,
    }
    return scene_cases.case(volume, case_id, **fields)


def hill(volume: Any, centre_lps_mm: Any, method: str) -> Heatmap:
    """TOP at the centre, falling in a line to 0 at RADIUS_MM."""
    k, j, i = np.indices(volume.voxels.shape, dtype=np.float32)
    away = [volume.ijk_to_lps[a, 0] * i + volume.ijk_to_lps[a, 1] * j + volume.ijk_to_lps[a, 2] * k for a in range(3)]
    square = sum((away[a] + volume.ijk_to_lps[a, 3] - centre_lps_mm[a]) ** 2 for a in range(3))
    values = (TOP * np.clip(1 - np.sqrt(square) / RADIUS_MM, 0, None)).astype(np.float32)
    return Heatmap(
        values, volume.ijk_to_lps, volume.series_uid, "radiology", method, "nodule", scene_cases.PROVENANCE, {}
    )  # fmt: skip


def pixel_of(view: Any, lps_mm: Any) -> tuple[int, int]:
    """(row, column) in a slice view's picture of a point, by the slice node's own matrix."""
    import vtk

    to_ras = view.get_view_node().GetXYToRAS()
    back = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(to_ras, back)
    x, y, _, _ = back.MultiplyPoint((*scene_cases.lps_to_ras(lps_mm), 1.0))
    return view.render_window().GetSize()[1] - 1 - round(y), round(x)


def near(picture: np.ndarray, colour: Any, tolerance: float = 60.0) -> np.ndarray:
    """bool (rows, columns): which pixels have this colour, 0 to 1, about."""
    return np.abs(picture.astype(float) - 255 * np.asarray(colour)).sum(axis=2) < tolerance
