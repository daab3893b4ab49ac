"""The nodule network over a CT: a search of whole slices, or the surroundings of what the user pointed at.

nodule_probability()     float32 probability of each voxel of a box, without a prompt
prompted_probability()   the same around a point or a box, with it: finer, steadier, and slower

A prompt is answered from axial crops and, where slices are thin, from coronal and sagittal ones too; each is turned
and mirrored, and all answers are averaged.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .contract.errors import Cancelled
from .contract.values import Array
from .ct_neighbourhood import Neighbourhood, Prompt, pixel_mm
from .ct_network import MULTIPLE, SEARCH_MM, inputs

BATCH = 4
_CROPS = 16  # of a prompt in a batch
SIDE = 64
THIN_MM = 2.5
_ROOM_PX = 3  # around what the axial crops show, for the other two directions
_SURE = 0.3

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]


def in_plane_size(shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> tuple[int, int]:
    """(rows, columns) at SEARCH_MM of slices of ``shape`` (..., rows, columns)."""
    rows = max(MULTIPLE, round(shape[-2] * spacing_mm[1] / SEARCH_MM))
    return rows, max(MULTIPLE, round(shape[-1] * spacing_mm[0] / SEARCH_MM))


def nodule_probability(
    network: Any,
    hu: Array,
    spacing_mm: tuple[float, float, float],
    device: str = "cpu",
    *,
    batch: int = BATCH,
    progress: Progress = lambda stage, fraction: None,
    cancelled: Cancel = lambda: False,
) -> Array:
    """Probability that a voxel belongs to a nodule, without a prompt.

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
    more = [-rows % MULTIPLE, -columns % MULTIPLE]
    answer = np.empty(hu.shape, np.float32)
    shrink = rows < hu.shape[1] or columns < hu.shape[2]
    with torch.inference_mode():
        for start in range(0, len(hu), batch):
            _stop(cancelled)
            progress("segmenting nodules", start / len(hu))
            part = torch.from_numpy(hu[start : start + batch].astype(np.float32)).to(device)[:, None]
            small = interpolate(part, (rows, columns), mode="bilinear", align_corners=False, antialias=shrink)
            seen = inputs(pad(small, (0, more[1], 0, more[0]), mode="replicate")[:, 0])
            mean = network(seen.contiguous(memory_format=torch.channels_last)).float().sigmoid()[:, :, :rows, :columns]
            back = interpolate(mean, hu.shape[1:], mode="bilinear", align_corners=False)
            answer[start : start + batch] = back[:, 0].cpu().numpy()
    return answer


def prompted_probability(
    network: Any,
    hu: Array,
    spacing_mm: tuple[float, float, float],
    prompt: Prompt,
    device: str = "cpu",
    *,
    turns: int = 4,
    cancelled: Cancel = lambda: False,
) -> tuple[tuple[slice, slice, slice], Array]:
    """Probability that a voxel belongs to the nodule that a prompt means.

    Parameters
    ----------
    hu : int16 (slices, rows, columns)
    spacing_mm : along (column, row, slice) index
    turns : of each crop, 1 to 4 quarter turns, each also mirrored

    Returns
    -------
    where, in ``hu`` : slices (slices, rows, columns)
    float32, on that part of the grid

    Raises
    ------
    Cancelled : ``cancelled()`` turned true.
    """
    around = neighbourhood(hu.shape, spacing_mm, prompt)
    probability = _answered(network, hu, around, device, turns, cancelled)
    # A lesion that fills the crop is looked at from further away.
    while _fills(probability, around) and around.pixel < 3 * pixel_mm(spacing_mm):
        around = Neighbourhood(hu.shape, spacing_mm, prompt, around.side, around.pixel * 1.5)
        probability = _answered(network, hu, around, device, turns, cancelled)
    return around.where, probability


def neighbourhood(shape: tuple[int, ...], spacing_mm: tuple[float, float, float], prompt: Prompt) -> Neighbourhood:
    """The crops around a prompt, at the CT's own pixels unless a box needs more room than SIDE."""
    pixel = pixel_mm(spacing_mm)
    extent = float(((prompt.high - prompt.low)[1:] * np.array(spacing_mm[1::-1])).max())
    return Neighbourhood(shape, spacing_mm, prompt, SIDE, max(pixel, extent / (0.75 * SIDE)))


def _stop(cancelled: Cancel) -> None:
    if cancelled():
        raise Cancelled("The job was cancelled.", "")


def _fills(probability: Array, around: Neighbourhood) -> bool:
    """Whether what was found runs into the crop's border, and the CT goes on there."""
    found = probability > 0.5
    for axis in (1, 2):
        where = around.where[axis]
        for edge, ends in ((0, where.start == 0), (-1, where.stop == around.shape[axis])):
            if not ends and found.take(edge, axis).any():
                return True
    return False


def _answered(
    network: Any, hu: Array, around: Neighbourhood, device: str, turns: int, cancelled: Cancel
) -> Array:
    seen, asked = around.axial(hu, around.slices)
    axial = around.back(_averaged(network, seen, asked, device, turns, cancelled))
    if around.spacing[0] > THIN_MM or len(around.slices) < SIDE // 4:
        return axial
    total, count = axial.copy(), np.ones(axial.shape, np.float32)
    for axis in (1, 2):
        used = np.flatnonzero((axial > _SURE).any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(used):
            return axial
        room = int(np.ceil(_ROOM_PX * around.step[axis]))
        low, high = max(0, used[0] - room), min(axial.shape[axis], used[-1] + 1 + room)
        seen, asked = around.turned(hu, axis, np.arange(low, high) + around.where[axis].start)
        found = around.back(_averaged(network, seen, asked, device, turns, cancelled), axis)
        part = tuple(slice(low, high) if a == axis else slice(None) for a in range(3))
        total[part] += found
        count[part] += 1
    result: Array = total / count
    return result


def _averaged(network: Any, hu: Any, prompt: Any, device: str, turns: int, cancelled: Cancel) -> Any:
    """torch float32 (n, side, side): mean probability of crops over quarter turns and mirror images."""
    import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(hu), _CROPS):
            seen = inputs(hu[start : start + _CROPS].to(device), prompt[start : start + _CROPS].to(device))
            total = torch.zeros_like(seen[:, 0])
            for turn in range(turns):
                for mirrored in (False, True):
                    _stop(cancelled)
                    view = torch.rot90(seen, turn, (2, 3))
                    view = view.flip(-1) if mirrored else view
                    found = network(view.contiguous()).float().sigmoid()
                    found = found.flip(-1) if mirrored else found
                    total += torch.rot90(found, -turn, (2, 3))[:, 0]
            parts.append((total / (2 * turns)).cpu())
    return torch.cat(parts)
