"""DICOM series in the scene: order, geometry, identifiers, and their place in the subject hierarchy."""

import shutil

import numpy as np
import pytest
from LungXAILib import results, volumes
from LungXAILib.hierarchy import children, tree
from scene_cases import empty_case, lps_to_ras, world_of_voxel

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.values import CTVolume
from shared_models.geometry import index_to_lps
from shared_models.phantom import write_dicom


@pytest.fixture(scope="module")
def slab(phantom) -> CTVolume:
    """A few slices of the synthetic thorax, thinned out in plane."""
    whole = phantom.volume
    affine = np.array(whole.ijk_to_lps)
    affine[:3, 3] = index_to_lps(whole.ijk_to_lps, (0, 0, 30))
    affine[:3, :2] *= 4
    return CTVolume(np.ascontiguousarray(whole.voxels[30:39, ::4, ::4]), affine, whole.series_uid)


@pytest.fixture
def folder(slab, tmp_path):
    write_dicom(slab, tmp_path / "series")
    return tmp_path / "series"


def test_a_series_is_read_where_it_lies_whatever_its_files_are_called(logics, complaints, slab, folder) -> None:
    files = sorted(folder.iterdir())
    for number, file in enumerate(files):
        file.rename(folder / f"{(number * 7) % len(files)}.dcm")
    (folder / "README.txt").write_text("not DICOM")
    node = volumes.load_ct(logics, folder)
    read = volumes.volume_of(node)
    assert np.array_equal(read.voxels, slab.voxels)
    assert np.allclose(read.ijk_to_lps, slab.ijk_to_lps, atol=1e-6)
    for ijk in ((0, 0, 0), (5, 9, 3), (63, 63, 8)):
        assert np.allclose(world_of_voxel(node, ijk), lps_to_ras(index_to_lps(slab.ijk_to_lps, ijk)), atol=1e-6)
    assert read.series_uid == slab.series_uid
    assert not complaints


def test_a_tilted_gantry_keeps_its_shear(logics, slab, tmp_path) -> None:
    affine = np.array(slab.ijk_to_lps)
    affine[1, 2] = 0.7
    write_dicom(CTVolume(slab.voxels, affine, slab.series_uid), tmp_path / "tilted")
    read = volumes.volume_of(volumes.load_ct(logics, tmp_path / "tilted"))
    assert np.allclose(read.ijk_to_lps, affine, atol=1e-6)
    assert np.array_equal(read.voxels, slab.voxels)


def test_the_identifiers_are_where_slicer_has_them(logics, slab, folder) -> None:
    pydicom = pytest.importorskip("pydicom")
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(folder.iterdir())]
    node = volumes.load_ct(logics, folder)
    source = volumes.dicom_source(node)
    assert source.instance_uids == tuple(h.SOPInstanceUID for h in headers)  # in the order of the slices
    assert node.GetAttribute("DICOM.instanceUIDs").split() == list(source.instance_uids)
    assert source.series_uid == slab.series_uid == headers[0].SeriesInstanceUID
    assert source.study_uid == headers[0].StudyInstanceUID
    assert source.patient_id == "SYNTHETIC"
    assert source.patient["DICOM.PatientName"] == "SYNTHETIC^PHANTOM"
    assert source.study["DICOM.StudyDate"] == "20260101"
    assert source.series["DICOM.Modality"] == "CT"
    assert source.series["DICOM.FrameOfReferenceUID"] == headers[0].FrameOfReferenceUID
    hierarchy = tree(logics.scene)
    series = hierarchy.GetItemByUID("DICOM", slab.series_uid)
    study, patient = hierarchy.GetItemParent(series), hierarchy.GetItemParent(hierarchy.GetItemParent(series))
    assert hierarchy.GetItemDataNode(series) is node
    assert (hierarchy.GetItemLevel(patient), hierarchy.GetItemLevel(study)) == ("Patient", "Study")
    assert hierarchy.GetItemName(patient) == "SYNTHETIC^PHANTOM"
    assert hierarchy.GetItemName(study) == "20260101; Synthetic data, not a patient"


