"""The report on paper: the first page is one sheet in every case, nothing reaches out of it, and the PDF is tagged."""

import datetime
import html
import io
import re
import shutil
import subprocess
import threading
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from report_cases import GALLERY

from inference_server import report_pdf
from inference_server.report import render
from shared_models.contract.errors import InvalidInput, ModelUnavailable

pypdf = pytest.importorskip("pypdf", reason="pypdf, which reads PDFs, is not installed")

CREATED = datetime.datetime(2026, 3, 5, 10, 30, tzinfo=datetime.timezone.utc)
SIZE_PT = {"a4": (595.275591, 841.889764), "letter": (612.0, 792.0)}
MARGIN_PT = 20  # narrower than any that the report sets
LAST_OF_PAGE_ONE, FIRST_OF_DETAILS = "In detail, with the page:", "All modalities together, in detail"


@pytest.fixture(scope="module", autouse=True)
def _pango() -> None:
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as missing:
        pytest.skip(f"WeasyPrint does not work here: {missing}")


POPPLER = shutil.which("pdftotext") and shutil.which("pdftoppm")
SHEETS = [*((name, "letter") for name in GALLERY), ("long_names", "a4")]
record = lru_cache(lambda name: GALLERY[name]())


@lru_cache
def page(name: str, paper: str = "letter") -> str:
    return render(record(name), paper=paper, created=CREATED)


@lru_cache
def pdf(name: str, paper: str = "letter") -> bytes:
    return report_pdf.weasyprint_pdf(page(name, paper))


def read(data: bytes):
    return pypdf.PdfReader(io.BytesIO(data))


def words_of(sheet) -> str:
    return " ".join(sheet.extract_text().split())


@pytest.mark.skipif(not POPPLER, reason="what a sheet shows cannot be looked at: poppler-utils is not installed")
@pytest.mark.parametrize(("name", "paper"), SHEETS)
def test_the_first_page_is_one_sheet_and_nothing_leaves_a_sheet(name: str, paper: str, tmp_path) -> None:
    (tmp_path / "r.pdf").write_bytes(pdf(name, paper))
    boxes = subprocess.run(["pdftotext", "-bbox", tmp_path / "r.pdf", "-"], capture_output=True, text=True, check=True)
    sheets = boxes.stdout.split("<page ")[1:]
    said = [" ".join(html.unescape(word) for word in re.findall(r"<word [^>]*>([^<]*)", sheet)) for sheet in sheets]
    assert LAST_OF_PAGE_ONE in said[0] and FIRST_OF_DETAILS in said[1]
    case_id = record(name).case_id
    assert case_id in said[0].replace(" ", "")
    wide, high = SIZE_PT[paper]
    for number, (sheet, words) in enumerate(zip(sheets, said), start=1):
        assert f'width="{wide:.6f}" height="{high:.6f}"' in sheet
        assert f"Page {number} of {len(sheets)}" in words and "Research use only, not a diagnosis" in words
        assert case_id[:28] in words.replace(" ", "")
        assert ("SYNTHETIC CASE, not a patient" in words) == record(name).synthetic
        found = re.findall(r'xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)"', sheet)
        assert len(found) > 20
        for left, top, right, bottom in (map(float, box) for box in found):
            assert MARGIN_PT < left and right < wide - MARGIN_PT and MARGIN_PT < top and bottom < high - MARGIN_PT
    # Pictures, boxes and tables have no text position: whatever is drawn leaves the edge of each sheet white.
    subprocess.run(["pdftoppm", "-r", "24", "-gray", tmp_path / "r.pdf", tmp_path / "s"], check=True)
    _edges_are_white(sorted(tmp_path.glob("s*.pgm")), len(sheets))


def _edges_are_white(pictures, count: int) -> None:
    import numpy as np
    from PIL import Image

    assert len(pictures) == count
    for picture in pictures:
        grey = np.asarray(Image.open(picture))
        edge = MARGIN_PT * 24 // 72
        assert grey.min() < 128
        for strip in (grey[:edge], grey[-edge:], grey[:, :edge], grey[:, -edge:]):
            assert strip.min() > 250


