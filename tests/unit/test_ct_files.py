"""NRRD and NIfTI: read as SimpleITK reads them, and the attacks that worked on other readers."""

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from shared_models.contract.errors import BadGeometry, InputTooLarge, InvalidInput, LungXAIError
from shared_models.ct_reader import read_ct
from shared_models.ct_writer import write_nrrd
from shared_models.geometry import axis_lengths, directions, grid_affine, index_to_lps

SimpleITK = pytest.importorskip("SimpleITK")

TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, -1.0]])
AFFINE = grid_affine((-150.25, 80.5, -300.125), (0.75, 0.7, 2.5), TURN)
HU = np.random.default_rng(0).integers(-1024, 1500, (4, 5, 6)).astype(np.int16)
HEADER = {
    "type": "int16",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "6 5 4",
    "space directions": "(0.75,0,0) (0,0.7,0) (0,0,2.5)",
    "space origin": "(-10,-20,30)",
    "endian": "little",
    "encoding": "raw",
}


def _image(array: np.ndarray, affine: np.ndarray = AFFINE) -> "SimpleITK.Image":
    image = SimpleITK.GetImageFromArray(array)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(axis_lengths(affine).tolist())
    image.SetDirection(directions(affine).ravel().tolist())
    return image


def _nrrd(path: Path, data: bytes, **changes: str) -> Path:
    fields = {**HEADER, **{k.replace("_", " "): v for k, v in changes.items()}}
    lines = [f"{k}: {v}" for k, v in fields.items() if v]
    path.write_bytes(("\n".join(["NRRD0004", *lines]) + "\n\n").encode() + data)
    return path


def _refused(path: Path, kind: type[LungXAIError], words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=words) as caught:
            read_ct(path)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.remedy and str(path) not in str(caught.value) and "root:" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("packed", [True, False])
def test_files_written_by_simpleitk_are_read_in_their_place(
    tmp_path: Path, suffix: str, dtype: type, packed: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(_image(HU.astype(dtype)), str(path), packed)
    volume, notes = read_ct(path)
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_allclose(volume.ijk_to_lps, AFFINE, atol=2e-5)  # NIfTI keeps single precision
    assert notes == () and volume.series_uid == read_ct(path)[0].series_uid


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_nrrd_spaces_and_byte_orders_agree_with_simpleitk(tmp_path: Path, space: str, endian: str) -> None:
    data = HU.astype("<i2" if endian == "little" else ">i2").tobytes()
    path = _nrrd(tmp_path / "a.nrrd", data, space=space, endian=endian)
    volume, _ = read_ct(path)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(image))
    np.testing.assert_allclose(
        index_to_lps(volume.ijk_to_lps, (5, 2, 1)), image.TransformIndexToPhysicalPoint((5, 2, 1)), atol=1e-9
    )


