"""The training of the 3D network of thin slices: `lungxai train ct_refine --data ../shared/data --out out/refine`

    --models DIR      the bundle whose 2D network is corrected
    --set folds=5     cross-validation over the training patients too: thresholds are chosen on what it holds out

OUT/train.npz, OUT/val.npz   what the 2D network answers to several prompts of each cube; made anew for other weights
OUT/network/...              the run (see training_loop): best.pt is the moving average of the best epoch
OUT/fold_K/...               the same, of each fold; held.npz is its probability of the cubes that it held out
OUT/folds.json               mean Dice of the cubes as their folds held them out, by the best threshold and cap rule

The bundle takes the network and those of the folds together, so cross-validation costs nothing there.

Fields of 48 mm are cut out of the cubes on the device that trains, so that a fast GPU needs no loaders. The 2D network
saw the training cubes, too: what the folds tell is how the correction carries over, not the whole answer. The test
split is not looked at here. Same seed, same weights.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
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
from .ct_network import load as load_2d
from .ct_nodules import PLAIN, REFINED
from .ct_pipeline import BUNDLE, WEIGHTS
from .ct_refine import FEATURES, load, network
from .ct_refine_samples import Answered, Draw, Fields, answered, centred, cut, drawn
from .evaluate_refine import HELD, before, chosen, corrected_by, held_out, piece_dice, summary
from .model_bundle import Bundle, sha256_of
from .training_folder import BEST, written
from .training_folds import checked, runs
from .training_loop import train
from .training_request import TrainRequest
from .training_task import TrainingTask

TRAIN_FILE, VAL_FILE, FOLDS_FILE = "train.npz", "val.npz", "folds.json"
_AT_ONCE = 16  # fields of a validation


@dataclass(frozen=True)
class Recipe:
    """What is learned, and how.

    Parameters
    ----------
    epochs : of ``epoch_steps`` steps
    patience : epochs without a better score before it ends; 0 never does
    batch : fields a step
    prompts : of each cube; the first is its centre
    folds : of the cross-validation; 0 is none
    part : "all", or only the "network" or only the "folds"
    rate, decay, average : of AdamW; share of the moving average that a step keeps
    width, dropout : of the network; width is one of ct_refine.FEATURES
    tilt : standard deviation of what the 2D network's logit is moved by
    """

    epochs: int = 12
    epoch_steps: int = 50
    patience: int = 0
    batch: int = 8
    prompts: int = 6
    folds: int = 0
    part: str = "all"
    rate: float = 1e-3
    decay: float = 1e-2
    average: float = 0.98
    width: int = 16
    dropout: float = 0.1
    tilt: float = 0.3

    def __post_init__(self) -> None:
        if self.width not in FEATURES or not 0 <= self.dropout < 1:
            raise ValueError(f"width is one of {', '.join(map(str, FEATURES))}; dropout from 0 to below 1")
        checked(self.part, self.folds)
        if min(self.epochs, self.epoch_steps, self.batch, self.prompts) < 1 or self.patience < 0:
            raise ValueError("epochs, epoch_steps, batch and prompts are 1 or more, patience 0 or more")
        if self.rate <= 0 or not 0 <= self.average < 1 or self.tilt < 0:
            raise ValueError("rate is above 0, average from 0 to below 1, tilt 0 or more")


def loss_of(change: Tensor, fields: Fields) -> Tensor:
    """Soft Dice and cross-entropy of the corrected logit, where the truth is known.

    Both of each field by the size of its nodule, so that small ones count as much as large ones.
    """
    logit = fields.logit + change
    known, truth = fields.known, fields.truth * fields.known
    p = logit.sigmoid() * known
    whole = (1, 2, 3)
    size = p.sum(whole) + truth.sum(whole) + 1
    dice = 1 - (2 * (p * truth).sum(whole) + 1) / size
    entropy = functional.binary_cross_entropy_with_logits(logit, truth, reduction="none") * known
    return (dice + entropy.sum(whole) / size.detach()).mean()


class RefineTask(TrainingTask):
    """The 3D network on the cubes of ``pool``, judged on ``held``."""

    name = "ct_refine"

    def __init__(self, pool: Answered, held: Answered, recipe: Recipe, corrects: str = "") -> None:
        self.pool, self.held, self.recipe, self.corrects = pool, held, recipe, corrects
        self.epochs, self.patience = recipe.epochs, recipe.patience or None
        # Which parts of a cross-validation are run here changes none of them.
        self.settings = {k: v for k, v in dataclasses.asdict(recipe).items() if k != "part"}
        self._there: dict[tuple[bool, torch.device], dict[str, Tensor]] = {}

    def network(self) -> nn.Module:
        made: nn.Module = network(self.recipe.width, self.recipe.dropout)
        return made

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(network.parameters(), lr=self.recipe.rate, weight_decay=self.recipe.decay)

    def plan(self, epoch: int, random: np.random.Generator) -> Sequence[Array]:
        """Every cube once before one comes again, as far as the steps reach."""
        size, count = self.recipe.epoch_steps * self.recipe.batch, len(self.pool.hu)
        order = np.concatenate([random.permutation(count) for _ in range(-(-size // count))])[:size]
        return list(order.reshape(self.recipe.epoch_steps, self.recipe.batch))

    def batch(self, planned: Array, random: np.random.Generator) -> Draw:
        return drawn(self.pool, planned, random, self.recipe.tilt)

    def loss(self, network: nn.Module, batch: Draw, random: np.random.Generator, device: torch.device) -> Tensor:
        fields = cut(self._on(device), batch)
        return loss_of(network(fields.seen)[:, 0].float(), fields)

    def _on(self, device: torch.device, held: bool = False) -> dict[str, Tensor]:
        """The cubes on a device, kept there."""
        if (held, device) not in self._there:
            pool = self.held if held else self.pool
            names = ("hu", "mask", "low", "high", "logit")
            self._there[held, device] = {name: torch.from_numpy(getattr(pool, name)).to(device) for name in names}
        return self._there[held, device]

    def rate(self, base: float, done: int, total: int) -> float:
        """A warm-up over a tenth of the steps times half a cosine."""
        return base * (0.5 + 0.5 * math.cos(math.pi * (done + 1) / total)) * min(1.0, 10 * (done + 1) / total)

    def share(self, done: int) -> float:
        return self.recipe.average if done else 0.0

    def validated(self, network: nn.Module) -> dict[str, float]:
        """Mean Dice of fields at threshold 0.5: of all prompts, of the point at the centre, and before."""
        device = next(network.parameters()).device
        cube, prompt = (part.ravel() for part in np.indices(self.held.low.shape[:2]))
        scores = []
        network.eval()
        with torch.inference_mode():
            for start in range(0, len(cube), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                fields = cut(self._on(device, held=True), centred(self.held, cube[part], prompt[part]))
                after = fields.logit + network(fields.seen)[:, 0].float()
                scores.append(torch.stack([_dice(logit, fields) for logit in (after, fields.logit)], 1).cpu())
        after, plain = torch.cat(scores).double().T
        return {
            "val_dice": float(after.mean()), "val_centre": float(after[prompt == 0].mean()),
            "val_before": float(plain.mean()), "val_centre_before": float(plain[prompt == 0].mean()),
        }  # fmt: skip

    def score(self, figures: Mapping[str, float]) -> float:
        """Mean Dice on validation cubes, over all prompts."""
        return figures["val_dice"]

    def told(self) -> dict[str, Any]:
        return {
            "train_cubes": len(self.pool.hu), "train_patients": len(set(self.pool.patients)),
            "val_cubes": len(self.held.hu), "val_patients": len(set(self.held.patients)), "corrects": self.corrects,
        }  # fmt: skip

    def finished(self, best: dict[str, Tensor]) -> dict[str, Any]:
        """Dice of the piece that a point at each validation cube's centre means, before and after."""
        members = _made(best, self.recipe.width)
        device = "cuda" if any(where.type == "cuda" for _, where in self._there) else "cpu"
        after = corrected_by(members.to(device), self.held, 0, device)
        plain = piece_dice(before(self.held, 0), self.held, 0, PLAIN)
        return {"val_pieces": summary(plain, piece_dice(after, self.held, 0, REFINED))}


