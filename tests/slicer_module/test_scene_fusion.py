"""The fused answer in the scene: every cell of its table, every bar of its charts; missing is missing, never 0."""

import dataclasses

import pytest
from LungXAILib import fusion_nodes, results, volumes
from LungXAILib.viewer import Viewer
from scene_cases import AFFINES, case, cell_rows, ct, fusion, fusion_of_fields

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, NOT_ASSESSED
from shared_models.contract.notice import NOTICE
from shared_models.contract.values import CLASSES, Abstention


def imported(logics, **other):
    volume = ct(AFFINES["plain"])
    return results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume, **other))


def series(chart) -> list:
    return [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]


def test_every_cell(logics) -> None:
    no, missing = "not assessed", "missing"
    assert cell_rows(imported(logics).fusion_table) == [
        ["Class", "Fused", "Before any evidence", "CT", "Slide", "Clinical fields"],
        ["Adenocarcinoma", "62.0 %", "40.0 %", "+0.40", "+1.10", missing],
        ["Squamous cell carcinoma", "18.0 %", "20.0 %", "+0.40", "-0.60", missing],
        ["Large cell carcinoma", no, "5.0 %", "+0.40", "neutral", missing],
        ["Small cell carcinoma", no, "5.0 %", "+0.40", "neutral", missing],
        ["Normal", no, "30.0 %", "-0.70", "-0.20", missing],
        ["Not assessed by any modality", "20.0 %", "", "", "", ""],
        ["Weight", "", "", "0.25", "0.50", missing],
        ["Agreement", "Both point the same way.", "", "", "", ""],
    ]


def test_a_missing_slide_is_missing(logics) -> None:
    nodes = imported(logics, fusion=fusion(slide=False), pathology=None)
    rows = cell_rows(nodes.fusion_table)
    slide = rows[0].index("Slide")
    assert [row[slide] for row in rows[1:6]] == ["missing"] * 5
    assert nodes.fusion_chart.GetTitle() == f"Fused probability; missing: Slide, Clinical fields; {NOTICE}"
    contributions = series(nodes.contributions_chart)[0].GetTableNode()
    assert [row[0] for row in cell_rows(contributions)] == ["Step", "CT"]


def test_an_abstention_is_told(logics) -> None:
    said = dataclasses.replace(fusion(), abstention=Abstention("It cannot tell.", "A slide would help."))
    rows = cell_rows(imported(logics, fusion=said).fusion_table)
    assert rows[-1][:2] == ["No answer", "It cannot tell. A slide would help."]


def test_the_bars_are_those_of_the_assessed_classes_and_one_for_the_rest(logics) -> None:
    chart = imported(logics).fusion_chart
    assert [s.GetYColumnName() for s in series(chart)] == ["Adenocarcinoma", "Squamous cell carcinoma", "not assessed"]
    colours = (CLASS_COLOURS["adenocarcinoma"], CLASS_COLOURS["squamous_cell"], NOT_ASSESSED)
    for one, colour in zip(series(chart), colours):
        assert one.GetColor() == pytest.approx([c / 255 for c in colour])
        assert one.GetPlotType() == one.PlotTypeBar
    assert cell_rows(series(chart)[0].GetTableNode()) == [
        ["Step", "Adenocarcinoma", "Squamous cell carcinoma", "not assessed"],
        ["Before any evidence", "40", "20", "40"],
        ["Fused", "62", "18", "20"],
    ]
    assert (chart.GetYAxisTitle(), bool(chart.GetLegendVisibility())) == ("Probability (%)", True)


def test_where_every_class_is_assessed_there_is_no_grey_bar(logics) -> None:
    every = dict(zip(CLASSES, (0.5, 0.2, 0.1, 0.1, 0.1)))
    whole = dataclasses.replace(fusion(), probabilities=every, not_assessed_mass=0.0)
    names = [s.GetYColumnName() for s in series(imported(logics, fusion=whole).fusion_chart)]
    assert names == [CLASS_LABELS[name] for name in CLASSES]


