"""TCGA: slides, CT and clinical tables joined by barcode; and cases of which all parts are of one patient."""

import pytest
from cohort_files import read_all, series

from shared_models import clinical_data
from shared_models.cohorts import tcga_lung
from shared_models.cohorts.paired import paired_cases
from shared_models.cohorts.split import split_of, with_splits
from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import ClinicalFields
from shared_models.fusion_cases import of_cohort

COLUMNS = ["bcr_patient_uuid", "bcr_patient_barcode", "histologic_diagnosis", "gender", "histologic_diagnosis",
           "tobacco_smoking_history_indicator", "tobacco_smoking_pack_years_smoked",
           "age_at_initial_pathologic_diagnosis"]  # fmt: skip
ONE, TWO, THREE = "TCGA-05-4245", "TCGA-18-3406", "TCGA-AA-0001"
UUID = "0a1b2c3d-0000-4000-8000-000000000000"


def _biotab(path, rows):
    head = ["\t".join(COLUMNS), "\t".join(COLUMNS), "\t".join(f"CDE_ID:{n}" for n in range(len(COLUMNS)))]
    path.write_text("\n".join([*head, *("\t".join(row) for row in rows)]) + "\n")


WHOLE = b"II*\0" + (8).to_bytes(4, "little") + bytes(40)
NEWER = (
    "cases.submitter_id project.project_id demographic.age_at_index demographic.gender diagnoses.primary_diagnosis"
)


def _slide(root, name, data=WHOLE):
    path = root / UUID / f"{name}.{UUID}.svs"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def download(tmp_path):
    _biotab(tmp_path / "nationwidechildrens.org_clinical_patient_luad.txt", [
        ["u", ONE, "Lung Adenocarcinoma", "MALE", "Lung Acinar Adenocarcinoma",
         "Current reformed smoker for < or = 15 years", "32", "81"],
    ])  # fmt: skip
    _biotab(tmp_path / "nationwidechildrens.org_clinical_patient_lusc.txt", [
        ["u", TWO, "Lung Squamous Cell Carcinoma", "FEMALE", "NOS", "Lifelong Non-smoker",
         "[Not Available]", "[Not Available]"],
    ])  # fmt: skip
    for name in (f"{ONE}-01Z-00-DX1", f"{ONE}-01A-01-TS1", f"{TWO}-11A-01-TS1", f"{TWO}-01Z-00-DX1"):
        _slide(tmp_path / "slides", name)
    _slide(tmp_path / "slides", f"{THREE}-01Z-00-DX1")
    _slide(tmp_path / "TCGA-LUSC", "TCGA-BB-0002-01Z-00-DX1")
    _slide(tmp_path / "slides", f"{TWO}-01Z-00-DX2", b"II*\0" + (9000).to_bytes(4, "little") + bytes(40))
    series(tmp_path / "manifest-1" / "TCGA-LUAD" / ONE / "s" / "ct", ONE)
    return tmp_path


def test_one_download(download):
    cases, left_out = read_all(tcga_lung, download)
    assert {p: (c.label, [i.modality for i in c.images]) for p, c in cases.items()} == {
        ONE: ("adenocarcinoma", ["CT", "slide"]), TWO: ("squamous_cell", ["slide"]),
        "TCGA-BB-0002": ("squamous_cell", ["slide"]),
    }  # fmt: skip
    assert cases[ONE].clinical == ClinicalFields(81.0, "male", "former", 32.0)
    assert cases[TWO].clinical == ClinicalFields(None, "female", "never")
    assert cases[ONE].images[1].slide_id == f"{ONE}-01Z-00-DX1"
    assert left_out == {
        ("slide", "a frozen section, not a diagnostic slide"): 1,
        ("slide", "of normal tissue, or of no primary tumour"): 1,
        ("slide", "no TIFF file: cut short, or not downloaded whole"): 1,
        ("patient", "neither a clinical row nor a project's folder tells its class"): 1,
    }


