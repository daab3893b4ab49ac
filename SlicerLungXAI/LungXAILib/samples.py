"""A CT to try the module with: drawn here, so that nothing is downloaded.

phantom()       a synthetic chest CT with three nodules, as a CTVolume
NODULES         where they are, LPS mm, and how large
phantom_node()  the same as a volume node, marked synthetic
register()      offers it in 3D Slicer's Sample Data module

The demonstration of `lungxai demo` is drawn more finely, with packages that Slicer's Python does not have.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from shared_models.contract.values import Array, CTVolume

from .batch import SYNTHETIC
from .logics import SceneLogics
from .volumes import volume_node

NAME = "LungXAI synthetic CT"
CATEGORY = "LungXAI"
# Centre (LPS mm) and diameter (mm); x grows to the patient's left, y to the back, z to the head.
NODULES = (((-72.0, 5.0, 118.0), 18.0), ((64.0, -22.0, 88.0), 11.0), ((-50.0, 40.0, 70.0), 8.0))
_SHAPE, _SPACING_MM, _ORIGIN_MM = (72, 200, 200), (1.6, 1.6, 3.0), (-160.0, -160.0, 0.0)
_AIR, _FAT, _MUSCLE, _BONE, _LUNG, _SOLID = -1000.0, -100.0, 45.0, 450.0, -860.0, 40.0


def phantom(seed: int = 0, spacing_mm: tuple[float, float, float] = _SPACING_MM) -> CTVolume:
    """A synthetic chest CT of 320 x 320 x 216 mm.

    Parameters
    ----------
    seed : same seed, same voxels
    spacing_mm : along (column, row, slice) index; finer gives more voxels
    """
    rng = np.random.default_rng(seed)
    extent = [n * s for n, s in zip(_SHAPE[::-1], _SPACING_MM)]
    columns, rows, slices = (max(2, round(e / s)) for e, s in zip(extent, spacing_mm))
    x = (_ORIGIN_MM[0] + spacing_mm[0] * np.arange(columns, dtype=np.float32))[None, None, :]
    y = (_ORIGIN_MM[1] + spacing_mm[1] * np.arange(rows, dtype=np.float32))[None, :, None]
    z = (_ORIGIN_MM[2] + spacing_mm[2] * np.arange(slices, dtype=np.float32))[:, None, None]
    hu = np.full((slices, rows, columns), _AIR, np.float32)
    _paint(hu, _FAT, _inside(x, y, 0 * z, (0, 0, 0), (145, 108, 1e6)))
    _paint(hu, _MUSCLE, _inside(x, y, 0 * z, (0, 0, 0), (130, 94, 1e6)))
    _paint(hu, _BONE, _inside(x, y, 0 * z, (0, 72, 0), (19, 16, 1e6)))  # spine
    for side in (-1, 1):
        _paint(hu, _LUNG, _inside(x, y, z, (side * 66, 0, 92), (46, 76, 105)))
        for level in range(24, 190, 18):  # vessels: rods from the hilum outwards
            slope = 0.35 * (level - 96) / 90
            from_axis = np.hypot(y - 0.5 * (np.abs(x) - 30), z - level - slope * (np.abs(x) - 30))
            length = np.minimum(side * x - 24, 92 - side * x)
            _paint(hu, _MUSCLE, np.minimum(2.6 - 0.02 * np.abs(x) - from_axis, length))
    for centre, diameter in NODULES:
        away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip((x, y, z), centre)))
        _paint(hu, _SOLID, diameter / 2 - away)
    hu += rng.normal(0.0, 18.0, hu.shape).astype(np.float32)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = _ORIGIN_MM
    voxels = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return CTVolume(voxels, affine, f"lungxai-synthetic-{seed}")


def _inside(
    x: Array, y: Array, z: Array, centre: tuple[float, ...], radii: tuple[float, ...]
) -> Array:
    """About the distance inside an ellipsoid, mm."""
    parts = (((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, radii))
    return (1 - np.sqrt(sum(parts))) * min(radii)


def _paint(hu: Array, value: float, inside_mm: Array) -> None:
    """Paint a tissue with an edge of about a voxel."""
    cover = np.clip(inside_mm / 1.6 + 0.5, 0.0, 1.0).astype(np.float32)
    hu += cover * (np.float32(value) - hu)


def phantom_node(logics: SceneLogics, seed: int = 0) -> Any:
    """The CT as a volume node; its cases are labelled synthetic on every output."""
    node = volume_node(logics, phantom(seed), NAME)
    node.SetAttribute(SYNTHETIC, "1")
    return node


def register(sample_data: Any, thumbnail: Optional[str] = None) -> None:
    """Offer the CT in the Sample Data module.

    Parameters
    ----------
    sample_data : the module SampleData of 3D Slicer
    thumbnail : picture file
    """

    def drawn(_: Any) -> Any:
        return phantom_node(SceneLogics.of_slicer())

    sample_data.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="LungXAISyntheticCT",
        thumbnailFileName=thumbnail,
        nodeNames=NAME,
        customDownloader=drawn,
    )
