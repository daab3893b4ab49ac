"""What each modality and each clinical field contributes, and what is said without it: exact, for every case."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.clinical import FIELDS, ClinicalModel
from shared_models.contract.errors import InvalidInput
from shared_models.contract.fusion_result import BASE, CLINICAL_FIELDS, FusionResult
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, SEXES, SMOKING, Abstention, ClinicalFields
from shared_models.fusion import EPSILON, PRIOR, WEIGHTS, fuse
from shared_models.shapley import shapley

NONE = dict.fromkeys(CLASSES)
FAST = settings(deadline=None, max_examples=40)


def made(calibrated=True):
    return Provenance("test 1", "0" * 64, "0", calibrated, "cpu", ())


def slide(values, calibrated=True):
    table = np.zeros((0, 5), np.float32)
    return PathologyResult(
        "s", 0.5, (448.0, 448.0), np.zeros((0, 2), np.int64), table, {**NONE, **values}, (made(calibrated),)
    )


def ct(malignancy):
    return RadiologyResult("u", (), malignancy, NONE, (made(),))


@pytest.fixture(scope="module")
def model() -> ClinicalModel:
    return ClinicalModel.load()


@st.composite
def slides(draw):
    """Any two or more classes, or no slide."""
    names = draw(st.one_of(st.just([]), st.lists(st.sampled_from(CLASSES), min_size=2, max_size=5, unique=True)))
    raw = [draw(st.floats(0.01, 1)) for _ in names]
    return slide({n: x / sum(raw) for n, x in zip(names, raw)}, draw(st.booleans())) if names else None


@st.composite
def patients(draw):
    smoking = draw(st.sampled_from((None, *SMOKING)))
    packs = st.just(0.0) if smoking == "never" else st.floats(0, 300)
    age, sex = draw(st.none() | st.floats(0, 120)), draw(st.sampled_from((None, *SEXES)))
    return ClinicalFields(age, sex, smoking, draw(st.none() | packs))


cts = st.none() | st.floats(0, 1).map(ct)
weights = st.fixed_dictionaries({}, optional={m: st.floats(0, 3) for m in WEIGHTS})


def known(patient):
    return [name for name in CLINICAL_FIELDS if getattr(patient, name) is not None]


def without(patient, name):
    return dataclasses.replace(patient, **{name: None})


@FAST
@given(cts, slides(), patients(), weights)
def test_prior_and_contributions_are_the_fused_log_odds(model, radiology, pathology, patient, chosen):
    answer = fuse(radiology, pathology, patient, clinical_model=model, weights=chosen)
    rows = [row for name, row in answer.contributions.items() if name != "clinical"]
    rows += answer.field_contributions.values()
    scores = {c: math.log(PRIOR[c]) + math.fsum(row[c] for row in rows) for c in CLASSES}
    assessed = [c for c in CLASSES if answer.probabilities[c] is not None]
    for one, other in itertools.combinations(assessed, 2):
        fused = math.log(answer.probabilities[one] / answer.probabilities[other])
        assert fused == pytest.approx(scores[one] - scores[other], abs=1e-9)
    total = math.fsum(math.exp(score) for score in scores.values())
    left = math.fsum(math.exp(scores[c]) for c in CLASSES if c not in assessed) / total
    assert answer.not_assessed_mass == pytest.approx(left, abs=1e-9)


@FAST
@given(patients(), weights)
def test_the_fields_sum_to_what_the_clinical_fields_contribute(model, patient, chosen):
    answer = fuse(None, None, patient, clinical_model=model, weights=chosen)
    shares, took_part = answer.field_contributions, "clinical" in answer.weights
    assert set(shares) == ({*CLINICAL_FIELDS, BASE} if known(patient) else set())
    whole = answer.contributions.get("clinical", dict.fromkeys(CLASSES, 0.0))
    for name in CLASSES if shares else ():
        assert math.fsum(row[name] for row in shares.values()) == pytest.approx(whole[name], abs=1e-9)
    for name in set(shares) - set(known(patient)) - {BASE}:
        assert set(shares[name].values()) == {0.0}
    assert took_part or not any(v for row in shares.values() for v in row.values())
    assert took_part or "clinical" in answer.missing


@FAST
@given(st.floats(0, 120), st.sampled_from(SEXES), st.floats(0.01, 3))
def test_the_shares_of_age_and_sex_are_the_model_s_own_terms(model, age, sex, weight):
    """The log odds are linear in them: coefficient times field, less the coefficient of the flag "not known"."""
    answer = fuse(None, None, ClinicalFields(age, sex), clinical_model=model, weights={"clinical": weight})
    for name, column, value in (("age_years", "age_years", age), ("sex", "male", float(sex == "male"))):
        at = FIELDS.index(column)
        term = (
            model.coefficients[at] * (value - model.mean[at]) / model.scale[at] - model.coefficients[at + len(FIELDS)]
        )
        share = answer.field_contributions[name]
        odds = share["squamous_cell"] - share["adenocarcinoma"]
        assert odds == pytest.approx(weight * model.platt[0] * term, abs=1e-9)
    flags = model.coefficients[len(FIELDS) :].sum()
    squamous = model.platt[0] * (model.intercept + flags) + model.platt[1]
    base = answer.field_contributions[BASE]
    news = squamous - math.log(model.prior["squamous_cell"] / model.prior["adenocarcinoma"])
    assert base["squamous_cell"] - base["adenocarcinoma"] == pytest.approx(weight * news, abs=1e-9)


@FAST
@given(cts, slides(), patients(), weights)
def test_left_out_is_the_fusion_of_the_rest(model, radiology, pathology, patient, chosen):
    def run(r, p, c):
        return fuse(r, p, c, clinical_model=model, weights=chosen)

    answer = run(radiology, pathology, patient)
    fields = known(patient) if "clinical" in answer.weights else []
    rest = {
        "radiology": lambda: run(None, pathology, patient),
        "pathology": lambda: run(radiology, None, patient),
        "clinical": lambda: run(radiology, pathology, None),
        **{name: lambda name=name: run(radiology, pathology, without(patient, name)) for name in fields},
    }
    assert set(answer.leave_one_out) == {*answer.weights, *fields}
    for name, left in answer.leave_one_out.items():
        expected = rest[name]()
        assert left.probabilities == expected.probabilities
        assert left.not_assessed_mass == expected.not_assessed_mass
        assert left.abstention == expected.abstention and left.answer == expected.answer
    assert to_json(from_json(FusionResult, to_json(answer))) == to_json(answer)
    assert from_json(FusionResult, to_json(answer)) == answer


def test_without_the_only_field_the_clinical_side_is_gone(model):
    only_age = ClinicalFields(80)
    answer = fuse(ct(0.9), slide({"adenocarcinoma": 0.7, "squamous_cell": 0.3}), only_age, clinical_model=model)
    assert answer.leave_one_out["age_years"] == answer.leave_one_out["clinical"]
    assert answer.leave_one_out["pathology"].answer is None
    assert answer.leave_one_out["pathology"].abstention is not None


class Steep:
    """So sure that the pool clips it, and abstains without a sex: nothing that is linear in the fields."""

    prior = {"adenocarcinoma": 0.4, "squamous_cell": 0.6}
    provenance = made()

    def probabilities(self, fields):
        if fields.sex is None:
            return Abstention("No sex.", "The sex.")
        odds = 3.0 * (fields.sex == "male") + 0.2 * (fields.age_years or 0.0) - 2.0
        return {"adenocarcinoma": 1 / (1 + math.exp(odds)), "squamous_cell": 1 / (1 + math.exp(-odds))}

    def base(self):
        return {"adenocarcinoma": 0.5, "squamous_cell": 0.5}


def test_a_clipped_and_abstaining_model_still_adds_up():
    answer = fuse(None, None, ClinicalFields(90.0, "male"), clinical_model=Steep())
    shares, whole = answer.field_contributions, answer.contributions["clinical"]
    ratio = {"squamous_cell": (1 - EPSILON) / 0.6, "adenocarcinoma": EPSILON / 0.4}  # clipped at 0.99
    odds = WEIGHTS["clinical"] * math.log(ratio["squamous_cell"] / ratio["adenocarcinoma"])
    assert whole["squamous_cell"] - whole["adenocarcinoma"] == pytest.approx(odds)
    for name in CLASSES:
        assert math.fsum(row[name] for row in shares.values()) == pytest.approx(whole[name], abs=1e-9)
    assert shares["age_years"]["squamous_cell"] > 0 and shares["smoking"]["squamous_cell"] == 0
    without_sex = answer.leave_one_out["sex"]
    assert without_sex.abstention is not None and without_sex.not_assessed_mass == 1


def test_shapley_by_hand():
    """Two gloves make a pair: a left one and two right ones (the textbook's glove game): 2/3, 1/6, 1/6."""

    def pairs(held):
        return {"pairs": float("left" in held and bool(held & {"right", "other right"})), "gloves": 1.0 + len(held)}

    base, shares = shapley(("left", "right", "other right"), pairs)
    assert base == {"pairs": 0.0, "gloves": 1.0}
    assert [shares[n]["pairs"] for n in shares] == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert [shares[n]["gloves"] for n in shares] == pytest.approx([1, 1, 1])


def test_smoking_and_pack_years_share_what_both_say(model):
    never = fuse(None, None, ClinicalFields(smoking="never", pack_years=0.0), clinical_model=model).field_contributions
    alone = fuse(None, None, ClinicalFields(smoking="never"), clinical_model=model).field_contributions
    for name in CLASSES:
        both = never["smoking"][name] + never["pack_years"][name]
        assert both == pytest.approx(alone["smoking"][name], abs=1e-9)
    assert never["pack_years"]["adenocarcinoma"] > 0


def whole_case(model):
    patient = ClinicalFields(67, "male", "former", 40)
    tissue = slide({"adenocarcinoma": 0.7, "squamous_cell": 0.2, "normal": 0.1})
    return fuse(ct(0.9), tissue, patient, clinical_model=model)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("field_contributions", lambda f: {**f, "sex": {**f["sex"], "normal": 0.5}}),
        ("field_contributions", lambda f: {**f, "sex": {**f["sex"], "normal": math.nan}}),
        ("field_contributions", lambda f: {k: v for k, v in f.items() if k != "base"}),
        ("field_contributions", lambda f: {**f, "weight": f["sex"]}),
        ("field_contributions", lambda f: {**f, "sex": {"normal": 0.0}}),
        ("leave_one_out", lambda f: {**f, "weight": f["sex"]}),
    ],
)
def test_shares_that_do_not_add_up_are_refused(model, field, change):
    answer = whole_case(model)
    with pytest.raises(InvalidInput):
        dataclasses.replace(answer, **{field: change(getattr(answer, field))})


def test_a_result_of_an_older_server_is_read_and_the_new_fields_are_left_out_while_empty(model):
    body = to_json(whole_case(model))
    del body["field_contributions"], body["leave_one_out"]
    old = from_json(FusionResult, body)
    assert old.field_contributions == {} == old.leave_one_out
    assert to_json(old) == body and old.answer == "adenocarcinoma"
