"""DICOM series as scanners and archives really leave them: read exactly, or refused with a remedy."""

import contextlib
import io
import logging
import math
import os
import shutil
import sys
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom")
SimpleITK = pytest.importorskip("SimpleITK")

from pydicom import dcmread, dcmwrite  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import get_decoder  # noqa: E402
from pydicom.uid import (  # noqa: E402
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from shared_models import ct_dicom  # noqa: E402
from shared_models.contract.errors import (  # noqa: E402
    BadGeometry,
    InputTooLarge,
    InvalidInput,
    LungXAIError,
    SpacingUnknown,
)
from shared_models.ct_reader import read_ct  # noqa: E402
from shared_models.ct_writer import write_nrrd  # noqa: E402
from shared_models.geometry import index_to_lps, shear_degrees  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from dicom_files import COLUMNS, ROWS, SECRETS, ct_image, enhanced_ct, hu_of, write, write_series  # noqa: E402

REAL = Path(__file__).parents[3] / "shared" / "data" / "lung_pet_ct_dx_dicom" / "A0001"
STACK = np.stack([hu_of(i) for i in range(6)])


def _itk(folder: Path) -> Any:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def _refused(path: Path, kind: type[LungXAIError], words: str) -> LungXAIError:
    """The refusal of ``path``: of this kind, with these words, with a remedy, without a secret."""
    with pytest.raises(kind, match=words) as caught:
        read_ct(path)
    assert type(caught.value) is kind and caught.value.remedy
    assert not any(secret in str(caught.value) for secret in (*SECRETS, str(path)))
    return caught.value


def test_a_series_is_ordered_by_position(tmp_path: Path) -> None:
    volume, notes = read_ct(write_series(tmp_path))
    np.testing.assert_array_equal(volume.voxels, STACK)
    np.testing.assert_allclose(volume.ijk_to_lps[:3, 3], (-10, -20, 0))
    np.testing.assert_allclose(volume.spacing_mm, (0.8, 0.7, 2.5))
    assert volume.series_uid == "1.2.3.999.1" and notes == ()


@pytest.mark.parametrize(
    "axes", [[1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0], [1, 0, 0, 0, -1, 0], [0.96, 0.28, 0, -0.28, 0.96, 0]]
)
def test_any_axial_orientation_agrees_with_simpleitk(tmp_path: Path, axes: list[float]) -> None:
    def turned(image: Dataset, index: int) -> None:
        image.ImageOrientationPatient = axes

    volume, _ = read_ct(write_series(tmp_path, edit=turned))
    image = _itk(tmp_path)
    voxels = SimpleITK.GetArrayFromImage(image)
    for index in ((0, 0, 0), (3, 2, 1), (15, 11, 5)):
        point = image.TransformIndexToPhysicalPoint(index)
        there = np.rint(np.linalg.solve(volume.ijk_to_lps, [*point, 1])[:3]).astype(int)
        np.testing.assert_allclose(index_to_lps(volume.ijk_to_lps, there), point, atol=1e-6)
        assert volume.voxels[tuple(there[::-1])] == voxels[index[::-1]]


def test_an_oblique_stack_follows_its_normal(tmp_path: Path) -> None:
    c, s = math.cos(0.3), math.sin(0.3)

    def tipped(image: Dataset, index: int) -> None:
        image.ImageOrientationPatient = [1, 0, 0, 0, round(c, 14), round(s, 14)]
        image.ImagePositionPatient = [0, round(-s * 2.5 * index, 12), round(c * 2.5 * index, 12)]

    volume, notes = read_ct(write_series(tmp_path, edit=tipped))
    np.testing.assert_array_equal(volume.voxels, STACK)
    assert shear_degrees(volume.ijk_to_lps) < 1e-6 and notes == ()
    assert volume.spacing_mm[2] == pytest.approx(2.5)


def test_gantry_tilt_stays_in_the_affine(tmp_path: Path) -> None:
    def tilted(image: Dataset, index: int) -> None:
        image.ImagePositionPatient = [-10, -20 + round(2.5 * index * math.tan(math.radians(12)), 9), 2.5 * index]

    volume, notes = read_ct(write_series(tmp_path, edit=tilted))
    np.testing.assert_array_equal(volume.voxels, STACK)
    assert shear_degrees(volume.ijk_to_lps) == pytest.approx(12, abs=1e-4) and "12.0 degrees" in notes[0]
    np.testing.assert_allclose(
        index_to_lps(volume.ijk_to_lps, (0, 0, 5)), (-10, -20 + 12.5 * math.tan(math.radians(12)), 12.5), atol=1e-6
    )
    # What is written from it is read back to the same places.
    write_nrrd(tmp_path / "tilted.nrrd", volume.voxels, volume.ijk_to_lps)
    back, _ = read_ct(tmp_path / "tilted.nrrd")
    np.testing.assert_array_equal(back.ijk_to_lps, volume.ijk_to_lps)


def test_coronal_slices_are_put_in_axial_order(tmp_path: Path) -> None:
    def coronal(image: Dataset, index: int) -> None:
        image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        image.ImagePositionPatient = [0, 2.5 * index, 100]

    volume, notes = read_ct(write_series(tmp_path, edit=coronal))
    assert volume.voxels.shape == (ROWS, 6, COLUMNS) and "axial order" in notes[-1]
    np.testing.assert_allclose(index_to_lps(volume.ijk_to_lps, (3, 4, 2)), (2.4, 10, 98.6))
    assert volume.voxels[2, 4, 3] == hu_of(4)[2, 3]


@pytest.mark.parametrize("missing", [(3,), (2, 3)])
def test_missing_slices_are_counted_and_placed(tmp_path: Path, missing: tuple[int, ...]) -> None:
    def without(image: Dataset, index: int) -> None:
        image.ImagePositionPatient = [-10, -20, 2.5 * (index + (len(missing) if index >= missing[0] else 0))]

    write_series(tmp_path, 10, without)
    words = f"{len(missing)} slices? (is|are) missing: between slices {missing[0]} and {missing[0] + 1}"
    _refused(tmp_path, BadGeometry, words)


def test_uneven_spacing_is_refused_and_rounding_is_not(tmp_path: Path) -> None:
    def uneven(image: Dataset, index: int) -> None:
        image.ImagePositionPatient = [-10, -20, [0, 2.5, 5, 9, 11, 16.1][index]]

    _refused(write_series(tmp_path / "uneven", edit=uneven), BadGeometry, "varies from 2.00 to 5.10 mm")

    def rounded(image: Dataset, index: int) -> None:
        image.ImagePositionPatient = [-10, -20, round(0.625 * index, 1)]

    volume, notes = read_ct(write_series(tmp_path / "rounded", 21, rounded))
    assert volume.spacing_mm[2] == pytest.approx(0.625) and "spacing varies" in notes[0]


def test_slices_beside_each_other_are_refused(tmp_path: Path) -> None:
    def shifted(image: Dataset, index: int) -> None:
        image.ImagePositionPatient = [-10 + (3 if index == 3 else 0), -20, 2.5 * index]

    _refused(write_series(tmp_path, edit=shifted), BadGeometry, "do not lie above each other")


def test_identical_copies_are_left_out_and_said(tmp_path: Path) -> None:
    write_series(tmp_path)
    for name in ("000-1.dcm", "037-1.dcm"):
        (tmp_path / "copies").mkdir(exist_ok=True)
        shutil.copy(tmp_path / name, tmp_path / "copies" / name)
    volume, notes = read_ct(tmp_path)
    np.testing.assert_array_equal(volume.voxels, STACK)
    assert notes == ("2 identical copies of slices were left out.",)


def test_a_4d_series_is_refused_with_its_cause(tmp_path: Path) -> None:
    write_series(tmp_path)

    def second_phase(image: Dataset, index: int) -> None:
        image.SOPInstanceUID += ".2"
        image.SeriesInstanceUID = "1.2.3.999.1"
        image.TemporalPositionIdentifier = 2
        image.PixelData = image.PixelData[::-1]

    write_series(tmp_path, edit=second_phase, series="2")
    _refused(tmp_path, InvalidInput, "At 6 of 6 places .* 4D scan .they differ in time point")


def test_several_acquisitions_are_named(tmp_path: Path) -> None:
    write_series(tmp_path)

    def second(image: Dataset, index: int) -> None:
        image.SeriesInstanceUID = "1.2.3.999.1"
        image.AcquisitionNumber = 2
        image.RescaleIntercept = -1000

    write_series(tmp_path, 3, second, series="2")
    _refused(tmp_path, InvalidInput, "At 3 of 6 places .*they differ in acquisition")


def test_mixed_sizes_orientations_and_spacings_are_refused(tmp_path: Path) -> None:
    def size(image: Dataset, index: int) -> None:
        if index == 2:
            image.Rows, image.Columns = COLUMNS, ROWS

    def orientation(image: Dataset, index: int) -> None:
        if index == 2:
            image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    def spacing(image: Dataset, index: int) -> None:
        if index == 2:
            image.PixelSpacing = [0.7, 0.9]

    _refused(write_series(tmp_path / "a", edit=size), BadGeometry, "different size .12 x 16, 16 x 12.")
    _refused(write_series(tmp_path / "b", edit=orientation), BadGeometry, "different orientation")
    _refused(write_series(tmp_path / "c", edit=spacing), BadGeometry, "different pixel spacings")


def test_the_axial_series_with_most_slices_is_chosen_and_said(tmp_path: Path) -> None:
    def coronal(image: Dataset, index: int) -> None:
        image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        image.ImagePositionPatient = [0, 2.5 * index, 100]

    def captured(image: Dataset, index: int) -> None:
        image.ImageType = ["DERIVED", "SECONDARY", "MIP"]

    write_series(tmp_path / "thick", 4, series="1")
    write_series(tmp_path / "thin", 6, series="2")
    write_series(tmp_path / "coronal", 9, coronal, series="3")
    write_series(tmp_path / "projections", 12, captured, series="4")
    volume, notes = read_ct(tmp_path)
    assert volume.series_uid == "1.2.3.999.2" and len(volume.voxels) == 6
    assert notes == ("4 CT series were found; one with 6 slices was read.",)


def test_a_series_that_makes_no_stack_gives_way_to_one_that_does(tmp_path: Path) -> None:
    def gap(image: Dataset, index: int) -> None:
        image.ImagePositionPatient = [-10, -20, 2.5 * (index + (index > 5))]

    write_series(tmp_path, 12, gap, series="1")
    write_series(tmp_path, 6, series="2")
    volume, notes = read_ct(tmp_path)
    assert volume.series_uid == "1.2.3.999.2"
    assert any(note.startswith("A series was left out: 1 slice is missing") for note in notes)


def test_scouts_captures_and_foreign_files_are_left_out_and_said(tmp_path: Path) -> None:
    write_series(tmp_path)
    scout = ct_image(90)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    write(scout, tmp_path / "scout.dcm")
    capture = ct_image(91)
    capture.SOPClassUID = SecondaryCaptureImageStorage
    write(capture, tmp_path / "capture.dcm")
    colour = ct_image(92)
    colour.SamplesPerPixel, colour.PhotometricInterpretation, colour.PlanarConfiguration = 3, "RGB", 0
    write(colour, tmp_path / "dose.dcm")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM nonsense")
    (tmp_path / "notes.txt").write_text("Doe^Jane")
    (tmp_path / ".DS_Store").write_bytes(os.urandom(500))
    volume, notes = read_ct(tmp_path)
    np.testing.assert_array_equal(volume.voxels, STACK)
    assert set(notes) == {
        "Left out: localizer (scout) images (1).",
        "Left out: secondary captures, pictures of a screen (1).",
        "Left out: colour pictures (1).",
        "Left out: files that are not DICOM (2).",
    }


def test_what_is_no_ct_is_named(tmp_path: Path) -> None:
    def mr(image: Dataset, index: int) -> None:
        image.SOPClassUID, image.Modality = MRImageStorage, "MR"

    def pt_inside_ct(image: Dataset, index: int) -> None:
        image.Modality = "PT"

    def rgb(image: Dataset, index: int) -> None:
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0

    _refused(write_series(tmp_path / "mr", edit=mr), InvalidInput, r"but: MR objects that are no CT images \(6\)")
    _refused(write_series(tmp_path / "pt", edit=pt_inside_ct), InvalidInput, r"but: PT images \(6\)")
    _refused(write_series(tmp_path / "rgb", edit=rgb), InvalidInput, r"but: colour pictures \(6\)")
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", InvalidInput, "No CT series was found, but: nothing")


@pytest.mark.parametrize(
    ("element", "value", "kind", "words"),
    [
        ("PixelSpacing", [0, 0.8], SpacingUnknown, "pixel spacing"),
        ("PixelSpacing", None, SpacingUnknown, "pixel spacing"),
        ("PixelSpacing", [-0.7, 0.8], SpacingUnknown, "pixel spacing"),
        ("ImagePositionPatient", None, BadGeometry, "where they lie"),
        ("ImagePositionPatient", [0, 0], BadGeometry, "where they lie"),
        ("ImageOrientationPatient", None, BadGeometry, "where they lie"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], BadGeometry, "right angles"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0], BadGeometry, "right angles"),
        ("RescaleType", "US", InvalidInput, "not Hounsfield"),
        ("RescaleSlope", 0, InvalidInput, "scale to Hounsfield"),
        ("RescaleIntercept", None, InvalidInput, "scale to Hounsfield"),
        ("PhotometricInterpretation", "MONOCHROME1", InvalidInput, "stored as pictures"),
        ("Rows", 0, InvalidInput, "damaged"),
        ("Rows", None, InvalidInput, "damaged"),
        ("BitsAllocated", 12, InvalidInput, "damaged"),
        ("NumberOfFrames", 3, BadGeometry, "multi-frame"),
    ],
)
def test_one_spoiled_header_is_enough(
    tmp_path: Path, element: str, value: object, kind: type[LungXAIError], words: str
) -> None:
    def spoil(image: Dataset, index: int) -> None:
        if index == 3:
            setattr(image, element, value)

    _refused(write_series(tmp_path, edit=spoil), kind, words)


