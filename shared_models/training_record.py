"""What result.json says of a training, the same for every task.

new_record()      task, commit, command, seed, settings, counts of the data; epochs are added as they come
fit_once()        the training of a task without epochs, such as a regression: one fit, its files and its record
configuration()   what a model's folder keeps of the record, as configs/train.json
tried()           what a model's folder says, by hand, of what else was tried
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .code_version import git_commit
from .contract.errors import InvalidInput
from .training_folder import RECORD, RunFolder, written
from .training_request import TrainRequest


def new_record(request: TrainRequest, settings: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """A record without epochs.

    Parameters
    ----------
    settings : everything that changes what is learned
    told : counts of the data and the like, on the record's top level
    """
    plain: dict[str, Any] = json.loads(json.dumps({"settings": {**settings, "seed": request.seed}, **told}))
    return {
        "task": request.task, "commit": git_commit(), "command": request.command, "seed": request.seed, **plain,
        "history": [], "best": None, "best_epoch": 0, "minutes": 0.0, "ended": "", "resumed": [],
    }  # fmt: skip


def fit_once(
    request: TrainRequest, settings: Mapping[str, Any], told: Mapping[str, Any],
    fit: Callable[[], tuple[Mapping[str, bytes], Mapping[str, float]]],
) -> dict[str, Any]:  # fmt: skip
    """Run ``fit`` and write what it gives into request.out; the record.

    Parameters
    ----------
    fit : gives the files by name, and figures of the validation split

    Raises
    ------
    InvalidInput : the folder holds a finished run, and neither --resume (which leaves it) nor --restart was given.
    ServerError : the folder cannot be written.
    """
    folder = RunFolder(request.out)
    with folder.locked():
        if (folder.path / RECORD).is_file():
            if request.resume:
                print(f"{folder.path.name}: finished already", flush=True)
                held: dict[str, Any] = json.loads((folder.path / RECORD).read_bytes())
                return held
            if not request.restart:
                raise InvalidInput(f"{folder.path} holds a run of {request.task} already.",
                                   "Begin anew with --restart, or choose another --out.")  # fmt: skip
        begun = time.monotonic()
        record = new_record(request, settings, told)
        files, figures = fit()
        for name, content in files.items():
            written(folder.path / name, content)
        record.update(validation=dict(figures), minutes=round((time.monotonic() - begun) / 60, 3), ended="fitted")
        folder.record(record)
    shown = " ".join(f"{name} {value:.4f}" for name, value in figures.items())
    print(f"{folder.path.name}: fitted; {shown}; weights in {', '.join(files)}", flush=True)
    return record


def configuration(run: Mapping[str, Any], bundle: Path) -> None:
    """Write configs/train.json below the folder of a model: how it was trained, without the epochs.

    Parameters
    ----------
    run : of result.json; one from before there was one command has its command alone
    bundle : the model's folder
    """
    left_out = ("history", "resumed", "minutes", "device")
    kept = {name: value for name, value in run.items() if name not in left_out}
    if "history" in run:
        kept["epochs_trained"] = len(run["history"])
    (bundle / "configs").mkdir(parents=True, exist_ok=True)
    written(bundle / "configs" / "train.json", (json.dumps(kept, indent=1) + "\n").encode())


def tried(bundle: Path) -> str:
    """docs/tried.md of a model's folder: Markdown that is kept by hand and goes into its card; or ""."""
    page = bundle / "docs" / "tried.md"
    return page.read_text().strip() if page.is_file() else ""
