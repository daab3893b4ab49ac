"""What a Bundle says of the CT's DICOM series: every image by its UID, those of each nodule, nothing of the patient."""

import dataclasses
import datetime
import json

import numpy as np
import pytest
from dicom_cases import GEOMETRIES, SHAPE, case, nodule, source
from dicom_files import enhanced_ct, write
from fhir_validator import faults, references

from inference_server.dicom_source import SourceSeries
from inference_server.fhir_bundle import fhir_bundle
from inference_server.fhir_imaging import date_of, is_uid
from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import CTVolume
from shared_models.ct_reader import read_ct

MOMENT = datetime.datetime(2026, 3, 5, 12, 30, tzinfo=datetime.timezone.utc)
R5 = "http://hl7.org/fhir/5.0/StructureDefinition/extension-"
# What the header says of the patient and the visit; whoever reads one of these in a Bundle has found a leak.
TOLD = {
    "PatientName": "Müller-Lüdenscheidt^Änne^K.", "PatientID": "PID-4711", "PatientBirthDate": "19510223",
    "PatientSex": "F", "IssuerOfPatientID": "Klinik am Meer", "AccessionNumber": "ACC-0815", "StudyDate": "20200131",
    "StudyDescription": "Thorax for Dr. Who", "SeriesDescription": "Lung of Mrs. M.",
    "InstitutionName": "St. Elsewhere", "ReferringPhysicianName": "Who^Doctor", "StudyID": "ST-99",
}  # fmt: skip
# "F" is in many words: whether the Patient has a gender is asked by itself.
SECRETS = (
    *(value for value in TOLD.values() if value != "F"),
    "1951-02-23",
    "2020-01-31",
    "Lüdenscheidt",
    "Änne",
    "Klinik",
    "4711",
    "0815",
)


def told(image) -> None:
    image.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in TOLD.items():
        setattr(image, keyword, value)


def resources(bundle: dict, kind: str) -> list[dict]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def parts(extensions: list[dict], name: str) -> list[dict]:
    return [one for one in extensions if one["url"] in (f"{R5}{name}", name)]


def selections(bundle: dict) -> dict[int, list[str]]:
    """Nodule's label to the SOPInstanceUIDs of its Basic, found as a reader finds them: from the Observation on."""
    urls = {e["fullUrl"]: e["resource"] for e in bundle["entry"]}
    found = {}
    for seen in resources(bundle, "Observation"):
        if not seen["code"].get("text", "").startswith("Nodule "):
            continue
        (study,) = seen["derivedFrom"]
        assert urls[study["reference"]]["resourceType"] == "ImagingStudy"
        (link,) = parts(study["extension"], "Observation.derivedFrom")
        basic = urls[link["valueReference"]["reference"]]
        assert basic["modifierExtension"] == [{"url": f"{R5}ImagingSelection.status", "valueCode": "available"}]
        instances = parts(basic["extension"], "ImagingSelection.instance")
        label = int(seen["code"]["text"].removeprefix("Nodule "))
        found[label] = [parts(one["extension"], "uid")[0]["valueId"] for one in instances]
    return found


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> tuple[CTVolume, SourceSeries]:
    folder = tmp_path_factory.mktemp("series")
    volume = source(folder, edit=told)
    return volume, SourceSeries.read(folder, volume.series_uid)


