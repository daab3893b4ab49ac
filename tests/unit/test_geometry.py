"""Geometry on oblique, flipped and sheared grids, judged by SimpleITK and by values worked by hand."""

import math

import numpy as np
import pytest

from shared_models.contract.errors import BadGeometry, InputTooLarge, InvalidInput
from shared_models.geometry import (
    _by_itk,
    axial_order,
    axis_lengths,
    crop,
    cropped_affine,
    directions,
    grid_affine,
    index_to_lps,
    lps_to_index,
    ras_to_lps,
    resampled,
    resampled_to_spacing,
    shear_degrees,
    slice_normal,
)

SimpleITK = pytest.importorskip("SimpleITK")


def _rotation(degrees: float, axis: int) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.eye(3)
    a, b = [k for k in range(3) if k != axis]
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
    return turn


def _sheared() -> np.ndarray:
    affine = grid_affine((-100, -120, 30), (0.7, 0.8, 2.5))
    affine[1, 2] = 2.5 * math.tan(math.radians(15))  # gantry tilt: each slice is shifted along the rows' axis
    return affine


GRIDS = {
    "plain": grid_affine((-100, -120, 30), (0.7, 0.8, 2.5)),
    "flipped": grid_affine((100, 120, -30), (0.7, 0.8, 2.5), np.diag([-1, -1, 1])),
    "head first to feet": grid_affine((-100, -120, 30), (0.7, 0.8, 2.5), np.diag([1, 1, -1])),
    "oblique": grid_affine((5, 6, 7), (0.9, 1.1, 3.0), _rotation(20, 0) @ _rotation(-35, 2)),
    "sheared": _sheared(),
}
each_grid = pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())


@each_grid
def test_index_and_lps_are_each_others_inverse(affine: np.ndarray) -> None:
    index = np.random.default_rng(0).uniform(-5, 500, (4, 6, 3))
    points = index_to_lps(affine, index)
    assert points.shape == (4, 6, 3)
    np.testing.assert_allclose(lps_to_index(affine, points), index, atol=1e-9)
    np.testing.assert_allclose(points[1, 2], (affine @ [*index[1, 2], 1])[:3])


@pytest.mark.parametrize("name", [n for n in GRIDS if n != "sheared"])
def test_points_agree_with_simpleitk(name: str) -> None:
    affine = GRIDS[name]
    image = SimpleITK.Image([4, 5, 6], SimpleITK.sitkInt16)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(axis_lengths(affine).tolist())
    image.SetDirection(directions(affine).ravel().tolist())
    expected = image.TransformContinuousIndexToPhysicalPoint((1.5, 2, 4))
    np.testing.assert_allclose(index_to_lps(affine, (1.5, 2, 4)), expected)


def test_one_voxel_by_hand() -> None:
    np.testing.assert_allclose(index_to_lps(GRIDS["flipped"], (10, 20, 4)), (93, 104, -20))


@each_grid
def test_normal_is_across_the_slice_and_with_the_stack(affine: np.ndarray) -> None:
    normal = slice_normal(affine)
    assert abs(normal @ affine[:3, 0]) < 1e-12 and abs(normal @ affine[:3, 1]) < 1e-12
    assert normal @ affine[:3, 2] > 0 and np.linalg.norm(normal) == pytest.approx(1)


def test_shear_is_the_tilt() -> None:
    assert shear_degrees(GRIDS["sheared"]) == pytest.approx(15)
    assert shear_degrees(GRIDS["oblique"]) == pytest.approx(0, abs=1e-6)


@each_grid
def test_a_crop_keeps_every_voxel_in_its_place(affine: np.ndarray) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    part, part_affine = crop(array, affine, (1, 2, 3), (99, 4, 6))
    assert part.shape == (3, 2, 3) and part[0, 0, 0] == array[1, 2, 3]
    np.testing.assert_allclose(index_to_lps(part_affine, (2, 1, 2)), index_to_lps(affine, (5, 3, 3)))
    np.testing.assert_array_equal(part_affine, cropped_affine(affine, (3, 2, 1)))


def test_a_crop_that_misses_is_refused() -> None:
    with pytest.raises(BadGeometry, match="outside the CT"):
        crop(np.zeros((4, 5, 6), np.int16), GRIDS["plain"], (4, 0, 0), (9, 5, 6))


