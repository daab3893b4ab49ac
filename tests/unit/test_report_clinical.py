"""The clinical fields in the report: units, the model's answer, and published risks as ranges over what is unknown."""

import dataclasses

import pytest
from report_cases import GALLERY, PATIENT, SPOTS, case, ct, slide

from inference_server.report_clinical import clinical_values, risk_range
from shared_models.clinical import ClinicalModel
from shared_models.clinical_risk import BrockNodule, MayoNodule, brock, mayo
from shared_models.contract.values import ClinicalFields


def risks(record):
    return {row["name"]: row for row in clinical_values(record)["risks"]}


def one_nodule(clinical=PATIENT, **more):
    """One solid nodule of 9 mm, in a case with these fields."""
    return case(clinical=clinical, **ct(1, spots=SPOTS[2:3]), **more)


def test_nothing_given_and_no_nodule_is_no_values() -> None:
    assert clinical_values(GALLERY["slide_only"]()) is None


def test_fields_have_units_and_what_is_unknown_says_so() -> None:
    fields = dict(clinical_values(case(clinical=ClinicalFields(67, "female")))["fields"])
    assert fields == {"Age": "67 years", "Sex": "female", "Smoking": "not known", "Pack-years": "not known"}


def test_mayo_spans_every_combination_of_what_is_unknown() -> None:
    record = one_nodule()
    found = risks(record)["Mayo"]["range"]
    fixed = dict(age_years=67.0, ever_smoked=True, diameter_mm=9.0, solitary=True, cancer_within_5_years=False,
                 lung_cancer_before=False)  # fmt: skip
    low = mayo(MayoNodule(**fixed, extrathoracic_cancer=False, spiculated=False, upper_lobe=False)).probability
    high = mayo(MayoNodule(**fixed, extrathoracic_cancer=True, spiculated=True, upper_lobe=True)).probability
    assert (found.low, found.high) == pytest.approx((low, high)) and low < 0.2 < high
    assert len(found.varied) == 3 and "spiculation" in found.varied and "Swensen" in found.source
    assert any("no cancer within five years" in words for words in found.taken)


def test_brock_varies_sex_and_age_only_where_they_are_not_known() -> None:
    known = risks(one_nodule())["Brock"]["range"]
    assert not any("age" in words or words == "sex" for words in known.varied)
    fixed = dict(age_years=67.0, sex="female", ever_smoked=True, lung_cancer_before=False, first_screening_ct=True,
                 diameter_mm=9.0, nodule_type="solid", nodule_count=1)  # fmt: skip
    least = brock(BrockNodule(**fixed, family_lung_cancer=False, emphysema=False, upper_lobe=False, spiculated=False))
    assert known.low == pytest.approx(least.probability) and "type as computed" in known.taken
    unknown = risks(one_nodule(ClinicalFields()))["Brock"]["range"]
    assert "age, 50 to 75 years" in unknown.varied and "sex" in unknown.varied and "smokes or smoked" in unknown.taken
    assert unknown.low < known.low and unknown.high > known.high


def test_no_type_means_every_type() -> None:
    bare = case(**{**ct(1), "volume": None, "mask": None})
    assert "type of the nodule" in risks(bare)["Brock"]["range"].varied


@pytest.mark.parametrize(
    ("record", "name", "reason"),
    [
        (lambda: case(**ct(3)), "Mayo", "solitary"),
        (lambda: one_nodule(ClinicalFields(smoking="never")), "Brock", "smoke or smoked"),
        (lambda: one_nodule(ClinicalFields(age_years=40.0)), "Brock", "50 to 75 years"),
    ],
)
def test_outside_its_limits_a_model_has_a_reason_and_no_number(record, name, reason) -> None:
    row = risks(record())[name]
    assert row["words"] == "not applicable" and reason in row["range"].reason and row["range"].low is None


def test_a_mass_is_not_for_them() -> None:
    record = one_nodule()
    big = dataclasses.replace(record.radiology.nodules[0], long_axis_mm=55.0)
    record = dataclasses.replace(record, radiology=dataclasses.replace(record.radiology, nodules=(big,)))
    assert {row["words"] for row in risks(record).values()} == {"not applicable"}


def test_a_range_over_nothing_is_one_number() -> None:
    known = dict.fromkeys(MayoNodule.__dataclass_fields__, False) | dict(age_years=60, diameter_mm=10, solitary=True)
    found = risk_range(mayo, MayoNodule, known, {}, ())
    assert found.low == found.high == mayo(MayoNodule(**known)).probability


def test_the_model_s_own_answer_is_told_with_its_interval() -> None:
    answer = clinical_values(case(clinical=PATIENT))["answer"]
    said = ClinicalModel.load().probabilities(PATIENT)
    best = max(said, key=said.get)
    share = round(100 * said[best])
    assert best == "adenocarcinoma" and answer["words"].startswith(f"Adenocarcinoma {share} %")
    low, high = (int(n) for n in answer["interval"].rstrip(" %").split(" to "))
    assert low <= share <= high and "validation patients" in answer["support"]


def test_the_support_is_of_the_answer_s_own_class() -> None:
    from shared_models.calibration_record import read
    from shared_models.model_bundle import MODELS_ROOT, Bundle

    bundle = Bundle.load(MODELS_ROOT / "lung_clinical_subtype")
    squamous = ClinicalModel.load().probabilities(PATIENT)["squamous_cell"]
    bar = read(bundle.folder, bundle.weights_sha256).like("squamous_cell", squamous)
    support = clinical_values(case(clinical=PATIENT))["answer"]["support"]
    assert f"{100 * (1 - bar.rate):.0f} % had adenocarcinoma" in support


def test_no_field_known_is_no_answer() -> None:
    assert "No clinical field is known" in clinical_values(case(clinical=ClinicalFields()))["answer"]["words"]


def test_page_one_has_the_fields_and_a_line_of_risk() -> None:
    summary = clinical_values(one_nodule())["summary"]
    assert summary["fields"][0] == ("Age", "67 years") and "Brock:" in summary["risk"] and "Mayo:" in summary["risk"]
    assert clinical_values(case())["summary"]["risk"] == ""


def test_tissue_in_the_case_is_said_beside_the_risks() -> None:
    assert clinical_values(one_nodule(**slide()))["tissue"] and not clinical_values(one_nodule())["tissue"]