@pytest.mark.parametrize("text", [b"NaN ", b"inf ", b"abc ", b"1E9999"])
def test_numbers_that_are_none_do_not_become_geometry(tmp_path: Path, text: bytes) -> None:
    file = write(ct_image(0), tmp_path / "a.dcm")
    data = file.read_bytes()
    assert data.count(b"0.7\\0.8") == 1
    file.write_bytes(data.replace(b"0.7\\0.8 ", (text + b"\\0.8")[:8].ljust(8)))
    with pytest.raises(LungXAIError):
        read_ct(tmp_path)


@pytest.mark.parametrize("cut", [1, 100, ROWS * COLUMNS * 2 + 4, 700])
def test_a_file_cut_short_anywhere_stops_the_reading(tmp_path: Path, cut: int) -> None:
    write_series(tmp_path)
    write(ct_image(5), tmp_path / "084-1.dcm", cut)  # the last slice: no gap would show its absence
    _refused(tmp_path, InvalidInput, "1 of 6 files are cut short or damaged")


def test_every_truncation_of_one_file_is_a_clean_refusal(tmp_path: Path) -> None:
    whole = write(ct_image(0), tmp_path / "a.dcm").read_bytes()
    for size in range(0, len(whole), 23):
        (tmp_path / "a.dcm").write_bytes(whole[:size])
        with pytest.raises(LungXAIError):
            read_ct(tmp_path)


