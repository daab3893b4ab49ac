"""The nodule network over a CT: slices at PIXEL_MM, in batches, back on the CT's own grid.

nodule_probability()   float32 probability of each voxel of a box
in_plane_size()        rows and columns of a box at PIXEL_MM
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .contract.errors import Cancelled
from .contract.values import Array
from .ct_network import PIXEL_MM, channels

BATCH = 4
_MULTIPLE = 16

Progress = Callable[[str, float], None]


def in_plane_size(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> tuple[int, int]:
    """(rows, columns) at PIXEL_MM of slices of ``shape`` (..., rows, columns)."""
    rows = max(_MULTIPLE, round(shape[-2] * spacing_mm[1] / PIXEL_MM))
    return rows, max(_MULTIPLE, round(shape[-1] * spacing_mm[0] / PIXEL_MM))


def nodule_probability(
    network: Any,
    hu: Array,
    spacing_mm: tuple[float, float, float],
    device: str = "cpu",
    *,
    batch: int = BATCH,
    progress: Progress = lambda stage, fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Array:
    """Probability that a voxel belongs to a nodule.

    Parameters
    ----------
    network : of ct_network, in evaluation mode, on ``device``
    hu : int16 (slices, rows, columns)
    spacing_mm : along (column, row, slice) index
    cancelled : asked before every batch

    Returns
    -------
    float32 (slices, rows, columns), on the grid of ``hu``

    Raises
    ------
    Cancelled : ``cancelled()`` turned true.
    """
    import torch
    from torch.nn.functional import interpolate, pad

    rows, columns = in_plane_size(hu.shape, spacing_mm)
    more = [-rows % _MULTIPLE, -columns % _MULTIPLE]
    answer = np.empty(hu.shape, np.float32)
    shrink = rows < hu.shape[1] or columns < hu.shape[2]
    with torch.inference_mode():
        for start in range(0, len(hu), batch):
            if cancelled():
                raise Cancelled("The job was cancelled.", "")
            progress("segmenting nodules", start / len(hu))
            part = torch.from_numpy(hu[start : start + batch].astype(np.float32)).to(device)[:, None]
            small = interpolate(part, (rows, columns), mode="bilinear", align_corners=False, antialias=shrink)
            seen = channels(pad(small, (0, more[1], 0, more[0]), mode="replicate")[:, 0])
            # The slice and its mirror image: a nodule is one in both, and the mean is steadier.
            found = [
                network(view.contiguous(memory_format=torch.channels_last)).float().sigmoid()
                for view in (seen, seen.flip(-1))
            ]
            mean = ((found[0] + found[1].flip(-1)) / 2)[:, :, :rows, :columns]
            back = interpolate(mean, hu.shape[1:], mode="bilinear", align_corners=False)
            answer[start : start + batch] = back[:, 0].cpu().numpy()
    return answer
