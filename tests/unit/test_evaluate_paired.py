"""`lungxai evaluate --paired`: patients whose CT, slide and fields are their own, through the same page."""

import csv
import json
from pathlib import Path

import pytest
from test_fusion_cohorts import ct, slide

from shared_models import evaluate_paired, evidence_intervals, fusion_ablation
from shared_models.cohorts.case import CohortCase, CohortImage, Exclusion
from shared_models.cohorts.paired import paired
from shared_models.command_line import main
from shared_models.contract.errors import BadGeometry
from shared_models.contract.values import ClinicalFields
from shared_models.evaluate_paired import evaluate_cohort
from shared_models.model_bundle import MODELS_ROOT


def _cohort():
    """Ten patients, two classes; the CT of one cannot be read, one has no class, one no slide."""
    for k in range(12):
        label = None if k == 10 else ("adenocarcinoma", "squamous_cell")[k % 2]
        images = [CohortImage(Path(f"JaneDoe/chest{k}"), "CT", count=300, series_uid=f"1.{k}")]
        if k != 11:
            images.append(CohortImage(Path(f"JaneDoe/{label}.svs"), "slide", count=1, slide_id=f"s{k}"))
        yield CohortCase(f"c{k}", f"JaneDoe-{k}", "fake", label, ClinicalFields(60.0), tuple(images), split="test")


def _radiology_of(path):
    if path.name == "chest3":
        raise BadGeometry(f"{path} has no geometry.", "Convert it.")
    return ct(0.9)


def _pathology_of(path):
    return slide((0.8, 0.1, 0.1) if path.stem == "adenocarcinoma" else (0.1, 0.8, 0.1))


@pytest.fixture
def fake(monkeypatch):
    def paired_cases(cohort, root, split, need, report):
        report(Exclusion("patient", "no class", "JaneDoe-10"))
        return paired((case for case in _cohort() if case.split == split), need)

    monkeypatch.setattr("shared_models.cohorts.paired.paired_cases", paired_cases)
    monkeypatch.setattr(fusion_ablation, "RESAMPLES", 20)
    monkeypatch.setattr(evidence_intervals, "RESAMPLES", 20)


def test_paired_patients_make_a_page_that_calls_nothing_composed(fake, tmp_path, monkeypatch) -> None:
    measured = evaluate_cohort
    monkeypatch.setattr(
        evaluate_paired, "evaluate_cohort", lambda *given: measured(*given, _radiology_of, _pathology_of)
    )
    out = tmp_path / "out"
    assert main(["evaluate", "--paired", "fake", str(tmp_path), "--task", "fusion", "--out", str(out)]) == 0
    result = json.loads((out / "evidence.json").read_text())
    figures = result["tasks"]["fusion"]["figures"]
    assert figures["n"] == 10 and figures["measures"]["accuracy"]["value"] == 1 and result["data"] == "fake"
    assert "H&E alone" in figures["rivals"]
    with (out / "exclusions.csv").open() as file:
        rows = [(row["case"], row["reason"]) for row in csv.DictReader(file)]
    assert rows == [("patient-00001", "no class"), ("series-00004", "BadGeometry: the part cannot be used")]
    page = (out / "index.html").read_text()
    assert "Fusion on paired cases: fake" in page and "Not real cases" not in page and "Ablation, paired cases" in page
    assert not any("JaneDoe" in path.read_text() for path in out.rglob("*") if path.is_file())


def test_a_split_without_paired_cases_is_said_so(fake, tmp_path, capsys) -> None:
    assert main(["evaluate", "--paired", "fake", str(tmp_path), "--split", "val"]) == 1
    assert "no paired case" in capsys.readouterr().err


def test_other_tasks_and_unknown_cohorts_are_refused(tmp_path, capsys) -> None:
    assert main(["evaluate", "--paired", "tcga-lung", str(tmp_path), "--task", "clinical"]) == 2
    assert main(["evaluate", "--paired", "tcga-lung", str(tmp_path / "none")]) == 2
    assert main(["evaluate", "--paired", "no-such-cohort", str(tmp_path)]) == 1
    with pytest.raises(Exception, match="no cohort"):
        evaluate_cohort("no-such-cohort", tmp_path, "test", MODELS_ROOT)
