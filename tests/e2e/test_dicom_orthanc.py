"""A real archive, Debian's Orthanc: it takes what LungXAI writes and gives it back as it was, and the source series."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_slide_files import tissue, write_slide
from orthanc_server import PASSWORD, Orthanc, nodes_of, orthanc, tls_files
from test_dicom_annotations import case as tiles_case

from inference_server.case_record import CaseRecord
from inference_server.dicom_annotations import write_annotations
from inference_server.dicom_association import echo
from inference_server.dicom_command import register
from inference_server.dicom_export import write_dicom
from inference_server.dicom_nodes import Node, node_named
from inference_server.dicom_query import find
from inference_server.dicom_receive import receive
from inference_server.dicom_send import REFUSED, STORED, send
from inference_server.dicom_source import SourceSeries
from inference_server.dicom_web import echo_web
from shared_models.contract.errors import Cancelled, InputTooLarge, InvalidInput, ServerUnreachable
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, LabelVolume, Nodule, RadiologyResult
from shared_models.contract.values import CLASSES, CTVolume
from shared_models.ct_reader import read_ct
from shared_models.phantom_dicom import write_dicom as write_series

SHAPE, SERIES = (8, 24, 32), "1.2.826.0.1.3680043.10.99.1"
AFFINE = np.array([[0.7, 0, 0, -10.0], [0, 0.7, 0, -20.0], [0, 0, 2.5, 30.0], [0, 0, 0, 1]])
MODEL = Provenance("finder 1", "1" * 64, "0.1.0", False, "cpu", ())
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


def lungxai(*words: object) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    given = parser.parse_args(["dicom", *map(str, words)])
    return int(given.run(given))


def record() -> CaseRecord:
    """SYNTHETIC: noise, one nodule of twelve voxels, one heatmap."""
    volume = CTVolume(np.random.default_rng(0).integers(-1000, 400, SHAPE, dtype=np.int16), AFFINE, SERIES)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:5, 10:12, 5:8] = 1
    nodule = Nodule(1, (-5.8, -12.7, 38.8), 2.1, 1.4, 14.7, -60.0, 0.7, dict.fromkeys(CLASSES), "search", "right")
    result = RadiologyResult(SERIES, (nodule,), 0.7, dict.fromkeys(CLASSES), (MODEL,))
    heat = Heatmap(labels.astype(np.float32), AFFINE, SERIES, "radiology", "gradcam", "nodule", MODEL, {})
    return CaseRecord("case-1", True, "", result, LabelVolume(labels, AFFINE, SERIES), volume, {"gradcam": heat})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with orthanc(tmp_path_factory.mktemp("orthanc") / "server") as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources in ``ct`` and ``slide``, and what was made of them in ``dicom`` and ``annotations``."""
    folder, case = tmp_path_factory.mktemp("made"), record()
    assert case.volume is not None
    write_series(case.volume, folder / "ct")
    write_dicom(case, SourceSeries.read(folder / "ct", SERIES), folder / "dicom", PDF)
    slide = write_slide(folder / "slide", tissue())
    write_annotations(tiles_case(slide, pixels=False), slide.parent, folder / "annotations")
    return folder


