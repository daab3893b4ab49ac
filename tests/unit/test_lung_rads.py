"""Lung-RADS v2022: every row fires, each threshold lies where the table has it, nothing is guessed."""

from dataclasses import replace

import pytest

from shared_models.contract.errors import InvalidInput
from shared_models.lung_rads import INPUT_NAMES, ScreeningNodule, lung_rads
from shared_models.lung_rads_table import CATEGORIES, FLAGGED, NEXT_STEP, TABLE
from shared_models.nodule_guideline import Advice, NotApplicable, half_up

PATIENT = ScreeningNodule(age_years=63, pack_years=30, years_since_quitting=0, screening=True, symptoms=False,
                          known_lung_cancer=False)  # fmt: skip


def _of(nodule_type: str | None, mm: float, found: str | None = "baseline", **more: object) -> Advice | NotApplicable:
    return lung_rads(replace(PATIENT, nodule_type=nodule_type, mean_mm=mm, found=found, **more))


def _known(nodule_type: str, mm: float, before: float, months: float = 12, was: str | None = None,
           **more: object) -> Advice | NotApplicable:  # fmt: skip
    return _of(nodule_type, mm, "known", previous_mean_mm=before, months_since=months, previous_category=was, **more)


SIZES = [  # type, found, mean mm, solid mm, row; by hand from the published table, not from the code
    ("solid", "baseline", 5.9, None, "2-solid-baseline"), ("solid", "baseline", 6.0, None, "3-solid-baseline"),
    ("solid", "baseline", 7.9, None, "3-solid-baseline"), ("solid", "baseline", 8.0, None, "4A-solid-baseline"),
    ("solid", "baseline", 14.9, None, "4A-solid-baseline"), ("solid", "baseline", 15.0, None, "4B-solid-baseline"),
    ("solid", "new", 3.9, None, "2-solid-new"), ("solid", "new", 4.0, None, "3-solid-new"),
    ("solid", "new", 5.9, None, "3-solid-new"), ("solid", "new", 6.0, None, "4A-solid-new"),
    ("solid", "new", 7.9, None, "4A-solid-new"), ("solid", "new", 8.0, None, "4B-solid-new-or-growing"),
    ("part_solid", "baseline", 5.9, None, "2-part-solid-baseline"),
    ("part_solid", "baseline", 6.0, 5.9, "3-part-solid-baseline"),
    ("part_solid", "baseline", 6.0, 6.0, "4A-part-solid-baseline"),
    ("part_solid", "baseline", 20.0, 7.9, "4A-part-solid-baseline"),
    ("part_solid", "baseline", 20.0, 8.0, "4B-part-solid-baseline"),
    ("part_solid", "new", 5.9, 3.9, "3-part-solid-new"),
    ("part_solid", "new", 6.0, 3.9, "4A-part-solid-new-or-growing"),
    ("part_solid", "new", 6.0, 4.0, "4B-part-solid-new-or-growing"),
    ("nonsolid", "baseline", 29.9, None, "2-nonsolid"), ("nonsolid", "baseline", 30.0, None, "3-nonsolid"),
    ("nonsolid", "new", 29.9, None, "2-nonsolid"), ("nonsolid", "new", 30.0, None, "3-nonsolid"),
]  # fmt: skip


@pytest.mark.parametrize("nodule_type, found, mm, solid, row", SIZES)
def test_rows_of_size(nodule_type, found, mm, solid, row) -> None:
    said = _of(nodule_type, mm, found, solid_mm=solid)
    assert isinstance(said, Advice) and said.row == row and said.category == row.split("-")[0]
    assert said.next_step == NEXT_STEP[said.category] and f"category {said.category}" in said.source