def test_flipped_bytes_never_escape_the_taxonomy(tmp_path: Path) -> None:
    whole = write(ct_image(0), tmp_path / "a.dcm").read_bytes()
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(250):
        data = bytearray(whole)
        for place in rng.integers(132, len(data) - ROWS * COLUMNS * 2, 3):
            data[place] = rng.integers(256)
        (tmp_path / "a.dcm").write_bytes(bytes(data))
        try:
            read_ct(tmp_path)
            read += 1
        except LungXAIError:
            pass
    assert read < 250


def test_a_large_header_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    def huge(image: Dataset, index: int) -> None:
        image.file_meta.TransferSyntaxUID = RLELossless  # compressed: the file's size says nothing
        image.Rows = image.Columns = 65000
        image.PixelData = encapsulate([b"\0" * 64])

    write_series(tmp_path, edit=huge)
    tracemalloc.start()
    try:
        _refused(tmp_path, InputTooLarge, "65000 x 65000")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_compressed_image_of_another_size_than_it_says_is_refused(tmp_path: Path) -> None:
    def lying(image: Dataset, index: int) -> None:
        image.compress(RLELossless)
        image.Rows, image.Columns = ROWS * 2, COLUMNS

    _refused(write_series(tmp_path, edit=lying), InvalidInput, "pixels of 6 of 6 slices")


