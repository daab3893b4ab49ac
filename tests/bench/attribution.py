"""Each attribution method of ours beside the plain way, turn by turn on the same model, with their rank correlation.

python -m tests.bench.attribution [rounds]

Plain is captum as in its tutorials, one image at a time; for the CAMs a class of hooks, as published CAM packages are
written (pytorch-grad-cam itself imports torchvision, which has no CPU build beside this torch). Both sides have the
same number of steps, samples and windows, but for one row: Integrated Gradients as it comes, with as many steps as its
completeness error asks for, beside the 200 steps of captum's tutorial "TorchVision_Interpret". Tiles are real where
../shared/data is, and noise else; nodules are the synthetic thorax's. Milliseconds are by the wall clock with as many
threads as torch takes by itself, the least of several rounds in which both take turns; what is made ready once is made
before. Beside other work the clock tells little: it says how busy the machine was.

coarse_to_fine() compares Occlusion from coarse to fine with the dense map; not in all(), for it takes minutes a tile.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

DATA = Path(__file__).parents[3] / "shared" / "data"
TILES, SLICES, STEPS, SAMPLES, WINDOW, STRIDE = 4, 4, 16, 8, 64, 32
TUTORIAL_STEPS = 200
Ways = dict[str, tuple[Callable[[], Any], Callable[[], Any]]]


class HookCam:
    """Grad-CAM and Grad-CAM++ by hooks: features on the way forward, gradients of all weights on the way back."""

    def __init__(self, network: Any, layer: Any, score: Callable[[Any], Any]) -> None:
        self.network, self.score, self.seen, self.back = network, score, None, None
        self.handles = [
            layer.register_forward_hook(lambda m, i, o: setattr(self, "seen", o)),
            layer.register_full_backward_hook(lambda m, i, o: setattr(self, "back", o[0])),
        ]

    def __call__(self, x: Any, plus_plus: bool) -> Any:
        self.network.zero_grad()
        self.score(x).sum().backward()
        a, g = self.seen.detach(), self.back
        if plus_plus:
            # As ours, features below 0 (LeakyReLU, in the nodule network) do not count, or the sum could be 0.
            below = 2 * g**2 + a.clamp_min(0).sum((2, 3), keepdim=True) * g**3
            weights = (g**2 / (below + 1e-9) * g.clamp_min(0)).sum((2, 3), keepdim=True)
        else:
            weights = g.mean((2, 3), keepdim=True)
        return (weights * a).sum(1).clamp_min(0)

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


def tile_pixels() -> tuple[Any, str]:
    """float32 (TILES, 3, 224, 224), and what they are."""
    from shared_models.slide_data import read_tiles

    held = read_tiles(DATA, "val")
    if held is None:
        return np.random.default_rng(0).integers(0, 256, (TILES, 3, 224, 224)).astype(np.float32), "noise"
    order = np.random.default_rng(0).permutation(len(held.pixels))[:TILES]
    return held.pixels[order].transpose(0, 3, 1, 2).astype(np.float32), "real H&E tiles"


def beside(what: str, ways: Ways, count: int, rounds: int) -> None:
    """Prints a row for each: milliseconds an item of ours and the plain way, and the rank correlation of their maps."""
    from shared_models.attribution_result import rank_correlation

    for name, pair in ways.items():
        maps = [np.asarray(way()) for way in pair]
        same = [rank_correlation(a, b) for a, b in zip(*maps)]
        used: list[list[float]] = [[], []]
        for _ in range(rounds):
            for k, way in enumerate(pair):
                begun = time.perf_counter()
                way()
                used[k].append(time.perf_counter() - begun)
        ours, plain = (1000 * min(part) / count for part in used)
        print(f"{what:14s} {name:38s} {ours:9.1f} {plain:9.1f} {plain / ours:6.2f}x   {min(same):.5f}", flush=True)


def ways_of(
    model: Any, network: Any, score: Callable[[Any, int], Any], layer: Any, x: Any, target: Any, given: Any,
    start: float, prompt: int = 0, window: int = WINDOW, stride: int = STRIDE,
) -> Ways:  # fmt: skip
    """The pairs for one model; ``score`` is of (inputs, item) -> (n,); the last ``prompt`` channels are no image."""
    import captum.attr as captum
    import torch

    from shared_models.attribution import GradCam, GradCamPlusPlus, IntegratedGradients, Occlusion, Saliency, SmoothGrad

    image = x.shape[1] - prompt
    smooth = SmoothGrad(model, samples=SAMPLES)
    base = torch.full_like(x, start)
    if prompt:
        base[:, image:] = x[:, image:]

    def each(of: Callable[[Any, int], Any]) -> Callable[[], Any]:
        return lambda: np.concatenate([of(x[i : i + 1].clone(), i).detach().numpy() for i in range(len(x))])

    def reduced(g: Any) -> Any:
        return g[:, :image].abs().amax(1)

    def forward(i: int) -> Callable[[Any], Any]:
        return lambda inputs: score(inputs, i)

    def noisy(x1: Any, i: int) -> Any:
        """captum's NoiseTunnel, made to draw our noise, so that the maps can be compared."""
        drawn, torch.normal = torch.normal, lambda mean, std: smooth.noises(tuple(x1.shape[1:]), x1.device)
        try:
            tunnel = captum.NoiseTunnel(captum.Saliency(forward(i)))
            return reduced(tunnel.attribute(x1, nt_samples=SAMPLES, stdevs=0.1, abs=False))
        finally:
            torch.normal = drawn

    def integrated(x1: Any, i: int) -> Any:
        method = captum.IntegratedGradients(forward(i))
        found = method.attribute(x1, base[i : i + 1], n_steps=STEPS + 1, method="riemann_trapezoid")
        return found[:, :image].sum(1)

    def as_in_the_tutorial(x1: Any, i: int) -> Any:
        method = captum.IntegratedGradients(forward(i))
        # All 200 tiles at once, captum's default, are more than 24 GB.
        found = method.attribute(x1, base[i : i + 1], n_steps=TUTORIAL_STEPS, internal_batch_size=8)
        return found[:, :image].sum(1)

    def occluded(x1: Any, i: int) -> Any:
        asked = x1[:, image:]

        def of_image(part: Any) -> Any:
            return score(torch.cat([part, asked.expand(len(part), -1, -1, -1)], 1), i)

        with torch.no_grad():
            found = captum.Occlusion(of_image).attribute(
                x1[:, :image], (image, window, window), (image, stride, stride), baselines=start
            )
        return found[:, 0]

    def cam(plus_plus: bool) -> Callable[[], Any]:
        def of(x1: Any, i: int) -> Any:
            hooked = HookCam(network, layer, forward(i))
            try:
                return hooked(x1, plus_plus)
            finally:
                hooked.close()

        return each(of)

    def ours(method: Any, cells: bool = False) -> Callable[[], Any]:
        def run() -> Any:
            found = method.attribute(x, target, given=given)
            return found.cells if cells else found.values

        return run

    fixed = IntegratedGradients(model, baseline=start, steps=STEPS, most_steps=STEPS)
    as_it_comes = IntegratedGradients(model, baseline=start, most_steps=TUTORIAL_STEPS)
    layered = each(lambda x1, i: captum.LayerGradCam(forward(i), layer).attribute(x1, relu_attributions=True)[:, 0])
    covered = Occlusion(model, window=window, stride=stride, baseline=start)
    return {
        "Saliency": (ours(Saliency(model)), each(lambda x1, i: reduced(captum.Saliency(forward(i)).attribute(x1)))),
        f"SmoothGrad, {SAMPLES} samples": (ours(smooth), each(noisy)),
        f"Integrated Gradients, {STEPS} steps": (ours(fixed), each(integrated)),
        f"the same, its own, against {TUTORIAL_STEPS}": (ours(as_it_comes), each(as_in_the_tutorial)),
        f"Occlusion, window {window}, stride {stride}": (ours(covered), each(occluded)),
        "Grad-CAM, against captum": (ours(GradCam(model), True), layered),
        "Grad-CAM, against hooks": (ours(GradCam(model), True), cam(False)),
        "Grad-CAM++, against hooks": (ours(GradCamPlusPlus(model), True), cam(True)),
    }


