"""Tiles classified while the rest of their slide is still coming; the models are fake (tests/fake_models.py)."""

from pathlib import Path

import numpy as np
import pytest
from fake_server import ct, fake_server, tiles, until

from shared_models.contract import errors
from shared_models.contract.client import Client
from shared_models.contract.values import SlideTiles

ENDS_THE_WORKER, SLOW = 251, 250


def calls(path: Path) -> list[int]:
    """Tiles of each call of the model."""
    return [int(line) for line in path.read_text().splitlines() if line.isdecimal()] if path.exists() else []


def explained(path: Path) -> list[str]:
    """What each call that explains was asked for."""
    return [line for line in path.read_text().splitlines() if not line.isdecimal()] if path.exists() else []


@pytest.fixture
def served(tmp_path):
    path = tmp_path / "calls"
    server = fake_server(tmp_path / "data", environment={"LUNGXAI_TEST_CALLS": str(path)})
    with server as (url, token), Client(url, token) as client:
        yield client, path


def test_a_job_finds_what_was_classified_before_it_came(served) -> None:
    client, path = served
    ahead, plain = client.create_case(), client.create_case()
    for batch in range(3):
        client.put_tiles(ahead, tiles(40, 10 + batch, first=40 * batch), ahead=True)
    until(lambda: sum(calls(path)) == 120)
    before = calls(path)
    client.wait(client.pathology(ahead, "s"))
    assert calls(path) == before and max(before) <= 32
    for batch in range(3):
        client.put_tiles(plain, tiles(40, 10 + batch, first=40 * batch))
    with_it, without = client.pathology_result(ahead), None
    client.wait(client.pathology(plain, "s"))
    without = client.pathology_result(plain)
    np.testing.assert_array_equal(with_it.tile_probabilities, without.tile_probabilities)
    np.testing.assert_array_equal(with_it.tile_quality, without.tile_quality)
    assert with_it.tile_quality is not None and len(with_it.tile_quality) == 120


def test_the_same_slide_again_with_a_heatmap_is_not_classified_again(served) -> None:
    client, path = served
    case_id = client.create_case()
    client.put_tiles(case_id, tiles(20, 7))
    client.wait(client.pathology(case_id, "s"))
    assert sum(calls(path)) == 20
    client.put_tiles(case_id, tiles(5, 9, first=20))
    client.wait(client.pathology(case_id, "s", ("gradcam",)))
    assert sum(calls(path)) == 25 and client.heatmap(case_id, "pathology", "gradcam").values.size == 25
    table = client.pathology_result(case_id).tile_probabilities[:, 0]
    np.testing.assert_allclose(table, np.r_[np.full(20, 7), np.full(5, 9)] / 255, atol=1e-6)


def test_heatmaps_that_were_made_are_not_made_again(served) -> None:
    client, path = served
    case_id = client.create_case()
    client.put_tiles(case_id, tiles(4, 7))
    client.wait(client.pathology(case_id, "s", ("gradcam",)))
    client.wait(client.pathology(case_id, "s", ("gradcam", "occlusion")))
    client.wait(client.pathology(case_id, "s", ("gradcam",), target="normal"))
    client.wait(client.pathology(case_id, "s", ("gradcam",), target="normal", contrast="squamous_cell"))
    assert client.heatmap(case_id, "pathology", "gradcam").target == "normal rather than squamous_cell"
    client.wait(client.pathology(case_id, "s", ("gradcam",)))
    assert client.heatmap(case_id, "pathology", "gradcam").target == "adenocarcinoma"
    assert explained(path) == ["explain gradcam", "explain occlusion", "explain gradcam", "explain gradcam"]


