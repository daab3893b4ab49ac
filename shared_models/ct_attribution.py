"""Which voxels speak for a nodule, on the CT's own grid.

grad_cam()   the decoder's last features of the nodule network, weighted by the gradient of the nodule's summed logit

The target is the sum of the logits over the voxels that were segmented as the nodule, slice by slice, so the map says
where the network saw what it calls this nodule. Values are in logit units, negative ones cut.

Source: Selvaraju et al. 2017, arXiv:1610.02391, by captum's LayerGradCam; for segmentation as in
Vinogradova et al. 2020, arXiv:2002.11434.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .contract.values import Array
from .ct_neighbourhood import Neighbourhood
from .ct_network import inputs


def grad_cam(network: Any, hu: Array, mask: Array, around: Neighbourhood, device: str = "cpu") -> Array:
    """Grad-CAM of one nodule, with the prompt that it was outlined from.

    Parameters
    ----------
    hu : int16 (slices, rows, columns), the CT
    mask : bool, of ``around.where``; the nodule
    around : the crops that it was outlined in

    Returns
    -------
    float32, of ``around.where``, 0 or more; 0 in slices without the nodule
    """
    from captum.attr import LayerGradCam
    from torch.nn.functional import interpolate

    result = np.zeros(mask.shape, np.float32)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        plane = np.zeros(hu.shape[1:], bool)
        plane[around.where[1:]] = mask[k]
        region = around.planes(plane[None])[:, None].to(device)
        planes, asked = around.axial(hu, np.array([around.where[0].start + k]))
        seen = inputs(planes.to(device), asked.to(device))

        def summed(x: Any, region: Any = region) -> Any:
            return (network(x) * region).sum(dim=(1, 2, 3))

        found = LayerGradCam(summed, network.upcat_2).attribute(seen, relu_attributions=True)
        sized = interpolate(found.detach(), seen.shape[-2:], mode="bilinear", align_corners=False)
        result[k] = around.back(sized[:, 0].float().cpu())[0]
    return result
