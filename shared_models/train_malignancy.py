"""Train the malignancy network: python -m shared_models.train_malignancy --data ../shared/data --out out/malignancy

    --folds 5   cross-validation over the training patients too: what is held out there chooses nothing
    --resume    go on with what OUT holds

OUT/network/last.pt       everything needed to go on: weights, their moving average, optimiser, random states
OUT/network/best.pt       the moving average of the best epoch: highest mean AUROC of both outputs on validation
OUT/network/result.json   commit, command, seed, every epoch
OUT/fold_K/...            the same, of each fold; package_malignancy measures what they hold out

AdamW, cosine rate with a warm-up, batches of 32 nodules and 6 counter-examples; training ends where 10 epochs brought
nothing new. The test split is not looked at here. Same seed, same weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from . import ct_data
from .code_version import git_commit
from .contract.values import Array
from .ct_malignancy_network import MALIGNANT, NODULE, MalignancyNetwork
from .ct_malignancy_samples import RATINGS, Batch, Pool, as_seen, drawn, outlines
from .model_bundle import MODELS_ROOT, Bundle
from .statistics import auroc

BATCH, OTHERS = 32, 6
_RATE, _DECAY, _AVERAGE = 2e-3, 2e-2, 0.99
_NODULE_WEIGHT, _RATINGS_WEIGHT = 0.2, 1.0
_PATIENCE = 10


class _Learner(nn.Module):
    """The network and, for training alone, a head for the readers' other ratings."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MalignancyNetwork()
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
    with torch.inference_mode():
        return torch.cat([network(part) for part in seen.split(64)]).double().numpy()


class _Held:
    """Validation: nodules rated over 3.5 or under 2.5, outlined by the network, and some counter-examples."""

    def __init__(self, pool: Pool) -> None:
        mean = pool.malignancy
        kept = np.flatnonzero((mean > 3.5) | (mean < 2.5))
        self.truth = mean[kept] > 3.5
        self.by_network = as_seen(pool.data, np.array([pool.own(i) for i in kept]), kept)
        few = slice(None, None, 4)
        self.others = as_seen(pool.data, pool.made.other[few], pool.made.owner[few])

    def measured(self, network: nn.Module) -> dict[str, float]:
        own, other = logits_of(network, self.by_network), logits_of(network, self.others)
        is_nodule = np.r_[np.ones(len(own)), np.zeros(len(other))]
        return {
            "val_auroc": auroc(self.truth, own[:, MALIGNANT]),
            "val_auroc_nodule": auroc(is_nodule, np.r_[own[:, NODULE], other[:, NODULE]]),
        }