def tiles(rounds: int) -> None:
    import torch

    from shared_models.attribution import attribute_all
    from shared_models.slide_attribution import explained
    from shared_models.slide_pipeline import SlideModel

    pixels, what = tile_pixels()
    slide = SlideModel.load()
    network, x = slide._torch(), torch.from_numpy(pixels)
    model = explained(network, slide.classes, slide.logits)
    best = slide.logits(pixels.astype(np.uint8).transpose(0, 2, 3, 1)).argmax(1)
    ways = ways_of(
        model, network, lambda inputs, i: network(inputs)[:, int(best[i])], network.features, x, list(best), None, 255.0
    )
    print(f"tile: {TILES} {what}; ms a tile")
    beside("tile", ways, TILES, rounds)
    three = ("saliency", "gradcam", "gradcam_pp")
    plain = [ways[name][1] for name in ("Saliency", "Grad-CAM, against captum", "Grad-CAM++, against hooks")]
    together: Ways = {
        "Saliency and both CAMs in one pass": (
            lambda: attribute_all(model, x, list(best), three)["saliency"].values, lambda: [way() for way in plain][0],
        )
    }  # fmt: skip
    beside("tile", together, TILES, rounds)


def nodule(rounds: int) -> None:
    """The nodule network on the largest slices of the synthetic thorax's first nodule, and the malignancy one."""
    from shared_models import ct_attribution
    from shared_models.ct_malignancy_network import inputs as malignancy_inputs
    from shared_models.ct_neighbourhood import Prompt
    from shared_models.ct_network import inputs
    from shared_models.ct_pipeline import CTModels
    from shared_models.ct_segmentation import neighbourhood
    from shared_models.phantom import thorax

    drawn, network = thorax(), CTModels.load().network
    own = drawn.truth.labels == 1
    corners = [np.array([f(axis) for axis in np.nonzero(own)], float) for f in (np.min, np.max)]
    around = neighbourhood(own.shape, drawn.volume.spacing_mm, Prompt(*corners))
    held = np.flatnonzero(own.any((1, 2)))
    held = held[np.argsort(-own[held].sum((1, 2)), kind="stable")[:SLICES]]
    region = around.planes(own[held])[:, None]
    x = inputs(*around.axial(drawn.volume.voxels, held))
    ways = ways_of(
        ct_attribution.nodule_model(network), network,
        lambda inputs, i: (network(inputs) * region[i : i + 1]).sum((1, 2, 3)), network.upcat_2, x, "nodule", region,
        -1.0, prompt=1, window=16, stride=8,
    )  # fmt: skip
    print(f"nodule: {len(x)} slices of a synthetic one, the nodule network, target nodule; ms a slice")
    beside("nodule", ways, len(x), rounds)
    judge = CTModels.load().malignancy.network
    k = int(held[np.argmax(own[held].sum((1, 2)))])
    seen, _ = malignancy_inputs(drawn.volume.voxels[k], own[k], (around.spacing[1], around.spacing[2]))
    ways = ways_of(
        ct_attribution.malignancy_model(judge), judge, lambda inputs, i: judge(inputs)[:, 0], judge.features, seen,
        "malignant", None, -1.0, prompt=1, window=16, stride=8,
    )  # fmt: skip
    print("malignancy: the malignancy network on one slice of it; ms a nodule")
    beside("malignancy", ways, 1, 3 * rounds)


