"""Baselines: the image that says nothing, which Integrated Gradients starts from and Occlusion covers with.

baseline()   of a name in BASELINES, or of a value

white   the upper end of the range: glass of an H&E slide
black   the lower end; the same as "air", -1000 HU, in networks of CT
mean    the mean of each channel of the image itself
blur    the image itself, blurred by a Gaussian of an eighth of its side
Which one is right is a matter of the question; the method's record says which was used.
"""

from __future__ import annotations

from typing import Union

import torch
from torch import Tensor
from torch.nn import functional

from .attribution_model import Explained
from .contract.errors import InvalidInput

BASELINES = ("white", "black", "air", "mean", "blur")
Baseline = Union[str, float, Tensor]
_BLUR = 1 / 8


def baseline(model: Explained, inputs: Tensor, of: Baseline) -> Tensor:
    """The baseline of each input; channels that are a prompt stay as they are.

    Parameters
    ----------
    inputs : (n, channels, *space)
    of : one of BASELINES, a value for all of the image, or a tensor of the inputs' shape

    Returns
    -------
    (n, channels, *space)

    Raises
    ------
    InvalidInput : no such baseline, or a tensor of another shape.
    """
    if isinstance(of, Tensor):
        if of.shape != inputs.shape:
            raise InvalidInput("The baseline does not have the image's shape.", "Give one of the same shape.")
        found = of.to(inputs)
    elif isinstance(of, str):
        found = _named(model, inputs, of)
    else:
        found = torch.full_like(inputs, float(of))
    if model.fixed_channels:
        found = found.clone()
        fixed = list(model.fixed_channels)
        found[:, fixed] = inputs[:, fixed]
    return found


def said(of: Baseline) -> str:
    """The baseline in words, for the record."""
    return of if isinstance(of, str) else "an image" if isinstance(of, Tensor) else f"{float(of):g}"


def _named(model: Explained, inputs: Tensor, name: str) -> Tensor:
    space = tuple(range(2, inputs.ndim))
    if name == "white":
        return torch.full_like(inputs, model.high)
    if name in ("black", "air"):
        return torch.full_like(inputs, model.low)
    if name == "mean":
        return inputs.mean(dim=space, keepdim=True).expand_as(inputs).clone()
    if name == "blur":
        return _blurred(inputs)
    raise InvalidInput(f"There is no baseline {name}.", f"Use {', '.join(BASELINES)}.")


def _blurred(inputs: Tensor) -> Tensor:
    """Gaussian along each axis of space, the edge repeated; sigma is an eighth of the shorter side in the plane."""
    sigma = max(_BLUR * min(inputs.shape[-2:]), 1e-3)
    result = inputs.contiguous()
    for axis in range(2, inputs.ndim):
        size = inputs.shape[axis]
        at = torch.arange(size, device=inputs.device, dtype=torch.float64)
        reach = int(3 * sigma) + 1
        offsets = torch.arange(-reach, reach + 1, device=inputs.device, dtype=torch.float64)
        weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
        weights = weights / weights.sum()
        # One matrix for the axis: row i holds what each pixel gives to pixel i, repeated edges included.
        places = (at[:, None] + offsets).clamp(0, size - 1).long()
        matrix = torch.zeros(size, size, device=inputs.device, dtype=torch.float64)
        matrix.scatter_add_(1, places, weights.expand(size, -1).contiguous())
        result = functional.linear(result.movedim(axis, -1), matrix.to(inputs.dtype)).movedim(-1, axis)
    return result