@pytest.mark.parametrize("nodule_type, found, mm3, mm, other_mm, row", [
    ("solid", "baseline", 112, 5.9, 6.0, "2-solid-baseline"), ("solid", "baseline", 113, 6.0, 5.9, "3-solid-baseline"),
    ("solid", "baseline", 267, 7.9, 8.0, "3-solid-baseline"), ("solid", "baseline", 268, 8.0, 7.9, "4A-solid-baseline"),
    ("solid", "baseline", 1766, 14.9, 15, "4A-solid-baseline"),
    ("solid", "baseline", 1767, 15, 14.9, "4B-solid-baseline"),
    ("solid", "new", 33, 3.9, 4.0, "2-solid-new"), ("solid", "new", 34, 4.0, 3.9, "3-solid-new"),
    ("solid", "new", 112, 5.9, 6.0, "3-solid-new"), ("solid", "new", 113, 6.0, 5.9, "4A-solid-new"),
    ("solid", "new", 267, 7.9, 8.0, "4A-solid-new"), ("solid", "new", 268, 8.0, 7.9, "4B-solid-new-or-growing"),
    ("nonsolid", "baseline", 14136, 29.9, 30, "2-nonsolid"), ("nonsolid", "baseline", 14137, 30, 29.9, "3-nonsolid"),
])  # fmt: skip
def test_volume_has_the_tables_thresholds_and_must_agree(nodule_type, found, mm3, mm, other_mm, row) -> None:
    said = _of(nodule_type, mm, found, volume_mm3=mm3)
    assert isinstance(said, Advice) and said.row == row
    other = _of(nodule_type, other_mm, found, volume_mm3=mm3)
    assert isinstance(other, NotApplicable) and other.reason.startswith("Diameter and volume")
    assert set(other.possible) == {said.category, _of(nodule_type, other_mm, found).category}


@pytest.mark.parametrize("found, mm3, mm, solid, row", [
    ("baseline", 112, 5.9, 3, "2-part-solid-baseline"), ("baseline", 113, 6.0, 3, "3-part-solid-baseline"),
    ("baseline", 113, 6.0, 6, "4A-part-solid-baseline"), ("new", 112, 5.9, 3, "3-part-solid-new"),
    ("new", 113, 6.0, 3, "4A-part-solid-new-or-growing"),
])  # fmt: skip
def test_volume_of_a_part_solid_nodule_is_that_of_the_whole(found, mm3, mm, solid, row) -> None:
    assert _of("part_solid", mm, found, solid_mm=solid, volume_mm3=mm3).row == row
    other = _of("part_solid", mm, found, solid_mm=solid, volume_mm3=113 if mm3 == 112 else 112)
    assert isinstance(other, NotApplicable) and row.split("-")[0] in other.possible


def test_diameter_is_rounded_to_one_decimal_and_volume_to_whole() -> None:
    assert _of("solid", 5.94).category == "2" and _of("solid", 5.95).category == "3"
    assert _of("solid", 7.95).category == "4A" and _of("solid", 14.95).category == "4B"
    assert _of("part_solid", 9, solid_mm=5.95).category == "4A"
    assert _of("solid", 6.0, volume_mm3=112.5).category == "3"
    assert half_up(2.675, 2) == 2.68 and half_up(-1.5, 0) == -2.0


