"""Training samples of the nodule networks: crops of LIDC's patches and cubes, turned and scaled, with a user's prompt.

Pool           nodules to draw from: one-slice patches on their native pixels, and cubes
Mix            how often which kind of sample is drawn
Samples        one batch: HU, prompt, truth, and where the truth is known
drawn()        a batch of crops

A positive prompt lies near the nodule's middle, anywhere inside it, or is a box about it; a negative one lies on
another dense structure, and its truth is empty: a vessel that is pointed at is not a nodule. Some samples have no
prompt: that is the search. Planes of cubes are seen in all three directions, and off the prompt's plane, so that the
network learns where a nodule ends. Structures of whole chests that look like nodules (ct_negatives) are pointed at, or
searched, as what they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import ct_data
from .ct_negatives import Structures
from .ct_prompts import box_map, point_map, strength

PATCH = 71
_DENSE_HU = -600
# Nodules that the network outlines worst: ground glass and part-solid ones (LIDC's texture), small and large ones.
_FAINT_TEXTURE, _SMALL_MM, _LARGE_MM = 3, 6.0, 15.0


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of samples, 0 to 1.

    Parameters
    ----------
    none : without a prompt; of the others ``negative`` lie beside the nodule, ``inside`` anywhere in it
    box : of the positive ones
    large : magnified, as whole tumours are larger than the nodules of LIDC
    cubes : planes of cubes
    structures : of whole chests, ``searched`` of them without a prompt; ``planted`` of them nodules
    faint, small, large_ones : how many times as often as others nodules of faint texture, and small and large ones
        are drawn
    """

    none: float = 0.2
    negative: float = 0.2
    box: float = 0.2
    inside: float = 0.3
    large: float = 0.2
    cubes: float = 0.3
    structures: float = 0.0
    searched: float = 0.5
    planted: float = 0.3
    faint: float = 1.0
    small: float = 1.0
    large_ones: float = 1.0


# "even" is what the first weights were trained with.
MIXES = {
    "even": Mix(),
    "stratified": Mix(0.15, 0.15, 0.15, 0.3, 0.15, 0.3, faint=2.0, small=1.3, large_ones=1.5),
    "chests": Mix(none=0.15, negative=0.15, large=0.15, structures=0.2),
}


