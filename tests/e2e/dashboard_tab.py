"""For tests of the server's page: a browser, and a tab that knows what it asked for and what it complained of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 60_000
REFUSED = "Failed to load resource"  # what Chromium says of any answer of 400 or more


def driver() -> Any:
    """Playwright, or a skip with what is missing."""
    missing = "playwright is not installed: pip install 'lungxai[dev]'"
    return pytest.importorskip("playwright.sync_api", reason=missing).sync_playwright()


def launched(play: Any) -> Any:
    """Headless Chromium, or a skip."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no chromium: apt-get install chromium")
    return play.chromium.launch(executable_path=chromium, args=FLAGS)


class Tab:
    """One tab of a browser that remembers nothing of the others.

    Attributes
    ----------
    page : Playwright's
    asked : every address that it asked for
    said : its warnings, errors and exceptions
    """

    def __init__(self, browser: Any, server: Any, **choices: Any) -> None:
        self._server = server
        self._context = browser.new_context(locale="en-GB", **{"viewport": {"width": 1280, "height": 900}, **choices})
        self._context.set_default_timeout(WAIT_MS)
        self.page = self._context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self._context.on("request", lambda request: self.asked.append(request.url))
        self._context.on("requestfailed", self._unask)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self._hear(message))

    def _unask(self, request: Any) -> None:
        """What the page's policy stops has never left the browser."""
        if request.failure == "csp":
            self.asked.remove(request.url)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def open(self, fragment: str = "", logged_in: bool = True) -> Any:
        """Go to the page; ``fragment`` is what stands behind "#"."""
        token = f"token={self._server.token}" if logged_in else ""
        self.page.goto(f"{self._server.url}/#{'&'.join(filter(None, [fragment, token]))}")
        if logged_in:
            self.page.locator("#view main").wait_for()
        return self.page

    def case(self, case_id: str) -> Any:
        """Open a case and wait until it is shown."""
        self.open(f"case={case_id}")
        self.page.locator(".columns").wait_for()
        return self.page

    def close(self) -> None:
        """Nothing was asked of anyone but the server, and nothing complained but of refusals."""
        self._context.close()
        own = urlsplit(self._server.url).netloc
        assert [url for url in self.asked if urlsplit(url).scheme not in ("data", "blob") and own not in url] == []
        assert [text for text in self.said if not text.startswith(REFUSED)] == []


def axe() -> str:
    """axe-core as text; the page's policy lets no script of others in, so it is evaluated by the driver."""
    folder = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    return (Path(folder.__file__).parent / "axe.min.js").read_text()


def findings(page: Any) -> list[str]:
    """Everything that axe-core finds wrong with the page and its frames, worst first."""
    source = axe()
    for frame in page.frames:
        frame.evaluate(source)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{v['impact']} {v['id']}: {[node['target'] for node in v['nodes']][:3]}" for v in found]