def test_own_files_come_back_bit_for_bit(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", HU, AFFINE, {"note": "a\nb", "data file": "/etc/passwd"})
    volume, _ = read_ct(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_array_equal(volume.ijk_to_lps, AFFINE)


def test_header_text_that_other_programs_write_is_understood(tmp_path: Path) -> None:
    text = (
        "NRRD0005\r\n# Complete NRRD file format specification at:\r\ntype: short\r\ndimension: 3\r\n"
        "space: left-posterior-superior\r\nsizes: 6 5 4\r\nspace directions: (0.75, 0, 0) (0, 0.7, 0) (0, 0, 2.5)\r\n"
        'kinds: domain domain domain\r\nspace units: "mm" "mm" "mm"\r\nendian: little\r\nencoding: gz\r\n'
        "space origin: (-10, -20, 30)\r\nmodality:=CT\r\n\r\n"
    )
    (tmp_path / "a.nrrd").write_bytes(text.encode() + gzip.compress(HU.tobytes()))
    volume, _ = read_ct(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_allclose(volume.ijk_to_lps, grid_affine((-10, -20, 30), (0.75, 0.7, 2.5)))


@pytest.mark.parametrize("name", ["data file", "datafile", "Data File", "DATAFILE"])
@pytest.mark.parametrize("value", ["/etc/passwd", "LIST", "a%03d.raw 1 4 1", ""])
def test_a_nrrd_header_cannot_name_another_file(tmp_path: Path, name: str, value: str) -> None:
    lines = [f"{k}: {v}" for k, v in HEADER.items()]
    for suffix in ("nrrd", "nhdr"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(("\n".join(["NRRD0004", *lines, f"{name}: {value}"]) + "\n\n").encode() + HU.tobytes())
        _refused(path, InvalidInput, "names another file")


def test_meta_image_and_analyze_headers_open_nothing(tmp_path: Path) -> None:
    text = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = /etc/passwd\n"
    for suffix in ("mha", "mhd"):
        (tmp_path / f"a.{suffix}").write_text(text)
        _refused(tmp_path / f"a.{suffix}", InvalidInput, "MetaImage")
    SimpleITK.WriteImage(_image(HU), str(tmp_path / "a.hdr"))
    _refused(tmp_path / "a.hdr", InvalidInput, "lies in another file")


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"sizes": "2048 2048 2048", "encoding": "gzip"}, InputTooLarge, "2 GiB"),
        ({"sizes": "100000 1 1"}, InputTooLarge, "2048"),
        ({"sizes": "6 5 40"}, InvalidInput, "do not agree"),
        ({"sizes": "6 5 3"}, InvalidInput, "do not agree"),
        ({"sizes": "6 5 0"}, InvalidInput, "do not agree"),
        ({"sizes": "-6 -5 4"}, InvalidInput, "do not agree"),
        ({"sizes": "6 5"}, InvalidInput, "do not agree"),
        ({"sizes": "6 5 4 1", "dimension": "4"}, InvalidInput, "one 3D volume"),
        ({"type": "block"}, InvalidInput, "plain numbers"),
        ({"type": ""}, InvalidInput, "plain numbers"),
        ({"encoding": "bzip2"}, InvalidInput, "encoding"),
        ({"encoding": "ascii"}, InvalidInput, "encoding"),
        ({"endian": ""}, InvalidInput, "do not agree"),
        ({"byte_skip": "-1"}, InvalidInput, "follow its header"),
        ({"line_skip": "3"}, InvalidInput, "follow its header"),
        ({"space": ""}, BadGeometry, "where it lies"),
        ({"space": "scanner-xyz"}, BadGeometry, "where it lies"),
        ({"space_units": '"um" "um" "um"'}, BadGeometry, "where it lies"),
        ({"space_origin": ""}, BadGeometry, "where it lies"),
        ({"space_origin": "(nan,0,0)"}, BadGeometry, "position in space"),
        ({"space_directions": "none (0,0.7,0) (0,0,2.5)"}, BadGeometry, "where it lies"),
        ({"space_directions": "(0,0,0) (0,0.7,0) (0,0,2.5)"}, BadGeometry, "axes"),
        ({"space_directions": "(1,0,0) (1,0,0) (0,0,2.5)"}, BadGeometry, "axes"),
        ({"space_directions": "(1e999,0,0) (0,1,0) (0,0,2.5)"}, BadGeometry, "position in space"),
    ],
)
def test_a_nrrd_header_that_lies_is_refused(
    tmp_path: Path, changes: dict[str, str], kind: type[LungXAIError], words: str
) -> None:
    _refused(_nrrd(tmp_path / "a.nrrd", HU.tobytes(), **changes), kind, words)


def test_a_repeated_field_is_refused(tmp_path: Path) -> None:
    lines = [f"{k}: {v}" for k, v in HEADER.items()]
    head = "\n".join(["NRRD0004", *lines, "sizes: 6 5 4"]) + "\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + HU.tobytes())
    _refused(tmp_path / "a.nrrd", InvalidInput, "do not agree")


def test_bombs_stop_at_the_declared_size(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(256 << 20), 9)  # 256 MiB in 250 kB
    _refused(_nrrd(tmp_path / "a.nrrd", bomb, encoding="gzip"), InvalidInput, "do not agree")
    # A header that claims what the few bytes cannot hold.
    path = _nrrd(tmp_path / "b.nrrd", gzip.compress(bytes(9)), encoding="gzip", sizes="512 512 512")
    _refused(path, InvalidInput, "do not agree")
    head = gzip.compress(_nifti((6, 5, 4)) + HU.tobytes() + bytes(64 << 20))
    (tmp_path / "c.nii.gz").write_bytes(head)
    _refused(tmp_path / "c.nii.gz", InvalidInput, "do not agree")