def test_every_image_of_the_series_is_named(series) -> None:
    volume, source_series = series
    bundle = fhir_bundle(case(volume), source_series, created=MOMENT)
    assert faults(bundle) == []
    (study,) = resources(bundle, "ImagingStudy")
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{source_series.study_uid}"}]
    assert (study["status"], study["numberOfSeries"], study["numberOfInstances"]) == ("available", 1, SHAPE[0])
    (one,) = study["series"]
    assert one["uid"] == volume.series_uid and one["modality"]["code"] == "CT"
    wanted = [(f"urn:oid:{sop_class}", uid) for sop_class, uid in source_series.instances]
    assert [(i["sopClass"]["code"], i["uid"]) for i in one["instance"]] == wanted
    assert [i["number"] for i in one["instance"]] == [int(d.InstanceNumber) for d in source_series.datasets]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_nodules_images_are_those_that_its_outline_lies_on(tmp_path, geometry) -> None:
    volume = source(tmp_path, geometry)
    read = SourceSeries.read(tmp_path, volume.series_uid)
    record = case(volume)
    bundle = fhir_bundle(record, read, created=MOMENT)
    assert faults(bundle) == []
    found = selections(bundle)
    # By the headers alone: an image holds a voxel whose centre lies in its plane.
    for label, uids in found.items():
        places = np.argwhere(record.mask.labels == label)[:, ::-1]
        points = places @ volume.ijk_to_lps[:3, :3].T + volume.ijk_to_lps[:3, 3]
        expected = []
        for image in read.datasets:
            row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
            distance = np.abs((points - np.array(image.ImagePositionPatient, float)) @ np.cross(row, column))
            expected += [image.SOPInstanceUID] if distance.min() < 0.01 else []
        assert uids == expected and 0 < len(uids) < SHAPE[0]
    assert found.keys() == {1, 3}


def test_without_an_outline_it_is_the_image_nearest_to_the_centre(series) -> None:
    volume, source_series = series
    centre = tuple(float(v) for v in (volume.ijk_to_lps @ [3, 4, 5.3, 1])[:3])
    outside = tuple(float(v) for v in (volume.ijk_to_lps @ [3, 4, 40, 1])[:3])
    nodules = [dataclasses.replace(nodule(n), centre_lps_mm=c) for n, c in ((1, centre), (2, outside))]
    record = dataclasses.replace(case(volume, nodules), mask=None)
    found = selections(fhir_bundle(record, source_series, created=MOMENT))
    assert found == {1: [source_series.instances[5][1]], 2: [source_series.instances[-1][1]]}


def test_frames_of_an_enhanced_ct_are_named_by_number(tmp_path) -> None:
    image = enhanced_ct(5)
    write(image, tmp_path / "one.dcm")
    volume = read_ct(tmp_path)[0]
    read = SourceSeries.read(tmp_path, volume.series_uid)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[1:3, 4:6, 4:6] = 1
    record = case(volume, [nodule(1)])
    record = dataclasses.replace(record, ct_heatmaps={}, mask=dataclasses.replace(record.mask, labels=labels))
    bundle = fhir_bundle(record, read, created=MOMENT)
    assert faults(bundle) == []
    (basic,) = resources(bundle, "Basic")
    (one,) = parts(basic["extension"], "ImagingSelection.instance")
    assert parts(one["extension"], "uid")[0]["valueId"] == image.SOPInstanceUID
    # The frames lie in reverse order: slices 1 and 2 of five are frames 4 and 3.
    heights = [
        float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in image.PerFrameFunctionalGroupsSequence
    ]
    wanted = sorted(heights.index(sorted(heights)[k]) + 1 for k in (1, 2))
    assert [int(p["valueString"]) for p in parts(one["extension"], "subset")] == wanted


def test_nothing_of_the_patient_is_told_unless_it_is_asked_for(series) -> None:
    volume, source_series = series
    record = case(volume)
    text = json.dumps(fhir_bundle(record, source_series, created=MOMENT), ensure_ascii=False)
    assert not [secret for secret in SECRETS if secret in text]
    (patient,) = resources(json.loads(text), "Patient")
    assert not {"name", "birthDate", "gender"} & patient.keys()
    assert [one["value"] for one in patient["identifier"]] == [record.case_id]


