"""The H&E tile model's training: `lungxai train he_tiles --data ../shared/data --out out/slide`

OUT/...   the run (see training_loop); result.json also holds the temperature; metrics are made by evaluate_slide

EfficientNet-Lite0 from ImageNet or --set start=FILE, stem and first blocks frozen (slide_early), batch-norm statistics
frozen; AdamW, cosine rate with a warm-up, label smoothing, mixup and CutMix, classes drawn equally often or weighted
(slide_mixing), strong stain, scale and JPEG changes (slide_augmentation); optionally on stain-normalised tiles. The
best epoch is the one with the lowest mean loss over the validation tiles as they are and after fixed stain and JPEG
shifts: what is wanted is a model that stands other laboratories. One temperature is then fitted on the same tiles. The
test split is not looked at here.

`python -m shared_models.train_slide` is the same by its earlier name.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor, nn

from .contract.errors import InvalidInput
from .contract.values import Array
from .model_bundle import sha256_of
from .slide_augmentation import STAIN_SPACES, augmented
from .slide_data import FOLDER, TileSet, read_tiles
from .slide_early import EarlyLayers
from .slide_mixing import BALANCES, Mixed, class_weights, drawn, mixed, mixed_loss
from .slide_network import SLIDE_CLASSES, SlideNetwork, imagenet_weights, restored
from .slide_validation import BF16, as_batch, calibrated, class_indices, judged
from .stain import METHODS, normaliser, target_of
from .training_loop import train
from .training_request import TrainRequest
from .training_task import TrainingTask

_WARM_UP = 1 / 12  # of all steps
_SMOOTHING = 0.05
_AVERAGE = 0.99


@dataclass(frozen=True)
class Recipe:
    """What is learned, and how.

    Parameters
    ----------
    patience : epochs without a better score before it ends; 0 never does
    stain_augmentation : of STAIN_SPACES: whose stains are changed
    mixup, cutmix : shares of the batches
    balance : of BALANCES: classes drawn equally often, or weighed in the loss, or neither
    normalise : a method of stain normalisation, whose target is a typical training tile; empty is none
    start : file of weights to go on from in place of ImageNet's
    frozen_blocks : that keep their weights, after the stem
    rounds : how often the tiles are gone through in an epoch: validation costs as much as a round on a fast GPU
    """

    epochs: int = 12
    patience: int = 0
    batch: int = 32
    rate: float = 4e-4
    stain_augmentation: str = "hed"
    mixup: float = 0.5
    cutmix: float = 0.0
    balance: str = "sampling"
    normalise: str = ""
    start: str = ""
    frozen_blocks: int = 3
    rounds: int = 1

    def __post_init__(self) -> None:
        if self.stain_augmentation not in STAIN_SPACES or self.balance not in BALANCES:
            raise ValueError(f"stain_augmentation is one of {', '.join(STAIN_SPACES)}; "
                             f"balance is one of {', '.join(BALANCES)}")  # fmt: skip
        if self.normalise and self.normalise not in METHODS:
            raise ValueError(f"normalise is empty or one of {', '.join(METHODS)}")
        if min(self.mixup, self.cutmix) < 0 or self.mixup + self.cutmix > 1:
            raise ValueError("mixup and cutmix are shares of the batches: 0 or more each, at most 1 together")
        if min(self.epochs, self.batch, self.rounds) < 1 or self.rate <= 0 or not 0 <= self.frozen_blocks <= 15:
            raise ValueError("epochs, batch and rounds are 1 or more, rate is above 0, frozen_blocks from 0 to 15")


class _Learner(nn.Module):
    """What is trained: features of the frozen layers, or pixels, (n, c, h, w) -> logits (n, 3)."""

    def __init__(self, network: SlideNetwork, frozen: int) -> None:
        super().__init__()
        self.network, self.frozen = network, frozen

    def forward(self, x: Tensor, pixels: bool = False) -> Tensor:
        if pixels:
            with torch.no_grad():
                x = self.network.early(x, self.frozen)
        return self.network.late(x.to(memory_format=torch.channels_last), self.frozen)


def _prepare(network: SlideNetwork, frozen: int) -> None:
    """Training mode, but for batch-norm statistics; the first layers need no gradient."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for part in (network._conv_stem, network._bn0, *network._blocks[:frozen]):
        part.requires_grad_(False)


