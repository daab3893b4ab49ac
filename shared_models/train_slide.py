"""Trains the H&E tile model: one command, seeds set, checkpoints every epoch, may be resumed.

    python -m shared_models.train_slide --data ../shared/data --out out/slide [--resume]

OUT/last.pt      everything needed to go on: weights, their moving average, optimiser, epoch, best so far
OUT/best.pt      weights (moving average) of the best epoch on the validation split
OUT/result.json  commit, command, seed, every epoch, and temperature; metrics are made by evaluate_slide

EfficientNet-Lite0 from ImageNet or --start, stem and first blocks frozen (slide_early), batch-norm statistics frozen;
AdamW, cosine rate with a warm-up, label smoothing, mixup and CutMix, classes drawn equally often or weighted
(slide_mixing), strong stain, scale and JPEG changes (slide_augmentation); optionally on stain-normalised tiles. The
best epoch is the one with the lowest mean loss over the validation tiles as they are and after fixed stain and JPEG
shifts: what is wanted is a model that stands other laboratories. One temperature is then fitted on the same tiles. The
test split is not looked at here.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from .code_version import git_commit
from .contract.values import Array
from .model_bundle import sha256_of
from .slide_augmentation import STAIN_SPACES, augmented, shifted
from .slide_data import TileSet, read_tiles
from .slide_early import EarlyLayers
from .slide_mixing import BALANCES, class_weights, drawn, mixed, mixed_loss
from .slide_network import SLIDE_CLASSES, SlideNetwork, imagenet_weights, restored
from .stain import METHODS, normaliser, target_of

_WARM_UP = 1 / 12  # of all steps
_SMOOTHING = 0.05
_AVERAGE = 0.99
# Without such instructions bfloat16 is emulated, and ten times slower than float32.
_BF16 = any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def as_batch(pixels: Array) -> Tensor:
    """uint8 (n, h, w, 3) -> float (n, 3, h, w), 0 to 255, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()


def class_indices(tiles: TileSet) -> Tensor:
    """int64 (n,), positions in SLIDE_CLASSES."""
    return torch.tensor([SLIDE_CLASSES.index(label) for label in tiles.labels])


def logits_of(
    network: SlideNetwork, early: EarlyLayers, tiles: TileSet, shift: bool = False, size: int = 32,
    restain: Optional[Callable[[Array], Array]] = None,
) -> Tensor:  # fmt: skip
    """float32 (n, 3) logits in evaluation, of the tiles as they are or after the fixed shifts, then normalised."""
    network.eval()
    answers = []
    with torch.inference_mode():
        for start in range(0, len(tiles.pixels), size):
            batch = as_batch(tiles.pixels[start : start + size])
            batch = shifted(batch) if shift else batch
            if restain is not None:
                batch = as_batch(restain(batch.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()))
            answers.append(_late(network, early(batch), early.blocks))
    return torch.cat(answers)


def _late(network: SlideNetwork, features: Tensor, blocks: int) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_BF16):
        return network.late(features.to(memory_format=torch.channels_last), blocks).float()


def _prepare(network: SlideNetwork, frozen: int) -> None:
    """Training mode, but for batch-norm statistics; the first layers need no gradient."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for part in (network._conv_stem, network._bn0, *network._blocks[:frozen]):
        part.requires_grad_(False)


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the lowest cross-entropy, by golden section on its logarithm."""
    low, high = math.log(0.2), math.log(5.0)
    ratio = (math.sqrt(5) - 1) / 2

    def loss(log_t: float) -> float:
        return float(functional.cross_entropy(logits / math.exp(log_t), labels))

    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return math.exp((low + high) / 2)


def _write(path: Path, save: Any) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    save(part)
    os.replace(part, path)


