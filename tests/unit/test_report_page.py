"""The first page: what a board needs to decide is on it, short; what it wrote stands there with what it was about."""

import dataclasses
import re
from functools import lru_cache

import pytest
from report_cases import BEFORE, GALLERY, NOW, case, note
from test_report import Page

from inference_server.case_record import CaseRecord
from inference_server.report import brief, render
from inference_server.report_board import board_values, moment_words

record = lru_cache(lambda name: GALLERY[name]())
text = lru_cache(lambda name: render(record(name)))


def first_page(name: str) -> str:
    whole = text(name)
    return " ".join(" ".join(Page(whole[whole.index("<main>") : whole.index("</article>")]).words).split())


def test_what_a_board_needs_is_on_the_first_page() -> None:
    said = first_page("board")
    for words in (
        "Research use only, not a diagnosis", "SYNTHETIC CASE", "Case case-3f9a1c20b7d4 · made 2026-03-02 09:15 UTC",
        "Adenocarcinoma, 81 %", "Same direction", "Likely: adenocarcinoma or squamous cell carcinoma", "in 90 %",
        "Not assessed: large cell carcinoma, small cell carcinoma", "Nodule 1:", "malignancy 93 %", "Lung-RADS",
        "Grad-CAM", "Sharpness", "67 years", "lung_he_lite0 0.1.0 " + "3" * 12,
    ):  # fmt: skip
        assert words in said, words
    assert "3" * 13 not in said and "3" * 64 in text("board")


def test_at_most_three_nodules_are_on_the_first_page_and_all_behind_it() -> None:
    said = first_page("ten_nodules")
    assert re.findall(r"Nodule (\d+):", said) == ["1", "2", "3"] and "10 nodule candidates" in said


def test_what_did_not_take_part_or_has_no_answer_says_so() -> None:
    assert "No CT was analysed." in first_page("slide_only") and "No clinical fields were given." in first_page(
        "slide_only"
    )
    said = first_page("abstention")
    assert said.count("No answer:") == 3 and said.count("What would help:") == 3 and "Adenocarcinoma, " not in said
    empty = render(CaseRecord("case-1"))
    assert "were not fused" in empty and "No model took part." in empty and "SYNTHETIC" not in empty


def test_the_newest_note_is_on_the_first_page_and_every_note_behind_it() -> None:
    said, whole = first_page("board"), text("board")
    assert "Decision: Lobectomy, right upper lobe." in said and "Tumour board A, 2026-03-04 14:05 UTC" in said
    assert "The newest of 2 notes." in said and "PET/CT asked for before staging" not in said
    history = whole[whole.index('id="board"') :]
    assert history.index("2026-03-04") < history.index("2026-03-02") < history.index("PET/CT asked for before staging")
    assert history.count("they have changed since") == 1 and "they have changed since" not in said
    assert whole.count('class="write"') == 0 and text("abstention").count('class="write"') == 3


@pytest.mark.parametrize(
    ("written", "now", "earlier"), [(BEFORE, NOW, True), (NOW, NOW, False), ("", NOW, False), (BEFORE, "", False)]
)
def test_a_note_says_whether_the_results_were_others_when_it_was_written(written: str, now: str, earlier: bool) -> None:
    found = board_values(CaseRecord("c", notes=(note("seen", about=written),), about=now))["latest"]
    assert found["earlier"] is earlier and found["by"] == "not signed" and found["when"] == "2026-03-03 14:05 UTC"
    said = render(dataclasses.replace(case(), notes=(note("seen", about=written),), about=now))
    assert ("Written before the results above" in said) is earlier


def test_no_text_is_longer_than_its_place() -> None:
    assert brief("as it\nis", 20) == "as it is" and brief("word " * 50, 30) == "word word word word word …"
    for length in (12, 40, 100):
        assert len(brief("x" * 300, length)) <= length and len(brief("some words " * 40, length)) <= length


def test_a_name_cannot_leave_the_style_sheet() -> None:
    name = 'x"; } </style><b>a</b>\\ \n'
    written = render(CaseRecord(name))
    style = written[written.index("<style>") : written.index("</style>")]
    assert "<b>" not in written and "LungXAI case x\\22 ; \\7d  \\3c /style" in style


def test_times_are_told_in_utc() -> None:
    assert moment_words("2026-03-02T10:15:00.25+01:00") == "2026-03-02 09:15 UTC" and moment_words("") == ""
