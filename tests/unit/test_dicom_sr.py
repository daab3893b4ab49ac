"""The DICOM structured report: each number once, with its unit, its model, and the segment it was measured on."""

from dataclasses import replace

import highdicom
import pydicom
import pytest
from dicom_cases import MODELS, case, errors, nodule, source
from pydicom.sr.codedict import codes

from inference_server import dicom_codes as code
from inference_server.dicom_seg import segmentation, tracking
from inference_server.dicom_source import SourceSeries
from inference_server.dicom_sr import measurement_report
from shared_models.contract.fusion_result import MODALITIES, FusionResult
from shared_models.contract.values import CLASSES, Abstention


def _made(tmp_path, nodules=None, change=None, synthetic=False, fusion=None):
    volume = source(tmp_path / "series")
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    record = case(volume, nodules, synthetic)
    if change:
        record = replace(record, radiology=replace(record.radiology, **change))
    record = replace(record, fusion=fusion)
    nodules = segmentation(record, series)
    measurement_report(record, series, nodules).save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    return record, series, nodules, highdicom.sr.srread(tmp_path / "sr.dcm")


def _measured(group, name):
    (found,) = group.get_measurements(name=name)
    return found.value, (found.unit.value, found.unit.scheme_designator)


def test_each_nodule_has_its_measurements_on_its_segment(tmp_path) -> None:
    record, series, seg, report = _made(tmp_path)
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for group, one, number in zip(groups, record.radiology.nodules, (1, 2)):
        assert _measured(group, code.LONG_AXIS) == (one.long_axis_mm, ("mm", "UCUM"))
        assert _measured(group, code.SHORT_AXIS) == (one.short_axis_mm, ("mm", "UCUM"))
        assert _measured(group, code.VOLUME) == (one.volume_mm3, ("mm3", "UCUM"))
        assert _measured(group, code.ATTENUATION) == (one.mean_hu, ("[hnsf'U]", "UCUM"))
        assert group.get_measurements(name=code.ATTENUATION)[0].derivation == code.MEAN
        assert (group.tracking_identifier, group.tracking_uid) == tracking(series, one.label)
        segment = group.referenced_segment
        reference = segment[0].ReferencedSOPSequence[0]
        assert (reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber) == (seg.SOPInstanceUID, number)
        assert segment.source_series_for_segmentation.value == series.series_uid
        assert group.finding_type == code.NODULE
        assert group.finding_sites[0].value == code.LUNG
    assert [g.finding_sites[0].laterality for g in groups] == [code.SIDES["left"], None]
    assert errors(tmp_path / "sr.dcm") == []


def _evaluated(group, name):
    return [item.value for item in group.get_qualitative_evaluations(name=name)]


def test_what_is_not_assessed_is_said_so_and_never_a_number(tmp_path) -> None:
    record, _, _, report = _made(tmp_path)
    rated, foreign = report.content.get_volumetric_roi_measurement_groups()
    assert _measured(rated, code.MALIGNANCY) == (0.4375, ("1", "UCUM"))
    assert _evaluated(rated, code.MALIGNANCY) == []
    assert foreign.get_measurements(name=code.MALIGNANCY) == []
    assert _evaluated(foreign, code.MALIGNANCY) == [code.NOT_ASSESSED]
    (whole,) = report.content.get_image_measurement_groups()
    assert _measured(whole, code.PROBABILITIES["adenocarcinoma"])[0] == 0.75
    for name in ("squamous_cell", "large_cell", "small_cell"):
        assert whole.get_measurements(name=code.PROBABILITIES[name]) == []
        assert _evaluated(whole, code.PROBABILITIES[name]) == [code.NOT_ASSESSED]
    missing = "Squamous cell carcinoma, Large cell carcinoma, Small cell carcinoma"
    assert ("Classes not assessed", missing) in _said(report)


def test_the_case_as_a_whole_has_a_group_of_its_own(tmp_path) -> None:
    record, _, _, report = _made(tmp_path)
    (whole,) = report.content.get_image_measurement_groups()
    assert _measured(whole, code.NODULES_FOUND)[0] == 2
    assert _measured(whole, code.MALIGNANCY)[0] == 0.4375
    assert _measured(whole, code.RELIABILITY)[0] == 0.75
    assert _measured(whole, code.PROBABILITIES["normal"])[0] == 0.25


def _fusion(modalities, abstention=None) -> FusionResult:
    return FusionResult(
        {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.5, "squamous_cell": 0.25}, 0.25,
        dict.fromkeys(CLASSES, 0.2), dict.fromkeys(modalities, 1.0),
        {name: dict.fromkeys(CLASSES, 0.0) for name in modalities},
        tuple(name for name in MODALITIES if name not in modalities), "They agree.", abstention=abstention,
    )  # fmt: skip