@pytest.mark.parametrize("said, row", [
    (_known("solid", 7.6, 6.0), "4A-solid-growing"), (_known("solid", 7.9, 6.0), "4A-solid-growing"),
    (_known("solid", 8.0, 6.0), "4B-solid-new-or-growing"),
    (_known("part_solid", 9, 9, solid_mm=3.9, previous_solid_mm=2.0), "4A-part-solid-new-or-growing"),
    (_known("part_solid", 9, 9, solid_mm=4.0, previous_solid_mm=2.0), "4B-part-solid-new-or-growing"),
    (_known("part_solid", 9, 9, solid_mm=1.0, previous_solid_mm=0), "4A-part-solid-new-or-growing"),
    (_known("nonsolid", 29.9, 20), "2-nonsolid"),
    (_known("nonsolid", 31.5, 31.0), "2-nonsolid-stable"), (_known("nonsolid", 30.0, 35.0), "2-nonsolid-stable"),
    (_known("solid", 7.0, 7.0, 6, "3"), "2-after-3"), (_known("solid", 7.0, 7.0, 5.5, "3"), "2-after-3"),
    (_known("solid", 10, 12, 3, "4A"), "3-after-4A"), (_known("solid", 5, 5, 12, "2"), "2-solid-baseline"),
    (_known("solid", 16, 16, 6, "4B", proven_benign=True), "2-after-4B"),
    (_known("solid", 7, 6, 12, slow_growing=True), "4B-slow-growing"),
    (_of("solid", 9.9, juxtapleural=True), "2-juxtapleural"),
    (_of("solid", 9.9, "new", juxtapleural=True, volume_mm3=523), "2-juxtapleural"),
    (_of("solid", 10.0, juxtapleural=True), "4A-solid-baseline"),
    (_of("solid", 12.0, benign_pattern=True), "1-benign"), (_of(None, 12.0, benign_pattern=True), "1-benign"),
    (_of("solid", 7.0, suspicious=True), "4X"), (_of("solid", 15.0, suspicious=True), "4X"),
])  # fmt: skip
def test_rows_of_growth_of_follow_up_and_of_judgement(said, row) -> None:
    assert isinstance(said, Advice) and said.row == row and said.category == row.split("-")[0]


def test_every_row_is_covered_by_these_tests() -> None:
    judged = {"1-benign", "2-juxtapleural", "2-nonsolid-stable", "2-after-3", "2-after-4B", "3-after-4A",
              "4B-slow-growing", "4X"}  # fmt: skip
    assert set(FLAGGED) == judged
    assert {row.id for row in TABLE} == {row for *_, row in SIZES} | {"4A-solid-growing"}
    assert {row.category for row in (*TABLE, *FLAGGED.values())} == set(CATEGORIES) == set(NEXT_STEP)


def test_size_rows_leave_no_gap_and_do_not_overlap() -> None:
    for tenths in range(1, 400):
        mm = tenths / 10
        for nodule_type, found in (("solid", "baseline"), ("solid", "new"), ("nonsolid", "baseline")):
            assert isinstance(_of(nodule_type, mm, found), Advice), (nodule_type, found, mm)
        assert isinstance(_of("part_solid", mm, solid_mm=mm * 0.7), Advice), mm


def test_growth_is_over_one_and_a_half_mm_within_twelve_months() -> None:
    assert _known("solid", 7.5, 6.0, 12, "3").row == "2-after-3"  # 1.5 is not over 1.5
    assert _known("solid", 7.6, 6.0, 12.4, "3").row == "4A-solid-growing"
    assert isinstance(_known("solid", 7.6, 6.0, 13, "3"), NotApplicable)  # in which of the two years?
    assert isinstance(_known("solid", 9.0, 6.0, 24, "3"), NotApplicable)
    assert _known("solid", 9.1, 6.0, 24, "3").row == "4B-solid-new-or-growing"  # over 1.5 in one of them at least


def test_crossing_a_size_threshold_reclassifies_without_growth() -> None:
    assert _known("solid", 6.2, 5.5, 12, "2").row == "3-solid-baseline"
    assert _known("solid", 8.0, 7.9, 6, "3").row == "4A-solid-baseline"
    down = _known("solid", 6.2, 5.5, 3, "4A")
    assert isinstance(down, NotApplicable) and down.possible == ("3", "4A")
    unknown = _known("solid", 6.2, 5.5)
    assert isinstance(unknown, NotApplicable) and unknown.possible == ()