def train(
    data: Path, out: Path, *, epochs: int, batch: int, rate: float, seed: int, resume: bool,
    limit: Optional[int] = None, stain: str = "hed", mixup: float = 0.5, cutmix: float = 0.0,
    balance: str = "sampling", normalise: Optional[str] = None, start: Optional[Path] = None,
    frozen: int = 3,
) -> dict[str, Any]:  # fmt: skip
    """Train, and return what result.json holds.

    ``limit`` takes only so many tiles of each split, for a trial; ``stain`` is one of STAIN_SPACES; ``mixup`` and
    ``cutmix`` are shares of batches, ``balance`` one of BALANCES; ``normalise`` is a method of stain normalisation,
    whose target is a typical training tile; ``start`` holds the weights to go on from in place of ImageNet's; the stem
    and ``frozen`` blocks keep theirs.
    """
    read = [read_tiles(data, split) for split in ("train", "val")]
    if read[0] is None or read[1] is None:
        raise SystemExit(f"{data} does not hold the H&E tiles; see --data.")
    sets = [_first(tiles, limit) for tiles in read if tiles is not None]
    labels, val_labels = class_indices(sets[0]), class_indices(sets[1])
    section = None if normalise is None else stain_section(sets[0].pixels, normalise, seed)
    restain = normaliser(section)
    pixels = sets[0].pixels if restain is None else restain(sets[0].pixels)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = imagenet_weights(SlideNetwork()) if start is None else restored(start)
    network = network.to(memory_format=torch.channels_last)
    _prepare(network, frozen)
    early = EarlyLayers(network, frozen)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    decay = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, rate)
    history: list[dict[str, float]] = []
    best, first = math.inf, 0
    if resume and (out / "last.pt").is_file():
        kept = torch.load(out / "last.pt", map_location="cpu", weights_only=True)
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        average, history, best, first = kept["average"], kept["history"], kept["best"], kept["epoch"]
        print(f"going on after epoch {first}", flush=True)
    classes, weights = len(SLIDE_CLASSES), class_weights(labels.numpy(), len(SLIDE_CLASSES), balance)
    steps = math.ceil(len(drawn(labels.numpy(), classes, balance, np.random.default_rng(0))) / batch)
    commit, started = git_commit(), time.monotonic()
    probe = SlideNetwork().to(memory_format=torch.channels_last)
    for epoch in range(first, epochs):
        # One generator an epoch, so that a resumed run draws what an unbroken one would have.
        rng = np.random.default_rng([seed, epoch])
        torch.manual_seed(seed * 1000 + epoch)
        order, total = drawn(labels.numpy(), classes, balance, rng), 0.0
        _prepare(network, frozen)
        for step in range(steps):
            done = epoch * steps + step
            warm = min(1.0, (done + 1) / (_WARM_UP * epochs * steps))
            for group in optimiser.param_groups:
                group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * done / (epochs * steps)))
            chosen = order[step * batch : (step + 1) * batch]
            pair = mixed(augmented(as_batch(pixels[chosen]), rng, stain), rng, mixup, cutmix)
            logits = _late(network, early(pair.tiles), frozen)
            loss = mixed_loss(logits, labels[torch.from_numpy(chosen)], pair, _SMOOTHING, weights)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], 5.0)
            optimiser.step()
            total += loss.item()
            share = min(_AVERAGE, (done + 1) / (done + 10))
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value, 1 - share)
            if step % 10 == 9:
                ahead = (time.monotonic() - started) / (done - first * steps + 1) * (epochs * steps - done - 1)
                print(f"epoch {epoch + 1}/{epochs} step {step + 1}/{steps} loss {total / (step + 1):.4f} "
                      f"about {ahead / 60:.1f} min left", flush=True)  # fmt: skip
        probe.load_state_dict(average)
        row = {"epoch": epoch + 1, "train_loss": total / steps, 
               **_judged(probe, early, sets[1], val_labels, restain)}  # fmt: skip
        history.append(row)
        print(json.dumps({k: round(v, 4) for k, v in row.items()}), flush=True)
        if row["val_loss"] + row["shifted_loss"] < best:
            best = row["val_loss"] + row["shifted_loss"]
            _write(out / "best.pt", lambda path: torch.save(_plain(probe), path))
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "average": average,
                 "history": history, "best": best, "epoch": epoch + 1}  # fmt: skip
        _write(out / "last.pt", lambda path, state=state: torch.save(state, path))
        settings = {"epochs": epochs, "batch": batch, "rate": rate, "seed": seed, "stain_augmentation": stain,
                    "mixup": mixup, "cutmix": cutmix, "balance": balance, "normalise": normalise,
                    "frozen_blocks": frozen, "start": None if start is None else sha256_of(start)}  # fmt: skip
        probe.load_state_dict(torch.load(out / "best.pt", weights_only=True))
        result = {"commit": commit, "command": " ".join(["python -m shared_models.train_slide", *sys.argv[1:]]),
                  "settings": settings, "train_tiles": len(labels), "val_tiles": len(val_labels),
                  "minutes": round((time.monotonic() - started) / 60, 1), "history": history,
                  "stain": section, **_calibrated(probe, early, sets[1], val_labels, restain)}  # fmt: skip
        _write(out / "result.json", lambda path, result=result: path.write_text(json.dumps(result, indent=1)))
    return result


def _first(tiles: TileSet, limit: Optional[int]) -> TileSet:
    if limit is None:
        return tiles
    chosen = np.random.default_rng(0).permutation(len(tiles.labels))[:limit]
    return TileSet(
        tiles.pixels[chosen], tiles.labels[chosen], tiles.groups[chosen], tuple(tiles.files[i] for i in chosen)
    )


def _plain(network: SlideNetwork) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in network.state_dict().items()}


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


def _judged(
    network: SlideNetwork, early: EarlyLayers, tiles: TileSet, labels: Tensor,
    restain: Optional[Callable[[Array], Array]],
) -> dict[str, float]:  # fmt: skip
    row = {}
    for name, shift in (("val", False), ("shifted", True)):
        logits = logits_of(network, early, tiles, shift, restain=restain)
        row[f"{name}_loss"] = float(functional.cross_entropy(logits, labels))
        row[f"{name}_accuracy"] = float((logits.argmax(1) == labels).float().mean())
    return row


def _calibrated(
    network: SlideNetwork, early: EarlyLayers, tiles: TileSet, labels: Tensor,
    restain: Optional[Callable[[Array], Array]],
) -> dict[str, float]:  # fmt: skip
    """The temperature, on the validation tiles as they are and shifted, taken together."""
    both = torch.cat([logits_of(network, early, tiles, shift, restain=restain) for shift in (False, True)])
    return {"temperature": fitted_temperature(both, torch.cat([labels, labels]))}


def main() -> None:
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
    if min(given.mixup, given.cutmix) < 0 or given.mixup + given.cutmix > 1:
        parser.error("--mixup and --cutmix are shares of the batches: 0 or more each, at most 1 together")
    torch.set_num_threads(min(int(os.environ.get("OMP_NUM_THREADS", 2)), os.cpu_count() or 1))
    train(given.data, given.out, epochs=given.epochs, batch=given.batch, rate=given.rate, seed=given.seed,
          resume=given.resume, limit=given.limit, stain=given.stain_augmentation, mixup=given.mixup,
          cutmix=given.cutmix, balance=given.balance, normalise=given.normalise, start=given.start,
          frozen=given.frozen_blocks)  # fmt: skip


if __name__ == "__main__":
    main()