@pytest.mark.parametrize("spoil", ["cut", "crc", "tail", "not gzip", "empty"])
def test_damaged_gzip_is_refused(tmp_path: Path, spoil: str) -> None:
    data = gzip.compress(HU.tobytes())
    data = {
        "cut": data[:-30],
        "crc": data[:-8] + bytes([data[-8] ^ 1]) + data[-7:],
        "tail": data + b"more",
        "not gzip": zlib.compress(HU.tobytes()),
        "empty": b"",
    }[spoil]
    _refused(_nrrd(tmp_path / "a.nrrd", data, encoding="gzip"), InvalidInput, "do not agree")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.random.default_rng(0).integers(0, 256, (4, 5, 6)).astype(np.uint8), "these are not HU"),
        ((HU + 1024).astype(np.uint16), "these are not HU"),
        ((HU / 3000).astype(np.float32), "not HU"),
        (np.where(HU > 1400, np.nan, HU).astype(np.float32), "not numbers"),
        (np.where(HU > 1400, np.inf, HU).astype(np.float32), "not numbers"),
        ((HU * 100.0).astype(np.float32), "outside what HU can be"),
        (HU.astype(np.int32) * 100, "outside what HU can be"),
    ],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_values_that_are_no_hu_are_refused(tmp_path: Path, array: np.ndarray, words: str, suffix: str) -> None:
    SimpleITK.WriteImage(_image(array), str(tmp_path / f"a{suffix}"))
    _refused(tmp_path / f"a{suffix}", InvalidInput, words)


def test_fractions_are_rounded(tmp_path: Path) -> None:
    array = np.array([-999.5, -0.4, 12.6], np.float32).reshape(1, 1, 3)
    SimpleITK.WriteImage(_image(array), str(tmp_path / "a.nrrd"))
    assert read_ct(tmp_path / "a.nrrd")[0].voxels.ravel().tolist() == [-1000, 0, 13]


@pytest.mark.parametrize("order", [(2, 0, 1), (0, 2, 1), (1, 2, 0)])
def test_a_sagittal_or_coronal_file_is_put_in_axial_order(tmp_path: Path, order: tuple[int, int, int]) -> None:
    stored = HU.transpose([2 - a for a in order[::-1]])
    affine = np.concatenate([AFFINE[:, list(order)], AFFINE[:, 3:]], axis=1)
    write_nrrd(tmp_path / "a.nrrd", stored, affine)
    volume, notes = read_ct(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_array_equal(volume.ijk_to_lps, AFFINE)
    assert "axial order" in notes[0]


def _nifti(shape: tuple[int, int, int], **changes: object) -> bytes:
    """A NIfTI-1 header (352 bytes) with only a qform: 90 degrees about z, RAS."""
    field = {
        "dims": (3, *shape, 1, 1, 1, 1),
        "code": 4,
        "pixdim": (1.0, 0.75, 0.7, 2.5, 0, 0, 0, 0),
        "offset": 352.0,
        "slope": 0.0,
        "inter": 0.0,
        "units": 2,
        "codes": (1, 0),
        "quatern": (0.0, 0.0, 0.5**0.5, 10.0, 20.0, 30.0),
        "srow": (0.0,) * 12,
        "magic": b"n+1\0",
        **changes,
    }
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, *field["dims"])
    struct.pack_into("<2h", head, 70, field["code"], 16)
    struct.pack_into("<8f", head, 76, *field["pixdim"])
    struct.pack_into("<3f", head, 108, field["offset"], field["slope"], field["inter"])
    head[123] = field["units"]
    struct.pack_into("<2h", head, 252, *field["codes"])
    struct.pack_into("<6f", head, 256, *field["quatern"])
    struct.pack_into("<12f", head, 280, *field["srow"])
    head[344:348] = field["magic"]
    return bytes(head)


@pytest.mark.parametrize("qfac", [1.0, -1.0])
def test_a_qform_agrees_with_simpleitk(tmp_path: Path, qfac: float) -> None:
    b, c, d = 0.1, -0.2, 0.6
    head = _nifti((6, 5, 4), pixdim=(qfac, 0.75, 0.7, 2.5, 0, 0, 0, 0), quatern=(b, c, d, 10.0, 20.0, 30.0))
    (tmp_path / "a.nii").write_bytes(head + HU.tobytes())
    volume, _ = read_ct(tmp_path / "a.nii")
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii"))
    np.testing.assert_array_equal(volume.voxels, HU)
    for index in ((0, 0, 0), (5, 4, 3), (1, 0, 2)):
        np.testing.assert_allclose(
            index_to_lps(volume.ijk_to_lps, index), image.TransformIndexToPhysicalPoint(index), atol=1e-5
        )


