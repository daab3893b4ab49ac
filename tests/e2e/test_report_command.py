"""``lungxai report``: the files of a case that a server keeps, whole or not at all."""

import json
import os

import pytest
from fake_server import TESTS, ct, fake_server

from shared_models.command_line import main
from shared_models.contract.client import Client
from shared_models.contract.values import ClinicalFields


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data folder with a case of a CT and clinical fields, one of nothing, and no server on it."""
    folder = tmp_path_factory.mktemp("data")
    with fake_server(folder) as (url, token), Client(url, token) as client:
        client.create_case("held")
        client.wait(client.radiology("held", client.put_volume(ct())))
        client.put_clinical("held", ClinicalFields(age_years=61))
        client.fuse("held")
        client.create_case("empty", synthetic=True)
    return folder


def test_a_case_of_a_data_folder_is_written_as_html_pdf_and_fhir(data_dir, tmp_path, capsys) -> None:
    pytest.importorskip("weasyprint", exc_type=OSError, reason="WeasyPrint finds no Pango")
    out = tmp_path / "board"
    assert main(["report", "held", "--out", str(out), "--data-dir", str(data_dir), "--fhir", "--paper", "letter"]) == 0
    printed = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"report.html", "report.pdf", "fhir.json"}
    assert all(str(path) in printed for path in out.iterdir()) and "Research use only" in printed
    bundle = json.loads((out / "fhir.json").read_text())
    assert bundle["resourceType"] == "Bundle" and "held" in json.dumps(bundle)
    from pypdf import PdfReader

    width, height = PdfReader(out / "report.pdf").pages[0].mediabox[2:]
    assert (round(width), round(height)) == (612, 792)


def test_the_cases_are_named_with_what_they_hold(data_dir, capsys) -> None:
    assert main(["report", "--list", "--data-dir", str(data_dir)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "radiology, clinical, fusion" in lines["held"] and lines["empty"].endswith("empty  SYNTHETIC")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such case"),
        (["empty"], "holds nothing"),
        (["held", "--dicom", "."], "series"),
        (["held", "--dicom", "/not/there"], "not there"),
        (["held", "--identified"], "--dicom"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_left_behind(data_dir, tmp_path, capsys, arguments, said) -> None:
    out = tmp_path / "board"
    (tmp_path / "no_dicom.txt").write_text("text")
    arguments = [str(tmp_path) if a == "." else a for a in arguments]
    assert main(["report", *arguments, "--out", str(out), "--data-dir", str(data_dir), "--no-pdf"]) != 0
    assert said in capsys.readouterr().err
    assert not out.exists() or not any(out.iterdir())


def test_a_folder_that_cannot_be_written_to_is_said(data_dir, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    target = str(tmp_path / "file" / "board")
    assert main(["report", "held", "--out", target, "--data-dir", str(data_dir), "--no-pdf"]) != 0
    assert "cannot be written" in capsys.readouterr().err


def test_without_anything_to_lay_out_pages_the_rest_is_written_and_it_is_said(data_dir, tmp_path, capsys) -> None:
    """A server that finds neither Pango nor a browser."""
    blocked = tmp_path / "blocked"
    (blocked / "weasyprint").mkdir(parents=True)
    (blocked / "weasyprint" / "__init__.py").write_text("raise OSError('no pango')")
    environment = {"PYTHONPATH": os.pathsep.join([str(blocked), str(TESTS)]), "PATH": str(tmp_path)}
    with fake_server(tmp_path / "data", environment) as (url, token), Client(url, token) as client:
        client.create_case("c")
        client.put_clinical("c", ClinicalFields(age_years=61))
        (tmp_path / "token").write_text(token)
        named = ["--server", url, "--token-file", str(tmp_path / "token")]
        assert main(["report", "c", "--out", str(tmp_path / "board"), *named]) == 0
    said = capsys.readouterr()
    assert "No PDF" in said.err and [path.name for path in (tmp_path / "board").iterdir()] == ["report.html"]