@pytest.mark.parametrize("said, possible", [
    (_of(None, 5.0), ("2",)), (_of(None, 7.0), ("2", "3", "4A")), (_of(None, 12.0), ("2", "3", "4A", "4B")),
    (_of("part_solid", 7.0), ("3", "4A")), (_of("part_solid", 9.0), ("3", "4A", "4B")),
    (_of("part_solid", 7.0, "new"), ("4A", "4B")), (_of("part_solid", 5.0, "new", solid_mm=4.5), ("3", "4B")),
    (_known("solid", 7.0, 7.0, 5.4, "3"), ("3",)), (_known("solid", 9.0, 9.0, 2, "4A"), ("4A",)),
    (_known("solid", 7.0, 7.0, 12, "2"), ("2", "3")), (_known("solid", 16, 16, 12, "4B"), ("2", "4B")),
    (_known("solid", 16, 16, 12, "4B", proven_benign=False), ("4B",)),
    (_known("solid", 7.0, 7.0, 6), ("2", "3", "4B")),
    (_of("solid", 5.0, suspicious=True), ("2",)), (_of("solid", 9.0, infection=True), ("0",)),
    (_of("solid", 9.9, juxtapleural=True, volume_mm3=524), ("2", "4A")),
    (_known("nonsolid", 35.0, 31.0), ()), (_known("part_solid", 5.5, 5.5, solid_mm=3.5, previous_solid_mm=1), ()),
    (_known("part_solid", 12.0, 9.0, solid_mm=3.0, previous_solid_mm=3.0), ()),
    (_of(None, 7.0, "known"), ()), (_of("solid", 7.0, None), ()), (_of("solid", 7.0, "known"), ()),
    (_of("solid", 9.0, airway=True), ()), (_of("solid", 9.0, cyst=True), ()), (_of("solid", 9.0, solid_mm=4), ()),
    (_of("part_solid", 9.0, solid_mm=0), ()), (_of("solid", 7.0, slow_growing=True), ()),
])  # fmt: skip
def test_where_no_single_row_fits_it_says_why_and_what_remains(said, possible) -> None:
    assert isinstance(said, NotApplicable) and said.possible == possible
    assert said.reason.endswith(".") and said.what_would_help.endswith(".")


@pytest.mark.parametrize("wrong", [
    {"screening": False}, {"symptoms": True}, {"known_lung_cancer": True}, {"age_years": 49}, {"age_years": 81},
    {"pack_years": 19.9}, {"years_since_quitting": 16},
])  # fmt: skip
def test_outside_screening_there_is_no_category(wrong) -> None:
    said = _of("solid", 9.0, **wrong)
    assert isinstance(said, NotApplicable) and said.possible == () and "gives no category" in said.reason


@pytest.mark.parametrize("edge", [{"age_years": 50}, {"age_years": 80}, {"pack_years": 20},
                                  {"years_since_quitting": 15}])  # fmt: skip
def test_the_edges_of_screening_are_inside(edge) -> None:
    assert isinstance(_of("solid", 9.0, **edge), Advice)


@pytest.mark.parametrize("name", ["mean_mm", "screening", "symptoms", "known_lung_cancer", "age_years", "pack_years",
                                  "years_since_quitting"])  # fmt: skip
def test_what_is_not_known_is_asked_for(name) -> None:
    said = lung_rads(replace(PATIENT, **{"mean_mm": 9.0, "nodule_type": "solid", "found": "baseline", name: None}))
    assert isinstance(said, NotApplicable) and said.what_would_help == f"Say {INPUT_NAMES[name]}."


def test_what_was_not_said_is_named() -> None:
    assert INPUT_NAMES["suspicious"] in _of("solid", 9.0).assumed
    assert INPUT_NAMES["suspicious"] not in _of("solid", 9.0, suspicious=False).assumed


@pytest.mark.parametrize("wrong", [
    {"mean_mm": 0}, {"mean_mm": float("nan")}, {"mean_mm": 6.0, "solid_mm": 6.1}, {"nodule_type": "hazy"},
    {"found": "old"}, {"previous_category": "4X"}, {"months_since": -1}, {"volume_mm3": 0}, {"mean_mm": True},
])  # fmt: skip
def test_impossible_inputs_are_errors(wrong) -> None:
    with pytest.raises(InvalidInput) as caught:
        replace(PATIENT, **wrong)
    assert caught.value.remedy