@pytest.fixture
def nodes(server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    server.clear()
    file = nodes_of(server, tmp_path / "configuration")
    monkeypatch.setenv("LUNGXAI_NODES", str(file))
    return file


def same(one: pydicom.Dataset, other: pydicom.Dataset) -> bool:
    """Every element of the data set, the pixels too, and the encoding."""
    return one == other and one.file_meta.TransferSyntaxUID == other.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("there, back", [("pacs", "archive"), ("archive", "pacs")])
def test_results_come_back_as_they_were_sent(made, nodes, server, tmp_path, there, back) -> None:
    sent = send([made / "dicom"], node_named(there))
    assert {one.what for one in sent} == {"Segmentation", "Enhanced SR", "Parametric Map", "Encapsulated PDF"}
    assert [one.state for one in sent] == [STORED] * 4 and server.count() == 4
    for number, one in enumerate(sent):
        original = pydicom.dcmread(one.path)
        node, out = node_named(back), tmp_path / f"back{number}"
        came = receive(node, original.SeriesInstanceUID, out, study_uid=original.StudyInstanceUID)
        assert came.images == 1 and [file.name for file in out.iterdir()] == ["00001.dcm"]
        assert same(pydicom.dcmread(out / "00001.dcm"), original), one.what
        assert original.PatientName == "SYNTHETIC^PHANTOM"  # the patient module of the source went with it


@pytest.mark.parametrize("name", ["pacs", "archive"])
def test_the_source_series_comes_to_the_same_voxels(made, nodes, tmp_path, name) -> None:
    send([made / "ct"], node_named("archive" if name == "pacs" else "pacs"), others=True)
    steps: list[float] = []
    came = receive(node_named(name), SERIES, tmp_path / "ct", lambda stage, done: steps.append(done))
    assert came.images == came.fetched == SHAPE[0] and steps == sorted(steps) and steps[-1] == 1.0
    there, _ = read_ct(made / "ct")
    back, _ = read_ct(tmp_path / "ct")
    assert np.array_equal(there.voxels, back.voxels) and np.array_equal(there.ijk_to_lps, back.ijk_to_lps)
    assert back.series_uid == SERIES and not (tmp_path / "ct.partial").exists()


def test_annotations_go_back_to_their_slide(made, nodes, server, tmp_path) -> None:
    (tiles,) = (made / "annotations").iterdir()
    original = pydicom.dcmread(tiles)
    for there, back in (("pacs", "archive"), ("archive", "pacs")):
        server.clear()
        (one,) = send([tiles], node_named(there))
        assert (one.what, one.state) == ("Microscopy Bulk Simple Annotations", STORED)
        receive(node_named(back), original.SeriesInstanceUID, tmp_path / back)
        assert same(pydicom.dcmread(tmp_path / back / "00001.dcm"), original)


def test_what_lungxai_did_not_write_is_sent_only_when_asked(made, nodes, server, tmp_path) -> None:
    for part in ("ct", "dicom"):
        shutil.copytree(made / part, tmp_path / "both" / part)
    with pytest.raises(InvalidInput, match=r"did not write: CT Image \(8\).*Nothing was sent"):
        send([tmp_path / "both"], node_named("pacs"))
    assert server.count() == 0
    assert len(send([tmp_path / "both"], node_named("pacs"), others=True)) == 12 and server.count() == 12


def test_a_receipt_goes_on_where_it_stopped(made, nodes, tmp_path) -> None:
    send([made / "ct"], node_named("pacs"), others=True)
    asked = iter([False] * 8 + [True] * 1000)  # between the third image and the fourth, or so
    with pytest.raises(Cancelled):
        receive(node_named("archive"), SERIES, tmp_path / "ct", cancelled=lambda: next(asked))
    held = sorted((tmp_path / "ct.partial").iterdir())
    assert 0 < len(held) < SHAPE[0] and not (tmp_path / "ct").exists()
    (tmp_path / "ct.partial" / "receiving.part").write_bytes(b"half an image")
    before = {file.name: file.stat().st_mtime_ns for file in held}
    came = receive(node_named("archive"), SERIES, tmp_path / "ct")
    assert came.images == SHAPE[0] and came.fetched == SHAPE[0] - len(held)
    assert {name: (tmp_path / "ct" / name).stat().st_mtime_ns for name in before} == before
    assert np.array_equal(read_ct(tmp_path / "ct")[0].voxels, read_ct(made / "ct")[0].voxels)


@pytest.mark.parametrize("name", ["pacs", "archive"])
def test_limits_hold_and_unknown_series_are_told(made, nodes, tmp_path, name) -> None:
    send([made / "ct"], node_named("pacs"), others=True)
    with pytest.raises(InputTooLarge, match="8 images"):
        receive(node_named(name), SERIES, tmp_path / "ct", max_images=7)
    with pytest.raises(InvalidInput, match="no series of this UID"):
        receive(node_named(name), "1.2.3.4", tmp_path / "ct")
    assert not list(tmp_path.glob("ct*"))
    with pytest.raises(InputTooLarge):
        receive(node_named(name), SERIES, tmp_path / "ct", max_bytes=7000)


def test_an_object_that_the_archive_does_not_take_is_told_by_kind_and_status(made, nodes, tmp_path) -> None:
    odd = pydicom.dcmread(made / "dicom" / "segmentation.dcm")
    odd.SOPClassUID = odd.file_meta.MediaStorageSOPClassUID = "1.2.826.0.1.3680043.10.99.77"
    odd.save_as(tmp_path / "odd.dcm")
    one, other = send([tmp_path / "odd.dcm", made / "dicom" / "report.dcm"], node_named("pacs"), others=True)
    assert one.state == REFUSED and "does not take this kind" in one.words and other.state == STORED


@pytest.mark.parametrize("name", ["pacs", "archive"])
def test_series_are_found_by_study_and_by_patient_without_names(made, nodes, name) -> None:
    send([made / "ct", made / "dicom"], node_named("pacs"), others=True)
    study = pydicom.dcmread(made / "dicom" / "report.dcm").StudyInstanceUID
    found = find(node_named(name), study=study)
    assert found == find(node_named(name), patient="SYNTHETIC") and len(found) == 5
    (ct,) = [one for one in found if one.modality == "CT"]
    assert (ct.series_uid, ct.study_uid, ct.images, ct.date) == (SERIES, study, SHAPE[0], "20260101")
    assert "PHANTOM" not in repr(found).replace("Synthetic thorax phantom", "")
    assert find(node_named(name), study="1.2.3.4") == find(node_named(name), patient="NOBODY") == []


def test_the_command_does_it_all(made, nodes, tmp_path, capsys) -> None:
    assert lungxai("nodes") == lungxai("echo", "pacs") == lungxai("echo", "archive") == 0
    assert lungxai("send", made / "dicom", "--to", "archive") == 0
    assert lungxai("send", made / "ct", "--to", "pacs", "--others") == 0
    assert lungxai("find", "--from", "archive", "--patient", "SYNTHETIC") == 0
    assert lungxai("receive", "--from", "pacs", "--series", SERIES, "--out", tmp_path / "ct") == 0
    said = capsys.readouterr()
    assert "4 of 4 objects are in archive. Research use only" in said.out and "8 images" in said.out
    assert f"--series {SERIES} --study 2.25." in said.out and "DICOM series: done" in said.err
    # A person's name and number, and secrets, are in no word of it.
    assert not any(word in said.out + said.err for word in ("PHANTOM", PASSWORD, "SYNTHETIC^"))


def test_an_archive_that_does_not_know_us_says_so(nodes, made) -> None:
    nodes.write_text(nodes.read_text().replace('"ARCHIVE"', '"ELSE"'))
    with pytest.raises(InvalidInput, match="does not accept us.*called_ae"):
        echo(node_named("pacs"))
    nodes.write_text(nodes.read_text().replace('user = "lungxai"', 'user = "somebody"'))
    for what in (lambda node: echo_web(node), lambda node: send([made / "dicom"], node)):
        with pytest.raises(InvalidInput, match=r"does not let us in \(HTTP 401\)"):
            what(node_named("archive"))


def test_encrypted_dicom_is_checked_against_the_certificate(made, tmp_path) -> None:
    certificate, key = tls_files(tmp_path / "tls")
    with orthanc(tmp_path / "server", certificate, key) as server:
        file = nodes_of(server, tmp_path / "configuration")
        node: Node = node_named("pacs", file)
        echo(node)
        assert [one.state for one in send([made / "dicom"], node)] == [STORED] * 4 and server.count() == 4
        strange, _ = tls_files(tmp_path / "strange")
        for spoiled in (str(strange), ""):  # another authority; the system's
            text = file.read_text().replace(f'ca_file = "{certificate}"', f'ca_file = "{spoiled}"')
            (tmp_path / "other.toml").write_text(text)
            with pytest.raises(ServerUnreachable, match="its certificate is one that ca_file trusts"):
                echo(node_named("pacs", tmp_path / "other.toml"))
        (tmp_path / "other.toml").write_text(file.read_text().replace("tls = true", "").replace("ca_file", "#"))
        with pytest.raises(ServerUnreachable):
            echo(node_named("pacs", tmp_path / "other.toml"))
