"""Results and clinical fields <-> JSON objects, by their dataclass fields.

to_json    value -> dict of plain JSON; arrays become lists, NaN ("not assessed") becomes null
from_json  dict -> value; every fault of the sender is InvalidInput, an unknown field too

CTVolume, SlideTiles, LabelVolume and Heatmap travel as frames instead: see codec.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Callable, TypeVar

import numpy as np

from .errors import InvalidInput
from .provenance import Provenance
from .results import FusionResult, Nodule, PathologyResult, RadiologyResult
from .values import Abstention, ClinicalFields

Value = TypeVar("Value")


def to_json(value: Any) -> Any:
    """Plain JSON of a value of the contract."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
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


def _optional(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda item: None if item is None else build(item)


def _several(build: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda items: tuple(build(item) for item in items)


def _of(kind: type[Any]) -> Callable[[Any], Any]:
    return lambda item: from_json(kind, item)


def _origins(rows: Any) -> Any:
    return np.array(rows, dtype=np.int64).reshape(len(rows), 2)


def _tile_probabilities(rows: Any) -> Any:
    # null -> NaN; numpy does that for None by itself.
    return np.array(rows, dtype=np.float32).reshape(len(rows), -1 if len(rows) else 5)


_COMMON: dict[str, Callable[[Any], Any]] = {
    "provenance": _several(_of(Provenance)),
    "notes": tuple,
    "abstention": _optional(_of(Abstention)),
}
_BUILD: dict[type[Any], dict[str, Callable[[Any], Any]]] = {
    ClinicalFields: {},
    Abstention: {},
    Provenance: {"coverage": tuple},
    Nodule: {"centre_lps_mm": tuple, "subtype": dict},
    RadiologyResult: {**_COMMON, "nodules": _several(_of(Nodule)), "probabilities": dict},
    PathologyResult: {
        **_COMMON,
        "tile_px": tuple,
        "origin_px": _origins,
        "tile_probabilities": _tile_probabilities,
        "probabilities": dict,
    },
    FusionResult: {
        "provenance": _several(_of(Provenance)),
        "abstention": _optional(_of(Abstention)),
        "missing": tuple,
        "probabilities": dict,
    },
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
