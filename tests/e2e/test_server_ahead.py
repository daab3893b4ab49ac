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
    return [int(line) for line in path.read_text().split()] if path.exists() else []


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
