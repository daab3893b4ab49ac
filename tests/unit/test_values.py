"""An object that exists is valid; an error crosses the wire by its code."""

import numpy as np
import pytest

from shared_models.contract import errors
from shared_models.contract.values import Abstention, ClinicalFields, CTVolume, SlideTiles


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1.0]), np.eye(3)])
def test_ct_without_geometry_is_refused(affine) -> None:
    with pytest.raises(errors.BadGeometry):
        CTVolume(np.zeros((2, 2, 2), np.int16), affine, "x")


def test_rgb_ct_is_refused() -> None:
    with pytest.raises(errors.InvalidInput, match="16-bit HU"):
        CTVolume(np.zeros((2, 2, 2, 3), np.uint8), np.eye(4), "x")


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf"), None])
def test_unknown_mpp_is_never_guessed(mpp) -> None:
    with pytest.raises(errors.SpacingUnknown, match="--mpp"):
        SlideTiles(np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2), np.int64), mpp, "s")


def test_values_cannot_be_changed() -> None:
    volume = CTVolume(np.zeros((2, 2, 2), np.int16), np.eye(4), "x")
    with pytest.raises(ValueError):
        volume.voxels[0, 0, 0] = 1


@pytest.mark.parametrize(
    "fields",
    [{"age_years": 121}, {"age_years": float("nan")}, {"sex": "?"}, {"smoking": "never", "pack_years": 3}],
)
def test_bad_clinical_fields_are_refused(fields) -> None:
    with pytest.raises(errors.InvalidInput):
        ClinicalFields(**fields)


def test_missing_clinical_fields_stay_missing() -> None:
    assert ClinicalFields(age_years=0).pack_years is None


def test_an_abstention_says_why() -> None:
    with pytest.raises(errors.InvalidInput):
        Abstention("", "a thinner series")


def test_errors_are_rebuilt_by_code() -> None:
    sent = errors.SpacingUnknown("a", "b")
    got = errors.from_body(sent.body())
    assert type(got) is errors.SpacingUnknown and (got.status, str(got)) == (422, "a b")


@pytest.mark.parametrize("body", [None, [], {"code": "Cancelled"}, {"code": "SystemExit"}])
def test_a_malformed_error_is_a_server_error(body) -> None:
    assert type(errors.from_body(body)) is errors.ServerError
