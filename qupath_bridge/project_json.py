"""The plain JSON files of a QuPath project, read as what they are: untrusted.

read_json()     a regular file, bounded in size, depth and number of values
entry()         a field of an object, of the type that is wanted or the one given instead
colour_rgb()    QuPath's packed colours as (red, green, blue); packed() is the way back
text()          JSON as QuPath writes it: two spaces, UTF-8, no line feed at the end
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Optional, TypeVar

from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.contract.jsonforms import parsed
from shared_models.contract.server_option import small_file

MAX_DEPTH = 40
_REMEDY = "Save the project in QuPath again, or restore project.qpproj.backup, which QuPath keeps beside it."

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

Kind = TypeVar("Kind")


def read_json(path: Path, limit: int, what: str) -> dict[str, Any]:
    """The object in a file.

    Parameters
    ----------
    limit : bytes
    what : in words, for the message

    Raises
    ------
    InvalidInput : not there, no regular file, not JSON, no object, or nested deeper than MAX_DEPTH.
    InputTooLarge : larger than ``limit``.
    """
    try:
        content = small_file(path, limit)
    except OSError as fault:
        raise InvalidInput(f"{what} cannot be read: {fault.strerror or fault}.", "Check the path.") from fault
    if len(content) > limit:
        raise InputTooLarge(f"{what} is larger than {limit >> 20} MiB.", "Split the project in QuPath.")
    return parse_object(content, what)


def parse_object(content: bytes, what: str) -> dict[str, Any]:
    """The JSON object that ``content`` is; raises InvalidInput as read_json() does."""
    # Counted before parsing: the parser's own limit is the interpreter's stack.
    if _deepest(content) > MAX_DEPTH:
        raise InvalidInput(f"{what} is nested deeper than any that QuPath writes.", _REMEDY)
    try:
        body = parsed(content)
    except ValueError as fault:
        raise InvalidInput(f"{what} is damaged: it is not JSON.", _REMEDY) from fault
    if not isinstance(body, dict):
        raise InvalidInput(f"{what} is not what QuPath writes.", _REMEDY)
    return body


def _deepest(content: bytes) -> int:
    """Brackets open at once, at most; those within texts do not count."""
    import numpy as np

    signs = np.frombuffer(_TEXT.sub(b"", content), np.uint8)
    opened = (signs == ord("{")) | (signs == ord("["))
    marks = np.flatnonzero(opened | (signs == ord("}")) | (signs == ord("]")))
    return int(np.cumsum(np.where(opened[marks], 1, -1)).max()) if len(marks) else 0


def entry(body: Any, name: str, kind: type[Kind], instead: Kind) -> Kind:
    """``body[name]`` where it is a ``kind``, else ``instead``; a bool is no number."""
    value = body.get(name) if isinstance(body, dict) else None
    if isinstance(value, bool) and kind is not bool:
        return instead
    if kind is float and isinstance(value, int):
        value = float(value) if abs(value) < 1 << 1000 else None
    return value if isinstance(value, kind) else instead


def colour_rgb(value: Any) -> Optional[tuple[int, int, int]]:
    """(red, green, blue) of a packed ARGB number, or of a list of three; None where it is neither."""
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 32:
        return value >> 16 & 255, value >> 8 & 255, value & 255
    if isinstance(value, list) and len(value) == 3 and all(type(c) is int and 0 <= c <= 255 for c in value):
        return value[0], value[1], value[2]
    return None


def packed(colour: tuple[int, int, int]) -> int:
    """(red, green, blue) as QuPath packs it: opaque ARGB, a signed 32-bit number."""
    red, green, blue = colour
    return (255 << 24 | red << 16 | green << 8 | blue) - (1 << 32)


def text(body: Any) -> bytes:
    """JSON as QuPath lays it out."""
    return json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False).encode()
