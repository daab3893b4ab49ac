"""The fused answer in the report: each bar and each row says what the result says, in words that cannot mislead."""

import dataclasses
import re

import numpy as np
import pytest

from inference_server.case_record import CaseRecord
from inference_server.report import render
from inference_server.report_charts import field_chart
from inference_server.report_fusion import clinical_words, fusion_values
from shared_models.clinical import ClinicalModel
from shared_models.contract.fusion_result import BASE, PART_LABELS
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, ClinicalFields
from shared_models.fusion import fuse

BY = Provenance("test", "0" * 64, "test", True, "cpu", ())
WEIGHTS = {"radiology": 2.0, "clinical": 1.0}  # so that the rest has an answer without the slide
PATIENT = ClinicalFields(67, "male", "former", None)


def slide(adeno, squamous):
    rest = {"large_cell": None, "small_cell": None, "normal": 1 - adeno - squamous}
    whole = {"adenocarcinoma": adeno, "squamous_cell": squamous, **rest}
    origin, table = np.zeros((0, 2), np.int64), np.zeros((0, 5), np.float32)
    return PathologyResult("s", 0.9, (200.0, 200.0), origin, table, whole, (BY,))


def fused(pathology, patient=PATIENT, **more):
    ct = RadiologyResult("ct", (), 0.8, dict.fromkeys(CLASSES), (BY,))
    return fuse(ct, pathology, patient, clinical_model=ClinicalModel.load(), **more)


def bars(svg):
    """Number of each bar with the words of its row: the text nodes in the order of drawing."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_every_field_has_its_bars_and_an_unknown_one_says_so():
    answer = fused(slide(0.7, 0.2))
    texts = bars(fusion_values(answer, PATIENT)["fields"])
    assert texts[:2] == ["Adenocarcinoma", "Squamous cell carcinoma"]
    shares = answer.field_contributions
    expected = []
    for part, label in zip(shares, ("Age: 67 years", "Sex: male", "Smoking: former", "Pack-years: not known", "")):
        values = [f"{shares[part][name]:+.3f}" for name in CLASSES[:2]]
        expected += [label or PART_LABELS[BASE], *(["0"] if part == "pack_years" else values)]
    assert texts[2:] == expected


def test_bars_point_to_the_side_of_their_sign():
    row = dict.fromkeys(CLASSES, 0.0)
    shares = {"sex": {**row, "adenocarcinoma": -0.5, "squamous_cell": 1.0}, BASE: row}
    svg = field_chart(shares, {"sex": "<male>"})
    boxes = [
        (float(x), float(w)) for x, w in re.findall(r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)" height="13"', svg)
    ]
    middle = float(re.search(r'<line x1="([\d.]+)"', svg)[1])
    (left, half), (right, whole) = boxes[:2]
    assert left + half == pytest.approx(middle) and right == pytest.approx(middle)
    assert whole == pytest.approx(2 * half) and "&lt;male&gt;" in svg


def test_the_words_name_what_would_change_the_answer():
    answer = fused(slide(0.02, 0.97), ClinicalFields(55, "female", "former", 10.0), weights=WEIGHTS)
    words = " ".join(fusion_values(answer, None)["left_out"]["sentences"])
    assert answer.answer == "squamous_cell" and answer.leave_one_out["pathology"].answer == "adenocarcinoma"
    share = round(100 * answer.leave_one_out["pathology"].probabilities["adenocarcinoma"])
    assert f"Without the slide the answer would be adenocarcinoma, {share} %." in words
    assert "Without one of these it would still be squamous cell carcinoma: the CT, the clinical fields, age" in words


def test_an_abstention_without_a_part_is_told_with_its_reason():
    words = " ".join(fusion_values(fused(slide(0.9, 0.05)), PATIENT)["left_out"]["sentences"])
    assert "Without the slide there would be no answer: more probability lies with the types" in words
    nothing = fusion_values(fused(None), PATIENT)["left_out"]
    assert nothing["sentences"][0].startswith("Without one of these there would still be no answer: the CT")
    assert {row[3] for row in nothing["rows"]} == {"No answer"}


def test_the_table_has_a_row_for_each_part_and_never_a_number_for_what_is_not_assessed():
    answer = fused(slide(0.9, 0.05))
    table = fusion_values(answer, PATIENT)["left_out"]
    assert [row[0] for row in table["rows"]] == ["Nothing", "CT", "Slide", "Clinical fields", "Age", "Sex", "Smoking"]
    assert table["classes"] == ["Adenocarcinoma", "Squamous cell carcinoma", "Normal"]
    without_slide = table["rows"][2]
    assert without_slide[1][2] == "not assessed" and without_slide[3] == "No answer"
    without_age = answer.leave_one_out["age_years"].probabilities["adenocarcinoma"]
    assert table["rows"][4][1][0] == f"{100 * without_age:.0f} %"


def test_fields_that_did_not_take_part_are_said_to_contribute_nothing():
    text = render(CaseRecord("case", clinical=PATIENT, fusion=fused(slide(0.9, 0.05), weights={"clinical": 0})))
    assert "the clinical fields were given, but did not take part" in text
    assert fusion_values(fused(slide(0.9, 0.05), weights={"clinical": 0}), PATIENT)["fields"] == ""


def test_a_result_of_an_older_server_is_shown_without_them():
    old = dataclasses.replace(fused(slide(0.9, 0.05)), field_contributions={}, leave_one_out={})
    text = render(CaseRecord("case", fusion=old))
    assert "What each modality contributes" in text
    assert "left out" not in text and "clinical field contributes" not in text


def test_the_scale_of_the_fields_is_said():
    faint = render(CaseRecord("case", clinical=PATIENT, fusion=fused(slide(0.9, 0.05))))
    assert re.search(r"sum to those of the clinical fields, drawn \d+ times larger\.", faint)
    alone = fuse(None, None, ClinicalFields(sex="male"), clinical_model=ClinicalModel.load())
    assert "clinical fields, on a scale of their own." in render(CaseRecord("case", fusion=alone))


def test_words_of_the_fields():
    assert clinical_words(PATIENT) == {"age_years": "67 years", "sex": "male", "smoking": "former", "pack_years": None}
    assert clinical_words(ClinicalFields(pack_years=0.0))["pack_years"] == "0"
