"""Class activation maps: a layer's features, weighted by what the score owes to them.

GradCam           the weight of a channel is its mean gradient
GradCamPlusPlus   the weight is the mean of its positive gradients, each with its own share (alpha)
grad_cam(), grad_cam_pp()   the same of features and gradients that are already there

With A the layer's features (n, channels, *cells) and g = d score / d A:
    Grad-CAM      w = mean of g over the cells                        map = sum of w A over the channels
    Grad-CAM++    alpha = g^2 / (2 g^2 + g^3 sum of A over the cells)  w = sum of alpha max(g, 0)
Grad-CAM++ derives alpha for the class score Y = exp(score) of a network whose layers after A are piecewise linear: the
derivatives of Y of order k are then exp(score) g^k. The factor exp(score) is common to a map's cells and is left out,
so that a confident tile does not outshine all others. The paper's features are 0 or more; where a layer's can be less,
they count as 0 in the sum that alpha divides by, or it could be 0.

A signed Grad-CAM is in logits per cell: with a head that averages the cells and is linear it sums to the logit less its
bias. Grad-CAM++ is not: its weights are sums of shares, so its values are larger and have no such unit. Negative values
are cut, as in the papers, unless positive=False; maps are enlarged to the input linearly.

Sources: Selvaraju et al. 2017, arXiv:1610.02391, as captum's LayerGradCam; Chattopadhay et al. 2018, arXiv:1710.11063,
eq. 19.
"""

from __future__ import annotations

from typing import Callable, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .attribution_aim import Aim
from .attribution_method import Maps, Method
from .attribution_model import Explained
from .attribution_result import Setting

_LINEAR = {2: "bilinear", 3: "trilinear"}


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """(n, *cells), signed, of features and gradient (n, channels, *cells)."""
    weights = gradient.mean(dim=tuple(range(2, gradient.ndim)), keepdim=True)
    return (weights * features).sum(dim=1)


def grad_cam_pp(features: Tensor, gradient: Tensor) -> Tensor:
    """(n, *cells) of features and gradient (n, channels, *cells)."""
    cells = tuple(range(2, gradient.ndim))
    # The share g^2 / (2 g^2 + g^3 sum of A), reduced by g^2, which would vanish in single precision.
    below = 2 + gradient.clamp_min(0) * features.clamp_min(0).sum(dim=cells, keepdim=True)
    alpha = 1 / below
    weights = (alpha * gradient.clamp_min(0)).sum(dim=cells, keepdim=True)
    return (weights * features).sum(dim=1)


def enlarged(cells: Tensor, space: tuple[int, ...]) -> Tensor:
    """(n, *space) of (n, *cells): linear, the centres of the cells staying where they are."""
    return interpolate(cells[:, None], space, mode=_LINEAR[len(space)], align_corners=False)[:, 0]


class GradCam(Method):
    """Where the features lie that speak for the output.

    Parameters
    ----------
    positive : cut negative values; False keeps them, as evidence against
    """

    name = "gradcam"
    unit: ClassVar[str] = "logit per cell"
    of: ClassVar[Callable[[Tensor, Tensor], Tensor]] = staticmethod(grad_cam)

    def __init__(self, model: Explained, *, positive: bool = True, precision: str = "auto") -> None:
        super().__init__(model, precision=precision)
        self.positive = positive

    @property
    def signed(self) -> bool:  # type: ignore[override]
        return not self.positive

    @property
    def settings(self) -> dict[str, Setting]:
        return {
            "unit": self.unit, "layer": self.model.layer,
            "scaling": f"{self.unit}, the same for all maps" + ("; negative values cut" if self.positive else ""),
        }  # fmt: skip

    def maps(self, features: Tensor, gradient: Tensor, space: tuple[int, ...]) -> Maps:
        """The maps of features and their gradient, enlarged to ``space``."""
        found = type(self).of(features.float(), gradient.float())
        cells = found.clamp_min(0) if self.positive else found
        return Maps(enlarged(cells, space), cells)

    def _maps(self, aim: Aim) -> Maps:
        return joined([self.maps(*part, tuple(aim.inputs.shape[2:])) for part in self.features(aim)])

    def features(self, aim: Aim) -> list[tuple[Tensor, Tensor]]:
        """Features and gradients of the inputs, batch by batch; nothing before the layer is remembered."""
        size = self.model.at_once("layer", aim, lambda part: layer_gradients(self.model, part))
        return [layer_gradients(self.model, aim.of(some)) for some in self.model.pieces(len(aim.inputs), size)]


class GradCamPlusPlus(GradCam):
    """As GradCam, with weights that do not fade where a class is seen in several places."""

    name = "gradcam_pp"
    unit = "features times their shares of the gradient"
    of = staticmethod(grad_cam_pp)


def layer_gradients(model: Explained, aim: Aim) -> tuple[Tensor, Tensor]:
    """Features of the layer, and the gradient of the scores by them, of one batch."""
    count = len(aim.inputs)
    with torch.enable_grad():
        score, (features,) = model.score(model.full(aim), captures=True, tail=True)
        (gradient,) = torch.autograd.grad(score.sum(), features)
    return features.detach()[:count], gradient[:count]


def joined(parts: list[Maps]) -> Maps:
    """The maps of batches one after the other."""
    cells = [part.cells for part in parts if part.cells is not None]
    return Maps(torch.cat([part.values for part in parts]), torch.cat(cells) if cells else None, said=parts[0].said)
