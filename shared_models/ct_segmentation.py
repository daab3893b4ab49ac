"""The nodule network over a CT: a search of whole slices, or the surroundings of what the user pointed at.

nodule_probability()     float32 probability of each voxel of a box, without a prompt, tile by tile
prompted_probability()   the same around a point or a box, with it: finer, steadier, and slower

The network is normalised by what lies in one crop, so the search looks at tiles as large as those of the training.
A prompt is answered from axial crops and, where slices are thin, from coronal and sagittal ones too, of which each
voxel takes the median; each crop is turned and mirrored, and its answers are averaged.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from .contract.errors import Cancelled
from .contract.values import Array
from .ct_neighbourhood import THIN_MM, Neighbourhood, Prompt, pixel_mm
from .ct_network import MULTIPLE, SEARCH_MM, inputs

BATCH = 4  # slices
_CROPS, _CROPS_ON_GPU = 16, 256  # or tiles, at a time
SIDE = 64
_STRIDE = 48  # of the tiles
_APART_MM = 2.0  # the search leaves out slices that lie closer
_FURTHER, _FURTHEST = 1.5, 3.5  # a crop's pixel grows by, and to at most so many times that of the CT
_ROOM_PX = 3  # around what the axial crops show, for the other two directions
_SURE = 0.3

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]


def nodule_probability(
    network: Any,
    hu: Array,
    spacing_mm: tuple[float, float, float],
    device: str = "cpu",
    *,
    batch: int = BATCH,
    pixel: float = SEARCH_MM,
    inside: Optional[Array] = None,
    progress: Progress = lambda stage, fraction: None,
    cancelled: Cancel = lambda: False,
) -> Array:
    """Probability that a voxel belongs to a nodule, without a prompt.

    Parameters
    ----------
    network : of ct_network, in evaluation mode, on ``device``
    hu : int16 (slices, rows, columns)
    spacing_mm : along (column, row, slice) index
    pixel : in-plane size at which the network looks, mm
    inside : bool, shape of ``hu``; tiles that hold none of it are not looked at, and the answer there is 0
    cancelled : asked before every batch

    Of slices closer than _APART_MM only some are looked at, the others take the answer of the nearest one.

    Returns
    -------
    float32 (slices, rows, columns), on the grid of ``hu``

    Raises
    ------
    Cancelled : ``cancelled()`` turned true.
    """
    import torch
    from torch.nn.functional import interpolate, pad

    rows = max(MULTIPLE, round(hu.shape[1] * spacing_mm[1] / pixel))
    columns = max(MULTIPLE, round(hu.shape[2] * spacing_mm[0] / pixel))
    more = (0, max(0, SIDE - columns), 0, max(0, SIDE - rows))
    step = max(1, int(_APART_MM / spacing_mm[2] + 1e-6))
    looked_at = np.arange(min(step // 2, len(hu) - 1), len(hu), step)
    answer = np.empty(hu.shape, np.float32)
    shrink = rows < hu.shape[1] or columns < hu.shape[2]
    with torch.inference_mode():
        for start in range(0, len(looked_at), batch):
            _stop(cancelled)
            progress("segmenting nodules", start / len(looked_at))
            chosen = looked_at[start : start + batch]
            part = torch.from_numpy(hu[chosen].astype(np.float32))[:, None]
            small = interpolate(part, (rows, columns), mode="bilinear", align_corners=False, antialias=shrink)
            small = pad(small, more, mode="replicate")[:, 0]
            wanted = torch.ones_like(small, dtype=torch.bool)
            if inside is not None:
                size = torch.from_numpy(inside[chosen].astype(np.float32))[:, None]
                wanted = pad(interpolate(size, (rows, columns), mode="nearest"), more)[:, 0] > 0
            mean = _tiled(network, small, wanted, device, cancelled)[:, None, :rows, :columns]
            back = interpolate(mean, hu.shape[1:], mode="bilinear", align_corners=False)[:, 0].numpy()
            for k, plane in zip(chosen, back):
                # The first and the last one answer for all that is left.
                low = 0 if k == looked_at[0] else k - step // 2
                high = len(hu) if k == looked_at[-1] else k - step // 2 + step
                answer[low:high] = plane
    return answer


def _tiled(network: Any, planes: Any, wanted: Any, device: str, cancelled: Cancel) -> Any:
    """torch float32: probability of planes (n, rows, columns), from tiles that overlap and count less at their rim."""
    import torch

    rim = torch.clamp(torch.minimum(torch.arange(SIDE) + 1, SIDE - torch.arange(SIDE)) / 12, max=1.0)
    weight = rim[:, None] * rim[None]
    places = []
    for top in _starts(planes.shape[1]):
        for left in _starts(planes.shape[2]):
            held = wanted[:, top : top + SIDE, left : left + SIDE].any(dim=(1, 2))
            places += [(int(k), top, left) for k in torch.nonzero(held)[:, 0]]
    total, count = torch.zeros_like(planes), torch.zeros_like(planes)
    for start in range(0, len(places), _CROPS):
        _stop(cancelled)
        part = places[start : start + _CROPS]
        tiles = torch.stack([planes[k, top : top + SIDE, left : left + SIDE] for k, top, left in part])
        found = network(inputs(tiles.to(device))).float().sigmoid()[:, 0].cpu()
        for (k, top, left), tile in zip(part, found):
            total[k, top : top + SIDE, left : left + SIDE] += tile * weight
            count[k, top : top + SIDE, left : left + SIDE] += weight
    return total / count.clamp(min=1e-6)


def _starts(size: int) -> list[int]:
    """Where the tiles along one side begin: evenly apart, the last one at the end."""
    parts = int(np.ceil((size - SIDE) / _STRIDE)) + 1
    return [int(round(place)) for place in np.linspace(0, size - SIDE, parts)]


def prompted_probability(
    network: Any,
    hu: Array,
    spacing_mm: tuple[float, float, float],
    prompt: Prompt,
    device: str = "cpu",
    *,
    turns: int = 4,
    extent_mm: float = 0.0,
    cancelled: Cancel = lambda: False,
) -> tuple[Neighbourhood, Array]:
    """Probability that a voxel belongs to the nodule that a prompt means.

    Parameters
    ----------
    hu : int16 (slices, rows, columns)
    spacing_mm : along (column, row, slice) index
    turns : of each crop, 1 to 4 quarter turns, each also mirrored
    extent_mm : how large the lesion is thought to be, 0 if unknown

    Returns
    -------
    around : the crops that were looked at; ``around.where`` is the part of ``hu``
    float32, on that part of the grid

    Raises
    ------
    Cancelled : ``cancelled()`` turned true.
    """
    around = neighbourhood(hu.shape, spacing_mm, prompt, extent_mm)
    most = max(_FURTHEST * pixel_mm(spacing_mm), around.pixel * _FURTHER)
    while True:
        probability = _answered(network, hu, around, device, turns, cancelled)
        # A lesion that fills the crop, or that is larger than all of it, is looked at from further away.
        if ((probability > _SURE).any() and not _fills(probability, around)) or around.pixel * _FURTHER > most:
            return around, probability
        around = Neighbourhood(hu.shape, spacing_mm, prompt, around.side, around.pixel * _FURTHER)


def neighbourhood(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], prompt: Prompt, extent_mm: float = 0.0
) -> Neighbourhood:
    """The crops around a prompt, at the CT's own pixels unless a box or a lesion of ``extent_mm`` needs more room."""
    extent = max(extent_mm, float(((prompt.high - prompt.low)[1:] * np.array(spacing_mm[1::-1])).max()))
    return Neighbourhood(shape, spacing_mm, prompt, SIDE, max(pixel_mm(spacing_mm), extent / (0.6 * SIDE)))


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
    if around.spacing[0] > THIN_MM or len(around.slices) == 1:
        return axial
    views = np.stack([axial, axial, axial])
    for axis in (1, 2):
        used = np.flatnonzero((axial > _SURE).any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(used):
            return axial
        room = int(np.ceil(_ROOM_PX * around.step[axis]))
        low, high = max(0, used[0] - room), min(axial.shape[axis], used[-1] + 1 + room)
        seen, asked = around.turned(hu, axis, np.arange(low, high) + around.where[axis].start)
        part = tuple(slice(low, high) if a == axis else slice(None) for a in range(3))
        views[axis][part] = around.back(_averaged(network, seen, asked, device, turns, cancelled), axis)
    result: Array = np.median(views, axis=0)
    return result


def _averaged(network: Any, hu: Any, prompt: Any, device: str, turns: int, cancelled: Cancel) -> Any:
    """torch float32 (n, side, side): mean probability of crops over quarter turns and mirror images."""
    import torch

    parts, at_once = [], _CROPS if device == "cpu" else _CROPS_ON_GPU
    with torch.inference_mode():
        for start in range(0, len(hu), at_once):
            seen = inputs(hu[start : start + at_once].to(device), prompt[start : start + at_once].to(device))
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
