"""What the malignancy network is trained on: LIDC's nodules, and vessels and chest wall beside them.

Outlines       the segmentation network's outlines of every nodule, and outlines of what is no nodule; made once
outlines()     makes them, or reads them from a file
Pool           the nodules of some patients with both outlines, their ratings, and counter-examples
Batch          channels, targets and weights
drawn()        a batch, turned, mirrored, scaled, shifted, noisy; the outline is the reader's or the network's, frayed
as_seen()      channels of nodules as they are at run time

The counter-examples lie in the same patches, more than 3 pixels from the reader's outline: a point on a vessel or other
dense tissue, outlined by the segmentation network or as the largest disc that fits in. A patch may hold another nodule
that was not marked there, so a few of them are wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import ct_data
from .contract.values import Array
from .ct_malignancy_network import GRID_MM, GRID_PX, channels, inputs

# Besides malignancy: learned from, but not kept; (name, lowest, highest)
RATINGS = (
    ("subtlety", 1, 5), ("calcification", 1, 6), ("sphericity", 1, 5), ("margin", 1, 5),
    ("lobulation", 1, 5), ("spiculation", 1, 5), ("texture", 1, 5),
)  # fmt: skip
_DENSE_HU, _AWAY_PX, _EACH = -500, 3, 2
_LEAST_PX, _LARGEST_PX = 12, 1600

# (HU patch (71, 71), pixel mm, row and column of a point) -> bool (71, 71)
Outline = Callable[[Array, float, Array], Array]


@dataclass(frozen=True, eq=False)
class Outlines:
    """Of one split.

    Parameters
    ----------
    found : bool (n, 71, 71), the network's; empty where it saw no nodule
    other : bool (m, 71, 71), of what is no nodule
    owner : int (m,), the patch that it lies in
    """

    found: Array
    other: Array
    owner: Array


def _other(hu: Array, mask: Array, pixel: float, outline: Outline, random: np.random.Generator) -> Optional[Array]:
    """Outline of something dense that is not the nodule, or None."""
    from scipy import ndimage

    dense = hu > _DENSE_HU
    away = ndimage.distance_transform_edt(~mask) > 2 * _AWAY_PX
    thin = dense & ~ndimage.binary_opening(dense, np.ones((3, 3), bool), iterations=5)
    inner = np.zeros_like(mask)
    inner[6:-6, 6:-6] = True
    depth = ndimage.distance_transform_edt(np.pad(dense, 1))[1:-1, 1:-1]
    wanted = (thin if random.random() < 0.7 else dense) & away & inner & (depth >= 1.5)
    places = np.argwhere(wanted)
    if not len(places):
        return None
    point = places[random.integers(len(places))]
    shape = outline(hu, pixel, point) if random.random() < 0.6 else np.zeros_like(mask)
    if not shape.any():
        rows, columns = np.ogrid[: hu.shape[0], : hu.shape[1]]
        radius = max(2.0, depth[tuple(point)] * random.uniform(1.0, 1.6))
        shape = dense & (np.hypot(rows - point[0], columns - point[1]) <= radius)
    clear = ndimage.binary_dilation(mask, iterations=_AWAY_PX)
    return shape if _LEAST_PX <= shape.sum() <= _LARGEST_PX and not (shape & clear).any() else None


def outlines(data: ct_data.Nodules, outline: Outline, file: Path, made_with: str, seed: int = 0) -> Outlines:
    """Made with ``outline``, or read from ``file`` where that was made with the same weights (sha256 ``made_with``)."""
    if file.is_file():
        with np.load(file, allow_pickle=False) as held:
            if str(held["made_with"]) == made_with and len(held["found"]) == len(data.hu):
                return Outlines(held["found"], held["other"], held["owner"])
    random = np.random.default_rng(seed)
    middle = (np.array(data.hu.shape[1:]) - 1) / 2
    found, other, owner = [], [], []
    for i, (hu, mask, pixel) in enumerate(zip(data.hu, data.mask, data.pixel_mm)):
        found.append(outline(hu, pixel, middle))
        for shape in (_other(hu, mask, pixel, outline, random) for _ in range(_EACH)):
            if shape is not None:
                other.append(shape)
                owner.append(i)
    made = Outlines(np.array(found), np.array(other), np.array(owner))
    np.savez_compressed(file, found=made.found, other=made.other, owner=made.owner, made_with=made_with)
    return made


@dataclass(frozen=True, eq=False)
class Pool:
    """Nodules of some patients: ``data`` and ``made`` belong together."""

    data: ct_data.Nodules
    made: Outlines

    def of(self, kept: Array) -> Pool:
        """The nodules with index ``kept``, ascending, and their counter-examples."""
        place = np.full(len(self.data.hu), -1)
        place[kept] = np.arange(len(kept))
        beside = place[self.made.owner] >= 0
        rows = tuple(self.data.rows[i] for i in kept)
        data = ct_data.Nodules(self.data.hu[kept], self.data.mask[kept], rows)
        made = Outlines(self.made.found[kept], self.made.other[beside], place[self.made.owner[beside]])
        return Pool(data, made)

    def own(self, i: int) -> Array:
        """The network's outline of a nodule; the reader's where it saw none."""
        found: Array = self.made.found[i]
        return found if found.any() else self.data.mask[i]

    @property
    def malignancy(self) -> Array:
        """float64 (n,): the readers' mean, 1 to 5."""
        return np.array([float(row["malignancy_mean"]) for row in self.data.rows])

    @property
    def ratings(self) -> Array:
        """float64 (n, 7), each from 0 to 1; NaN where it was not given."""
        columns = [[(float(row[n] or "nan") - lo) / (hi - lo) for row in self.data.rows] for n, lo, hi in RATINGS]
        return np.array(columns).T

    @property
    def readers(self) -> Array:
        return np.array([float(row["n_readers"] or 1) for row in self.data.rows])


