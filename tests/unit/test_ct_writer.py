"""NRRD files as SimpleITK sees them, and what happens when they cannot be written."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput, LungXAIError, ServerError
from shared_models.ct_writer import write_nrrd
from shared_models.geometry import axis_lengths, directions, grid_affine

SimpleITK = pytest.importorskip("SimpleITK")

TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
AFFINE = grid_affine((-228.036842, -93.0631599, -124.1), (0.841796875, 0.7, 1 / 3), TURN)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_simpleitk_reads_back_voxels_and_place(tmp_path: Path, dtype: type) -> None:
    array = (np.random.default_rng(0).normal(size=(4, 5, 6)) * 900).astype(dtype)
    write_nrrd(tmp_path / "a.nrrd", array, AFFINE, {"LungXAI.method": "gradcam", "note": "two\nlines \\ slash"})
    image = SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), array)
    assert SimpleITK.GetArrayFromImage(image).dtype == dtype
    np.testing.assert_allclose(image.GetOrigin(), AFFINE[:3, 3], rtol=0, atol=1e-12)
    np.testing.assert_allclose(image.GetSpacing(), axis_lengths(AFFINE), rtol=1e-12)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), directions(AFFINE), atol=1e-12)
    assert image.GetMetaData("LungXAI.method") == "gradcam"
    assert image.GetMetaData("note") == "two\nlines \\ slash"


def test_geometry_is_written_in_full(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[:3] += np.random.default_rng(1).normal(size=(3, 4)) * 1e-9  # every bit in use
    write_nrrd(tmp_path / "a.nrrd", np.zeros((2, 2, 2), np.uint8), affine)
    header = (tmp_path / "a.nrrd").read_bytes().split(b"\n\n")[0].decode()
    field = dict(line.split(": ", 1) for line in header.splitlines()[1:])
    axes = [[float(v) for v in axis.strip("()").split(",")] for axis in field["space directions"].split()]
    np.testing.assert_array_equal(np.array(axes).T, affine[:3, :3])
    np.testing.assert_array_equal([float(v) for v in field["space origin"].strip("()").split(",")], affine[:3, 3])


def test_equal_volumes_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.nrrd", "b.nrrd"):
        write_nrrd(tmp_path / name, np.ones((2, 3, 4), np.int16), AFFINE)
    assert (tmp_path / "a.nrrd").read_bytes() == (tmp_path / "b.nrrd").read_bytes()


def test_a_big_endian_or_strided_array_is_written_right(tmp_path: Path) -> None:
    array = np.arange(2 * 4 * 6, dtype=">i2").reshape(2, 4, 6)[:, ::2, ::-1]
    write_nrrd(tmp_path / "a.nrrd", array, AFFINE)
    back = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd")))
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("key", ["data file", "a: b", "a\nb", "", " a", "#a", "ä"])
def test_a_field_cannot_become_another_header_line(tmp_path: Path, key: str) -> None:
    if key == "data file":  # a key of that name stays a key: the value is not a path to open
        write_nrrd(tmp_path / "a.nrrd", np.ones((2, 2, 2), np.uint8), AFFINE, {key: "x\ndata file: /etc/passwd"})
        assert (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))) == 1).all()
    else:
        with pytest.raises(InvalidInput):
            write_nrrd(tmp_path / "a.nrrd", np.ones((2, 2, 2), np.uint8), AFFINE, {key: "x"})
        assert not list(tmp_path.iterdir())


def test_what_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    for array in (np.zeros((2, 2, 2)), np.zeros((2, 2), np.uint8), np.full((2, 2, 2), np.nan, np.float32)):
        with pytest.raises(InvalidInput):
            write_nrrd(tmp_path / "a.nrrd", array, AFFINE)
    with pytest.raises(LungXAIError):
        write_nrrd(tmp_path / "a.nrrd", np.zeros((2, 2, 2), np.uint8), np.full((4, 4), np.nan))
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_error_without_the_path(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as caught:
        write_nrrd(tmp_path / "Doe^Jane" / "a.nrrd", np.zeros((2, 2, 2), np.uint8), AFFINE)
    assert "Doe" not in str(caught.value) and "no such file" in str(caught.value)


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path: Path) -> None:
    import resource
    import signal

    target = tmp_path / "a.nrrd"
    write_nrrd(target, np.ones((2, 2, 2), np.uint8), AFFINE)
    before = target.read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (8, 128, 128)).astype(np.uint8)
    # A limit on the file's size makes the kernel itself refuse the write, as a full disk does.
    old_limit, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old_limit[1]))
    try:
        with pytest.raises(ServerError, match="not saved"):
            write_nrrd(target, noise, AFFINE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert target.read_bytes() == before and list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_enospc_is_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def to_the_full_device(path: object, flags: int, *mode: int) -> int:
        return real("/dev/full", os.O_WRONLY) if str(path).endswith(".part") else real(path, flags, *mode)

    monkeypatch.setattr(os, "open", to_the_full_device)
    with pytest.raises(ServerError, match="disk is full"):
        write_nrrd(tmp_path / "a.nrrd", np.zeros((2, 2, 2), np.uint8), AFFINE)
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_name_leave_one_whole_file(tmp_path: Path) -> None:
    arrays = [np.full((4, 64, 64), value, np.uint8) for value in range(6)]
    threads = [threading.Thread(target=write_nrrd, args=(tmp_path / "a.nrrd", a, AFFINE)) for a in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    back = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd")))
    assert any((back == a).all() for a in arrays) and len(list(tmp_path.iterdir())) == 1
