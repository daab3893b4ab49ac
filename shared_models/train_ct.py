"""Train the nodule segmentation network: python -m shared_models.train_ct --data ../shared/data --out out/ct

Patches centred on a nodule and every slice of the cubes, so that vessels and chest wall are seen without a nodule too.
What is kept is a moving average of the weights, which varies less from epoch to epoch than the weights do: the best by
validation Dice in OUT/best.pt, the record in OUT/result.json; both at every improvement.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, Optional

import numpy as np

from . import ct_data
from .code_version import git_commit
from .ct_network import channels, network

SIDE = 64
_PATCH = 71
_PIXEL_MM = 0.75  # before the random scaling
_AVERAGE = 0.995  # of the weights, a step


def _pool(root: Path, split: str, with_cubes: bool) -> tuple[Any, ...]:
    """hu, mask, valid (n, 71, 71), pixel_mm (n,), is_cube (n,)."""
    flat = ct_data.slices(root, split)
    hu, mask, pixel = [flat.hu], [flat.mask], [flat.pixel_mm]
    valid = [np.ones_like(flat.mask)]
    if with_cubes:
        cube = ct_data.cubes(root, split)
        side = cube.hu.shape[-1]
        edge = (_PATCH - side) // 2
        for axis in (1, 2, 3):  # axial, coronal and sagittal slices alike: a nodule is round
            planes = np.moveaxis(cube.hu, axis, 1).reshape(-1, side, side)
            truth = np.moveaxis(cube.mask, axis, 1).reshape(-1, side, side)
            wide = np.zeros((len(planes), _PATCH, _PATCH), bool)
            wide[:, edge : edge + side, edge : edge + side] = True
            pad = ((0, 0), (edge, _PATCH - side - edge), (edge, _PATCH - side - edge))
            hu.append(np.pad(planes, pad, mode="edge"))
            mask.append(np.pad(truth, pad))
            valid.append(wide)
            pixel.append(np.ones(len(planes)))
    kind = np.concatenate([np.full(len(h), i > 0) for i, h in enumerate(hu)])
    return (*(np.concatenate(part) for part in (hu, mask, valid, pixel)), kind)


def _sampled(batch: tuple[Any, ...], augment: bool, generator: Any) -> tuple[Any, Any, Any]:
    """HU, mask and validity on a SIDE x SIDE grid of _PIXEL_MM, turned, scaled and shifted at random."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    hu, mask, valid, pixel = (torch.as_tensor(np.ascontiguousarray(part)) for part in batch)
    n = len(hu)

    def uniform(lo: float, hi: float) -> Any:
        return torch.rand(n, generator=generator) * (hi - lo) + lo

    # Output half-width over input half-width, both in mm.
    scale = SIDE * _PIXEL_MM / (_PATCH * pixel.float())
    angle, shift = torch.zeros(n), torch.zeros(n, 2)
    flip = torch.ones(n)
    if augment:
        # Below 1 magnifies: whole tumours are larger than the nodules of the training set.
        scale = scale * torch.exp(uniform(math.log(0.4), math.log(1.25)))
        angle = uniform(-math.pi, math.pi)
        flip = torch.sign(uniform(-1, 1))
        shift = torch.stack([uniform(-0.35, 0.35), uniform(-0.35, 0.35)], 1)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [torch.stack([cos * flip, -sin, shift[:, 0]], 1), torch.stack([sin * flip, cos, shift[:, 1]], 1)], 1
    )
    grid = affine_grid(theta.float(), [n, 1, SIDE, SIDE], align_corners=False)
    image = grid_sample(hu.float()[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    truth = (grid_sample(mask.float()[:, None], grid, align_corners=False)[:, 0] > 0.5).float()
    known = (grid_sample(valid.float()[:, None], grid, align_corners=False)[:, 0] > 0.99).float()
    if augment:
        image = image * uniform(0.95, 1.05)[:, None, None] + uniform(-40, 40)[:, None, None]
        image = image + torch.randn(image.shape, generator=generator) * uniform(0, 40)[:, None, None]
    return image, truth, known


def _loss(logits: Any, truth: Any, known: Any) -> Any:
    from torch.nn.functional import binary_cross_entropy_with_logits as bce

    p = logits.sigmoid() * known
    truth = truth * known
    dice = 1 - (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return dice.mean() + (bce(logits, truth, reduction="none") * known).sum() / known.sum()


def _validation(model: Any, pool: tuple[Any, ...]) -> float:
    """Mean Dice of the patches on the model's grid."""
    import torch

    dice = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(pool[0]), 64):
            image, truth, _ = _sampled(tuple(p[start : start + 64] for p in pool[:4]), False, None)
            found = (model(channels(image))[:, 0] > 0).float()
            dice += ((2 * (found * truth).sum((1, 2)) + 1e-6) / (found.sum((1, 2)) + truth.sum((1, 2)) + 1e-6)).tolist()
    return float(np.mean(dice))


def train(
    root: Path, out: Path, minutes: float, seed: int, start_from: Optional[Path] = None, final: bool = False,
    batch: int = 32,
) -> None:  # fmt: skip
    """Train for ``minutes``; the learning rate follows the clock, so a shorter run still ends at a low one.

    Parameters
    ----------
    start_from : folder of an earlier run to go on from, at half the learning rate; its record is kept in the new one
    final : train on the validation patients too, after every choice is made, and keep the last weights
    """
    import torch

    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    random = np.random.default_rng(seed)
    pool, held = _pool(root, "train", True), _pool(root, "val", False)
    if final:
        pool = tuple(np.concatenate(both) for both in zip(pool, _pool(root, "val", True)))
    patches, planes = np.flatnonzero(~pool[4]), np.flatnonzero(pool[4])
    with_nodule = planes[pool[1][planes].any((1, 2))]
    model = network().to(memory_format=torch.channels_last)
    rate = 2e-3
    if start_from is not None:
        model.load_state_dict(torch.load(start_from / "best.pt", weights_only=True))
        rate = 1e-3
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_AVERAGE)
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    record: dict[str, Any] = {
        "commit": git_commit(), "command": f"python -m shared_models.train_ct --minutes {minutes:g} --seed {seed}",
        "train_patches": len(patches), "train_cube_planes": len(planes), "val_patches": len(held[0]), "history": [],
    }  # fmt: skip
    if final:
        record["command"] += " --final"
    if start_from is not None:
        record["command"] += f" --start-from {start_from}"
        record["started_from"] = json.loads((start_from / "result.json").read_text())
    start, best, epoch = time.monotonic(), 0.0, 0
    while (spent := (time.monotonic() - start) / 60) < minutes:
        epoch += 1
        order = np.concatenate([patches, random.choice(with_nodule, 400), random.choice(planes, 800)])
        random.shuffle(order)
        losses = []
        model.train()
        for first in range(0, len(order) - batch + 1, batch):
            part = min(1.0, (time.monotonic() - start) / 60 / minutes)
            for group in optimiser.param_groups:
                group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * part)) * min(1.0, 0.1 + 20 * part)
            chosen = order[first : first + batch]
            image, truth, known = _sampled(tuple(p[chosen] for p in pool[:4]), True, generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(channels(image).contiguous(memory_format=torch.channels_last))
            loss = _loss(logits.float()[:, 0], truth, known)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            average.update_parameters(model)
            losses.append(loss.item())
        dice = _validation(average.module, held)
        record["history"].append({"epoch": epoch, "loss": float(np.mean(losses)), "val_dice": dice})
        spent = (time.monotonic() - start) / 60
        print(f"epoch {epoch} loss {np.mean(losses):.3f} val Dice {dice:.4f} {spent:.1f}/{minutes:g} min", flush=True)
        if final or dice > best:
            best = dice
            torch.save(average.module.state_dict(), out / "best.tmp")
            (out / "best.tmp").replace(out / "best.pt")
        record.update(best_val_dice=best, minutes=round(spent, 1))
        (out / "result.json").write_text(json.dumps(record, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--start-from", type=Path, help="folder of an earlier run")
    parser.add_argument("--final", action="store_true", help="train on validation too and keep the last weights")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    train(given.data, given.out, given.minutes, given.seed, given.start_from, given.final)


if __name__ == "__main__":
    main()