def test_a_run_length_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    def bomb(image: Dataset, index: int) -> None:
        header = np.array([2, 64, 64 + (4 << 20)] + [0] * 13, "<u4").tobytes()
        image.file_meta.TransferSyntaxUID = RLELossless
        image.PixelData = encapsulate([header + b"\x81\x00" * (4 << 20)])  # 8 MiB that hold 512 MiB

    write_series(tmp_path, 1, bomb)
    tracemalloc.start()
    try:
        _refused(tmp_path, InvalidInput, "damaged")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_deflated_files_are_refused_unopened(tmp_path: Path) -> None:
    def deflated(image: Dataset, index: int) -> None:
        image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    _refused(write_series(tmp_path, edit=deflated), InvalidInput, "deflated")


def test_big_endian_slices_are_read(tmp_path: Path) -> None:
    for index in range(6):
        image = ct_image(index)
        image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        image.PixelData = (hu_of(index).astype(np.int32) + 1024).astype(">u2").tobytes()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        dcmwrite(tmp_path / f"{index}.dcm", image, implicit_vr=False, little_endian=False, enforce_file_format=True)
    np.testing.assert_array_equal(read_ct(tmp_path)[0].voxels, STACK)


def test_run_length_compressed_slices_are_read(tmp_path: Path) -> None:
    volume, _ = read_ct(write_series(tmp_path, edit=lambda image, index: image.compress(RLELossless)))
    np.testing.assert_array_equal(volume.voxels, STACK)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_jpeg_compressed_slices_are_read(tmp_path: Path, syntax: UID) -> None:
    write_series(tmp_path / "plain")
    (tmp_path / "packed").mkdir()
    for file in (tmp_path / "plain").iterdir():
        image = SimpleITK.ReadImage(str(file))
        image = SimpleITK.Cast(image + 1024, SimpleITK.sitkUInt16)
        slice_ = dcmread(file)
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG2000" if syntax == JPEG2000Lossless else "JPEG")
        writer.SetFileName(str(tmp_path / "pixels.dcm"))
        writer.Execute(image)
        packed = dcmread(tmp_path / "pixels.dcm")
        assert packed.file_meta.TransferSyntaxUID == syntax
        slice_.PixelData, slice_["PixelData"].VR = packed.PixelData, "OB"
        slice_["PixelData"].is_undefined_length = True
        slice_.file_meta.TransferSyntaxUID = syntax
        write(slice_, tmp_path / "packed" / file.name)
    volume, _ = read_ct(tmp_path / "packed")
    np.testing.assert_array_equal(volume.voxels, STACK)


