"""For tests of the scene: small CTs on difficult grids, whole cases on them, and where voxels lie according to MRML.

The results in these cases are made up; how they get into a scene is what is tested. The live server is in
test_scene_server.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from LungXAILib.case_results import CaseResults

from shared_models.contract.fusion_result import CLINICAL_FIELDS, LeftOut
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import (
    FusionResult,
    Heatmap,
    LabelVolume,
    Nodule,
    PathologyResult,
    RadiologyResult,
)
from shared_models.contract.values import CLASSES, Abstention, ClinicalFields, CTVolume

SHAPE = (14, 24, 20)
PROVENANCE = Provenance("made up, tests only", "ab" * 32, "test", False, "cpu", ("adenocarcinoma", "squamous_cell"))
SUBTYPE = {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.75, "squamous_cell": 0.25}


def _turned(degrees: Sequence[float], spacing: Sequence[float], origin: Sequence[float]) -> np.ndarray:
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x * np.array(spacing)
    affine[:3, 3] = origin
    return affine


# ijk_to_lps of grids that break code which assumes a plain one.
AFFINES = {
    "plain": np.diag([0.8, 0.8, 2.5, 1.0]),
    "anisotropic": _turned((0, 0, 0), (0.53, 1.7, 4.0), (-101.5, 33.25, -900.0)),
    "oblique": _turned((17, -9, 23), (0.7, 0.7, 1.25), (-40.0, 12.0, 77.0)),
    "left-handed": _turned((5, 0, -12), (0.9, -0.9, 2.0), (10.0, -20.0, 30.0)),
}


def ct(affine: Optional[np.ndarray] = None, seed: int = 0, uid: str = "", shape: Sequence[int] = SHAPE) -> CTVolume:
    """Air with noise and two balls of tissue: no two voxels of a line are alike by accident."""
    random = np.random.default_rng(seed)
    voxels = random.integers(-950, -750, shape, dtype=np.int16)
    for centre in ((4, 8, 6), (10, 16, 14)):
        place = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
        voxels[(place**2).sum(axis=0) <= 8] = random.integers(0, 60)
    return CTVolume(voxels, AFFINES["plain"] if affine is None else affine, uid or f"test-{seed}")


def labels_of(volume: CTVolume) -> np.ndarray:
    """The two balls, as labels 1 and 2."""
    labels = np.zeros(volume.voxels.shape, np.uint8)
    dense = volume.voxels > -500
    labels[dense] = 1
    labels[8:][dense[8:]] = 2
    return labels


def nodule(volume: CTVolume, labels: np.ndarray, label: int, **other: Any) -> Nodule:
    """Nodule ``label`` measured on the labels."""
    index = np.argwhere(labels == label)
    centre = volume.ijk_to_lps @ [*index.mean(axis=0)[::-1], 1.0]
    fields = {
        "centre_lps_mm": tuple(float(x) for x in centre[:3]),
        "long_axis_mm": 8.04 + label,
        "short_axis_mm": 6.26,
        "volume_mm3": float(len(index) * abs(np.linalg.det(volume.ijk_to_lps[:3, :3]))),
        "mean_hu": float(volume.voxels[labels == label].mean()),
        "malignancy": 0.973 if label == 1 else None,
        "subtype": SUBTYPE if label == 1 else dict.fromkeys(CLASSES),
        "found_by": "search",
        "side": {1: "right", 2: "left"}.get(label),
    }
    return Nodule(label=label, **{**fields, **other})


def heatmap(
    volume: CTVolume, method: str = "gradcam", target: str = "nodule", first=(2, 3, 4), size=(6, 7, 8)
) -> Heatmap:
    """Values from 0 to 5, other ones in every voxel, on a crop of the CT's grid; ``first`` is (slice, row, column)."""
    values = np.linspace(0.0, 5.0, int(np.prod(size)), dtype=np.float32).reshape(size)
    affine = np.array(volume.ijk_to_lps)
    affine[:3, 3] += affine[:3, :3] @ np.array(first[::-1], dtype=float)
    parameters = {"layer": "tests", "steps": 3}
    return Heatmap(values, affine, volume.series_uid, "radiology", method, target, PROVENANCE, parameters)


