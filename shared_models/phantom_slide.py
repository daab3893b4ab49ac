"""A synthetic H&E-like slide, for the demonstration and for tests.

write_slide()   a pyramidal tiled OME-TIFF with two tissue regions of known outline on glass
SlideTruth      what was drawn where

One region is drawn like aerated lung (thin pink septa round air, few nuclei, red cells), one like a gland-forming
tumour (crowded large nuclei round lumina, purple cytoplasm). It is drawn, not stained: it shows that the chain runs.
A model's answer on it says nothing about how the model does on patients.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from .contract.values import Array

MPP = 0.9
WIDTH, HEIGHT = 3584, 2688
LEVELS = 3
TILE = 256
DESCRIPTION = "Synthetic H&E-like phantom, drawn by a program; not a patient"
_GLASS = (243.0, 242.0, 245.0)


@dataclass(frozen=True, eq=False)
class Region:
    """One tissue region: ``kind`` "normal-like" or "tumour-like", outline (n, 2) in level-0 (x, y) pixels."""

    kind: str
    outline_px: Array


@dataclass(frozen=True, eq=False)
class SlideTruth:
    """What write_slide() drew; ``size_px`` is (width, height) of level 0."""

    mpp: float
    size_px: tuple[int, int]
    regions: tuple[Region, ...]


def write_slide(path: Union[str, os.PathLike[str]], seed: int = 0, mpp: float = MPP) -> SlideTruth:
    """Draw a slide and write it.

    Parameters
    ----------
    path : ends in .ome.tif or .ome.tiff
    seed : same seed, same pixels
    mpp : micrometres per pixel that the file claims; cells are drawn at a fixed size in pixels
    """
    import tifffile

    picture, regions = _drawn(seed)
    pyramid = [picture]
    for _ in range(LEVELS - 1):
        last = pyramid[-1].astype(np.uint16)
        quads = last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]
        pyramid.append(((quads + 2) // 4).astype(np.uint8))
    options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib"}
    options["compressionargs"] = {"level": 4}
    physical = {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
    metadata = {"axes": "YXS", "Name": "Synthetic slide", "Description": DESCRIPTION, **physical}
    with tifffile.TiffWriter(path, ome=True) as writer:
        for level, pixels in enumerate(pyramid):
            per_cm = 1e4 / (mpp * 2**level)
            only_first = {"subifds": LEVELS - 1, "metadata": metadata} if level == 0 else {"subfiletype": 1}
            writer.write(pixels, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", **only_first, **options)
    return SlideTruth(mpp, (WIDTH, HEIGHT), regions)


def _drawn(seed: int) -> tuple[Array, tuple[Region, ...]]:
    rng = np.random.default_rng(seed)
    picture = np.empty((HEIGHT, WIDTH, 3), np.float32)
    picture[:] = _GLASS
    regions = []
    for kind, centre, radii in (
        ("normal-like", (960, 1350), (800, 1080)),
        ("tumour-like", (2620, 1330), (800, 1100)),
    ):
        outline = _outline(centre, radii, rng)
        low = np.maximum(0, np.floor(outline.min(axis=0)).astype(int) - 8)
        high = np.minimum((WIDTH, HEIGHT), np.ceil(outline.max(axis=0)).astype(int) + 8)
        inside = _inside(outline - low, high - low)
        part = picture[low[1] : high[1], low[0] : high[0]]
        paint = _normal if kind == "normal-like" else _tumour
        part += (paint(inside, rng) - part) * _smooth(inside, 1.5)[..., None]
        regions.append(Region(kind, outline))
    picture += rng.normal(0, 2.0, picture.shape[:2])[..., None].astype(np.float32)  # the camera's noise
    return np.clip(np.rint(_smooth(picture, 0.6)), 0, 255).astype(np.uint8), tuple(regions)


def _outline(centre: tuple[int, int], radii: tuple[int, int], rng: np.random.Generator) -> Array:
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    waves = sum(rng.normal(0, 0.07 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 9))
    radius = np.clip(1 + waves, 0.7, 1.1)
    points = np.stack([centre[0] + radii[0] * radius * np.cos(angle), centre[1] + radii[1] * radius * np.sin(angle)], 1)
    return np.asarray(np.rint(points))


def _inside(outline: Array, size: Array) -> Array:
    from PIL import Image, ImageDraw

    mask = Image.new("L", (int(size[0]), int(size[1])))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in outline.tolist()], fill=1)
    return np.asarray(mask, dtype=np.float32)


def _smooth(values: Array, sigma: float) -> Array:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, (sigma, sigma, 0)[: values.ndim], truncate=3)


def _cloud(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Array:
    """Smooth noise of mean 0 and deviation 1 with blobs of about ``size`` pixels."""
    from scipy.ndimage import zoom

    step = max(1, int(size / 3))
    coarse = _smooth(rng.standard_normal([n // step + 4 for n in shape], dtype=np.float32), size / step / 2)
    fine = zoom(coarse, step, order=1)[: shape[0], : shape[1]]
    return (fine - fine.mean()) / fine.std()


def _cells(shape: tuple[int, ...], spacing: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Warped Voronoi cells: distance to the nearest seed, and to the cell's border, pixels."""
    from scipy.ndimage import zoom
    from scipy.spatial import cKDTree

    step = 4
    small = [n // step + 2 for n in shape]
    seeds = _scattered(shape, spacing, rng)
    y, x = np.meshgrid(*(np.arange(n) * step for n in small), indexing="ij")
    warp = [0.22 * spacing * _cloud(tuple(small), spacing / step / 2.5, rng) for _ in range(2)]
    near, _ = cKDTree(seeds).query(np.stack([y + warp[0], x + warp[1]], -1), k=2)
    both = [zoom(d.astype(np.float32), step, order=1)[: shape[0], : shape[1]] for d in (near[..., 0], near[..., 1])]
    return both[0], (both[1] - both[0]) / 2


def _scattered(shape: tuple[int, ...], spacing: float, rng: np.random.Generator) -> Array:
    """Points (n, 2) as (row, column), about ``spacing`` apart: a shaken hexagonal grid."""
    rows = np.arange(-spacing, shape[0] + spacing, spacing * 0.87)
    columns = np.arange(-spacing, shape[1] + spacing, spacing)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    grid[1::2, :, 1] += spacing / 2
    points = grid.reshape(-1, 2)
    return points + rng.normal(0, 0.24 * spacing, points.shape)


def _colour(layers: tuple[tuple[Any, tuple[float, float, float]], ...]) -> Array:
    """Layers (cover in [0, 1], RGB) painted over each other."""
    first = np.asarray(layers[0][0])
    picture = np.zeros((*first.shape, 3), np.float32)
    for cover, rgb in layers:
        picture += np.clip(cover, 0, 1)[..., None] * (np.float32(rgb) - picture)
    return picture


def _normal(inside: Array, rng: np.random.Generator) -> Array:
    shape = inside.shape
    _, border = _cells(shape, 150, rng)
    coarse, fibre = _cloud(shape, 90, rng), _cloud(shape, 9, rng)
    septum = (11 + 5 * coarse + 1.5 * fibre - border) / 3 + 0.5
    septum = np.clip(septum, 0, 1)
    vessel_seeds = _scattered(shape, 620, rng)
    row, column = np.ogrid[: shape[0], : shape[1]]
    lumen = np.zeros(shape, np.float32)
    for y, x in vessel_seeds:  # small vessels: a thick wall round red cells
        radius = rng.uniform(28, 48)
        y0, x0 = int(max(0, y - 110)), int(max(0, x - 110))
        part = np.s_[y0 : int(max(0, y + 110)), x0 : int(max(0, x + 110))]
        ring = np.hypot(row[part[0]] - y, column[:, part[1]] - x) + 7 * coarse[part]
        septum[part] = np.maximum(septum[part], np.clip((radius + 20 - ring) / 3, 0, 1))
        lumen[part] = np.maximum(lumen[part], np.clip((radius - ring) / 3, 0, 1))
    pink = (218.0, 150.0, 190.0)
    ones = np.ones(shape, np.float32)
    picture = _colour(
        (
            (ones, (238.0, 226.0, 226.0)),
            (septum, pink),
            (septum * (0.35 + 0.35 * fibre), (198.0, 118.0, 176.0)),
            (lumen, (232.0, 205.0, 212.0)),
        )
    )
    tissue = septum * (1 - lumen)
    red = _stamps((224.0, 52.0, 98.0), 5.0, (0.75, 1.0), 0.12, rng)
    clumps = (_cloud(shape, 140, rng) > 1.1) & (tissue < 0.2)
    _stamp(picture, _kept(_scattered(shape, 13, rng), (lumen > 0.8) | clumps, 0.75, rng), red, rng)
    nuclei = _stamps((74.0, 42.0, 122.0), 6.5, (0.5, 0.95), 0.3, rng)
    _stamp(picture, _kept(_scattered(shape, 17, rng), tissue > 0.9, 0.42, rng), nuclei, rng)
    return picture


def _tumour(inside: Array, rng: np.random.Generator) -> Array:
    shape = inside.shape
    middle, border = _cells(shape, 150, rng)
    coarse, grain, fibre = _cloud(shape, 120, rng), _cloud(shape, 6, rng), _cloud(shape, 14, rng)
    stroma = np.clip((10 + 7 * coarse - border) / 4 + 0.5, 0, 1)
    lumen = np.clip((20 + 9 * coarse + 3 * fibre - middle) / 4 + 0.5, 0, 1) * (1 - stroma)
    ones = np.ones(shape, np.float32)
    picture = _colour(
        (
            (ones, (176.0, 140.0, 224.0)),
            (0.3 + 0.22 * grain, (150.0, 108.0, 208.0)),
            (0.2 + 0.2 * fibre, (198.0, 170.0, 238.0)),
            (stroma, (202.0, 148.0, 214.0)),
            (stroma * (0.3 + 0.3 * fibre), (178.0, 110.0, 192.0)),
            (lumen, (236.0, 230.0, 246.0)),
        )
    )
    spots = _scattered(shape, 21, rng)
    large = _stamps((84.0, 58.0, 164.0), 10.0, (0.62, 1.0), 0.3, rng)
    _stamp(picture, _kept(spots, (lumen < 0.1) & (stroma < 0.3), 0.93, rng), large, rng)
    thin = _stamps((88.0, 52.0, 150.0), 8.0, (0.3, 0.55), 0.2, rng)
    _stamp(picture, _kept(_scattered(shape, 24, rng), stroma > 0.8, 0.5, rng), thin, rng)
    dying = _stamps((62.0, 34.0, 112.0), 5.0, (0.8, 1.0), 0.1, rng)
    _stamp(picture, _kept(_scattered(shape, 70, rng), lumen < 0.5, 0.25, rng), dying, rng)
    return picture


def _kept(points: Array, where: Array, share: float, rng: np.random.Generator) -> Array:
    index = np.rint(points).astype(int)
    index = index[((index >= 0) & (index < where.shape)).all(axis=1) & (rng.random(len(index)) < share)]
    return index[where[index[:, 0], index[:, 1]]]


def _stamps(
    rgb: tuple[float, float, float],
    radius: float,
    roundness: tuple[float, float],
    mottle: float,
    rng: np.random.Generator,
) -> list[tuple[Array, Array]]:
    """Pictures of one kind of cell: (cover (n, n, 1), RGB (n, n, 3)), turned and shaped at random."""
    made = []
    reach = int(np.ceil(radius * 1.7))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    for _ in range(96):
        turn, long = rng.uniform(0, np.pi), radius * rng.uniform(0.75, 1.3)
        short = long * rng.uniform(*roundness)
        a, b = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        bump = 1 + 0.08 * np.cos(2 * np.arctan2(b, a) + rng.uniform(0, 6)) + 0.05 * np.cos(3 * np.arctan2(b, a))
        r = np.hypot(a / long, b / short) / bump
        cover = np.clip((1 - r) * short / 1.6 + 0.5, 0, 1)
        chromatin = _smooth(rng.standard_normal(x.shape).astype(np.float32), 1.2)
        # A nucleus is darker at its membrane and mottled inside; red cells are paler in the middle.
        light = mottle * (chromatin / chromatin.std() * 0.35 + 0.9 * (1 - np.clip(r, 0, 1) ** 2))
        shade = np.float32(rgb) + (np.float32((225, 195, 240)) - np.float32(rgb)) * np.clip(light, 0, 0.7)[..., None]
        made.append(((cover * rng.uniform(0.78, 0.96))[..., None], shade * rng.uniform(0.9, 1.1)))
    return made


def _stamp(picture: Array, points: Array, stamps: list[tuple[Array, Array]], rng: np.random.Generator) -> None:
    for (row, column), (cover, shade) in zip(points, _chosen(stamps, len(points), rng)):
        reach = cover.shape[0] // 2
        if min(row, column) < reach or row + reach >= picture.shape[0] or column + reach >= picture.shape[1]:
            continue
        part = picture[row - reach : row + reach + 1, column - reach : column + reach + 1]
        part += cover * (shade - part)


def _chosen(stamps: list[tuple[Array, Array]], count: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    for index in rng.integers(0, len(stamps), count):
        yield stamps[index]
