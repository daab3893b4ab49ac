"""What a tumour board writes about a case: notes are added, never changed, so the history stays."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidInput

MAX_TEXT, MAX_DECISION, MAX_AUTHOR = 8000, 500, 120
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?\+00:00")
# Line breaks and tabs belong to a note; other control characters, and those that turn the direction of text, do not.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class BoardNote:
    """One note of the board; the newest is the one that holds.

    Parameters
    ----------
    text : the note, up to MAX_TEXT characters; may be empty where there is a decision
    decision : what was decided, in a line; may be empty
    author : who wrote it, as they choose to be named; may be empty
    created : ISO 8601, UTC; set by the server, "" until then
    about : 64 hexadecimal digits of the results that were there when it was written; set by the server

    Raises
    ------
    InvalidInput : neither note nor decision, one too long, or characters that are no text.
    """

    text: str = ""
    decision: str = ""
    author: str = ""
    created: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        for name, most in (("text", MAX_TEXT), ("decision", MAX_DECISION), ("author", MAX_AUTHOR)):
            value = getattr(self, name)
            if not isinstance(value, str) or _UNWANTED.search(value) or not _encodable(value):
                raise InvalidInput(f"The board's {name} is not plain text.", "Write it without control characters.")
            if len(value) > most:
                raise InvalidInput(f"The board's {name} is too long.", f"Write at most {most} characters.")
        if "\n" in self.decision + self.author:
            raise InvalidInput("The board's decision and author are one line each.", "Put the rest into the note.")
        if not (self.text.strip() or self.decision.strip()):
            raise InvalidInput("The board's note is empty.", "Write a note, a decision, or both.")
        if self.created and not _TIME.fullmatch(self.created):
            raise InvalidInput("The note's time is not valid.", "Check the versions of both sides.")
        if self.about and not re.fullmatch("[0-9a-f]{64}", self.about):
            raise InvalidInput("The note does not say which results it is about.", "Check the versions of both sides.")


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