def coarse_to_fine(count: int = 2) -> None:
    """Occlusion from coarse to fine against the dense map, windows of 32 pixels every 4."""
    from shared_models.attribution import Occlusion, rank_correlation
    from shared_models.slide_attribution import explained
    from shared_models.slide_pipeline import SlideModel

    pixels, what = tile_pixels()
    slide = SlideModel.load()
    model = explained(slide._torch(), slide.classes, slide.logits)
    for tile in pixels[:count]:
        dense, quick = (
            Occlusion(model, window=32, stride=4, baseline="white", coarse_to_fine=way).attribute(tile[None])
            for way in (False, True)
        )
        same = rank_correlation(dense.values, quick.values)
        used = f"{quick.record['windows_evaluated']} of {dense.record['windows']} windows"
        print(f"  {what}: {used}, rank correlation {same:.4f}", flush=True)


def all(rounds: int = 3) -> None:
    import torch

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    threads = torch.get_num_threads()
    print(f"attribution: wall clock, {threads} threads, least of {rounds} rounds; load before {load:.1f}")
    print(f"{'of':14s} {'method':38s} {'ours':>9s} {'plain':>9s} {'times':>7s}   rank correlation (least)")
    tiles(rounds)
    nodule(rounds)


if __name__ == "__main__":
    if sys.argv[1:] == ["coarse"]:
        coarse_to_fine()
    else:
        all(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
