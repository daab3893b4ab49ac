"""All six methods from the real models through a real server, into Slicer's scene and onto a QuPath project."""

import gzip
import json

import numpy as np
import pytest
from LungXAILib import case_results, heat_labels, results, volumes
from PIL import Image
from qupath_validator import refusals

from shared_models.contract.client import Client
from shared_models.contract.heatmap_words import AGAINST, parts
from shared_models.contract.results import METHODS
from shared_models.contract.values import CTVolume

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from inference_server.local import LocalServer

    folder = tmp_path_factory.mktemp("server")
    with LocalServer(folder) as (url, token), Client(url, token) as client:
        yield url, folder / "token", client


def test_a_nodule_s_maps_are_volumes_on_its_ct(server, logics, phantom) -> None:
    _, _, client = server
    nodule = phantom.nodules[0]
    own = np.argwhere(phantom.truth.labels == nodule.label)
    volume = CTVolume(phantom.volume.voxels, phantom.volume.ijk_to_lps, phantom.volume.series_uid)
    k, j, i = own.mean(axis=0)
    point = (volume.ijk_to_lps @ np.array([i, j, k, 1.0]))[:3]
    case_id, sha = client.create_case(synthetic=True), client.put_volume(volume)
    client.wait(client.radiology(case_id, sha, [tuple(point)], explain=METHODS, search=False, target="malignancy"))
    case = case_results.fetch(client, case_id)
    assert {(h.method, h.target) for h in case.heatmaps} == {(method, "malignancy") for method in METHODS}
    nodes = results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case)
    for heatmap in case.heatmaps:
        speaks_for, against = parts(heatmap)
        for part in (speaks_for, *(() if against is None else (against,))):
            node = nodes.heatmaps[part.method, part.target]
            np.testing.assert_array_equal(volumes.voxels_of(node), part.values)
            assert heat_labels.caption(node)
        # The largest slice of the nodule, and nothing else.
        held = np.flatnonzero(np.abs(heatmap.values).any(axis=(1, 2)))
        first = int(np.rint(np.linalg.solve(volume.ijk_to_lps, heatmap.index_to_world)[2, 3]))
        assert len(held) == 1 and own[:, 0].min() <= held[0] + first <= own[:, 0].max(), heatmap.method
    assert any(target.startswith(AGAINST) for _, target in nodes.heatmaps)


def test_a_slide_s_maps_are_objects_in_qupath(server, real_data, tmp_path, capsys) -> None:
    """Two real tiles side by side: COMPOSED, so the run is labelled."""
    from shared_models.command_line import main

    url, token, _ = server
    files = sorted((real_data / "lc25000_lung_224").rglob("lungscc*.jpeg"))[:2]
    Image.fromarray(np.concatenate([np.asarray(Image.open(f)) for f in files], axis=1)).save(tmp_path / "two.png")
    project = tmp_path / "study" / "project.qpproj"
    assert main(["qupath", "new", str(tmp_path / "two.png"), "--mpp", "0.9", "--out", str(project)]) == 0
    methods = [word for method in METHODS for word in ("--explain", method)]
    command = ["qupath", "classify", str(project), "--server", url, "--token-file", str(token), "--synthetic"]
    assert main([*command, "--target", "squamous_cell", *methods]) == 0
    folder = project.parent / "lungxai"
    for method in METHODS:
        (path,) = folder.glob(f"*.{method}.geojson.gz")
        drawn = json.loads(gzip.decompress(path.read_bytes()))
        assert refusals(drawn) == []
        said = [f["properties"]["metadata"] for f in drawn["features"]]
        assert said and {s["LungXAI target"].removeprefix(AGAINST) for s in said} == {"squamous_cell"}, method
        assert all(s["LungXAI trust"] for s in said)
        assert len(list(folder.glob(f"*.{method}.ome.tif"))) == 1
    (run,) = (json.loads(gzip.decompress(p.read_bytes()))["features"][0] for p in folder.glob("*.tiles.geojson.gz"))
    tiles = [f for f in run["properties"]["childObjects"] if f["properties"]["objectType"] == "tile"]
    assert len(tiles) == 2
    for tile in tiles:
        assert sum(name.startswith("Attribution (") for name in tile["properties"]["measurements"]) == 6
    assert main([*command, "--contrast", "guess", "--explain", "gradcam"]) == 2
    assert "does not assess guess" in capsys.readouterr().err
