"""``lungxai train``: one command and one loop for every model that this suite trains.

TASKS        name -> module with trained(request: TrainRequest) -> None and a frozen dataclass Recipe of its settings
run()        one training, in as many processes as it takes
command_of() the command that repeats it
as_before()  run() for `python -m shared_models.train_X`, the earlier names

A module of TASKS may say PROCESSES_ON_CPU, and WITHOUT_EPOCHS = True where nothing is trained step by step.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from .contract.errors import InvalidInput, LungXAIError, ModelUnavailable
from .model_bundle import MODELS_ROOT
from .training_folder import other_task
from .training_request import DEVICES, PRECISIONS, TrainRequest

TASKS = {
    "he_tiles": "train_slide",
    "ct_nodule": "train_ct",
    "ct_refine": "train_refine",
    "ct_malignancy": "train_malignancy",
    "clinical": "train_clinical",
    "fusion": "fusion_training",
}
# The same task by a program of others: its own name in records, so that the two are not mixed up.
BACKENDS = {"nnunet": {"ct_nodule": ("ct_nodule_nnunet", "nnunet_run")}}
_MODULES = {**TASKS, **{name: module for tasks in BACKENDS.values() for name, module in tasks.values()}}
_EXAMPLES = """\
examples:
  lungxai train he_tiles --data ../shared/data --out out/slide
  lungxai train he_tiles --data ../shared/data --out out/slide --resume        after Ctrl-C, a crash, a reboot
  lungxai train ct_malignancy --data ../shared/data --out out/malignancy --set outlines=reader --set folds=2
  lungxai train ct_nodule --show                                               the settings of its recipe
  lungxai train ct_nodule --data ../shared/data --out out/ct --processes 4     four GPUs, or processes on a CPU
  lungxai train ct_nodule --data ../shared/data --out out/ct --loaders 8       eight CPU cores draw for one GPU
  torchrun --nnodes 2 --nproc-per-node 4 -m shared_models.command_line train ...            several machines
  lungxai train clinical --data ../shared/data --out out/clinical
  lungxai train ct_nodule --backend nnunet --data ../shared/data --out out/nnunet           nnU-Net v2, if installed