def trained(pool: Pool, held: _Held, out: Path, given: argparse.Namespace, seed: int) -> None:
    """Train one network into ``out``, or go on there."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    learner = _Learner().to(memory_format=torch.channels_last)  # faster on a CPU
    # Batch-norm statistics are the learner's: averaged once more they would lag behind for hundreds of steps.
    average = AveragedModel(learner, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE))
    optimiser = torch.optim.AdamW(learner.parameters(), lr=_RATE, weight_decay=_DECAY)
    record: dict[str, Any] = {
        "commit": git_commit(), "command": _command(given), "seed": seed, "nodules": len(pool.data.hu),
        "patients": len(set(pool.data.patients)), "counter_examples": len(pool.made.other), "history": [],
    }  # fmt: skip
    first, best, best_epoch, minutes = 0, -1.0, 0, 0.0
    if given.resume and (out / "last.pt").is_file():
        state = torch.load(out / "last.pt", weights_only=True)
        learner.load_state_dict(state["learner"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch_random"])
        random.bit_generator.state = json.loads(state["numpy_random"])
        record = json.loads((out / "result.json").read_text())
        first, best, best_epoch, minutes = state["epoch"], record["best"], record["best_epoch"], record["minutes"]
    steps = len(pool.data.hu) // BATCH
    for epoch in range(first, given.epochs):
        if epoch - best_epoch >= _PATIENCE:
            break
        start, losses = time.monotonic(), []
        learner.train()
        order = random.permutation(len(pool.data.hu))
        for k in range(steps):
            done = (epoch * steps + k + 1) / (given.epochs * steps)
            rate = _RATE * (0.5 + 0.5 * math.cos(math.pi * done)) * min(1.0, (epoch * steps + k + 1) / 100)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = drawn(pool, order[k * BATCH : (k + 1) * BATCH], given.others, random)
            loss = loss_of(*learner(batch.seen.contiguous(memory_format=torch.channels_last)), batch)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step()
            average.update_parameters(learner)
            losses.append(loss.item())
        network = copy.deepcopy(average.module.network)
        found = held.measured(network)
        minutes += (time.monotonic() - start) / 60
        record["history"].append({"epoch": epoch + 1, "loss": float(np.mean(losses)), **found})
        print(out.name, epoch + 1, f"loss {np.mean(losses):.4f}", *(f"{k} {v:.4f}" for k, v in found.items()),
              f"{minutes:.1f} min", flush=True)  # fmt: skip
        both = (found["val_auroc"] + found["val_auroc_nodule"]) / 2
        if both > best:
            best, best_epoch = both, epoch + 1
            _kept(network.state_dict(), out / "best.pt")
        record.update(best=best, best_epoch=best_epoch, minutes=minutes)
        _kept({
            "learner": learner.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(),
            "torch_random": torch.get_rng_state(), "numpy_random": json.dumps(random.bit_generator.state),
            "epoch": epoch + 1,
        }, out / "last.pt")  # fmt: skip
        (out / "result.json").write_text(json.dumps(record, indent=1) + "\n")


def _kept(state: Any, path: Path) -> None:
    """Written whole or not at all."""
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _command(given: argparse.Namespace) -> str:
    return (f"python -m shared_models.train_malignancy --seed {given.seed} --epochs {given.epochs} "
            f"--others {given.others} --outlines {given.outlines} --folds {given.folds}")  # fmt: skip


def folds_of(patients: Array, count: int, seed: int) -> Array:
    """int (n,): the fold of each nodule; a patient's nodules are in one fold, patients in turn after a shuffle."""
    names = np.unique(patients)
    place = dict(zip(np.random.default_rng(seed).permutation(names), np.arange(len(names)) % count))
    return np.array([place[name] for name in patients])


def pool_of(data_root: Path, split: str, out: Path, drawn_by: str = "network") -> Pool:
    """The nodules of a split, with outlines by the bundled segmentation network (about 0.2 s each) or by the reader
    alone; kept in OUT/SPLIT.npz."""
    data = ct_data.slices(data_root, split)
    if drawn_by == "reader":
        none = np.zeros(data.hu.shape[1:], bool)
        return Pool(data, outlines(data, lambda hu, pixel, point: none, out / f"{split}.npz", drawn_by))
    from .ct_network import load
    from .ct_pipeline import BUNDLE, WEIGHTS
    from .evaluate_ct import outlined_at

    bundle = Bundle.load(MODELS_ROOT / BUNDLE)
    segmentation = load(bundle.path(WEIGHTS)).to(memory_format=torch.channels_last)

    def outline(hu: Array, pixel: float, point: Array) -> Array:
        return outlined_at(segmentation, hu[None], (pixel, pixel, 1.0), np.r_[0.0, point])[0]

    return Pool(data, outlines(data, outline, out / f"{split}.npz", bundle.weights_sha256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--others", type=int, default=OTHERS, help="counter-examples in a batch")
    parser.add_argument("--outlines", choices=("network", "reader"), default="network", help="of training nodules")
    parser.add_argument("--folds", type=int, default=0, help="cross-validation over the training patients")
    parser.add_argument("--part", choices=("all", "network", "folds"), default="all", help="only this, side by side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    train = pool_of(given.data, "train", given.out, given.outlines)
    held = _Held(pool_of(given.data, "val", given.out))
    if given.part != "folds":
        trained(train, held, given.out / "network", given, given.seed)
    if given.part == "network":
        return
    fold = folds_of(train.data.patients, given.folds, given.seed) if given.folds else np.array([])
    for number in range(given.folds):
        rest = train.of(np.flatnonzero(fold != number))
        trained(rest, held, given.out / f"fold_{number}", given, given.seed)


if __name__ == "__main__":
    main()
