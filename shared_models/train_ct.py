"""The nodule network's training: `lungxai train ct_nodule --data ../shared/data --out out/ct --epochs 20`

Workers of one thread each draw their own samples; every few steps their weights are averaged (local SGD, Stich
2019, arXiv:1805.09767), which on two busy cores is faster than two threads that wait for each other. An epoch is
CHECK steps. What is kept is a moving average of the weights: the best by validation Dice. Same seed, same steps, same
weights.

`python -m shared_models.train_ct` is the same by its earlier name.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from . import ct_data
from .contract.errors import InvalidInput
from .contract.values import Array
from .ct_negatives import SEEDS, Structures, of_drawn_chests, of_far_lung
from .ct_network import FEATURES, inputs, load, network
from .ct_prompts import point_map
from .ct_sampling import MIXES, PATCH, Pool, Samples, drawn
from .model_bundle import sha256_of
from .training_loop import train
from .training_request import TrainRequest
from .training_task import TrainingTask

WORKERS = PROCESSES_ON_CPU = 2
BATCH = 16
SIDES = (48, 48, 64)  # of the crops, in turn: most nodules are small
VALIDATION_SIDE = 64
AVERAGE = 0.998  # of the weights, a step
_TOGETHER, CHECK = 10, 200  # steps between averages of the workers, and between validations


@dataclass(frozen=True)
class Recipe:
    """What is learned, and how.

    Parameters
    ----------
    epochs : of ``epoch_steps`` steps
    patience : epochs without a better score before it ends; 0 never does
    rate : highest learning rate
    average : how much of the averaged weights a step keeps
    mix : of MIXES: which samples are drawn how often; one with structures of whole chests finds them with the weights
        that it goes on from
    start_from : file of weights to go on from; they say how wide the network is
    width : of ct_network.FEATURES, of a new network
    batch : crops a step
    teachers : files of weights, one after another with commas, that answer the same crops; ``taught`` of the truth, 0
        to 1, is the mean of their answers (Hinton et al. 2015, arXiv:1503.02531)
    final : train on validation too, and keep the last weights
    """

    epochs: int = 20
    epoch_steps: int = CHECK
    patience: int = 0
    rate: float = 1e-3
    average: float = AVERAGE
    mix: str = "even"
    start_from: str = ""
    width: int = 16
    batch: int = BATCH
    teachers: tuple[str, ...] = ()
    taught: float = 0.7
    final: bool = False

    def __post_init__(self) -> None:
        if self.mix not in MIXES:
            raise ValueError(f"mix is one of {', '.join(MIXES)}")
        if MIXES[self.mix].structures and not self.start_from:
            raise ValueError(f"the mix {self.mix} needs weights to go on from (start_from)")
        if self.width not in FEATURES:
            raise ValueError(f"width is one of {', '.join(map(str, FEATURES))}")
        if min(self.epochs, self.epoch_steps) < 1 or self.rate <= 0 or not 0 <= self.average < 1 or self.patience < 0:
            raise ValueError("epochs and epoch_steps are 1 or more, rate is above 0, average from 0 to below 1")
        if self.batch < 1 or not 0 <= self.taught <= 1:
            raise ValueError("batch is 1 or more, taught from 0 to 1")


def loss_of(logits: Any, samples: Samples) -> Any:
    """Soft Dice of each sample and cross-entropy of each pixel, where the truth is known."""
    known, truth = samples.known, samples.truth * samples.known
    p = logits.sigmoid() * known
    dice = 1 - (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return dice.mean() + (entropy * known).sum() / known.sum()


def validation_dice(model: Any, pool: Pool) -> float:
    """Mean Dice on the patches' native pixels, from a point at the centre, threshold 0.5."""
    edge = (PATCH - VALIDATION_SIDE) // 2
    where = slice(edge, edge + VALIDATION_SIDE)
    place = np.arange(VALIDATION_SIDE) - (PATCH - 1) / 2 + edge
    prompt = torch.from_numpy(point_map(np.hypot(place[:, None], place[None])))
    dice = []
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(pool.hu), 64):
            hu = torch.from_numpy(pool.hu[start : start + 64, where, where].astype(np.float32))
            truth = torch.from_numpy(pool.mask[start : start + 64, where, where])
            found = model(inputs(hu, prompt.expand(len(hu), -1, -1)).to(device))[:, 0].cpu() > 0
            dice += (2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2)))).tolist()
    return float(np.mean(dice))


