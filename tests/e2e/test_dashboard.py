"""The server's page in headless Chromium, on a real server with fake models.

Who gets in; the cases; one case and its jobs; the report; the board's note; keyboard, axe-core and narrow screens.
"""

from __future__ import annotations

import json
import re

import pytest
import requests
from dashboard_tab import WAIT_MS, Tab, driver, findings, launched
from fake_server import ct, fake_server, tiles, until

from shared_models.contract import routes
from shared_models.contract.board_note import BoardNote
from shared_models.contract.client import Client
from shared_models.contract.values import ClinicalFields

WAIT_S = WAIT_MS / 1000
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser():
    with driver() as play:
        opened = launched(play)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = fake_server(tmp_path_factory.mktemp("data"))
    with running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as connected:
        yield connected


@pytest.fixture
def tab(browser, server):
    opened = Tab(browser, server)
    yield opened
    opened.close()


def whole(client: Client, case_id: str | None = None) -> str:
    """A case with everything."""
    case_id = client.create_case(case_id, synthetic=True)
    client.wait(client.radiology(case_id, client.put_volume(ct()), explain=["gradcam"]))
    client.put_tiles(case_id, tiles(3, slide_id=HOSTILE))
    client.wait(client.pathology(case_id, HOSTILE))
    client.put_clinical(case_id, ClinicalFields(67, "female", "former", 30))
    client.fuse(case_id)
    return case_id


def row(page, case_id: str):
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=case_id, exact=True))


# Who gets in


def test_a_wrong_token_is_told_and_the_right_one_opens_the_cases(tab, server) -> None:
    page = tab.open(logged_in=False)
    assert page.get_by_text("Research use only, not a diagnosis").is_visible()
    field = page.get_by_label("Token of the server")
    for wrong in ("x" * 43, "not ascii \u00e9\u4e2d", ""):
        field.fill(wrong)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").filter(has_text="does not know this token").wait_for()
        assert field.get_attribute("aria-invalid") == "true" and field.evaluate("e => e === document.activeElement")
    field.fill(server.token)
    page.get_by_role("button", name="Show").click()
    assert field.get_attribute("type") == "text"
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Cases").wait_for()
    assert not field.is_visible() and field.input_value() == ""
    page.reload()
    page.get_by_role("heading", name="Cases").wait_for()  # the tab keeps the token
    page.get_by_role("button", name="Log out").click()
    field.wait_for()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0 and not page.context.cookies()
    page.reload()
    assert page.get_by_label("Token of the server").is_visible()


def test_a_token_in_the_address_logs_in_and_is_gone(tab, server, client) -> None:
    case_id = client.create_case()
    page = tab.open(f"case={case_id}")
    page.get_by_role("heading", name=f"Case {case_id}").wait_for()
    assert page.url == f"{server.url}/#case={case_id}" and server.token not in page.content()
    assert not [url for url in tab.asked[1:] if server.token in url]


def test_a_token_that_is_refused_later_leaves_what_was_being_written(tab, server, client) -> None:
    case_id = client.create_case()
    page = tab.case(case_id)
    page.get_by_label("Note", exact=True).fill("half a sentence")
    page.route("**/v1/**", lambda route: route.fulfill(status=401, body="{}", content_type="application/json"))
    page.get_by_role("button", name="Save note").click()
    page.get_by_role("alert").filter(has_text="asks for its token again").wait_for()
    assert not page.get_by_role("heading", name=f"Case {case_id}").is_visible()
    page.unroute("**/v1/**")
    page.get_by_label("Token of the server").fill(server.token)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=f"Case {case_id}").wait_for()
    assert page.get_by_label("Note", exact=True).input_value() == "half a sentence" and not client.notes(case_id)
    assert page.evaluate("document.activeElement.textContent") == "Save note"  # back where one was
    page.keyboard.press("Enter")
    page.locator(".notes li").get_by_text("half a sentence").wait_for()


