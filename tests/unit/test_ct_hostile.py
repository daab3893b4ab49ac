"""CT files made to hang a reader or to fill its memory, with headers that pass every other check."""

import gzip
import io
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dicom_files import COLUMNS, ROWS, write_series
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1

from shared_models import ct_dicom
from shared_models.contract.errors import BadGeometry, InvalidInput, LungXAIError
from shared_models.ct_pixels import image_size
from shared_models.ct_reader import read_ct

sys.path.insert(0, str(Path(__file__).parent))
from test_ct_files import HEADER, HU, _nifti  # noqa: E402

Image = pytest.importorskip("PIL.Image")
NIFTI = _nifti((6, 5, 4)) + HU.tobytes()
UNDEFINED = b"\xff\xff\xff\xff"
NESTED = struct.pack("<HH", 9, 0x1001) + b"SQ\0\0" + UNDEFINED + b"\xfe\xff\x00\xe0" + UNDEFINED


def injected(folder: Path, blob: bytes, times: int = 1) -> Path:
    """One slice with ``blob``, ``times`` over, before the patient's name."""
    (path,) = write_series(folder, 1, lambda image, index: None).iterdir()
    data = path.read_bytes()
    place = data.index(struct.pack("<HH", 0x10, 0x10) + b"PN")
    path.write_bytes(data[:place] + blob * times + data[place:])
    return folder


def damaged(path: Path, kind: type[LungXAIError] = InvalidInput, most_bytes: int = 80 << 20) -> LungXAIError:
    tracemalloc.start()
    try:
        with pytest.raises(kind) as fault:
            read_ct(path)
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()
    assert fault.value.remedy
    return fault.value


# DICOM


@pytest.mark.parametrize("depth", [1000, 10_000, 100_000])
def test_sequences_nested_without_end_are_damaged(tmp_path, depth: int) -> None:
    assert "damaged" in damaged(injected(tmp_path / "ct", NESTED, depth)).message


def test_a_header_without_end_is_damaged(tmp_path, monkeypatch) -> None:
    element = struct.pack("<HH", 0x11, 0x1001) + b"CS" + struct.pack("<H", 0)
    items = struct.pack("<HH", 9, 0x1001) + b"UN\0\0" + UNDEFINED + bytes(80_000)
    long = struct.pack("<HH", 0x10, 0x20) + b"UT\0\0" + struct.pack("<I", 80 << 20) + bytes(80 << 20)
    monkeypatch.setattr(ct_dicom, "MAX_HEADER_READS", 5000)
    assert read_ct(injected(tmp_path / "few", element, 1000))[0].voxels.shape == (1, ROWS, COLUMNS)
    damaged(injected(tmp_path / "many", element, 10_000))
    damaged(injected(tmp_path / "items", items))
    damaged(injected(tmp_path / "long", long))


def test_a_long_meta_header_is_damaged(tmp_path) -> None:
    (path,) = write_series(tmp_path / "ct", 1, lambda image, index: None).iterdir()
    data = path.read_bytes()
    long = struct.pack("<HH", 2, 0x102) + b"OB\0\0" + struct.pack("<I", 80 << 20)
    path.write_bytes(data[:132] + long + bytes(80 << 20) + data[132:])
    damaged(tmp_path / "ct")


def test_a_skipped_element_may_be_long(tmp_path) -> None:
    """A private element of a scanner, larger than a header may be: it is not read, so it does not count."""
    blob = struct.pack("<HH", 9, 0x1001) + b"OB\0\0" + struct.pack("<I", 70 << 20) + bytes(70 << 20)
    assert read_ct(injected(tmp_path / "ct", blob))[0].voxels.shape == (1, ROWS, COLUMNS)


