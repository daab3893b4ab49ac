"""The board's note in a report: the newest on the first page, every one of them behind it.

board_values()   CaseRecord -> what templates/report_page.html and report_board.html show
moment_words()   a time as the report writes it
"""

from __future__ import annotations

import datetime
from typing import Any

from shared_models.contract.board_note import BoardNote

from .case_record import CaseRecord
from .report_words import _


def moment_words(moment: str) -> str:
    """ISO 8601 with its offset as "2026-11-26 14:05 UTC"; empty for empty."""
    if not moment:
        return ""
    return datetime.datetime.fromisoformat(moment).astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def board_values(record: CaseRecord) -> dict[str, Any]:
    """``latest``: the newest note, None where the board has written none; ``history``: every note, newest first."""
    rows = [_row(note, record.about) for note in reversed(record.notes)]
    return {"latest": rows[0] if rows else None, "history": rows}


def _row(note: BoardNote, about: str) -> dict[str, Any]:
    """A note, and whether the results were others when it was written; that is not told where either is not known."""
    return {
        "text": note.text.strip(),
        "decision": note.decision.strip(),
        "by": note.author.strip() or _("not signed"),
        "when": moment_words(note.created),
        "earlier": bool(note.about and about) and note.about != about,
    }
