"""Values as JSON: round trip of every type, and no body that is anything but a value or one of our errors."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.contract.errors import InvalidInput, LungXAIError
from shared_models.contract.fusion_result import FusionResult, LeftOut
from shared_models.contract.jobs import JobProgress
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Nodule, PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, Abstention, ClinicalFields

GOLDEN = Path(__file__).parent / "golden"
BY = Provenance("model", "ab" * 32, "1.0", True, "cpu", ("adenocarcinoma", "squamous_cell", "normal"))
NONE = dict.fromkeys(CLASSES)
SOME = {**NONE, "adenocarcinoma": 0.5, "squamous_cell": 0.25, "normal": 0.25}
WHY = Abstention("The slide holds no tissue.", "Scan it again.")
NODULE = Nodule(1, (1.5, -2.25, 300.0), 12.0, 8.5, 900.0, -50.5, 0.75, SOME, "search")
EVEN = dict.fromkeys(CLASSES, 0.2)
VALUES = {
    "clinical": ClinicalFields(63, "female", "former", 20.5),
    "abstention": WHY,
    "provenance": BY,
    "nodule": NODULE,
    "radiology": RadiologyResult("1.2.3", (NODULE,), 0.75, SOME, (BY,), ("Thick slices.",)),
    "radiology_empty": RadiologyResult("1.2.3", (), None, NONE, (BY,), (), WHY),
    "pathology": PathologyResult(
        "s1", 0.5, (224.0, 224.5), np.array([[0, 0], [448, 7]], np.int64),
        np.array([[0.5, 0.25, np.nan, np.nan, 0.25], [0.125, 0.5, np.nan, np.nan, 0.375]], np.float32), SOME, (BY,),
    ),
    "pathology_empty": PathologyResult(
        "s1", 0.5, (224.0, 224.0), np.zeros((0, 2), np.int64), np.zeros((0, 5), np.float32), NONE, (BY,),
        ("None.",), WHY,
    ),
    "pathology_others": PathologyResult(
        "s1", 0.25, (350.0, 350.0), np.array([[0, 0], [350, 0]], np.int64),
        np.full((2, 5), np.nan, np.float32), NONE, (BY,), (), WHY,
        tile_quality=np.array([0.5, 1.0], np.float32), other_classes=("tumour", "other tissue"),
        other_probabilities=np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
    ),
    "fusion": FusionResult(
        SOME, 0.0, EVEN, {"radiology": 1.0, "pathology": 0.5},
        {"radiology": dict.fromkeys(CLASSES, 0.0), "pathology": {**dict.fromkeys(CLASSES, 0.0), "normal": -1.5}},
        ("clinical",), "Both point to adenocarcinoma.", (BY,),
    ),
    "fusion_parts": FusionResult(
        SOME, 0.0, EVEN, {"clinical": 0.5}, {"clinical": {**dict.fromkeys(CLASSES, 0.0), "normal": -1.5}},
        ("radiology", "pathology"), "Only clinical took part.", (BY,), None,
        {
            **{name: dict.fromkeys(CLASSES, 0.0) for name in ("age_years", "smoking", "pack_years")},
            **{name: {**dict.fromkeys(CLASSES, 0.0), "normal": -0.75} for name in ("sex", "base")},
        },
        {"clinical": LeftOut(NONE, 1.0, WHY), "sex": LeftOut(SOME, 0.0)},
    ),
}  # fmt: skip


def wire(value: object) -> object:
    return json.loads(json.dumps(to_json(value), allow_nan=False))


def same(one: object, other: object) -> None:
    assert type(one) is type(other)
    assert wire(one) == wire(other)
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(other, name), value)
            assert getattr(other, name).dtype == value.dtype


@pytest.mark.parametrize("name", VALUES)
def test_round_trip(name: str) -> None:
    same(VALUES[name], from_json(type(VALUES[name]), wire(VALUES[name])))


@pytest.mark.parametrize("name", VALUES)
def test_golden_of_version_1_is_written_and_read(name: str) -> None:
    stored = json.loads((GOLDEN / f"{name}_v1.json").read_text())
    assert stored == wire(VALUES[name])
    same(VALUES[name], from_json(type(VALUES[name]), stored))


def test_a_nodule_without_a_side_is_read() -> None:
    """Servers before 0.2 name none."""
    body = wire(VALUES["nodule"])
    assert isinstance(body, dict)
    del body["side"]
    assert from_json(Nodule, body).side is None
    with pytest.raises(InvalidInput, match="side"):
        from_json(Nodule, {**body, "side": "middle"})


@pytest.mark.parametrize(
    "change",
    [
        {"tile_reliability": [0.5]}, {"tile_reliability": [0.5, 1.5]}, {"reliability": 1.5}, {"reliability": "1"},
        {"tile_quality": [0.5]}, {"tile_quality": [0.5, 1.5]}, {"tile_quality": [0.5, None]}, {"other_classes": []},
        {"other_classes": ["a", "a"]}, {"other_classes": ["a", ""]}, {"other_probabilities": None},
        {"other_probabilities": [[0.5, None], [0.5, 0.5]]}, {"other_probabilities": [[0.5], [0.5]]},
    ],
)  # fmt: skip
def test_others_and_qualities_that_do_not_fit_are_refused(change: dict) -> None:
    body = wire(VALUES["pathology_others"])
    assert isinstance(body, dict)
    with pytest.raises(InvalidInput):
        from_json(PathologyResult, {**body, **change})


def test_reliability_goes_round_and_is_left_out_where_nobody_judged_it() -> None:
    judged = {
        "pathology": replace(
            VALUES["pathology"], tile_reliability=np.array([0.25, 1.0], np.float32), reliability=0.75
        ),
        "radiology": replace(VALUES["radiology"], reliability=0.5),
    }
    for name, value in judged.items():
        assert "reliability" not in wire(VALUES[name])
        same(value, from_json(type(value), wire(value)))


def places(body: object, path: tuple = ()) -> list:
    """The path to every key and every element of ``body``."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [p for key, item in items for p in [(*path, key), *places(item, (*path, key))]]


