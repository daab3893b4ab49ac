"""The synthetic CT and slide hold what they say they hold."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

from shared_models.contract.errors import BadGeometry
from shared_models.contract.values import ClinicalFields, CTVolume
from shared_models.ct_reader import read_ct
from shared_models.geometry import grid_affine, index_to_lps, lps_to_index
from shared_models.phantom import Phantom, Wanted, synthetic_clinical, thorax, write_dicom


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return thorax(0)


def test_the_seed_decides_everything(phantom: Phantom) -> None:
    again, other = thorax(0), thorax(1)
    np.testing.assert_array_equal(again.volume.voxels, phantom.volume.voxels)
    np.testing.assert_array_equal(again.truth.labels, phantom.truth.labels)
    assert again.nodules == phantom.nodules and again.volume.series_uid == phantom.volume.series_uid
    assert other.nodules != phantom.nodules and other.volume.series_uid != phantom.volume.series_uid
    assert re.fullmatch(r"2\.25\.\d{1,39}", phantom.volume.series_uid)


def test_the_truth_is_where_and_as_large_as_the_nodules_say(phantom: Phantom) -> None:
    assert [n.diameter_mm for n in phantom.nodules] == [18.0, 11.0]
    labels, voxel = phantom.truth.labels, float(np.prod(phantom.volume.spacing_mm))
    assert set(np.unique(labels)) == {0, 1, 2}
    for nodule in phantom.nodules:
        where = np.argwhere(labels == nodule.label)[:, ::-1]
        centre = index_to_lps(phantom.volume.ijk_to_lps, where).mean(axis=0)
        assert np.linalg.norm(centre - nodule.centre_lps_mm) < 1.2
        ball = np.pi / 6 * nodule.diameter_mm**3
        assert len(where) * voxel == pytest.approx(ball, rel=0.12)


def test_the_nodules_are_solid_with_soft_edges_in_air(phantom: Phantom) -> None:
    voxels, affine = phantom.volume.voxels.astype(float), phantom.volume.ijk_to_lps
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in voxels.shape), indexing="ij")[::-1], -1)
    place = index_to_lps(affine, grid)
    for nodule in phantom.nodules:
        distance = np.linalg.norm(place - nodule.centre_lps_mm, axis=-1)
        core = voxels[distance < nodule.diameter_mm / 2 - 3.5]
        assert core.mean() == pytest.approx(nodule.hu, abs=15) and 10 < core.std() < 40
        edge = voxels[np.abs(distance - nodule.diameter_mm / 2) < 0.8]
        assert -700 < edge.mean() < -50 and edge.std() > 100
        around = voxels[(distance > nodule.diameter_mm / 2 + 4) & (distance < nodule.diameter_mm / 2 + 6)]
        assert np.median(around) < -700


def test_the_second_nodule_is_near_the_chest_wall_and_the_first_is_not(phantom: Phantom) -> None:
    from scipy.ndimage import binary_opening, distance_transform_edt

    soft = (phantom.volume.voxels > -300) & (phantom.truth.labels == 0)
    wall = binary_opening(soft, iterations=4)  # takes the vessels away
    depth = distance_transform_edt(~wall, sampling=phantom.volume.spacing_mm[::-1])
    found = []
    for nodule in phantom.nodules:
        c, r, s = np.rint(lps_to_index(phantom.volume.ijk_to_lps, nodule.centre_lps_mm)).astype(int)
        found.append(depth[s, r, c] - nodule.diameter_mm / 2)
    assert found[0] > 6 and -1.5 < found[1] < 4.5


def test_it_looks_like_a_chest(phantom: Phantom) -> None:
    v = phantom.volume.voxels
    assert v.shape == (90, 256, 256) and phantom.volume.spacing_mm == pytest.approx((1.2, 1.2, 2.5))
    assert v.min() >= -1024 and np.median(v[:, :10]) == pytest.approx(-1000, abs=30)
    litres = lambda mask: mask.sum() * 3.6e-6  # noqa: E731
    assert 2.0 < litres((v > -950) & (v < -700)) < 5.0  # lung
    assert 1.0 < litres((v > 0) & (v < 90)) < 8.0  # soft tissue
    assert 0.1 < litres(v > 250) < 1.5  # bone
    noise = (v.astype(float) - thorax(0, noise_hu=0.0).volume.voxels)[(v > -950) & (v < 3000)]
    assert noise.std() == pytest.approx(20, abs=1) and abs(noise.mean()) < 1


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_other_seeds_and_wishes_find_room(seed: int) -> None:
    wanted = (Wanted(8.0, -620.0, "ground-glass", "left"), Wanted(25.0, 50.0, side="right"))
    phantom = thorax(seed, wanted)
    assert [n.kind for n in phantom.nodules] == ["ground-glass", "solid"]
    inside = phantom.volume.voxels[phantom.truth.labels == 1]
    assert -780 < np.median(inside) < -500
    for nodule, side in zip(phantom.nodules, (1, -1)):
        assert np.sign(nodule.centre_lps_mm[0]) == side  # LPS: x grows to the left


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadGeometry, match="no room"):
        thorax(0, (Wanted(150.0, 40.0),))


def test_the_dicom_series_is_read_back_exactly(phantom: Phantom, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    write_dicom(phantom.volume, tmp_path / "ct")
    volume, notes = read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(volume.voxels, phantom.volume.voxels)
    np.testing.assert_array_equal(volume.ijk_to_lps, phantom.volume.ijk_to_lps)
    assert volume.series_uid == phantom.volume.series_uid and notes == ()
    files = sorted((tmp_path / "ct").iterdir())
    assert len(files) == 90
    image = pydicom.dcmread(files[3])
    assert image.PatientName == "SYNTHETIC^PHANTOM" and "Synthetic" in image.SeriesDescription
    assert len({pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID for f in files}) == 90


def test_any_volume_can_be_written_and_simpleitk_agrees(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    voxels = np.random.default_rng(0).integers(-3024, 3071, (4, 5, 6)).astype(np.int16)  # padding below -1024
    volume = CTVolume(voxels, grid_affine((-10.1, 20.2, -30.3), (0.7, 0.8, 1.25), turn), "1.2.3")
    write_dicom(volume, tmp_path, synthetic=False)
    back, _ = read_ct(tmp_path)
    np.testing.assert_array_equal(back.voxels, voxels)
    np.testing.assert_allclose(back.ijk_to_lps, volume.ijk_to_lps, atol=1e-9)
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), voxels)
    np.testing.assert_allclose(image.GetOrigin(), (-10.1, 20.2, -30.3))


def test_the_clinical_fields_are_valid() -> None:
    assert isinstance(synthetic_clinical(), ClinicalFields)
