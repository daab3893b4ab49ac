"""Files that are broken or made to attack: an exclusion with its reason, or a clear error; never a leak of a name."""

import os
import zipfile

import pytest
from cohort_files import lidc_message, read_all, series, voc, xlsx
from dicom_files import SECRETS

from shared_models.cohorts import lc25000, lidc_idri, lung_pet_ct_dx, nsclc_radiomics
from shared_models.cohorts.accounting import Accounting
from shared_models.cohorts.dicom_headers import Damaged, NotDicom, header
from shared_models.cohorts.safe_xml import MAX_BYTES, first_text, parsed
from shared_models.cohorts.tables import read_sheet, read_table
from shared_models.contract.errors import InvalidInput, LungXAIError

BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><a>&b;</a>"""
FILE = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"""
NAME = "LIDC-IDRI-0001"


@pytest.mark.parametrize("data", [
    BOMB, FILE, BOMB.decode().replace("1.0", "1.0").encode("utf-16"), b"<!DOCTYPE a><a/>", b"<a>" * 200, b"", b"<a>",
    b"\x00\x01", b"<?xml version='1.0' encoding='nonsense'?><a/>",
], ids="bomb file utf16 doctype deep nothing open zeros encoding".split())  # fmt: skip
def test_xml_that_no_collection_has(data):
    with pytest.raises(InvalidInput):
        parsed(data)


def test_xml_without_end(monkeypatch):
    monkeypatch.setattr("shared_models.cohorts.safe_xml._MAX_ELEMENTS", 100)
    assert len(parsed(b"<a>" + b"<b/>" * 99 + b"</a>")) == 99
    with pytest.raises(InvalidInput):
        parsed(b"<a>" + b"<b/>" * 100 + b"</a>")


def test_xml_as_collections_have_it():
    assert parsed(b'<a xmlns="http://www.nih.gov"><b>1 &amp; 2</b></a>').findtext("b") == "1 & 2"
    assert first_text(b"<a><b>1</b><c>2</c><broken", "b") == "1" and first_text(b"<a/>", "b") is None


@pytest.mark.parametrize("data", [BOMB, FILE, b"<a>", b" " * (MAX_BYTES + 1)], ids=["bomb", "file", "open", "large"])
def test_a_reading_that_attacks_is_left_out(tmp_path, data):
    folder = series(tmp_path / NAME / "a" / "b", NAME)
    (folder / "1.xml").write_bytes(data)
    cases, left_out = read_all(lidc_idri, tmp_path)
    assert list(cases) == [NAME] and not cases[NAME].annotations
    assert ("annotation", "an XML file that cannot be read") in left_out or (
        "annotation", "an XML file of a radiograph, or of no reading") in left_out  # fmt: skip


def test_boxes_that_attack_are_left_out(tmp_path):
    name = "Lung_Dx-A0001"
    series(tmp_path / name / "a" / "b", name)
    voc(tmp_path / "Annotation" / "A0001" / "1.2.3.999.1.1.xml").write_bytes(BOMB)
    _, left_out = read_all(lung_pet_ct_dx, tmp_path)
    assert left_out == {("annotation", "a tumour box that cannot be read"): 1}


