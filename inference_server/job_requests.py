"""What the body of a request may say, checked before anything is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared_models.contract import routes
from shared_models.contract.board_note import BoardNote
from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.contract.jsonforms import from_json
from shared_models.contract.results import CT_TARGETS, METHODS, MODALITIES
from shared_models.contract.values import CLASSES

_REMEDY = "Check the client's version."


def _fields(body: dict[str, Any], *known: str) -> None:
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise InvalidInput(f"Unknown field: {unknown[0]!r:.80}.", f"Known are: {', '.join(known)}.")


def _number(value: Any) -> bool:
    """A finite number. What JSON writes out to more digits than a float has room for is none."""
    return type(value) in (int, float) and abs(value) < 1e300


def _explain(body: dict[str, Any]) -> list[str]:
    methods = body.get("explain", [])
    if not isinstance(methods, list) or not all(method in METHODS for method in methods):
        raise InvalidInput("There is no such way of explaining.", f"Methods are {', '.join(METHODS)}.")
    return list(dict.fromkeys(methods))


def _class_name(body: dict[str, Any], name: str) -> dict[str, str]:
    """A class that heatmaps explain; whether a model knows it is the model's to say."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, str) or not 1 <= len(value) <= 80 or not value.isprintable():
        raise InvalidInput(f"The {name} of a heatmap is not a class.", f"Classes are {', '.join(CLASSES)}.")
    return {name: value}


def _point(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 3 or not all(_number(x) and abs(x) < 1e5 for x in value):
        raise InvalidInput("A point needs three numbers in mm.", "Set the point or box again.")
    return [float(x) for x in value]


def _several(body: dict[str, Any], name: str, most: int) -> list[Any]:
    items = body.get(name, [])
    if not isinstance(items, list):
        raise InvalidInput(f"{name} is not a list.", _REMEDY)
    if len(items) > most:
        raise InputTooLarge(f"At most {most} points or boxes can be given at once.", "Give fewer.")
    return items


def radiology(body: dict[str, Any], max_points: int) -> dict[str, Any]:
    """The request of a radiology job.

    Raises
    ------
    InvalidInput, InputTooLarge : unknown or malformed fields, or too many points.
    """
    _fields(body, "volume", "points_lps_mm", "boxes_lps_mm", "explain", "corrected", "search", "target")
    volume = body.get("volume")
    if not isinstance(volume, str):
        raise InvalidInput("The request names no CT.", _REMEDY)
    routes.volume(volume)
    corrected, search = body.get("corrected", False), body.get("search", True)
    if not isinstance(corrected, bool) or not isinstance(search, bool):
        raise InvalidInput("corrected or search is not true or false.", _REMEDY)
    if not (search or corrected or body.get("points_lps_mm") or body.get("boxes_lps_mm")):
        raise InvalidInput("Nothing was pointed at, and nothing is to be searched.", "Set a point or a box.")
    target = body.get("target")
    if target is not None and target not in CT_TARGETS:
        raise InvalidInput("A heatmap of a CT cannot explain this.", f"Choose one of {', '.join(CT_TARGETS)}.")
    boxes = []
    for box in _several(body, "boxes_lps_mm", max_points):
        if not isinstance(box, list) or len(box) != 2:
            raise InvalidInput("A box needs its lower and its upper corner.", "Set the box again.")
        lower, upper = _point(box[0]), _point(box[1])
        if any(a >= b for a, b in zip(lower, upper)):
            raise InvalidInput("A box's upper corner must lie beyond its lower one.", "Set the box again.")
        boxes.append([lower, upper])
    return {
        "volume": volume,
        "points_lps_mm": [_point(p) for p in _several(body, "points_lps_mm", max_points)],
        "boxes_lps_mm": boxes,
        "explain": _explain(body),
        "corrected": corrected,
        "search": search,
        **({} if target is None else {"target": target}),
    }


def pathology(body: dict[str, Any]) -> dict[str, Any]:
    """The request of a pathology job; ``tile_px`` (width, height in level-0 pixels) may be left out."""
    _fields(body, "slide_id", "explain", "tile_px", "target", "contrast")
    request: dict[str, Any] = {"slide_id": slide_id(body.get("slide_id")), "explain": _explain(body)}
    request |= _class_name(body, "target") | _class_name(body, "contrast")
    size = body.get("tile_px")
    if size is not None:
        if not isinstance(size, list) or len(size) != 2 or not all(_number(n) for n in size):
            raise InvalidInput("tile_px needs a width and a height.", _REMEDY)
        if not all(1 <= n <= 1e5 for n in size):
            raise InvalidInput("tile_px is not a size.", _REMEDY)
        request["tile_px"] = [float(n) for n in size]
    return request


def slide_id(value: Any) -> str:
    """A slide's name: short and printable; it is never part of a path."""
    if not isinstance(value, str) or not 1 <= len(value) <= 128 or not value.isprintable():
        raise InvalidInput("A slide's name has 1 to 128 printable characters.", "Choose another name.")
    return value


def weights(body: dict[str, Any]) -> Any:
    """The weights of a fusion; None where they are left out."""
    _fields(body, "weights")
    chosen = body.get("weights")
    if chosen is None:
        return None
    valid = isinstance(chosen, dict) and all(
        name in MODALITIES and _number(w) and 0 <= w <= 100 for name, w in chosen.items()
    )
    if not valid:
        raise InvalidInput("A weight is not valid.", f"Give numbers from 0 to 100 for {', '.join(MODALITIES)}.")
    return {name: float(w) for name, w in chosen.items()}


def new_case(body: dict[str, Any]) -> tuple[Any, bool]:
    """(case id or None, synthetic)."""
    _fields(body, "case_id", "synthetic")
    case_id, synthetic = body.get("case_id"), body.get("synthetic", False)
    if not (case_id is None or isinstance(case_id, str)) or not isinstance(synthetic, bool):
        raise InvalidInput("The request for a case is not valid.", _REMEDY)
    if case_id is not None:
        routes.case(case_id)
    return case_id, synthetic


def note(body: dict[str, Any]) -> BoardNote:
    """A note of the board; its time and what it is about are the server's to say."""
    _fields(body, "text", "decision", "author")
    return from_json(BoardNote, body)


def report(query: Mapping[str, str]) -> tuple[str, str]:
    """(format, paper) of a report."""
    form, paper = query.get("format", "html"), query.get("paper", "a4")
    routes.report("checked", form, paper)
    return form, paper
