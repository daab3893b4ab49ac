"""Guidelines in the report: each possibility that the case leaves open is there, with its row, and none is chosen."""

import dataclasses
import re

import pytest

from inference_server.report_guidelines import guidelines_of, kind_words
from shared_models import fleischner, lung_rads
from shared_models.contract.results import Nodule
from shared_models.contract.values import CLASSES, ClinicalFields
from shared_models.lung_rads_table import TABLE

NOBODY = None


def nodule(long_mm: float, short_mm: float, mm3: float = 0.0) -> Nodule:
    volume = mm3 or 4.18879 * ((long_mm + short_mm) / 4) ** 3  # of the ball of the mean diameter
    return Nodule(1, (0, 0, 0), long_mm, short_mm, volume, -100, 0.8, dict.fromkeys(CLASSES), "search", "left")


def scenes(*args):
    found = guidelines_of(*args)
    return {(s.guideline, s.premise): s for s in found.scenes}


def rads(found, premise):
    return found[lung_rads.GUIDELINE, premise]


@pytest.mark.parametrize(
    ("size", "kind", "first", "new"),
    [
        ((5.0, 4.8), "solid", "2", "3"),
        ((7.0, 6.0), "solid", "3", "4A"),
        ((12.0, 9.0), "solid", "4A", "4B"),
        ((20.0, 16.0), "solid", "4B", "4B"),
        ((12.0, 9.0), "nonsolid", "2", "2"),
    ],
)
def test_a_known_type_has_one_category_for_a_first_ct_and_one_for_a_new_nodule(size, kind, first, new) -> None:
    found = scenes(nodule(*size), kind, 1, NOBODY)
    for premise, category in (("first screening CT", first), ("new since an earlier screening CT", new)):
        [branch] = rads(found, premise).branches
        assert branch.answer == f"category {category}" and branch.applies
        row = next(r for r in TABLE if r.condition == branch.row)  # the very row of the table
        assert row.category == category and branch.source == row.source
    [grown] = rads(found, "an earlier screening CT shows it").branches
    assert grown.answer == "depends on its growth" and not grown.applies


def test_an_unknown_type_names_every_type_and_chooses_none() -> None:
    found = scenes(nodule(12, 9), None, 1, NOBODY)
    scene = rads(found, "first screening CT")
    assert scene.answer == "category 2, 3, 4A or 4B"
    assert [(b.when, b.answer) for b in scene.branches] == [
        ("solid", "category 4A"), ("part-solid", "category 3, 4A or 4B"), ("ground glass", "category 2"),
    ]  # fmt: skip
    assert [b.applies for b in scene.branches] == [True, False, True]


def test_a_nodule_found_by_chance_has_a_row_for_each_risk_where_that_matters() -> None:
    chance = fleischner.GUIDELINE, "found by chance"
    middle = scenes(nodule(7, 6), "solid", 1, NOBODY)[chance]
    assert [b.when for b in middle.branches] == ["low risk", "high risk"]
    assert middle.branches[0].answer != middle.branches[1].answer
    assert all("MacMahon" in b.source for b in middle.branches)
    large = scenes(nodule(12, 9), "solid", 1, NOBODY)[chance]
    assert [b.when for b in large.branches] == [""] and "PET/CT" in large.answer
    several = scenes(nodule(12, 9), "solid", 3, NOBODY)[chance]
    assert "multiple" in several.branches[0].source and "single" in large.branches[0].source


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (ClinicalFields(age_years=45), "ages 50 to 80"),
        (ClinicalFields(smoking="never"), "20 pack-years"),
        (ClinicalFields(60, "male", "former", 5.0), "20 pack-years"),
    ],
)
def test_who_is_not_screened_has_no_category_with_the_reason_once(fields, reason) -> None:
    found = scenes(nodule(12, 9), None, 1, fields)
    own = [s for (guideline, _), s in found.items() if guideline == lung_rads.GUIDELINE]
    assert len(own) == 1 and own[0].answer == "not applicable" and reason in own[0].branches[0].row


def test_what_is_taken_to_hold_is_said_and_what_is_known_is_not_assumed() -> None:
    unknown = dict(guidelines_of(nodule(12, 9), "solid", 1, None).premises)[lung_rads.GUIDELINE]
    for words in ("50 to 80 years", "20 pack-years", "15 years", "made for lung cancer screening", "no known lung"):
        assert words in unknown
    known = dict(guidelines_of(nodule(12, 9), "solid", 1, ClinicalFields(67, "male", "current", 40.0)).premises)
    for words in ("50 to 80", "20 pack-years", "15 years"):
        assert words not in known[lung_rads.GUIDELINE]
    assert "35 years" not in known[fleischner.GUIDELINE] and "no immunosuppression" in known[fleischner.GUIDELINE]


def test_a_mass_is_no_nodule() -> None:
    found = scenes(nodule(40, 35), "solid", 1, NOBODY)[fleischner.GUIDELINE, "found by chance"]
    assert found.answer == "not applicable" and "mass" in found.branches[0].row
    assert "Fleischner: not applicable" in guidelines_of(nodule(40, 35), "solid", 1, NOBODY).short


def test_a_size_beyond_every_table_is_an_answer_not_a_failure() -> None:
    found = guidelines_of(dataclasses.replace(nodule(40, 35), long_axis_mm=900.0), "solid", 1, NOBODY)
    assert {scene.answer for scene in found.scenes} == {"not applicable"}


def test_volume_and_diameter_that_disagree_are_both_told() -> None:
    agree = rads(scenes(nodule(7, 6), "solid", 1, NOBODY), "first screening CT")
    assert agree.notes == ()
    scene = rads(scenes(nodule(7, 6, mm3=400), "solid", 1, NOBODY), "first screening CT")
    assert scene.answer == "category 3" and re.search(r"volume, 400 mm³.*4A", scene.notes[0])


def test_the_short_line_names_both_categories_and_the_step() -> None:
    assert guidelines_of(nodule(12, 9), "solid", 1, NOBODY).short == (
        "Screened: Lung-RADS 4A (new: 4B). "
        "By chance, Fleischner: Consider CT at 3 months, PET/CT or tissue sampling."
    )
    unknown = guidelines_of(nodule(12, 9), None, 1, NOBODY).short
    assert "2, 3, 4A or 4B (new: 2, 4A or 4B)" in unknown and unknown.endswith("by type and risk.")
    assert guidelines_of(nodule(7, 6), "solid", 1, NOBODY).short.endswith("by risk.") and len(unknown) <= 110
    assert "4B. By chance" in guidelines_of(nodule(20, 16), "solid", 1, NOBODY).short  # first or new alike


def test_kinds_have_words() -> None:
    assert [kind_words(k) for k in ("solid", "part_solid", "nonsolid", None)] == [
        "solid", "part-solid", "ground glass", "not known",
    ]  # fmt: skip
