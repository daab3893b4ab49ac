"""Limits and sources in the report: read from the bundles of the very weights, so that they cannot differ from them."""

import dataclasses

import pytest
from report_cases import GALLERY, case, ct

from inference_server.report_limits import calibration_words, limits_values
from inference_server.report_models import bundle_of, measured, paragraph, ships
from shared_models.contract.provenance import Provenance
from shared_models.model_bundle import MODELS_ROOT, bundles

REAL = {bundle.own["model_id"]: bundle for bundle in bundles(MODELS_ROOT)}


def by(name, **changed):
    bundle = REAL[name]
    own = dict(model_id=bundle.model_id, weights_sha256=bundle.weights_sha256, code_version="0",
               calibrated=bundle.own["calibrated"], device="cpu", coverage=tuple(bundle.own["coverage"]))  # fmt: skip
    return Provenance(**{**own, **changed})


def read_by(*provenances):
    record = case(clinical=None, **ct(1))
    return dataclasses.replace(
        record, radiology=dataclasses.replace(record.radiology, provenance=provenances), fusion=None
    )


@pytest.mark.parametrize("name", sorted(REAL))
def test_data_and_limits_are_the_bundle_s_own_words(name) -> None:
    [model] = limits_values(read_by(by(name)))["models"]
    assert model["data"] == REAL[name].metadata["data_source"] and not model["added"]
    assert REAL[name].own["training"]["commit"][:12] in model["trained"]
    card = " ".join((REAL[name].folder / "docs" / "README.md").read_text().replace("`", "").split())
    assert len(model["limits"]) > 60 and model["limits"] in card and "**" not in model["limits"]


def test_other_weights_of_the_same_name_are_not_credited_with_its_figures() -> None:
    other = by("lung_nodule_malignancy", weights_sha256="f" * 64)
    [model] = limits_values(read_by(other))["models"]
    assert bundle_of(other) is None and "not known here" in model["data"] and model["limits"] == ""
    assert model["calibration"] == "calibrated; its error is not in its bundle"
    assert measured((other,), "lung_nodule_malignancy") is None


def test_a_name_that_is_a_path_finds_nothing() -> None:
    assert bundle_of(by("lung_fusion", model_id="../models/lung_fusion 1")) is None


def test_the_calibration_error_has_its_interval_and_what_chance_shows() -> None:
    short, words = calibration_words(by("lung_nodule_malignancy"))
    found = measured((by("lung_nodule_malignancy"),), "lung_nodule_malignancy")
    low, high = found.ece_ci95
    assert f"error {found.ece:.3f} (95 % interval {low:.3f} to {high:.3f}) on {found.test_n} nodules" in words
    assert f"would show {found.by_chance[0]:.3f}" in words and f"{found.ece:.3f}" in short
    assert calibration_words(by("lung_nodule_segmentation")) == ("", "not calibrated")


def test_a_class_that_no_model_learned_is_named() -> None:
    found = limits_values(read_by(by("lung_he_lite0")))
    assert found["never"] == "large cell carcinoma, small cell carcinoma"
    assert limits_values(GALLERY["fields_only"]())["never"].startswith("large cell")


def test_a_model_that_the_user_added_says_so(tmp_path, monkeypatch) -> None:
    import shutil

    shutil.copytree(REAL["lung_clinical_subtype"].folder, tmp_path / "theirs")
    monkeypatch.setenv("LUNGXAI_ADDED_MODELS", str(tmp_path))
    theirs = by("lung_clinical_subtype", model_id="theirs 1")
    assert not ships(bundle_of(theirs)) and limits_values(read_by(theirs))["models"][0]["added"]


def test_references_are_of_what_the_report_makes_use_of() -> None:
    both = {what: source for what, source in limits_values(GALLERY["both"]())["references"]}
    for what in ("Method", "ACR Lung-RADS v2022", "Fleischner Society 2017", "Mayo model", "Brock model", "Grad-CAM"):
        assert what in both
    assert "2604.16104" in both["Method"] and "1610.02391" in both["Grad-CAM"] and "SmoothGrad" not in both
    fields = {what for what, _ in limits_values(GALLERY["fields_only"]())["references"]}
    assert "ACR Lung-RADS v2022" not in fields and "Grad-CAM" not in fields and "Method" in fields


def test_every_map_says_how_it_was_made() -> None:
    maps = limits_values(GALLERY["both"]())["maps"]
    assert [(title, modality) for title, modality, _ in maps] == [
        ("Grad-CAM: malignancy", "CT"), ("Grad-CAM: Adenocarcinoma", "Slide"),
    ]  # fmt: skip
    assert maps[0][2]["layer"] == "encoder.3"


def test_a_card_without_the_paragraph_is_silent() -> None:
    assert paragraph(REAL["lung_fusion"], "No such title") == ""
    assert paragraph(REAL["lung_nodule_segmentation"], "Coverage").startswith("None")