WRONG = [
    None, True, -1, 1.5, 10**400, float("nan"), float("inf"), "", "NaN", "1", "adenocarcinoma",
    [], [[]], ["NaN"], [1.5, "2"], {}, {"a": 1}, {"adenocarcinoma": "NaN"},
]  # fmt: skip


def tried(kind: type, body: object) -> None:
    """Either an error of ours, or a value that can be sent and read again."""
    try:
        got = from_json(kind, body)
    except LungXAIError:
        return
    from_json(kind, wire(got))


@pytest.mark.parametrize("name", VALUES)
def test_every_part_removed_or_replaced_is_an_error_or_a_sound_value(name: str) -> None:
    body = wire(VALUES[name])
    for path in places(body):
        for wrong in ["removed", *WRONG]:
            lie = copy.deepcopy(body)
            holder = lie
            for key in path[:-1]:
                holder = holder[key]
            if wrong == "removed":
                del holder[path[-1]]
            else:
                holder[path[-1]] = wrong
            tried(type(VALUES[name]), lie)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(VALUES)), st.data())
def test_any_part_may_be_anything(name, data) -> None:
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    )
    body = wire(VALUES[name])
    body[data.draw(st.sampled_from(sorted(body)))] = data.draw(junk)
    tried(type(VALUES[name]), body)


@pytest.mark.parametrize(
    ("name", "field", "wrong"),
    [
        ("pathology", "origin_px", [[0.5, 0], [448, 7]]),
        ("pathology", "origin_px", [["0", "0"], ["448", "7"]]),
        ("pathology", "tile_probabilities", [["NaN", 0.5, None, None, 0.5]] * 2),
        ("pathology", "tile_probabilities", [["0.5", 0.25, None, None, 0.25]] * 2),
        ("pathology", "slide_id", 5),
        ("pathology", "mpp", True),
        ("pathology", "notes", "one text"),
        ("pathology", "provenance", {}),
        ("radiology", "malignancy", True),
        ("radiology", "malignancy", "NaN"),
        ("radiology", "probabilities", list(CLASSES)),
        ("nodule", "label", 1.5),
        ("nodule", "label", True),
        ("nodule", "centre_lps_mm", "abc"),
        ("nodule", "mean_hu", 10**400),
        ("provenance", "calibrated", "no"),
        ("provenance", "model_id", ["m"]),
        ("fusion", "missing", "clinical"),
        ("fusion", "weights", {"radiology": "1", "pathology": 0.5}),
        ("fusion", "agreement", 3),
        ("clinical", "age_years", "63"),
    ],
)
def test_a_wrong_type_is_refused(name: str, field: str, wrong: object) -> None:
    with pytest.raises(InvalidInput):
        from_json(type(VALUES[name]), {**wire(VALUES[name]), field: wrong})


@pytest.mark.parametrize("name", VALUES)
def test_deep_nesting_and_unknown_fields_are_refused(name: str) -> None:
    body = wire(VALUES[name])
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    for field in body:
        with pytest.raises(InvalidInput):
            from_json(type(VALUES[name]), {**body, field: deep})
    for wrong in ({**body, "extra": 1}, [body], "x", None, 3):
        with pytest.raises(InvalidInput):
            from_json(type(VALUES[name]), wrong)
    # Taken apart level by level: freeing 100,000 levels at once is no matter of ours.
    while isinstance(deep, list) and deep:
        deep = deep[0]


def test_progress_is_read_back_and_junk_refused() -> None:
    body = {"job_id": "j", "case_id": "c", "kind": "radiology", "state": "running", "stage": "s", "fraction": 0.5}
    body["queue_position"] = 0
    assert JobProgress.from_json(body).to_json() == {**body, "error": None}
    for field in body:
        for wrong in (None, [], {}, -1, float("nan"), object()):
            with pytest.raises(InvalidInput):
                JobProgress.from_json({**body, field: wrong})


if __name__ == "__main__":
    for key, item in VALUES.items():
        (GOLDEN / f"{key}_v1.json").write_text(json.dumps(to_json(item), indent=1, allow_nan=False) + "\n")
