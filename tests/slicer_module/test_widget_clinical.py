"""The clinical form: texts to fields and back, with ranges, units, and errors by field."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from LungXAILib import clinical_form

from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import SEXES, SMOKING, ClinicalFields


def test_the_form_has_the_fields_of_the_contract() -> None:
    assert list(clinical_form.FIELDS) == [field.name for field in dataclasses.fields(ClinicalFields)]


@pytest.mark.parametrize("name", ["age_years", "pack_years"])
def test_the_ranges_are_those_of_the_contract(name: str) -> None:
    spec = clinical_form.FIELDS[name]
    for value in (spec.lower, spec.upper):
        assert getattr(ClinicalFields(**{name: value}), name) == value
    for value in (spec.lower - 1, spec.upper + 1):
        with pytest.raises(InvalidInput):
            ClinicalFields(**{name: value})
        assert set(clinical_form.read({name: str(value)}).errors) == {name}


def test_an_empty_form_is_all_not_known() -> None:
    assert clinical_form.read({}).fields == ClinicalFields()
    assert set(clinical_form.shown(None).values()) == {""}


def test_a_comma_is_a_decimal_point() -> None:
    assert clinical_form.read({"age_years": " 66,5 "}).fields == ClinicalFields(age_years=66.5)


@pytest.mark.parametrize(
    ("texts", "wrong"),
    [
        ({"age_years": "old"}, {"age_years"}),
        ({"age_years": "nan", "pack_years": "inf"}, {"age_years", "pack_years"}),
        ({"age_years": "121"}, {"age_years"}),
        ({"sex": "other"}, {"sex"}),
        ({"smoking": "pipe"}, {"smoking"}),
        ({"smoking": "never", "pack_years": "10"}, {"pack_years"}),
    ],
)
def test_what_is_wrong_is_said_by_field(texts, wrong) -> None:
    form = clinical_form.read(texts)
    assert form.fields is None and set(form.errors) == wrong and all(form.errors.values())


@given(
    age=st.none() | st.integers(0, 120),
    sex=st.none() | st.sampled_from(SEXES),
    smoking=st.none() | st.sampled_from(SMOKING[1:]),
    packs=st.none() | st.integers(0, 3000).map(lambda n: n / 10),
)
def test_what_is_shown_is_read_back(age, sex, smoking, packs) -> None:
    fields = ClinicalFields(age, sex, smoking, packs)
    assert clinical_form.read(clinical_form.shown(fields)).fields == fields
