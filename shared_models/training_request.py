"""What `lungxai train` was asked for, and the recipe that this makes of a task's own.

TrainRequest      task, folders, seed, how it is run; with_recipe() puts the user's settings into a task's recipe
chosen()          a recipe (frozen dataclass) with some fields given as text

A recipe is a frozen dataclass of plain values: everything that changes what is learned. What only changes how it is
computed (processes, device, threads) is not in it, but is recorded beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, TypeVar

from .contract.errors import InvalidInput
from .model_bundle import MODELS_ROOT

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # ours: accelerate's
DEVICES = ("auto", "cpu", "cuda")
R = TypeVar("R")


@dataclass(frozen=True)
class TrainRequest:
    """One training, as it was asked for.

    Parameters
    ----------
    task : of train.TASKS
    data : folder of the data sets
    out : folder of the run: last.pt, best.pt, result.json, curves.png
    models : folder of the models that a task builds on
    epochs, patience, precision, processes : None is what the task's recipe says
    checkpoint_minutes : at most so long is lost where the machine fails
    loaders : processes that draw batches ahead; 0 draws them in the training's own process
    limit : take only so many cases of each split: a trial, not a model
    settings : fields of the recipe, as text
    command : recorded, so that the run can be repeated
    resume, restart : go on with what ``out`` holds, or throw it away; neither refuses a folder that holds a run
    """

    task: str
    data: Path
    out: Path
    models: Path = MODELS_ROOT
    seed: int = 1
    epochs: Optional[int] = None
    patience: Optional[int] = None
    precision: Optional[str] = None
    device: str = "auto"
    processes: Optional[int] = None
    threads: Optional[int] = None
    checkpoint_minutes: float = 10.0
    loaders: int = 0
    limit: Optional[int] = None
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    resume: bool = False
    restart: bool = False

    def with_recipe(self, recipe: R) -> R:
        """``recipe`` with this request's settings, and its epochs and patience where it has such fields.

        Raises
        ------
        InvalidInput : a setting that the recipe does not have, or a value that does not fit.
        """
        given = dict(self.settings)
        for name in ("epochs", "patience"):
            value = getattr(self, name)
            if value is not None and hasattr(recipe, name):
                given[name] = str(value)
        return chosen(recipe, given)


def chosen(recipe: R, given: Mapping[str, str]) -> R:
    """``recipe`` with the fields of ``given``, read as what they are by default.

    Raises
    ------
    InvalidInput : no such field, or not a value of its kind.
    """
    fields = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for name, text in given.items():
        if name not in fields:
            known = ", ".join(f"{key}={_text(value)}" for key, value in fields.items())
            raise InvalidInput(f"The recipe has no setting {name!r:.60}.", f"It has: {known}.")
        try:
            changes[name] = _parsed(text, fields[name])
        except ValueError:
            kind = type(fields[name]).__name__
            raise InvalidInput(
                f"{name}={text!r:.60} is not of the kind {kind}.", f"By default it is {name}={_text(fields[name])}."
            ) from None
    try:
        return dataclasses.replace(recipe, **changes)  # type: ignore[type-var]
    except ValueError as fault:
        raise InvalidInput(f"These settings do not go together: {fault}.", "See the recipe with --show.") from None


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _parsed(text: str, like: Any) -> Any:
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if isinstance(like, int):
        return int(text)
    if isinstance(like, float):
        value = float(text)
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError
        return value
    if isinstance(like, tuple):
        parts = [part for part in text.split(",") if part]
        return tuple(_parsed(part, like[0]) for part in parts) if like else tuple(parts)
    return text
