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
from .ct_network import inputs
from .ct_segmentation import in_plane_size

_MULTIPLE = 16


def grad_cam(
    network: Any, hu: Array, mask: Array, spacing_mm: tuple[float, float, float], device: str = "cpu"
) -> Array:
    """Grad-CAM of one nodule.

    Parameters
    ----------
    hu : int16 (slices, rows, columns), a crop around the nodule
    mask : bool, same shape; the nodule
    spacing_mm : along (column, row, slice) index

    Returns
    -------
    float32 (slices, rows, columns), 0 or more; 0 in slices without the nodule
    """
    import torch
    from captum.attr import LayerGradCam
    from torch.nn.functional import interpolate, pad

    rows, columns = in_plane_size(hu.shape, spacing_mm)
    more = (0, -columns % _MULTIPLE, 0, -rows % _MULTIPLE)
    result = np.zeros(hu.shape, np.float32)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        part = torch.from_numpy(hu[k].astype(np.float32)).to(device)[None, None]
        wanted = torch.from_numpy(mask[k].astype(np.float32)).to(device)[None, None]
        small = interpolate(part, (rows, columns), mode="bilinear", align_corners=False)
        region = pad(interpolate(wanted, (rows, columns), mode="bilinear", align_corners=False), more)
        seen = inputs(pad(small, more, mode="replicate")[:, 0])

        def summed(x: Any, region: Any = region) -> Any:
            return (network(x) * region).sum(dim=(1, 2, 3))

        method = LayerGradCam(summed, network.upcat_2)
        found = method.attribute(seen, relu_attributions=True)
        sized = interpolate(found.detach(), seen.shape[-2:], mode="bilinear", align_corners=False)
        back = interpolate(sized[:, :, :rows, :columns], hu.shape[1:], mode="bilinear", align_corners=False)
        result[k] = back[0, 0].float().cpu().numpy()
    return result