def test_a_compression_without_a_decoder_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def jpeg_ls(image: Dataset, index: int) -> None:
        image.file_meta.TransferSyntaxUID = JPEGLSLossless
        image.PixelData = encapsulate([b"\xff\xd8\xff\xf7" + bytes(60)])

    monkeypatch.setitem(sys.modules, "SimpleITK", None)  # ITK would bring a decoder, and so do highdicom's packages
    monkeypatch.setattr(get_decoder(JPEGLSLossless), "_available", {})
    write_series(tmp_path, edit=jpeg_ls)
    assert "pip install" in _refused(tmp_path, InvalidInput, "JPEG-LS").remedy


def test_each_slice_has_its_own_scale(tmp_path: Path) -> None:
    def scaled(image: Dataset, index: int) -> None:
        image.RescaleIntercept = -1024 - 3 * index
        image.PixelData = (hu_of(index).astype(np.int32) + 1024 + 3 * index).astype("<u2").tobytes()

    volume, _ = read_ct(write_series(tmp_path, edit=scaled))
    np.testing.assert_array_equal(volume.voxels, STACK)


def test_fractions_of_hu_are_rounded_and_overflow_is_clipped_and_said(tmp_path: Path) -> None:
    def half(image: Dataset, index: int) -> None:
        image.RescaleSlope = 0.5

    volume, notes = read_ct(write_series(tmp_path / "half", edit=half))
    np.testing.assert_array_equal(volume.voxels[1], np.rint((hu_of(1) + 1024) * 0.5 - 1024))
    assert notes == ()

    def steep(image: Dataset, index: int) -> None:
        image.RescaleSlope = 1000

    volume, notes = read_ct(write_series(tmp_path / "steep", edit=steep))
    clipped = int(((STACK.astype(np.int64) + 1024) * 1000 - 1024 > 32767).sum())
    assert notes == (f"{clipped} voxels lay outside the 16-bit range and were clipped.",)
    assert volume.voxels.max() == 32767


