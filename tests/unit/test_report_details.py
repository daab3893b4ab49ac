"""The details behind the first page, as HTML: every part says what it knows and what it does not know."""

import dataclasses
import re
from html import unescape

import pytest
from report_cases import GALLERY, case, ct, slide

from inference_server.report import render


def section(page: str, name: str) -> str:
    return re.search(rf'<section class="details[^"]*" id="{name}">(.*?)</section>', page, re.S)[1]


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture(scope="module")
def ten():
    return render(case(clinical=None, **ct(10)))


def test_the_table_holds_every_nodule_and_pictures_are_of_the_first_ones(ten) -> None:
    html = section(ten, "ct")
    table = re.search(r'<table class="wide nodule-table">(.*?)</table>', html, re.S)[1]
    assert len(re.findall(r"<tr>", table)) == 11
    assert len(re.findall(r"<h3>Nodule \d+:", html)) == 5 and html.count("Key image:") == 5
    said = words(html)
    assert "guidelines' rows stand below for the first 5 nodules" in said and "lung window, level -600 HU" in said


def test_each_pictured_nodule_has_its_rows_or_names_the_nodule_that_has_them(ten) -> None:
    html = section(ten, "ct")
    tables, same = html.count('class="wide guideline"'), len(re.findall(r"the same rows fired as for nodule \d", html))
    assert tables + same == 5 and tables >= 2
    said = words(html)
    for source in ("[ACR Lung-RADS v2022, assessment table, category 4B]", "[MacMahon 2017, table, part A (solid)"):
        assert source in said
    assert "taken to hold: the CT was made for lung cancer screening" in said
    assert "only where a radiologist confirms" in said and "holds tissue" not in said


def test_no_nodule_abstention_and_missing_pixels_are_told() -> None:
    nothing = words(section(render(case(clinical=None, **ct(0))), "ct"))
    assert "no nodule was marked" in nothing and "Guidelines" not in nothing
    silent = render(GALLERY["abstention"]())
    assert "Not rated: it looks unlike" in words(section(silent, "ct"))
    assert "No answer:" in words(section(silent, "slide")) and "Most representative" not in section(silent, "slide")
    bare = render(case(clinical=None, **{**ct(1), "volume": None, "mask": None}, **{**slide(6), "slide": None}))
    assert "there are no pictures of the nodules" in words(section(bare, "ct"))
    assert "areas are shares only" in words(section(bare, "slide")) and "mm²" not in section(bare, "slide")


def test_the_slide_s_details_have_areas_tiles_and_bars(ten) -> None:
    page = render(case(clinical=None, **slide(6)))
    html = section(page, "slide")
    said = words(html)
    assert "Area, mm²" in said and "Most representative tiles" in said and "Most uncertain tiles" in said
    assert html.count('<figure class="tile">') == 8 and "were not calibrated on slides" in said
    assert words(section(ten, "slide")).endswith("No slide was analysed.")


def test_every_picture_of_the_details_has_words() -> None:
    page = render(GALLERY["both"]())
    for name in ("ct", "slide"):
        alts = re.findall(r'<img src="data:[^"]+" alt="([^"]*)"', section(page, name))
        assert len(alts) == section(page, name).count("<img ") > 5 and all(alt.strip() for alt in alts)


def test_clinical_and_limits_say_what_is_not_there() -> None:
    page = render(GALLERY["slide_only"]())
    assert "No clinical fields were given." in words(section(page, "clinical"))
    assert "No model of this case learned large cell carcinoma, small cell carcinoma" in words(section(page, "limits"))
    fields = words(section(render(GALLERY["fields_only"]()), "clinical"))
    assert "Published risk models" not in fields and "67 years" in fields


def test_hostile_words_of_a_bundle_or_a_result_stay_words() -> None:
    parts = slide(6, slide_id="<script>s</script>")
    by = dataclasses.replace(parts["pathology"].provenance[0], model_id="<b>x</b> 1", code_version="<i>c</i>")
    parts["pathology"] = dataclasses.replace(parts["pathology"], provenance=(by,), notes=("<u>n</u>",))
    page = render(case(clinical=None, **parts))
    for tag in ("<script>s", "<b>x</b>", "<i>c</i>", "<u>n</u>"):
        assert tag not in page
    assert "&lt;b&gt;x&lt;/b&gt; 1" in page
