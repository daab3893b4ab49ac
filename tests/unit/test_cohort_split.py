"""Splits by patient: the same everywhere, stable, stratified, and within the one that shipped models learned from."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models import clinical_data
from shared_models.cohorts.case import CohortCase
from shared_models.cohorts.split import balanced, read_splits, split_of, with_splits
from shared_models.contract.errors import InvalidInput

MANY = [f"LUNG1-{n:03d}" for n in range(4000)]


def test_shares():
    counts = Counter(split_of(patient) for patient in MANY)
    # Three standard deviations of a binomial share of 4,000.
    assert abs(counts["train"] / 4000 - 0.70) < 0.022 and abs(counts["test"] / 4000 - 0.15) < 0.017
    assert abs(counts["val"] / 4000 - 0.15) < 0.017


def test_known_answers():
    """So that no change of the code moves a patient."""
    known = {"LIDC-IDRI-0001": "val", "TCGA-05-4245": "train", "R01-001": "test", "LUNG1-007": "test"}
    assert {patient: split_of(patient) for patient in known} == known


def test_a_seed_is_another_split():
    moved = sum(split_of(p) != split_of(p, 1) for p in MANY)
    assert 0.3 < moved / len(MANY) < 0.6


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_val_and_test_lie_within_the_earlier_split(patient):
    now, earlier = split_of(patient), clinical_data.split_of(patient)
    assert now == earlier or now == "train"
    assert earlier != "train" or now == "train"


def test_balanced_is_exact_in_each_class():
    patients = {p: ("adenocarcinoma" if n % 4 else "small_cell") for n, p in enumerate(MANY[:200])}
    result = balanced(patients)
    for label, total in (("adenocarcinoma", 150), ("small_cell", 50)):
        counts = Counter(result[p] for p in patients if patients[p] == label)
        assert sum(counts.values()) == total
        assert abs(counts["train"] - 0.7 * total) <= 1 and abs(counts["test"] - 0.15 * total) <= 1


@pytest.mark.parametrize("count", range(1, 12))
def test_a_small_class_is_everywhere(count):
    counts = Counter(balanced(dict.fromkeys(MANY[:count], "large_cell")).values())
    assert sum(counts.values()) == count
    assert count < 3 or set(counts) == {"train", "val", "test"}


def test_earlier_assignments_are_kept():
    first = balanced(dict.fromkeys(MANY[:60], "adenocarcinoma"))
    later = balanced(dict.fromkeys(MANY[:100], "adenocarcinoma"), earlier=first)
    assert all(later[p] == first[p] for p in first)
    assert Counter(later.values()) == {"train": 70, "val": 15, "test": 15}


def _case(patient, **more):
    return CohortCase(patient, patient, "lidc-idri", **more)


def test_a_given_split_goes_before_the_collections_and_that_before_the_hash():
    cases = [_case("a", split="val"), _case("b", split="val"), _case("c"), _case("d", splittable=False)]
    got = {case.patient_id: case.split for case in with_splits(cases, {"a": "test"})}
    assert got == {"a": "test", "b": "val", "c": split_of("c"), "d": None}


def test_the_split_of_the_real_nodules_is_honoured(real_data):
    table = read_splits(real_data / "lidc_nodule_slices" / "nodules.csv")
    cases = list(with_splits((_case(p) for p in table), table))
    assert len(cases) == 743 and {case.patient_id: case.split for case in cases} == table


def test_a_table_that_contradicts_itself(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("patient_id,split\nA,train\nA,test\n")
    with pytest.raises(InvalidInput, match="two splits"):
        read_splits(path)
    path.write_text("patient,split\nA,train\n")
    with pytest.raises(InvalidInput, match="patient_id"):
        read_splits(path)