def test_dense_padding_becomes_air(tmp_path: Path) -> None:
    def padded(image: Dataset, index: int) -> None:
        pixels = np.frombuffer(image.PixelData, "<u2").copy()
        pixels[:4] = 63536
        image.PixelPaddingValue = 63536
        image.PixelData = pixels.tobytes()

    volume, notes = read_ct(write_series(tmp_path, edit=padded))
    assert (volume.voxels[:, 0, :4] == -1024).all() and notes == ()
    np.testing.assert_array_equal(volume.voxels[:, 1:], STACK[:, 1:])


@pytest.mark.parametrize("shared_scale", [True, False])
def test_an_enhanced_ct_is_read_frame_by_frame(tmp_path: Path, shared_scale: bool) -> None:
    file = write(enhanced_ct(5, shared_scale), tmp_path / "enhanced.dcm")
    for path in (file, tmp_path):
        volume, notes = read_ct(path)
        np.testing.assert_array_equal(volume.voxels, STACK[:5])
        np.testing.assert_allclose(volume.spacing_mm, (0.8, 0.7, 2.5))
        np.testing.assert_allclose(volume.ijk_to_lps[:3, 3], (-10, -20, 0))
        assert notes == ()


def test_a_spoiled_enhanced_ct_is_refused(tmp_path: Path) -> None:
    missing = enhanced_ct(5)
    del missing.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    _refused(write(missing, tmp_path / "a.dcm"), InvalidInput, "damaged")
    lying = enhanced_ct(5)
    lying.NumberOfFrames = 2000
    _refused(write(lying, tmp_path / "b.dcm"), InvalidInput, "damaged")


def test_one_slice_needs_its_thickness(tmp_path: Path) -> None:
    volume, notes = read_ct(write(ct_image(0), tmp_path / "a.dcm"))
    assert volume.voxels.shape == (1, ROWS, COLUMNS) and volume.spacing_mm[2] == 3.0 and "one slice only" in notes[0]
    thin = ct_image(0)
    thin.SliceThickness = 0
    _refused(write(thin, tmp_path / "b.dcm"), SpacingUnknown, "thickness is unknown")


def test_several_patients_are_refused(tmp_path: Path) -> None:
    def other(image: Dataset, index: int) -> None:
        image.PatientID = "PID-4712"

    write_series(tmp_path)
    write_series(tmp_path, edit=other, series="2")
    _refused(tmp_path, InvalidInput, "several patients")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ct_dicom, "MAX_FILES", 4)
    _refused(write_series(tmp_path), InputTooLarge, "more than 4 files")


def test_pipes_and_links_out_are_no_trap(tmp_path: Path) -> None:
    write_series(tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")  # opening it would block for ever
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "broken.dcm").symlink_to(tmp_path / "nowhere")
    np.testing.assert_array_equal(read_ct(tmp_path)[0].voxels, STACK)


