"""The report's HTML as PDF, made on this machine and without any network.

pdf_of()        HTML -> PDF by WeasyPrint (tagged, PDF/UA-1), else by a Chromium, Chrome or Edge that is installed
weasyprint_pdf(), browser_pdf()   the two ways
find_browser()  the browser that would be used

The paper, its margins and what runs at the top and foot of each page are the report's own (CSS @page).

By WeasyPrint the same HTML gives the same bytes: the PDF's date is the one that the HTML states. A browser writes the
time of printing and an id of its own.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput, ModelUnavailable, ServerError

_BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
    "microsoft-edge-stable", "msedge",
)  # fmt: skip
_USUAL_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
    "C:/Program Files/Microsoft/Edge/Application/msedge.exe",
)
# Whatever a browser would fetch, look up or report of its own accord; every name resolves to nothing.
_QUIET = (
    "--headless=new", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-extensions", "--disable-sync", "--disable-domain-reliability",
    "--metrics-recording-only", "--no-first-run", "--no-default-browser-check", "--no-pings", "--disable-breakpad",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9",
)  # fmt: skip
# The details begin on the second sheet; where a first page came out longer, as with a wide font, it is set smaller.
_DETAILS, _PAGE, _TIGHT = "fusion", '<article class="page">', '<article class="page tight">'
_PRINT_SECONDS = 120
REMEDY = (
    "Install WeasyPrint's libraries (Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0) or a Chromium, Chrome "
    "or Edge; or open the HTML report in a browser and print it."
)


def pdf_of(html: str) -> bytes:
    """A report as PDF.

    Parameters
    ----------
    html : of report.render(): it needs nothing else

    Raises
    ------
    InvalidInput : the HTML asks for something outside itself.
    ModelUnavailable : neither WeasyPrint nor a browser works here.
    """
    try:
        return weasyprint_pdf(html)
    except (ImportError, OSError) as missing:  # OSError: the package is there, Pango is not
        browser = find_browser()
        if browser is None:
            raise ModelUnavailable(f"No program here makes PDFs: {missing}.".replace("\n", " "), REMEDY) from missing
        return browser_pdf(html, browser)


def weasyprint_pdf(html: str) -> bytes:
    """By WeasyPrint.

    Raises
    ------
    ImportError, OSError : it, or Pango, is not here.
    InvalidInput : as pdf_of().
    """
    import weasyprint
    from weasyprint.urls import FatalURLFetchingError, URLFetcher

    # It warns of every property that is a browser's alone.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    inside = URLFetcher(allowed_protocols=["data"], allow_redirects=False, fail_on_errors=True)

    def laid_out(text: str) -> Any:
        return weasyprint.HTML(string=text, url_fetcher=inside).render(pdf_variant="pdf/ua-1")

    try:
        document = laid_out(html)
        if any(_DETAILS in page.anchors for page in document.pages[2:]):
            document = laid_out(html.replace(_PAGE, _TIGHT, 1))
        pdf: bytes = document.write_pdf(pdf_variant="pdf/ua-1", pdf_identifier=b"lungxai")
    except FatalURLFetchingError as outside:
        raise InvalidInput(
            "The report asks for something outside itself, so it was not printed.", "Write the report again."
        ) from outside
    return pdf


def find_browser() -> Optional[Path]:
    """A Chromium, Chrome or Edge on this machine; None where there is none."""
    for name in _BROWSERS:
        found = shutil.which(name)
        if found:
            return Path(found)
    return next((Path(place) for place in _USUAL_PLACES if Path(place).is_file()), None)


def browser_pdf(html: str, browser: Path) -> bytes:
    """By a browser without a window, with a profile of its own that is gone afterwards.

    Raises
    ------
    ServerError : it did not print.
    """
    with tempfile.TemporaryDirectory(prefix="lungxai-", ignore_cleanup_errors=True) as folder:
        page, pdf = Path(folder) / "report.html", Path(folder) / "report.pdf"
        page.write_text(html, encoding="utf-8")
        command = [str(browser), *_QUIET, f"--user-data-dir={folder}/profile", "--no-pdf-header-footer"]
        if sys.platform == "linux" and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to run as root with it
        command += [f"--print-to-pdf={pdf}", page.as_uri()]
        try:
            run = subprocess.run(command, capture_output=True, timeout=_PRINT_SECONDS, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as failed:
            raise ServerError(f"{browser.name} did not print the report: {type(failed).__name__}.", REMEDY) from failed
        if run.returncode or not pdf.is_file():
            raise ServerError(f"{browser.name} did not print the report (status {run.returncode}).", REMEDY)
        return pdf.read_bytes()