def test_where_no_class_is_assessed_the_grey_bar_is_alone(logics) -> None:
    nothing = dataclasses.replace(fusion(), probabilities=dict.fromkeys(CLASSES), not_assessed_mass=1.0)
    chart = imported(logics, fusion=nothing).fusion_chart
    assert [s.GetYColumnName() for s in series(chart)] == ["not assessed"]
    assert cell_rows(series(chart)[0].GetTableNode())[2] == ["Fused", "100"]


def test_the_contributions_are_by_modality(logics) -> None:
    chart = imported(logics).contributions_chart
    assert [s.GetYColumnName() for s in series(chart)] == [CLASS_LABELS[name] for name in CLASSES]
    numbers = series(chart)[0].GetTableNode()
    assert cell_rows(numbers)[1:] == [
        ["CT", "0.4", "0.4", "0.4", "0.4", "-0.7"],
        ["Slide", "1.1", "-0.6", "0", "0", "-0.2"],
    ]
    assert numbers.GetHideFromEditors()
    assert NOTICE in chart.GetTitle()


def test_a_case_without_fusion_has_no_chart(logics) -> None:
    nodes = imported(logics, fusion=None)
    assert nodes.fusion_table is nodes.fusion_chart is nodes.contributions_chart is None


def test_each_field_has_a_column_and_each_part_a_row_of_what_is_said_without_it(logics) -> None:
    rows = cell_rows(imported(logics, fusion=fusion_of_fields()).fusion_table)
    assert rows[0][3:] == ["CT", "Slide", "Clinical fields", "Age", "Sex", "Before any field"]
    assert rows[1][5:] == ["-0.04", "-0.010", "-0.050", "+0.020"]
    assert rows[2][5:] == ["+0.09", "+0.020", "+0.075", "neutral"]
    assert rows[3][5:] == ["neutral"] * 4
    assert [row[:2] for row in rows[-5:]] == [
        ["Without: CT", "Adenocarcinoma 62.0 %"],
        ["Without: Slide", "No answer"],
        ["Without: Clinical fields", "Adenocarcinoma 62.0 %"],
        ["Without: Age", "Adenocarcinoma 62.0 %"],
        ["Without: Sex", "Squamous cell carcinoma 50.0 %"],
    ]


def test_what_decides_is_told_in_words() -> None:
    told = ["Without slide: no answer.", "Without sex: squamous cell carcinoma 50.0 %."]
    whole = fusion_of_fields()
    assert fusion_nodes.what_decides(whole) == told
    nothing = dataclasses.replace(whole, leave_one_out={"radiology": whole.leave_one_out["radiology"]})
    assert [words[:23] for words in fusion_nodes.what_decides(nothing)] == ["No one part alone decid"]
    assert fusion_nodes.what_decides(fusion()) == []


def test_the_page_lists_the_fields_after_the_modalities_on_their_own_scale(logics) -> None:
    whole = case(ct(AFFINES["plain"]), fusion=fusion_of_fields())
    told = Viewer(logics, imported(logics, fusion=fusion_of_fields()), whole).fused()
    entries = {entry["key"]: entry for entry in told["modalities"]}
    assert list(entries) == ["radiology", "pathology", "clinical", "age_years", "sex", "base"]
    assert entries["sex"]["words"] == "part of the clinical fields, drawn 15 times larger"  # 1.1 of the slide to 0.075
    adenocarcinoma, squamous = entries["sex"]["bars"]
    assert (adenocarcinoma["text"], squamous["text"]) == ("-0.050", "+0.075")
    assert squamous["left"] == 50 and squamous["width"] == pytest.approx(50)
    assert adenocarcinoma["left"] + adenocarcinoma["width"] == pytest.approx(50)
    assert told["decides"][0] == "Without slide: no answer."
    flat = dict.fromkeys(CLASSES, 0.0)
    rows = {"radiology": flat, "pathology": flat, "clinical": whole.fusion.contributions["clinical"]}
    alone = dataclasses.replace(whole.fusion, contributions=rows)
    entry = Viewer(logics, imported(logics), case(ct(AFFINES["plain"]), fusion=alone)).fused()["modalities"][4]
    assert entry["words"] == "part of the clinical fields, on a scale of its own"