@dataclass(frozen=True, eq=False)
class Batch:
    """``seen`` (n, 3, GRID_PX, GRID_PX); float32 (n,) ``nodule`` 0 or 1; the rest belongs to the first nodules of it:
    ``malignant`` 0 to 1, ``weight``, ``ratings`` (·, 7)."""

    seen: Tensor
    nodule: Tensor
    malignant: Tensor
    weight: Tensor
    ratings: Tensor


def drawn(pool: Pool, nodules: Array, others: int, random: np.random.Generator) -> Batch:
    """A batch of the nodules with these indices, and of ``others`` counter-examples.

    The malignant target is the readers' mean, from 1 at 0 to 5 at 1, so that the uncertain nodules teach too; one
    reader alone weighs half as much as many.
    """
    owner, masks = list(nodules), []
    for i in nodules:
        masks.append(pool.data.mask[i] if random.random() < 0.5 else pool.own(i))
    if others and len(pool.made.other):
        for j in random.integers(len(pool.made.other), size=others):
            owner.append(pool.made.owner[j])
            masks.append(pool.made.other[j])
    hu = torch.from_numpy(pool.data.hu[owner].astype(np.float32))
    marks = torch.from_numpy(np.array(masks, dtype=np.float32))
    hu, marks = _turned(hu, marks, pool.data.pixel_mm[owner], random)
    n = len(nodules)
    weight = 1 - 0.5 / pool.readers[nodules]
    target = (pool.malignancy[nodules] - 1) / 4
    is_nodule = torch.zeros(len(owner))
    is_nodule[:n] = 1
    as_float = [torch.from_numpy(a).float() for a in (target, weight, pool.ratings[nodules])]
    return Batch(channels(_noisy(hu, random), _frayed(marks, random)), is_nodule, *as_float)


def _turned(hu: Tensor, masks: Tensor, pixel_mm: Array, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Both on the network's grid, (n, GRID_PX, GRID_PX)."""
    n, side = len(hu), hu.shape[-1]
    index = np.arange(side)
    flat = masks.numpy()
    total = flat.sum((1, 2))
    centre = np.stack([(flat.sum(2) * index).sum(1) / total, (flat.sum(1) * index).sum(1) / total], 1)
    centre += random.normal(0, 1.0, (n, 2))
    step = GRID_MM / pixel_mm * np.exp(random.uniform(-0.1, 0.1, n))
    angle = random.uniform(0, 2 * np.pi, n)
    # Some stay upright: turned images are smoother than those at run time.
    angle = np.where(random.random(n) < 0.4, random.integers(4, size=n) * (np.pi / 2), angle)
    flip = np.where(random.random(n) < 0.5, -1.0, 1.0)
    across = np.arange(GRID_PX) - (GRID_PX - 1) / 2
    v, u = np.meshgrid(across, across, indexing="ij")
    u = u[None] * flip[:, None, None]
    cos, sin = (np.cos(angle) * step)[:, None, None], (np.sin(angle) * step)[:, None, None]
    rows, columns = centre[:, 0, None, None] + sin * u + cos * v, centre[:, 1, None, None] + cos * u - sin * v
    grid = torch.from_numpy(np.stack([columns, rows], -1) * (2 / (side - 1)) - 1).float()
    on_grid = functional.grid_sample(hu[:, None], grid, padding_mode="border", align_corners=True)
    return on_grid[:, 0], functional.grid_sample(masks[:, None], grid, align_corners=True)[:, 0]


def _frayed(masks: Tensor, random: np.random.Generator) -> Tensor:
    """A third of the outlines drawn wider or tighter."""
    level = torch.from_numpy(random.uniform(0.15, 0.85, len(masks))).float()[:, None, None]
    kernel = int(random.choice([3, 5, 7]))
    changed = (functional.avg_pool2d(masks[:, None], kernel, 1, kernel // 2)[:, 0] > level).float()
    chosen = torch.from_numpy(random.random(len(masks)) < 0.33) & (changed.sum((1, 2)) > 4)
    return torch.where(chosen[:, None, None], changed, masks)


def _noisy(hu: Tensor, random: np.random.Generator) -> Tensor:
    n = len(hu)
    gain, shift = random.uniform(0.97, 1.03, n), random.uniform(-25, 25, n)
    grain = random.uniform(0, 30, n) * (random.random(n) < 0.5)
    per = [torch.from_numpy(a).float()[:, None, None] for a in (gain, shift, grain)]
    noise = torch.from_numpy(random.standard_normal(hu.shape, dtype=np.float32))
    return hu * per[0] + per[1] + noise * per[2]


def as_seen(data: ct_data.Nodules, masks: Array, owner: Optional[Any] = None) -> Tensor:
    """float32 (m, 3, GRID_PX, GRID_PX): each outline of ``masks`` (m, 71, 71), none empty, on its patch ``owner``."""
    own = np.arange(len(masks)) if owner is None else owner
    seen = [inputs(data.hu[i], m, (data.pixel_mm[i], data.pixel_mm[i]))[0] for i, m in zip(own, masks)]
    return torch.cat(seen)
