"""The malignancy network's training: `lungxai train ct_malignancy --data ../shared/data --out out/malignancy`

    --set outlines=reader   outlines of the training nodules by the reader alone
    --set folds=5           cross-validation over the training patients too: what is held out there chooses nothing

OUT/network/...   the run (see training_loop): best.pt is the moving average of the best epoch
OUT/fold_K/...    the same, of each fold; package_malignancy measures what they hold out

AdamW, cosine rate with a warm-up, batches of 32 nodules and 6 counter-examples; training ends where 10 epochs brought
nothing new. The test split is not looked at here. Same seed, same weights.

`python -m shared_models.train_malignancy` is the same by its earlier name.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from .ct_malignancy_network import FEATURES, MALIGNANT, NODULE, MalignancyNetwork
from .ct_malignancy_samples import RATINGS, Batch, Pool, as_seen, drawn, outlines
from .model_bundle import MODELS_ROOT, Bundle
from .statistics import auroc
from .training_folds import PARTS, checked, runs
from .training_loop import train
from .training_request import TrainRequest
from .training_task import TrainingTask

BATCH, OTHERS = 32, 6
_NODULE_WEIGHT, _RATINGS_WEIGHT = 0.2, 1.0
_OUTLINES = ("network", "reader")


@dataclass(frozen=True)
class Recipe:
    """What is learned, and how.

    Parameters
    ----------
    others : counter-examples in a batch
    outlines : of the training nodules: "network" or "reader"
    folds : of the cross-validation; 0 is none
    part : "all", or only the "network" or only the "folds", to run them side by side
    rate, decay, average : of AdamW; share of the moving average that a step keeps
    width, dropout : of the network; width is one of ct_malignancy_network.FEATURES
    """

    epochs: int = 9
    patience: int = 10
    others: int = OTHERS
    outlines: str = "network"
    folds: int = 0
    part: str = "all"
    rate: float = 2e-3
    decay: float = 2e-2
    average: float = 0.99
    width: int = 8
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.width not in FEATURES or not 0 <= self.dropout < 1:
            raise ValueError(f"width is one of {', '.join(map(str, FEATURES))}; dropout from 0 to below 1")
        checked(self.part, self.folds)
        if self.outlines not in _OUTLINES:
            raise ValueError(f"outlines is one of {', '.join(_OUTLINES)}")
        if self.epochs < 1 or self.others < 0:
            raise ValueError("epochs is 1 or more, others 0 or more")


class _Learner(nn.Module):
    """The network and, for training alone, a head for the readers' other ratings."""

    def __init__(self, width: int = 8, dropout: float = 0.3) -> None:
        super().__init__()
        self.network = MalignancyNetwork(dropout, width)
        self.ratings = nn.Linear(self.network.head.in_features, len(RATINGS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.network.dropout(self.network.pooled(x))
        return self.network.head(pooled), self.ratings(pooled).sigmoid()


def loss_of(logits: Tensor, ratings: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of malignancy and of being a nodule, squared error of the other ratings where they are known."""
    n = len(batch.malignant)
    entropy = functional.binary_cross_entropy_with_logits
    malignant = entropy(logits[:n, MALIGNANT], batch.malignant, weight=batch.weight)
    nodule = entropy(logits[:, NODULE], batch.nodule)
    known = batch.ratings.isfinite()
    error = (ratings[:n] - batch.ratings.nan_to_num())[known]
    return malignant + _NODULE_WEIGHT * nodule + _RATINGS_WEIGHT * (error**2).mean()


def logits_of(network: nn.Module, seen: Tensor) -> Array:
    """float64 (n, 2) of channels (n, 3, GRID_PX, GRID_PX), in evaluation."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        return torch.cat([network(part.to(device)).cpu() for part in seen.split(64)]).double().numpy()


class Held:
    """Validation: nodules rated over 3.5 or under 2.5, outlined by the network, and some counter-examples."""

    def __init__(self, pool: Pool) -> None:
        mean = pool.malignancy
        kept = np.flatnonzero((mean > 3.5) | (mean < 2.5))
        self.truth = mean[kept] > 3.5
        self.by_network = as_seen(pool.data, np.array([pool.own(i) for i in kept]), kept)
        few = slice(None, None, 4)
        self.others = as_seen(pool.data, pool.made.other[few], pool.made.owner[few])

    def measured(self, network: nn.Module) -> dict[str, float]:
        """AUROC of both outputs."""
        own, other = logits_of(network, self.by_network), logits_of(network, self.others)
        is_nodule = np.r_[np.ones(len(own)), np.zeros(len(other))]
        return {
            "val_auroc": auroc(self.truth, own[:, MALIGNANT]),
            "val_auroc_nodule": auroc(is_nodule, np.r_[own[:, NODULE], other[:, NODULE]]),
        }


class MalignancyTask(TrainingTask):
    """One network on the nodules of ``pool``."""

    name = "ct_malignancy"

    def __init__(self, pool: Pool, held: Held, recipe: Recipe) -> None:
        self.pool, self.held, self.recipe = pool, held, recipe
        self.epochs, self.patience = recipe.epochs, recipe.patience
        # Which parts of a cross-validation are run here changes none of them.
        self.settings = {k: v for k, v in dataclasses.asdict(recipe).items() if k != "part"}

    def network(self) -> nn.Module:
        return _Learner(self.recipe.width, self.recipe.dropout).to(memory_format=torch.channels_last)  # faster on a CPU

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(network.parameters(), lr=self.recipe.rate, weight_decay=self.recipe.decay)

    def plan(self, epoch: int, random: np.random.Generator) -> Sequence[Array]:
        order = random.permutation(len(self.pool.data.hu))
        return [order[k * BATCH : (k + 1) * BATCH] for k in range(len(order) // BATCH)]

    def batch(self, planned: Array, random: np.random.Generator) -> Batch:
        return drawn(self.pool, planned, self.recipe.others, random)

    def loss(self, network: nn.Module, batch: Batch, random: np.random.Generator, device: torch.device) -> Tensor:
        there = Batch(**{f.name: getattr(batch, f.name).to(device) for f in dataclasses.fields(batch)})
        return loss_of(*network(there.seen.contiguous(memory_format=torch.channels_last)), there)

    def share(self, done: int) -> float:
        return self.recipe.average if done else 0.0

    def validated(self, network: nn.Module) -> dict[str, float]:
        assert isinstance(network, _Learner)
        return self.held.measured(network.network)

    def score(self, figures: Mapping[str, float]) -> float:
        """Mean AUROC of both outputs on validation."""
        return (figures["val_auroc"] + figures["val_auroc_nodule"]) / 2

    def told(self) -> dict[str, Any]:
        data, made = self.pool.data, self.pool.made
        return {"nodules": len(data.hu), "patients": len(set(data.patients)), "counter_examples": len(made.other)}

    def kept(self, network: nn.Module) -> dict[str, Tensor]:
        assert isinstance(network, _Learner)
        return network.network.state_dict()


def pool_of(
    data_root: Path, split: str, out: Path, drawn_by: str = "network", models_root: Path = MODELS_ROOT
) -> Pool:
    """The nodules of a split, with outlines by the bundled segmentation network (about 0.2 s each) or by the reader
    alone; kept in OUT/SPLIT.npz."""
    data = ct_data.slices(data_root, split)
    if drawn_by == "reader":
        none = np.zeros(data.hu.shape[1:], bool)
        return Pool(data, outlines(data, lambda hu, pixel, point: none, out / f"{split}.npz", drawn_by))
    from .ct_network import load
    from .ct_pipeline import BUNDLE, WEIGHTS
    from .evaluate_ct import outlined_at

    bundle = Bundle.load(models_root / BUNDLE)
    segmentation = load(bundle.path(WEIGHTS)).to(memory_format=torch.channels_last)

    def outline(hu: Array, pixel: float, point: Array) -> Array:
        return outlined_at(segmentation, hu[None], (pixel, pixel, 1.0), np.r_[0.0, point])[0]

    return Pool(data, outlines(data, outline, out / f"{split}.npz", bundle.weights_sha256))


def _few(pool: Pool, limit: Optional[int]) -> Pool:
    return pool if limit is None else pool.of(np.arange(min(limit, len(pool.data.hu))))


def trained(request: TrainRequest) -> None:
    """Train the network, and each fold's.

    Raises
    ------
    InvalidInput : the nodules are not below request.data, or a setting is wrong; besides, what train() raises.
    """
    recipe = request.with_recipe(Recipe())
    if not (request.data / ct_data.SLICES).is_dir():
        raise InvalidInput(
            f"{request.data} holds no {ct_data.SLICES}.", "Give the folder of the data sets with --data; see README."
        )
    request.out.mkdir(parents=True, exist_ok=True)
    pool = _few(pool_of(request.data, "train", request.out, recipe.outlines, request.models), request.limit)
    held = Held(pool_of(request.data, "val", request.out, models_root=request.models))
    for run in runs(recipe.part, recipe.folds, pool.data.patients, request.seed):
        train(MalignancyTask(pool.of(run.kept), held, recipe), request, request.out / run.folder)


def main() -> None:
    """The same training by its earlier name."""
    from .train import as_before

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--others", type=int, default=OTHERS, help="counter-examples in a batch")
    parser.add_argument("--outlines", choices=_OUTLINES, default="network", help="of training nodules")
    parser.add_argument("--folds", type=int, default=0, help="cross-validation over the training patients")
    parser.add_argument("--part", choices=PARTS, default="all", help="only this, side by side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    named = {"others": given.others, "outlines": given.outlines, "folds": given.folds, "part": given.part}
    raise SystemExit(as_before(TrainRequest(
        MalignancyTask.name, given.data, given.out, seed=given.seed, epochs=given.epochs, threads=given.threads,
        resume=given.resume, settings={name: str(value) for name, value in named.items()},
    )))  # fmt: skip


if __name__ == "__main__":
    main()