def test_who_the_patient_is_is_told_when_it_is_asked_for(series) -> None:
    volume, source_series = series
    record = case(volume)
    bundle = fhir_bundle(record, source_series, identified=True, created=MOMENT)
    assert faults(bundle) == []
    (patient,) = resources(bundle, "Patient")
    assert patient["name"] == [
        {"text": "Müller-Lüdenscheidt Änne K.", "family": "Müller-Lüdenscheidt", "given": ["Änne", "K."]}
    ]
    assert (patient["gender"], patient["birthDate"]) == ("female", "1951-02-23")
    own, hospital = patient["identifier"]
    assert own["value"] == record.case_id and hospital["value"] == "PID-4711"
    assert hospital["assigner"]["display"] == "Klinik am Meer"
    assert "Müller-Lüdenscheidt Änne K." in patient["text"]["div"]
    (study,) = resources(bundle, "ImagingStudy")
    assert study["started"] == "2020-01-31" and study["description"] == TOLD["StudyDescription"]
    assert [i["value"] for i in study["identifier"]][1:] == ["ACC-0815"]
    # The rest of the header stays where it is.
    assert not [s for s in ("St. Elsewhere", "Who^Doctor", "ST-99") if s in json.dumps(bundle, ensure_ascii=False)]
    plain = fhir_bundle(record, source_series, created=MOMENT)
    assert [e["fullUrl"] for e in plain["entry"]] == [e["fullUrl"] for e in bundle["entry"]]


def test_a_header_that_says_nothing_of_the_patient_names_nobody(tmp_path) -> None:
    def bare(image) -> None:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
            setattr(image, keyword, "")
        image.SeriesNumber = -2
        del image.InstanceNumber

    volume = source(tmp_path, edit=bare)
    bundle = fhir_bundle(case(volume), SourceSeries.read(tmp_path, volume.series_uid), identified=True, created=MOMENT)
    assert faults(bundle) == []
    (patient,) = resources(bundle, "Patient")
    assert len(patient["identifier"]) == 1 and not {"name", "birthDate", "gender"} & patient.keys()
    (study,) = resources(bundle, "ImagingStudy")
    assert "started" not in study and "number" not in study["series"][0]
    assert all("number" not in one for one in study["series"][0]["instance"])


def test_what_cannot_be_is_refused_with_a_remedy(series) -> None:
    volume, source_series = series
    with pytest.raises(InvalidInput, match="DICOM folder") as fault:
        fhir_bundle(case(volume), identified=True)
    assert fault.value.remedy
    with pytest.raises(InvalidInput, match="not read from this DICOM series"):
        fhir_bundle(case(CTVolume(volume.voxels, volume.ijk_to_lps, "1.2.3")), source_series)
    with pytest.raises(BadGeometry):
        fhir_bundle(case(CTVolume(volume.voxels[:-1], volume.ijk_to_lps, volume.series_uid)), source_series)


def test_every_reference_resolves_with_a_series_too(series) -> None:
    volume, source_series = series
    bundle = fhir_bundle(case(volume), source_series, created=MOMENT)
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    targets = references(bundle)
    assert len(resources(bundle, "Basic")) == 2 and set(targets) <= urls
    assert {e["fullUrl"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Basic"} <= set(targets)


@pytest.mark.parametrize(
    "text, valid",
    [("1.2.840.10008", True), ("1.2.03", False), ("chest.nrrd", False), ("", False), ("1." * 32 + "11", False)],
)
def test_uids_are_told_from_names(text, valid) -> None:
    assert is_uid(text) == valid


@pytest.mark.parametrize("dicom, fhir", [("20200131", "2020-01-31"), ("20200231", ""), ("", ""), ("2020.01.31", "")])
def test_dates_that_are_none_are_left_out(dicom, fhir) -> None:
    assert date_of(dicom) == fhir


def test_a_real_series_is_valid_and_tells_nothing_either(real_series) -> None:
    volume = read_ct(real_series)[0]
    read = SourceSeries.read(real_series, volume.series_uid)
    bundle = fhir_bundle(case(volume, synthetic=False), read, created=MOMENT)
    assert faults(bundle) == []
    text, header = json.dumps(bundle, ensure_ascii=False), read.datasets[0]
    words = {str(header.get(keyword) or "") for keyword in TOLD if keyword != "PatientSex"} - {""}
    assert words and not [word for word in words if f'"{word}"' in text]
    assert "HTEST" not in text
