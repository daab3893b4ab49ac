"""The 3D network of thin slices: it corrects what the 2D network answered in three directions.

network(width)   a new network, whose correction is 0
load(*paths)     the trained networks
joined()         several of them in one file
Field            SIDE voxels of 1 mm a side around a prompt, and the way back to the CT's own voxels
inputs()         what the network sees of a field: two HU windows, the prompt, the logit of the 2D network
correction()     the networks' mean answer over mirror images
refinable()      whether a neighbourhood's answer is corrected at all
refined()        the corrected probability of a neighbourhood

The correction is added to the logit on the CT's own voxels, so that the 2D network's fine in-plane detail stays.
Axes are (slice, row, column) everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np

from .contract.errors import Cancelled, ModelUnavailable
from .contract.values import Array
from .ct_neighbourhood import THIN_MM, Neighbourhood, Prompt, pixel_mm
from .ct_network import channels

SIDE = 48  # voxels of 1 mm
MOST_LOGIT = 6.0  # more is not told apart
FEATURES = {8: (8, 16, 32, 64, 64, 8), 16: (16, 32, 64, 96, 96, 16)}
VIEWS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))  # axes of (n, slice, row, column) that are mirrored
_POINT_MM, _BOX_MM = 3.0, 1.0  # sigma of the bell around a point, and of a box's soft edges
_FIRST, _LAST = "conv_0.conv_0.conv.weight", "final_conv"
_BATCH = 8

Cancel = Callable[[], bool]


def network(width: int = 16, dropout: float = 0.0) -> Any:
    """A new network: (n, 4, SIDE, SIDE, SIDE) to corrections of the logit (n, 1, SIDE, SIDE, SIDE), all 0 at first.

    ``width``, of FEATURES: how many features its first level has.
    """
    import torch
    from monai.networks.nets import BasicUNet

    norm = ("group", {"num_groups": 8})
    made = BasicUNet(
        spatial_dims=3, in_channels=4, out_channels=1, features=FEATURES[width], norm=norm, dropout=dropout
    )
    last = getattr(made, _LAST)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return made


def load(*paths: Path) -> Any:
    """The trained networks of one file or several, each as wide as its weights: a torch ModuleList, in evaluation mode.

    A file holds one network, or those that joined() put together.

    Raises
    ------
    ModelUnavailable : a file does not hold this network's weights.
    """
    import pickle

    import torch

    members = torch.nn.ModuleList()
    try:
        for path in paths:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            for part in weights["members"] if "members" in weights else [weights]:
                model = network(len(part[_FIRST]))
                model.load_state_dict(part)
                members.append(model)
        members[0]  # of an empty file
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as fault:
        raise ModelUnavailable("The 3D network of thin slices cannot be read.", "Install the models again.") from fault
    return members.eval()


def joined(members: Any, path: Path) -> None:
    """Write the networks of load() into one file, in half precision."""
    import torch

    torch.save({"members": [{n: t.half() for n, t in one.state_dict().items()} for one in members]}, path)


def logit_of(probability: Any) -> Any:
    """torch, within MOST_LOGIT, of a probability (torch or numpy)."""
    import torch

    least = float(1 / (1 + np.exp(MOST_LOGIT)))
    return torch.logit(torch.as_tensor(probability).float(), eps=least)


def corrected(probability: Any, change: Any) -> Any:
    """torch: the probability after ``change`` of its logit; where that is 0, the very same."""
    import torch

    before = logit_of(probability)
    return (torch.as_tensor(probability) + ((before + change).sigmoid() - before.sigmoid())).clamp(0, 1)


def weights_of(places: Any, size: int, edge: bool) -> Any:
    """torch float32 (..., k, size): linear interpolation at fractional ``places`` (..., k) of ``size`` values.

    Beyond the first and last value these are repeated (``edge``), or it falls to 0 within one step.
    """
    import torch

    places = places.clamp(0, size - 1) if edge else places
    return (1 - (places[..., None] - torch.arange(size, device=places.device)).abs()).clamp(min=0)


def sampled(values: Any, along: Any, edge: bool) -> Any:
    """torch (n, a, b, c): trilinear interpolation of ``values`` (n, s, r, c) at places (n, k) along each axis."""
    import torch

    for axis, (places, ways) in enumerate(zip(along, ("nks,nsrc->nkrc", "nkr,nsrc->nskc", "nkc,nsrc->nsrk"))):
        values = torch.einsum(ways, weights_of(places, values.shape[axis + 1], edge), values)
    return values


def prompt_map(along: Any, low: Any, high: Any, step: Any) -> Any:
    """torch float32 (n, SIDE, SIDE, SIDE) in [0, 1]: a bell around a point, a filled box with soft edges.

    Parameters
    ----------
    along : three of (n, SIDE), index in the CT of the field's voxels
    low, high : (n, 3), corners in that index; equal for a point
    step : (n, 3), index per voxel of the field
    """
    import torch

    point = (low == high).all(1)
    sigma = torch.where(point, _POINT_MM, _BOX_MM)[:, None]
    parts = []
    for axis, places in enumerate(along):
        a, b = low[:, axis, None], high[:, axis, None]
        outside = torch.maximum(a - places, places - b).clamp(min=0) / step[:, axis, None]
        parts.append((-0.5 * (outside / sigma) ** 2).exp())
    return torch.einsum("ns,nr,nc->nsrc", *parts)


def inputs(hu: Any, prompt: Any, logit: Any) -> Any:
    """torch float32 (n, 4, SIDE, SIDE, SIDE) of HU, prompt and the 2D network's logit (n, SIDE, SIDE, SIDE)."""
    import torch

    return torch.cat([channels(hu), prompt[:, None], logit[:, None] / MOST_LOGIT], dim=1)


