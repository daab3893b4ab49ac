"""The DICOM segmentation: every voxel where it was, every segment with its words."""

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_cases import GEOMETRIES, SHAPE, case, errors, nodule, on_grid, source
from dicom_files import enhanced_ct, write

from inference_server.case_record import CaseRecord
from inference_server.dicom_seg import segment_numbers, segmentation, tracking
from inference_server.dicom_source import SourceSeries
from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import LabelVolume
from shared_models.ct_reader import read_ct


def _made(tmp_path, geometry="axial", nodules=None, edit=None):
    volume = source(tmp_path / "series", geometry, edit)
    record = case(volume, nodules)
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    segmentation(record, series).save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    return record, series, pydicom.dcmread(tmp_path / "seg.dcm")


def _labels(record: CaseRecord, numbers: np.ndarray) -> np.ndarray:
    """Segment numbers as labels of nodules."""
    table = np.zeros(256, np.uint8)
    for label, number in segment_numbers(record).items():
        table[number] = label
    return table[numbers]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_voxel_is_where_it_was(tmp_path, geometry) -> None:
    record, series, seg = _made(tmp_path, geometry)
    read = on_grid(seg, seg.pixel_array, record.mask.ijk_to_lps, record.mask.labels.shape)
    assert np.array_equal(_labels(record, read), record.mask.labels)
    assert seg.FrameOfReferenceUID == series.datasets[0].FrameOfReferenceUID
    assert errors(tmp_path / "seg.dcm") == []


def test_a_mask_that_slicer_turned_round_lands_on_the_same_voxels(tmp_path) -> None:
    record, series, _ = _made(tmp_path, "oblique")
    affine = np.array(record.mask.ijk_to_lps)
    affine[:3, 3] = (affine @ [SHAPE[2] - 1, 0, SHAPE[0] - 1, 1])[:3]
    affine[:3, [0, 2]] *= -1
    labels = np.ascontiguousarray(record.mask.labels[::-1, :, ::-1])
    turned = CaseRecord(
        "case-0001", radiology=record.radiology, mask=LabelVolume(labels, affine, record.mask.series_uid)
    )
    series.check(turned)
    seg = segmentation(turned, series)
    read = on_grid(seg, seg.pixel_array, record.mask.ijk_to_lps, record.mask.labels.shape)
    assert np.array_equal(_labels(record, read), record.mask.labels)


@pytest.mark.parametrize("geometry", ["axial", "oblique", "feet first, prone"])
def test_highdicom_reads_the_volume_back(tmp_path, geometry) -> None:
    record, series, _ = _made(tmp_path, geometry)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    uids = [d.SOPInstanceUID for d in series.datasets]
    read = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(_labels(record, read), record.mask.labels)
    placed = seg.get_volume(combine_segments=True)
    index = np.argwhere(placed.array)  # highdicom's order is (slice, row, column), its slices run as it likes
    world = placed.affine @ np.column_stack([index, np.ones(len(index))]).T
    voxels = np.rint(np.linalg.solve(record.mask.ijk_to_lps, world)[2::-1]).astype(int)
    found = np.zeros_like(record.mask.labels)
    found[tuple(voxels)] = placed.array[tuple(index.T)]
    assert np.array_equal(_labels(record, found), record.mask.labels)


def test_each_frame_names_the_image_it_was_drawn_on(tmp_path) -> None:
    record, series, seg = _made(tmp_path)
    for group in seg.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        held = next(d for d in series.datasets if d.SOPInstanceUID == image.ReferencedSOPInstanceUID)
        assert held.ImagePositionPatient == group.PlanePositionSequence[0].ImagePositionPatient
        assert image.SpatialLocationsPreserved == "YES"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == record.volume.series_uid
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == len(series.datasets)


def test_only_slices_that_a_nodule_is_on_are_kept(tmp_path) -> None:
    record, _, seg = _made(tmp_path)
    expected = sum(int((record.mask.labels == label).any(axis=(1, 2)).sum()) for label in segment_numbers(record))
    assert seg.NumberOfFrames == expected < 2 * len(record.mask.labels)


