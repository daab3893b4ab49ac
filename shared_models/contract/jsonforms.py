"""Results, clinical fields and notes <-> JSON objects, by their dataclass fields.

to_json    value -> dict of plain JSON; arrays become lists, NaN ("not assessed") becomes null
from_json  dict -> value; every fault of the sender is InvalidInput, an unknown field too
parsed     text -> plain JSON, where a name that is there twice or a NaN is a fault and not a choice

CTVolume, SlideTiles, LabelVolume and Heatmap travel as frames instead: see codec.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Callable, TypeVar, Union

import numpy as np

from .board_note import BoardNote
from .errors import InvalidInput
from .fusion_result import FusionResult, LeftOut
from .provenance import Provenance
from .results import Nodule, PathologyResult, RadiologyResult
from .values import Abstention, ClinicalFields

Value = TypeVar("Value")

# Fields that a result got after version 0.1; left out while they are empty, so that older readers are not disturbed.
_LATER = (
    "tile_quality", "other_classes", "other_probabilities", "field_contributions", "leave_one_out", "class_weights",
    "reliability", "conformal_set", "conformal_coverage", "tile_reliability",
)  # fmt: skip


def to_json(value: Any) -> Any:
    """Plain JSON of a value of the contract."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: to_json(item) for name, item in items.items() if name not in _LATER or not _empty(item)}
    if isinstance(value, np.ndarray):
        plain = value.astype(object)
        if value.dtype.kind == "f":
            plain[np.isnan(value)] = None
        return plain.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _empty(item: Any) -> bool:
    return item is None or (isinstance(item, (tuple, Mapping)) and not item)


def parsed(text: Union[str, bytes]) -> Any:
    """Plain JSON of ``text``.

    Raises
    ------
    ValueError : not JSON, a name twice in one object (which of the two was meant?), NaN or Infinity, or too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name is there twice")
    return fields


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _optional(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda item: None if item is None else build(item)


def _several(build: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def built(items: Any) -> tuple[Any, ...]:
        # A string or an object can be iterated too, and would pass as a list.
        if not isinstance(items, (list, tuple)):
            raise TypeError("list expected")
        return tuple(build(item) for item in items)

    return built


def _text(item: Any) -> Any:
    if not isinstance(item, str):
        raise TypeError("text expected")
    return item


def _flag(item: Any) -> Any:
    if not isinstance(item, bool):
        raise TypeError("true or false expected")
    return item


def _number(item: Any) -> Any:
    if isinstance(item, bool) or not isinstance(item, (int, float)):
        raise TypeError("number expected")
    return item


def _whole(item: Any) -> Any:
    if isinstance(item, bool) or not isinstance(item, int):
        raise TypeError("whole number expected")
    return item


def _mapping(build: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def built(items: Any) -> dict[str, Any]:
        if not isinstance(items, Mapping):
            raise TypeError("object expected")
        return {_text(key): build(item) for key, item in items.items()}

    return built


def _of(kind: type[Any]) -> Callable[[Any], Any]:
    return lambda item: from_json(kind, item)


def origins(rows: Any) -> Any:
    """int64 (n, 2) of a list of (x, y); TypeError or ValueError for text and for fractions, which would be cut off."""
    table = np.array(rows) if len(rows) else np.zeros((0, 2), np.int64)
    whole = table.dtype.kind == "i" and table.shape == (len(rows), 2)
    if not whole or not {type(number) for row in rows for number in row} <= {int}:  # numpy reads true as 1
        raise TypeError("whole numbers expected")
    return table.astype(np.int64)


def qualities(row: Any) -> Any:
    """float32 (n,) of a list of numbers; TypeError for anything else."""
    if not isinstance(row, list) or not {type(number) for number in row} <= {int, float}:  # numpy reads true as 1
        raise TypeError("numbers expected")
    return np.array(row, dtype=np.float32)


def _tile_probabilities(rows: Any) -> Any:
    # null -> NaN; numpy does that for None by itself, but it would read text as a number as well.
    table = np.array(rows, dtype=object) if len(rows) else np.zeros((0, 5), object)
    if table.ndim != 2 or not {type(item) for item in table.flat} <= {int, float, type(None)}:
        raise TypeError("numbers expected")
    return table.astype(np.float32)


_COMMON: dict[str, Callable[[Any], Any]] = {
    "provenance": _several(_of(Provenance)),
    "notes": _several(_text),
    "abstention": _optional(_of(Abstention)),
    "probabilities": _mapping(_optional(_number)),
}
_BUILD: dict[type[Any], dict[str, Callable[[Any], Any]]] = {
    ClinicalFields: {},
    BoardNote: dict.fromkeys(("text", "decision", "author", "created", "about"), _text),
    Abstention: {"reason": _text, "what_would_help": _text},
    Provenance: {
        "model_id": _text,
        "weights_sha256": _text,
        "code_version": _text,
        "calibrated": _flag,
        "device": _text,
        "coverage": _several(_text),
    },
    Nodule: {
        "label": _whole,
        "centre_lps_mm": _several(_number),
        **dict.fromkeys(("long_axis_mm", "short_axis_mm", "volume_mm3", "mean_hu"), _number),
        "malignancy": _optional(_number),
        "subtype": _mapping(_optional(_number)),
        "found_by": _text,
        "side": _optional(_text),
    },
    RadiologyResult: {
        **_COMMON,
        "series_uid": _text,
        "nodules": _several(_of(Nodule)),
        "malignancy": _optional(_number),
        "reliability": _optional(_number),
    },
    PathologyResult: {
        **_COMMON,
        "slide_id": _text,
        "mpp": _number,
        "tile_px": _several(_number),
        "origin_px": origins,
        "tile_probabilities": _tile_probabilities,
        "tile_quality": _optional(qualities),
        "other_classes": _several(_text),
        "other_probabilities": _optional(_tile_probabilities),
        "tile_reliability": _optional(qualities),
        "reliability": _optional(_number),
    },
    FusionResult: {
        **_COMMON,
        "not_assessed_mass": _number,
        "prior": _mapping(_number),
        "weights": _mapping(_number),
        "contributions": _mapping(_mapping(_number)),
        "missing": _several(_text),
        "agreement": _text,
        "field_contributions": _mapping(_mapping(_number)),
        "leave_one_out": _mapping(_of(LeftOut)),
        "class_weights": _mapping(_mapping(_number)),
        "reliability": _mapping(_number),
        "conformal_set": _several(_text),
        "conformal_coverage": _optional(_number),
    },
    LeftOut: {**_COMMON, "not_assessed_mass": _number},
}


def from_json(kind: type[Value], body: object) -> Value:
    """A value of ``kind`` from its JSON object.

    Raises
    ------
    InvalidInput : not an object, an unknown or missing field, or a value out of range.
    """
    if not isinstance(body, dict):
        raise InvalidInput("The data is not an object.", "Check the versions of both sides.")
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(body) - names)
    if unknown:
        raise InvalidInput(
            f"Unknown field: {', '.join(map(repr, unknown[:5]))[:200]}.", f"Known are: {', '.join(sorted(names))}."
        )
    build = _BUILD[kind]
    try:
        return kind(**{name: build[name](item) if name in build else item for name, item in body.items()})
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError, RecursionError) as fault:
        raise InvalidInput("A field is missing or has the wrong type.", "Check the versions of both sides.") from fault
