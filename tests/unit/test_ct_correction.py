"""A segmentation that a reader corrected, and which side of the patient a nodule lies on."""

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import LabelVolume
from shared_models.ct_lungs import lungs, midline_mm, side_of
from shared_models.ct_nodules import handmade
from shared_models.ct_pipeline import CTModels, analyse_ct


def test_a_readers_segments_are_taken_as_they_are() -> None:
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[1, 2, 3] = 2
    labels[:, 10:14, 10:14] = 9
    found = handmade(labels, (1.0, 1.0, 1.0))
    assert [int(c.mask.sum()) for c in found] == [1, 64] and {c.found_by for c in found} == {"hand"}


def test_a_corrected_segmentation_is_measured_and_explained(phantom) -> None:
    pytest.importorskip("torch")
    labels = np.where(phantom.truth.labels == 2, 200, phantom.truth.labels).astype(np.uint8)
    corrected = LabelVolume(labels, phantom.volume.ijk_to_lps, phantom.volume.series_uid)
    found = analyse_ct(phantom.volume, CTModels.load(), explain=["gradcam"], corrected=corrected)
    assert np.array_equal(found.mask.labels > 0, labels > 0)  # nothing added, nothing cut
    assert len(found.result.nodules) == 2 and {n.found_by for n in found.result.nodules} == {"hand"}
    assert "gradcam" in found.heatmaps and any("corrected" in note for note in found.result.notes)
    for planted in phantom.nodules:
        nearest = min(
            found.result.nodules, key=lambda n: np.linalg.norm(np.subtract(n.centre_lps_mm, planted.centre_lps_mm))
        )
        assert np.linalg.norm(np.subtract(nearest.centre_lps_mm, planted.centre_lps_mm)) < 1.5
        # LPS: x grows to the patient's left.
        assert nearest.side == ("left" if planted.centre_lps_mm[0] > 0 else "right")


def test_what_cannot_be_a_correction_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger than any nodule"):
        handmade(np.ones((40, 300, 300), np.uint8), (1.0, 1.0, 2.0))
    noise = np.random.default_rng(0).integers(0, 256, (20, 40, 40)).astype(np.uint8)
    with pytest.raises(InvalidInput, match="scattered"):
        handmade(noise, (1.0, 1.0, 1.0))
    assert handmade(np.zeros((2, 3, 4), np.uint8), (1.0, 1.0, 1.0)) == []


def test_this_nodule_alone_is_looked_at(phantom) -> None:
    pytest.importorskip("torch")
    wanted = phantom.nodules[0]
    found = analyse_ct(phantom.volume, CTModels.load(), points_lps_mm=[wanted.centre_lps_mm], search=False)
    assert [n.found_by for n in found.result.nodules] == ["point"]
    assert (found.mask.labels[phantom.truth.labels == wanted.label] > 0).mean() > 0.6
    assert any("not searched" in note for note in found.result.notes)


def test_the_side_follows_the_patient_not_the_storage_order(phantom) -> None:
    lung, _ = lungs(phantom.volume)
    midline = midline_mm(lung, phantom.volume.ijk_to_lps)
    assert midline is not None and abs(midline) < 15
    mirrored = np.array(phantom.volume.ijk_to_lps)
    mirrored[0, 3] += mirrored[0, 0] * (lung.shape[2] - 1)
    mirrored[0, 0] *= -1
    assert midline_mm(lung[:, :, ::-1], mirrored) == pytest.approx(midline, abs=5)
    assert (side_of(midline + 60, midline), side_of(midline - 60, midline)) == ("left", "right")
    assert side_of(midline + 3, midline) is None and side_of(50.0, None) is None


def test_one_lung_alone_has_no_midline(phantom) -> None:
    lung, _ = lungs(phantom.volume)
    lung = lung.copy()
    lung[:, :, lung.shape[2] // 2 :] = False
    assert midline_mm(lung, phantom.volume.ijk_to_lps) is None
