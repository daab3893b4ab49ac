"""The report on a screen: a real browser asks for nothing, complains of nothing, and axe finds nothing to mend."""

from functools import lru_cache

import pytest
from dashboard_tab import driver, findings, launched
from report_cases import GALLERY

from inference_server.report import render

page = lru_cache(lambda name: render(GALLERY[name]()))


@pytest.fixture(scope="module")
def browser():
    with driver() as play:
        browser = launched(play)
        yield browser
        browser.close()


@pytest.mark.parametrize("name", ["board", "long_names"])
def test_a_browser_asks_for_nothing_and_axe_finds_nothing(browser, name: str, tmp_path) -> None:
    (tmp_path / "report.html").write_text(page(name), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    tab, asked, said = context.new_page(), [], []
    context.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.goto((tmp_path / "report.html").as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [tab.url] and not said
    assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    levels = tab.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(heading => +heading.tagName[1])")
    assert levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:]))
    assert findings(tab) == []


def test_a_narrow_screen_needs_no_scrolling_aside_on_the_first_page(browser) -> None:
    tab = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
    tab.set_content(page("board"))
    wide = tab.evaluate(
        "[...document.querySelectorAll('header, .page > section, .pair > section')].map(part => part.scrollWidth)"
    )
    assert len(wide) == 7 and max(wide) <= 390