def test_a_patient_of_two_classes(download):
    path = download / "nationwidechildrens.org_clinical_patient_lusc.txt"
    path.write_text(path.read_text().replace(TWO, ONE))
    cases, left_out = read_all(tcga_lung, download)
    assert left_out["patient", "two tables give it different classes"] == 1
    assert ONE in cases and cases[ONE].clinical is None, "its CT lies in the folder of TCGA-LUAD"


@pytest.mark.parametrize("names", ["case_submitter_id project_id age_at_index gender primary_diagnosis", NEWER])
def test_the_portals_tables(tmp_path, names):
    prefix = names.split()
    rows = [
        [ONE, "TCGA-LUAD", "70", "male", "Adenocarcinoma, NOS"],
        [ONE, "TCGA-LUAD", "70", "male", "Adenocarcinoma, NOS"],
        [TWO, "TCGA-LUSC", "'--", "female", "Squamous cell carcinoma, NOS"],
    ]  # fmt: skip
    (tmp_path / "clinical.tsv").write_text("\n".join("\t".join(row) for row in [prefix, *rows]))
    smoking = ["exposures." * ("." in prefix[0]) + name for name in ("tobacco_smoking_status", "pack_years_smoked")]
    former = "Current Reformed Smoker for > 15 yrs"
    exposure = [[prefix[0], *smoking], [ONE, former, "20"], [TWO, "Current Smoker", "'--"]]
    (tmp_path / "exposure.tsv").write_text("\n".join("\t".join(row) for row in exposure))
    cases, left_out = read_all(tcga_lung, tmp_path)
    assert {p: (c.label, c.clinical) for p, c in cases.items()} == {
        ONE: ("adenocarcinoma", ClinicalFields(70.0, "male", "former", 20.0)),
        TWO: ("squamous_cell", ClinicalFields(None, "female", "current")),
    }
    assert not left_out


def test_the_real_tables(real_data):
    """Every field as the clinical model was trained on, and none of its training patients in val or test."""
    cases = {c.patient_id: c for c in with_splits(read_all(tcga_lung, real_data / "clinical")[0].values())}
    assert len(cases) == 831 and sum(c.label == "adenocarcinoma" for c in cases.values()) == 419
    for split in ("train", "val", "test"):
        rows = clinical_data.read_cases(real_data, split)
        for patient, fields, squamous in zip(rows.patients, rows.fields, rows.squamous):
            case = cases.pop(patient)
            assert case.clinical == fields and (case.label == "squamous_cell") == squamous
            assert case.split in (split, "train")
    assert not cases


def test_paired_cases(download):
    (case,) = paired_cases("tcga-lung", download)
    assert case.patient_id == ONE and case.label == "adenocarcinoma" and case.parts == ("ct", "slide", "clinical")
    assert case.ct.count == 4 and case.slide.slide_id.endswith("DX1") and case.clinical.age_years == 81
    assert {c.patient_id for c in paired_cases("tcga-lung", download, need=("slide", "clinical"))} == {ONE, TWO}
    assert [c.patient_id for c in paired_cases("tcga-lung", download, split_of(ONE))] == [ONE]
    assert not list(paired_cases("tcga-lung", download, "val")) and split_of(ONE) == "train"
    with pytest.raises(InvalidInput):
        list(paired_cases("tcga-lung", download, need=("ct", "blood")))
    with pytest.raises(InvalidInput):
        list(paired_cases("tcga", download))


def test_nothing_of_tcga(tmp_path):
    with pytest.raises(InvalidInput, match="TCGA"):
        read_all(tcga_lung, tmp_path)
    (tmp_path / "clinical.tsv").write_text("patient\tsex\nx\tm\n")
    with pytest.raises(InvalidInput, match="case_submitter_id"):
        read_all(tcga_lung, tmp_path)


def test_the_fusion_takes_paired_cases(download):
    """What evaluates composed cases takes these unchanged: of one patient, its own CT and its own slide."""
    looked = []
    (case,) = of_cohort(paired_cases("tcga-lung", download), looked.append, looked.append)
    assert case.parts == {"CT": "1.2.3.999.1", "slide": f"{ONE}-01Z-00-DX1"}
    assert [path.name for path in looked] == ["ct", f"{ONE}-01Z-00-DX1.{UUID}.svs"]
