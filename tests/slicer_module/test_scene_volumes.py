"""Volume nodes to CTVolume: each voxel stays where MRML says it lies, and what is no CT is refused in words."""

import numpy as np
import pytest
from LungXAILib import volumes
from scene_cases import AFFINES, SHAPE, ct, lps_to_ras, transform, world_of_voxel

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import CTVolume

CORNERS = [(0, 0, 0), (SHAPE[2] - 1, 0, 0), (0, SHAPE[1] - 1, 0), (0, 0, SHAPE[0] - 1), (7, 11, 3)]


def node_of(logics, volume: CTVolume):
    return volumes.volume_node(logics, volume, "ct")


@pytest.fixture(params=sorted(AFFINES))
def affine(request) -> np.ndarray:
    return AFFINES[request.param]


def lps(volume: CTVolume, ijk) -> np.ndarray:
    return (volume.ijk_to_lps @ [*ijk, 1.0])[:3]


def write(volume: CTVolume, path) -> None:
    """By SimpleITK, whose world is LPS too."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.ijk_to_lps[:3, 3].tolist())
    image.SetDirection((volume.ijk_to_lps[:3, :3] / volume.spacing_mm).reshape(-1).tolist())
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_file_is_read_where_it_lies(logics, complaints, tmp_path, affine, suffix) -> None:
    written = ct(affine)
    write(written, tmp_path / f"ct{suffix}")
    node = volumes.load_ct(logics, tmp_path / f"ct{suffix}")
    read = volumes.volume_of(node)
    # Slicer's reader turns the slices of a left-handed grid round; every voxel stays where it lies.
    voxels = read.voxels[::-1] if np.linalg.det(affine) < 0 else read.voxels
    assert np.array_equal(voxels, written.voxels)
    every = np.indices(written.voxels.shape)[::-1].reshape(3, -1)
    index = np.linalg.solve(affine, read.ijk_to_lps) @ np.vstack([every, np.ones(every.shape[1])])
    assert np.abs(index[:3] - np.rint(index[:3])).max() < 1e-3
    i, j, k = np.rint(index[:3]).astype(int)
    assert np.array_equal(read.voxels.reshape(-1), written.voxels[k, j, i])
    for ijk in CORNERS:
        assert np.allclose(lps_to_ras(lps(read, ijk)), world_of_voxel(node, ijk), atol=1e-9)
    assert not complaints


def test_a_file_has_the_same_name_when_it_is_loaded_again(logics, tmp_path) -> None:
    write(ct(seed=1), tmp_path / "a.nrrd")
    write(ct(seed=2), tmp_path / "b.nrrd")
    loaded = [volumes.load_ct(logics, tmp_path / name) for name in ("a.nrrd", "a.nrrd", "b.nrrd")]
    names = [volumes.volume_of(node).series_uid for node in loaded]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("volume-")


def test_the_name_of_a_left_handed_ct_is_that_of_the_same_one_turned_round(logics) -> None:
    given = ct(AFFINES["left-handed"])
    affine = np.array(given.ijk_to_lps)
    affine[:3, 3] += affine[:3, 2] * (SHAPE[0] - 1)
    affine[:3, 2] *= -1
    names = set()
    for volume in (given, CTVolume(given.voxels[::-1], affine, "x")):
        node = node_of(logics, volume)
        node.RemoveAttribute(volumes.SERIES_ATTRIBUTE)
        names.add(volumes.series_uid_of(node))
    assert len(names) == 1


def test_a_volume_survives_a_node(logics, affine) -> None:
    given = ct(affine)
    back = volumes.volume_of(node_of(logics, given))
    assert np.array_equal(back.voxels, given.voxels) and back.voxels.dtype == np.int16
    assert np.allclose(back.ijk_to_lps, affine, atol=1e-12)
    assert back.series_uid == given.series_uid


def test_linear_transforms_are_part_of_the_geometry(logics, affine) -> None:
    node = node_of(logics, ct(affine))
    outer, inner = transform(logics), transform(logics, (0, 25, 0), (-3, 40, 2))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    node.SetAndObserveTransformNodeID(inner.GetID())
    moved = volumes.volume_of(node)
    for ijk in CORNERS:
        assert np.allclose(lps_to_ras(lps(moved, ijk)), world_of_voxel(node, ijk), atol=1e-9)
        assert not np.allclose(lps_to_ras(lps(ct(affine), ijk)), world_of_voxel(node, ijk), atol=1.0)
    # The name is of the voxels, so that moving the CT does not make it another one.
    assert moved.series_uid == ct(affine).series_uid


def test_a_name_made_from_the_voxels_outlasts_a_transform(logics, tmp_path) -> None:
    write(ct(), tmp_path / "ct.nrrd")
    node = volumes.load_ct(logics, tmp_path / "ct.nrrd")
    before = volumes.volume_of(node).series_uid
    node.SetAndObserveTransformNodeID(transform(logics).GetID())
    assert volumes.volume_of(node).series_uid == before == volumes.series_uid_of(node)


def test_a_transform_that_bends_space_is_refused(logics) -> None:
    import vtk

    node = node_of(logics, ct())
    bent = logics.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bent")
    bending = vtk.vtkThinPlateSplineTransform()
    bending.SetBasisToR()
    points = [[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10], [10, 10, 10]]
    for landmarks, shift in ((bending.SetSourceLandmarks, 0.0), (bending.SetTargetLandmarks, 3.0)):
        made = vtk.vtkPoints()
        for number, point in enumerate(points):
            made.InsertNextPoint(point[0] + shift * (number == 4), point[1], point[2])
        landmarks(made)
    bent.SetAndObserveTransformToParent(bending)
    node.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(BadGeometry, match="bends space"):
        volumes.volume_of(node)


def made(logics, kind: str, components: int = 1, dimensions=(6, 5, 4), values=None):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(dimensions)
    count = int(np.prod(dimensions))
    values = np.linspace(-1000, 400, count * components) if values is None else values
    image.GetPointData().SetScalars(numpy_to_vtk(values.reshape(count, components).squeeze(), deep=True))
    node = logics.scene.AddNewNodeByClass(kind, "x")
    node.SetAndObserveImageData(image)
    return node


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("vtkMRMLVectorVolumeNode", {"components": 3}, "colour or 4D"),
        ("vtkMRMLScalarVolumeNode", {"components": 4}, "colour or 4D"),
        ("vtkMRMLLabelMapVolumeNode", {}, "holds labels"),
        ("vtkMRMLScalarVolumeNode", {"dimensions": (6, 5, 1)}, "single picture"),
        ("vtkMRMLScalarVolumeNode", {"values": np.linspace(0, 255, 120)}, "these are not HU"),
        ("vtkMRMLScalarVolumeNode", {"values": np.linspace(-1, 1, 120)}, "these are not HU"),
        ("vtkMRMLScalarVolumeNode", {"values": np.full(120, np.nan)}, "not numbers"),
        ("vtkMRMLScalarVolumeNode", {"values": np.linspace(-1000, 9e4, 120)}, "outside what HU can be"),
    ],
)
def test_what_is_no_ct_is_refused_in_words(logics, kind, options, words) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        volumes.volume_of(made(logics, kind, **options))
    assert refused.value.remedy


def test_nothing_and_an_empty_volume_are_refused(logics) -> None:
    with pytest.raises(InvalidInput, match="No volume is chosen"):
        volumes.volume_of(None)
    with pytest.raises(InvalidInput, match="empty"):
        volumes.volume_of(logics.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    with pytest.raises(InvalidInput, match="not a volume of grey values"):
        volumes.volume_of(logics.scene.AddNewNodeByClass("vtkMRMLModelNode", "model"))


def test_a_frame_of_a_time_sequence_is_refused(logics) -> None:
    import slicer

    node = node_of(logics, ct())
    browser, sequence = slicer.vtkMRMLSequenceBrowserNode(), slicer.vtkMRMLSequenceNode()
    logics.scene.AddNode(browser)
    logics.scene.AddNode(sequence)
    sequence.SetDataNodeAtValue(node, "0")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(node, sequence, False)
    with pytest.raises(InvalidInput, match="4D"):
        volumes.volume_of(node)


def test_fractions_of_hu_are_rounded_and_whole_ones_shared(logics) -> None:
    values = np.linspace(-1000.0, 400.0, 120)
    read = volumes.volume_of(made(logics, "vtkMRMLScalarVolumeNode", values=values))
    assert np.array_equal(read.voxels.reshape(-1), np.rint(values))
    node = node_of(logics, ct())
    assert np.shares_memory(volumes.volume_of(node).voxels, volumes.voxels_of(node))


def test_a_loaded_ct_is_in_the_lung_window(logics, tmp_path) -> None:
    write(ct(), tmp_path / "ct.nrrd")
    display = volumes.load_ct(logics, tmp_path / "ct.nrrd").GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1500.0, -600.0)
    assert not display.GetAutoWindowLevel()


@pytest.mark.parametrize("name", ["nothing.nrrd", "notes.txt", "folder"])
def test_what_cannot_be_read_is_said_and_leaves_nothing(logics, tmp_path, name) -> None:
    (tmp_path / "notes.txt").write_text("no CT")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("no CT")
    before = logics.scene.GetNumberOfNodes()
    with pytest.raises(InvalidInput):
        volumes.load_ct(logics, tmp_path / name)
    assert logics.scene.GetNumberOfNodes() == before


def test_a_colour_file_is_refused_and_leaves_nothing(logics, tmp_path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "rgb.nrrd"))
    before = logics.scene.GetNumberOfNodes()
    with pytest.raises(InvalidInput, match="colour"):
        volumes.load_ct(logics, tmp_path / "rgb.nrrd")
    assert logics.scene.GetNumberOfNodes() == before
