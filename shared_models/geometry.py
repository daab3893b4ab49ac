"""Where a voxel lies, and moving arrays between grids.

Conventions of the whole suite
- World: LPS, mm. RAS appears only at the edges (NIfTI, Slicer).
- Index: (column, row, slice), the order of ``ijk_to_lps``; integers are voxel centres.
- Arrays: (slices, rows, columns), the reverse of the index order.
- The axes of an affine may be oblique, flipped or sheared (gantry tilt); nothing here assumes a right angle.

index_to_lps, lps_to_index   points
axis_lengths, directions, slice_normal, grid_affine, shear_degrees   reading and building an affine
cropped_affine, crop, ras_to_lps, axial_order   the affine that goes with a changed array
resampled, resampled_to_spacing   an array on another grid
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .contract.errors import BadGeometry, InputTooLarge, InvalidInput
from .contract.values import Array, checked_affine

MAX_RESAMPLED_BYTES = 2 << 30
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def index_to_lps(ijk_to_lps: Array, index: Any) -> Array:
    """Points (..., 3) of (column, row, slice) index as LPS mm (..., 3)."""
    index = np.asarray(index, dtype=np.float64)
    return index @ ijk_to_lps[:3, :3].T + ijk_to_lps[:3, 3]


def lps_to_index(ijk_to_lps: Array, points: Any) -> Array:
    """Points (..., 3) in LPS mm as fractional (column, row, slice) index (..., 3)."""
    offset = np.asarray(points, dtype=np.float64) - ijk_to_lps[:3, 3]
    return np.linalg.solve(ijk_to_lps[:3, :3], offset.reshape(-1, 3).T).T.reshape(offset.shape)


def axis_lengths(ijk_to_lps: Array) -> Array:
    """Voxel spacing (3,) along (column, row, slice) index, mm."""
    return np.linalg.norm(ijk_to_lps[:3, :3], axis=0)


def directions(ijk_to_lps: Array) -> Array:
    """Unit vectors (3, 3) in LPS: the columns are the (column, row, slice) axes."""
    return ijk_to_lps[:3, :3] / axis_lengths(ijk_to_lps)


def slice_normal(ijk_to_lps: Array) -> Array:
    """Unit vector (3,) in LPS across the slice plane, pointing to where the slice index grows."""
    normal = np.cross(ijk_to_lps[:3, 0], ijk_to_lps[:3, 1])
    normal /= np.linalg.norm(normal)
    return normal if normal @ ijk_to_lps[:3, 2] >= 0 else -normal


def shear_degrees(ijk_to_lps: Array) -> float:
    """Largest departure from a right angle between two axes: 0 for an ordinary CT, the tilt for a tilted one."""
    cosines = np.abs((directions(ijk_to_lps).T @ directions(ijk_to_lps))[[0, 0, 1], [1, 2, 2]])
    return math.degrees(math.asin(min(1.0, float(cosines.max()))))


def grid_affine(origin: Any, spacing_mm: Any, direction: Any = None) -> Array:
    """Affine (4, 4) of a grid.

    Parameters
    ----------
    origin : LPS mm of the centre of voxel (0, 0, 0)
    spacing_mm : along (column, row, slice) index
    direction : (3, 3), columns are unit axes; None is the identity

    Raises
    ------
    BadGeometry : not finite, or the axes do not span space.
    """
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if direction is None else np.asarray(direction)) * np.asarray(spacing_mm)
    affine[:3, 3] = origin
    return checked_affine(affine)


def ras_to_lps(affine: Array) -> Array:
    """``affine`` to RAS as one to LPS; its own inverse."""
    return _RAS @ affine


def cropped_affine(ijk_to_lps: Array, first_index: Sequence[int]) -> Array:
    """Affine of a crop whose voxel (0, 0, 0) is ``first_index`` (column, row, slice) of the whole."""
    affine = np.array(ijk_to_lps, dtype=np.float64)
    affine[:3, 3] = index_to_lps(ijk_to_lps, first_index)
    return affine


def crop(array: Array, ijk_to_lps: Array, first: Sequence[int], stop: Sequence[int]) -> tuple[Array, Array]:
    """View and affine of a box, clipped to the array.

    Parameters
    ----------
    array : (slices, rows, columns)
    first, stop : (slice, row, column), as in slicing: ``stop`` is outside

    Raises
    ------
    BadGeometry : the box misses the array.
    """
    low = [max(0, int(a)) for a in first]
    high = [min(n, int(b)) for b, n in zip(stop, array.shape)]
    if any(a >= b for a, b in zip(low, high)):
        raise BadGeometry("The region lies outside the CT.", "Choose a point or box inside the scanned volume.")
    return array[tuple(slice(a, b) for a, b in zip(low, high))], cropped_affine(ijk_to_lps, low[::-1])


def axial_order(array: Array, ijk_to_lps: Array) -> tuple[Array, Array]:
    """The same voxels at the same places with the slice axis along the body.

    Axes are permuted, never flipped or resampled; an axial array comes back as it is.

    Parameters
    ----------
    array : (slices, rows, columns)
    """
    axes = directions(ijk_to_lps)
    along_body = int(np.argmax(np.abs(axes[2])))
    if along_body == 2:
        return array, ijk_to_lps
    rest = [a for a in range(3) if a != along_body]
    left_right = max(rest, key=lambda a: abs(axes[0, a]))
    order = [left_right, next(a for a in rest if a != left_right), along_body]  # index order
    permuted = np.ascontiguousarray(array.transpose([2 - a for a in order[::-1]]))
    return permuted, np.concatenate([ijk_to_lps[:, order], ijk_to_lps[:, 3:]], axis=1)


def resampled(
    array: Array,
    ijk_to_lps: Array,
    to_ijk_to_lps: Array,
    to_shape: Sequence[int],
    *,
    labels: bool = False,
    outside: float = 0.0,
) -> Array:
    """``array`` on another grid.

    Parameters
    ----------
    array : (slices, rows, columns); uint8, int16 or float32
    ijk_to_lps, to_ijk_to_lps : (4, 4), of the array's grid and of the wanted one
    to_shape : (slices, rows, columns) wanted
    labels : nearest voxel, so that no label is invented; else linear
    outside : value where the array has no voxel (it ends half a voxel beyond the outer centres)

    Returns
    -------
    (slices, rows, columns), dtype of ``array``; integers are rounded to the nearest.

    Raises
    ------
    InvalidInput : another dtype. InputTooLarge : the wanted grid takes more than 2 GiB.

    No low-pass filter is applied: downsampling by more than about 2 aliases.
    """
    if array.dtype not in (np.uint8, np.int16, np.float32):
        raise InvalidInput(f"An array of {array.dtype} cannot be resampled.", "Use uint8, int16 or float32.")
    shape = [int(n) for n in to_shape]
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) * array.itemsize > MAX_RESAMPLED_BYTES:
        raise InputTooLarge("The resampled volume would be too large.", "Use a coarser spacing, or crop the CT.")
    # In index space of the source grid, so that sheared axes, which ITK's images do not have, work as well.
    into = np.linalg.solve(checked_affine(ijk_to_lps), checked_affine(to_ijk_to_lps))
    # Rounding noise would put an edge voxel just outside; a millionth of a voxel is no place.
    into = np.where(np.abs(into - np.round(into)) < 1e-9, np.round(into), into)
    along_axes = not np.any(into[:3, :3] - np.diag(np.diag(into)[:3]))
    if along_axes and not labels:
        return _along_axes(array, into, shape, outside)
    return _by_itk(array, into, shape, labels, outside)


def _by_itk(array: Array, into: Array, shape: Sequence[int], labels: bool, outside: float) -> Array:
    """``into`` (4, 4) maps the wanted index to that of ``array``."""
    import SimpleITK

    transform = SimpleITK.AffineTransform(into[:3, :3].ravel().tolist(), into[:3, 3].tolist())
    moved = SimpleITK.Resample(
        SimpleITK.GetImageFromArray(array),
        shape[::-1],
        transform,
        SimpleITK.sitkNearestNeighbor if labels else SimpleITK.sitkLinear,
        [0.0] * 3,
        [1.0] * 3,
        np.eye(3).ravel().tolist(),
        float(outside),
        SimpleITK.sitkUnknown if labels else SimpleITK.sitkFloat32,
    )
    return _rounded(SimpleITK.GetArrayFromImage(moved), array.dtype)


def _along_axes(array: Array, into: Array, shape: Sequence[int], outside: float) -> Array:
    """As _by_itk(), linear, for grids whose axes are parallel: one axis after the other, several times as fast."""
    low, high, weight, inside = zip(*(_steps(into, 2 - a, shape[a], array.shape[a]) for a in range(3)))
    result = np.full(shape, outside, array.dtype)
    box = np.ix_(inside[1], inside[2])

    @functools.lru_cache(maxsize=2)  # each source slice serves several neighbouring wanted ones
    def in_plane(index: int) -> Array:
        source = array[index].astype(np.float32)
        rows = source[low[1]] + weight[1][:, None] * (source[high[1]] - source[low[1]])
        return rows[:, low[2]] + weight[2] * (rows[:, high[2]] - rows[:, low[2]])

    for index in np.flatnonzero(inside[0]):
        below, above = in_plane(int(low[0][index])), in_plane(int(high[0][index]))
        result[index][box] = _rounded(below + weight[0][index] * (above - below), array.dtype)[box]
    return result


def _steps(into: Array, axis: int, wanted: int, size: int) -> tuple[Array, Array, Array, Array]:
    """Of each wanted index along one axis: the source indices on both sides, the weight of the upper, inside or not."""
    place = into[axis, axis] * np.arange(wanted) + into[axis, 3]
    inside = (place >= -0.5) & (place <= size - 0.5)
    place = np.clip(place, 0, size - 1)
    low = np.floor(place).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (place - low).astype(np.float32), inside


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    return values if values.dtype == dtype else np.rint(values).astype(dtype)


def resampled_to_spacing(
    array: Array,
    ijk_to_lps: Array,
    spacing_mm: Sequence[float],
    *,
    labels: bool = False,
    outside: float = 0.0,
) -> tuple[Array, Array]:
    """``array`` at another spacing along the same axes, and its affine.

    The outer faces of the first voxel stay where they are, and the extent is kept to half a voxel.

    Parameters
    ----------
    spacing_mm : along (column, row, slice) index

    Raises
    ------
    BadGeometry : a spacing that is not positive. InputTooLarge, InvalidInput : as resampled().
    """
    wanted = np.asarray(spacing_mm, dtype=np.float64)
    if wanted.shape != (3,) or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise BadGeometry("The wanted voxel spacing is not positive.", "Give three spacings in mm.")
    scale = wanted / axis_lengths(ijk_to_lps)
    size = np.maximum(1, np.rint(np.array(array.shape[::-1]) / scale))
    if size.max() > 1 << 16:
        raise InputTooLarge("The resampled volume would be too large.", "Use a coarser spacing, or crop the CT.")
    to = np.array(ijk_to_lps, dtype=np.float64)
    to[:3, :3] = ijk_to_lps[:3, :3] * scale
    to[:3, 3] = index_to_lps(ijk_to_lps, (scale - 1) / 2)
    shape = [int(n) for n in size[::-1]]
    return resampled(array, ijk_to_lps, to, shape, labels=labels, outside=outside), to
