"""The server with the models that ship: it answers while a CT is segmented, and a cancel frees the device.

The CT is the synthetic thorax of shared_models/phantom.py: nothing here says how good the models are.
"""

import statistics
import threading
import time

import numpy as np
import pytest
import requests
from fake_server import until, workers

from inference_server.local import LocalServer
from shared_models.contract import errors, routes
from shared_models.contract.client import Client
from shared_models.contract.values import CLASSES, SlideTiles
from shared_models.model_bundle import MODELS_ROOT

pytest.importorskip("torch")
HEALTH_LIMIT_S = 0.100
CANCEL_LIMIT_S = 2.0


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def server(request, tmp_path_factory):
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    if not list(MODELS_ROOT.glob("*/configs/metadata.json")):
        pytest.skip(f"there are no models in {MODELS_ROOT}")
    running = LocalServer(tmp_path_factory.mktemp("data"), device=request.param)
    with running:
        running.device = request.param
        yield running


@pytest.fixture(scope="module")
def thorax():
    from shared_models.phantom import thorax as drawn

    return drawn().volume


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as connected:
        yield connected


def need(client: Client, modality: str) -> None:
    info = client.info()
    if modality in info["problems"]:
        pytest.skip(f"no {modality}: {info['problems'][modality]['message']}")


def test_healthz_answers_within_100_ms_while_a_ct_is_segmented(client, server, thorax) -> None:
    need(client, "radiology")
    case_id = client.create_case(synthetic=True)
    job_id = client.radiology(case_id, client.put_volume(thorax))
    times: list[float] = []
    with requests.Session() as probe:
        probe.get(server.url + routes.HEALTHZ, timeout=5)
        while client.job(job_id).state == "queued":
            time.sleep(0.01)
        while not client.job(job_id).ended:
            begun = time.perf_counter()
            assert probe.get(server.url + routes.HEALTHZ, timeout=5).status_code == 200
            times.append(time.perf_counter() - begun)
            time.sleep(0.05)
    client.wait(job_id)
    print(
        f"healthz: {len(times)} probes, median {1e3 * statistics.median(times):.1f} ms, max {1e3 * max(times):.1f} ms"
    )
    assert len(times) >= 20 and max(times) <= HEALTH_LIMIT_S
    result = client.radiology_result(case_id)
    assert {p.device for p in result.provenance} == {server.device}
    assert client.mask(case_id).labels.shape == thorax.voxels.shape


def test_a_cancel_in_the_sliding_window_frees_the_device_within_two_seconds(client, server, thorax) -> None:
    need(client, "radiology")
    case_id = client.create_case(synthetic=True)
    job_id = client.radiology(case_id, client.put_volume(thorax))
    stages: list[str] = []
    stop = threading.Event()

    def seen(progress) -> None:
        stages.append(progress.stage)
        if 0.2 < progress.fraction < 0.9:
            stop.set()

    (worker,) = workers(server)
    with pytest.raises(errors.Cancelled):
        client.wait(job_id, seen, stop.is_set)
    begun = time.monotonic()
    until(lambda: client.job(job_id).state == "cancelled", CANCEL_LIMIT_S)
    freed = time.monotonic() - begun
    print(f"cancelled at {stages[-1]!r}; free after {freed:.2f} s; same worker: {workers(server)[0].pid == worker.pid}")
    assert freed < CANCEL_LIMIT_S


def test_tiles_are_classified_and_explained(client, server) -> None:
    need(client, "pathology")
    case_id = client.create_case(synthetic=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 224, 224, 3), dtype=np.uint8)
    origin = np.array([[448 * (n % 3), 448 * (n // 3)] for n in range(6)], dtype=np.int64)
    model = next(m for m in client.info()["models"] if m["modality"] == "pathology")
    client.put_tiles(case_id, SlideTiles(pixels, origin, 0.5, "noise"))
    client.wait(client.pathology(case_id, "noise", ["gradcam"]))
    result = client.pathology_result(case_id)
    assert result.tile_px == (448.0, 448.0) and result.provenance[0].device == server.device
    told_apart = np.array(CLASSES)[np.isfinite(result.tile_probabilities).all(axis=0)]
    assert set(told_apart) == set(model["coverage"])
    # Noise is like no tile that the model learned from: each has its numbers, and the slide has no answer.
    assert result.tile_reliability is not None and (result.tile_reliability < 0.5).all()
    assert result.abstention is not None and not any(result.probabilities.values())
    assert client.heatmap(case_id, "pathology", "gradcam").source_id == "noise"