class SlideTask(TrainingTask):
    """The network on the training tiles ``tiles``, judged on ``held``."""

    name = "he_tiles"
    clip = 5.0
    precision = "bf16" if BF16 else "fp32"

    def __init__(self, tiles: TileSet, held: TileSet, recipe: Recipe, seed: int) -> None:
        self.recipe, self.held = recipe, held
        self.epochs, self.patience = recipe.epochs, recipe.patience or None
        self.labels, self.held_labels = class_indices(tiles), class_indices(held)
        self.stain = stain_section(tiles.pixels, recipe.normalise, seed) if recipe.normalise else None
        self.restain = normaliser(self.stain)
        self.pixels = tiles.pixels if self.restain is None else self.restain(tiles.pixels)
        self.weights = class_weights(self.labels.numpy(), len(SLIDE_CLASSES), recipe.balance)
        start = sha256_of(Path(recipe.start)) if recipe.start else None
        self.settings = {**dataclasses.asdict(recipe), "normalise": recipe.normalise or None, "start": start}
        self.early: EarlyLayers

    def network(self) -> nn.Module:
        start = self.recipe.start
        network = restored(Path(start)) if start else imagenet_weights(SlideNetwork())
        network = network.to(memory_format=torch.channels_last)
        _prepare(network, self.recipe.frozen_blocks)
        self.early = EarlyLayers(network, self.recipe.frozen_blocks)
        return _Learner(network, self.recipe.frozen_blocks)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        decay = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, self.recipe.rate)

    def begun(self, epoch: int, seed: int, rank: int, random: np.random.Generator) -> np.random.Generator:
        """One generator an epoch, whatever went before."""
        torch.manual_seed(seed * 1000 + epoch + 1_000_000_007 * rank)
        return np.random.default_rng([seed, epoch, rank] if rank else [seed, epoch])

    def training(self, network: nn.Module) -> None:
        assert isinstance(network, _Learner)
        _prepare(network.network, self.recipe.frozen_blocks)

    def plan(self, epoch: int, random: np.random.Generator) -> Sequence[Array]:
        batches = []
        for _ in range(self.recipe.rounds):
            order = drawn(self.labels.numpy(), len(SLIDE_CLASSES), self.recipe.balance, random)
            batches += [order[k : k + self.recipe.batch] for k in range(0, len(order), self.recipe.batch)]
        return batches

    def batch(self, planned: Array, random: np.random.Generator) -> tuple[Mixed, Tensor]:
        changed = augmented(as_batch(self.pixels[planned]), random, self.recipe.stain_augmentation)
        return mixed(changed, random, self.recipe.mixup, self.recipe.cutmix), self.labels[torch.from_numpy(planned)]

    def loss(self, network: nn.Module, batch: Any, random: np.random.Generator, device: torch.device) -> Tensor:
        pair, target = batch
        if device.type == "cpu":
            logits = network(self.early(pair.tiles))
        else:
            logits = network(pair.tiles.to(device), True)
        there = Mixed(pair.tiles, pair.order.to(device), pair.share)
        weights = None if self.weights is None else self.weights.to(device)
        return mixed_loss(logits.float(), target.to(device), there, _SMOOTHING, weights)

    def rate(self, base: float, done: int, total: int) -> float:
        warm = min(1.0, (done + 1) / (_WARM_UP * total))
        return base * warm * 0.5 * (1 + math.cos(math.pi * done / total))

    def share(self, done: int) -> float:
        return min(_AVERAGE, (done + 1) / (done + 10))

    def validated(self, network: nn.Module) -> dict[str, float]:
        assert isinstance(network, _Learner)
        return judged(network.network, self.early, self.held, self.held_labels, self.restain)

    def score(self, figures: Mapping[str, float]) -> float:
        """Lowest loss on the validation tiles as they are and shifted, together."""
        return -(figures["val_loss"] + figures["shifted_loss"])

    def told(self) -> dict[str, Any]:
        return {"train_tiles": len(self.labels), "val_tiles": len(self.held_labels), "stain": self.stain}

    def kept(self, network: nn.Module) -> dict[str, Tensor]:
        assert isinstance(network, _Learner)
        return network.network.state_dict()

    def finished(self, best: dict[str, Tensor]) -> dict[str, Any]:
        network = SlideNetwork().to(memory_format=torch.channels_last)
        network.load_state_dict(best)
        return calibrated(network, self.early, self.held, self.held_labels, self.restain)


