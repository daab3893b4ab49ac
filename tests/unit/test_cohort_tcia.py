"""The collections of TCIA with a folder per patient: joined to their tables and outlines, and what is left out."""

import numpy as np
import pytest
from cohort_files import read_all, rtstruct, seg, series, uid, voc, xlsx

from shared_models.cohorts import lung_fused, lung_pet_ct_dx, nsclc_radiogenomics, nsclc_radiomics, sclc
from shared_models.cohorts.structures import contours_of, mask_of, rtstruct_mask, seg_mask
from shared_models.cohorts.tcia_patients import histology
from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import ClinicalFields
from shared_models.ct_reader import read_ct

LUNG1 = (
    "PatientID,age,clinical.T.Stage,Clinical.N.Stage,Clinical.M.Stage,Overall.Stage,Histology,gender,Survival.time,"
    "deadstatus.event"
)
RADIOGENOMIC = (
    "Case ID,Patient affiliation,Age at Histological Diagnosis,Weight (lbs),Gender,Ethnicity,Smoking status,Pack Years,"
    "Quit Smoking Year,%GG,Histology ,Pathological T stage"
)


@pytest.mark.parametrize(
    ("words", "label", "other"),
    [
        ("adenocarcinoma", "adenocarcinoma", False), ("Squamous cell carcinoma", "squamous_cell", False),
        ("large cell", "large_cell", False), ("Small Cell Lung Carcinoma", "small_cell", False),
        ("nos", None, True), ("NA", None, False), ("", None, False), ("Not Collected", None, False),
        ("NSCLC NOS (not otherwise specified)", None, True), ("Non-small cell carcinoma", None, True),
        ("Adenosquamous carcinoma", None, True), ("Large cell neuroendocrine carcinoma", None, True),
        ("Combined small cell carcinoma and adenocarcinoma", None, True), ("Carcinoid", None, True),
    ],
)  # fmt: skip
def test_histology_in_words(words, label, other):
    assert (histology(words).label, histology(words).other) == (label, other)


def _lung1(root, rows):
    (root / "NSCLC-Radiomics-Lung1.clinical-version3-Oct-2019.csv").write_text("\n".join([LUNG1, *rows]) + "\n")


def test_nsclc_radiomics(tmp_path):
    root = tmp_path / "manifest-1603198545583" / "NSCLC-Radiomics"
    one = root / "LUNG1-001" / "09-18-2008-StudyID-NA-69331"
    series(one / "0.000000-NA-82046", "LUNG1-001")
    rtstruct(one / "3.000000-NA-78236" / "1-1.dcm", "LUNG1-001")
    seg(one / "300.000000-Segmentation-9.554" / "1-1.dcm", "LUNG1-001")
    rtstruct(one / "4.0" / "1-1.dcm", "LUNG1-001", refers="55")
    series(root / "LUNG1-002" / "a" / "b", "LUNG1-002", "2")
    series(root / "LUNG1-003" / "a" / "b", "LUNG1-003", "3", cut=40)
    _lung1(tmp_path, [
        "LUNG1-001,78.7515,2,3,0,IIIb,large cell,male,2165,1", "LUNG1-002,NA,2,0,0,I,nos,female,155,1",
        "LUNG1-003,66,2,0,0,I,adenocarcinoma,male,155,1", "LUNG1-004,66,2,0,0,I,adenocarcinoma,male,155,1",
    ])  # fmt: skip
    cases, left_out = read_all(nsclc_radiomics, tmp_path)
    assert list(cases) == ["LUNG1-001", "LUNG1-002"]
    first, second = cases.values()
    assert first.label == "large_cell" and first.clinical == ClinicalFields(78.7515, "male")
    assert second.label is None and second.clinical == ClinicalFields(None, "female")
    assert [(a.kind, a.series_uid, a.names) for a in first.annotations] == [
        ("RTSTRUCT", uid(), ("GTV-1",)), ("SEG", uid(), ("Nodule",)),
    ]  # fmt: skip
    assert left_out == {
        ("annotation", "an outline of a series that is not here or was left out"): 1,
        ("label", "a histology that is none of our classes; kept without a label"): 1,
        ("file", "a DICOM file that is cut short or damaged"): 1,
        ("series", "a file of it is cut short or damaged"): 1,
        ("patient", "no CT series that can be used"): 1,
        ("row", "a clinical row without images here"): 1,
    }