def test_dicom_that_is_cut_anywhere(tmp_path):
    whole = next(series(tmp_path / "s", NAME, count=1).iterdir()).read_bytes()
    path = tmp_path / "cut.dcm"
    for length in [*range(0, len(whole) - 1, 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged):
            header(path)
    path.write_bytes(whole)
    assert header(path).PatientID == NAME
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(NotDicom):
        header(tmp_path / "notes.txt")


def test_a_misfiled_image_and_an_image_twice(tmp_path):
    def misfiled(image, index):
        if index == 0:
            image.PatientID = SECRETS[1]
        if index == 2:
            image.SOPInstanceUID = "1.2.3.999.1.2"

    series(tmp_path / NAME / "a" / "b", NAME, count=6, edit=misfiled)
    cases, left_out = read_all(lidc_idri, tmp_path)
    assert cases[NAME].images[0].count == 4
    assert left_out["file", "its header names another patient than its folder"] == 1
    assert left_out["file", "an image that is there twice"] == 1


def test_two_series_in_one_folder_and_a_scout(tmp_path):
    def scout(image, index):
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    folder = series(tmp_path / NAME / "a" / "b", NAME)
    for index, path in enumerate(sorted(series(tmp_path / "t", NAME, "2").iterdir())):
        path.rename(folder / f"2-{index}.dcm")
    series(tmp_path / NAME / "a" / "c", NAME, "3", 2, scout)
    series(tmp_path / NAME / "a" / "d", NAME, "4", 2)
    cases, left_out = read_all(lidc_idri, tmp_path)
    assert not cases and left_out == {
        ("series", "it shares its folder with another series; sort them into folders"): 2,
        ("series", "fewer than 3 slices, no volume"): 1,
        ("file", "a localizer (scout) image"): 2,
        ("patient", "no CT series that can be used"): 1,
    }


def test_links_that_leave_the_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    series(root / NAME / "a" / "b", NAME)
    elsewhere = series(outside / "LIDC-IDRI-0002" / "a" / "b", "LIDC-IDRI-0002", "2")
    os.symlink(outside / "LIDC-IDRI-0002", root / "LIDC-IDRI-0002")
    os.symlink(next(elsewhere.iterdir()), root / NAME / "a" / "b" / "9.dcm")
    os.symlink(root, root / NAME / "a" / "loop")
    os.symlink(tmp_path / "nowhere", root / NAME / "gone.dcm")
    os.mkfifo(root / NAME / "pipe.dcm")
    cases, left_out = read_all(lidc_idri, root)
    assert list(cases) == [NAME] and cases[NAME].images[0].count == 4
    assert left_out["file", "a link that leads out of the folder"] == 2
    assert left_out["file", "a link that leads nowhere"] == 1
    assert left_out["file", "a link to a folder, which is not followed"] == 1


def test_tables_without_columns_or_end(tmp_path):
    path = tmp_path / "NSCLC-Radiomics-Lung1.clinical.csv"
    for text in ("PatientID,age\nLUNG1-001,5\n", "", "\0\0\0", "<html>"):
        path.write_text(text)
        with pytest.raises(InvalidInput, match="no column"):
            read_all(nsclc_radiomics, tmp_path)
    path.write_text('a\n"' + "x" * 200_000)
    with pytest.raises(InvalidInput):
        list(read_table(path, ("a",)))
    path.write_bytes(b"\xef\xbb\xbfa , b\n1, 2 ,3\n\n4\n")
    assert list(read_table(path, ("a", "b"))) == [{"a": "1", "b": "2"}, {"a": "4", "b": ""}]


def test_workbooks_that_are_none(tmp_path):
    path = tmp_path / "t.xlsx"
    path.write_bytes(b"PK\3\4 no workbook")
    with pytest.raises(InvalidInput):
        list(read_sheet(path, ()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/worksheets/sheet1.xml", b" " * (40 << 20))
    assert path.stat().st_size < 100_000
    with pytest.raises(InvalidInput, match="larger"):
        list(read_sheet(path, ()))
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", BOMB)
    with pytest.raises(InvalidInput):
        list(read_sheet(path, ()))
    xlsx(path, [["a", "b"], ["x & y", 2.5], ["", 3]])
    assert list(read_sheet(path, ("a",))) == [{"a": "x & y", "b": "2.5"}, {"a": "", "b": "3"}]


def test_a_patient_is_read_when_its_turn_comes(tmp_path):
    """So the memory is that of one patient, and nothing of the second is looked at before the first was given."""
    series(tmp_path / NAME / "a" / "b", NAME)
    series(tmp_path / "LIDC-IDRI-0002" / "a" / "b", "LIDC-IDRI-0002", "2", cut=9)
    told = []
    cases = lidc_idri.read(tmp_path, told.append)
    assert next(cases).patient_id == NAME and [left_out.patient_id for left_out in told] == [NAME]
    assert not list(cases) and {left_out.patient_id for left_out in told} == {NAME, "LIDC-IDRI-0002"}


JPEG = b"\xff\xd8\xff\xe0" + bytes(40) + b"\xff\xd9"


def test_tiles_in_both_layouts(tmp_path):
    base = tmp_path / "lung_colon_image_set" / "lung_image_sets"
    for label in ("lung_aca", "lung_scc", "lung_n"):
        (base / label).mkdir(parents=True)
        (base / label / "one1.jpeg").write_bytes(JPEG)
    (base / "lung_aca" / "cut.jpeg").write_bytes(JPEG[:-6])
    cases, left_out = read_all(lc25000, tmp_path)
    assert {n: c.label for n, c in cases.items()} == {
        "lung_aca/one1": "adenocarcinoma", "lung_scc/one1": "squamous_cell", "lung_n/one1": "normal",
    }  # fmt: skip
    assert not any(c.splittable for c in cases.values()), "which tiles are of one field is not known"
    assert left_out == {("tile", "a picture that is cut short, too large, or none"): 1}
    (base / "tiles.csv").write_text(
        "file,label,group,split\nlung_aca/one1.jpeg,lung_aca,g1,train\n../../../../etc/passwd,lung_n,g2,val\n"
        "/etc/passwd,lung_n,g3,val\nlung_n/one1.jpeg,lung_n,g4,train\nlung_n/one1.jpeg,lung_n,g4,test\n"
    )
    cases, left_out = read_all(lc25000, tmp_path)
    assert {n: (c.split, c.images[0].group) for n, c in cases.items()} == {"g1": ("train", "g1")}
    assert left_out == {
        ("tile", "it is not there, or its name leads out of the folder"): 2,
        ("row", "a source field of two classes, of two splits, or without a name"): 1,
    }


def test_no_name_of_a_person_is_told(tmp_path, caplog):
    """Names stand in headers, folders and tables; none reaches the accounting, a case, an error or the log."""

    def named(image, index):
        image.PatientID = SECRETS[0] if index == 1 else NAME

    series(tmp_path / NAME / "a" / "b", NAME, edit=named)
    series(tmp_path / "Doe^Jane" / "a" / "b", "Doe^Jane")
    (tmp_path / NAME / "Doe^Jane.xml").write_bytes(lidc_message([]).replace(b"1.2.3.999.1", b"Doe^Jane"))
    accounting = Accounting(lidc_idri.COHORT)
    cases = list(accounting.counted(lidc_idri.read(tmp_path, accounting.report)))
    table = tmp_path / "NSCLC-Radiomics-Lung1.clinical.csv"
    table.write_text("PatientID,age,Histology,gender\nDoe^Jane,5,nos,male\n")
    assert not read_all(nsclc_radiomics, tmp_path)[0]
    table.write_text("PatientID,Doe^Jane\n")
    with pytest.raises(LungXAIError) as refused:
        read_all(nsclc_radiomics, tmp_path)
    told = f"{accounting.text()} {accounting.body()} {cases} {refused.value} {caplog.text}".replace(str(tmp_path), "")
    assert len(cases) == 1 and "Doe" not in told and SECRETS[1] not in told