def signed(volume: CTVolume, target: str = "malignancy", method: str = "saliency", **said: Any) -> Heatmap:
    """heatmap() with values from -2 to 5, other ones in every voxel; ``said`` are parameters."""
    plain = heatmap(volume, method, target)
    values = np.linspace(-2.0, 5.0, plain.values.size, dtype=np.float32).reshape(plain.values.shape)
    return dataclasses.replace(plain, values=values, parameters=said)


def pathology() -> PathologyResult:
    origin = np.array([[0, 0], [448, 0]], dtype=np.int64)
    tiles = np.full((2, 5), np.nan, np.float32)
    tiles[:, :2] = 0.5
    both = {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.6, "squamous_cell": 0.4}
    return PathologyResult("slide", 0.9, (448.0, 448.0), origin, tiles, both, (PROVENANCE,))


def fusion(slide: bool = True) -> FusionResult:
    """Two classes assessed; with ``slide`` False the pathology is missing."""
    prior = {"adenocarcinoma": 0.4, "squamous_cell": 0.2, "large_cell": 0.05, "small_cell": 0.05, "normal": 0.3}
    known = {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.62, "squamous_cell": 0.18}
    ct_says = {**dict.fromkeys(CLASSES, 0.4), "normal": -0.7}
    slide_says = {**dict.fromkeys(CLASSES, 0.0), "adenocarcinoma": 1.1, "squamous_cell": -0.6, "normal": -0.2}
    evidence = {"radiology": ct_says, "pathology": slide_says}
    took_part = ("radiology", "pathology") if slide else ("radiology",)
    return FusionResult(
        probabilities=known,
        not_assessed_mass=0.2,
        prior=prior,
        weights=dict(zip(took_part, (0.25, 0.5))),
        contributions={name: evidence[name] for name in took_part},
        missing=tuple(n for n in ("radiology", "pathology", "clinical") if n not in took_part),
        agreement="Both point the same way.",
        provenance=(PROVENANCE,),
    )


def fusion_of_fields() -> FusionResult:
    """With age and sex beside CT and slide; without the slide there is no answer, without the sex another."""
    none = dict.fromkeys(CLASSES, 0.0)
    shares = {
        **{name: none for name in ("smoking", "pack_years")},
        "age_years": {**none, "adenocarcinoma": -0.01, "squamous_cell": 0.02},
        "sex": {**none, "adenocarcinoma": -0.05, "squamous_cell": 0.075},
        "base": {**none, "adenocarcinoma": 0.02, "squamous_cell": -0.0004},
    }
    both = fusion()
    whole = {name: sum(row[name] for row in shares.values()) for name in CLASSES}
    same = LeftOut(both.probabilities, both.not_assessed_mass)
    turned = {**both.probabilities, "adenocarcinoma": 0.3, "squamous_cell": 0.5}
    help_words = Abstention("Nobody can tell.", "A slide.")
    return dataclasses.replace(
        both,
        weights={**both.weights, "clinical": 0.5},
        contributions={**both.contributions, "clinical": whole},
        missing=(),
        field_contributions={name: shares[name] for name in (*CLINICAL_FIELDS, "base")},
        leave_one_out={
            "radiology": same,
            "pathology": LeftOut(dict.fromkeys(CLASSES), 1.0, help_words),
            "clinical": same,
            "age_years": same,
            "sex": LeftOut(turned, 0.2),
        },
    )


def case(volume: CTVolume, case_id: str = "case-1", **other: Any) -> CaseResults:
    """A whole case on a CT of ct()."""
    labels = labels_of(volume)
    if "radiology" not in other:
        other["radiology"] = radiology(volume, tuple(nodule(volume, labels, label) for label in (1, 2)))
    fields = {
        "synthetic": True,
        "mask": LabelVolume(labels, volume.ijk_to_lps, volume.series_uid),
        "heatmaps": (heatmap(volume), heatmap(volume, "integrated_gradients", "malignancy", first=(5, 9, 8))),
        "pathology": pathology(),
        "clinical": ClinicalFields(67.0, "female", "former", 30.0),
        "fusion": fusion(),
        "made": "2026-01-02T03:04:05+00:00",
        "server": {"protocol": 1, "version": "test", "device": "cpu", "models": []},
        "volume_sha256": "cd" * 32,
    }
    return CaseResults(case_id, **{**fields, **other})