def _first(tiles: TileSet, limit: Optional[int]) -> TileSet:
    if limit is None:
        return tiles
    chosen = np.random.default_rng(0).permutation(len(tiles.labels))[:limit]
    return TileSet(
        tiles.pixels[chosen], tiles.labels[chosen], tiles.groups[chosen], tuple(tiles.files[i] for i in chosen)
    )


def stain_section(pixels: Array, method: str, seed: int) -> dict[str, Any]:
    """What a card says of normalisation to the typical stain of 500 of these tiles; see stain.normaliser()."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pixels))[:500])
    target, used = target_of(pixels[chosen], method)
    return {
        "method": method, "per": "tile",
        "target": {"matrix": target.matrix.round(5).tolist(),
                   "max_concentration": target.max_concentration.round(4).tolist()},
        "made_from": {"split": "train", "tiles": len(chosen), "tiles_with_stain": used, "seed": seed},
    }  # fmt: skip


def trained(request: TrainRequest) -> None:
    """Train on the tiles below request.data.

    Raises
    ------
    InvalidInput : they are not there, or a setting is wrong; besides, what train() raises.
    """
    recipe = request.with_recipe(Recipe())
    if recipe.start and not Path(recipe.start).is_file():
        raise InvalidInput(f"There is no file {recipe.start} to go on from.", "Give weights of this network.")
    read = [read_tiles(request.data, split) for split in ("train", "val")]
    sets = [_first(tiles, request.limit) for tiles in read if tiles is not None]
    if len(sets) < 2 or not all(len(tiles.labels) for tiles in sets):
        raise InvalidInput(
            f"{request.data} does not hold the H&E tiles in {FOLDER}.", "Give the folder of the data sets with --data."
        )
    train(SlideTask(*sets, recipe, request.seed), request)


def main() -> None:
    """The same training by its earlier name."""
    from .train import as_before

    parser = argparse.ArgumentParser(description="Train the H&E tile model.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds lc25000_lung_224")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="take only so many tiles of each split: a trial, not a model")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    parser.add_argument("--stain-augmentation", choices=STAIN_SPACES, default="hed",
                        help="whose stains are changed: the same two for all tiles, each tile's own, or both in turn")
    parser.add_argument("--mixup", type=float, default=0.5, help="share of batches mixed by mixup")
    parser.add_argument("--cutmix", type=float, default=0.0, help="share of batches mixed by CutMix")
    parser.add_argument("--balance", choices=BALANCES, default="sampling",
                        help="classes drawn equally often, or weighed in the loss, or neither")
    parser.add_argument("--normalise", choices=tuple(METHODS), help="normalise each tile's stain first")
    parser.add_argument("--start", type=Path, help="weights to go on from, in place of ImageNet's")  # fmt: skip
    parser.add_argument("--frozen-blocks", type=int, choices=range(16), default=3, metavar="0-15")
    given = parser.parse_args()
    named = ("batch", "rate", "stain_augmentation", "mixup", "cutmix", "balance", "normalise", "start", "frozen_blocks")
    settings = {name: str(getattr(given, name)) for name in named if getattr(given, name) not in (None, "")}
    raise SystemExit(as_before(TrainRequest(
        SlideTask.name, given.data, given.out, seed=given.seed, epochs=given.epochs, limit=given.limit,
        resume=given.resume, settings=settings,
        threads=min(int(os.environ.get("OMP_NUM_THREADS", 2)), os.cpu_count() or 1),
    )))  # fmt: skip


if __name__ == "__main__":
    main()
