"""Train the nodule network: python -m shared_models.train_ct --data ../shared/data --out out/ct --steps 4000

Workers of one thread each draw their own samples; every few steps their weights are averaged (local SGD, Stich
2019, arXiv:1805.09767), which on two busy cores is faster than two threads that wait for each other. What is kept is
a moving average of the weights: the best by validation Dice in OUT/best.pt, the record in OUT/result.json; both at
every improvement. Same seed, same steps, same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .code_version import git_commit
from .ct_network import inputs, load, network
from .ct_prompts import point_map
from .ct_sampling import MIXES, PATCH, Pool, Samples, drawn
from .model_bundle import sha256_of

WORKERS, BATCH = 2, 16
SIDES = (48, 48, 64)  # of the crops, in turn: most nodules are small
VALIDATION_SIDE = 64
AVERAGE = 0.998  # of the weights, a step
_TOGETHER, _CHECK = 10, 200  # steps between averages of the workers, and between validations


def loss_of(logits: Any, samples: Samples) -> Any:
    """Soft Dice of each sample and cross-entropy of each pixel, where the truth is known."""
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    known, truth = samples.known, samples.truth * samples.known
    p = logits.sigmoid() * known
    dice = 1 - (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return dice.mean() + (cross_entropy(logits, truth, reduction="none") * known).sum() / known.sum()


def validation_dice(model: Any, pool: Pool) -> float:
    """Mean Dice on the patches' native pixels, from a point at the centre, threshold 0.5."""
    import torch

    edge = (PATCH - VALIDATION_SIDE) // 2
    where = slice(edge, edge + VALIDATION_SIDE)
    place = np.arange(VALIDATION_SIDE) - (PATCH - 1) / 2 + edge
    prompt = torch.from_numpy(point_map(np.hypot(place[:, None], place[None])))
    dice = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(pool.hu), 64):
            hu = torch.from_numpy(pool.hu[start : start + 64, where, where].astype(np.float32))
            truth = torch.from_numpy(pool.mask[start : start + 64, where, where])
            found = model(inputs(hu, prompt.expand(len(hu), -1, -1)))[:, 0] > 0
            dice += (2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2)))).tolist()
    return float(np.mean(dice))


def _averaged(model: Any, workers: int) -> None:
    """Every worker's weights become the mean of all workers' weights."""
    import torch
    from torch import distributed

    with torch.no_grad():
        held = [t for t in model.state_dict().values() if t.is_floating_point()]
        flat = torch.cat([t.reshape(-1) for t in held])
        distributed.all_reduce(flat)
        flat /= workers
        for tensor, mean in zip(held, flat.split([t.numel() for t in held])):
            tensor.copy_(mean.view_as(tensor))


def _work(rank: int, given: argparse.Namespace, record: dict[str, Any]) -> None:
    import torch
    from torch import distributed
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    torch.set_num_threads(1)
    store = f"file://{given.out.resolve()}/workers"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=given.workers)
    torch.manual_seed(given.seed)
    random = np.random.default_rng([given.seed, rank])
    pool = Pool.read(given.data, *(("train", "val") if given.final else ("train",)))
    held = Pool.read(given.data, "val")
    model = network() if given.start_from is None else load(given.start_from)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(given.average))
    optimiser = torch.optim.AdamW(model.parameters(), lr=given.rate, weight_decay=1e-3)
    start, best, losses = time.monotonic(), 0.0, []
    for step in range(1, given.steps + 1):
        rate = given.rate * (0.5 + 0.5 * math.cos(math.pi * step / given.steps)) * min(1.0, step / 100)
        for group in optimiser.param_groups:
            group["lr"] = rate
        samples = drawn(pool, BATCH, SIDES[step % len(SIDES)], random, MIXES[given.mix])
        model.train()
        loss = loss_of(model(inputs(samples.hu, samples.prompt))[:, 0], samples)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % _TOGETHER == 0 or step == given.steps:
            _averaged(model, given.workers)
        average.update_parameters(model)
        if step % _CHECK and step != given.steps:
            continue
        if rank == 0:
            dice = validation_dice(average.module, held)
            record["history"].append({"step": step, "loss": float(np.mean(losses)), "val_dice": dice})
            spent = (time.monotonic() - start) / 60
            print(f"step {step} loss {np.mean(losses):.4f} val Dice {dice:.4f} {spent:.1f} min", flush=True)
            if given.final or dice > best:
                best = dice
                torch.save(average.module.state_dict(), given.out / "best.tmp")
                (given.out / "best.tmp").replace(given.out / "best.pt")
            record.update(best_val_dice=best, minutes=round(spent, 1))
            (given.out / "result.json").write_text(json.dumps(record, indent=1))
        losses = []
    distributed.destroy_process_group()


def _record(given: argparse.Namespace, started: Optional[dict[str, Any]]) -> dict[str, Any]:
    command = f"python -m shared_models.train_ct --steps {given.steps} --rate {given.rate:g} --seed {given.seed}"
    if given.workers != WORKERS:
        command += f" --workers {given.workers}"
    if given.average != AVERAGE:
        command += f" --average {given.average:g}"
    if given.mix != "even":
        command += f" --mix {given.mix}"
    if given.final:
        command += " --final"
    if given.start_from is not None:
        command += f" --start-from {given.start_from}"
    pool, held = Pool.read(given.data, "train"), Pool.read(given.data, "val")
    return {
        "commit": git_commit(), "command": command, "seed": given.seed,
        "train_patches": len(pool.hu), "train_cubes": len(pool.cube_hu),
        "val_patches": len(held.hu), "val_cubes": len(held.cube_hu), "started_from": started, "history": [],
    }  # fmt: skip


def _earlier(weights: Optional[Path]) -> Optional[dict[str, Any]]:
    """What is known of the weights to go on from."""
    if weights is None:
        return None
    told = weights.parent / "result.json"
    return {"sha256": sha256_of(weights), "result": json.loads(told.read_text()) if told.is_file() else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--start-from", type=Path, help="weights file to go on from")
    parser.add_argument("--final", action="store_true", help="train on validation too and keep the last weights")
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes of one thread")
    parser.add_argument("--average", type=float, default=AVERAGE, help="how much of the averaged weights a step keeps")
    parser.add_argument("--mix", choices=MIXES, default="even", help="which samples are drawn how often")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    from torch import multiprocessing

    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "workers").unlink(missing_ok=True)
    record = _record(given, _earlier(given.start_from))
    multiprocessing.spawn(_work, (given, record), nprocs=given.workers)


if __name__ == "__main__":
    main()