def test_the_two_papers_differ_in_their_size_alone() -> None:
    assert page("fields_only", "a4").replace("size: A4", "size: Letter") == page("fields_only", "letter")
    with pytest.raises(InvalidInput, match="paper"):
        render(record("fields_only"), paper="a5")


def test_the_pdf_is_tagged_and_says_its_title_language_and_date() -> None:
    document = read(pdf("both"))
    root = document.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] and root["/Lang"] == "en" and root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert document.metadata.title == "LungXAI case case-3f9a1c20b7d4: research use only, not a diagnosis"
    assert document.metadata.creation_date == CREATED and b"pdfuaid:part" in root["/Metadata"].get_data()
    kinds: dict[str, int] = {}
    waiting = [root["/StructTreeRoot"]]
    while waiting:
        node = waiting.pop().get_object()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            kind = str(node.get("/S"))
            kinds[kind] = kinds.get(kind, 0) + 1
            if kind == "/Figure":
                assert str(node["/Alt"]).strip()
            waiting += [node["/K"]] if "/K" in node else []
    assert kinds["/H1"] == 1 and kinds["/Figure"] > 5 and kinds["/Table"] > 2 and kinds["/TH"] > 5


def test_the_same_report_gives_the_same_bytes() -> None:
    assert report_pdf.weasyprint_pdf(page("fields_only")) == pdf("fields_only")


def test_a_first_page_set_in_a_wide_font_is_made_smaller_until_it_is_one_sheet() -> None:
    wide = page("fields_only").replace("font-size: 8.5pt", "font-size: 24pt")
    sheets = read(report_pdf.weasyprint_pdf(wide)).pages
    assert LAST_OF_PAGE_ONE in words_of(sheets[0]) and FIRST_OF_DETAILS in words_of(sheets[1])
    again = report_pdf.weasyprint_pdf(wide.replace('<article class="page">', '<article  class="page">'))
    assert LAST_OF_PAGE_ONE not in words_of(read(again).pages[0])  # for want of room, it was


@pytest.mark.parametrize("what", ["http", "file"])
def test_nothing_outside_the_report_is_asked_for(what: str, tmp_path) -> None:
    asked = []

    class Ear(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "x.png").write_bytes(b"")
    with HTTPServer(("127.0.0.1", 0), Ear) as ear:
        threading.Thread(target=ear.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{ear.server_port}/x.png" if what == "http" else (tmp_path / "x.png").as_uri()
        with pytest.raises(InvalidInput, match="outside itself"):
            report_pdf.pdf_of(f'<html lang="en"><title>t</title><img alt="x" src="{place}"></html>')
        ear.shutdown()
    assert not asked


def test_a_browser_prints_where_weasyprint_does_not_work(monkeypatch) -> None:
    if report_pdf.find_browser() is None:
        pytest.skip("no Chromium, Chrome or Edge is installed")

    def no_pango(text: str) -> bytes:
        raise OSError("cannot load library 'libpango-1.0-0'")

    monkeypatch.setattr(report_pdf, "weasyprint_pdf", no_pango)
    document = read(report_pdf.pdf_of(page("fields_only", "a4")))
    said = [words_of(sheet) for sheet in document.pages]
    assert LAST_OF_PAGE_ONE in said[0] and FIRST_OF_DETAILS in said[1] and f"Page 1 of {len(said)}" in said[0]
    assert all("Research use only, not a diagnosis" in words for words in said)
    assert tuple(float(v) for v in document.pages[0].mediabox[2:]) == pytest.approx(SIZE_PT["a4"], abs=1)
    assert document.metadata.title.startswith("LungXAI case case-3f9a1c20b7d4")


def test_without_any_program_it_is_said_what_to_install(monkeypatch) -> None:
    def no_pango(text: str) -> bytes:
        raise OSError("cannot load library 'libpango-1.0-0'")

    monkeypatch.setattr(report_pdf, "weasyprint_pdf", no_pango)
    monkeypatch.setattr(report_pdf, "find_browser", lambda: None)
    with pytest.raises(ModelUnavailable, match="libpango") as said:
        report_pdf.pdf_of("<html></html>")
    assert "Chromium" in said.value.remedy and "open the HTML report" in said.value.remedy