def test_what_the_modalities_say_together_is_told_apart_from_what_the_ct_says(tmp_path) -> None:
    fusion = _fusion(("radiology", "pathology"), Abstention("They disagree.", "A biopsy."))
    _, _, _, report = _made(tmp_path, fusion=fusion)
    alone, together = report.content.get_image_measurement_groups()
    assert _evaluated(alone, code.EVIDENCE) == [code.MODALITIES["radiology"]]
    assert _evaluated(together, code.EVIDENCE) == [code.MODALITIES["radiology"], code.MODALITIES["pathology"]]
    assert _measured(alone, code.PROBABILITIES["adenocarcinoma"])[0] == 0.75
    assert _measured(together, code.PROBABILITIES["adenocarcinoma"])[0] == 0.5
    assert _measured(together, code.NOT_ASSESSED_SHARE)[0] == 0.25
    assert _evaluated(together, code.PROBABILITIES["normal"]) == [code.NOT_ASSESSED]
    assert alone.tracking_uid != together.tracking_uid
    assert ("No answer: the reason, and what would help", "All modalities: They disagree. A biopsy.") in _said(report)
    assert errors(tmp_path / "sr.dcm") == []


def test_a_fusion_of_the_ct_alone_is_no_second_opinion(tmp_path) -> None:
    _, _, _, report = _made(tmp_path, fusion=_fusion(("radiology",)))
    assert len(report.content.get_image_measurement_groups()) == 1


@pytest.mark.parametrize("found_by", ["search", "point", "box", "hand"])
def test_who_found_a_nodule_and_which_model_measured_it(tmp_path, found_by) -> None:
    _, _, _, report = _made(tmp_path, [nodule(1, found_by)])
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert _evaluated(group, code.FOUND) == [code.FOUND_VALUES[found_by]]
    own = [i.value for i in group[0].ContentSequence if i.name == codes.DCM.AlgorithmName]
    assert own == ([] if found_by == "hand" else ["lung_nodule_segmentation"])
    (malignancy,) = group.get_measurements(name=code.MALIGNANCY)
    said = {i.name.meaning: i.value for i in malignancy[0].ContentSequence}
    assert said["Algorithm Name"] == "lung_nodule_malignancy"
    assert said["Algorithm Parameters"] in ("device cpu", "weights sha256 " + "b" * 64)
    assert said["Algorithm Version"].endswith("weights " + "b" * 12)


def test_the_observer_is_a_device_with_its_models(tmp_path) -> None:
    _, _, _, report = _made(tmp_path)
    (observer,) = report.content.get_observer_contexts()
    attributes = observer.observer_identifying_attributes
    assert observer.observer_type.meaning == "Device"
    assert attributes.model_name == "; ".join(m.model_id for m in MODELS)
    assert "bbbbbbbbbbbb" in attributes.serial_number and "0.1.0" in attributes.serial_number
    assert pydicom.uid.UID(attributes.uid).is_valid


def _said(report) -> list[tuple[str, str]]:
    root = report.content[0].ContentSequence
    (container,) = [item for item in root if item.name == code.QUALITATIVE_EVALUATIONS]
    return [(item.name.meaning, item.value) for item in container.ContentSequence]


def test_it_says_what_it_is_for_and_why_there_is_no_answer(tmp_path) -> None:
    change = {"abstention": Abstention("Too noisy.", "A CT with less noise."), "probabilities": dict.fromkeys(CLASSES)}
    _, _, _, report = _made(tmp_path, change=change, synthetic=True)
    said = _said(report)
    assert ("Intended use", "Research use only, not a diagnosis.") in said
    assert ("Intended use", "Synthetic data, not a patient.") in said
    assert ("No answer: the reason, and what would help", "CT: Too noisy. A CT with less noise.") in said
    assert ("Comment", "Slices are 2.5 mm apart - a note.") in said  # in ASCII, which all character sets hold
    language = report.content[0].ContentSequence[0]
    assert (language.name.meaning, language.value.value) == ("Language of Content Item and Descendants", "en")
    assert report.CompletionFlag == "COMPLETE" and report.VerificationFlag == "UNVERIFIED"
    scheme = report.CodingSchemeIdentificationSequence[0]
    assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeName) == (code.SCHEME, code.SCHEME_NAME)


def test_evidence_is_the_whole_series_and_the_segmentation(tmp_path) -> None:
    _, series, seg, report = _made(tmp_path)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    held = {s.SeriesInstanceUID: {r.ReferencedSOPInstanceUID for r in s.ReferencedSOPSequence}
            for s in study.ReferencedSeriesSequence}  # fmt: skip
    source_uids = {uid for _, uid in series.instances}
    assert held == {series.series_uid: source_uids, seg.SeriesInstanceUID: {seg.SOPInstanceUID}}


def test_a_case_without_a_nodule_is_reported(tmp_path) -> None:
    change = {"probabilities": dict.fromkeys(CLASSES), "reliability": None, "provenance": (), "notes": ()}
    _, _, seg, report = _made(tmp_path, [], change)
    assert seg is None
    assert report.content.get_volumetric_roi_measurement_groups() == []
    (whole,) = report.content.get_image_measurement_groups()
    assert _measured(whole, code.NODULES_FOUND)[0] == 0
    assert _evaluated(whole, code.MALIGNANCY) == [code.NOT_ASSESSED]
    assert errors(tmp_path / "sr.dcm") == []


def test_names_of_other_peoples_models_are_cut_to_what_dicom_holds(tmp_path) -> None:
    odd = replace(MODELS[0], model_id="größtes\\Modell " * 20, code_version="v" * 90)
    _made(tmp_path, change={"provenance": (odd, odd)})
    assert errors(tmp_path / "sr.dcm") == []
