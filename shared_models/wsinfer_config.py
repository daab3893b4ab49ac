"""The configuration of a WSInfer model: config.json of the zoo, checked field by field.

WSInferConfig       what it says: classes, field, scale, preparation of the pixels
read_config()       of a file
parsed()            of the object that the JSON holds

Schema: model-config.schema.json of github.com/SBU-BMI/wsinfer-zoo, spec 1.0, as QuPath's WSInfer extension reads it.
Departs from it in: bounds that the server has too; ``apply_softmax`` is QuPath's; fields that change what a model has
to be given (objects instead of tiles, stain normalisation) are refused: to leave them out would be wrong in silence.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contract.errors import InputTooLarge, InvalidInput
from .wsinfer_transform import Preparation

SPEC = "1.0"
REMEDY = "Correct the configuration; the WSInfer zoo (github.com/SBU-BMI/wsinfer-zoo) holds its schema and examples."
_MAX_BYTES = 1 << 20
_MOST_CLASSES, _LONGEST_NAME = 64, 80  # of the contract, and so of every result
_PATCH_PX, _SPACING_UM = (16, 1024), (0.05, 10.0)
_CHANGES_INPUT = ("object_based", "object_detection", "stain_normalization", "halo_size_pixels")
_KNOWN = frozenset({
    "spec_version", "architecture", "num_classes", "class_names", "patch_size_pixels", "spacing_um_px", "transform",
    "apply_softmax", *_CHANGES_INPUT,
})  # fmt: skip


@dataclass(frozen=True)
class WSInferConfig:
    """What a configuration says; made by parsed().

    Parameters
    ----------
    architecture : as the author calls it; nothing follows from it
    class_names : of the outputs, in their order
    patch_px : side of the square tile, pixels
    spacing_um_px : micrometres per pixel of the tile
    preparation : from the tile's pixels to the network's input
    apply_softmax : whether the outputs are scores yet; False where they are probabilities already
    unused : names of fields that nothing is made of
    """

    architecture: str
    class_names: tuple[str, ...]
    patch_px: int
    spacing_um_px: float
    preparation: Preparation
    apply_softmax: bool = True
    unused: tuple[str, ...] = ()


def fault(field: str, why: str) -> InvalidInput:
    """The error of a field."""
    return InvalidInput(f"The model's configuration: {field} {why}.", REMEDY)


def read_config(path: Path) -> tuple[WSInferConfig, dict[str, Any]]:
    """A configuration and the JSON object it was made of.

    Raises
    ------
    InvalidInput : the file cannot be read, is not JSON, or a field is missing or wrong; the message names it.
    InputTooLarge : it is no configuration by its size alone.
    """
    try:
        if not path.is_file():
            raise InvalidInput(f"There is no configuration {path.name} beside the model.", "Name it with --config.")
        if path.stat().st_size > _MAX_BYTES:
            raise InputTooLarge(f"{path.name} is too large for a configuration.", REMEDY)
        body = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as error:
        raise InvalidInput(f"{path.name} cannot be read.", "Check the file and its rights.") from error
    except (ValueError, RecursionError) as error:
        why = f": it holds {error}, which is no number" if str(error) in ("NaN", "Infinity", "-Infinity") else ""
        raise InvalidInput(f"{path.name} is not valid JSON{why}.", REMEDY) from error
    return parsed(body), body


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's


def parsed(body: Any) -> WSInferConfig:
    """A configuration out of its JSON object.

    Raises
    ------
    InvalidInput : a field is missing or wrong; the message names it.
    """
    if not isinstance(body, dict):
        raise InvalidInput("The model's configuration is not a JSON object.", REMEDY)
    for name in ("spec_version", "architecture", "num_classes", "class_names", "patch_size_pixels", "spacing_um_px",
                 "transform"):  # fmt: skip
        if name not in body:
            raise fault(name, "is missing")
    if body["spec_version"] != SPEC:
        raise fault("spec_version", f"must be {SPEC!r}, not {body['spec_version']!r:.40}")
    architecture = body["architecture"]
    if not isinstance(architecture, str) or not 1 <= len(architecture) <= 200 or not architecture.isprintable():
        raise fault("architecture", "must be a short text")
    softmax = body.get("apply_softmax", True)
    if not isinstance(softmax, bool):
        raise fault("apply_softmax", "must be true or false")
    for name in _CHANGES_INPUT:
        if body.get(name):
            raise InvalidInput(
                f"The model's configuration: it asks for {name}, which is not made here.", "Use another model."
            )
    side = _whole("patch_size_pixels", body["patch_size_pixels"], *_PATCH_PX)
    return WSInferConfig(
        architecture=architecture,
        class_names=_names(body["class_names"], _whole("num_classes", body["num_classes"], 1, _MOST_CLASSES)),
        patch_px=side,
        spacing_um_px=_spacing(body["spacing_um_px"]),
        preparation=Preparation.parsed(body["transform"], side),
        apply_softmax=softmax,
        unused=tuple(sorted(f"{name:.60}" for name in set(body) - _KNOWN)),
    )


def _whole(field: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int:
        raise fault(field, "must be a whole number")
    if not least <= value <= most:
        raise fault(field, f"must be from {least} to {most}")
    return int(value)


def _spacing(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e300 or not math.isfinite(value):
        raise fault("spacing_um_px", "must be a number")
    if not _SPACING_UM[0] <= value <= _SPACING_UM[1]:
        raise fault("spacing_um_px", f"must be from {_SPACING_UM[0]} to {_SPACING_UM[1]} micrometres per pixel")
    return float(value)


def _names(value: Any, count: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise fault("class_names", "must be a list of texts")
    if len(value) != count:
        raise fault("class_names", f"has {len(value)} names, and num_classes is {count}")
    if len(set(value)) != count:
        raise fault("class_names", "names a class twice")
    if not all(1 <= len(n) <= _LONGEST_NAME and n.isprintable() and n == n.strip() for n in value):
        raise fault("class_names", f"must be names of 1 to {_LONGEST_NAME} printable characters")
    return tuple(value)