def test_two_series_of_one_patient_share_patient_and_study(logics, slab, tmp_path) -> None:
    pydicom = pytest.importorskip("pydicom")
    for name in ("one", "two"):
        write_dicom(CTVolume(slab.voxels, slab.ijk_to_lps, f"2.25.{len(name)}{ord(name[0])}"), tmp_path / name)
    for file in (tmp_path / "two").iterdir():
        header = pydicom.dcmread(file)
        header.StudyInstanceUID = pydicom.dcmread(next((tmp_path / "one").iterdir())).StudyInstanceUID
        header.save_as(file)
    first, second = (volumes.load_ct(logics, tmp_path / name) for name in ("one", "two"))
    assert volumes.series_uid_of(first) != volumes.series_uid_of(second)
    hierarchy = tree(logics.scene)
    levels = [hierarchy.GetItemLevel(item) for item in children(hierarchy, hierarchy.GetSceneItemID(), recursive=True)]
    assert (levels.count("Patient"), levels.count("Study")) == (1, 1)
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (first, second)}
    assert len(parents) == 1
    cases = [empty_case(volumes.volume_of(node), node.GetID()) for node in (first, second)]
    folders = [results.import_case(logics, node, made).folder for node, made in zip((first, second), cases)]
    assert {hierarchy.GetItemParent(folder) for folder in folders} == parents
    assert len(set(folders)) == len(results.case_nodes(logics)) == 2
    with pytest.raises(InvalidInput, match="another CT"):
        results.import_case(logics, first, cases[1])


def test_of_several_series_in_a_folder_the_largest_ct_is_taken(logics, slab, folder) -> None:
    pydicom = pytest.importorskip("pydicom")
    write_dicom(CTVolume(slab.voxels[:3], slab.ijk_to_lps, "2.25.77"), folder / "scout")
    picture = pydicom.dcmread(next(folder.glob("*.dcm")))
    for number in range(20):
        picture.Modality, picture.SeriesInstanceUID = "PT", "2.25.88"
        picture.save_as(folder / f"pet{number}.dcm")
    assert volumes.series_uid_of(volumes.load_ct(logics, folder)) == slab.series_uid


def _drop(folder) -> None:
    sorted(folder.iterdir())[4].unlink()


def _double(folder) -> None:
    pydicom = pytest.importorskip("pydicom")
    first = pydicom.dcmread(sorted(folder.iterdir())[0])
    first.SOPInstanceUID += "1"
    first.save_as(folder / "again.dcm")


def _turn(folder) -> None:
    pydicom = pytest.importorskip("pydicom")
    file = sorted(folder.iterdir())[2]
    header = pydicom.dcmread(file)
    header.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    header.save_as(file)


@pytest.mark.parametrize(("spoil", "words"), [(_drop, "missing"), (_double, "doubled"), (_turn, "orientation")])
def test_a_series_that_makes_no_volume_is_refused_and_leaves_nothing(logics, folder, spoil, words) -> None:
    spoil(folder)
    before = logics.scene.GetNumberOfNodes()
    with pytest.raises(BadGeometry, match=words) as refused:
        volumes.load_ct(logics, folder)
    assert "Export" in refused.value.remedy
    assert logics.scene.GetNumberOfNodes() == before


def test_one_picture_is_no_ct(logics, folder) -> None:
    for file in sorted(folder.iterdir())[1:]:
        file.unlink()
    with pytest.raises(InvalidInput, match="single picture"):
        volumes.load_ct(logics, folder)


def test_a_node_with_instances_but_without_a_series_still_names_them(logics) -> None:
    """As left by programs that set the attribute alone."""
    node = logics.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "x")
    assert volumes.dicom_source(node) is None
    node.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    assert volumes.dicom_source(node).instance_uids == ("1.2", "1.3")
    assert volumes.dicom_source(node).series_uid == ""


def test_the_real_series_is_read_as_its_headers_say(logics, complaints, real_series) -> None:
    pydicom = pytest.importorskip("pydicom")
    node = volumes.load_ct(logics, real_series)
    read = volumes.volume_of(node)
    source = volumes.dicom_source(node)
    assert read.voxels.shape == (64, 512, 512)
    assert len(set(source.instance_uids)) == 64
    by_uid = {h.SOPInstanceUID: h for h in (pydicom.dcmread(f) for f in real_series.glob("*.dcm"))}
    for k in (0, 17, 63):
        header = by_uid[source.instance_uids[k]]
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        assert np.array_equal(read.voxels[k], hu)
        assert np.allclose(lps_to_ras(header.ImagePositionPatient), world_of_voxel(node, (0, 0, k)), atol=1e-6)
    assert read.series_uid == header.SeriesInstanceUID == source.series_uid
    assert source.patient_id == header.PatientID
    assert not complaints


def test_a_copy_in_subfolders_is_the_same_series(logics, folder) -> None:
    files = sorted(folder.iterdir())
    for number, file in enumerate(files):
        place = folder / f"part{number % 3}"
        place.mkdir(exist_ok=True)
        shutil.move(file, place / f"IM{number}")
    assert volumes.volume_of(volumes.load_ct(logics, folder)).voxels.shape[0] == len(files)
