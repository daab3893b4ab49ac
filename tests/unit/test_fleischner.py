"""Fleischner 2017: every row fires, whole millimetres decide, nothing is guessed; and ``lungxai guideline``."""

import argparse
import json
from dataclasses import fields, replace

import pytest

from shared_models import guidelines_command
from shared_models.contract.errors import InvalidInput
from shared_models.fleischner import INPUT_NAMES, TABLE, IncidentalNodule, fleischner
from shared_models.nodule_guideline import Advice, NotApplicable

PATIENT = IncidentalNodule(age_years=63, screening=False, known_cancer=False, immunosuppressed=False)
NONE, OPTIONAL = "No routine follow-up", "CT at 12 months is optional"


def _of(
    nodule_type: str | None, count: str | None, risk: str | None, mm: float, **more: object
) -> Advice | NotApplicable:
    return fleischner(replace(PATIENT, nodule_type=nodule_type, count=count, risk=risk, mean_mm=mm, **more))


ROWS = [  # by hand from the published table: type, count, risk, mm within the row, what is to be done, row
    ("solid", "single", "low", (3.0, 5.4), NONE, "solid-single-low-under-6"),
    ("solid", "single", "high", (3.0, 5.4), OPTIONAL, "solid-single-high-under-6"),
    ("solid", "single", "low", (5.5, 6.0, 8.0, 8.4), "CT at 6 to 12 months, then consider CT at 18 to 24",
     "solid-single-low-6-to-8"),
    ("solid", "single", "high", (5.5, 6.0, 8.0, 8.4), "CT at 6 to 12 months, then CT at 18 to 24",
     "solid-single-high-6-to-8"),
    ("solid", "single", "low", (8.5, 9.0, 30.4), "Consider CT at 3 months, PET/CT or tissue", "solid-single-over-8"),
    ("solid", "single", "high", (8.5, 9.0, 30.4), "Consider CT at 3 months, PET/CT or tissue", "solid-single-over-8"),
    ("solid", "single", None, (8.5, 9.0, 30.4), "Consider CT at 3 months, PET/CT or tissue", "solid-single-over-8"),
    ("solid", "multiple", "low", (5.4,), NONE, "solid-multiple-low-under-6"),
    ("solid", "multiple", "high", (5.4,), OPTIONAL, "solid-multiple-high-under-6"),
    ("solid", "multiple", "low", (5.5, 8.4), "CT at 3 to 6 months, then consider CT at 18 to 24",
     "solid-multiple-low-6-to-8"),
    ("solid", "multiple", "high", (5.5, 8.4), "CT at 3 to 6 months, then CT at 18 to 24",
     "solid-multiple-high-6-to-8"),
    ("solid", "multiple", "low", (8.5,), "CT at 3 to 6 months, then consider CT at 18 to 24",
     "solid-multiple-low-over-8"),
    ("solid", "multiple", "high", (8.5,), "CT at 3 to 6 months, then CT at 18 to 24", "solid-multiple-high-over-8"),
    ("nonsolid", "single", None, (5.4,), NONE, "nonsolid-single-under-6"),
    ("nonsolid", "single", None, (5.5, 8.5, 20), "CT at 6 to 12 months to confirm persistence, then CT every 2 years "
     "until 5 years", "nonsolid-single-from-6"),
    ("part_solid", "single", None, (5.4,), NONE, "part-solid-single-under-6"),
    ("part_solid", "single", "high", (5.5, 8.5, 20), "CT at 3 to 6 months to confirm persistence. If unchanged and the "
     "solid component stays < 6 mm, CT every year for 5 years", "part-solid-single-from-6"),
    ("nonsolid", "multiple", None, (5.4,), "CT at 3 to 6 months. If stable, consider CT at 2 and 4 years",
     "subsolid-multiple-under-6"),
    ("part_solid", "multiple", "low", (5.5,), "CT at 3 to 6 months. Then as the most suspicious nodule",
     "subsolid-multiple-from-6"),
]  # fmt: skip


@pytest.mark.parametrize("nodule_type, count, risk, sizes, step, row", ROWS)
def test_rows(nodule_type, count, risk, sizes, step, row) -> None:
    for mm in sizes:
        said = _of(nodule_type, count, risk, mm)
        assert isinstance(said, Advice) and said.row == row and said.next_step.startswith(step), mm
        assert said.source.startswith("MacMahon 2017, table, part " + ("A" if nodule_type == "solid" else "B"))


def test_every_row_is_covered_by_these_tests() -> None:
    assert {row.id for row in TABLE} == {row for *_, row in ROWS} and len(TABLE) == 17


@pytest.mark.parametrize("nodule_type, mm, mm3, row", [
    ("solid", 5.4, 99, "solid-single-low-under-6"), ("solid", 5.8, 100, "solid-single-low-6-to-8"),
    ("solid", 8.0, 250.4, "solid-single-low-6-to-8"), ("solid", 8.5, 250.5, "solid-single-over-8"),
    ("nonsolid", 5.4, 99.4, "nonsolid-single-under-6"), ("part_solid", 5.8, 100, "part-solid-single-from-6"),
])  # fmt: skip
def test_volume_has_the_tables_thresholds_and_must_agree(nodule_type, mm, mm3, row) -> None:
    assert _of(nodule_type, "single", "low", mm, volume_mm3=mm3).row == row
    other = _of(nodule_type, "single", "low", 5.0 if mm3 >= 100 else 12.0, volume_mm3=mm3)
    assert isinstance(other, NotApplicable) and len(other.possible) == 2 and "Diameter and volume" in other.reason


