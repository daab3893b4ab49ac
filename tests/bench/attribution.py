"""Each attribution method of ours beside the plain way, turn by turn on the same model, with their rank correlation.

python -m tests.bench attribution [--only tile nodule malignancy coarse] [--device cuda] [--quick] [--out FILE.json]

Plain is captum as in its tutorials, one image at a time; for the CAMs a class of hooks, as published CAM packages are
written (pytorch-grad-cam itself imports torchvision, which has no CPU build beside this torch). Both sides have the
same number of steps, samples and windows, but for one row: Integrated Gradients as it comes, with as many steps as its
completeness error asks for, beside the 200 steps of captum's tutorial "TorchVision_Interpret". Tiles are real where
--data (../shared/data) holds them, and noise else; nodules are the synthetic thorax's. Milliseconds are by the wall
clock with as many threads as torch takes by itself, the least of several rounds in which both take turns; what is made
ready once is made before. Beside other work the clock tells little: it says how busy the machine was.

On a GPU both sides are on it, the clock is read when it has nothing left to do, and there are more tiles and all slices
of the nodule: ours takes them together. Both compute in single precision with all its digits, no TF32, unless the row
says bf16 of ours. captum is given the noise ready on the GPU, as ours has it.

coarse_to_fine() compares Occlusion from coarse to fine with the dense map; not by default, for it takes minutes a tile.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .attribution_ways import Ways, ways_of

DATA = Path(__file__).parents[3] / "shared" / "data"
PARTS = ("tile", "nodule", "malignancy")


@dataclass
class Run:
    """What is measured, on what, and the rows that were found."""

    device: str = "cpu"
    rounds: int = 3
    tiles: int = 4
    slices: int = 4
    data: Path = DATA
    rows: list[dict[str, Any]] = field(default_factory=list)


def tile_pixels(data: Path, count: int) -> tuple[Any, str]:
    """float32 (count, 3, 224, 224), and what they are."""
    from shared_models.slide_data import read_tiles

    held = read_tiles(data, "val")
    if held is None:
        return np.random.default_rng(0).integers(0, 256, (count, 3, 224, 224)).astype(np.float32), "noise"
    order = np.random.default_rng(0).permutation(len(held.pixels))[:count]
    return held.pixels[order].transpose(0, 3, 1, 2).astype(np.float32), "real H&E tiles"


def beside(run: Run, what: str, ways: Ways, count: int, more: int = 1) -> None:
    """Prints a row for each: milliseconds an item of ours and the plain way, and the rank correlation of their maps."""
    import torch

    from shared_models.attribution_batch import seconds_of
    from shared_models.attribution_result import rank_correlation

    device = torch.device(run.device)
    for name, pair in ways.items():
        maps = [np.asarray(way()) for way in pair]
        same = min(rank_correlation(a, b) for a, b in zip(*maps))
        used: list[list[float]] = [[], []]
        for _ in range(more * run.rounds):
            for k, way in enumerate(pair):
                used[k].append(seconds_of(way, device))
        ours, plain = (1000 * min(part) / count for part in used)
        how = getattr(pair[0], "how", {})
        said = " ".join(str(how[key]) for key in ("engine", "precision", "steps") if key in how)
        print(f"{what:12s} {name:38s} {ours:9.2f} {plain:9.2f} {plain / ours:6.2f}x   {same:.5f}   {said}", flush=True)
        run.rows.append({
            "of": what, "method": name, "ours_ms": ours, "plain_ms": plain, "times": plain / ours,
            "rank_correlation": same, "items": count, "how": dict(how),
        })  # fmt: skip


def tiles(run: Run) -> None:
    import torch

    from shared_models.attribution import attribute_all
    from shared_models.slide_attribution import explained
    from shared_models.slide_pipeline import SlideModel

    pixels, what = tile_pixels(run.data, run.tiles)
    slide = SlideModel.load(device=run.device)
    network, x = slide._torch(), torch.from_numpy(pixels).to(run.device)
    model = explained(network, slide.classes, slide.logits if run.device == "cpu" else None)
    best = slide.logits(pixels.astype(np.uint8).transpose(0, 2, 3, 1)).argmax(1)
    ways = ways_of(
        model, network, lambda inputs, i: network(inputs)[:, int(best[i])], network.features, x, list(best), None, 255.0
    )
    print(f"tile: {len(x)} {what}; ms a tile")
    beside(run, "tile", ways, len(x))
    three = ("saliency", "gradcam", "gradcam_pp")
    plain = [ways[name][1] for name in ("Saliency", "Grad-CAM, against captum", "Grad-CAM++, against hooks")]
    together: Ways = {
        "Saliency and both CAMs in one pass": (
            lambda: attribute_all(model, x, list(best), three)["saliency"].values, lambda: [way() for way in plain][0],
        )
    }  # fmt: skip
    beside(run, "tile", together, len(x))
    _batches(model)


def nodule(run: Run) -> None:
    """The nodule network on the largest slices of a nodule."""
    from shared_models import ct_attribution
    from shared_models.ct_network import inputs
    from shared_models.ct_pipeline import CTModels

    drawn, own, held, around = _synthetic(run.slices)
    network = CTModels.load(device=run.device).network
    region = around.planes(own[held])[:, None].to(run.device)
    x = inputs(*around.axial(drawn.volume.voxels, held)).to(run.device)
    model = ct_attribution.nodule_model(network, run.device)
    ways = ways_of(
        model, network, lambda inputs, i: (network(inputs) * region[i : i + 1]).sum((1, 2, 3)), network.upcat_2, x,
        "nodule", region, -1.0, prompt=1, window=16, stride=8,
    )  # fmt: skip
    side = " x ".join(map(str, x.shape[2:]))
    print(f"nodule: {len(x)} slices of a synthetic one, {side}, the nodule network, target nodule; ms a slice")
    beside(run, "nodule", ways, len(x))
    _batches(model)


def malignancy(run: Run) -> None:
    """The malignancy network on the largest slice of a nodule."""
    from shared_models import ct_attribution
    from shared_models.ct_malignancy_network import inputs
    from shared_models.ct_pipeline import CTModels

    drawn, own, held, around = _synthetic(1)
    judge = CTModels.load(device=run.device).malignancy.network.to(run.device)
    k = int(held[0])
    seen, _ = inputs(drawn.volume.voxels[k], own[k], (around.spacing[1], around.spacing[2]))
    ways = ways_of(
        ct_attribution.malignancy_model(judge, run.device), judge, lambda inputs, i: judge(inputs)[:, 0],
        judge.features, seen.to(run.device), "malignant", None, -1.0, prompt=1, window=16, stride=8,
    )  # fmt: skip
    print("malignancy: the malignancy network on one slice of it; ms a nodule")
    beside(run, "malignancy", ways, 1, more=3)


def _synthetic(slices: int) -> tuple[Any, Any, Any, Any]:
    """The synthetic thorax, its first nodule, that one's largest slices, and its neighbourhood."""
    from shared_models.ct_neighbourhood import Prompt
    from shared_models.ct_segmentation import neighbourhood

    drawn = _thorax()
    own = drawn.truth.labels == 1
    held = np.flatnonzero(own.any((1, 2)))
    held = held[np.argsort(-own[held].sum((1, 2)), kind="stable")[:slices]]
    corners = [np.array([f(axis) for axis in np.nonzero(own)], float) for f in (np.min, np.max)]
    return drawn, own, held, neighbourhood(own.shape, drawn.volume.spacing_mm, Prompt(*corners))


