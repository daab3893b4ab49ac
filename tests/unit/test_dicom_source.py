"""The source series of the DICOM exports: one series of a folder, in the reader's order and place, or why not."""

import numpy as np
import pydicom
import pytest
from dicom_cases import GEOMETRIES, SHAPE, case, source
from dicom_files import SECRETS, ct_image, enhanced_ct, write, write_series

from inference_server.dicom_source import SourceSeries
from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import CTVolume
from shared_models.ct_reader import read_ct
from shared_models.geometry import cropped_affine, index_to_lps


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_order_and_place_are_those_of_the_reader(tmp_path, geometry) -> None:
    volume = source(tmp_path, geometry)
    series = SourceSeries.read(tmp_path, volume.series_uid)
    assert np.array_equal(series.ijk_to_lps, volume.ijk_to_lps)
    assert series.shape == SHAPE
    stored = np.stack([pydicom.dcmread(tmp_path / f"slice{d.InstanceNumber - 1:04d}.dcm").pixel_array.astype(int) - 1024
                       for d in series.datasets])  # fmt: skip
    turned, first = series.on_stack(volume.voxels, volume.ijk_to_lps)
    assert first == (0, 0, 0)
    assert np.array_equal(turned, stored)
    for k in (0, 3, 6):
        assert np.allclose(index_to_lps(series.stack_to_lps, (0, 0, k)), series.positions[k], atol=1e-6)
        assert series.frames[k] == (k, None)
    series.check(case(volume))


def test_headers_come_without_pixels_and_other_series_are_left_alone(tmp_path) -> None:
    write_series(tmp_path, 6, series="1")
    write_series(tmp_path / "deeper", 4, series="2")
    picture = ct_image(0, "3")
    picture.SOPClassUID, picture.Modality = "1.2.840.10008.5.1.4.1.1.7", "OT"
    write(picture, tmp_path / "picture.dcm")
    (tmp_path / "README.txt").write_text("not DICOM")
    series = SourceSeries.read(tmp_path, f"{SECRETS[2]}.2")
    assert len(series.datasets) == series.shape[0] == 4
    assert [d.SOPInstanceUID for d in series.datasets] == [f"1.2.3.999.2.{k + 1}" for k in range(4)]
    assert series.instances[0] == ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.999.2.1")
    assert all("PixelData" not in d for d in series.datasets)
    assert series.study_uid == "1.2.3.999"


def test_a_series_without_a_frame_of_reference_has_the_same_one_each_time(tmp_path) -> None:
    write_series(tmp_path, 3)
    first, second = (SourceSeries.read(tmp_path, "1.2.3.999.1") for _ in range(2))
    assert first.frame_of_reference_uid == second.frame_of_reference_uid
    assert pydicom.uid.UID(first.frame_of_reference_uid).is_valid


def test_frames_of_an_enhanced_ct_are_slices(tmp_path) -> None:
    write(enhanced_ct(5), tmp_path / "enhanced.dcm")
    volume = read_ct(tmp_path)[0]
    series = SourceSeries.read(tmp_path / "enhanced.dcm", volume.series_uid)
    assert len(series.datasets) == 1
    assert series.frames == tuple((0, frame) for frame in (4, 3, 2, 1, 0))  # they lie in reverse order
    assert np.array_equal(series.ijk_to_lps, volume.ijk_to_lps)


def test_copies_of_slices_are_left_out_as_the_reader_does(tmp_path) -> None:
    write_series(tmp_path, 5)
    again = ct_image(2)
    again.SOPInstanceUID += ".9"
    write(again, tmp_path / "zz.dcm")
    series = SourceSeries.read(tmp_path, "1.2.3.999.1")
    assert series.shape == read_ct(tmp_path)[0].voxels.shape
    assert len(series.datasets) == 5
    assert any("copies" in note for note in series.notes)


def _cut(folder):
    write(ct_image(5), folder / "005.dcm", cut=50)


def _nameless(folder):
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        del image.StudyInstanceUID
        image.save_as(file)


def _hole(folder):
    next(f for f in folder.iterdir() if pydicom.dcmread(f).SOPInstanceUID.endswith(".3")).unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [(_cut, InvalidInput, "damaged"), (_nameless, InvalidInput, "which study"), (_hole, BadGeometry, "missing")],
)
def test_a_series_that_cannot_be_used_is_refused_with_a_remedy(tmp_path, spoil, error, words) -> None:
    write_series(tmp_path, 6)
    spoil(tmp_path)
    with pytest.raises(error, match=words) as refused:
        SourceSeries.read(tmp_path, "1.2.3.999.1")
    assert "xport" in refused.value.remedy
    assert not any(secret in str(refused.value) for secret in SECRETS)


def test_a_series_that_is_not_there_is_said_to_be_missing(tmp_path) -> None:
    write_series(tmp_path, 3)
    with pytest.raises(InvalidInput, match="not in this folder .1 other"):
        SourceSeries.read(tmp_path, "1.2.3.4")
    with pytest.raises(InvalidInput, match="not there"):
        SourceSeries.read(tmp_path / "nowhere", "1.2.3.4")


def test_a_case_of_another_series_or_grid_is_refused(tmp_path) -> None:
    volume = source(tmp_path)
    series = SourceSeries.read(tmp_path, volume.series_uid)
    other = CTVolume(volume.voxels, volume.ijk_to_lps, "1.2.3")
    with pytest.raises(InvalidInput, match="not read from this DICOM series"):
        series.check(case(other))
    shorter = CTVolume(volume.voxels[:-1], volume.ijk_to_lps, volume.series_uid)
    with pytest.raises(BadGeometry, match="6 slices"):
        series.check(case(shorter))
    moved = np.array(volume.ijk_to_lps)
    moved[0, 3] += 0.3
    with pytest.raises(BadGeometry, match="does not lie"):
        series.check(case(CTVolume(volume.voxels, moved, volume.series_uid)))
    wider = cropped_affine(volume.ijk_to_lps, (-1, 0, 0))
    with pytest.raises(BadGeometry, match="reaches out"):
        series.check(case(CTVolume(volume.voxels, wider, volume.series_uid)))


def test_a_grid_that_was_turned_round_is_turned_back(tmp_path) -> None:
    """Slicer turns the slices of a left-handed CT round when it loads it."""
    volume = source(tmp_path, "oblique")
    series = SourceSeries.read(tmp_path, volume.series_uid)
    affine = np.array(volume.ijk_to_lps)
    affine[:3, 3] = index_to_lps(volume.ijk_to_lps, (SHAPE[2] - 1, 0, SHAPE[0] - 1))
    affine[:3, [0, 2]] *= -1
    turned = CTVolume(np.ascontiguousarray(volume.voxels[::-1, :, ::-1]), affine, volume.series_uid)
    back, first = series.on_stack(turned.voxels, turned.ijk_to_lps)
    assert np.array_equal(back, volume.voxels)
    assert first == (0, 0, 0)
    part, first = series.on_stack(turned.voxels[1:3, 4:9, 5:7], cropped_affine(affine, (5, 4, 1)))
    assert first == (SHAPE[0] - 3, 4, SHAPE[2] - 7)
    assert np.array_equal(part, volume.voxels[4:6, 4:9, 17:19])


def test_the_real_series_is_the_readers(real_series) -> None:
    volume = read_ct(real_series)[0]
    series = SourceSeries.read(real_series, volume.series_uid)
    assert np.array_equal(series.ijk_to_lps, volume.ijk_to_lps)
    assert series.shape == volume.voxels.shape
    assert np.allclose(series.positions[:, 2], np.sort([float(d.ImagePositionPatient[2]) for d in series.datasets]))
