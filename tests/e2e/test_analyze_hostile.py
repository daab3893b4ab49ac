"""`lungxai analyze` with inputs that hang, folders that cannot be written to, Ctrl-C, and callers that are killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from dicom_files import write_series
from fake_server import TESTS, fake_server, until

from inference_server.analyze import Inputs, analyze
from inference_server.local import LocalServer
from shared_models.command_line import main
from shared_models.contract import errors
from shared_models.contract.client import Client

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
GOOD = '{"age_years": 70, "sex": "male", "smoking": "current", "pack_years": 50}'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = fake_server(tmp_path_factory.mktemp("data"))
    with running:
        yield running


@pytest.fixture
def ct(tmp_path) -> Path:
    """A series whose name tells the fake model to work for half a minute."""
    import pydicom

    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        write_series(tmp_path / "ct", 5, lambda image, index: setattr(image, "SeriesInstanceUID", "sleep=30"))
    finally:
        pydicom.config.settings.writing_validation_mode = before
    return tmp_path / "ct"


def refused(capsys, *arguments: str) -> str:
    """What the command says; it must be refused before a server is started or asked."""
    assert main(["analyze", *arguments, "--server", "http://127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and "cannot be reached" not in said
    return said


@pytest.mark.parametrize(
    "text",
    [
        '{"age_years": 60, "age_years": 6}',
        '{"age_years": NaN}',
        '{"age_years": -Infinity}',
        '{"age_years": 1' + "0" * 5000 + "}",
        "[" * 100_000,
        '{"age_years": 60} {"age_years": 61}',
        " " * (1 << 20) + GOOD,
        "\ufeff" + '{"sex": ',
    ],
    ids=range(8),
)
def test_fields_with_two_meanings_or_none_are_refused(tmp_path, capsys, monkeypatch, text: str) -> None:
    monkeypatch.setenv("LUNGXAI_TOKEN", "t" * 32)
    (tmp_path / "fields.json").write_text(text)
    assert "clinical fields" in refused(capsys, "--clinical", str(tmp_path / "fields.json"), "--out", str(tmp_path))


def test_pipes_and_devices_are_not_waited_for(tmp_path, capsys, monkeypatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "fields.json").write_text(GOOD)
    for place in (str(tmp_path / "pipe"), "/dev/zero", str(tmp_path / "absent")):
        for what in ("--ct", "--slide", "--clinical"):
            refused(capsys, what, place, "--out", str(tmp_path / "out"))
        token = ("--token-file", place)
        assert "token" in refused(capsys, "--clinical", str(tmp_path / "fields.json"), "--out", str(tmp_path), *token)


def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(tmp_path, capsys) -> None:
    (tmp_path / "fields.json").write_text(GOOD)
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/self"), tmp_path / ("a" * 300)):
        assert "cannot be written to" in refused(capsys, "--clinical", str(tmp_path / "fields.json"), "--out", str(out))


def test_a_wrong_input_costs_no_older_result(tmp_path, capsys) -> None:
    (tmp_path / "case.json").write_text("{}")
    refused(capsys, "--ct", str(tmp_path / "absent"), "--out", str(tmp_path))
    refused(capsys, "--ct", str(tmp_path), "--point", "1,2,nan", "--out", str(tmp_path))
    assert (tmp_path / "case.json").read_text() == "{}"


@pytest.mark.parametrize("moment", ["put_volume", "radiology", "wait"])
def test_ctrl_c_at_any_moment_stops_the_servers_job(server, tmp_path, ct, moment: str) -> None:
    """The worst moments: a request was answered, and the answer not yet taken in."""

    class Interrupted(Client):
        def _interrupted(self, name: str, *given, **named):
            answer = None if name == "wait" else getattr(super(), name)(*given, **named)
            if name == moment:
                raise KeyboardInterrupt
            return answer

        def put_volume(self, *given, **named):
            return self._interrupted("put_volume", *given, **named)

        def radiology(self, *given, **named):
            return self._interrupted("radiology", *given, **named)

        def wait(self, *given, **named):
            return self._interrupted("wait", *given, **named)

    with Interrupted(server.url, server.token) as client:
        with pytest.raises(KeyboardInterrupt):
            analyze(Inputs(ct=ct), client, tmp_path / "out", ())
        case_id = client.cases()[0]["case_id"]
        until(lambda: all(j["state"] not in ("queued", "running") for j in client.case(case_id)["jobs"]))
        assert len(client.case(case_id)["jobs"]) == (0 if moment == "put_volume" else 1)


def test_ctrl_c_in_a_terminal_ends_in_words(server, tmp_path, ct) -> None:
    command = [sys.executable, "-m", "shared_models.command_line", "analyze", "--ct", ct, "--out", tmp_path / "out"]
    environment = {**os.environ, "LUNGXAI_TOKEN": server.token}
    with (
        Client(server.url, server.token) as client,
        subprocess.Popen(
            [*command, "--server", server.url], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        known = {case["case_id"] for case in client.cases()}

        def running() -> list[str]:
            new = [case["case_id"] for case in client.cases() if case["case_id"] not in known]
            return [c for c in new if any(job["state"] == "running" for job in client.case(c)["jobs"])]

        (case_id,) = until(running, 60)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said
        until(lambda: client.case(case_id)["jobs"][0]["state"] == "cancelled")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_caller_that_is_killed_leaves_no_process_and_no_patient_data(tmp_path, how: signal.Signals) -> None:
    code = (
        "import time; from inference_server.local import LocalServer\n"
        "with LocalServer(backend='fake_models:load') as (url, token): print(url, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TESTS}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as caller:
        caller.stdout.readline()
        family = psutil.Process(caller.pid).children(recursive=True)
        assert len(family) >= 2 and list(tmp_path.glob("lungxai-*/cases.sqlite"))
        caller.send_signal(how)
        caller.wait(20)
    gone, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
    until(lambda: not list(tmp_path.glob("lungxai-*")))


def test_no_room_for_a_server_of_ones_own_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(errors.ServerError, match="could not be started"):
        LocalServer()
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.ServerError, match="could not be started"):
        LocalServer(tmp_path / "file").start()


def test_a_full_out_folder_is_said(server, tmp_path) -> None:
    """A disk with 64 kB left, where this machine lets us mount one."""
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (tmp_path / "fields.json").write_text(GOOD)
        with (out / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        with Client(server.url, server.token) as client, pytest.raises(errors.LungXAIError, match="written") as fault:
            analyze(Inputs(clinical=tmp_path / "fields.json"), client, out)
        assert fault.value.remedy and [p.name for p in out.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", "-l", out], check=True)
