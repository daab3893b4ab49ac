"""The exported DICOM segmentation over the CT, both as slicer-core has them: voxel for voxel.

Slicer reads DICOM SEG by an extension (QuantitativeReporting) that slicer-core does not bring. So highdicom decodes the
file to a labelmap with the geometry that the file itself states, and from there it is Slicer's own loading, import into
a segmentation and place in the world.
"""

import numpy as np
import pytest
from dicom_cases import case, nodule, source
from LungXAILib import volumes
from LungXAILib.coordinates import vtk_matrix
from scene_cases import segment_voxels

from inference_server.dicom_export import write_dicom
from inference_server.dicom_source import SourceSeries
from shared_models.contract.results import LabelVolume
from shared_models.ct_reader import read_ct
from shared_models.ct_writer import write_nrrd

_LABELS, _SINGLE_FILE = 1, 8


@pytest.fixture
def loaded(logics, tmp_path):
    """Write a case's segmentation, and load it into the scene as what its file says."""
    highdicom = pytest.importorskip("highdicom")
    import vtk

    def over(record, folder):
        series = SourceSeries.read(folder, record.volume.series_uid)
        file = write_dicom(record, series, tmp_path / "out")[0]
        placed = highdicom.seg.segread(file).get_volume(combine_segments=True)
        # highdicom's index is (slice, row, column), ours (column, row, slice); both are LPS
        write_nrrd(tmp_path / "labels.nrrd", placed.array.astype(np.uint8), placed.affine[:, [2, 1, 0, 3]])
        names = vtk.vtkStringArray()
        names.InsertNextValue(str(tmp_path / "labels.nrrd"))
        options = _LABELS | _SINGLE_FILE
        labelmap = logics.volumes.AddArchetypeVolume(str(tmp_path / "labels.nrrd"), "labels", options, names)
        segmentation = logics.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        assert logics.segmentations.ImportLabelmapToSegmentationNode(labelmap, segmentation)
        return segmentation

    return over


def _on_ct(ct, points_ras: np.ndarray) -> np.ndarray:
    """(slice, row, column) of the voxel of a CT node at whose centre each point lies; exactly, or it fails."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    ct.GetRASToIJKMatrix(matrix)
    index = np.array([matrix.MultiplyPoint((*point, 1.0))[:3] for point in points_ras])
    assert np.abs(index - np.rint(index)).max() < 1e-4
    return np.rint(index).astype(int)[:, ::-1]


def _same(logics, ct, segmentation, record) -> None:
    node = volumes.volume_of(ct)
    assert np.array_equal(node.voxels, record.volume.voxels)
    assert np.allclose(node.ijk_to_lps, record.volume.ijk_to_lps, atol=1e-6)
    shown = np.zeros(node.voxels.shape, np.uint8)
    segments = segmentation.GetSegmentation()
    labels = sorted(n.label for n in record.radiology.nodules)
    assert segments.GetNumberOfSegments() == len(labels)
    for number, label in enumerate(labels):
        points, _ = segment_voxels(segmentation, segments.GetNthSegmentID(number))
        shown[tuple(_on_ct(ct, points).T)] = label
    assert np.array_equal(shown, record.mask.labels)


@pytest.mark.parametrize("geometry", ["axial", "oblique", "feet first, prone", "head first, prone"])
def test_the_segmentation_lies_on_the_ct_voxel_for_voxel(logics, loaded, tmp_path, geometry) -> None:
    record = case(source(tmp_path / "series", geometry))
    segmentation = loaded(record, tmp_path / "series")
    _same(logics, volumes.load_ct(logics, tmp_path / "series"), segmentation, record)


def test_one_that_is_moved_by_a_voxel_would_be_noticed(logics, loaded, tmp_path) -> None:
    record = case(source(tmp_path / "series"))
    segmentation = loaded(record, tmp_path / "series")
    ct = volumes.load_ct(logics, tmp_path / "series")
    moved = logics.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = record.volume.spacing_mm[0]
    moved.SetMatrixTransformToParent(vtk_matrix(matrix))
    segmentation.SetAndObserveTransformNodeID(moved.GetID())
    with pytest.raises(AssertionError):
        _same(logics, ct, segmentation, record)


def test_on_the_real_series_too(logics, loaded, real_series) -> None:
    """The nodules are planted: blocks that no model outlined."""
    volume = read_ct(real_series)[0]
    record = case(volume, [nodule(1), nodule(2, "hand", "right")], synthetic=False)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[20:24, 200:212, 180:190], labels[40:43, 300:305, 330:340] = 1, 2
    record = type(record)(
        record.case_id, False, "", record.radiology, LabelVolume(labels, volume.ijk_to_lps, volume.series_uid), volume
    )
    _same(logics, volumes.load_ct(logics, real_series), loaded(record, real_series), record)