def test_a_server_that_is_away_is_told_and_its_return_too(tab) -> None:
    page = tab.open()
    page.route("**/v1/**", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as when the tab comes into sight again
    away = page.get_by_role("status").filter(has_text="The server does not answer. Look whether it runs.")
    away.wait_for()
    page.unroute("**/v1/**")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    away.wait_for(state="hidden")
    said = {"message": "No slide model.", "remedy": "Install one."}
    info = {"ready": True, "device": "cpu", "version": "1", "problems": {"pathology": said}}
    page.route("**/v1/info", lambda route: route.fulfill(body=json.dumps(info)))
    page.route("**/v1/cases", lambda route: route.fulfill(status=500, body=json.dumps({**said, "message": "Broken."})))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("status").filter(has_text="No slide model. Install one.").wait_for()
    page.get_by_role("status").filter(has_text="Broken. Install one.").wait_for()


def test_a_token_is_pasted_where_the_browser_lets_the_page(browser, server) -> None:
    refused, allowed = Tab(browser, server), Tab(browser, server, permissions=["clipboard-read", "clipboard-write"])
    refused.open(logged_in=False).get_by_role("button", name="Paste").click()
    refused.page.get_by_role("alert").filter(has_text="Paste with Ctrl+V").wait_for()
    page = allowed.open(logged_in=False)
    page.evaluate("token => navigator.clipboard.writeText(token)", f" {server.token}\n")
    page.get_by_role("button", name="Paste").click()
    until(page.get_by_label("Token of the server").input_value, WAIT_S)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Cases").wait_for()
    refused.close()
    allowed.close()


# The cases


def test_the_list_says_where_each_modality_stands_and_stays_current(tab, client) -> None:
    done, broken, empty = whole(client), client.create_case(), client.create_case()
    client.radiology(broken, client.put_volume(ct("fail")))
    page = tab.open()
    said = row(page, done).inner_text().split()
    assert said.count("done") == 3 and said.count("given") == 1 and "synthetic" in said
    row(page, broken).get_by_text("failed").wait_for()
    assert row(page, empty).inner_text().split().count("none") == 4
    assert row(page, done).locator(".state svg").count() == 4  # a picture beside each word
    later = client.create_case()
    row(page, later).wait_for()
    assert page.locator("tbody tr").first.get_by_role("link").inner_text() == later
    job = client.radiology(later, client.put_volume(ct("sleep=90", seed=1)))
    waiting = client.radiology(later, client.put_volume(ct("sleep=90", seed=2)))
    row(page, later).get_by_text(re.compile(r"running, \d+.%")).wait_for()
    client.cancel(waiting)
    client.cancel(job)
    page.get_by_label("Filter").fill("CT failed")
    page.get_by_text(re.compile("^1 of .* cases")).wait_for()
    assert page.locator("tbody tr").count() == 1 and row(page, broken).is_visible()
    page.get_by_label("Filter").fill("no such case")
    page.get_by_text("fits the filter").wait_for()


def test_thousands_of_cases_are_shown_a_page_at_a_time(tab) -> None:
    held = {"synthetic": False, "created": "2026-01-02T03:04:05.678+00:00", "radiology": True, "pathology": False}
    many = [{"case_id": f"c-{n}", **held, "clinical": False, "fusion": False} for n in range(5000)]
    page = tab.page
    page.route("**/v1/cases", lambda route: route.fulfill(body=json.dumps({"cases": many, "jobs": []})))
    tab.open()
    page.get_by_text("1 to 25 of 5,000 cases, newest first").wait_for()
    assert page.locator("tbody tr").count() == 25 and page.get_by_role("button", name="Newer").is_disabled()
    page.get_by_role("button", name="Older").click()
    page.get_by_text("26 to 50 of 5,000 cases").wait_for()
    page.get_by_label("Filter").fill("c-4999")
    page.get_by_text("1 of 5,000 cases").wait_for()
    assert page.get_by_role("link", name="c-4999").is_visible()
    assert not page.get_by_role("button", name="Older").is_visible()


def test_no_cases_yet_says_where_they_come_from(tab) -> None:
    tab.page.route("**/v1/cases", lambda route: route.fulfill(body='{"cases": [], "jobs": []}'))
    assert "lungxai analyze" in tab.open().get_by_text("Send one from 3D Slicer").inner_text()


# One case and its jobs


def test_a_job_is_watched_and_stopped(tab, client) -> None:
    case_id = client.create_case(synthetic=True)
    running = client.radiology(case_id, client.put_volume(ct("sleep=90")))
    client.put_tiles(case_id, tiles(2))
    waiting = client.pathology(case_id, "s")
    page = tab.case(case_id)
    bar = page.get_by_role("progressbar", name="Progress of the CT analysis")
    until(lambda: bar.evaluate("bar => bar.value") > 0.03, WAIT_S)
    page.get_by_text(re.compile(r"\d+.%, pretending, about \d+ s left")).wait_for()
    assert page.get_by_text("1 job goes first").is_visible()
    page.get_by_role("button", name="Cancel the CT analysis").click()
    question = page.get_by_role("dialog", name="Stop the CT analysis?")
    assert "Results that the case has from before stay" in question.inner_text()
    page.keyboard.press("Escape")
    question.wait_for(state="detached")
    assert client.case(case_id)["jobs"][0]["state"] == "running"
    assert page.evaluate("document.activeElement.ariaLabel") == "Cancel the CT analysis"
    page.keyboard.press("Enter")
    question.get_by_role("button", name="Stop it").click()
    page.get_by_role("heading", name="CT analysis: stopped").wait_for()
    until(lambda: [job["state"] for job in client.case(case_id)["jobs"]] == ["cancelled", "done"], WAIT_S)
    page.locator("#spoken").get_by_text("Slide analysis: done.").wait_for()
    page.get_by_role("region", name="H&E slide").get_by_text("Probability of each class, whole slide").wait_for()
    assert {job["job_id"] for job in client.case(case_id)["jobs"]} == {running, waiting}
    assert page.evaluate("document.activeElement.textContent.trim()") == "CT analysis: stopped"


def test_a_job_is_followed_without_its_events_too(tab, client) -> None:
    case_id = client.create_case()
    job = client.radiology(case_id, client.put_volume(ct("sleep=90", seed=5)))
    tab.page.route("**/events", lambda route: route.abort())
    page = tab.case(case_id)
    bar = page.get_by_role("progressbar", name="Progress of the CT analysis")
    first = until(lambda: bar.evaluate("bar => bar.value"), WAIT_S)
    until(lambda: bar.evaluate("bar => bar.value") > first, WAIT_S)
    client.cancel(job)
    page.get_by_role("heading", name="CT analysis: stopped").wait_for()


def test_a_job_that_failed_says_why_and_what_to_do(tab, client) -> None:
    case_id = client.create_case()
    client.radiology(case_id, client.put_volume(ct("fail")))
    page = tab.case(case_id)
    problem = page.locator(".job .problem")
    problem.get_by_text("The models could not process this job.").wait_for()
    assert "Report this" in problem.inner_text()


def test_results_are_shown_as_text_and_fused_on_demand(tab, client) -> None:
    case_id = whole(client)
    client.put_clinical(case_id, ClinicalFields(68, "male"))  # the fusion of before is gone
    page = tab.case(case_id)
    together = page.get_by_role("region", name="All modalities together")
    together.get_by_text("are not fused").wait_for()
    together.get_by_role("button", name="Fuse").click()
    together.get_by_role("button", name="Fuse again").wait_for()
    together.get_by_role("row", name="Adenocarcinoma").wait_for()
    fused = client.fusion_result(case_id)
    shown = together.get_by_role("row", name="Adenocarcinoma").locator(".value").inner_text()
    assert shown.replace("\xa0", " ") == f"{100 * fused.probabilities['adenocarcinoma']:.0f} %"
    assert together.get_by_role("row", name=re.compile("Small cell carcinoma *not assessed")).count() == 1
    assert "8.0 × 6.0 150" in " ".join(page.get_by_role("region", name="Nodules").inner_text().split())
    assert page.get_by_role("region", name="Clinical fields").inner_text().split()[2:] == [
        "Age", "68", "years", "Sex", "male", "Smoking", "not", "known", "Pack-years", "not", "known"
    ]  # fmt: skip
    assert HOSTILE in page.get_by_role("region", name="H&E slide").inner_text()
    assert page.locator("img").count() == 0 and page.locator("script").count() == 1


def test_a_case_is_deleted_only_when_its_name_was_typed(tab, client) -> None:
    case_id = client.create_case()
    page = tab.case(case_id)
    page.get_by_role("button", name="Delete this case").click()
    sure = page.get_by_role("button", name="Delete for good")
    assert sure.is_disabled()
    page.get_by_label(f"Type {case_id} to confirm").fill(case_id[:-1])
    page.keyboard.press("Enter")
    assert sure.is_disabled() and client.case(case_id)
    page.get_by_label(f"Type {case_id} to confirm").fill(case_id)
    sure.click()
    page.get_by_role("heading", name="Cases").wait_for()
    assert case_id not in [case["case_id"] for case in client.cases()]
    page.goto(f"{page.url.split('#')[0]}#case={case_id}")
    page.get_by_role("alert").filter(has_text="There is no such case.").wait_for()
    assert not page.locator(".columns").is_visible()
    page.get_by_role("link", name="All cases").click()
    page.get_by_role("heading", name="Cases").wait_for()


def test_a_name_that_is_none_of_a_case_stays_inert(tab) -> None:
    page = tab.open("case=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E..%2F..%2Finfo")
    page.get_by_role("alert").filter(has_text="There is n").wait_for()
    assert page.locator("img").count() == 0 and "<img" in page.get_by_role("heading", level=1).inner_text()
    assert not [url for url in tab.asked if url.endswith(routes.CASES + "/info")]


# The report


def test_the_report_is_shown_in_a_frame_of_its_own_and_taken_along(tab, client, tmp_path) -> None:
    case_id = whole(client)
    page = tab.case(case_id)
    page.get_by_role("link", name="Open report").click()
    page.get_by_role("heading", name=f"Report of case {case_id}").wait_for()
    report = page.frame_locator("iframe")
    report.get_by_text("Research use only").first.wait_for()
    styles = "() => [...document.styleSheets].reduce((sum, sheet) => sum + sheet.cssRules.length, 0)"
    assert report.locator("body").evaluate(styles) > 10
    assert report.locator("body").evaluate("() => origin") == "null"
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download HTML").click()
    taken.value.save_as(tmp_path / "report.html")
    assert taken.value.suggested_filename == f"{case_id}.html" and case_id in (tmp_path / "report.html").read_text()
    page.get_by_role("link", name="Back to the case").click()
    page.get_by_role("heading", name=f"Case {case_id}").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1" and not tab.said


def test_the_report_is_taken_along_as_pdf_on_the_chosen_paper(tab, client) -> None:
    pytest.importorskip("weasyprint", reason="pip install weasyprint; it needs Debian's libpango-1.0-0")
    from pypdf import PdfReader

    case_id = client.create_case(synthetic=True)
    client.put_clinical(case_id, ClinicalFields(67))
    page = tab.case(case_id)
    assert page.get_by_label("Paper").input_value() == "a4"
    page.get_by_label("Paper").select_option("letter")
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download PDF").click()
    first = PdfReader(taken.value.path()).pages[0]
    assert [round(float(side)) for side in first.mediabox[2:]] == [612, 792]


def test_whatever_a_report_holds_it_reaches_nothing(tab, client) -> None:
    case_id = client.create_case()
    hostile = f"""<h1 style="color: rgb(1, 2, 3)">Report</h1>{HOSTILE}<a href="https://evil.example/">out</a>
        <a href="#h">in</a><img src="https://evil.example/a.png">
        <meta http-equiv=refresh content="0;url=//evil.example">
        <link rel=stylesheet href="//evil.example/a.css"><form action="//evil.example"><button>go</button></form>
        <script>fetch('/v1/info'); parent.document.title = 'taken'</script>"""
    tab.page.route("**/report?*", lambda route: route.fulfill(body=hostile, content_type="text/html"))
    tab.page.route("**/report", lambda route: route.fulfill(body=hostile, content_type="text/html"))
    page = tab.open(f"case={case_id}&view=report")
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="Report").wait_for()
    assert report.locator("h1").evaluate("e => getComputedStyle(e).color") == "rgb(1, 2, 3)"
    assert report.locator("script, link, meta[http-equiv]").count() == 0
    assert report.get_by_text("out").get_attribute("href") is None and report.get_by_text("in").get_attribute("href")
    report.get_by_role("button", name="go").click()
    assert report.locator("h1").evaluate("async () => { try { await fetch('/v1/info'); } catch { return 'refused'; } }")
    assert case_id in page.title()
    refused = [text for text in tab.said if "Content Security Policy" in text or "Blocked form" in text]
    assert len(refused) == len(tab.said) >= 4  # two pictures, the script's handler, the form
    tab.said.clear()


