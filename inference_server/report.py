"""The report of a case: one page that a tumour board reads in a minute, and the details behind it.

render()   CaseRecord -> HTML (templates/report.html, the first page in report_page.html)
brief()    a text shortened to what has room on the first page

What it is made of: report_ct.py, report_slide.py, report_clinical.py and report_limits.py gather the values of the
parts, report_fusion.py those of the fused answer, report_board.py the board's notes; report_charts.py draws,
report_words.py translates, report_pdf.py makes a PDF of it.
The page holds no script and asks for nothing from outside; its only name for the patient is the case's pseudonymous id.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.contract.routes import PAPERS
from shared_models.contract.values import Abstention

from .case_record import CaseRecord
from .report_board import board_values, moment_words
from .report_charts import percent
from .report_clinical import clinical_values
from .report_ct import ct_values
from .report_fusion import fusion_values
from .report_limits import limits_values
from .report_slide import slide_values
from .report_words import Words, _, ngettext, speaking

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_MODELS, _SHORT_HASH, _SHORT_ID = 5, 12, 44


def render(
    record: CaseRecord,
    *,
    paper: str = "a4",
    created: Optional[datetime.datetime] = None,
    words: Optional[Words] = None,
) -> str:
    """The report as HTML; whatever the record does not have is said to be missing.

    Parameters
    ----------
    paper : of PAPERS, the sheet that it is printed on
    created : when it is written, with its offset from UTC; now, unless given
    words : its language; English, unless given

    Raises
    ------
    InvalidInput : no such paper.
    """
    if paper not in PAPERS:
        raise InvalidInput("There is no such paper.", f"It is {' or '.join(PAPERS)}.")
    moment = (created or datetime.datetime.now(datetime.timezone.utc)).astimezone(datetime.timezone.utc)
    written = moment_words(moment.isoformat())
    with speaking(words or Words()) as speech:
        page: str = _environment().get_template("report.html").render(
            record=record,
            case_id=record.case_id,
            language=speech.language,
            paper=paper,
            made=moment_words(record.created),
            written=written,
            created_iso=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            running=_running(record, written),
            models=_models(record),
            board=board_values(record),
            fusion=None if record.fusion is None else fusion_values(record.fusion, record.clinical),
            ct=ct_values(record),
            slide=slide_values(record),
            clinical=clinical_values(record),
            limits=limits_values(record),
            contents=[
                ("fusion", _("All modalities together")), ("ct", _("CT")), ("slide", _("H&E slide")),
                ("clinical", _("Clinical")), ("board", _("The tumour board's notes")), ("limits", _("Limits")),
            ],
        )  # fmt: skip
    return page


def brief(text: str, most: int) -> str:
    """``text`` on one line and at most ``most`` characters long, cut between words, with an ellipsis where it was."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    cut = line[: most - 2]
    return (cut[: cut.rfind(" ")] if cut.rfind(" ") > most // 2 else cut) + " …"


def _brief_abstention(abstention: Abstention) -> Abstention:
    return Abstention(brief(abstention.reason, 120), brief(abstention.what_would_help, 120))


def _css(content: Iterable[str]) -> str:
    """The value of CSS ``content``: strings, quoted so that none can end, and counters "page" and "pages"."""
    return " ".join(
        f"counter({part[1:-1]})" if part in ("{page}", "{pages}") else '"' + _CSS_UNSAFE.sub(_escaped, part) + '"'
        for part in content
        if part
    )


_CSS_UNSAFE = re.compile(r"[^\w .,:;/()+-]", re.ASCII)


def _escaped(found: re.Match[str]) -> str:
    return f"\\{ord(found[0]):x} "


def _running(record: CaseRecord, written: str) -> dict[str, list[str]]:
    """What stands at the top and the foot of each printed page."""
    foot = _("Report written %(when)s") % {"when": written}
    if record.synthetic:
        foot = f"{_('SYNTHETIC CASE, not a patient')} · {foot}"
    name = record.case_id
    if len(name) > _SHORT_ID:  # the whole of it is on the first page
        name = f"{name[:28]}…{name[-12:]}"
    return {
        "case": [_("LungXAI case %(case)s") % {"case": name}],
        "notice": [_("Research use only, not a diagnosis")],
        "foot": [foot],
        "page": re.split(r"(\{pages?\})", _("Page {page} of {pages}")),
    }


def _models(record: CaseRecord) -> dict[str, Any]:
    """Every model that took part, once, with the first digits of its hash."""
    found: dict[str, Provenance] = {}
    for result in (record.radiology, record.pathology, record.fusion):
        for provenance in () if result is None else result.provenance:
            found.setdefault(provenance.weights_sha256, provenance)
    every = list(found.values())
    return {
        "shown": [{"id": p.model_id, "sha": p.weights_sha256[:_SHORT_HASH]} for p in every[:_MOST_MODELS]],
        "more": max(0, len(every) - _MOST_MODELS),
        "code": ", ".join(dict.fromkeys(brief(p.code_version, 40) for p in every[:_MOST_MODELS])),
    }


@lru_cache(maxsize=1)
def _environment() -> Any:
    # One for every report: its words are looked up when a report is written.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment: Any = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, extensions=["jinja2.ext.i18n"],
    )  # fmt: skip
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(_, ngettext, newstyle=True)
    environment.filters["brief"] = brief
    environment.filters["brief_abstention"] = _brief_abstention
    environment.filters["percent"] = percent
    # Quoted by _css() for the style sheet, where HTML's own quoting does not hold.
    environment.filters["css"] = lambda content: Markup(_css(content))
    return environment
