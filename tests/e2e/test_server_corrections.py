"""A reader's corrected segmentation and everything that can come between it and its measurement."""

import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fake_server import ct, fake_server, until

from shared_models.contract import errors
from shared_models.contract.client import Client
from shared_models.contract.results import LabelVolume

SHAPE = (4, 16, 16)


@contextmanager
def running(data_dir: Path, **choices):
    server = fake_server(data_dir, **choices)
    with server as (url, token), Client(url, token) as client:
        yield server, client


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


def labels(value: int, shape: tuple[int, int, int] = SHAPE) -> LabelVolume:
    """Noise, so that no two frames are one file, with ``value`` in one corner."""
    filled = np.random.default_rng(value).integers(0, 2, shape, dtype=np.uint8)
    filled[0, 0, 0] = value
    return LabelVolume(filled, ct().ijk_to_lps, "x")


def measured(client: Client, case_id: str) -> int:
    assert client.radiology_result(case_id).nodules[0].found_by == "hand"
    return int(client.mask(case_id).labels[0, 0, 0])


def blobs(data_dir: Path) -> int:
    return len(list(data_dir.glob("blobs/*/*")))


def test_each_job_measures_the_correction_it_was_asked_for(shared) -> None:
    server, client = shared
    case_id, sha = client.create_case(), client.put_volume(ct("sleep=0.6"))
    client.put_mask(case_id, labels(1))
    first = client.radiology(case_id, sha, corrected=True)
    until(lambda: client.job(first).state == "running")
    client.put_mask(case_id, labels(2))  # while the first is measured
    second = client.radiology(case_id, sha, corrected=True)
    client.put_mask(case_id, labels(3))  # while the second waits
    client.wait(first)
    assert measured(client, case_id) == 1
    client.wait(second)
    assert measured(client, case_id) == 2
    client.wait(client.radiology(case_id, sha, corrected=True))  # the third was not lost with either
    assert measured(client, case_id) == 3
    with pytest.raises(errors.InvalidInput, match="corrected segmentation"):
        client.radiology(case_id, sha, corrected=True)
    client.delete_case(case_id)
    assert blobs(server.data_dir) == 0


def test_a_search_that_ends_takes_no_correction_with_it(shared) -> None:
    _, client = shared
    case_id, sha = client.create_case(), client.put_volume(ct("sleep=0.4"))
    search = client.radiology(case_id, sha)
    client.put_mask(case_id, labels(5))
    client.wait(search)
    client.wait(client.radiology(case_id, sha, corrected=True))
    assert measured(client, case_id) == 5


def test_a_correction_survives_kill_9_with_its_job(tmp_path) -> None:
    with running(tmp_path) as (server, client):
        case_id, sha = client.create_case(), client.put_volume(ct("sleep=1"))
        client.put_mask(case_id, labels(1))
        first = client.radiology(case_id, sha, corrected=True)
        client.put_mask(case_id, labels(2))
        second = client.radiology(case_id, sha, corrected=True)
        client.put_mask(case_id, labels(3))
        until(lambda: client.job(first).state == "running")
        server.process.kill()
        server.process.wait()
        server.start()
        with Client(server.url, server.token) as again:
            again.wait(first)
            assert measured(again, case_id) == 1
            again.wait(second)
            assert measured(again, case_id) == 2
            again.wait(again.radiology(case_id, sha, corrected=True))
            assert measured(again, case_id) == 3


def test_a_cancelled_or_deleted_one_leaves_nothing(tmp_path) -> None:
    with running(tmp_path) as (_, client):
        case_id, sha = client.create_case(), client.put_volume(ct("sleep=30"))
        client.put_mask(case_id, labels(1))
        jobs = [client.radiology(case_id, sha, corrected=True) for _ in range(2)]
        until(lambda: client.job(jobs[0]).state == "running")
        client.put_mask(case_id, labels(2))
        assert blobs(tmp_path) == 3  # the CT, what the jobs measure, what waits
        for job_id in jobs:
            client.cancel(job_id)
            until(lambda job_id=job_id: client.job(job_id).ended)
        assert blobs(tmp_path) == 2
        client.radiology(case_id, sha, corrected=True)
        client.delete_case(case_id)
        until(lambda: blobs(tmp_path) == 0)
        other = client.create_case()
        client.put_mask(other, labels(3))
        client.wait(client.radiology(other, client.put_volume(ct()), corrected=True))
        assert measured(client, other) == 3


def test_a_correction_that_fails_waits_for_another_try(shared) -> None:
    _, client = shared
    case_id = client.create_case()
    client.put_mask(case_id, labels(1))
    with pytest.raises(errors.BadGeometry, match="grid"):
        client.wait(client.radiology(case_id, client.put_volume(ct(shape=(5, 16, 16))), corrected=True))
    client.wait(client.radiology(case_id, client.put_volume(ct()), corrected=True))
    assert measured(client, case_id) == 1


def test_corrections_are_counted_and_replaced_ones_are_not(tmp_path) -> None:
    shape = (8, 64, 64)  # noise of one bit: about 5 kB a frame
    with running(tmp_path, max_case_bytes=40_000, max_total_bytes=200_000, max_axis=100) as (_, client):
        case_id, sha = client.create_case(), client.put_volume(ct("sleep=30"))
        for value in range(30):
            client.put_mask(case_id, labels(value, shape))
        assert blobs(tmp_path) == 2
        with pytest.raises(errors.InputTooLarge, match="as much data as a case may"):
            for value in range(30):
                client.put_mask(case_id, labels(value, shape))
                client.radiology(case_id, sha, corrected=True)
        assert 2 < value < 15
        kept = sum(path.stat().st_size for path in tmp_path.glob("blobs/*/*"))
        assert kept < 40_000 + 10_000
        with pytest.raises(errors.InputTooLarge, match="axis"):
            client.put_mask(case_id, LabelVolume(np.zeros((1, 1, 101), np.uint8), ct().ijk_to_lps, "x"))


@pytest.mark.parametrize("value", [0, 1, 255])
def test_any_labels_go_through(shared, value: int) -> None:
    _, client = shared
    case_id = client.create_case()
    every = np.arange(4 * 256, dtype=np.uint16).reshape(SHAPE) % 256 if value == 255 else np.full(SHAPE, value)
    client.put_mask(case_id, LabelVolume(every.astype(np.uint8), ct().ijk_to_lps, "x"))
    client.wait(client.radiology(case_id, client.put_volume(ct()), corrected=True))
    assert np.array_equal(client.mask(case_id).labels, every)


def test_results_are_read_whole_while_they_are_replaced(shared) -> None:
    """Reader and writer of one case at once: each answer is a whole one, of one job."""
    server, client = shared
    case_id, sha = client.create_case(), client.put_volume(ct())
    client.put_mask(case_id, labels(1))
    client.wait(client.radiology(case_id, sha, corrected=True))
    faults: list = []
    stop = threading.Event()

    def read() -> None:
        with Client(server.url, server.token) as mine:
            while not stop.is_set():
                try:
                    mine.radiology_result(case_id)
                    mine.mask(case_id)
                    mine.report(case_id)
                    mine.fuse(case_id)
                except errors.LungXAIError as fault:
                    faults.append(fault)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(2, 9):
        client.put_mask(case_id, labels(value))
        client.wait(client.radiology(case_id, sha, corrected=True))
    stop.set()
    for reader in readers:
        reader.join(20)
    assert [str(fault) for fault in faults] == []