def _dice(logit: Tensor, fields: Fields) -> Tensor:
    found, truth = (logit > 0) & (fields.known > 0), fields.truth > 0.5
    return 2 * (found & truth).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + truth.sum((1, 2, 3))).clamp(min=1)


def _made(weights: dict[str, Tensor], width: int) -> Any:
    made = network(width)
    made.load_state_dict(weights)
    return nn.ModuleList([made]).eval()


def _few(data: ct_data.Nodules, limit: Optional[int]) -> ct_data.Nodules:
    return ct_data.Nodules(data.hu[:limit], data.mask[:limit], data.rows[:limit])


def trained(request: TrainRequest) -> None:
    """Train the network, and each fold's.

    Raises
    ------
    InvalidInput : the cubes are not below request.data, or a setting is wrong. ModelUnavailable : no 2D network.
    Besides, what train() raises.
    """
    recipe = request.with_recipe(Recipe())
    if not (request.data / ct_data.CUBES).is_dir():
        raise InvalidInput(
            f"{request.data} holds no {ct_data.CUBES}.", "Give the folder of the data sets with --data; see README."
        )
    weights = Bundle.load(request.models / BUNDLE).path(WEIGHTS)
    known_by = sha256_of(weights)
    device = "cuda" if request.device != "cpu" and torch.cuda.is_available() else "cpu"
    flat = load_2d(weights).to(device, memory_format=torch.channels_last)
    pool, held = (
        answered(_few(ct_data.cubes(request.data, split), request.limit), flat, known_by, request.out / file,
                 recipe.prompts, device)
        for split, file in (("train", TRAIN_FILE), ("val", VAL_FILE))
    )  # fmt: skip
    for run in runs(recipe.part, recipe.folds, pool.patients, request.seed):
        out = request.out / run.folder
        train(RefineTask(pool.of(run.kept), held, recipe, known_by), request, out)
        if len(run.held):
            _held(pool, run.held, load(out / BEST), out, device)
    if recipe.folds and recipe.part != "network":
        _folds_told(pool, request.out)


def _held(pool: Answered, which: Array, members: Any, out: Path, device: str) -> None:
    """Keep a fold's probabilities of the cubes that it held out: uint8 (n, prompts, s, s, s), 255 is 1."""
    there, own = members.to(device), pool.of(which)
    found = np.stack([corrected_by(there, own, prompt, device) for prompt in range(own.low.shape[1])], 1)
    content = io.BytesIO()
    np.savez_compressed(content, which=which, probability=np.round(found * 255).astype(np.uint8))
    written(out / HELD, content.getvalue())


def _folds_told(pool: Answered, out: Path) -> None:
    """The best rule before and after, over the prompts of all cubes: printed, and kept in folds.json."""
    prompts = range(pool.low.shape[1])
    plain, after = (
        chosen(np.stack([of(prompt) for prompt in prompts], 1), pool, prompts)
        for of in (lambda prompt: before(pool, prompt), lambda prompt: held_out(out, pool, prompt))
    )
    written(out / FOLDS_FILE, (json.dumps({"before": plain, "after": after}, indent=1) + "\n").encode())
    for name, found in (("before", plain), ("after", after)):
        print(f"held out, {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
