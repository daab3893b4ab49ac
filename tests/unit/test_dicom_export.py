"""The export as a whole: valid, true to the source's patient, all files or none."""

import logging
import os
import warnings

import numpy as np
import pydicom
import pytest
from dicom_cases import case, errors, nodule, on_grid, source
from dicom_files import enhanced_ct, write, write_series

from inference_server.case_record import CaseRecord
from inference_server.dicom_export import write_dicom
from inference_server.dicom_source import SourceSeries
from shared_models.contract.errors import BadGeometry, InvalidInput, ServerError
from shared_models.contract.results import LabelVolume
from shared_models.ct_reader import read_ct
from shared_models.dicom_log import discreet

PDF = b"%PDF-1.4\n%%EOF\n"
FILES = ["segmentation.dcm", "measurements.dcm", "heatmap_gradcam.dcm", "heatmap_occlusion.dcm", "report.dcm"]


def _exported(tmp_path, geometry="axial", edit=None, nodules=None):
    volume = source(tmp_path / "series", geometry, edit)
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    return write_dicom(case(volume, nodules), series, tmp_path / "out", PDF)


def test_every_file_is_valid(tmp_path) -> None:
    files = _exported(tmp_path, "oblique")  # the other positions: test_dicom_seg.py, test_dicom_map.py
    assert [file.name for file in files] == FILES
    assert {file.name: errors(file) for file in files} == {name: [] for name in FILES}
    assert sorted(os.listdir(tmp_path / "out")) == sorted(FILES)


def test_of_an_enhanced_ct_every_file_is_valid(tmp_path) -> None:
    write(enhanced_ct(5), tmp_path / "series" / "enhanced.dcm")
    volume = read_ct(tmp_path / "series")[0]
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    files = write_dicom(case(volume, [nodule(1)]), series, tmp_path / "out", PDF)
    assert {file.name: errors(file) for file in files} == {name: [] for name in FILES}
    frames = [g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
              for g in pydicom.dcmread(files[2]).PerFrameFunctionalGroupsSequence]  # fmt: skip
    assert set(frames) <= {1, 2, 3, 4, 5} and len(set(frames)) == len(frames)


def test_of_the_drawn_thorax_every_file_is_valid(tmp_path, phantom) -> None:
    from shared_models.contract.values import CTVolume
    from shared_models.geometry import cropped_affine
    from shared_models.phantom_dicom import write_dicom as write_series_of

    whole = phantom.volume
    affine = cropped_affine(whole.ijk_to_lps, (0, 0, 30))
    slab = CTVolume(np.ascontiguousarray(whole.voxels[30:40]), affine, whole.series_uid)
    write_series_of(slab, tmp_path / "series")
    series = SourceSeries.read(tmp_path / "series", slab.series_uid)
    files = write_dicom(case(slab), series, tmp_path / "out", PDF)
    assert {file.name: errors(file) for file in files} == {name: [] for name in FILES}


def test_of_the_real_series_every_file_is_valid_and_exact(tmp_path, real_series) -> None:
    """The nodules are planted: blocks that no model outlined."""
    volume = read_ct(real_series)[0]
    record = case(volume, [nodule(1), nodule(2, "point", "right")], synthetic=False)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[20:24, 200:212, 180:190], labels[40:43, 300:305, 330:340] = 1, 2
    mask = LabelVolume(labels, volume.ijk_to_lps, volume.series_uid)
    record = CaseRecord("case-0001", radiology=record.radiology, mask=mask, ct_heatmaps=record.ct_heatmaps)
    series = SourceSeries.read(real_series, volume.series_uid)
    files = write_dicom(record, series, tmp_path, PDF)
    assert {file.name: errors(file) for file in files} == {name: [] for name in FILES}
    seg = pydicom.dcmread(files[0])
    assert np.array_equal(on_grid(seg, seg.pixel_array, volume.ijk_to_lps, labels.shape), labels)
    for file in files:
        made = pydicom.dcmread(file)
        for name in ("PatientName", "PatientID", "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate"):
            assert made[name].value == series.datasets[0][name].value
        assert "SYNTHETIC" not in made.SeriesDescription