def test_masks_lie_on_the_ct(tmp_path):
    volume, _ = read_ct(series(tmp_path / "ct", "LUNG1-001"))
    drawn = rtstruct_mask(rtstruct(tmp_path / "rt.dcm", "LUNG1-001"), "GTV-1", volume)
    expected = np.zeros(volume.voxels.shape, bool)
    expected[1:3, 3:9, 3:9] = True
    assert (drawn == expected).all()
    expected[:] = False
    expected[2, 2:5, 5:9] = True
    for flipped in (False, True):
        path = seg(tmp_path / "seg.dcm", "LUNG1-001", flipped=flipped)
        assert (seg_mask(path, "Nodule", volume) == expected).all()
        assert (seg_mask(path, "", volume) == expected).all()


def test_masks_of_another_grid_or_name_are_refused(tmp_path):
    volume, _ = read_ct(series(tmp_path / "ct", "LUNG1-001"))
    with pytest.raises(BadGeometry):
        seg_mask(seg(tmp_path / "s.dcm", "LUNG1-001", shift=0.4), "Nodule", volume)
    with pytest.raises(InvalidInput):
        seg_mask(seg(tmp_path / "s.dcm", "LUNG1-001"), "Lung", volume)
    with pytest.raises(InvalidInput):
        contours_of(rtstruct(tmp_path / "r.dcm", "LUNG1-001"), "GTV-2")


def test_the_mask_of_a_case(tmp_path):
    folder = series(tmp_path / "LUNG1-001" / "a" / "b", "LUNG1-001")
    rtstruct(tmp_path / "LUNG1-001" / "a" / "c" / "1.dcm", "LUNG1-001")
    _lung1(tmp_path, ["LUNG1-001,78,2,3,0,IIIb,large cell,male,2165,1"])
    (case,) = read_all(nsclc_radiomics, tmp_path)[0].values()
    volume, _ = read_ct(case.images[0].path)
    assert case.images[0].path == folder and mask_of(case.annotations[0], "GTV-1", volume).sum() == 72


def test_nsclc_radiogenomics(tmp_path):
    root = tmp_path / "NSCLC Radiogenomics"
    series(root / "R01-001" / "09-06-1990-CT" / "5.0", "R01-001")
    seg(root / "R01-001" / "09-06-1990-CT" / "1000.0-3D Slicer segmentation result" / "1-1.dcm", "R01-001")

    def pet(image, index):
        image.SOPClassUID, image.Modality = "1.2.840.10008.5.1.4.1.1.128", "PT"

    series(root / "R01-001" / "09-06-1990-PET" / "6.0", "R01-001", "6", 4, pet)
    series(root / "AMC-002" / "x" / "y", "AMC-002", "2")
    (tmp_path / "NSCLCR01Radiogenomic_DATA_LABELS_2018-05-22_1500-shifted.csv").write_text("\n".join([
        RADIOGENOMIC,
        "R01-001,VA,34,Not Collected,Male,Not Recorded In Database,Former,15,1997,0%,Adenocarcinoma,T1a",
        "AMC-002,Stanford,60,150,Female,Asian,Nonsmoker,N/A,,0%,Squamous cell carcinoma,T1a",
    ]))  # fmt: skip
    cases, left_out = read_all(nsclc_radiogenomics, tmp_path)
    assert cases["R01-001"].clinical == ClinicalFields(34.0, "male", "former", 15.0)
    assert cases["AMC-002"].clinical == ClinicalFields(60.0, "female", "never")
    assert [c.label for c in cases.values()] == ["squamous_cell", "adenocarcinoma"]
    assert [a.kind for a in cases["R01-001"].annotations] == ["SEG"]
    assert left_out == {("series", "PET, which nothing here reads"): 1}


def test_small_cell_among_others(tmp_path):
    for number, patient in enumerate(("MSB-00089", "MSB-00090", "MSB-00091")):
        series(tmp_path / "CMB-LCA" / patient / "01-01-1960-CT" / "2.0", patient, str(number))
    (tmp_path / "CMB-LCA_clinical.csv").write_text(
        "Subject ID,Age at enrollment,Gender,Primary diagnosis,Smoking status\n"
        "MSB-00089,70,Male,Small cell carcinoma,Current smoker\nMSB-00090,60,Female,Adenocarcinoma,Ex-smoker\n"
    )
    cases, left_out = read_all(sclc, tmp_path)
    assert {p: c.label for p, c in cases.items()} == {"MSB-00089": "small_cell", "MSB-00090": "adenocarcinoma"}
    assert cases["MSB-00089"].clinical == ClinicalFields(70.0, "male", "current")
    assert cases["MSB-00090"].clinical.smoking == "former" and not left_out


def test_small_cell_needs_a_table_that_says_so(tmp_path):
    with pytest.raises(InvalidInput, match="No clinical table"):
        read_all(sclc, tmp_path)
    (tmp_path / "clinical.csv").write_text("Subject ID,Age\nMSB-00089,70\n")
    with pytest.raises(InvalidInput, match="histology"):
        read_all(sclc, tmp_path)


