"""A command's flags out of the fields of a dataclass, so that what a published model asks for is said once.

add_flags()   one flag a field: numbers, yes or no, or one of some words
filled()      the dataclass out of what was given; what was not given is None
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

_SAID = {"yes": True, "no": False}


def add_flags(
    parser: argparse.ArgumentParser, inputs: type, words: Mapping[str, str], choices: Mapping[str, Sequence[str]],
    renamed: Mapping[str, str] = {},
) -> None:  # fmt: skip
    """Add ``--age-years`` for a field ``age_years``, and so on, and ``--json``.

    Parameters
    ----------
    inputs : dataclass whose fields are numbers, bools or words, each optional
    words : field to its help
    choices : field to its words, for those that are words
    renamed : field to another name of its flag
    """
    for field in fields(inputs):
        kind: dict[str, Any] = {"type": float, "metavar": "N"}
        if "bool" in str(field.type):
            kind = {"choices": tuple(_SAID)}
        elif field.name in choices:
            kind = {"choices": choices[field.name]}
        flag = renamed.get(field.name, field.name).replace("_", "-")
        parser.add_argument(f"--{flag}", dest=field.name, help=words[field.name], **kind)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def filled(inputs: type, given: argparse.Namespace) -> Any:
    """``inputs`` with what ``given`` holds."""
    values = {field.name: getattr(given, field.name) for field in fields(inputs)}
    return inputs(**{name: _SAID.get(value, value) for name, value in values.items()})
