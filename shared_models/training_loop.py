"""The one training loop: any TrainingTask, on a CPU, a GPU or several, through Hugging Face accelerate.

train()   trains into a folder, or goes on there; returns the record that result.json holds

OUT/last.pt       everything needed to go on: weights, their moving average, optimiser, the random state of each process
OUT/best.pt       the averaged weights of the best epoch
OUT/result.json   task, commit, command, seed, recipe, data, every epoch; written after every epoch
OUT/curves.png    the same as curves

A checkpoint is written after every epoch, every few minutes, and at Ctrl-C; each is whole or not at all. A run that was
killed goes on from the last one and, with as many processes and threads on a CPU, takes bit for bit the steps that it
would have taken. On GPUs torch's own convolutions may differ in the last bits from run to run.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import nn

from .contract.errors import InvalidInput, ServerError
from .training_average import WeightAverage
from .training_curves import curves
from .training_device import accelerator_for, average_processes
from .training_folder import BEST, CHECKPOINT, CURVES, RunFolder, written
from .training_loaders import Ahead
from .training_processes import Interruption
from .training_progress import Progress
from .training_record import new_record
from .training_request import TrainRequest
from .training_task import TrainingTask

# What may differ when a run is gone on with: it says how long, not what is learned at a step.
_FREE = ("epochs", "patience", "threads")
_TOGETHER = 10  # steps between two questions to all processes whether one was asked to stop


def train(task: TrainingTask, request: TrainRequest, out: Optional[Path] = None) -> Any:
    """Train ``task`` into ``out`` (by default request.out), with lines of progress on stdout; the record.

    Raises
    ------
    InvalidInput : ``out`` holds another run, or one that these settings do not go on with.
    ModelUnavailable : accelerate is not installed, or the device is not there.
    ServerError : the loss is not a number any more, or the disk is full.
    KeyboardInterrupt : it was asked to stop; the checkpoint is written.
    """
    accelerator = accelerator_for(request, request.precision or task.precision)
    folder = RunFolder(out or request.out)
    alone = folder.locked() if accelerator.is_main_process else contextlib.nullcontext()
    with alone, Interruption(quiet=not accelerator.is_main_process) as interruption:
        if accelerator.is_main_process:
            folder.check_free(task.name, request.resume, request.restart)
            if request.restart:
                folder.clear()
        accelerator.wait_for_everyone()
        run = _Run(task, request, folder, accelerator, interruption)
        return run.finished() if run.over() else run.all_epochs()


class _Run:
    """The state of one training; what _checkpoint() writes is all of it."""

    def __init__(
        self, task: TrainingTask, request: TrainRequest, folder: RunFolder, accelerator: Any,
        interruption: Interruption,
    ) -> None:  # fmt: skip
        self.task, self.request, self.folder = task, request, folder
        self.accelerator, self.interruption = accelerator, interruption
        self.main: bool = accelerator.is_main_process
        self.apart = accelerator.num_processes > 1 and task.together is not None
        torch.manual_seed(request.seed)
        self.random = task.random(request.seed, accelerator.process_index, accelerator.num_processes)
        self.raw = task.network().to(accelerator.device)
        task.training(self.raw)
        self.average = WeightAverage(self.raw)
        optimiser = task.optimiser(self.raw)
        self.base_rates = [group["lr"] for group in optimiser.param_groups]
        # evaluation_mode: accelerate wraps for precision, but not to share gradients.
        self.network: nn.Module = accelerator.prepare_model(self.raw, evaluation_mode=self.apart)
        self.optimiser: Any = accelerator.prepare_optimizer(optimiser)
        self.learned = [p for p in self.raw.parameters() if p.requires_grad]
        self.steps = len(self._planned(0, np.random.default_rng(0)))
        if not self.steps:
            raise InvalidInput("There is less data than one batch.", "Give more data, or a smaller batch with --set.")
        self.epoch, self.step, self.losses = 0, 0, list[float]()
        self.began = self._random_state()
        self.record = self._new_record()
        self.progress = Progress(task.epochs, self.steps, folder.path.name, sys.stdout if self.main else None)
        if request.resume and (folder.path / CHECKPOINT).is_file():
            self._go_on(folder.last())
        self.seconds = 60.0 * float(self.record["minutes"])  # of earlier sessions
        self.start = self.saved = self.drawn = time.monotonic()

    def _new_record(self) -> dict[str, Any]:
        task, request = self.task, self.request
        settings = {
            **task.settings, "epochs": task.epochs, "patience": task.patience,
            "precision": request.precision or task.precision, "processes": self.accelerator.num_processes,
            "threads": torch.get_num_threads(), "limit": request.limit,
            "drawn": "ahead, a generator for each step" if request.loaders else "at each step, from one generator",
        }  # fmt: skip
        where = {"device": str(self.accelerator.device), "torch": str(torch.__version__), "chosen_by": task.scored_by}
        return {**new_record(request, settings, task.told()), "task": task.name, **where}

    def _go_on(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint."""
        before: dict[str, Any] = json.loads(state["record"])
        for name, mine in self.record["settings"].items():
            theirs = before["settings"].get(name)
            if theirs != mine and name not in _FREE:
                raise InvalidInput(f"The run in {self.folder.path} has {name} = {theirs}, not {mine}.",
                                   "Give the settings that it began with, or another --out.")  # fmt: skip
        for name in self.task.told():
            if before.get(name) != self.record[name]:
                raise InvalidInput(f"The data changed since the run in {self.folder.path} began: {name} was "
                                   f"{before.get(name)!s:.80}, now it is {self.record[name]!s:.80}.",
                                   "Use the data that it began with, or begin anew with --restart.")  # fmt: skip
        self.raw.load_state_dict(state["network"])
        self.average.module.load_state_dict(state["average"])
        rank = self.accelerator.process_index
        self.optimiser.load_state_dict(state["optimisers"][rank if self.apart else 0])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self.losses = state["epoch"], state["step"], list(state["losses"])
        self.began = state["began"][rank]
        self._set_random(state["random"][rank])
        again = {"epoch": self.epoch, "step": self.step, "commit": self.record["commit"]}
        changed = {"settings": self.record["settings"], "ended": ""}
        self.record = {**before, **changed, "resumed": [*before["resumed"], again]}
        self.progress.say(f"going on after {self.epoch} epochs and {self.step} steps")

    def _random_state(self) -> dict[str, Any]:
        cuda = self.accelerator.device.type == "cuda"
        return {
            "numpy": json.dumps(self.random.bit_generator.state), "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.accelerator.device) if cuda else None,
        }  # fmt: skip

    def _set_random(self, state: dict[str, Any]) -> None:
        self.random.bit_generator.state = json.loads(state["numpy"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.accelerator.device)

    def _checkpoint(self) -> None:
        from accelerate.utils import gather_object

        # Processes that go their own way between averages have moments of their own.
        own = self.optimiser.state_dict() if self.main or self.apart else None
        states = gather_object([{"began": self.began, "random": self._random_state(), "optimiser": own}])
        if self.main:
            scaler = self.accelerator.scaler
            self.record["minutes"] = round((self.seconds + time.monotonic() - self.start) / 60, 3)
            self.folder.checkpoint({
                "network": self.raw.state_dict(), "average": self.average.module.state_dict(),
                "optimisers": [s["optimiser"] for s in states], "scaler": scaler.state_dict() if scaler else {},
                "epoch": self.epoch, "step": self.step, "losses": list(self.losses), "record": json.dumps(self.record),
                "began": [s["began"] for s in states], "random": [s["random"] for s in states],
            })  # fmt: skip
            self.folder.record(self.record)
        self.saved = time.monotonic()

    def _planned(self, epoch: int, random: np.random.Generator) -> Any:
        """The batches of this process in an epoch; in several processes that share gradients, its part of them."""
        count = self.accelerator.num_processes
        if count == 1 or self.apart:
            return self.task.plan(epoch, random)
        whole = self.task.plan(epoch, np.random.default_rng([self.request.seed, epoch, count]))
        return whole[self.accelerator.process_index : len(whole) // count * count : count]

    def _one_step(self, batch: Any) -> None:
        done = self.epoch * self.steps + self.step
        for group, base in zip(self.optimiser.param_groups, self.base_rates):
            group["lr"] = self.task.rate(base, done, self.task.epochs * self.steps)
        loss = self.task.loss(self.network, batch, self.random, self.accelerator.device)
        value = loss.item()
        if not math.isfinite(value):
            raise ServerError(
                f"The loss is not a number any more, in epoch {self.epoch + 1} at step {self.step + 1}.",
                "The last checkpoint is from before. Begin anew with --restart and a lower rate (--set rate=...), or "
                "with --precision fp32; if it happens at once, look for broken values in the data.",
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.learned, self.task.clip)
        self.optimiser.step()
        self.step += 1
        if self.apart and ((done + 1) % (self.task.together or 1) == 0 or self.step == self.steps):
            average_processes(self.accelerator, self.raw)
        self.average.update(self.raw, self.task.share(done))
        self.losses.append(value)

    def _wanted(self) -> tuple[bool, bool]:
        """Whether to stop, and whether a checkpoint is due: of all processes together, so only now and then."""
        due = time.monotonic() - self.saved > 60 * self.request.checkpoint_minutes
        if self.accelerator.num_processes == 1:
            return self.interruption.asked, due
        if self.step % (self.task.together or _TOGETHER):
            return False, False
        flags = torch.tensor([self.interruption.asked, due], dtype=torch.float32, device=self.accelerator.device)
        stop, late = self.accelerator.reduce(flags, reduction="sum").tolist()
        return stop > 0, late > 0

    def over(self) -> bool:
        """Whether there is no further epoch to train."""
        patience, history = self.task.patience, self.record["history"]
        tired = patience is not None and bool(history) and self.epoch - self.record["best_epoch"] >= patience
        self.record["ended"] = f"early: nothing better in {patience} epochs" if tired else ""
        return tired or self.epoch >= self.task.epochs

    def all_epochs(self) -> dict[str, Any]:
        """Train to the end; the record."""
        while not self.over():
            self._epoch()
        return self.finished()

    def _epoch(self) -> None:
        task, request = self.task, self.request
        if self.step:  # in the middle: the same plan again, then the random state of now
            now = self._random_state()
            self._set_random(self.began)
            plan = self._planned(self.epoch, self.random)
            self._set_random(now)
        else:
            self.random = task.begun(self.epoch, request.seed, self.accelerator.process_index, self.random)
            self.began, self.losses = self._random_state(), []
            plan = self._planned(self.epoch, self.random)
        task.training(self.raw)
        with self._batches(plan) as batches:
            while self.step < self.steps:
                stop, late = self._wanted()
                if stop or late:
                    self._checkpoint()
                if stop:
                    self.progress.say(f"stopped in epoch {self.epoch + 1} after step {self.step}; go on with --resume")
                    raise KeyboardInterrupt
                begun = time.monotonic()
                self._one_step(next(batches))
                mean = float(np.mean(self.losses))
                self.progress.step(self.epoch, self.step, mean, time.monotonic() - begun)
        self._judged()

    def _batches(self, plan: Any) -> contextlib.AbstractContextManager[Iterator[Any]]:
        """The batches of the epoch's steps that are left; without loaders each is drawn when it is asked for."""
        if not self.request.loaders:
            left = plan[self.step :]
            return contextlib.nullcontext(self.task.batch(planned, self.random) for planned in left)
        seeds = (self.request.seed, self.epoch, self.accelerator.process_index)
        return Ahead(self.task, plan, self.step, seeds, self.request.loaders)

    def _judged(self) -> None:
        """Validate the averaged weights, keep them if they are the best, and write everything down."""
        from accelerate.utils import broadcast_object_list

        begun = time.monotonic()
        told: list[Any] = [self.task.validated(self.average.module) if self.main else None]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(told)
        figures: dict[str, float] = told[0]
        score = float(self.task.score({**figures, "epoch": self.epoch + 1}))
        loss, record = float(np.mean(self.losses)), self.record
        best = math.isfinite(score) and (record["best"] is None or score > record["best"])
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []
        if best:
            record.update(best=score, best_epoch=self.epoch)
        spent = round((self.seconds + time.monotonic() - self.start) / 60, 3)
        row = {"epoch": self.epoch, "step": self.epoch * self.steps, "loss": loss, **figures, "minutes": spent}
        record["history"].append(row)
        if best and self.main:
            # Before the checkpoint: a run that is killed between the two trains this epoch once more.
            self.folder.keep(BEST, _plain(self.task.kept(self.average.module)))
        self._checkpoint()
        self._draw()
        self.progress.validated(time.monotonic() - begun)
        self.progress.epoch(self.epoch - 1, loss, figures, best)

    def _draw(self, at_least: float = 30.0) -> None:
        """The curves, where the last picture is some seconds old."""
        if self.main and time.monotonic() - self.drawn >= at_least:
            written(self.folder.path / CURVES, curves(self.record))
            self.drawn = time.monotonic()

    def finished(self) -> dict[str, Any]:
        """The record, with what the task says of the best weights."""
        if not self.record["best_epoch"]:
            raise ServerError("No epoch gave a validation figure that is a number.",
                              "Look for broken values in the validation data.")  # fmt: skip
        if self.main:
            self.record.update(self.task.finished(self.folder.kept(BEST)))
            self.record["ended"] = self.record["ended"] or "all epochs"
            self.folder.record(self.record)
            self._draw(at_least=0)
            self.progress.say(f"done: {self.record['ended']}; best epoch {self.record['best_epoch']}, "
                              f"weights in {self.folder.path / BEST}")  # fmt: skip
        self.accelerator.wait_for_everyone()
        return self.record


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}