@lru_cache(maxsize=1)
def _thorax() -> Any:
    from shared_models.phantom import thorax

    return thorax()


def _batches(model: Any) -> None:
    """What was measured on a GPU: milliseconds an input, by the batch."""
    for key, seconds in model.tuned.items():
        if key[1] == "seconds":
            each = ", ".join(f"{1000 * used / size:.2f} ms in {size}" for size, used in seconds.items())
            print(f"  {key[0]}{' in bf16' if key[-1] else ''}: {each}", flush=True)


def coarse_to_fine(run: Run) -> None:
    """Occlusion from coarse to fine against the dense map, windows of 32 pixels every 4."""
    from shared_models.attribution import Occlusion, rank_correlation
    from shared_models.slide_attribution import explained
    from shared_models.slide_pipeline import SlideModel

    pixels, what = tile_pixels(run.data, 2)
    slide = SlideModel.load()
    model = explained(slide._torch(), slide.classes, slide.logits)
    for tile in pixels:
        dense, quick = (
            Occlusion(model, window=32, stride=4, baseline="white", coarse_to_fine=way).attribute(tile[None])
            for way in (False, True)
        )
        same = rank_correlation(dense.values, quick.values)
        used = f"{quick.record['windows_evaluated']} of {dense.record['windows']} windows"
        print(f"  {what}: {used}, rank correlation {same:.4f}", flush=True)


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    import platform

    import captum
    import torch

    said: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device != "cpu" else "CPU", "threads": torch.get_num_threads(),
        "torch": torch.__version__, "captum": captum.__version__, "python": platform.python_version(),
    }  # fmt: skip
    if device != "cpu":
        said["cuda"] = torch.version.cuda
    elif hasattr(os, "getloadavg"):
        said["load"] = round(os.getloadavg()[0], 1)
    return said


def all(options: Sequence[str] = ()) -> None:
    import warnings

    from shared_models.attribution_network import ieee

    ask = argparse.ArgumentParser("tests.bench attribution", description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("--only", nargs="+", choices=(*PARTS, "coarse"), default=PARTS, help="(all but coarse)")
    ask.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    ask.add_argument("--rounds", type=int, help="(3, or 1 if --quick)")
    ask.add_argument("--tiles", type=int, help="(4, on a GPU 16, or 8 if --quick)")
    ask.add_argument("--quick", action="store_true", help="fewer rounds and tiles")
    ask.add_argument("--data", type=Path, default=DATA, help="holds lc25000_lung_224 (../shared/data)")
    ask.add_argument("--out", type=Path, help="write the rows here too, as JSON")
    given = ask.parse_args(options)
    warnings.filterwarnings("ignore", module="captum")
    quick, gpu = given.quick, given.device != "cpu"
    count = given.tiles or (4 if not gpu else 8 if quick else 16)
    run = Run(given.device, given.rounds or (1 if quick else 3), count, 64 if gpu else 4, given.data)
    said = machine(run.device)
    print(f"attribution: {', '.join(f'{key} {value}' for key, value in said.items())}; least of {run.rounds} rounds")
    print(f"{'of':12s} {'method':38s} {'ours':>9s} {'plain':>9s} {'times':>7s}   rank correlation (least)")
    parts = {"nodule": nodule, "malignancy": malignancy, "tile": tiles, "coarse": coarse_to_fine}
    for name in (name for name in parts if name in given.only):
        with ieee():
            parts[name](run)
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            told = {"machine": said, "rounds": run.rounds, "rows": run.rows}
            given.out.write_text(json.dumps(told, indent=1) + "\n")
