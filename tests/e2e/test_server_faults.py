"""What goes wrong around a server, done to a real one: deaths, a full disk, clients that leave, cancels, two servers.

The models are fake (tests/fake_models.py); everything else is what a user runs.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fake_server import ct, fake_server, sha256, tiles, until, workers

from shared_models.contract import errors, routes
from shared_models.contract.client import Client
from shared_models.contract.codec import encode
from shared_models.contract.values import ClinicalFields

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def running(data_dir: Path, **choices):
    server = fake_server(data_dir, **choices)
    with server as (url, token), Client(url, token) as client:
        yield server, client


def until_running(client: Client, job_id: str) -> None:
    until(lambda: client.job(job_id).state == "running" and client.job(job_id).stage != "starting")


# Workers that die


def test_a_killed_worker_fails_its_job_and_the_next_one_works(tmp_path) -> None:
    with running(tmp_path) as (server, client):
        case_id = client.create_case()
        first = client.radiology(case_id, client.put_volume(ct("sleep=30")))
        second = client.radiology(case_id, client.put_volume(ct("quick")))
        until_running(client, first)
        assert client.job(second).queue_position == 1
        (worker,) = workers(server)
        worker.send_signal(signal.SIGKILL)
        with pytest.raises(errors.ServerError, match="signal 9"):
            client.wait(first)
        client.wait(second)
        assert client.radiology_result(case_id).series_uid == "quick"
        assert [p.pid for p in workers(server)] != [worker.pid]
        assert not list((tmp_path / "tmp").iterdir())


def test_a_job_that_kills_its_worker_is_not_run_again(tmp_path) -> None:
    with running(tmp_path) as (server, client):
        case_id = client.create_case()
        job_id = client.radiology(case_id, client.put_volume(ct("die")))
        with pytest.raises(errors.ServerError, match="ended unexpectedly"):
            client.wait(job_id)
        time.sleep(0.5)
        assert client.job(job_id).state == "failed"
        assert server.log.read_text().count("worker ended") == 1
        until(lambda: ready(client))


def ready(client: Client) -> bool:
    try:
        return bool(client.ready()["ready"])
    except errors.ModelUnavailable:
        return False


def test_of_slides_that_ran_together_only_the_guilty_one_fails(tmp_path) -> None:
    with running(tmp_path) as (_, client):
        client.radiology(client.create_case(), client.put_volume(ct("sleep=0.5")))  # until all three wait
        jobs = {}
        for value in (100, 251, 150):  # 251 kills the worker
            case_id = client.create_case()
            client.put_tiles(case_id, tiles(4, value))
            jobs[value] = client.pathology(case_id, "s")
        client.wait(jobs[100])
        client.wait(jobs[150])
        with pytest.raises(errors.ServerError, match="ended unexpectedly"):
            client.wait(jobs[251])


def test_a_worker_that_cannot_start_is_given_up_in_words(tmp_path) -> None:
    """The backend of this test kills its process while it loads."""
    (tmp_path / "dying.py").write_text(
        "import os, time\ndef load(*_):\n    time.sleep(0.2)\n    os._exit(3)\n"
    )
    server = fake_server(
        tmp_path / "data", {"PYTHONPATH": str(tmp_path)}, backend="dying:load", max_crashes=2, ready_s=0
    )
    with server as (url, token), Client(url, token) as client:
        until(lambda: "server" in client.info()["problems"])
        with pytest.raises(errors.ModelUnavailable, match="2 times in a row"):
            client.ready()
        sha = client.put_volume(ct())
        with pytest.raises(errors.ModelUnavailable):
            client.radiology(client.create_case(), sha)


# The server that dies


def test_everything_acknowledged_survives_kill_9(tmp_path) -> None:
    with running(tmp_path) as (server, client):
        finished = client.create_case("finished", synthetic=True)
        client.wait(client.radiology(finished, client.put_volume(ct("quick")), explain=["gradcam"]))
        client.put_clinical(finished, ClinicalFields(age_years=70))
        client.put_tiles(finished, tiles(5))
        begun = client.create_case("begun")
        working = client.radiology(begun, client.put_volume(ct("sleep=1.5")))
        until_running(client, working)
        queued = []
        for number in range(5):
            case_id = client.create_case(f"queued{number}")
            queued.append(client.radiology(case_id, client.put_volume(ct("quick", seed=number))))
        slide = client.pathology(finished, "s")
        (worker,) = workers(server)
        server.process.kill()
        server.process.wait()
        until(lambda: not worker.is_running() or worker.status() == "zombie")
        (tmp_path / "tmp" / "upload.half").write_bytes(b"half an upload")

        server.start()
        with Client(server.url, server.token) as again:
            assert server.token == client._session.headers["Authorization"][7:]
            names = {case["case_id"] for case in again.cases()}
            assert names == {"finished", "begun", *(f"queued{n}" for n in range(5))}
            assert again.case("finished")["synthetic"]
            assert np.array_equal(again.mask("finished").labels, ct("quick").voxels > 0)
            assert again.heatmap("finished", "radiology", "gradcam").values.shape == (4, 16, 16)
            for job_id in (working, *queued, slide):
                again.wait(job_id)
            for number in range(5):
                assert np.array_equal(again.mask(f"queued{number}").labels, ct(seed=number).voxels > 0)
            assert len(again.pathology_result("finished").origin_px) == 5
        assert not list((tmp_path / "tmp").iterdir())


def test_a_job_during_which_the_server_dies_twice_is_not_tried_a_third_time(tmp_path) -> None:
    server = fake_server(tmp_path)
    with server:
        with Client(server.url, server.token) as client:
            job_id = client.radiology(client.create_case(), client.put_volume(ct("sleep=20")))
        for _ in range(2):
            with Client(server.url, server.token) as client:
                until_running(client, job_id)
            server.process.kill()
            server.process.wait()
            server.start()
        with Client(server.url, server.token) as client, pytest.raises(errors.ServerError, match="ended twice"):
            client.wait(job_id)


def test_ctrl_c_ends_cleanly_and_the_job_goes_on_at_the_next_start(tmp_path) -> None:
    """`lungxai serve` in a process of its own; the models of this machine, or none: neither matters here."""
    command = [sys.executable, "-m", "inference_server.serve_command", "serve", "--port", "0", "--data-dir", tmp_path]
    with subprocess.Popen(
        [*command, "--models", tmp_path / "none"], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
    ) as process:  # fmt: skip
        first = process.stdout.readline()
        assert re.match(r"LungXAI server on http://127\.0\.0\.1:\d+ ", first)
        token_line, notice = process.stdout.readline(), process.stdout.readline()
        assert str(tmp_path / "token") in token_line and "Research use only" in notice
        assert (tmp_path / "token").read_text().strip() not in token_line
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=15)
    assert process.returncode == 0 and "Traceback" not in complaints
    assert not (tmp_path / "address.json").exists()


def test_two_servers_do_not_share_a_folder(tmp_path) -> None:
    with running(tmp_path) as (_, client):
        second = fake_server(tmp_path)
        with pytest.raises(errors.ServerError, match="Another server is using this data folder"):
            second.start()
        second.process.wait()
        assert client.info()["protocol"] == 1  # the first one is none the worse


def test_a_token_that_others_can_read_is_refused(tmp_path) -> None:
    with running(tmp_path):
        pass
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(errors.ServerError, match="can read the token"):
        fake_server(tmp_path).start()


def test_the_server_leaves_with_its_caller(tmp_path) -> None:
    code = (
        "import sys, time; sys.path[:0] = sys.argv[2:]; from pathlib import Path; from fake_server import fake_server\n"
        "server = fake_server(Path(sys.argv[1])); server.start(); print(server.process.pid, flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path), str(REPOSITORY), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as caller:
        pid = int(caller.stdout.readline())
        caller.kill()
    until(lambda: not Path(f"/proc/{pid}").exists() or not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3]
    except OSError:
        return False


# Clients that leave, dawdle, or come all at once


def begin_upload(server, frame: bytes, length: int) -> socket.socket:
    host, port = server.url[7:].split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    head = (
        f"PUT {routes.volume(sha256(frame))} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {server.token}\r\n{routes.PROTOCOL_HEADER}: 1\r\nContent-Length: {len(frame)}\r\n\r\n"
    )
    connection.sendall(head.encode() + frame[:length])
    return connection


def test_a_client_that_vanishes_in_mid_upload_leaves_nothing(tmp_path) -> None:
    with running(tmp_path) as (server, client):
        frame = encode(ct(shape=(64, 256, 256)))
        connection = begin_upload(server, frame, len(frame) // 2)
        until(lambda: any(p.stat().st_size == len(frame) for p in (tmp_path / "tmp").iterdir()))  # set aside in full
        connection.close()
        until(lambda: not list((tmp_path / "tmp").iterdir()))
        sha = client.put_volume(ct(shape=(64, 256, 256)))
        client.wait(client.radiology(client.create_case(), sha))


def test_a_client_that_dawdles_is_let_go_and_does_not_keep_others_out(tmp_path) -> None:
    with running(tmp_path, chunk_timeout_s=0.5, max_uploads=1, upload_wait_s=0.1) as (server, client):
        frame = encode(ct(shape=(64, 256, 256)))
        with begin_upload(server, frame, len(frame) // 2) as connection:
            until(lambda: list((tmp_path / "tmp").iterdir()))
            with pytest.raises(errors.ServerBusy):
                client.put_volume(ct(seed=1))
            answer = connection.recv(1 << 16)
            assert b" 408 " in answer.split(b"\r\n")[0]
        until(lambda: not list((tmp_path / "tmp").iterdir()))
        client.put_volume(ct(seed=1))


def test_fifty_clients_at_once(tmp_path) -> None:
    calls = tmp_path / "calls"
    with running(tmp_path / "data", environment={"LUNGXAI_TEST_CALLS": str(calls)}) as (server, client):
        faults: list = []

        def one(number: int) -> None:
            try:
                with Client(server.url, server.token) as mine:
                    case_id = mine.create_case(f"case{number}")
                    for batch in range(2):
                        mine.put_tiles(case_id, tiles(6, number, first=6 * batch))
                    sha = mine.put_volume(ct(seed=number))
                    slide = mine.pathology(case_id, "s")
                    scan = mine.radiology(case_id, sha)
                    mine.wait(slide)
                    mine.wait(scan)
                    probabilities = mine.pathology_result(case_id).tile_probabilities
                    assert probabilities.shape == (12, 5) and np.allclose(probabilities[:, 0], number / 255)
                    assert np.array_equal(mine.mask(case_id).labels, ct(seed=number).voxels > 0)
            except BaseException as fault:
                faults.append((number, repr(fault)))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not faults and len(client.cases()) == 50
        sizes = [int(line) for line in calls.read_text().split()]
        assert sum(sizes) == 50 * 12 and max(sizes) <= 32


def test_slides_that_wait_together_share_model_calls(tmp_path) -> None:
    calls = tmp_path / "calls"
    with running(tmp_path / "data", environment={"LUNGXAI_TEST_CALLS": str(calls)}) as (_, client):
        blocker = client.radiology(client.create_case(), client.put_volume(ct("sleep=60")))
        jobs = []
        for number in range(16):
            case_id = client.create_case()
            client.put_tiles(case_id, tiles(4, number))
            jobs.append(client.pathology(case_id, "s"))
        assert [client.job(job_id).queue_position for job_id in jobs] == list(range(1, 17))
        client.cancel(blocker)
        for job_id in jobs:
            client.wait(job_id)
        sizes = [int(line) for line in calls.read_text().split()]
        # 64 tiles in calls of 32: a job sent while the first call is put together may make one more of it.
        assert sum(sizes) == 64 and len(sizes) <= 4


# Cancelling


@pytest.mark.parametrize(("commands", "same_worker"), [("sleep=30", True), ("hang=30", False)])
def test_a_cancelled_job_frees_the_device_within_two_seconds(tmp_path, commands: str, same_worker: bool) -> None:
    """A job that looks at ``cancelled`` stops by itself; one that does not loses its worker."""
    with running(tmp_path) as (server, client):
        case_id = client.create_case()
        job_id = client.radiology(case_id, client.put_volume(ct(commands)))
        until_running(client, job_id)
        (worker,) = workers(server)
        begun = time.monotonic()
        client.cancel(job_id)
        until(lambda: client.job(job_id).ended)
        freed = time.monotonic() - begun
        assert client.job(job_id).state == "cancelled" and freed < 2.0
        client.wait(client.radiology(case_id, client.put_volume(ct("quick"))))
        assert (workers(server)[0].pid == worker.pid) == same_worker
        client.cancel(job_id)  # a job that has ended stays as it ended
        assert client.job(job_id).state == "cancelled"


def test_a_queued_job_is_cancelled_at_once_and_a_slide_between_its_calls(tmp_path) -> None:
    with running(tmp_path) as (_, client):
        case_id = client.create_case()
        client.put_tiles(case_id, tiles(250, 250))  # 50 ms a call
        client.put_tiles(case_id, tiles(250, 250, first=250))
        slide = client.pathology(case_id, "s")
        until_running(client, slide)
        queued = client.radiology(case_id, client.put_volume(ct("quick")))
        client.cancel(queued)
        assert client.job(queued).state == "cancelled" and client.job(slide).state == "running"
        with pytest.raises(errors.Cancelled):
            client.wait(slide, cancelled=lambda: client.job(slide).fraction > 0.1)
        until(lambda: client.job(slide).state == "cancelled", 2.0)
        client.wait(client.radiology(case_id, client.put_volume(ct("quick"))))


def test_deleting_a_case_stops_its_jobs(tmp_path) -> None:
    with running(tmp_path) as (_, client):
        case_id = client.create_case()
        job_id = client.radiology(case_id, client.put_volume(ct("sleep=30")))
        until_running(client, job_id)
        client.delete_case(case_id)
        client.wait(client.radiology(client.create_case(), client.put_volume(ct("quick"))))
        assert len(client.cases()) == 1
        until(lambda: len(list((tmp_path / "blobs").glob("*/*"))) == 3)  # the CT, result and mask of the second case


def test_events_come_at_least_every_half_second(tmp_path) -> None:
    with running(tmp_path) as (server, client):
        job_id = client.radiology(client.create_case(), client.put_volume(ct("hang=1.5")))
        answer = client._request("GET", routes.job(job_id, events=True))
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        last, gaps, states = time.monotonic(), [], []
        for line in answer.iter_lines(chunk_size=1):
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
            if line.startswith(b"data:"):
                states.append(json.loads(line[5:])["state"])
        assert max(gaps) <= 0.6 and states[-1] == "done"


# A full disk


@contextmanager
def small_disk(folder: Path, size: str):
    """A tmpfs of ``size``, where this machine lets us mount one."""
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mount.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mount.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path) -> None:
    with small_disk(tmp_path / "disk", "6m") as disk:
        with running(disk / "data", disk_reserve_bytes=1 << 20) as (server, client):
            case_id = client.create_case("kept")
            client.wait(client.radiology(case_id, client.put_volume(ct("quick"))))
            with pytest.raises(errors.OutOfMemory, match="disk is full"):
                client.put_volume(ct(shape=(64, 256, 256)))
            count = 0
            with pytest.raises(errors.OutOfMemory, match="disk is full"):
                for count in range(100):
                    client.put_tiles(case_id, tiles(32, first=32 * count, side=64))
            assert client.case(case_id)["slides"][0]["tiles"] == 32 * count > 0
            assert not list((disk / "data" / "tmp").iterdir())
            # The reserve holds what is small, until that is gone too.
            client.put_clinical(case_id, ClinicalFields(age_years=50))
            with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
                while True:
                    filler.write(bytes(1 << 12))
            with pytest.raises(errors.OutOfMemory, match="disk is full"):
                for number in range(1000):
                    client.put_clinical(case_id, ClinicalFields(age_years=number % 100))
            assert client.radiology_result(case_id).series_uid == "quick"
            server.process.kill()  # and the worst moment to die
            server.process.wait()
            (disk / "filler").unlink()
            server.start()
            with Client(server.url, server.token) as again:
                assert np.array_equal(again.mask(case_id).labels, ct("quick").voxels > 0)
                assert again.case(case_id)["slides"][0]["tiles"] == 32 * count
                again.delete_case(case_id)
                again.wait(again.radiology(again.create_case(), again.put_volume(ct("quick"))))


def test_a_result_that_finds_no_room_fails_its_job_in_words(tmp_path) -> None:
    """Without a tmpfs: the server's processes may write no file past 1 MB (RLIMIT_FSIZE), as on a full disk."""
    code = (
        "import resource, signal, runpy; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "runpy.run_module('inference_server.local', run_name='__main__')"
    )
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\ncase "$2" in inference_server.local) exec {sys.executable} -c "{code}";; esac\n')
    limited.chmod(0o755)
    server = fake_server(tmp_path / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference_server.local.sys.executable", str(limited))
        server.start()
    try:
        with Client(server.url, server.token) as client:
            case_id = client.create_case()
            with pytest.raises(errors.OutOfMemory, match="disk is full"):
                client.put_volume(ct(shape=(64, 256, 256)))
            sha = client.put_volume(ct(shape=(7, 256, 256)))
            with pytest.raises(errors.OutOfMemory, match="disk is full"):
                client.wait(client.radiology(case_id, sha, explain=["gradcam"]))  # a heatmap is larger than its CT
            assert not list((tmp_path / "data" / "tmp").iterdir())
            client.wait(client.radiology(case_id, sha))
            assert client.mask(case_id).labels.shape == (7, 256, 256)
    finally:
        server.stop()
