"""Inputs that the models were never meant for: an out-of-distribution score is measured by whether it tells them.

foreign_tiles()    name -> tiles that are no H&E of the lung
Outlined           one outline on one axial slice
vessels()          outlines that the segmentation gives when a user points at a large vessel of the hilum
beside_nodules()   vessels and chest wall in the patches of LIDC's nodules

Textures are made from the seed; the phantom slide is drawn, SYNTHETIC; CT patches and nodules are real.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.values import Array, CTVolume

_SIDE = 224
# A vessel of the hilum: blood with or without contrast, at least so thick, so near the middle of the chest.
_BLOOD_HU, _LEAST_RADIUS_MM, _HILUM_MM, _APART_MM = (-50, 400), 3.0, 70.0, 8.0
_TRIES = 3  # points for each outline that is wanted: the segmentation sees a nodule at some of them


def foreign_tiles(data_root: Path, tiles: Array, split: str, count: int = 40, seed: int = 0) -> dict[str, Array]:
    """uint8 (n, 224, 224, 3) by name; those of data that is not there are left out.

    Parameters
    ----------
    tiles : uint8 (m, 224, 224, 3), real ones, of which some are made
    split : of the CT patches
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    real = tiles[np.sort(rng.permutation(len(tiles))[:count])]
    shape = (count, _SIDE, _SIDE, 3)
    soft = np.stack([gaussian_filter(rng.standard_normal(shape[1:]), (6, 6, 0)) * 900 for _ in range(count)])
    found = {
        "white noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "smooth colours": np.clip(128 + soft, 0, 255).astype(np.uint8),
        "empty glass": np.clip(rng.normal(243, 2, shape), 0, 255).astype(np.uint8),
        "H&E, pixels in disorder": real.reshape(count, -1, 3)[:, rng.permutation(_SIDE * _SIDE)].reshape(shape),
        "H&E, colours inverted": 255 - real,
        "H&E, red and green exchanged": np.ascontiguousarray(real[..., [1, 0, 2]]),
        "drawn slide (SYNTHETIC)": phantom_tiles(count, seed),
    }
    patches = _ct_patches(data_root, split, count)
    return found if patches is None else {**found, "CT of nodules": patches}


def phantom_tiles(count: int, seed: int = 0, mpp: float = 0.9) -> Array:
    """Tiles of the drawn slide, evenly taken; uint8 (n, 224, 224, 3), n at most ``count``."""
    from .phantom_slide import write_slide
    from .slide_reader import open_slide
    from .slide_tiles import tissue_grid, tissue_tiles

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.ome.tif"
        write_slide(path, seed)
        with open_slide(path) as slide:
            grid = tissue_grid(slide, _SIDE, mpp)
            pixels = np.concatenate([b.pixels for b in tissue_tiles(slide, _SIDE, mpp, 32, grid)])
    return pixels[np.unique(np.linspace(0, len(pixels) - 1, count).astype(int))]


def _ct_patches(data_root: Path, split: str, count: int) -> Optional[Array]:
    from PIL import Image

    from . import ct_data

    if not (data_root / ct_data.SLICES).is_dir():
        return None
    hu = ct_data.slices(data_root, split).hu[:count].astype(np.float32)
    grey = np.clip((hu + 1000) / 1400 * 255, 0, 255).astype(np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((_SIDE, _SIDE))) for one in grey]
    return np.repeat(np.stack(large)[..., None], 3, axis=3)


@dataclass(frozen=True, eq=False)
class Outlined:
    """Of one axial slice ``hu`` (rows, columns), ``mask`` bool; ``pixel_mm`` (row, column); ``group``, the patient."""

    hu: Array
    mask: Array
    pixel_mm: tuple[float, float]
    group: str


def vessels(
    volume: CTVolume, network: Any, group: str, count: int, seed: int = 0, spared: Optional[Array] = None
) -> list[Outlined]:  # fmt: skip
    """At most ``count`` outlines of what is no nodule: the segmentation's answer to a point in a vessel of the hilum.

    Parameters
    ----------
    network : of ct_network
    spared : bool, on the CT's grid: tumours; no point lies within them, and no outline may meet them
    """
    from scipy.ndimage import distance_transform_edt

    from .ct_lungs import lungs, midline_mm
    from .ct_malignancy import largest_slice
    from .ct_neighbourhood import Prompt
    from .ct_search import outlined
    from .geometry import index_to_lps

    hu = volume.voxels
    lung, rim = lungs(volume)
    middle = midline_mm(lung, volume.ijk_to_lps)
    known = np.zeros(hu.shape, bool) if spared is None else spared
    dense = (hu > _BLOOD_HU[0]) & (hu < _BLOOD_HU[1]) & ~known
    column_mm, row_mm, _ = volume.spacing_mm
    depth = np.stack([distance_transform_edt(plane, sampling=(row_mm, column_mm)) for plane in dense])
    # At the lung's edge, where vessels enter it: dense, in its rim, and near the middle of the chest.
    places = np.argwhere((depth >= _LEAST_RADIUS_MM) & rim)
    points = index_to_lps(volume.ijk_to_lps, places[:, ::-1])
    near = np.abs(points[:, 0] - (0.0 if middle is None else middle)) < _HILUM_MM
    places, points = places[near], points[near]
    found: list[Outlined] = []
    taken = np.empty((0, 3))
    for index in np.random.default_rng(seed).permutation(len(places)):
        if len(taken) == _TRIES * count:
            break
        if len(taken) and np.linalg.norm(taken - points[index], axis=1).min() < _APART_MM:
            continue
        taken = np.vstack([taken, points[index]])
        at = places[index].astype(float)
        piece = outlined(network, hu, volume.spacing_mm, Prompt(at, at), "point", turns=1)
        if piece is None or (piece.mask & known[piece.where]).any():
            continue
        plane, mask = largest_slice(hu, piece.where, piece.mask)
        found.append(Outlined(plane, mask, (row_mm, column_mm), group))
        if len(found) == count:
            break
    return found


def beside_nodules(data: Any, outline: Any, seed: int = 0) -> Iterator[Outlined]:
    """Of each nodule's patch one outline of something else, where there is any; ``data`` is ct_data.Nodules.

    ``outline`` : (HU patch, pixel mm, row and column of a point) -> bool patch
    """
    from .ct_malignancy_samples import _other

    rng = np.random.default_rng(seed)
    for hu, mask, pixel, patient in zip(data.hu, data.mask, data.pixel_mm, data.patients):
        shape = _other(hu, mask, pixel, outline, rng)
        if shape is not None:
            yield Outlined(hu, shape, (float(pixel), float(pixel)), str(patient))
