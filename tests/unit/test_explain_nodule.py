"""The picture of a nodule: the slice where it is largest, right way round however the CT is stored."""

import numpy as np
import pytest

from inference_server.explain_nodule import cropped, found_nodule, read_around
from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import LabelVolume, Nodule, RadiologyResult
from shared_models.contract.values import CLASSES, CTVolume
from shared_models.ct_writer import write_nrrd

PROVENANCE = Provenance("test model", "0" * 64, "test", False, "cpu", ())
NODULE = Nodule(2, (20.0, 16.0, 10.0), 12.0, 8.0, 400.0, 30.0, 0.4, dict.fromkeys(CLASSES), "point")
SHAPE = (10, 40, 50)


def stored(flips: tuple[bool, bool], transposed: bool) -> tuple[CTVolume, LabelVolume]:
    """An L-shaped nodule in air, 1 x 1 x 2 mm, the same body in each way of storing it."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 14:18, 18:22] = 2
    labels[5, 14:22, 18:22] = labels[5, 18:22, 22:28] = 2
    labels[7, 3:30, 3:9] = 1  # another, larger one
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-5, 3, 0)
    for axis, flip in ((0, flips[0]), (1, flips[1])):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (SHAPE[2 - axis] - 1)
            affine[:3, axis] *= -1
            labels = np.flip(labels, 2 - axis)
    if transposed:
        labels, affine = labels.transpose(0, 2, 1), affine[:, [1, 0, 2, 3]]
    voxels = np.where(labels > 0, 100, -900).astype(np.int16)
    labels = np.ascontiguousarray(labels)
    return CTVolume(voxels, affine, "ct"), LabelVolume(labels, affine, "ct")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_the_picture_is_the_same_however_the_ct_is_stored(flips, transposed) -> None:
    wanted = cropped(*stored((False, False), False), NODULE)
    crop = cropped(*stored(flips, transposed), NODULE)
    assert crop.slice_index == 5 and crop.width_mm == 40
    assert (crop.picture != wanted.picture).mean() < 0.01 and (crop.outline != wanted.outline).mean() < 0.005


def test_patient_left_is_right_in_the_picture_and_the_back_is_below() -> None:
    crop = cropped(*stored((False, False), False), NODULE)
    rows, columns = np.nonzero(crop.outline)
    wide = [np.ptp(columns[rows == r]) for r in (rows.min() + 3, rows.max() - 3)]
    assert wide[1] > 2 * wide[0]  # the foot of the L lies to the back
    assert crop.outline.sum() * (40 / 300) ** 2 == pytest.approx(56, rel=0.1)  # mm2 of the slice's 56 voxels
    assert crop.picture[crop.outline].mean() > crop.picture[~crop.outline].mean() + 80


def test_a_map_lies_where_its_voxels_are() -> None:
    volume, mask = stored((True, False), False)
    crop = cropped(volume, mask, NODULE)
    part = (mask.labels[4:7, 5:30] == 2).astype(np.float32)
    affine = np.array(volume.ijk_to_lps)
    affine[:3, 3] += affine[:3, 1] * 5 + affine[:3, 2] * 4
    assert ((crop.of(part, affine) > 0.5) != crop.outline).mean() < 0.001


def test_a_point_outside_is_told_where_the_ct_is(tmp_path) -> None:
    volume, _ = stored((False, False), False)
    write_nrrd(tmp_path / "ct.nrrd", volume.voxels, volume.ijk_to_lps, {})
    with pytest.raises(BadGeometry, match="outside the CT") as fault:
        read_around(tmp_path / "ct.nrrd", (20.0, 16.0, 40.0))
    assert "x -5 to 44, y 3 to 42, z 0 to 18" in fault.value.remedy
    assert read_around(tmp_path / "ct.nrrd", (20.0, 16.0, 10.0))[0].voxels.shape == SHAPE


def test_where_no_nodule_was_recognised_that_is_said() -> None:
    nothing = RadiologyResult("ct", (), None, dict.fromkeys(CLASSES), (PROVENANCE,))
    with pytest.raises(InvalidInput, match="No nodule was recognised at 1,2,3"):
        found_nodule(nothing, (1.0, 2.0, 3.0))