def test_a_segment_says_what_it_is_who_drew_it_and_where(tmp_path) -> None:
    nodules = [
        nodule(1, "search", "left"), nodule(2, "point", "right"), nodule(5, "box", None), nodule(7, "hand", "left")
    ]  # fmt: skip
    record, series, seg = _made(tmp_path, nodules=nodules)
    assert [s.SegmentNumber for s in seg.SegmentSequence] == [1, 2, 3, 4]
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Nodule 1", "Nodule 2", "Nodule 5", "Nodule 7"]
    kinds = [s.SegmentAlgorithmType for s in seg.SegmentSequence]
    assert kinds == ["AUTOMATIC", "SEMIAUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    sides = []
    for segment, one in zip(seg.SegmentSequence, nodules):
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "27925004"
        region = segment.AnatomicRegionSequence[0]
        assert (region.CodeValue, region.CodingSchemeDesignator) == ("39607008", "SCT")
        sides.append([c.CodeMeaning for c in region.get("AnatomicRegionModifierSequence", [])])
        assert (segment.TrackingID, segment.TrackingUID) == tracking(series, one.label)
        assert len(segment.RecommendedDisplayCIELabValue) == 3
    assert sides == [["Left"], ["Right"], [], ["Left"]]
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == seg.SegmentSequence[0].SegmentAlgorithmName == "lung_nodule_segmentation"
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert algorithm.AlgorithmVersion == "0.1.0+gabcdef012345 weights " + "a" * 12
    assert "a" * 64 in algorithm.AlgorithmParameters
    assert "SegmentAlgorithmName" not in seg.SegmentSequence[3]
    assert "research use only" in seg.SeriesDescription and "SYNTHETIC" in seg.SeriesDescription
    assert (seg.Manufacturer, seg.SegmentationType) == ("LungXAI", "BINARY")
    assert errors(tmp_path / "seg.dcm") == []


def test_names_of_a_nodule_stay_and_objects_are_new(tmp_path) -> None:
    record, series, first = _made(tmp_path)
    again = segmentation(record, series)
    assert [s.TrackingUID for s in first.SegmentSequence] == [s.TrackingUID for s in again.SegmentSequence]
    assert len({s.TrackingUID for s in first.SegmentSequence}) == 2
    assert first.SOPInstanceUID != again.SOPInstanceUID and first.SeriesInstanceUID != again.SeriesInstanceUID
    assert first.SeriesInstanceUID != record.volume.series_uid


def test_as_many_nodules_as_there_can_be(tmp_path) -> None:
    nodules = [nodule(label) for label in range(1, 256)]
    record, _, seg = _made(tmp_path, nodules=nodules)
    read = on_grid(seg, seg.pixel_array, record.mask.ijk_to_lps, record.mask.labels.shape)
    assert np.array_equal(read, record.mask.labels)
    assert errors(tmp_path / "seg.dcm") == []


def test_without_a_nodule_there_is_no_segmentation(tmp_path) -> None:
    volume = source(tmp_path)
    assert segmentation(case(volume, []), SourceSeries.read(tmp_path, volume.series_uid)) is None


def test_a_mask_that_is_not_of_the_nodules_is_refused(tmp_path) -> None:
    volume = source(tmp_path)
    series = SourceSeries.read(tmp_path, volume.series_uid)
    record = case(volume)
    labels = np.array(record.mask.labels)
    labels[labels == 3] = 4
    other = LabelVolume(labels, volume.ijk_to_lps, volume.series_uid)
    for mask in (other, None):
        broken = CaseRecord("case-0001", radiology=record.radiology, mask=mask, volume=volume)
        with pytest.raises(InvalidInput, match="segmentation") as refused:
            segmentation(broken, series)
        assert "again" in refused.value.remedy


def test_frames_of_an_enhanced_ct_are_named_by_file_and_number(tmp_path) -> None:
    image = enhanced_ct(5)
    image.SOPInstanceUID = "1.2.3.999.77"
    write(image, tmp_path / "series" / "enhanced.dcm")
    volume = read_ct(tmp_path / "series")[0]
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    record = case(volume, [nodule(1)])
    segmentation(record, series).save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    read = on_grid(seg, seg.pixel_array, volume.ijk_to_lps, volume.voxels.shape)
    assert np.array_equal(read, record.mask.labels) and read.any()
    for group in seg.PerFrameFunctionalGroupsSequence:
        of = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert (of.ReferencedSOPClassUID, of.ReferencedSOPInstanceUID) == (image.SOPClassUID, "1.2.3.999.77")
        frame = image.PerFrameFunctionalGroupsSequence[of.ReferencedFrameNumber - 1]
        assert frame.PlanePositionSequence == group.PlanePositionSequence
    assert [r.ReferencedSOPInstanceUID for r in seg.SourceImageSequence] == ["1.2.3.999.77"]
    held = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [r.ReferencedSOPInstanceUID for r in held] == ["1.2.3.999.77"]
    assert errors(tmp_path / "seg.dcm") == []


def test_slices_in_several_enhanced_files_are_named_by_their_own(tmp_path) -> None:
    for number in range(2):
        image = enhanced_ct(3)
        image.SOPInstanceUID = f"1.2.3.999.8{number}"
        for group in image.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient[2] += number * 7.5
        write(image, tmp_path / "series" / f"{number}.dcm")
    volume = read_ct(tmp_path / "series")[0]
    series = SourceSeries.read(tmp_path / "series", volume.series_uid)
    assert series.shape[0] == 6 and len(series.datasets) == 2
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[:, 2:4, 3] = 1
    record = case(volume, [nodule(1)])
    record = CaseRecord(
        "case-0001", radiology=record.radiology, mask=LabelVolume(labels, volume.ijk_to_lps, volume.series_uid)
    )
    segmentation(record, series).save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert np.array_equal(on_grid(seg, seg.pixel_array, volume.ijk_to_lps, labels.shape), labels)
    named = {}
    for group in seg.PerFrameFunctionalGroupsSequence:
        of = group.DerivationImageSequence[0].SourceImageSequence[0]
        named[float(group.PlanePositionSequence[0].ImagePositionPatient[2])] = (
            of.ReferencedSOPInstanceUID[-1], int(of.ReferencedFrameNumber)
        )  # fmt: skip
    # The frames of a file lie in reverse order.
    assert [named[2.5 * k] for k in range(6)] == [("0", 3), ("0", 2), ("0", 1), ("1", 3), ("1", 2), ("1", 1)]
    assert errors(tmp_path / "seg.dcm") == []