def test_all_files_are_of_the_sources_study_and_place_in_series_of_their_own(tmp_path) -> None:
    def named(image):
        image.PatientAge, image.IssuerOfPatientID, image.AccessionNumber = "061Y", "Ward 7", "ACC-1"

    made = [pydicom.dcmread(file) for file in _exported(tmp_path, edit=named)]
    header = pydicom.dcmread(next((tmp_path / "series").iterdir()))
    for one in made:
        for name in ("PatientName", "PatientID", "PatientAge", "IssuerOfPatientID", "AccessionNumber", "StudyDate",
                     "StudyDescription", "StudyInstanceUID"):  # fmt: skip
            assert one[name].value == header[name].value
        assert "case-0001" not in one.to_json()
        assert one.Manufacturer == "LungXAI" and one.ManufacturerModelName and one.SoftwareVersions
        assert pydicom.uid.UID(one.SOPInstanceUID).is_valid
    for one in (made[0], made[2], made[3]):
        assert one.FrameOfReferenceUID == header.FrameOfReferenceUID
    assert len({one.SOPInstanceUID for one in made}) == 5
    assert len({one.SeriesInstanceUID for one in made} | {header.SeriesInstanceUID}) == 5  # the maps share one


CHARACTERS = [
    ("ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 192", "Дмитрий^Ωμέγα"),
    (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("GB18030", "Wang^XiaoDong=王^小东="),
]


@pytest.mark.parametrize(("characters", "name"), CHARACTERS)
def test_a_name_in_any_script_comes_out_as_it_went_in(tmp_path, characters, name) -> None:
    def named(image):
        image.SpecificCharacterSet, image.PatientName = characters, name
        image.OtherPatientIDsSequence = [pydicom.Dataset()]
        image.OtherPatientIDsSequence[0].PatientID, image.OtherPatientIDsSequence[0].TypeOfPatientID = "A1", "TEXT"

    files = _exported(tmp_path, edit=named)
    source_file = pydicom.dcmread(next((tmp_path / "series").iterdir()))
    raw = source_file.get_item("PatientName").value
    for file in files:
        made = pydicom.dcmread(file)
        assert made.get_item("PatientName").value == raw
        assert str(made.PatientName) == str(source_file.PatientName)
        assert made.OtherPatientIDsSequence[0].PatientID == "A1"
        assert errors(file) == []


def test_bytes_of_a_name_whose_script_is_not_declared_are_kept(tmp_path) -> None:
    volume = source(tmp_path / "series")
    for file in (tmp_path / "series").iterdir():
        file.write_bytes(file.read_bytes().replace(b"SYNTHETIC^PHANTOM ", b"M\xfcller^J\xf6rg       "))
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    for file in write_dicom(case(volume), series, tmp_path / "out", PDF):
        assert pydicom.dcmread(file).get_item("PatientName").value.rstrip() == b"M\xfcller^J\xf6rg"


def _bare(image):
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                 "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator",
                 "StudyDescription", "SliceThickness", "Manufacturer"):  # fmt: skip
        delattr(image, name)


def test_what_was_taken_out_of_the_header_does_not_stop_it(tmp_path) -> None:
    files = _exported(tmp_path, edit=_bare)
    assert {file.name: errors(file) for file in files} == {name: [] for name in FILES}
    made = [pydicom.dcmread(file) for file in files]
    assert all(one.PatientName == "" and one.PatientID in ("", None) for one in made)
    assert len({one.FrameOfReferenceUID for one in (made[0], made[2], made[3])}) == 1


def test_headers_that_break_the_rules_come_out_as_they_went_in_and_are_not_quoted(tmp_path, caplog, capfd) -> None:
    def odd(image):
        image.add(pydicom.DataElement("PatientSex", "CS", "männlich?", validation_mode=0))
        image.add(pydicom.DataElement("PatientBirthDate", "DA", "um 1950", validation_mode=0))
        image.add(pydicom.DataElement("PatientID", "LO", "Geheim-" + "9" * 80, validation_mode=0))
        image.add(pydicom.DataElement("PatientName", "PN", "Doe^Jane^^^^^too many", validation_mode=0))

    volume = source(tmp_path / "series", edit=odd)
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    caplog.clear()
    capfd.readouterr()
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        files = write_dicom(case(volume), series, tmp_path / "out", PDF)
    said = caplog.text + "".join(capfd.readouterr()) + "".join(str(w.message) for w in warned)
    assert not any(secret in said for secret in ("Geheim", "Doe", "um 1950"))
    with discreet():
        for made in map(pydicom.dcmread, files):
            assert made.PatientBirthDate == "um 1950" and made.PatientID.startswith("Geheim-999")
            assert str(made.PatientName) == "Doe^Jane^^^^^too many"