def _dx(tmp_path):
    root = tmp_path / "manifest-1608669183333" / "Lung-PET-CT-Dx"
    for number, patient in enumerate(("A0001", "B0002", "E0001", "G0003"), 1):
        name = f"Lung_Dx-{patient}"
        series(root / name / "04-04-2007-NA-Chest-07990" / "2.000000-5mm-40805", name, str(number))
    voc(tmp_path / "Annotation" / "A0001" / f"{uid('1')}.2.xml")
    voc(tmp_path / "Annotation" / "A0001" / "1.9.9.xml")
    voc(tmp_path / "Annotation" / "B0002" / f"{uid('2')}.1.xml", (9, 2, 3, 9))
    return root


def test_lung_pet_ct_dx(tmp_path):
    _dx(tmp_path)
    xlsx(tmp_path / "statistics-clinical-20201221.xlsx", [
        ["No.", "NewPatientID", "Sex", "Age", "weight (kg)", "Smoking History"],
        [1, "A0001", "M", 58, 68.5, 0], [2, "B0002", "F", 61, "", 1], [3, "Z9999", "F", 61, "", 1],
    ])  # fmt: skip
    cases, left_out = read_all(lung_pet_ct_dx, tmp_path)
    assert [(c.patient_id, c.label) for c in cases.values()] == [
        ("Lung_Dx-A0001", "adenocarcinoma"), ("Lung_Dx-B0002", "small_cell"),
        ("Lung_Dx-E0001", "large_cell"), ("Lung_Dx-G0003", "squamous_cell"),
    ]  # fmt: skip
    first = cases["Lung_Dx-A0001"]
    assert first.clinical == ClinicalFields(58.0, "male", "never")
    assert cases["Lung_Dx-B0002"].clinical == ClinicalFields(61.0, "female")
    assert cases["Lung_Dx-G0003"].clinical == ClinicalFields(61.0, "female"), "of the header, where the table has none"
    (boxes,) = first.annotations
    assert boxes.kind == "VOC_XML" and boxes.series_uid == uid("1") and boxes.path.name == "A0001"
    assert left_out == {
        ("annotation", "a tumour box on an image that is not here or was left out"): 1,
        ("annotation", "a tumour box that cannot be read"): 1,
        ("row", "a clinical row whose patient is not named as in this collection"): 1,
    }


def test_the_real_series(real_data):
    cases, left_out = read_all(lung_pet_ct_dx, real_data / "lung_pet_ct_dx_dicom")
    (case,) = cases.values()
    assert (case.patient_id, case.label, case.images[0].count) == ("Lung_Dx-A0001", "adenocarcinoma", 64)
    assert case.clinical == ClinicalFields(58.0, "male")
    on_series = [
        path.stem for path in case.annotations[0].path.glob("*.xml") if lung_pet_ct_dx.boxes_of(path)
    ]  # fmt: skip
    assert len(on_series) - sum(left_out.values()) == 9, "the slices that evaluate_ct_series counts"


def test_lung_fused(tmp_path):
    root = tmp_path / "Lung-Fused-CT-Pathology"

    def named(description, frame="1.2.3.7"):
        def edit(image, index):
            image.SeriesDescription, image.FrameOfReferenceUID = description, frame

        return edit

    for number in ("1", "2"):
        patient = f"LungFCP-01-000{number}"
        series(root / patient / "s" / "ct", patient, number, 6)
        series(root / patient / "s" / "invasion", patient, f"{number}1", 6, named("Fused invasion mask"))
        series(root / patient / "s" / "other", patient, f"{number}2", 6, named("Vessel mask", "1.2.3.8"))
    slide = tmp_path / "histology" / "LungFCP-01-0001_HE.svs"
    slide.parent.mkdir()
    slide.write_bytes(b"II*\0")
    (slide.parent / "overview.png").write_bytes(b"")
    cases, left_out = read_all(lung_fused, tmp_path)
    first = cases["LungFCP-01-0001"]
    assert first.label == "adenocarcinoma" and [i.modality for i in first.images] == ["CT", "slide"]
    assert [(a.kind, a.series_uid, a.names) for a in first.annotations] == [
        ("MASK", uid("1"), ("Fused invasion mask",))
    ]  # fmt: skip
    assert [i.modality for i in cases["LungFCP-01-0002"].images] == ["CT"]
    assert left_out == {
        ("annotation", "a mask in another frame of reference than the CT"): 2,
        ("slide", "a picture whose path names no patient"): 1,
    }
    with pytest.raises(InvalidInput):
        read_all(lung_fused, tmp_path / "histology")
