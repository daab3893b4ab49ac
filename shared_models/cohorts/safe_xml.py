"""XML of strangers: parsed() refuses what only an attack needs.

A document type or an entity is refused when it begins, before it can expand or fetch anything; size, depth and number
of elements are bounded. Names come without their namespace.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

from ..contract.errors import InvalidInput

MAX_BYTES = 32 << 20
_MAX_DEPTH = 64
_MAX_ELEMENTS = 2_000_000
_BROKEN = "Download it again from the collection's page."


class _Refused(Exception):
    pass


class _Enough(Exception):
    pass


def read_bounded(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The file's bytes.

    Raises
    ------
    InvalidInput : it cannot be read, or is larger than ``limit``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    except OSError as fault:
        raise InvalidInput("A file of the cohort cannot be read.", "Check its permissions.") from fault
    if len(data) > limit:
        raise InvalidInput("A file of the cohort is larger than such files are.", _BROKEN)
    return data


def parsed(data: bytes) -> Element:
    """The root element, names without namespaces.

    Raises
    ------
    InvalidInput : it is no XML, or has a document type, entities, or more depth or elements than such files have.
    """
    builder = TreeBuilder()
    _walk(data, builder)
    try:
        return builder.close()
    except (ParseError, AssertionError) as fault:
        raise InvalidInput("An XML file holds nothing.", _BROKEN) from fault


def first_text(data: bytes, name: str) -> Optional[str]:
    """Text of the first element ``name``, parsing no further; None where there is none.

    Raises
    ------
    InvalidInput : as parsed(), of the part that was read.
    """
    found: list[str] = []

    class Finder:
        inside = False

        def start(self, tag: str, attributes: dict[str, str]) -> None:
            self.inside = tag == name

        def data(self, text: str) -> None:
            if self.inside:
                found.append(text)

        def end(self, tag: str) -> None:
            if tag == name:
                raise _Enough
            self.inside = False

    try:
        _walk(data, Finder())
    except _Enough:
        return "".join(found).strip()
    return None


def _walk(data: bytes, target: object) -> None:
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    depth, count = 0, 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _MAX_DEPTH or count > _MAX_ELEMENTS:
            raise _Refused
        target.start(tag.rpartition("}")[2], attributes)  # type: ignore[attr-defined]

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        target.end(tag.rpartition("}")[2])  # type: ignore[attr-defined]

    def refuse(*_: object) -> None:
        raise _Refused

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = target.data  # type: ignore[attr-defined]
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except _Refused as fault:
        raise InvalidInput("An XML file has a document type, entities, or no end of elements.", _BROKEN) from fault
    except (expat.ExpatError, LookupError, ValueError) as fault:
        raise InvalidInput("An XML file cannot be read.", _BROKEN) from fault
