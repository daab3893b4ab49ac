"""Paths, headers and limits of protocol version 1: client and server both take them from here."""

from __future__ import annotations

import re

from .errors import InvalidInput

PREFIX = "/v1"
INFO = PREFIX + "/info"
HEALTHZ = PREFIX + "/healthz"
READYZ = PREFIX + "/readyz"
CASES = PREFIX + "/cases"

PROTOCOL_HEADER = "X-LungXAI-Protocol"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def case(case_id: str, part: str = "") -> str:
    """Path of a case, or of one part of it (``radiology``, ``pathology``, ``clinical``, ``fusion``, ``report``).

    Raises
    ------
    InvalidInput : an identifier that could name another path.
    """
    for name in (case_id, part) if part else (case_id,):
        if not _ID.fullmatch(name):
            raise InvalidInput("A case identifier holds letters, digits, - and _ only.", "Choose another.")
    return f"{CASES}/{case_id}" + (f"/{part}" if part else "")
