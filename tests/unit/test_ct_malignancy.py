"""The malignancy model: how evidence is weighed by hand, which slice is looked at, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.ct_malignancy import (
    BUNDLE,
    NETWORK,
    WEIGHTS,
    Evidence,
    MalignancyModel,
    features,
    features_on,
    largest_slice,
)
from shared_models.model_bundle import MODELS_ROOT, sha256_of

PIXEL = (0.7, 0.7)


@pytest.fixture(scope="module")
def model() -> MalignancyModel:
    return MalignancyModel.load()


def ct(radius: float, centre=(60, 50), shape=(128, 140), hu: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    noise = np.random.default_rng(0).normal(0, 15, shape)
    return (np.where(mask, hu, -850) + noise).astype(np.int16), mask


def test_features_of_a_crop_are_those_of_the_slice() -> None:
    for centre in ((60, 50), (2, 3), (127, 139)):
        hu, mask = ct(7, centre)
        pad = (np.pad(hu, 5, mode="edge"), np.pad(mask, 5))
        assert features_on(hu, mask, PIXEL) == pytest.approx(features(*pad, PIXEL))


def test_evidence_is_added_and_what_is_no_nodule_is_rated_lower(model) -> None:
    plain = replace(model, weights=(0.5, 2.0, -1.0), least_nodule=1.5)
    odds = 0.5 * 3 + 2 * 0.25 - 1
    assert plain.weighed(Evidence(3.0, 0.25, 1.5)) == pytest.approx(1 / (1 + np.exp(-odds)))
    assert plain.weighed(Evidence(3.0, 0.25, 9.0)) == plain.weighed(Evidence(3.0, 0.25, 1.5))
    assert plain.weighed(Evidence(3.0, 0.25, -0.5)) == pytest.approx(1 / (1 + np.exp(-(odds - 2))))
    assert plain.weighed(Evidence(-1e4, -1e4, -1e4)) == 0 and plain.weighed(Evidence(1e4, 1e4, 1e4)) == 1


def test_larger_is_more_malignant_and_calcified_is_less(model) -> None:
    small, middle, large = (model.of_slice(*ct(r), PIXEL) for r in (4, 8, 16))
    assert 0 <= small < middle < large <= 1
    assert model.of_slice(*ct(8, hu=700), PIXEL) < middle


def test_both_models_are_asked(model) -> None:
    hu, mask = ct(8)
    found = model.evidence(hu, mask, PIXEL)
    assert found.features == pytest.approx(float(model.score(features_on(hu, mask, PIXEL)[None])[0]))
    assert model.weights[0] > 0 and model.weights[1] > 0
    far = hu.copy()
    far[np.hypot(*np.ogrid[-60:68, -50:90]) > 14] = 40  # no lung about it: the features look at the rim alone
    other = model.evidence(far, mask, PIXEL)
    assert other.features == found.features and other.network != found.network


def test_the_slice_where_the_nodule_is_largest_is_rated(model) -> None:
    voxels = np.stack([ct(5)[0], ct(9)[0], ct(6)[0]])
    masks = np.stack([ct(r)[1] for r in (5, 9, 6)])
    where = (slice(0, 3), slice(51, 70), slice(41, 60))
    hu, plane = largest_slice(voxels, where, masks[(slice(None), *where[1:])])
    assert (hu == voxels[1]).all() and (plane == masks[1]).all()
    p = model.of_nodule(voxels, where, masks[(slice(None), *where[1:])], (0.7, 0.7, 3.0))
    assert p == pytest.approx(model.of_slice(*ct(9), PIXEL))
    # Spacing is along (column, row, slice); pixels along (row, column).
    p = model.of_nodule(voxels, where, masks[(slice(None), *where[1:])], (0.6, 0.9, 3.0))
    assert p == pytest.approx(model.of_slice(*ct(9), (0.9, 0.6)))
    with pytest.raises(InvalidInput, match="no nodule"):
        model.of_nodule(voxels, where, np.zeros((3, 19, 19), bool), (0.7, 0.7, 3.0))


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / BUNDLE
    shutil.copytree(MODELS_ROOT / BUNDLE, folder)
    return folder


def resealed(folder) -> None:
    """The metadata names the weights as they now are: only their content is wrong."""
    path = folder / "configs" / "metadata.json"
    told = json.loads(path.read_text())
    told["lungxai"]["weights"] = {n: sha256_of(folder / n) for n in told["lungxai"]["weights"]}
    path.write_text(json.dumps(told))


def test_changed_weights_are_refused(copy, tmp_path) -> None:
    MalignancyModel.load(tmp_path)
    with (copy / NETWORK).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelUnavailable, match="not the ones"):
        MalignancyModel.load(tmp_path)


@pytest.mark.parametrize("change", [
    {"features": ["log_area_mm2"]}, {"weights": [1.0, 2.0]}, {"weights": None}, {"least_nodule": "high"},
    {"platt": [1]}, {"mean": [0.0]},
])  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(copy, tmp_path, change) -> None:
    own = json.loads((copy / WEIGHTS).read_text())
    (copy / WEIGHTS).write_text(json.dumps(own | change))
    resealed(copy)
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        MalignancyModel.load(tmp_path)


def test_a_network_that_is_none_is_refused(copy, tmp_path) -> None:
    (copy / NETWORK).write_bytes(b"not a state dict")
    resealed(copy)
    with pytest.raises(ModelUnavailable, match="network cannot be read"):
        MalignancyModel.load(tmp_path)
