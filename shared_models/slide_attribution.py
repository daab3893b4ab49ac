"""Which parts of an H&E tile speak for a class.

grad_cam()   the last features before pooling, weighted by the gradient of the class's logit

Values are in units of the logit: before negative ones are cut, a tile's values sum to its logit less the bias, because
this network's head is linear on the mean of its features. So tiles may be compared, and background does not glow, which
it would if each tile were stretched to its own maximum.

Source: Selvaraju et al. 2017, arXiv:1610.02391, by captum's LayerGradCam.
"""

from __future__ import annotations

import numpy as np

from .contract.values import Array
from .slide_network import SlideNetwork

BATCH = 8
GRID = 7


def grad_cam(network: SlideNetwork, pixels: Array, target: int, positive: bool = True) -> Array:
    """Grad-CAM of one logit.

    Parameters
    ----------
    network : in evaluation
    pixels : uint8 (n, 224, 224, 3), RGB
    target : index of the logit
    positive : cut negative values, as the paper does

    Returns
    -------
    float32 (n, 7, 7): what each cell adds to the logit
    """
    import torch
    from captum.attr import LayerGradCam

    method = LayerGradCam(network, network.features)
    device = next(network.parameters()).device
    maps = []
    for start in range(0, len(pixels), BATCH):
        part = torch.from_numpy(np.array(pixels[start : start + BATCH])).permute(0, 3, 1, 2).float().to(device)
        found = method.attribute(part, target=target, relu_attributions=positive)
        maps.append(found[:, 0].detach().float().cpu().numpy())
    return np.concatenate(maps)