OUT holds last.pt (to go on from), best.pt (weights of the best epoch on the validation split), result.json (commit,
command, seed, settings, every epoch) and curves.png. Ctrl-C stops after the current step and keeps a checkpoint. The
test split is never looked at. `python -m shared_models.package_...` makes a model of what OUT holds.
Research use only, not a diagnosis.
"""


def register(subparsers: Any) -> None:
    """Add ``train`` to the command line."""
    parser = subparsers.add_parser(
        "train", help="train a model", description="Train one of the models on your data.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("task", choices=list(TASKS), help="what to train")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data sets")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    again.add_argument("--restart", action="store_true", help="throw the run in DIR away")
    parser.add_argument("--epochs", type=int, metavar="N", help="at most so many (default: the recipe's)")
    parser.add_argument("--patience", type=int, metavar="N", help="end after N epochs without a better score")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default 1")
    parser.add_argument("--backend", choices=list(BACKENDS), help="of ct_nodule: nnU-Net v2 (extra [nnunet])")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE",
                        help="a setting of the recipe; may be repeated; --show lists them")  # fmt: skip
    parser.add_argument("--show", action="store_true", help="print the recipe's settings, and train nothing")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR", help="models that a task builds on")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default auto: a GPU where there is one")
    parser.add_argument("--precision", choices=list(PRECISIONS), help="of the forward pass (default: the recipe's)")
    parser.add_argument("--processes", type=int, metavar="N", help="side by side, one for each GPU")
    parser.add_argument("--threads", type=int, metavar="N", help="of each process on a CPU")
    parser.add_argument("--loaders", type=int, default=0, metavar="N", help="processes that draw batches ahead, for a "
                        "fast GPU (default 0: none)")  # fmt: skip
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0, metavar="M", help="default 10")
    parser.add_argument("--limit", type=int, metavar="N", help="so many cases of each split: a trial, not a model")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    settings, task = {}, given.task
    if given.backend:
        if task not in BACKENDS[given.backend]:
            raise InvalidInput(f"{given.backend} does not train {task}.", "Leave out --backend.")
        task = BACKENDS[given.backend][task][0]
    for text in given.settings:
        name, sign, value = text.partition("=")
        if not sign:
            raise InvalidInput(f"--set {text!r:.60} is not NAME=VALUE.", "Write it as --set rate=0.001.")
        settings[name.strip()] = value.strip()
    if given.show:
        print(json.dumps(dataclasses.asdict(shown(task, settings)), indent=1))
        return 0
    if given.data is None or given.out is None:
        raise InvalidInput("A training needs data and a folder of its own.", "Give --data ROOT and --out DIR.")
    least_of = {"epochs": 1, "patience": 1, "processes": 1, "threads": 1, "limit": 1, "seed": 0, "loaders": 0}
    for name, least in least_of.items():
        value = getattr(given, name)
        if value is not None and value < least:
            raise InvalidInput(f"--{name} {value} is too small.", f"Give {least} or more.")
    run(TrainRequest(
        task, given.data, given.out, given.models, given.seed, given.epochs, given.patience, given.precision,
        given.device, given.processes, given.threads, given.checkpoint_minutes, given.loaders, given.limit, settings,
        resume=given.resume, restart=given.restart,
    ))  # fmt: skip
    print("Research use only, not a diagnosis.")
    return 0


def command_of(request: TrainRequest) -> str:
    """The command that repeats a training from its beginning."""
    words = ["lungxai", "train", *_words(request.task), "--data", str(request.data), "--out", str(request.out)]
    if request.models != MODELS_ROOT:
        words += ["--models", str(request.models)]
    words += ["--seed", str(request.seed)]
    for name in ("epochs", "patience", "precision", "processes", "threads", "limit", "loaders"):
        value = getattr(request, name) or None
        words += [f"--{name}", str(value)] if value is not None else []
    words += ["--device", request.device] if request.device != "auto" else []
    for name, value in request.settings.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def _words(task: str) -> list[str]:
    for backend, tasks in BACKENDS.items():
        for name, (own, _) in tasks.items():
            if own == task:
                return [name, "--backend", backend]
    return [task]


def _module(task: str) -> Any:
    try:
        return importlib.import_module(f".{_MODULES[task]}", __package__)
    except ImportError as fault:
        raise ModelUnavailable(
            f"{fault.name} is not installed, which training needs.", "pip install 'lungxai[train]'"
        ) from fault


def shown(task: str, settings: dict[str, str]) -> Any:
    """The task's recipe with some settings of the user's."""
    return TrainRequest(task, Path(), Path(), settings=settings).with_recipe(_module(task).Recipe())


def _work(request: TrainRequest) -> None:
    _module(request.task).trained(request)


def run(request: TrainRequest) -> None:
    """Train, in new processes where several are wanted.

    Raises
    ------
    InvalidInput : no data, or the folder holds another task's run. Besides, what the task and training_loop raise.
    KeyboardInterrupt : it was asked to stop, and what it had is kept.
    """
    if not request.data.is_dir():
        raise InvalidInput(f"There is no folder {request.data}.", "Give the folder of the data sets with --data.")
    other = other_task(request.out, request.task)
    if other:
        raise InvalidInput(f"{request.out} holds a run of {other}, not of {request.task}.", "Choose another --out.")
    module = _module(request.task)
    request.with_recipe(module.Recipe())  # what is wrong with the settings is said before the data are read
    request = dataclasses.replace(request, command=request.command or command_of(request))
    count = 1 if getattr(module, "WITHOUT_EPOCHS", False) else _processes(request, module)
    if count == 1:
        _work(request)
        return
    from .training_processes import in_processes

    in_processes(count, _work, request)


def _processes(request: TrainRequest, module: Any) -> int:
    import torch

    from .training_processes import launched

    if launched():  # by torchrun or accelerate: this process is one of theirs
        return 1
    on_gpu = request.device != "cpu" and torch.cuda.is_available()
    count = request.processes or (1 if on_gpu else getattr(module, "PROCESSES_ON_CPU", 1))
    if on_gpu and count > torch.cuda.device_count():
        raise InvalidInput(f"There are {torch.cuda.device_count()} GPUs here, not {count}.", "Give fewer --processes.")
    return int(count)


def as_before(request: TrainRequest) -> int:
    """Train as the earlier scripts did; the exit code."""
    try:
        run(request)
    except LungXAIError as fault:
        print(f"{fault.message}\n{fault.remedy}".rstrip(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
