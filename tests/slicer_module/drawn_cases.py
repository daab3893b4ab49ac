"""For tests that draw: the phantom as a whole case, what the machine lacks to draw, and where things are in a picture.

The nodules are those that were planted, the heatmaps are drawn around them: known colours at known places.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Optional

import numpy as np
import pytest
import scene_cases
from LungXAILib.case_results import CaseResults

from shared_models.contract.heatmap_words import FAILED, FIGURES, PASSED, SANITY
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
    away = _distance_mm(volume, centre_lps_mm)
    values = (TOP * np.clip(1 - away / RADIUS_MM, 0, None)).astype(np.float32)
    return Heatmap(
        values, volume.ijk_to_lps, volume.series_uid, "radiology", method, "nodule", scene_cases.PROVENANCE, {}
    )  # fmt: skip


MEASURED = "insertion AUC 0.81, deletion AUC 0.22, IoU 0.65 on 40 nodules"


def doubtful_case(phantom: Any, case_id: str = "case-doubtful") -> CaseResults:
    """The phantom with one map of the first nodule: a hill, a shell around it that speaks against, half as strong,
    and a sanity check that failed. And a measured one without negative values."""
    whole = phantom_case(phantom, case_id)
    volume, centre = phantom.volume, whole.radiology.nodules[0].centre_lps_mm
    far = dataclasses.replace(whole.heatmaps[0], values=_shell(volume, centre))
    signed = dataclasses.replace(
        whole.heatmaps[0],
        method="saliency",
        target="malignancy",
        values=whole.heatmaps[0].values - far.values,
        parameters={SANITY: FAILED, FIGURES: MEASURED},
    )
    measured = dataclasses.replace(whole.heatmaps[0], parameters={SANITY: PASSED, FIGURES: MEASURED})
    return dataclasses.replace(whole, heatmaps=(signed, measured))


def _shell(volume: Any, centre_lps_mm: Any) -> np.ndarray:
    """TOP / 2 at 18 mm from the centre, falling to 0 within 4 mm of it."""
    away = _distance_mm(volume, centre_lps_mm)
    return (TOP / 2 * np.clip(1 - np.abs(away - 18.0) / 4.0, 0, None)).astype(np.float32)


def _distance_mm(volume: Any, centre_lps_mm: Any) -> np.ndarray:
    k, j, i = np.indices(volume.voxels.shape, dtype=np.float32)
    away = [volume.ijk_to_lps[a, 0] * i + volume.ijk_to_lps[a, 1] * j + volume.ijk_to_lps[a, 2] * k for a in range(3)]
    return np.sqrt(sum((away[a] + volume.ijk_to_lps[a, 3] - centre_lps_mm[a]) ** 2 for a in range(3)))


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
