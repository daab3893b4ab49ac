"""The whole way on slicer-core with the models that ship: DICOM into the scene, to a live server, and back.

A few slices, so that it stays quick. The thorax is synthetic: nothing here says how good the models are.
"""

import numpy as np
import pytest
from LungXAILib import case_results, corrections, heatmaps, nodules, record, results, segmentations, volumes
from LungXAILib.text import probability
from scene_cases import cell_rows, lps_to_ras, segment_voxels, slice_views, world_of_voxel

from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput, RequestError
from shared_models.contract.notice import NOTICE
from shared_models.contract.values import CLASSES, ClinicalFields, CTVolume
from shared_models.geometry import cropped_affine, index_to_lps, lps_to_index
from shared_models.model_bundle import MODELS_ROOT
from shared_models.phantom import write_dicom

pytest.importorskip("torch")
NODULE_SLICES = 6  # on each side of the planted nodule's centre


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from inference_server.local import LocalServer

    if not list(MODELS_ROOT.glob("*/configs/metadata.json")):
        pytest.skip(f"there are no models in {MODELS_ROOT}")
    with LocalServer(tmp_path_factory.mktemp("server")) as (url, token), Client(url, token) as connected:
        problems = connected.info()["problems"]
        if "radiology" in problems:
            pytest.skip(f"no radiology: {problems['radiology']['message']}")
        yield connected


@pytest.fixture(scope="module")
def planted(phantom):
    return phantom.nodules[0]


@pytest.fixture(scope="module")
def folder(phantom, planted, tmp_path_factory):
    """The slices around a planted nodule, as a DICOM series."""
    whole = phantom.volume
    middle = int(round(float(lps_to_index(whole.ijk_to_lps, planted.centre_lps_mm)[2])))
    first = middle - NODULE_SLICES
    slab = np.ascontiguousarray(whole.voxels[first : middle + NODULE_SLICES + 1])
    path = tmp_path_factory.mktemp("dicom")
    write_dicom(CTVolume(slab, cropped_affine(whole.ijk_to_lps, (0, 0, first)), whole.series_uid), path)
    return path


@pytest.fixture(scope="module")
def analysed(module_logics, client, folder):
    """CT node, its volume, the case as it was fetched, and its nodes."""
    ct_node = volumes.load_ct(module_logics, folder)
    volume = volumes.volume_of(ct_node)
    case_id = client.create_case(synthetic=True)
    client.put_clinical(case_id, ClinicalFields(67.0, "female", "former", 30.0))
    client.wait(client.radiology(case_id, client.put_volume(volume), explain=["gradcam"]))
    case = case_results.fetch(client, case_id)
    return ct_node, volume, case, results.import_case(module_logics, ct_node, case)


def test_the_planted_nodule_is_outlined_where_it_was_planted(analysed, planted) -> None:
    _, _, case, nodes = analysed
    distance = [np.linalg.norm(np.subtract(n.centre_lps_mm, planted.centre_lps_mm)) for n in case.radiology.nodules]
    nearest = case.radiology.nodules[int(np.argmin(distance))]
    assert min(distance) < planted.diameter_mm / 2
    places, _ = segment_voxels(nodes.segmentation, segmentations.segment_id(nearest.label))
    assert np.linalg.norm(places - lps_to_ras(planted.centre_lps_mm), axis=1).min() < 2.0


def test_every_voxel_of_the_answer_lies_where_it_lies_in_the_ct(analysed) -> None:
    ct_node, volume, case, nodes = analysed
    for found in case.radiology.nodules:
        places, _ = segment_voxels(nodes.segmentation, segmentations.segment_id(found.label))
        wanted = index_to_lps(volume.ijk_to_lps, np.argwhere(case.mask.labels == found.label)[:, ::-1])
        assert np.allclose(places, lps_to_ras(wanted), atol=1e-6)
    [given], [node] = case.heatmaps, nodes.heatmaps.values()
    assert np.array_equal(volumes.voxels_of(node), given.values) and given.values.max() > 0
    first = np.rint(lps_to_index(volume.ijk_to_lps, given.index_to_world[:3, 3]))
    last = np.array(given.values.shape[::-1]) - 1
    for ijk in ((0, 0, 0), last):
        assert np.allclose(world_of_voxel(node, ijk), world_of_voxel(ct_node, first + ijk), atol=1e-6)


def test_the_table_says_what_the_server_said(analysed) -> None:
    _, _, case, nodes = analysed
    rows = cell_rows(nodes.table)[1:]
    assert len(rows) == len(case.radiology.nodules) > 0
    for row, found in zip(rows, case.radiology.nodules):
        assert row[0] == str(found.label)
        assert float(row[2]) == round(found.long_axis_mm, 1)
        assert row[6] == probability(found.malignancy)
        assert row[7:12] == ["not assessed"] * len(CLASSES)  # no CT model knows a subtype
    # Two nodules are planted; pieces that are unlike any nodule, such as a vessel, are not rated.
    assert sum(row[6] != "not assessed" for row in rows) >= 2


def test_the_record_names_models_and_their_weights(analysed) -> None:
    ct_node, volume, case, nodes = analysed
    body = record.read(nodes.record)
    weights = {p["model_id"]: p["weights_sha256"] for p in body["radiology"]["provenance"]}
    assert len(weights) == 2 and all(len(digest) == 64 for digest in weights.values())
    assert set(weights.values()) <= {model["weights_sha256"] for model in body["server"]["models"]}
    assert body["ct"]["instance_uids"] == list(volumes.dicom_source(ct_node).instance_uids)
    assert len(body["ct"]["instance_uids"]) == len(volume.voxels)
    assert body["heatmaps"][0]["method"] == "gradcam"
    assert body["heatmaps"][0]["parameters"]
    assert record.radiology_of(nodes.record) == case.radiology
    assert record.clinical_of(nodes.record) == ClinicalFields(67.0, "female", "former", 30.0)


