"""A result says what made it, and what its model never saw."""

import pytest

from shared_models.contract.errors import InvalidInput
from shared_models.contract.provenance import Provenance

GOOD = {
    "model_id": "he_lite0",
    "weights_sha256": "ab" * 32,
    "code_version": "0.1.0",
    "calibrated": False,
    "device": "cpu",
    "coverage": ("adenocarcinoma", "normal"),
}


def test_a_class_outside_the_coverage_is_not_assessed_rather_than_zero() -> None:
    shown = Provenance(**GOOD).assessed({"adenocarcinoma": 0.75, "normal": 0.25})
    assert shown == {
        "adenocarcinoma": 0.75,
        "squamous_cell": None,
        "large_cell": None,
        "small_cell": None,
        "normal": 0.25,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_id": ""},
        {"code_version": ""},
        {"weights_sha256": "AB" * 32},
        {"weights_sha256": "ab" * 32 + "\n"},
        {"device": "auto"},
        {"coverage": ("carcinoid",)},
        {"coverage": ("normal", "normal")},
    ],
)
def test_a_malformed_provenance_is_refused(wrong) -> None:
    with pytest.raises(InvalidInput):
        Provenance(**{**GOOD, **wrong})
