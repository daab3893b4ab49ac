"""DICOM series of a small drawn chest in every position, and cases on them, for the tests of the DICOM exports.

GEOMETRIES      name to the affine of the series
source()        a series in a folder, and its CTVolume as read_ct() reads it
nodule()        a Nodule
case()          a CaseRecord on a volume: two nodules, two heatmaps
errors()        what dciodvfy calls an error in a file
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from inference_server.case_record import CaseRecord
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, LabelVolume, Nodule, RadiologyResult
from shared_models.contract.values import CLASSES, CTVolume
from shared_models.ct_reader import read_ct
from shared_models.dicom_log import discreet
from shared_models.geometry import cropped_affine, grid_affine
from shared_models.phantom_dicom import new_uid, write_dicom

SHAPE = (7, 20, 24)
_ORIGIN, _SPACING = (-11.25, -20.5, 104.75), (0.71875, 0.703125, 2.5)
_TURN = np.deg2rad(12.0)
_OBLIQUE = np.array(
    [[np.cos(_TURN), -np.sin(_TURN), 0], [np.sin(_TURN), np.cos(_TURN), 0], [0, 0, 1]]
) @ np.array([[1, 0, 0], [0, np.cos(_TURN), -np.sin(_TURN)], [0, np.sin(_TURN), np.cos(_TURN)]])  # fmt: skip


def _tilted():
    affine = grid_affine(_ORIGIN, _SPACING)
    affine[1, 2] = 0.6
    return affine


GEOMETRIES = {
    "axial": grid_affine(_ORIGIN, _SPACING),
    "oblique": grid_affine(_ORIGIN, _SPACING, _OBLIQUE),
    "feet first, prone": grid_affine(_ORIGIN, _SPACING, np.diag([1.0, -1.0, -1.0])),
    "head first, prone": grid_affine(_ORIGIN, _SPACING, np.diag([-1.0, -1.0, 1.0])),
    "tilted gantry": _tilted(),
    "coronal": grid_affine(_ORIGIN, _SPACING, [[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
}
MODELS = (
    Provenance("lung_nodule_segmentation", "a" * 64, "0.1.0+gabcdef012345", False, "cpu", ()),
    Provenance("lung_nodule_malignancy", "b" * 64, "0.1.0+gabcdef012345", True, "cpu", ()),
)


def source(folder: Path, geometry: str = "axial", edit=None) -> CTVolume:
    """Write a series; ``edit(dataset)`` changes each of its files."""
    import pydicom

    voxels = np.random.default_rng(5).integers(-1000, 400, SHAPE).astype(np.int16)
    write_dicom(CTVolume(voxels, GEOMETRIES[geometry], new_uid("dicom_cases", geometry)), folder)
    if edit is not None:
        with discreet():
            for file in folder.iterdir():
                image = pydicom.dcmread(file)
                edit(image)
                image.save_as(file)
    return read_ct(folder)[0]


def nodule(label: int, found_by: str = "search", side="left", malignancy=0.4375) -> Nodule:
    return Nodule(
        label, (1.0, 2.0, 3.0), 8.25, 5.5, 301.5, -123.25, malignancy, dict.fromkeys(CLASSES), found_by, side
    )  # fmt: skip


def case(volume: CTVolume, nodules=None, synthetic: bool = True) -> CaseRecord:
    """Nodules 1 and 3 unless others are given: blocks of a few voxels, apart from each other."""
    nodules = (nodule(1), nodule(3, "hand", None, None)) if nodules is None else tuple(nodules)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    for one in nodules:
        labels.reshape(-1)[one.label * 3 : one.label * 3 + 2] = one.label
    if len(nodules) == 2:
        labels[1:4, 5:9, 6:11] = nodules[0].label
        labels[3:6, 11:13, 2:5] = nodules[1].label
    result = RadiologyResult(
        volume.series_uid, nodules, 0.4375 if nodules else None,
        {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.75, "normal": 0.25}, MODELS,
        ("Slices are 2.5 mm apart – a note.",), None, 0.75,
    )  # fmt: skip
    values = np.random.default_rng(6).normal(scale=1e-3, size=(4, 9, 10)).astype(np.float32)
    first = (5, 3, 2)
    stop = np.minimum(np.array(values.shape) + first[::-1], volume.voxels.shape) - np.array(first[::-1])
    part = np.ascontiguousarray(values[: stop[0], : stop[1], : stop[2]])
    maps = {
        method: Heatmap(
            part if method == "gradcam" else np.abs(part), cropped_affine(volume.ijk_to_lps, first), volume.series_uid,
            "radiology", method, "nodule", MODELS[0], {"steps": 5, "scale": "logit"},
        )
        for method in ("gradcam", "occlusion")
    }  # fmt: skip
    mask = LabelVolume(labels, volume.ijk_to_lps, volume.series_uid)
    return CaseRecord("case-0001", synthetic, "", result, mask, volume, maps)


def errors(path: Path) -> list[str]:
    """The lines of dciodvfy's answer that are errors."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60)
    said = (run.stdout + run.stderr).splitlines()
    assert said, "dciodvfy said nothing"
    return [line for line in said if line.startswith("Error")]


def frames_in_space(dataset, pixels):
    """Each frame of a multi-frame object with its segment (None for a map) and the affine (4, 4) of its own plane, by
    DICOM's equation C.7.6.2.1-1 from its functional groups alone."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    rows_mm, columns_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    frames = pixels.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence):
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = axes[:3] * columns_mm, axes[3:] * rows_mm
        affine[:3, 2] = np.cross(axes[:3], axes[3:])
        affine[:3, 3] = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        of = group if "SegmentIdentificationSequence" in group else shared
        held = of.get("SegmentIdentificationSequence")
        yield frame, None if held is None else int(held[0].ReferencedSegmentNumber), affine


def on_grid(dataset, pixels, ijk_to_lps, shape, dtype=np.uint8):
    """The frames on the grid of a CT, each value at the voxel whose centre its pixel's centre is; exactly, or it fails.

    A segment's pixels get its number, a map's its own values; where no frame lies it is 0.
    """
    whole = np.zeros(shape, dtype)
    for frame, segment, affine in frames_in_space(dataset, pixels):
        j, i = np.nonzero(frame)
        index = np.linalg.solve(
            ijk_to_lps, affine @ np.stack([i, j, np.zeros_like(i), np.ones_like(i)]).astype(float)
        )[:3]  # fmt: skip
        assert np.abs(index - np.rint(index)).max(initial=0.0) < 1e-4
        where = tuple(np.rint(index).astype(int)[::-1])
        whole[where] = frame[j, i] if segment is None else segment
    return whole