def aligned(centre: Array) -> Array:
    """Where a field about ``centre`` (..., 3) lies: half a voxel off, so that a CT of 1 mm needs no interpolation."""
    middle: Array = np.floor(np.asarray(centre, dtype=np.float64) + 0.5) + 0.5
    return middle


class Field:
    """SIDE voxels of 1 mm a side around a prompt.

    Parameters
    ----------
    prompt : of a CT, in its index
    spacing_mm : along (column, row, slice) index
    """

    def __init__(self, prompt: Prompt, spacing_mm: tuple[float, float, float]) -> None:
        import torch

        self.prompt = prompt
        self.step = 1.0 / np.array(spacing_mm[::-1], dtype=np.float64)  # index per voxel of the field
        self.centre = aligned(prompt.centre)
        across = np.arange(SIDE) - (SIDE - 1) / 2
        self.along = [torch.from_numpy(c + across * s)[None].float() for c, s in zip(self.centre, self.step)]

    def seen(self, hu: Array) -> Any:
        """torch float32 (1, SIDE, SIDE, SIDE) HU of the CT; beyond its border its last voxels are repeated."""
        import torch

        ends = [(float(a.min()), float(a.max())) for a in self.along]
        box = [
            slice(int(np.clip(np.floor(a), 0, n - 1)), int(np.clip(np.ceil(b), 0, n - 1)) + 1)
            for (a, b), n in zip(ends, hu.shape)
        ]
        part = torch.from_numpy(hu[tuple(box)].astype(np.float32))[None]
        return sampled(part, [a - b.start for a, b in zip(self.along, box)], edge=True)

    def answered(self, logit: Any, where: tuple[slice, slice, slice]) -> Any:
        """torch float32 (1, SIDE, SIDE, SIDE) of the 2D network's logit, known in a part of the CT, least elsewhere."""
        places = [a - part.start for a, part in zip(self.along, where)]
        return sampled(logit[None] + MOST_LOGIT, places, edge=False) - MOST_LOGIT

    def asked(self) -> Any:
        """torch float32 (1, SIDE, SIDE, SIDE): the prompt."""
        import torch

        low, high, step = (
            torch.from_numpy(np.asarray(part, dtype=np.float32))[None]
            for part in (self.prompt.low, self.prompt.high, self.step)
        )
        return prompt_map(self.along, low, high, step)

    def back(self, values: Any, where: tuple[slice, slice, slice]) -> Any:
        """torch float32, of a part of the CT: ``values`` (1, SIDE, SIDE, SIDE) on its own voxels; outside 0."""
        import torch

        along = [
            ((torch.arange(part.start, part.stop) - c) / s + (SIDE - 1) / 2)[None].float()
            for part, c, s in zip(where, self.centre, self.step)
        ]
        return sampled(values, along, edge=False)[0]


def correction(members: Any, seen: Any, device: str = "cpu", cancelled: Cancel = lambda: False) -> Any:
    """torch float32 (n, SIDE, SIDE, SIDE) on the CPU: the mean correction of fields of inputs().

    One network sees all of VIEWS; of several each sees one in turn, which costs no more.
    """
    import torch

    asked = [(members[k % len(members)], VIEWS[k % len(VIEWS)]) for k in range(max(len(members), len(VIEWS)))]
    parts = []
    with torch.inference_mode():
        for part in seen.split(_BATCH):
            here = part.to(device)
            total = torch.zeros_like(here[:, 0])
            for model, axes in asked:
                if cancelled():
                    raise Cancelled("The job was cancelled.", "")
                view = here.flip([axis + 1 for axis in axes]) if axes else here
                found = model(view)[:, 0].float()
                total += found.flip(axes) if axes else found
            parts.append((total / len(asked)).cpu())
    return torch.cat(parts)


def refinable(around: Neighbourhood) -> bool:
    """Whether slices are thin and the crop was not looked at from further away."""
    own = pixel_mm((float(around.spacing[2]), float(around.spacing[1]), float(around.spacing[0])))
    return bool(around.spacing[0] <= THIN_MM and len(around.slices) > 1 and around.pixel == own)


def refined(
    members: Any, hu: Array, around: Neighbourhood, probability: Array, device: str = "cpu",
    cancelled: Cancel = lambda: False,
) -> Array:  # fmt: skip
    """The corrected probability of a refinable() neighbourhood, shape and grid of ``probability``.

    Parameters
    ----------
    members : of load(), on ``device``
    hu : int16 (slices, rows, columns), the CT
    around, probability : of ct_segmentation.prompted_probability

    Raises
    ------
    Cancelled : ``cancelled()`` turned true.
    """
    k, j, i = around.spacing
    field = Field(around.prompt, (float(i), float(j), float(k)))
    seen = inputs(field.seen(hu), field.asked(), field.answered(logit_of(probability), around.where))
    change = field.back(correction(members, seen, device, cancelled), around.where)
    result: Array = corrected(probability, change).numpy()
    return result
