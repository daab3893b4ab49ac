"""Each attribution method of ours and the plain way, as calls to be measured side by side; see attribution.py.

HookCam     Grad-CAM and Grad-CAM++ by hooks, as published CAM packages are written
ways_of()   the pairs for one model
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

STEPS, SAMPLES, WINDOW, STRIDE = 16, 8, 64, 32
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
        return lambda: np.concatenate([of(x[i : i + 1].clone(), i).detach().cpu().numpy() for i in range(len(x))])

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
        def way() -> Any:
            found = method.attribute(x, target, given=given)
            way.how = dict(found.settings)  # type: ignore[attr-defined]
            return found.cells if cells else found.values

        return way

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
