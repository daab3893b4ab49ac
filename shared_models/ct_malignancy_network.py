"""The network that rates a nodule from its image: one axial slice around it, and its outline.

GRID_PX, GRID_MM, WINDOWS_HU   the grid and the windows that it sees
Grid                           where that grid lies in a CT slice: sampled() goes there, back() returns
grid_of(mask, pixel_mm)        the grid of a nodule: its middle is the centroid of the outline
channels(hu, mask)             the three channels, of images on the grid
inputs(hu, mask, pixel_mm)     the network's input and the Grid it was made on, of a CT slice
MalignancyNetwork              the network; its last convolutional block is ``features``
saved(), restored()            a state dict on disk; never a pickle

Everything is in index order (row, column), as the slices of a CTVolume are. Grid pixel (i, j) lies at the CT slice's
fractional index
    row    = centre[0] + (i - (GRID_PX - 1) / 2) * GRID_MM / pixel_mm[0]
    column = centre[1] + (j - (GRID_PX - 1) / 2) * GRID_MM / pixel_mm[1]
so the field is 44.8 mm wide, at whatever pixels the CT has. ``features`` has 16 x 16 cells of 4 x 4 grid pixels,
2.8 mm each: cell (i, j) is centred on grid pixel (4 i + 1.5, 4 j + 1.5). Bilinear resizing of such a map to
GRID_PX x GRID_PX with align_corners=False keeps these centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .contract.errors import InvalidInput, ModelUnavailable
from .contract.values import Array

GRID_PX, GRID_MM = 64, 0.7
# (lower, upper) HU: lung, where ground glass and the edge show, and soft tissue up to calcium.
WINDOWS_HU = ((-1000.0, 200.0), (-160.0, 440.0))
CHANNELS = ("lung window", "soft-tissue window", "outline of the nodule")
# The two logits: what readers would rate, and whether it is a nodule at all (vessels and chest wall are not).
OUTPUTS = ("malignant", "nodule")
MALIGNANT, NODULE = range(2)
# Features of the stem and of each block, by those of the stem.
FEATURES = {8: (8, 24, 40, 64), 16: (16, 48, 80, 128), 32: (32, 96, 160, 256)}
_CELL = 4  # grid pixels along each side of a cell of ``features``


@dataclass(frozen=True)
class Grid:
    """Where the network's grid lies in a CT slice.

    Parameters
    ----------
    centre : (row, column), fractional index in the slice, of the grid's middle
    pixel_mm : (row, column) spacing of the slice
    shape : (rows, columns) of the slice
    """

    centre: tuple[float, float]
    pixel_mm: tuple[float, float]
    shape: tuple[int, int]

    def index_of(self, axis: int) -> Array:
        """float64 (GRID_PX,): fractional index in the slice of each grid row (axis 0) or column (axis 1)."""
        steps = np.arange(GRID_PX) - (GRID_PX - 1) / 2
        index: Array = self.centre[axis] + steps * GRID_MM / self.pixel_mm[axis]
        return index

    def sampled(self, image: Array, outside: str = "nearest") -> Array:
        """float32 (GRID_PX, GRID_PX) of an image (rows, columns) of the slice, bilinear.

        ``outside`` of the slice: "nearest" repeats its edge, "constant" is 0.
        """
        return _interpolated(image, self.index_of(0), self.index_of(1), outside)

    def back(self, values: Array) -> Array:
        """float32 (rows, columns) on the slice's own pixels, of a map (GRID_PX, GRID_PX); bilinear, 0 outside the grid.

        The grid's outer half pixel belongs to it and holds the value of its edge.
        """
        found, inside = [], []
        for axis in (0, 1):
            index = np.arange(self.shape[axis])
            at = (index - self.centre[axis]) * self.pixel_mm[axis] / GRID_MM + (GRID_PX - 1) / 2
            found.append(at)
            inside.append((at >= -0.5) & (at <= GRID_PX - 0.5))
        result = np.zeros(self.shape, np.float32)
        rows, columns = (np.flatnonzero(kept) for kept in inside)
        if len(rows) and len(columns):
            result[np.ix_(rows, columns)] = _interpolated(values, found[0][rows], found[1][columns], "nearest")
        return result


def _interpolated(image: Array, rows: Array, columns: Array, outside: str) -> Array:
    """float32 (len(rows), len(columns)): bilinear, at fractional indices."""
    from scipy.ndimage import map_coordinates

    # Only what is needed, so that a whole slice is not turned into floats; two pixels more for "constant" at an edge.
    low = [int(max(0, np.floor(a.min()) - 2)) for a in (rows, columns)]
    high = [int(np.ceil(a.max()) + 3) for a in (rows, columns)]
    low = [min(a, n - 1) for a, n in zip(low, image.shape)]
    part = np.asarray(image)[low[0] : max(high[0], low[0] + 1), low[1] : max(high[1], low[1] + 1)].astype(np.float32)
    places = np.meshgrid(rows - low[0], columns - low[1], indexing="ij")
    values: Array = map_coordinates(part, places, order=1, mode=outside, cval=0.0, prefilter=False)
    return values


def grid_of(mask: Array, pixel_mm: tuple[float, float]) -> Grid:
    """The grid of the nodule ``mask``, bool (rows, columns).

    Raises
    ------
    InvalidInput : the mask is empty, not 2D, or the pixel size is not a positive number.
    """
    rows, columns = np.nonzero(mask) if np.ndim(mask) == 2 else ((), ())
    if not len(rows):
        raise InvalidInput("There is no nodule on this slice.", "Outline the nodule, then classify again.")
    spacing = (float(pixel_mm[0]), float(pixel_mm[1]))
    if not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InvalidInput("The pixel size is not a positive number.", "Give a CT with its pixel spacing in mm.")
    return Grid((float(np.mean(rows)), float(np.mean(columns))), spacing, (mask.shape[0], mask.shape[1]))


def channels(hu: Tensor, mask: Tensor) -> Tensor:
    """float32 (n, 3, GRID_PX, GRID_PX) of HU and outline (n, GRID_PX, GRID_PX), both on the grid.

    The windows are in [-1, 1], the outline in [0, 1].
    """
    windows = [((hu - lo) / (hi - lo)).clamp(0, 1) * 2 - 1 for lo, hi in WINDOWS_HU]
    return torch.stack([*windows, mask], dim=1).float()


def inputs(hu: Array, mask: Array, pixel_mm: tuple[float, float]) -> tuple[Tensor, Grid]:
    """What the network sees of one nodule on one axial slice.

    Parameters
    ----------
    hu : (rows, columns), HU; the whole slice, or as much of it as there is: beyond its edge the edge is repeated
    mask : bool, same shape, not empty
    pixel_mm : (row, column) spacing

    Returns
    -------
    float32 (1, 3, GRID_PX, GRID_PX), and the Grid, whose back() puts a map of it onto the slice.

    Raises
    ------
    InvalidInput : as grid_of, or the two shapes differ.
    """
    if np.shape(hu) != np.shape(mask):
        raise InvalidInput("The outline is not on the grid of the CT.", "Outline the nodule on this CT.")
    grid = grid_of(mask, pixel_mm)
    planes = (grid.sampled(hu), grid.sampled(mask, "constant"))
    return channels(*(torch.from_numpy(plane)[None] for plane in planes)), grid


class Block(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(into, out, 3, padding=1, bias=False)
        self.norm_first = nn.BatchNorm2d(out)
        self.relu_first = nn.ReLU()
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm_second = nn.BatchNorm2d(out)
        self.past = nn.Conv2d(into, out, 1, bias=False)
        self.relu_second = nn.ReLU()  # each ReLU its own module: attribution methods hook them

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu_first(self.norm_first(self.first(x)))
        return self.relu_second(self.norm_second(self.second(y)) + self.past(x))


class MalignancyNetwork(nn.Module):
    """A small residual network on the grid.

    Forward: float (n, 3, GRID_PX, GRID_PX) of channels() -> float (n, 2) logits, in the order of OUTPUTS.

    Parameters
    ----------
    dropout : before the last layer
    width : of FEATURES: how many features its stem has

    Attributes
    ----------
    features : the last convolutional block, (n, f, 16, 16), not negative: the layer that Grad-CAM looks at; f is the
        last of FEATURES[width]

    The features are averaged twice, over the whole field, where size counts, and over the outline, where it does not.
    """

    def __init__(self, dropout: float = 0.3, width: int = 8) -> None:
        super().__init__()
        stem, near, middle, last = FEATURES[width]
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.near = Block(stem, near)
        self.middle = Block(near, middle)
        self.features = Block(middle, last)
        self.halved = nn.AvgPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * last, len(OUTPUTS))

    def pooled(self, x: Tensor) -> Tensor:
        """float (n, 2 f): the features over the whole field, then over the outline."""
        found = self.features(self.middle(self.halved(self.near(self.halved(self.stem(x))))))
        inside = functional.avg_pool2d(x[:, 2:3], _CELL)
        over = (found * inside).sum((2, 3)) / (inside.sum((2, 3)) + 1e-3)
        return torch.cat([found.mean((2, 3)), over], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.dropout(self.pooled(x)))
        return answer


def saved(network: MalignancyNetwork, path: Path) -> None:
    """Write the state dict, in half precision: it is read back into float32."""
    state = {n: (t.half() if t.is_floating_point() else t).contiguous() for n, t in network.state_dict().items()}
    torch.save(state, path)


def restored(path: Path, device: str = "cpu") -> MalignancyNetwork:
    """The network with the weights at ``path``, in evaluation mode.

    Raises
    ------
    ModelUnavailable : the file is missing, is not a plain state dict, or does not fit.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        network = MalignancyNetwork(width=len(state["stem.0.weight"]))
        network.load_state_dict(state)
        if not all(bool(t.isfinite().all()) for t in network.state_dict().values()):
            raise ValueError("not finite")
    except Exception as fault:  # torch raises several kinds for a broken file
        raise ModelUnavailable("The malignancy network cannot be read.", "Install the models again.") from fault
    return network.eval().to(device)