def test_the_fused_answer_says_that_the_slide_is_missing(analysed) -> None:
    _, _, case, nodes = analysed
    assert case.fusion is not None and "pathology" in case.fusion.missing
    rows = cell_rows(nodes.fusion_table)
    assert [row[rows[0].index("Slide")] for row in rows[1:6]] == ["missing"] * 5
    assert "Slide" in nodes.fusion_chart.GetTitle() and NOTICE in nodes.fusion_chart.GetTitle()


def test_the_server_gives_the_ct_back_for_a_viewer_without_the_file(analysed, client, module_logics) -> None:
    _, volume, case, _ = analysed
    served = client.volume(case.volume_sha256)
    assert np.array_equal(served.voxels, volume.voxels)
    node = volumes.volume_node(module_logics, served, "from the server")
    again = volumes.volume_of(node)
    assert again.series_uid == volume.series_uid and np.allclose(again.ijk_to_lps, volume.ijk_to_lps)
    module_logics.scene.RemoveNode(node)


def test_a_row_and_a_map_are_shown(analysed, module_logics) -> None:
    _, _, case, nodes = analysed
    views = slice_views(module_logics)
    nodules.jump_to(module_logics, nodes, 0)
    to_ras = views["Red"].GetSliceNode().GetSliceToRAS()
    place = [to_ras.GetElement(i, 3) for i in range(3)]
    assert np.allclose(place, lps_to_ras(case.radiology.nodules[0].centre_lps_mm), atol=1e-6)
    [key] = nodes.heatmaps
    shown = heatmaps.show(module_logics, nodes, key)
    assert views["Red"].GetSliceCompositeNode().GetForegroundVolumeID() == shown.GetID()


def test_a_corrected_outline_is_measured_again(analysed, client, module_logics) -> None:
    """The reader deletes every nodule but the first; the server measures what is left."""
    ct_node, volume, case, _ = analysed
    case_id = client.create_case(synthetic=True)
    sha256 = client.put_volume(volume)
    own = results.import_case(module_logics, ct_node, _renamed(case, case_id))
    segmentation = own.segmentation.GetSegmentation()
    for found in case.radiology.nodules[1:]:
        segmentation.RemoveSegment(segmentations.segment_id(found.label))
    client.put_mask(case_id, corrections.corrected_labels(own))
    client.wait(client.radiology(case_id, sha256, explain=["gradcam"], corrected=True))
    again = case_results.fetch(client, case_id)
    [nodule] = again.radiology.nodules
    first = case.radiology.nodules[0]
    assert nodule.found_by == "hand"
    assert nodule.volume_mm3 == pytest.approx(first.volume_mm3)
    assert nodule.malignancy == pytest.approx(first.malignancy)
    nodes = results.import_case(module_logics, ct_node, again)
    assert cell_rows(nodes.table)[1][12] == "outline of the reader"
    assert {n.case_id for n in results.case_nodes(module_logics)} == {case.case_id, case_id}
    results.remove_case(module_logics, case_id)


def _renamed(case, case_id):
    import dataclasses

    return dataclasses.replace(case, case_id=case_id)


def test_a_case_without_a_ct_is_said_to_have_none(client) -> None:
    with pytest.raises(InvalidInput, match="not analysed yet"):
        case_results.fetch(client, client.create_case())
    with pytest.raises(RequestError):
        case_results.fetch(client, "no-such-case")


def test_the_weights_that_somebody_chose_are_kept(client, analysed) -> None:
    case_id = analysed[2].case_id
    chosen = client.fuse(case_id, {"radiology": 0.9, "pathology": 0.05, "clinical": 0.05})
    assert case_results.fetch(client, case_id).fusion == chosen


def test_slices_of_the_real_series(client, logics, real_series, tmp_path) -> None:
    """A dozen slices of a patient's CT, with the identifiers of the original."""
    pydicom = pytest.importorskip("pydicom")
    headers = {file: pydicom.dcmread(file, stop_before_pixels=True) for file in real_series.glob("*.dcm")}
    along = sorted(headers, key=lambda file: float(headers[file].ImagePositionPatient[2]))
    for file in along[34:46]:
        (tmp_path / file.name).symlink_to(file)
    ct_node = volumes.load_ct(logics, tmp_path)
    volume = volumes.volume_of(ct_node)
    case_id = client.create_case()
    client.wait(client.radiology(case_id, client.put_volume(volume), explain=["gradcam"]))
    case = case_results.fetch(client, case_id)
    nodes = results.import_case(logics, ct_node, case)
    assert nodes.table.GetNumberOfRows() == len(case.radiology.nodules)
    for found in case.radiology.nodules:
        places, _ = segment_voxels(nodes.segmentation, segmentations.segment_id(found.label))
        wanted = index_to_lps(volume.ijk_to_lps, np.argwhere(case.mask.labels == found.label)[:, ::-1])
        assert np.allclose(places, lps_to_ras(wanted), atol=1e-6)
    kept = record.read(nodes.record)["ct"]
    assert kept["instance_uids"] == [str(headers[file].SOPInstanceUID) for file in along[34:46]]
    assert kept["series_uid"] == str(headers[along[0]].SeriesInstanceUID)
    assert not case.synthetic and "synthetic" not in nodes.table.GetName()