def codestream(kind: str, columns: int, rows: int) -> bytes:
    """A compressed image of 16 x 12 whose own header says another size."""
    stream = io.BytesIO()
    if kind == "J2K":
        Image.fromarray(np.zeros((ROWS, COLUMNS), np.uint16)).save(stream, "JPEG2000", no_jp2=True)
        data = bytearray(stream.getvalue())
        place = data.index(b"\xff\x51") + 6
        struct.pack_into(">2I", data, place, columns, rows)
        struct.pack_into(">2I", data, place + 16, columns, rows)
    else:
        Image.new("L", (COLUMNS, ROWS)).save(stream, "JPEG")
        data = bytearray(stream.getvalue())
        struct.pack_into(">2H", data, data.index(b"\xff\xc0") + 5, rows, columns)
    return bytes(data) + b"\0" * (len(data) % 2)


@pytest.mark.parametrize("size", [(12_000, 12_000), (16, 13), (30_000, 2)])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1])
def test_a_compressed_image_that_says_another_size_is_not_decoded(tmp_path, monkeypatch, syntax: UID, size) -> None:
    """JPEG 2000 took 1.3 GB and half a minute a slice for 12,000 x 12,000 pixels in 200 bytes."""
    frame = codestream("J2K" if syntax == JPEG2000Lossless else "JPEG", *size)
    assert image_size(frame) == size

    def spoil(image, index: int) -> None:
        image.file_meta.TransferSyntaxUID = syntax
        image.PixelData = encapsulate([frame])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True

    def decoded(*given, **named):
        raise AssertionError("it was decoded")

    write_series(tmp_path / "ct", 2, spoil)
    monkeypatch.setattr("pydicom.pixels.pixel_array", decoded)
    monkeypatch.setattr("SimpleITK.ImageFileReader.Execute", decoded)
    assert "damaged" in damaged(tmp_path / "ct").message


@pytest.mark.parametrize("value", [["1000", "1000"], ["0.001", "0.001"], ["1e30", "1e30"]])
def test_a_spacing_that_no_scanner_has_is_refused(tmp_path, value: list[str]) -> None:
    write_series(tmp_path / "ct", 4, lambda image, index: setattr(image, "PixelSpacing", value))
    damaged(tmp_path / "ct", BadGeometry)


# NRRD and NIfTI


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("space directions", "(1000,0,0) (0,1000,0) (0,0,1000)"),
        ("space directions", "(1e-9,0,0) (0,1e-9,0) (0,0,1e-9)"),
        ("space directions", "(1,0,0) (0,1,0) (0,0,3000)"),
        ("space origin", "(1e300,0,0)"),
    ],
)
def test_a_place_or_a_size_that_no_person_has_is_refused(tmp_path, field: str, value: str) -> None:
    """At a millimetre a voxel the analysis of a CT that is a kilometre long would take all memory there is."""
    fields = {**HEADER, field: value}
    head = "\n".join(["NRRD0004", *(f"{k}: {v}" for k, v in fields.items())]) + "\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + HU.tobytes())
    assert "no CT of a person" in damaged(tmp_path / "a.nrrd", BadGeometry).message


def test_gzip_in_many_members_or_padded_is_read(tmp_path) -> None:
    cut = [NIFTI[start : start + 100] for start in range(0, len(NIFTI), 100)]
    path = tmp_path / "a.nii.gz"
    for data in (gzip.compress(NIFTI), b"".join(map(gzip.compress, cut)) + gzip.compress(b"") + bytes(1000)):
        path.write_bytes(data)
        np.testing.assert_array_equal(np.sort(read_ct(path)[0].voxels, axis=None), np.sort(HU, axis=None))


def test_gzip_that_never_gets_to_its_content_is_refused(tmp_path) -> None:
    path = tmp_path / "a.nii.gz"
    name = b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * (4 << 20)
    for data in (
        name,
        gzip.compress(b"") * 100_000,
        gzip.compress(NIFTI[:400]) + name,
        gzip.compress(NIFTI) + gzip.compress(b"") * 100_000,
        gzip.compress(NIFTI) + b"rest",
        gzip.compress(NIFTI)[:-3],
        gzip.compress(NIFTI)[:-8] + bytes(8),
    ):
        path.write_bytes(data)
        damaged(path, most_bytes=16 << 20)