def test_nothing_of_the_patient_is_logged_or_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def odd(image: Dataset, index: int) -> None:
        image.add_new(0x00100010, "PN", SECRETS[0])
        image.add_new(0x00200011, "IS", "1")

    write_series(tmp_path, edit=odd)
    file = tmp_path / "000-1.dcm"
    file.write_bytes(file.read_bytes().replace(b"1.2.3.999.1\0", b"1.2.3.999.x\0"))  # an invalid UID is warned about
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(LungXAIError):
            read_ct(tmp_path)
    said = caplog.text + "".join(capfd.readouterr()) + "".join(str(w.message) for w in caught)
    assert not any(secret in said for secret in SECRETS)
    logging.getLogger("pydicom").warning("heard again")
    assert "heard again" in caplog.text


@pytest.mark.parametrize("implicit", [True, False])
def test_old_files_without_a_preamble_are_read(tmp_path: Path, implicit: bool) -> None:
    for index in range(6):
        image = ct_image(index)
        stream = io.BytesIO()
        del image.file_meta
        dcmwrite(stream, image, implicit_vr=implicit, little_endian=True)
        (tmp_path / f"IM{9 - index}").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read_ct(tmp_path)[0].voxels, STACK)


def test_what_is_no_ct_file_says_what_to_give(tmp_path: Path) -> None:
    meta = b"ObjectType = Image\nNDims = 3\nElementDataFile = /etc/passwd\n"
    for name, data in (("a.png", b"\x89PNG\r\n\x1a\n"), ("a.mha", meta), ("a.zip", b"PK")):
        (tmp_path / name).write_bytes(data)
        _refused(tmp_path / name, InvalidInput, "read")
    _refused(tmp_path / "not there", InvalidInput, "cannot be read")
    (tmp_path / "a.dcm").write_bytes(b"")
    _refused(tmp_path / "a.dcm", InvalidInput, "damaged")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
class TestRealSeries:
    """Lung-PET-CT-Dx A0001 (doi 10.7937/TCIA.2020.NNC20461, CC BY 4.0) against SimpleITK."""

    def test_voxels_and_geometry_equal_simpleitks(self, tmp_path: Path) -> None:
        volume, notes = read_ct(REAL)
        image = _itk(REAL)
        np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(image))
        np.testing.assert_allclose(volume.ijk_to_lps[:3, 3], image.GetOrigin(), atol=1e-9)
        np.testing.assert_allclose(volume.spacing_mm, image.GetSpacing(), rtol=1e-9)
        direction = volume.ijk_to_lps[:3, :3] / volume.spacing_mm
        np.testing.assert_allclose(direction.ravel(), image.GetDirection(), atol=1e-9)
        assert notes == ()
        write_nrrd(tmp_path / "a.nrrd", volume.voxels, volume.ijk_to_lps)
        written = SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))
        np.testing.assert_allclose(written.GetOrigin(), image.GetOrigin(), atol=1e-6)
        np.testing.assert_allclose(written.GetSpacing(), image.GetSpacing(), atol=1e-6)
        np.testing.assert_allclose(written.GetDirection(), image.GetDirection(), atol=1e-6)
        back, _ = read_ct(tmp_path / "a.nrrd")
        np.testing.assert_array_equal(back.voxels, volume.voxels)
        np.testing.assert_array_equal(back.ijk_to_lps, volume.ijk_to_lps)

    def test_shuffled_renamed_and_among_foreign_files(self, tmp_path: Path) -> None:
        files = sorted(REAL.iterdir())
        order = np.random.default_rng(0).permutation(len(files))
        for place, file in zip(order, files):
            folder = tmp_path / f"disk{place % 3}"
            folder.mkdir(exist_ok=True)
            shutil.copy(file, folder / f"IM{place:05d}")
        (tmp_path / "readme.txt").write_text("not DICOM")
        volume, notes = read_ct(tmp_path)
        np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(_itk(REAL)))
        assert notes == ("Left out: files that are not DICOM (1).",)