def test_an_element_that_cannot_be_read_is_left_out(tmp_path) -> None:
    volume = source(tmp_path / "series", edit=lambda image: setattr(image, "PregnancyStatus", [4, 4]))
    for file in (tmp_path / "series").iterdir():
        whole, good = file.read_bytes(), b"\x10\x00\xc0\x21US\x04\x00\x04\x00\x04\x00"
        assert good in whole
        file.write_bytes(whole.replace(good, b"\x10\x00\xc0\x21US\x03\x00\x04\x00\x04"))
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    for file in write_dicom(case(volume), series, tmp_path / "out"):
        assert "PregnancyStatus" not in pydicom.dcmread(file)
        assert errors(file) == []


def test_without_a_nodule_and_without_a_report_there_is_less(tmp_path) -> None:
    volume = source(tmp_path / "series")
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    (tmp_path / "out").mkdir()
    for name in (*FILES, "heatmap_saliency.dcm"):
        (tmp_path / "out" / name).write_text("of an earlier export")
    (tmp_path / "out" / "mine.txt").write_text("keep")
    record = case(volume, [])
    record = CaseRecord("case-0001", radiology=record.radiology, mask=record.mask, volume=volume)
    files = write_dicom(record, series, tmp_path / "out")
    assert [file.name for file in files] == ["measurements.dcm"]
    assert sorted(os.listdir(tmp_path / "out")) == ["measurements.dcm", "mine.txt"]
    assert errors(files[0]) == []


def test_after_a_refusal_the_folder_is_as_it_was(tmp_path) -> None:
    volume = source(tmp_path / "series")
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.dcm").write_text("of an earlier export")
    with pytest.raises(InvalidInput, match="no PDF"):  # the last of the files
        write_dicom(case(volume), series, tmp_path / "out", b"no PDF")
    assert os.listdir(tmp_path / "out") == ["report.dcm"]
    assert (tmp_path / "out" / "report.dcm").read_text() == "of an earlier export"


def test_a_case_that_is_not_of_the_series_writes_nothing(tmp_path) -> None:
    volume = source(tmp_path / "series")
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    with pytest.raises(InvalidInput, match="no CT"):
        write_dicom(CaseRecord("case-0001"), series, tmp_path / "out")
    write_series(tmp_path / "other", 7)
    other = SourceSeries.read(tmp_path / "other", "1.2.3.999.1")
    with pytest.raises(InvalidInput, match="not read from this"):
        write_dicom(case(volume), other, tmp_path / "out")
    with pytest.raises(BadGeometry):
        short = SourceSeries.read(tmp_path / "series" / "slice0003.dcm", volume.series_uid)
        write_dicom(case(volume), short, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_identifiers_that_dicom_does_not_allow_are_refused(tmp_path) -> None:
    def wrong(image):
        image.add(pydicom.DataElement("StudyInstanceUID", "UI", "1.2.03.4", validation_mode=0))

    with pytest.raises(InvalidInput, match="does not allow") as refused:
        _exported(tmp_path, edit=wrong)
    assert "1.2.03.4" not in str(refused.value)


def test_images_that_share_an_identifier_are_refused(tmp_path) -> None:
    def same(image):
        image.SOPInstanceUID = "1.2.3.4"

    with pytest.raises(InvalidInput, match="the same identifier"):
        _exported(tmp_path, edit=same)


@pytest.mark.parametrize("nodules", [None, []])
def test_an_odd_study_is_refused_with_and_without_nodules(tmp_path, nodules) -> None:
    def wrong(image):
        image.add(pydicom.DataElement("FrameOfReferenceUID", "UI", "not one", validation_mode=0))

    with pytest.raises(InvalidInput, match="does not allow"):
        _exported(tmp_path, edit=wrong, nodules=nodules)


def test_what_was_compressed_with_loss_says_so_for_ever(tmp_path) -> None:
    def lossy(image):
        image.LossyImageCompression, image.PositionReferenceIndicator = "01", "XY"

    made = [pydicom.dcmread(file) for file in _exported(tmp_path, edit=lossy)]
    for one in (made[0], made[2]):
        assert (one.LossyImageCompression, one.PositionReferenceIndicator) == ("01", "XY")
    assert "PositionReferenceIndicator" not in made[4]


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path) -> None:
    volume = source(tmp_path / "series")
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ServerError, match="could not be written"):
        write_dicom(case(volume), series, tmp_path / "out")
