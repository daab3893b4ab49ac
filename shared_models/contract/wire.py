"""What the client does with bytes on the way: bodies that tell how far they are, answers read with a cap.

WatchedBody                  a body that says how much of it was sent
StraightSession              a session that follows no redirect
whole_body(), lines(), event(), text()   an answer's bytes, lines, events, fields
unreadable(), other_protocol()           the errors of an answer that is none
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, Callable, Optional

import requests

from .errors import ContractMismatch, LungXAIError, ServerError, ServerTimeout, ServerUnreachable
from .jobs import JobProgress

_MAX_EVENT = 1 << 16
_SENT_BYTES = 256 << 10


class WatchedBody(io.BytesIO):
    """A body that tells how much of it was sent; what ``sent`` raises ends the request."""

    def __init__(self, body: bytes, sent: Callable[[int, int], None]) -> None:
        super().__init__(body)
        self._sent, self._total, self._told = sent, len(body), 0

    def read(self, size: Optional[int] = -1, /) -> bytes:
        place = self.tell()
        if place - self._told >= _SENT_BYTES or place in (0, self._total):
            self._told = place
            self._sent(place, self._total)
        return super().read(size)


class StraightSession(requests.Session):
    """A session that does not even look at where a redirect leads; requests would read its whole body first."""

    def get_redirect_target(self, resp: requests.Response) -> Optional[str]:
        return None


def other_protocol() -> ContractMismatch:
    """The error of an answer that speaks another protocol."""
    return ContractMismatch("The server speaks another protocol.", "Check the address; update the older side.")


def unreadable() -> ServerError:
    """The error of an answer that is not what was asked for."""
    return ServerError("The server's answer is unreadable.", "Check the server's version.")


def text(answer: dict[str, Any], name: str) -> str:
    """A field that has to be text; ServerError where it is not."""
    value = answer.get(name)
    if not isinstance(value, str):
        raise unreadable()
    return value


def lines(answer: requests.Response) -> Iterator[bytes]:
    """Each line as it comes; ServerError for one without an end."""
    held = bytearray()
    # Events are short: one byte at a time would be slow on bulk data but delivers each at once.
    for part in answer.iter_content(1):
        held += part
        if held.endswith(b"\n"):
            yield bytes(held).rstrip(b"\r\n")
            held.clear()
        if len(held) > _MAX_EVENT:
            raise ServerError("The server's progress is too long.", "Check the server's version.")


def whole_body(answer: requests.Response, limit: int) -> bytearray:
    """The whole answer, or ServerError past ``limit`` bytes."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        answer.close()
        raise unreadable()
    parts = bytearray()
    try:
        with answer:
            for part in answer.iter_content(1 << 20):
                parts += part
                if len(parts) > limit:
                    raise ServerError("The server's answer is too large.", "Check the server's version.")
    except requests.Timeout as fault:
        raise ServerTimeout("The server stopped in the middle of an answer.", "Try again.") from fault
    except requests.RequestException as fault:
        raise ServerUnreachable("The connection broke in the middle of an answer.", "Try again.") from fault
    return parts


def event(line: bytes) -> Optional[JobProgress]:
    """The job's progress of a line of events; None for any other line."""
    if not line.startswith(b"data:"):
        return None
    try:
        return JobProgress.from_json(json.loads(line[5:]))
    except (ValueError, RecursionError, LungXAIError) as fault:
        raise ContractMismatch("The server's progress is unreadable.", "Update the older side.") from fault