@dataclass(frozen=True, eq=False)
class Pool:
    """Nodules to draw from.

    Parameters
    ----------
    hu, mask : (n, 71, 71) patches, native pixels
    pixel_mm : (n,)
    cube_hu, cube_mask : (m, 51, 51, 51), 1 mm
    diameter_mm, texture : (n,), of the patches' nodules; texture 1 is ground glass, 5 solid, 0 unknown
    structures : of whole chests
    """

    hu: Any
    mask: Any
    pixel_mm: Any
    cube_hu: Any
    cube_mask: Any
    diameter_mm: Any
    texture: Any
    structures: Structures = field(default_factory=Structures.none)

    def often(self, mix: Mix) -> Any:
        """float64 (n,): how likely each patch is drawn."""
        weight = np.where((self.texture > 0) & (self.texture <= _FAINT_TEXTURE), mix.faint, 1.0)
        weight = weight * np.where(self.diameter_mm < _SMALL_MM, mix.small, 1.0)
        weight = weight * np.where(self.diameter_mm > _LARGE_MM, mix.large_ones, 1.0)
        return weight / weight.sum()

    @classmethod
    def read(cls, root: Path, *splits: str) -> Pool:
        """The patches and cubes of the patients of ``splits``."""
        flat = [ct_data.slices(root, s) for s in splits]
        cube = [ct_data.cubes(root, s) for s in splits]
        return cls(
            np.concatenate([f.hu for f in flat]), np.concatenate([f.mask for f in flat]),
            np.concatenate([f.pixel_mm for f in flat]),
            np.concatenate([c.hu for c in cube]), np.concatenate([c.mask for c in cube]),
            np.concatenate([[float(row["equiv_diam_mm"]) for row in f.rows] for f in flat]),
            np.concatenate([[float(row["texture"] or 0) for row in f.rows] for f in flat]),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Samples:
    """float32 (n, side, side) each: HU, prompt in [0, 1], truth in [0, 1], 1 where the truth is known."""

    hu: Any
    prompt: Any
    truth: Any
    known: Any


@dataclass(eq=False)
class _Planes:
    """Planes before they are turned: (n, 71, 71) HU, mask, the nodule's shadow on the plane, known; (n,) the rest."""

    hu: Any
    mask: Any
    shadow: Any
    known: Any
    pixel_mm: Any
    dz_mm: Any


def _patches(pool: Pool, count: int, random: np.random.Generator, mix: Mix) -> _Planes:
    i = random.choice(len(pool.hu), size=count, p=pool.often(mix))
    mask = pool.mask[i]
    return _Planes(pool.hu[i], mask, mask, np.ones_like(mask), pool.pixel_mm[i], np.zeros(count))


def _cube_planes(pool: Pool, count: int, random: np.random.Generator) -> _Planes:
    side = pool.cube_hu.shape[-1]
    edge = (PATCH - side) // 2
    pad = ((edge, PATCH - side - edge),) * 2
    hu, mask, shadow, dz = [], [], [], []
    for i in random.integers(len(pool.cube_hu), size=count):
        axis = int(random.integers(3))
        truth = np.moveaxis(pool.cube_mask[i], axis, 0)
        used = np.flatnonzero(truth.any((1, 2)))
        k = int(np.clip(random.integers(used[0] - 5, used[-1] + 6), 0, side - 1))
        # Where the prompt was given, along the direction that the plane is cut across.
        middle = (used[0] + used[-1]) / 2 + random.normal(0, 1.2)
        dz.append(k - middle)
        hu.append(np.pad(np.moveaxis(pool.cube_hu[i], axis, 0)[k], pad, mode="edge"))
        mask.append(np.pad(truth[k], pad))
        shadow.append(np.pad(truth.any(0), pad))
    known = np.zeros((count, PATCH, PATCH), bool)
    known[:, edge : edge + side, edge : edge + side] = True
    return _Planes(np.array(hu), np.array(mask), np.array(shadow), known, np.ones(count), np.array(dz))


def _structures(pool: Pool, count: int, random: np.random.Generator, mix: Mix) -> _Planes:
    """Of whole chests; the shadow is that of the nodule in the middle, and empty where none is there."""
    from scipy.ndimage import label

    held = pool.structures
    wanted = random.random(count) < mix.planted
    picked = []
    for nodule in wanted:
        alike = np.flatnonzero(held.nodules == nodule)
        picked.append(int(random.choice(alike)) if len(alike) else int(random.integers(len(held.hu))))
    mask = held.mask[picked]
    marks = [label(one)[0] for one in mask]
    shadow = np.array([(m == m[PATCH // 2, PATCH // 2]) & (m > 0) for m in marks])
    return _Planes(held.hu[picked], mask, shadow, held.known[picked], np.full(count, 0.9), np.zeros(count))


def _joined(a: _Planes, b: _Planes) -> _Planes:
    return _Planes(*(np.concatenate([getattr(a, n), getattr(b, n)]) for n in a.__dataclass_fields__))


def _middle(mask: Any) -> Any:
    rows, columns = np.nonzero(mask)
    return np.array([(rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2])


def _elsewhere(hu: Any, shadow: Any, known: Any, random: np.random.Generator) -> Any:
    """A dense pixel well away from the nodule and not far from the middle, or None; mostly on a vessel."""
    from scipy.ndimage import binary_opening, distance_transform_edt

    away = distance_transform_edt(~shadow) > 6
    near = np.zeros_like(shadow)
    near[8:-8, 8:-8] = True
    dense = hu > _DENSE_HU
    wanted = away & near & known & dense
    if random.random() < 0.75:
        thin = wanted & ~binary_opening(dense, np.ones((3, 3), bool), iterations=5)
        wanted = thin if thin.any() else wanted
    places = np.argwhere(wanted)
    return places[random.integers(len(places))].astype(float) if len(places) else None


def _turned(planes: _Planes, side: int, centre: Any, zoom: Any, random: np.random.Generator, exact: float) -> Any:
    """HU, mask, shadow, known (n, side, side) around ``centre`` (n, 2), and each output pixel's place (n, side, side,
    2) in the plane; ``zoom`` is output pixels per input pixel before the random part."""
    import torch
    from torch.nn.functional import grid_sample

    n = len(centre)
    quarter = random.integers(4, size=n) * (np.pi / 2)
    # Part of the samples keep their native pixels, as the network will see them.
    free = random.random(n) >= exact
    angle = quarter + np.where(free, random.uniform(-np.pi / 4, np.pi / 4, n), 0)
    step = 1 / (zoom * np.where(free, np.exp(random.uniform(-0.22, 0.22, n)), 1.0))
    flip = np.where(random.random(n) < 0.5, -1.0, 1.0)
    across = np.arange(side) - (side - 1) / 2
    v, u = np.meshgrid(across, across, indexing="ij")
    cos, sin = (np.cos(angle) * step)[:, None, None], (np.sin(angle) * step)[:, None, None]
    u = u[None] * flip[:, None, None]
    rows = centre[:, 0, None, None] + sin * u + cos * v[None]
    columns = centre[:, 1, None, None] + cos * u - sin * v[None]
    place = np.stack([rows, columns], -1)
    grid = torch.from_numpy(place[..., ::-1] * (2 / (PATCH - 1)) - 1).float()
    stack = np.stack([planes.mask, planes.shadow, planes.known], 1).astype(np.float32)
    marks = grid_sample(torch.from_numpy(stack), grid, align_corners=True)
    hu = grid_sample(
        torch.from_numpy(planes.hu[:, None].astype(np.float32)), grid, padding_mode="border", align_corners=True
    )
    return hu[:, 0], marks[:, 0], marks[:, 1], (marks[:, 2] > 0.99).float(), place, step


def _noisy(hu: Any, random: np.random.Generator) -> Any:
    import torch

    n = len(hu)
    gain, shift = random.uniform(0.96, 1.04, n), random.uniform(-30, 30, n)
    grain = random.uniform(0, 35, n) * (random.random(n) < 0.6)
    noise = random.standard_normal(hu.shape, dtype=np.float32) * grain[:, None, None]
    return hu * torch.tensor(gain[:, None, None]).float() + torch.tensor(shift[:, None, None] + noise).float()


def drawn(pool: Pool, count: int, side: int, random: np.random.Generator, mix: Mix = MIXES["even"]) -> Samples:
    """``count`` crops of ``side`` pixels with a point, a box or no prompt."""
    import torch

    cubes = int(round(count * mix.cubes))
    chests = int(round(count * mix.structures)) if len(pool.structures.hu) else 0
    planes = _joined(_patches(pool, count - cubes - chests, random, mix), _cube_planes(pool, cubes, random))
    if chests:
        planes = _joined(planes, _structures(pool, chests, random, mix))
    native = planes.pixel_mm < 0.99
    zoom = np.where(native, 1.0, random.uniform(1.0, 1.6, count))
    point, centre = np.empty((count, 2)), np.empty((count, 2))
    negative, boxed = np.zeros(count, bool), np.zeros(count, bool)
    none = random.random(count) < mix.none
    if chests:
        none[-chests:] = random.random(chests) < mix.searched
    # The search reads coarser pixels: it has whole lungs to go through.
    zoom[none] *= random.uniform(0.6, 1.0, int(none.sum()))
    zoom *= np.where(random.random(count) < mix.large, random.uniform(1.2, 2.4, count), 1.0)
    for i in range(count):
        is_nodule = planes.shadow[i].any()
        middle = _middle(planes.shadow[i]) if is_nodule else np.full(2, (PATCH - 1) / 2)
        elsewhere = None
        if not is_nodule:
            elsewhere = middle + random.normal(0, 1.0, 2)
        elif not none[i] and random.random() < mix.negative:
            elsewhere = _elsewhere(planes.hu[i], planes.shadow[i], planes.known[i], random)
        if elsewhere is not None:
            point[i], negative[i] = elsewhere, not none[i]
            planes.dz_mm[i] = random.normal(0, 3) * (random.random() < mix.cubes)
        elif random.random() < mix.inside:
            places = np.argwhere(planes.shadow[i])
            point[i] = places[random.integers(len(places))] + random.uniform(-0.5, 0.5, 2)
        else:
            point[i] = middle + random.normal(0, 0.8 if native[i] else 1.5, 2)
        boxed[i] = not negative[i] and random.random() < mix.box
        room = (PATCH - side / zoom[i]) / 2
        middle = point[i] if negative[i] else middle
        centre[i] = np.clip(middle + random.uniform(-5, 5, 2), 35 - max(room, 4), 35 + max(room, 4))
    hu, truth, shadow, known, place, step = _turned(planes, side, centre, zoom, random, exact=0.5)
    power = np.where(none, 0.0, strength(planes.dz_mm))
    prompt = np.empty(hu.shape, np.float32)
    for i in range(count):
        seen = shadow[i].numpy() > 0.5
        if boxed[i] and seen.any():
            rows, columns = np.nonzero(seen)
            low, high = np.array([rows.min(), columns.min()]), np.array([rows.max(), columns.max()])
            slack = np.maximum(1.0, 0.12 * (high - low))
            prompt[i] = box_map((side, side), low + random.normal(0, slack), high + random.normal(0, slack)) * power[i]
        else:
            distance = np.linalg.norm(place[i] - point[i], axis=-1) / step[i]
            prompt[i] = point_map(distance) * power[i]
    truth[torch.from_numpy(negative)] = 0.0
    pointed = torch.from_numpy(~none & (np.arange(count) >= count - chests))
    truth[pointed] = shadow[pointed]  # only the nodule that is pointed at
    return Samples(_noisy(hu, random), torch.from_numpy(prompt), truth, known)