# The board's note


def test_the_boards_note_is_kept_with_its_history(tab, client) -> None:
    case_id = client.create_case()
    page = tab.case(case_id)
    assert page.get_by_text("No notes yet.").is_visible()
    page.get_by_role("button", name="Save note").click()
    page.get_by_role("alert").filter(has_text="The note is empty").wait_for()
    page.get_by_label("Decision, in one line").fill("CT-guided biopsy")
    page.keyboard.press("Enter")  # goes on to the note, and sends nothing that could not be taken back
    assert page.evaluate("document.activeElement.id") == "note-text" and not client.notes(case_id)
    page.get_by_label("Note", exact=True).fill(f"First line\nsecond {HOSTILE}")
    page.get_by_label("Your name or role").fill("Board A")
    assert page.get_by_text("Not saved yet").is_visible()
    page.get_by_role("button", name="Save note").click()
    page.locator("#spoken").get_by_text("The note was saved.").wait_for()
    (note,) = client.notes(case_id)
    assert (note.decision, note.text, note.author) == ("CT-guided biopsy", f"First line\nsecond {HOSTILE}", "Board A")
    assert page.get_by_label("Note", exact=True).input_value() == ""
    assert not page.get_by_text("Not saved yet").is_visible()
    page.reload()
    entry = page.locator(".notes li")
    entry.wait_for()
    said = entry.inner_text().replace("\n\n", "\n")
    assert said.startswith(f"CT-guided biopsy\nFirst line\nsecond {HOSTILE}\nBoard A")
    assert page.locator("img").count() == 0
    client.put_clinical(case_id, ClinicalFields(50))
    entry.get_by_text("Written about earlier results").wait_for()
    assert page.get_by_label("Your name or role").input_value() == "Board A"
    page.get_by_label("Note", exact=True).fill("Second")
    page.get_by_role("button", name="Save note").click()
    page.locator(".notes li").nth(1).wait_for()
    assert "Second" in page.locator(".notes li").first.inner_text()  # the newest first
    assert page.locator(".notes li").first.get_by_text("earlier results").count() == 0 and not tab.said


