"""`lungxai cohorts`: what it lists, writes, and ends with."""

import csv
import json

import pytest
from cohort_files import series

from shared_models import command_line
from shared_models.cohorts.registry import COHORTS
from shared_models.cohorts.split import split_of

HISTOLOGY = ("adenocarcinoma", "squamous cell carcinoma")


@pytest.fixture
def lung1(tmp_path):
    """Eight patients, four of each class."""
    rows = ["PatientID,age,Histology,gender"]
    for n in range(8):
        patient = f"LUNG1-{n:03d}"
        series(tmp_path / "d" / "NSCLC-Radiomics" / patient / "s" / "ct", patient, str(n), 3)
        rows.append(f"{patient},{60 + n},{HISTOLOGY[n % 2]},male")
    (tmp_path / "d" / "NSCLC-Radiomics-Lung1.clinical.csv").write_text("\n".join(rows))
    return tmp_path / "d"


def _run(*words):
    return command_line.main(["cohorts", *map(str, words)])


def test_the_readers_are_listed(capsys):
    assert _run() == 0
    told = capsys.readouterr().out
    assert len(COHORTS) == 8
    for cohort in COHORTS.values():
        assert cohort.name in told and cohort.license in told and cohort.shows in told
    assert "Research use only" in told


def test_accounting_and_files(lung1, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    files = ("--json", out / "a.json", "--csv", out / "a.csv")
    words = ("nsclc-radiomics", lung1, *files, "--audit", "--embedding", "none")
    assert _run(*words) == 0
    told = capsys.readouterr().out
    assert "8 patients, 8 images (24 slices)" in told and "no leak found" in told and "Research use only" in told
    body = json.loads((out / "a.json").read_text())
    assert sum(body["patients"]["adenocarcinoma"].values()) == 4 and body["audit"]["count"] == 0
    assert sum(sum(counts.values()) for counts in body["images"].values()) == 8 and not body["exclusions"]
    with (out / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == [split_of(f"LUNG1-{n:03d}") for n in range(8)]
    assert rows[0]["path"] == "NSCLC-Radiomics/LUNG1-000/s/ct" and rows[1]["label"] == "squamous_cell"
    assert {p.name for p in out.iterdir()} == {"a.json", "a.csv"}
    first = (out / "a.csv").read_bytes()
    assert _run(*words) == 0 and (out / "a.csv").read_bytes() == first


def test_balanced_shares_and_an_earlier_split(lung1, tmp_path):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    assert _run("nsclc-radiomics", lung1, "--balanced", "--csv", first) == 0

    def splits(path):
        with path.open(newline="") as file:
            return {row["patient_id"]: row["split"] for row in csv.DictReader(file)}

    assert {split: list(splits(first).values()).count(split) for split in ("val", "test")} == {"val": 2, "test": 2}
    for n in range(8, 12):
        series(lung1 / "NSCLC-Radiomics" / f"LUNG1-{n:03d}" / "s" / "ct", f"LUNG1-{n:03d}", str(n), 3)
        with (lung1 / "NSCLC-Radiomics-Lung1.clinical.csv").open("a") as file:
            file.write(f"\nLUNG1-{n:03d},70,{HISTOLOGY[0]},male")
    assert _run("nsclc-radiomics", lung1, "--balanced", "--keep", first, "--csv", second) == 0
    assert {p: splits(second)[p] for p in splits(first)} == splits(first) and len(splits(second)) == 12


def test_a_leak_ends_with_one(lung1, tmp_path, capsys):
    """The same CT again under another patient, who is put into another split."""
    import shutil

    shutil.rmtree(lung1 / "NSCLC-Radiomics" / "LUNG1-001")
    series(lung1 / "NSCLC-Radiomics" / "LUNG1-001" / "s" / "ct", "LUNG1-001", "0", 3)
    given = tmp_path / "given.csv"
    given.write_text("patient_id,split\nLUNG1-000,train\nLUNG1-001,test\n")
    assert _run("nsclc-radiomics", lung1, "--audit", "--embedding", "none", "--splits", given) == 1
    assert "same series under two patients: LUNG1-000 and LUNG1-001 in train and test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense", "."), "no reader"), (("lidc-idri",), "folder of the download is missing"),
        (("lidc-idri", "/nowhere"), "not there"), (("lidc-idri", ".", "--keep", "a.csv"), "--balanced"),
        (("lidc-idri", ".", "--csv", "/nowhere/a.csv"), "write to"),
    ],
)  # fmt: skip
def test_mistakes_are_told(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run(*words) == 2
    assert said in capsys.readouterr().err


def test_a_failed_reading_leaves_no_file(tmp_path):
    (tmp_path / "root").mkdir()
    assert _run("lidc-idri", tmp_path / "root", "--csv", tmp_path / "a.csv", "--json", tmp_path / "a.json") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root"]


def test_the_real_cohorts(real_data, capsys):
    assert _run("tcga-lung", real_data / "clinical") == 0
    assert "831 patients" in capsys.readouterr().out
    assert _run("lc25000", real_data / "lc25000_lung_224", "--audit", "--embedding", "none") == 0
    assert "656 source fields, 2623 images" in capsys.readouterr().out