def test_a_scale_in_the_header_is_applied(tmp_path: Path) -> None:
    stored = (HU.astype(np.int32) + 1024).astype(np.int16)
    (tmp_path / "a.nii").write_bytes(_nifti((6, 5, 4), slope=1.0, inter=-1024.0) + stored.tobytes())
    np.testing.assert_array_equal(read_ct(tmp_path / "a.nii")[0].voxels, HU)


def test_metres_become_millimetres_and_an_unknown_unit_is_said(tmp_path: Path) -> None:
    pixdim = (1.0, 0.75e-3, 0.7e-3, 2.5e-3, 0, 0, 0, 0)
    (tmp_path / "a.nii").write_bytes(_nifti((6, 5, 4), units=1, pixdim=pixdim) + HU.tobytes())
    np.testing.assert_allclose(read_ct(tmp_path / "a.nii")[0].spacing_mm, (0.75, 0.7, 2.5), rtol=1e-6)
    (tmp_path / "b.nii").write_bytes(_nifti((6, 5, 4), units=0) + HU.tobytes())
    assert "mm is taken" in read_ct(tmp_path / "b.nii")[1][0]


def test_nifti_2_is_read(tmp_path: Path) -> None:
    head = bytearray(544)
    struct.pack_into("<i8s2h", head, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16)
    struct.pack_into("<8q", head, 16, 3, 6, 5, 4, 1, 1, 1, 1)
    struct.pack_into("<8d", head, 104, 1, 0.75, 0.7, 2.5, 0, 0, 0, 0)
    struct.pack_into("<q2d", head, 168, 544, 1.0, 0.0)
    struct.pack_into("<2i", head, 344, 0, 2)
    struct.pack_into("<12d", head, 400, -0.75, 0, 0, 10, 0, -0.7, 0, 20, 0, 0, 2.5, 30)
    struct.pack_into("<i", head, 500, 2)
    (tmp_path / "a.nii").write_bytes(bytes(head) + HU.tobytes())
    volume, _ = read_ct(tmp_path / "a.nii")  # SimpleITK reads no NIfTI-2: worked by hand
    np.testing.assert_array_equal(volume.voxels, HU)
    np.testing.assert_allclose(index_to_lps(volume.ijk_to_lps, (5, 4, 3)), (-6.25, -17.2, 37.5))


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"dims": (4, 6, 5, 2, 2, 1, 1, 1)}, InvalidInput, "one 3D volume"),
        ({"dims": (3, 32767, 32767, 32767, 1, 1, 1, 1)}, InputTooLarge, "2 GiB"),
        ({"dims": (3, 6, 5, -4, 1, 1, 1, 1)}, InvalidInput, "do not agree"),
        ({"dims": (3, 6, 5, 9, 1, 1, 1, 1)}, InvalidInput, "do not agree"),
        ({"code": 128}, InvalidInput, "plain numbers"),
        ({"offset": float("nan")}, InvalidInput, "do not agree"),
        ({"offset": 0.0}, InvalidInput, "do not agree"),
        ({"offset": 1e30}, InvalidInput, "do not agree"),
        ({"codes": (0, 0)}, BadGeometry, "where it lies"),
        ({"pixdim": (1.0, 0.0, 0.7, 2.5, 0, 0, 0, 0)}, BadGeometry, "spacing"),
        ({"pixdim": (1.0, float("nan"), 0.7, 2.5, 0, 0, 0, 0)}, BadGeometry, "spacing"),
        ({"quatern": (float("nan"), 0.0, 0.0, 0.0, 0.0, 0.0)}, BadGeometry, "position in space"),
        ({"codes": (0, 1)}, BadGeometry, "axes"),
        ({"units": 7}, BadGeometry, "unit of length"),
        ({"magic": b"ni1\0"}, InvalidInput, "another file"),
        ({"magic": b"xxxx"}, InvalidInput, "not a NIfTI"),
    ],
)
def test_a_nifti_header_that_lies_is_refused(
    tmp_path: Path, changes: dict[str, object], kind: type[LungXAIError], words: str
) -> None:
    data = _nifti((6, 5, 4), **changes) + HU.tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    _refused(tmp_path / "a.nii", kind, words)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data))
    with pytest.raises(kind):
        read_ct(tmp_path / "a.nii.gz")
