"""The report of a case that the server keeps, as HTML and as PDF."""

from __future__ import annotations

import threading

from shared_models.contract.errors import InvalidInput

from .case_record import record_of_store
from .cases import Cases
from .fused import Fuser

# Laying out a PDF takes seconds of a processor and hundreds of megabytes: one at a time.
_one = threading.Lock()


def report(cases: Cases, fuser: Fuser, case_id: str, max_decoded_bytes: int, paper: str = "a4") -> str:
    """The report's HTML.

    Raises
    ------
    InvalidInput : the case holds nothing to report.
    """
    from .report import render

    record = record_of_store(cases, fuser, case_id, max_decoded_bytes)
    if record.empty:
        raise InvalidInput("This case holds nothing to report yet.", "Analyse a CT or a slide first.")
    return render(record, paper=paper)


def report_pdf(cases: Cases, fuser: Fuser, case_id: str, max_decoded_bytes: int, paper: str = "a4") -> bytes:
    """The same as PDF.

    Raises
    ------
    InvalidInput : as report().
    LungXAIError : nothing on this machine can lay out a PDF; see report_pdf.pdf_of().
    """
    from .report_pdf import pdf_of

    page = report(cases, fuser, case_id, max_decoded_bytes, paper)
    with _one:
        return pdf_of(page)