@pytest.mark.parametrize("given, asked, possible", [
    ((None, "single", "low", 5.0), {"nodule_type"}, 1), ((None, "single", "low", 7.0), {"nodule_type"}, 3),
    (("solid", "single", None, 7.0), {"risk"}, 2), (("solid", None, "high", 7.0), {"count"}, 2),
    (("nonsolid", None, None, 7.0), {"count"}, 2), ((None, None, None, 7.0), {"nodule_type", "count", "risk"}, 7),
])  # fmt: skip
def test_what_is_not_known_leaves_all_that_is_possible(given, asked, possible) -> None:
    said = _of(*given)
    assert isinstance(said, NotApplicable) and len(said.possible) == possible == len(set(said.possible))
    told = {name for name in ("nodule_type", "count", "risk") if INPUT_NAMES[name] in said.what_would_help}
    assert told == asked


@pytest.mark.parametrize("wrong", [
    {"age_years": 34.9}, {"age_years": 0}, {"screening": True}, {"known_cancer": True}, {"immunosuppressed": True},
    {"seen_before": True}, {"benign_pattern": True}, {"typical_perifissural": True}, {"mean_mm": 30.5},
])  # fmt: skip
def test_outside_its_limits_it_does_not_apply(wrong) -> None:
    said = fleischner(replace(PATIENT, **{"mean_mm": 7.0, "nodule_type": "solid", "count": "single", "risk": "low",
                                          **wrong}))  # fmt: skip
    assert isinstance(said, NotApplicable) and "does not apply" in said.reason and said.possible == ()
    assert said.what_would_help


@pytest.mark.parametrize("name", ["mean_mm", "age_years", "screening", "known_cancer", "immunosuppressed"])
def test_what_is_not_known_is_asked_for(name) -> None:
    said = fleischner(replace(PATIENT, **{"mean_mm": 7.0, "nodule_type": "solid", name: None}))
    assert isinstance(said, NotApplicable) and said.what_would_help == f"Say {INPUT_NAMES[name]}."


def test_age_35_is_inside_and_what_was_not_said_is_named() -> None:
    said = _of("solid", "single", "low", 7.0, age_years=35)
    assert isinstance(said, Advice) and len(said.assumed) == 3
    assert len(_of("solid", "single", "low", 7.0, seen_before=False).assumed) == 2


@pytest.mark.parametrize("wrong", [{"mean_mm": 0}, {"mean_mm": float("inf")}, {"risk": "medium"}, {"count": "2"},
                                   {"nodule_type": "ground glass"}, {"age_years": 130}])  # fmt: skip
def test_impossible_inputs_are_errors(wrong) -> None:
    with pytest.raises(InvalidInput):
        replace(PATIENT, **wrong)


def _ran(*words: str) -> int:
    parser = argparse.ArgumentParser()
    guidelines_command.register(parser.add_subparsers())
    given = parser.parse_args(["guideline", *words])
    return given.run(given)


def _examples() -> list[list[str]]:
    text = guidelines_command._EXAMPLES.replace("\\\n", " ")
    lines = [line.split()[2:] for line in text.splitlines() if line.strip().startswith("lungxai guideline")]
    return [words for words in lines if "--help" not in words]


def test_the_examples_of_the_help_give_an_answer_with_its_row_source_and_notice(capsys) -> None:
    assert [words[0] for words in _examples()] == ["fleischner", "lung-rads"]
    for words, step, row in zip(_examples(), ("CT at 6 to 12 months", "Category 4A. Low-dose CT in 3 months"),
                                ("solid-single-high-6-to-8", "4A-solid-baseline"), strict=True):  # fmt: skip
        assert _ran(*words) == 0
        said = capsys.readouterr().out
        assert said.startswith(step) and f"Row {row}:" in said and "Research use only" in said
        assert _ran(*words, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["applies"] and told["row"] == row and told["source"] and "Research use only" in told["notice"]


@pytest.mark.parametrize("name", guidelines_command.GUIDELINES)
def test_without_inputs_it_says_what_is_missing(name, capsys) -> None:
    assert _ran(name) == 0
    said = capsys.readouterr().out
    assert said.startswith("No single answer.") and "long and short axis" in said and "Research use only" in said
    assert _ran(name, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert not told["applies"] and told["reason"] and "category" not in told


def test_an_unknown_type_prints_what_remains_possible(capsys) -> None:
    _, words = _examples()
    at = words.index("--type")
    assert _ran(*words[:at], *words[at + 2 :]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No single answer.") and "Possible: 2 / 3 / 4A / 4B" in said


@pytest.mark.parametrize("name", guidelines_command.GUIDELINES)
def test_every_input_has_a_flag_with_words(name, capsys) -> None:
    with pytest.raises(SystemExit):
        _ran(name, "--help")
    said = capsys.readouterr().out
    for field in fields(guidelines_command.GUIDELINES[name][1]):
        assert f"--{'type' if field.name == 'nodule_type' else field.name.replace('_', '-')}" in said
    assert "Limits:" in said and "Source:" in said and "examples:" in said
