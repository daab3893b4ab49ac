"""Paths, headers and limits of protocol version 1: client and server both take them from here.

GET    /v1/info /v1/healthz /v1/readyz
POST   /v1/cases                            GET    /v1/cases
GET    /v1/cases/{id}                       DELETE /v1/cases/{id}
HEAD   /v1/volumes/{sha256}                 PUT    /v1/volumes/{sha256}     a CTVolume frame
GET    /v1/volumes/{sha256}                                                 the same frame
POST   /v1/cases/{id}/tiles[?ahead=1]                                       a SlideTiles frame
GET    /v1/cases/{id}/clinical              PUT    /v1/cases/{id}/clinical
POST   /v1/cases/{id}/radiology             GET    /v1/cases/{id}/radiology
POST   /v1/cases/{id}/pathology             GET    /v1/cases/{id}/pathology
POST   /v1/cases/{id}/fusion                GET    /v1/cases/{id}/fusion
GET    /v1/cases/{id}/radiology/mask        PUT    /v1/cases/{id}/radiology/mask   a LabelVolume frame
GET    /v1/cases/{id}/{modality}/heatmaps/{method}                          a Heatmap frame
GET    /v1/cases/{id}/report[?format=pdf][&paper=letter]                    HTML, or PDF
GET    /v1/cases/{id}/notes                 POST   /v1/cases/{id}/notes     what the board writes
GET    /v1/jobs/{id}   GET /v1/jobs/{id}/events   DELETE /v1/jobs/{id}
"""

from __future__ import annotations

import re

from .errors import InvalidInput
from .results import METHODS, MODALITIES

PREFIX = "/v1"
INFO = PREFIX + "/info"
HEALTHZ = PREFIX + "/healthz"
READYZ = PREFIX + "/readyz"
CASES = PREFIX + "/cases"
VOLUMES = PREFIX + "/volumes"
JOBS = PREFIX + "/jobs"

PROTOCOL_HEADER = "X-LungXAI-Protocol"
FRAME_TYPE = "application/x-lungxai-frame"

REPORT_FORMATS = ("html", "pdf")
PAPERS = ("a4", "letter")

MAX_TILES_PER_BATCH = 256
MAX_JSON_BYTES = 1 << 20

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _checked(identifier: str, what: str) -> str:
    if not _ID.fullmatch(identifier):
        raise InvalidInput(f"A {what} identifier holds letters, digits, - and _ only.", "Choose another.")
    return identifier


def case(case_id: str, part: str = "") -> str:
    """Path of a case, or of one part of it (``radiology``, ``pathology``, ``clinical``, ``fusion``, ``report``).

    Raises
    ------
    InvalidInput : an identifier that could name another path.
    """
    path = f"{CASES}/{_checked(case_id, 'case')}"
    return f"{path}/{_checked(part, 'case')}" if part else path


def mask(case_id: str) -> str:
    """Path of the segmentation of a case; a corrected one is put there too."""
    return case(case_id, "radiology") + "/mask"


def heatmap(case_id: str, modality: str, method: str) -> str:
    """Path of one heatmap of a case.

    Raises
    ------
    InvalidInput : no such modality or method.
    """
    if modality not in MODALITIES[:2] or method not in METHODS:
        raise InvalidInput(f"There is no heatmap {modality!r}, {method!r}.", f"Methods are {', '.join(METHODS)}.")
    return f"{case(case_id, modality)}/heatmaps/{method}"


def report(case_id: str, form: str = "html", paper: str = "a4") -> str:
    """Path of a case's report.

    Raises
    ------
    InvalidInput : no such format or paper.
    """
    if form not in REPORT_FORMATS or paper not in PAPERS:
        raise InvalidInput("There is no such report.", f"It is {' or '.join(REPORT_FORMATS)}, {' or '.join(PAPERS)}.")
    return f"{case(case_id, 'report')}?format={form}&paper={paper}"


def volume(sha256: str) -> str:
    """Path of a CT volume by the SHA-256 of its frame.

    Raises
    ------
    InvalidInput : not 64 lower-case hexadecimal digits.
    """
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput("A volume is named by the SHA-256 of its data.", "Check the client's version.")
    return f"{VOLUMES}/{sha256}"


def job(job_id: str, events: bool = False) -> str:
    """Path of a job, or of its server-sent events."""
    return f"{JOBS}/{_checked(job_id, 'job')}" + ("/events" if events else "")
