"""Methods that follow the gradient of the score back to the image.

Saliency              the largest |gradient| of an image's channels, at each place
SmoothGrad            the same, of the mean gradient over noisy copies of the image
input_gradients()     the gradients themselves, of one batch

Integrated Gradients has a file of its own. Gradients are in logits per unit of the image (a grey level of an H&E tile).
On a CPU they are ONNX Runtime's where it can run the network backwards (attribution_onnx_gradient), and torch's else;
"engine" in the record says which.

Sources: Simonyan et al. 2014, arXiv:1312.6034; Smilkov et al. 2017, arXiv:1706.03825. As captum's Saliency, and its
NoiseTunnel over Saliency(abs=False); channels are then reduced as Simonyan does. SmoothGrad departs in one thing: the
noise is relative to the range that images can have, not to that of this image, so that a flat tile is treated alike.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .attribution_aim import Aim
from .attribution_method import Maps, Method
from .attribution_model import Explained
from .attribution_result import Setting
from .contract.errors import InvalidInput


def scored_gradients(model: Explained, aim: Aim, many: bool = False) -> tuple[Tensor, Tensor]:
    """Gradients as of input_gradients(), and the scores (n,) themselves; ``many`` as Explained.many()."""
    found = None if many else model.passed(aim)
    if found is not None:
        return opened(model, found.gradient), aim.score(found.logits)
    count, aim = len(aim.inputs), model.full(aim)
    inputs = aim.inputs.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        score, _ = model.score(aim.at(inputs))
        gradient = torch.autograd.grad(score.sum(), inputs)[0].float()
    return opened(model, gradient)[:count], score.detach().float()[:count]


def batches(model: Explained, aim: Aim, count: int) -> list[slice]:
    """``count`` gradients like those of ``aim``, in batches."""
    size = model.at_once("gradients", aim, lambda part: scored_gradients(model, part), count)
    return model.pieces(count, size)


def input_gradients(model: Explained, aim: Aim, many: bool = False) -> Tensor:
    """float32 (n, channels, *space): the gradient of each input's score, of one batch; 0 in fixed channels."""
    return scored_gradients(model, aim, many)[0]


def opened(model: Explained, gradient: Tensor) -> Tensor:
    """The gradient, 0 in the channels that are a prompt."""
    if model.fixed_channels:
        gradient[:, list(model.fixed_channels)] = 0
    return gradient


def engine(model: Explained, aim: Aim, captures: bool = False, many: bool = False) -> tuple[tuple[str, Setting]]:
    """For the record: what computed the gradients."""
    return (("engine", "torch" if many else model.engine(aim, captures)),)


def largest(gradient: Tensor) -> Tensor:
    """(n, *space): the largest absolute value of the channels."""
    return gradient.abs().amax(dim=1)


class Saliency(Method):
    """Where a small change of the image changes the score most; 0 or more."""

    name, signed = "saliency", False

    @property
    def settings(self) -> dict[str, Setting]:
        return {"unit": "logit per unit of the image", "channels": "largest |gradient|"}

    def _maps(self, aim: Aim) -> Maps:
        count = len(aim.inputs)
        many = self.model.many(count)
        parts = [largest(input_gradients(self.model, aim.of(some), many)) for some in batches(self.model, aim, count)]
        return Maps(torch.cat(parts), said=engine(self.model, aim, many=many))


class SmoothGrad(Method):
    """Saliency of the mean gradient over noisy copies; 0 or more.

    Parameters
    ----------
    samples : noisy copies of each input
    noise : standard deviation, as a share of the range of the image's values
    seed : of the noise, which is the same for every input, however many there are and in whatever batches
    """

    name, signed = "smoothgrad", False

    def __init__(
        self, model: Explained, *, samples: int = 16, noise: float = 0.1, seed: int = 0, precision: str = "auto"
    ) -> None:
        super().__init__(model, precision=precision)
        if not 1 <= samples <= 1024 or not 0 <= noise <= 1:
            raise InvalidInput("SmoothGrad cannot be computed so.", "Choose 1 to 1024 samples and noise of 0 to 1.")
        self.samples, self.noise, self.seed = samples, noise, seed

    @property
    def settings(self) -> dict[str, Setting]:
        return {
            "unit": "logit per unit of the image", "channels": "largest |mean gradient|", "samples": self.samples,
            "noise": self.noise, "seed": self.seed,
        }  # fmt: skip

    def noises(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """float32 (samples, *shape): what is added to an input; 0 in fixed channels."""
        drawn = _drawn(self.seed, (self.samples, *shape), device)
        return opened(self.model, drawn * (self.noise * (self.model.high - self.model.low)))

    def _maps(self, aim: Aim) -> Maps:
        noises = self.noises(tuple(aim.inputs.shape[1:]), aim.inputs.device)
        count = len(aim.inputs) * self.samples
        many = self.model.many(count)
        total = torch.zeros_like(aim.inputs, memory_format=torch.contiguous_format)
        for some in batches(self.model, aim, count):
            index = torch.arange(some.start, some.stop, device=noises.device)
            rows, samples = index // self.samples, index % self.samples
            part = aim.of(rows)
            gradients = input_gradients(self.model, part.at(part.inputs + noises[samples]), many)
            # Each input's sum as a product, which a GPU adds up in the same order each time.
            first, last = some.start // self.samples, (some.stop - 1) // self.samples + 1
            own = (rows == torch.arange(first, last, device=rows.device)[:, None]).to(gradients)
            total[first:last] += (own @ gradients.flatten(1)).reshape(-1, *total.shape[1:])
        return Maps(largest(total / self.samples), said=engine(self.model, aim, many=many))


@lru_cache(maxsize=4)
def _drawn(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Normal noise, drawn on the CPU, so that a GPU has the same, and kept: it takes a GPU longer than a map."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