def test_a_note_that_is_not_saved_is_not_lost_without_a_word(tab, client) -> None:
    case_id, questions = client.create_case(), []
    page = tab.case(case_id)
    page.on("dialog", lambda dialog: (questions.append(dialog.type), dialog.accept()))
    page.get_by_label("Note", exact=True).fill("half a sentence")
    page.get_by_role("link", name="All cases").click()
    row(page, case_id).get_by_text("note not saved").wait_for()
    page.reload()
    row(page, case_id).get_by_role("link").click()
    page.locator(".columns").wait_for()
    assert page.get_by_label("Note", exact=True).input_value() == "half a sentence" and questions == ["beforeunload"]
    page.get_by_role("button", name="Log out").click()
    question = page.get_by_role("dialog", name="Log out with a note that is not saved?")
    question.get_by_role("button", name="Keep it").click()
    assert page.get_by_label("Note", exact=True).input_value() == "half a sentence"
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="Throw it away and log out").click()
    page.get_by_label("Token of the server").wait_for()
    assert page.evaluate("sessionStorage.length") == 0


# For everyone


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(tab, server, client) -> None:
    case_id = client.create_case("keyboard")
    client.put_clinical(case_id, ClinicalFields(67))
    page = tab.open(logged_in=False)
    page.get_by_label("Token of the server").wait_for()

    def tab_to(name: str) -> None:
        for _ in range(40):
            focused = page.evaluate("""() => {
                const e = document.activeElement, style = getComputedStyle(e);
                const name = e.labels?.[0]?.textContent || e.ariaLabel || e.textContent;
                return [name, style.outlineStyle, style.outlineWidth];
            }""")
            if focused[0].strip() == name:
                assert focused[1:] == ["solid", "3px"], f"{name} has the focus, and nothing shows it"
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{name} is not reached")

    page.keyboard.type(server.token)  # the form has the focus
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Cases").wait_for()
    page.get_by_role("link", name=case_id).wait_for()
    tab_to("Filter")
    page.keyboard.type(case_id)
    tab_to(case_id)
    page.keyboard.press("Enter")
    page.locator(".columns").wait_for()
    assert page.evaluate("document.activeElement.textContent") == f"Case {case_id}"
    page.evaluate("document.activeElement.blur()")
    tab_to("Skip to the content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == f"Case {case_id}"
    tab_to("Fuse")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Fuse again").wait_for()
    tab_to("Note")
    page.keyboard.type("By keyboard")
    tab_to("Save note")
    page.keyboard.press("Enter")
    page.locator(".notes li").wait_for()
    assert "By keyboard" in page.evaluate("document.activeElement.textContent")
    tab_to("Delete this case …")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.labels[0].textContent") == f"Type {case_id} to confirm"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Delete this case …"
    page.go_back()
    page.get_by_role("heading", name="Cases").wait_for()
    assert page.evaluate("document.activeElement.textContent") == case_id  # back where one was


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_axe_finds_nothing_and_every_view_fits(browser, server, client, scheme, width) -> None:
    ours = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "reduced_motion": "reduce"}
    case_id = "all" if "all" in [case["case_id"] for case in client.cases()] else whole(client, "all")
    if not client.notes(case_id):
        client.add_note(case_id, BoardNote("w" * 300, "Biopsy", "Board"))
    broken = client.create_case()
    client.radiology(broken, client.put_volume(ct("fail")))
    tab = Tab(browser, server, **ours)

    def fine(view: str) -> None:
        assert findings(tab.page) == [], view
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, view

    tab.open(logged_in=False)
    tab.page.get_by_label("Token of the server").wait_for()
    fine("log-in")
    tab.open().get_by_role("link", name=case_id, exact=True).wait_for()
    fine("cases")
    tab.case(case_id).get_by_role("button", name="Fuse again").wait_for()
    tab.page.get_by_text("Models").first.click()
    fine("case")
    tab.case(broken).locator(".job .problem").wait_for()
    fine("a case whose job failed")
    tab.page.get_by_role("button", name="Delete this case").click()
    fine("question")
    tab.page.keyboard.press("Escape")
    tab.open(f"case={case_id}&view=report").frame_locator("iframe").locator("h1").first.wait_for()
    fine("report")
    tab.close()
    assert not tab.said


def test_policies_and_tags_of_the_files(server) -> None:
    page = requests.get(server.url + "/", timeout=20)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["frame-src"] == "'self'"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    again = requests.get(server.url + "/", headers={"If-None-Match": page.headers["ETag"]}, timeout=20)
    assert again.status_code == 304 and not again.content and page.headers["Cache-Control"] == "no-cache"
    assert requests.get(server.url + "/", headers={"If-None-Match": '"other"'}, timeout=20).status_code == 200
    frame = requests.get(server.url + "/dashboard/report_frame.html", timeout=20).headers["Content-Security-Policy"]
    assert "script-src 'sha256-" in frame and "sandbox allow-scripts" in frame and "frame-ancestors 'self'" in frame
    script = requests.get(server.url + "/dashboard/page.js", timeout=20)
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