class NoduleTask(TrainingTask):
    """The network on the nodules of ``pool``, judged on ``held``."""

    name = "ct_nodule"
    together = _TOGETHER

    def __init__(self, pool: Pool, held: Pool, recipe: Recipe) -> None:
        self.pool, self.held, self.recipe = pool, held, recipe
        self.epochs, self.patience = recipe.epochs, recipe.patience or None
        self.started = _earlier(Path(recipe.start_from) if recipe.start_from else None)
        start = self.started["sha256"] if self.started else None
        taught_by = [sha256_of(Path(file)) for file in recipe.teachers]
        self.settings = {**dataclasses.asdict(recipe), "start_from": start, "teachers": taught_by}
        self._teachers = [load(Path(file)).requires_grad_(False) for file in recipe.teachers]

    def network(self) -> nn.Module:
        made: nn.Module = load(Path(self.recipe.start_from)) if self.recipe.start_from else network(self.recipe.width)
        return made.to(memory_format=torch.channels_last)  # faster, on a CPU too

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(network.parameters(), lr=self.recipe.rate, weight_decay=1e-3)

    def random(self, seed: int, rank: int, processes: int) -> np.random.Generator:
        return np.random.default_rng([seed, rank])

    def plan(self, epoch: int, random: np.random.Generator) -> Sequence[Array]:
        """The side of each step's crops."""
        first = epoch * self.recipe.epoch_steps + 1
        return [np.array(SIDES[(first + k) % len(SIDES)]) for k in range(self.recipe.epoch_steps)]

    def batch(self, planned: Array, random: np.random.Generator) -> Samples:
        return drawn(self.pool, self.recipe.batch, int(planned), random, MIXES[self.recipe.mix])

    def loss(self, network: nn.Module, batch: Samples, random: np.random.Generator, device: torch.device) -> Tensor:
        there = Samples(*(part.to(device) for part in (batch.hu, batch.prompt, batch.truth, batch.known)))
        seen = inputs(there.hu, there.prompt).contiguous(memory_format=torch.channels_last)
        if self._teachers:
            there = self._taught(there, seen)
        answer: Tensor = loss_of(network(seen)[:, 0].float(), there)
        return answer

    def _taught(self, there: Samples, seen: Tensor) -> Samples:
        """The samples with part of their truth from the teachers."""
        kept = 1 - self.recipe.taught
        with torch.no_grad(), torch.autocast(seen.device.type, torch.bfloat16, enabled=seen.is_cuda):
            told = torch.stack([t.to(seen.device)(seen)[:, 0].float().sigmoid() for t in self._teachers]).mean(0)
        return dataclasses.replace(there, truth=kept * there.truth + self.recipe.taught * told)

    def share(self, done: int) -> float:
        return self.recipe.average if done else 0.0

    def validated(self, network: nn.Module) -> dict[str, float]:
        return {"val_dice": validation_dice(network, self.held)}

    def score(self, figures: Mapping[str, float]) -> float:
        """Mean Dice on validation patches; of a final round, which was trained on them, the last epoch."""
        return figures["epoch"] if self.recipe.final else figures["val_dice"]

    def told(self) -> dict[str, Any]:
        found = self.pool.structures
        chests = {"train_structures": len(found.hu), "train_planted": int(found.nodules.sum())} if len(found.hu) else {}
        return {
            **chests,
            "train_patches": len(self.pool.hu), "train_cubes": len(self.pool.cube_hu),
            "val_patches": len(self.held.hu), "val_cubes": len(self.held.cube_hu), "started_from": self.started,
        }  # fmt: skip


def _earlier(weights: Optional[Path]) -> Optional[dict[str, Any]]:
    """What is known of the weights to go on from."""
    if weights is None:
        return None
    told = weights.parent / "result.json"
    return {"sha256": sha256_of(weights), "result": json.loads(told.read_text()) if told.is_file() else None}


def _few(pool: Pool, limit: Optional[int]) -> Pool:
    """The first ``limit`` patches and cubes; its structures are found afterwards."""
    names = [field.name for field in dataclasses.fields(pool) if field.name != "structures"]
    return dataclasses.replace(pool, **{name: getattr(pool, name)[:limit] for name in names})


def trained(request: TrainRequest) -> None:
    """Train on the nodules below request.data.

    Raises
    ------
    InvalidInput : they are not there, or a setting is wrong; besides, what train() raises.
    """
    recipe = request.with_recipe(Recipe())
    if recipe.start_from and not Path(recipe.start_from).is_file():
        raise InvalidInput(f"There is no file {recipe.start_from} to go on from.", "Give weights of this network.")
    for file in recipe.teachers:
        if not Path(file).is_file():
            raise InvalidInput(f"There is no file {file} to learn from.", "Give weights of this network.")
    for name in (ct_data.SLICES, ct_data.CUBES):
        if not (request.data / name).is_dir():
            raise InvalidInput(
                f"{request.data} holds no {name}.", "Give the folder of the data sets with --data; see README."
            )
    pool = Pool.read(request.data, *(("train", "val") if recipe.final else ("train",)))
    held = Pool.read(request.data, "val")
    pool, held = _few(pool, request.limit), _few(held, request.limit)
    if MIXES[recipe.mix].structures:
        pool = dataclasses.replace(pool, structures=_structures(recipe, request))
    train(NoduleTask(pool, held, recipe), request)


def _structures(recipe: Recipe, request: TrainRequest) -> Structures:
    """Of drawn chests and of the real series, as the weights to go on from see them."""
    model = load(Path(recipe.start_from))
    drawn_chests = of_drawn_chests(model, SEEDS[: request.limit])
    return Structures.joined([drawn_chests, of_far_lung(model, request.data)])


def main() -> None:
    """The same training by its earlier name."""
    from .train import as_before

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000, help=f"up to {CHECK}, or a multiple of it")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--start-from", type=Path, help="weights file to go on from")
    parser.add_argument("--final", action="store_true", help="train on validation too and keep the last weights")
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes of one thread")
    parser.add_argument("--average", type=float, default=AVERAGE, help="how much of the averaged weights a step keeps")
    parser.add_argument("--mix", choices=MIXES, default="even", help="which samples are drawn how often")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.steps < 1 or (given.steps > CHECK and given.steps % CHECK):
        parser.error(f"--steps is 1 to {CHECK}, or a multiple of {CHECK}")
    settings = {"rate": str(given.rate), "average": str(given.average), "mix": given.mix}
    settings |= {"final": "true"} if given.final else {}
    settings |= {"start_from": str(given.start_from)} if given.start_from else {}
    settings |= {"epoch_steps": str(given.steps)} if given.steps < CHECK else {}
    raise SystemExit(as_before(TrainRequest(
        NoduleTask.name, given.data, given.out, seed=given.seed, epochs=max(1, given.steps // CHECK), threads=1,
        processes=given.workers, settings=settings,
    )))  # fmt: skip


if __name__ == "__main__":
    main()