def test_ras() -> None:
    affine = ras_to_lps(GRIDS["oblique"])
    np.testing.assert_allclose(index_to_lps(affine, (1, 2, 3)), index_to_lps(GRIDS["oblique"], (1, 2, 3)) * (-1, -1, 1))
    np.testing.assert_array_equal(ras_to_lps(affine), GRIDS["oblique"])


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 1, 0), (2, 0, 1)])
def test_axial_order_moves_no_voxel(order: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    affine = GRIDS["flipped"]
    stored = array.transpose([2 - a for a in order[::-1]])
    back, back_affine = axial_order(stored, np.concatenate([affine[:, list(order)], affine[:, 3:]], axis=1))
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(back_affine, affine)


@each_grid
def test_resampling_onto_itself_changes_nothing(affine: np.ndarray) -> None:
    array = np.random.default_rng(2).integers(-1024, 3071, (7, 8, 9)).astype(np.int16)
    np.testing.assert_array_equal(resampled(array, affine, affine, array.shape, outside=-9), array)


@each_grid
def test_a_linear_field_is_kept_on_any_grid(affine: np.ndarray) -> None:
    def field(points: np.ndarray) -> np.ndarray:
        return (points @ (0.5, -0.25, 2.0) + 3).astype(np.float32)

    slices, rows, columns = np.meshgrid(np.arange(20), np.arange(21), np.arange(22), indexing="ij")
    source = field(index_to_lps(affine, np.stack([columns, rows, slices], -1)))
    centre = index_to_lps(affine, (10, 10, 10))
    to = grid_affine(centre, (0.6, 0.5, 0.7), _rotation(10, 1))
    index = np.stack(np.meshgrid(np.arange(4), np.arange(5), np.arange(6), indexing="ij")[::-1], -1)
    moved = resampled(source, affine, to, (4, 5, 6), outside=np.nan)
    np.testing.assert_allclose(moved, field(index_to_lps(to, index)), rtol=1e-5)


def test_linear_resampling_agrees_with_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    array = np.random.default_rng(3).normal(size=(9, 10, 11)).astype(np.float32)
    affine = GRIDS["sheared"]
    to = grid_affine(index_to_lps(affine, (4, 4, 4)), (0.3, 0.4, 0.9), _rotation(25, 0))
    index = np.stack(np.meshgrid(np.arange(4), np.arange(4), np.arange(4), indexing="ij")[::-1], -1)
    where = lps_to_index(affine, index_to_lps(to, index))[..., ::-1]
    expected = ndimage.map_coordinates(array, np.moveaxis(where, -1, 0), order=1)
    np.testing.assert_allclose(resampled(array, affine, to, (4, 4, 4)), expected, atol=1e-5)


@each_grid
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_parallel_grids_agree_with_simpleitk(affine: np.ndarray, dtype: type) -> None:
    array = np.random.default_rng(4).integers(0, 250, (6, 7, 8)).astype(dtype)
    to = cropped_affine(affine, (-1.3, 0.4, 1.7))  # reaches out of the array on one side, and beyond on others
    to[:3, :3] = affine[:3, :3] * (0.61, -1.4, 0.83)
    to[:3, 3] += affine[:3, 1] * 5
    into = np.linalg.solve(affine, to)
    into[:3, :3] = np.diag((0.61, -1.4, 0.83))
    expected = _by_itk(array, into, (9, 8, 18), False, 77.0)
    assert (expected == 77).any()
    moved = resampled(array, affine, to, (9, 8, 18), outside=77.0)
    assert moved.dtype == dtype
    np.testing.assert_allclose(moved, expected, atol=1e-3 if dtype == np.float32 else 1)
    assert (moved != expected).mean() < 0.01 or dtype == np.float32  # integers: a half may round either way


def test_labels_are_never_mixed_and_outside_is_filled() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4, 2:4, 2:4] = 7
    fine, to = resampled_to_spacing(labels, GRIDS["oblique"], (0.3, 0.3, 0.5), labels=True)
    assert set(np.unique(fine)) == {0, 7}
    volume = (fine == 7).sum() * 0.3 * 0.3 * 0.5
    assert volume == pytest.approx(8 * 0.9 * 1.1 * 3.0, rel=0.15)
    far = cropped_affine(GRIDS["oblique"], (100, 100, 100))
    assert (resampled(labels, GRIDS["oblique"], far, (2, 2, 2), labels=True, outside=9) == 9).all()


def test_halving_the_spacing_keeps_the_outer_faces() -> None:
    affine = GRIDS["flipped"]
    fine, to = resampled_to_spacing(np.zeros((3, 4, 5), np.int16), affine, axis_lengths(affine) / 2)
    assert fine.shape == (6, 8, 10)
    np.testing.assert_allclose(index_to_lps(to, (-0.5, -0.5, -0.5)), index_to_lps(affine, (-0.5, -0.5, -0.5)))
    np.testing.assert_allclose(index_to_lps(to, (9.5, 7.5, 5.5)), index_to_lps(affine, (4.5, 3.5, 2.5)))


def test_what_cannot_be_resampled_is_refused_before_memory_is_taken() -> None:
    array = np.zeros((3, 4, 5), np.int16)
    with pytest.raises(InputTooLarge):
        resampled_to_spacing(array, GRIDS["plain"], (1e-4, 1e-4, 1e-4))
    with pytest.raises(InputTooLarge):
        resampled(array, GRIDS["plain"], GRIDS["plain"], (2000, 2000, 2000))
    with pytest.raises(BadGeometry):
        resampled_to_spacing(array, GRIDS["plain"], (0, 1, 1))
    with pytest.raises(BadGeometry):
        resampled_to_spacing(array, GRIDS["plain"], (float("nan"), 1, 1))
    with pytest.raises(InvalidInput):
        resampled(array.astype(np.int64), GRIDS["plain"], GRIDS["plain"], (3, 4, 5))