def test_a_ct_that_was_searched_is_only_explained_the_second_time(served) -> None:
    client, path = served
    case_id, sha, other = client.create_case(), client.put_volume(ct("quick")), client.put_volume(ct("quick", 1))
    client.wait(client.radiology(case_id, sha, explain=("gradcam",)))
    client.wait(client.radiology(case_id, sha, explain=("gradcam", "occlusion"), target="malignancy"))
    assert client.heatmap(case_id, "radiology", "occlusion").target == "malignancy"
    client.wait(client.radiology(case_id, sha, explain=("gradcam",)))
    assert client.heatmap(case_id, "radiology", "gradcam").target == "nodule"
    client.wait(client.radiology(case_id, sha, [(0, 0, 0)], explain=("gradcam",)))
    client.wait(client.radiology(case_id, other, explain=("gradcam",)))
    assert explained(path) == [
        "analyse gradcam nodule", "explain gradcam occlusion malignancy", "explain  nodule", "analyse gradcam nodule",
        "analyse gradcam nodule",
    ]  # fmt: skip
    np.testing.assert_array_equal(
        client.heatmap(case_id, "radiology", "gradcam").values, np.abs(ct("quick", 1).voxels) * np.float32(1.1)
    )


@pytest.mark.parametrize("body", [{"target": "lobe"}, {"target": 3}])
def test_a_target_that_there_is_not_is_refused(served, body) -> None:
    client, _ = served
    sha, case_id = client.put_volume(ct("quick")), client.create_case()
    with pytest.raises(errors.InvalidInput):
        client.radiology(case_id, sha, **body)


def test_a_tile_sent_twice_keeps_its_first_answer(served) -> None:
    client, path = served
    case_id = client.create_case()
    client.put_tiles(case_id, tiles(10, 3), ahead=True)
    client.put_tiles(case_id, tiles(10, 8, first=5), ahead=True)  # five of them lie where others were sent
    until(lambda: sum(calls(path)) == 20)
    client.wait(client.pathology(case_id, "s"))
    table = client.pathology_result(case_id).tile_probabilities[:, 0] * 255
    np.testing.assert_allclose(table, np.r_[np.full(10, 3), np.full(5, 8)], atol=1e-4)
    # The second batch alone is another slide's: there all ten of its tiles count.
    other = client.create_case()
    client.put_tiles(other, tiles(10, 8, first=5))
    client.wait(client.pathology(other, "s"))
    np.testing.assert_allclose(client.pathology_result(other).tile_probabilities[:, 0] * 255, 8, atol=1e-4)
    assert sum(calls(path)) == 20


def test_a_ct_does_not_wait_for_all_that_was_sent_ahead(served) -> None:
    client, path = served
    case_id, sha = client.create_case(), client.put_volume(ct("quick"))
    for batch in range(30):
        client.put_tiles(case_id, tiles(64, SLOW, first=64 * batch), ahead=True)
    client.wait(client.radiology(client.create_case(), sha))
    assert sum(calls(path)) < 30 * 64
    client.wait(client.pathology(case_id, "s"))
    assert sum(calls(path)) == 30 * 64


def test_batches_that_end_the_worker_cost_their_own_job_alone(served) -> None:
    client, path = served
    bad, good = client.create_case(), client.create_case()
    for batch in range(7):  # more than the deaths in a row after which a server gives up
        client.put_tiles(bad, tiles(2, ENDS_THE_WORKER, first=2 * batch), ahead=True)
    client.put_tiles(good, tiles(4, 5), ahead=True)
    client.wait(client.pathology(good, "s"))
    client.wait(client.radiology(good, client.put_volume(ct("quick"))))
    with pytest.raises(errors.ServerError, match="signal 9"):
        client.wait(client.pathology(bad, "s"))
    client.put_tiles(good, tiles(4, 6, first=4), ahead=True)
    client.wait(client.pathology(good, "s"))
    assert len(client.pathology_result(good).origin_px) == 8


def test_the_quality_that_a_client_gave_is_kept(served) -> None:
    client, _ = served
    case_id, plain = client.create_case(), tiles(4, 9)
    said = np.array([0.25, 0.5, 0.75, 1.0], np.float32)
    client.put_tiles(case_id, SlideTiles(plain.pixels, plain.origin_px, plain.mpp, plain.slide_id, said))
    client.wait(client.pathology(case_id, "s"))
    np.testing.assert_array_equal(client.pathology_result(case_id).tile_quality, said)
