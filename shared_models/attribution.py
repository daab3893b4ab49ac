"""The six attribution methods by name, one at a time or together.

Explained        a network with what the methods must know of it
Attribution      a map with everything that was chosen to make it
method()         a method of contract METHODS, on a model
attribute_all()  several methods of the same inputs; what they can share is computed once

    model = Explained(network, ("adenocarcinoma", "squamous_cell", "normal"), layer="features", high=255)
    Saliency(model).attribute(pixels, "normal").values          # float32 (n, rows, columns)
    attribute_all(model, pixels, occlusion={"window": 32})      # by name; each input's predicted class

Each method is in a file of its own: attribution_gradients (Saliency, SmoothGrad), attribution_integrated,
attribution_occlusion, attribution_cam.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from .attribution_cam import GradCam, GradCamPlusPlus, joined
from .attribution_gradients import Saliency, SmoothGrad, engine, largest, opened
from .attribution_integrated import IntegratedGradients
from .attribution_method import Maps, Method
from .attribution_model import Aim, Explained, Target
from .attribution_occlusion import Occlusion
from .attribution_result import Attribution, rank_correlation
from .contract.errors import InvalidInput
from .contract.results import METHODS

__all__ = [
    "METHODS", "Attribution", "Explained", "GradCam", "GradCamPlusPlus", "IntegratedGradients", "Method", "Occlusion",
    "Saliency", "SmoothGrad", "attribute_all", "method", "rank_correlation",
]  # fmt: skip

_CLASSES: dict[str, type[Method]] = {
    each.name: each for each in (GradCam, GradCamPlusPlus, IntegratedGradients, Occlusion, Saliency, SmoothGrad)
}


def method(name: str, model: Explained, **settings: Any) -> Method:
    """A method by its name in contract METHODS.

    Raises
    ------
    InvalidInput : no such method, or it has no such setting.
    """
    if name not in _CLASSES:
        raise InvalidInput(f"The method {name} is not known.", f"Use {', '.join(METHODS)}.")
    try:
        return _CLASSES[name](model, **settings)
    except TypeError as fault:
        raise InvalidInput(f"The method {name} has no such setting.", "Look at the method's settings.") from fault


def attribute_all(
    model: Explained, inputs: Any, target: Target = None, methods: Sequence[str] = METHODS, *,
    contrast: Target = None, given: Optional[Tensor] = None, **settings: Mapping[str, Any],
) -> dict[str, Attribution]:  # fmt: skip
    """Maps of several methods.

    The predicted class is found once; Saliency and both CAMs share one forward and one backward pass.

    Parameters
    ----------
    inputs, target, contrast, given : as of Method.attribute
    methods : of METHODS
    settings : by the method's name, its own

    Returns
    -------
    the maps by method, the same as if each had been asked alone

    Raises
    ------
    InvalidInput : as Method.attribute and method().
    """
    unasked = ", ".join(sorted(set(settings) - set(methods)))
    if unasked:
        raise InvalidInput(f"There are settings of {unasked}, which was not asked for.", "Ask for it too.")
    asked = {name: method(name, model, **settings.get(name, {})) for name in dict.fromkeys(methods)}
    aim = model.aim(inputs, target, contrast, given)
    found = _shared(model, aim, asked)
    return {name: found[name] if name in found else each.explained(aim) for name, each in asked.items()}


def _shared(model: Explained, aim: Aim, asked: Mapping[str, Method]) -> dict[str, Attribution]:
    """The maps of those methods that one pass serves, where more than one was asked for and fp32 is computed in."""
    exact = model.device.type == "cpu"
    serves = {
        name: each for name, each in asked.items()
        if isinstance(each, (Saliency, GradCam)) and (each.precision == "fp32" or (exact and each.precision == "auto"))
    }  # fmt: skip
    if len(serves) < 2:
        return {}
    saliency = any(isinstance(each, Saliency) for each in serves.values())

    def passed(part: Aim) -> list[Tensor]:
        found = model.passed(part, captures=True) if saliency else None
        if found is not None and found.features is not None and found.by_features is not None:
            return [found.features, found.by_features, found.gradient]
        leaf = part.inputs.detach().clone().requires_grad_(saliency)
        with torch.enable_grad():
            score, (features,) = model.score(part.at(leaf), captures=True, tail=not saliency)
            wanted = (features, leaf) if saliency else (features,)
            return [features.detach(), *torch.autograd.grad(score.sum(), wanted)]

    size = model.at_once("shared", aim, passed)
    space = tuple(aim.inputs.shape[2:])
    parts: dict[str, list[Maps]] = {name: [] for name in serves}
    for start in range(0, len(aim.inputs), size):
        features, by_features, *rest = passed(aim.of(slice(start, start + size)))
        for name, each in serves.items():
            if isinstance(each, GradCam):
                parts[name].append(each.maps(features, by_features, space))
            else:
                steepest = largest(opened(model, rest[0].float()))
                parts[name].append(Maps(steepest, said=engine(model, aim, captures=True)))
    return {name: each.result(aim, joined(parts[name])) for name, each in serves.items()}