def radiology(volume: CTVolume, found: tuple[Nodule, ...]) -> RadiologyResult:
    nothing = None if found else Abstention("No nodule was found.", "Point at one that you see.")
    highest = max((n.malignancy for n in found if n.malignancy is not None), default=None)
    return RadiologyResult(
        volume.series_uid, found, highest, dict.fromkeys(CLASSES), (PROVENANCE,), ("A note.",), nothing
    )


def empty_case(volume: CTVolume, case_id: str = "case-1", **other: Any) -> CaseResults:
    """A case whose CT shows no nodule: an abstention, no outline, no map."""
    nothing = LabelVolume(np.zeros(volume.voxels.shape, np.uint8), volume.ijk_to_lps, volume.series_uid)
    fields = {"radiology": radiology(volume, ()), "mask": nothing, "heatmaps": (), "pathology": None, **other}
    return case(volume, case_id, **fields)


# Where things lie, as MRML itself says; nothing here is of LungXAILib.


def world_of_voxel(node: Any, ijk: Sequence[int]) -> np.ndarray:
    """RAS mm of a voxel of a volume node, with its parent transforms."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return to_world(node, matrix.MultiplyPoint((*map(float, ijk), 1.0))[:3])


def to_world(node: Any, local: Sequence[float]) -> np.ndarray:
    """RAS mm of a point in a node's own frame."""
    moved = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(list(local), moved)
    return np.array(moved)


def segment_voxels(node: Any, segment: str) -> tuple[np.ndarray, Any]:
    """RAS mm (n, 3) of a segment's voxels, and its vtkOrientedImageData."""
    import vtk
    from slicer import vtkOrientedImageData
    from vtk.util.numpy_support import vtk_to_numpy

    image = vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment, image)
    extent = np.array(image.GetExtent()).reshape(3, 2)
    block = vtk_to_numpy(image.GetPointData().GetScalars()).reshape((extent[:, 1] - extent[:, 0] + 1)[::-1])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk = np.argwhere(block)[:, ::-1] + extent[:, 0]
    local = [matrix.MultiplyPoint((*map(float, p), 1.0))[:3] for p in ijk]
    return np.array([to_world(node, p) for p in local]), image


def lps_to_ras(points: Any) -> np.ndarray:
    return np.asarray(points) * (-1.0, -1.0, 1.0)


def transform(logics: Any, degrees=(8.0, -4.0, 30.0), shift=(11.0, -7.0, 5.0)) -> Any:
    """A rigid parent transform in the scene."""
    import vtk

    node = logics.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = vtk.vtkMatrix4x4()
    values = _turned(degrees, (1, 1, 1), shift)
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, values[row, column])
    node.SetMatrixTransformToParent(matrix)
    return node


def slice_views(logics: Any, names: Sequence[str] = ("Red", "Yellow", "Green")) -> dict[str, Any]:
    """Slice views as the application has them, without a window: name to its slice logic."""
    from slicer import vtkMRMLSliceLogic

    made = {}
    for name in names:
        view = vtkMRMLSliceLogic()
        view.SetMRMLScene(logics.scene)
        view.AddSliceNode(name)
        logics.application.GetSliceLogics().AddItem(view)
        made[name] = view
    return made


def node_count(logics: Any) -> dict[str, int]:
    """Nodes in the scene by class."""
    scene = logics.scene
    names = [scene.GetNthNode(i).GetClassName() for i in range(scene.GetNumberOfNodes())]
    return {name: names.count(name) for name in sorted(set(names))}


def cell_rows(table: Any) -> list[list[str]]:
    """A table node's cells as text, the titles first."""
    columns = range(table.GetNumberOfColumns())
    titles = [table.GetColumnName(c) for c in columns]
    return [titles, *([table.GetCellText(r, c) for c in columns] for r in range(table.GetNumberOfRows()))]
