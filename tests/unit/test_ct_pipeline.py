"""The CT path with the models that ship, on the synthetic thorax: says that the chain holds, not how good it is."""

from dataclasses import replace

import numpy as np
import pytest

from shared_models.contract.errors import BadGeometry, Cancelled, InvalidInput
from shared_models.contract.results import METHODS, placed
from shared_models.contract.values import CTVolume
from shared_models.ct_lungs import lungs
from shared_models.ct_pipeline import CTModels, analyse_ct, explained
from shared_models.geometry import lps_to_index


@pytest.fixture(scope="module")
def models() -> CTModels:
    pytest.importorskip("torch")
    return CTModels.load()


@pytest.fixture(scope="module")
def analysis(models, phantom):
    stages: list = []
    found = analyse_ct(phantom.volume, models, explain=["gradcam"], progress=lambda s, f: stages.append((s, f)))
    return found, stages


def test_both_planted_nodules_are_found(analysis, phantom) -> None:
    labels = analysis[0].mask.labels
    for nodule in phantom.nodules:
        own = phantom.truth.labels == nodule.label
        best = max(int((labels[own] == n.label).sum()) for n in analysis[0].result.nodules)
        assert best > 0.7 * own.sum()


def test_mask_and_table_say_the_same(analysis, phantom) -> None:
    found = analysis[0]
    np.testing.assert_array_equal(found.mask.ijk_to_lps, phantom.volume.ijk_to_lps)
    assert found.mask.labels.shape == phantom.volume.voxels.shape
    assert set(np.unique(found.mask.labels)) - {0} == {n.label for n in found.result.nodules}
    order = [n.malignancy for n in found.result.nodules]
    assert order == sorted(order, reverse=True) and found.result.malignancy == order[0]
    voxel = np.prod(phantom.volume.spacing_mm)
    for nodule in found.result.nodules:
        own = found.mask.labels == nodule.label
        assert nodule.volume_mm3 == pytest.approx(own.sum() * voxel)
        assert nodule.mean_hu == pytest.approx(phantom.volume.voxels[own].mean())
        np.testing.assert_allclose(
            lps_to_index(phantom.volume.ijk_to_lps, nodule.centre_lps_mm), np.argwhere(own).mean(0)[::-1], atol=1e-6
        )
        assert set(nodule.subtype.values()) == {None}


def test_the_heatmap_is_on_the_ct_and_warmer_in_the_nodule(analysis, phantom) -> None:
    heatmap = analysis[0].heatmaps["gradcam"]
    shape = phantom.volume.voxels.shape
    whole = placed(heatmap.values, heatmap.index_to_world, shape, phantom.volume.ijk_to_lps)
    own = phantom.truth.labels == 1
    near = np.zeros(shape, bool)
    k, j, i = (slice(max(0, s.min() - 12), s.max() + 12) for s in np.nonzero(own))
    near[k, j, i] = True
    assert whole[own].mean() > 3 * whole[near & ~own].mean() and whole.min() >= 0


@pytest.mark.parametrize("target", ["nodule", "malignancy"])
def test_nodules_that_are_known_are_explained_without_a_new_search(analysis, models, phantom, target) -> None:
    """By all six; the map lies on the CT, and most of a nodule's evidence lies near it."""
    before = replace(analysis[0], pieces=analysis[0].pieces[:1])
    after = explained(phantom.volume, models, before, METHODS, target)
    assert after.result is before.result and after.mask is before.mask and set(after.heatmaps) == set(METHODS)
    shape = phantom.volume.voxels.shape
    for method, heatmap in after.heatmaps.items():
        assert (heatmap.target, heatmap.method) == (target, method)
        assert heatmap.provenance == models.provenance[target == "malignancy"]
        assert heatmap.parameters["nodules"] == 1 and len(heatmap.parameters) > 3
        whole = np.abs(placed(heatmap.values, heatmap.index_to_world, shape, phantom.volume.ijk_to_lps))
        assert whole.any()
        slices = np.flatnonzero(whole.any(axis=(1, 2)))
        own = np.flatnonzero((before.mask.labels == 1).any(axis=(1, 2)))
        assert set(slices) <= set(own), method


def test_progress_grows_and_cancel_stops(analysis, models, phantom) -> None:
    fractions = [f for _, f in analysis[1]]
    assert fractions == sorted(fractions) and len({s for s, _ in analysis[1]}) >= 4
    calls = []

    def cancelled() -> bool:
        calls.append(1)
        return len(calls) > 4

    with pytest.raises(Cancelled):
        analyse_ct(phantom.volume, models, cancelled=cancelled)
    assert len(calls) == 5


def test_what_cannot_be_done_is_said(models, phantom) -> None:
    with pytest.raises(InvalidInput, match="not known"):
        analyse_ct(phantom.volume, models, explain=["guess"])
    with pytest.raises(InvalidInput, match="cannot explain lobe"):
        models.explained("lobe")
    with pytest.raises(BadGeometry):
        analyse_ct(phantom.volume, models, points_lps_mm=[(1e4, 0.0, 0.0)])
    air = CTVolume(np.full((10, 64, 64), -1000, np.int16), np.diag([1.0, 1, 1, 1]), "air")
    with pytest.raises(InvalidInput, match="No lungs"):
        analyse_ct(air, models)


def test_lungs_hold_the_nodules_and_not_the_body(phantom) -> None:
    lung, rim = lungs(phantom.volume)
    for nodule in phantom.nodules:
        own = phantom.truth.labels == nodule.label
        assert (lung & own).sum() > 0.9 * own.sum()
    assert (rim | lung == rim).all() and rim.sum() > lung.sum()
    body = (phantom.volume.voxels > -200).sum()
    assert (lung & (phantom.volume.voxels > -200)).sum() < 0.15 * body
    assert not lung[:, :20].any() and not lung[:, :, :10].any()  # air around the body
