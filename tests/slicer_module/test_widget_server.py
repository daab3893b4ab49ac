"""The connection test in words, and the module's own server."""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
import sys
import threading
from pathlib import Path

import pytest
from LungXAILib import local_server, server_connection
from LungXAILib.local_server import LocalServer
from LungXAILib.practice_server import Behaviour, PracticeServer
from LungXAILib.preferences import Preferences, token_in
from LungXAILib.pump import Talk

from shared_models.contract.client import Client
from shared_models.contract.errors import Cancelled, InvalidInput, ServerError

look = server_connection.test_connection


def report_of(behaviour: Behaviour, token: str = ""):
    with PracticeServer(behaviour) as server:
        return look(server.url, token or server.token, timeout_s=2.0)


def test_a_server_that_is_ready_says_device_models_and_coverage() -> None:
    report = report_of(Behaviour())
    assert report.kind == "ready" and report.ok and report.device == "cpu" and report.protocol == 1
    assert [model["modality"] for model in report.models] == ["radiology", "pathology"]
    assert report.coverage["radiology"] == ("adenocarcinoma", "squamous_cell", "normal")
    lines = server_connection.coverage_in_words(report)
    assert lines[1] == "radiology: Adenocarcinoma, Squamous cell carcinoma, Normal"


@pytest.mark.parametrize(
    ("behaviour", "token", "kind", "words"),
    [
        (Behaviour(), "wrong", "wrong_token", "does not know this token"),
        (Behaviour(protocol=0), "", "wrong_protocol", "speaks protocol 0, this module 1"),
        (Behaviour(protocol=2), "", "wrong_protocol", "speaks protocol 2, this module 1"),
        (Behaviour(lungxai=False), "", "not_lungxai", "no LungXAI server"),
        (Behaviour(ready=False), "", "loading", "still loads its models"),
        (Behaviour(modalities=("radiology",)), "", "incomplete", "no model for pathology"),
        (Behaviour(modalities=("pathology",)), "", "failed", "no model for radiology"),
        (Behaviour(answer_s=4.0), "", "unreachable", "does not answer"),
    ],
    ids=["token", "older", "newer", "other server", "loading", "no pathology", "no radiology", "slow"],
)
def test_each_trouble_has_words_of_its_own_and_a_remedy(behaviour, token, kind, words) -> None:
    report = report_of(behaviour, token)
    assert report.kind == kind and words in report.message and report.remedy
    assert report.ok == (kind == "incomplete")


def test_an_older_server_is_updated_a_newer_one_asks_for_the_extension() -> None:
    assert report_of(Behaviour(protocol=0)).remedy == "Update the server."
    assert report_of(Behaviour(protocol=2)).remedy == "Update the extension."


def test_a_connection_that_others_can_read_is_named_so(monkeypatch) -> None:
    monkeypatch.setattr(server_connection, "needs_consent", lambda url: True)
    with PracticeServer() as server:
        report = look(server.url, server.token, consent=True)
    assert report.ok and "not encrypted" in report.message


def test_nothing_listens_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    report = look(f"http://127.0.0.1:{port}", "t")
    assert report.kind == "unreachable" and "Nothing answers" in report.message and "lungxai serve" in report.remedy


def test_another_machine_is_not_even_asked_without_consent(monkeypatch) -> None:
    def connected(*_: object, **__: object):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connected)
    report = look("http://gpu.clinic.example:8765", "t")
    assert report.kind == "needs_consent" and "gpu.clinic.example" in report.message


@pytest.mark.parametrize("url", ["", "127.0.0.1:8765", "ftp://127.0.0.1", "http://", "http://[::1", "file:///etc/passwd"])
def test_an_address_that_is_none(url: str) -> None:
    report = look(url, "t")
    assert report.kind == "invalid" and report.remedy


def test_a_token_that_is_none() -> None:
    assert look("http://127.0.0.1:1", "tok\nen").kind == "invalid"


def test_something_that_is_no_http(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            for _ in range(2):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        report = look(f"http://127.0.0.1:{listener.getsockname()[1]}", "t", timeout_s=2.0)
    assert report.kind in ("unreachable", "not_lungxai") and report.remedy


# Preferences


class Settings(dict):
    def value(self, name, default=None):
        return self.get(name, default)

    def setValue(self, name, value):  # noqa: N802
        self[name] = value


def test_preferences_keep_no_token_and_remember_consent_by_host() -> None:
    settings = Settings()
    kept = Preferences(settings)
    assert kept.url == server_connection.DEFAULT_URL and kept.methods == ("gradcam",) and not kept.consented("a")
    kept.url, kept.token_file, kept.command, kept.methods = "http://x:1", "/f/token", "/bin/lungxai", ("a", "b")
    kept.consent("a.example", True)
    kept.consent("b.example", True)
    kept.consent("a.example", False)
    again = Preferences(settings)
    assert (again.url, again.token_file, again.command) == ("http://x:1", "/f/token", "/bin/lungxai")
    assert again.methods == ("a", "b") and again.consented("b.example") and not again.consented("a.example")
    assert not [name for name in settings if name.lower().endswith("token")]


def test_a_token_file_is_read_or_refused_in_words(tmp_path: Path) -> None:
    good = tmp_path / "token"
    good.write_text("abc-DEF_123\n")
    assert token_in(str(good)) == "abc-DEF_123"
    for content in (b"", b"two words", b"\xff\xfe", b"line\nline"):
        good.write_bytes(content)
        with pytest.raises(InvalidInput):
            token_in(str(good))
    with pytest.raises(InvalidInput, match="cannot be read"):
        token_in(str(tmp_path))


# The module's own server


def command(folder: Path, script: str) -> Path:
    """A `lungxai` made of Python source."""
    path = folder / "lungxai"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    return path


def test_slicers_own_variables_are_taken_out() -> None:
    own = dict.fromkeys(("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH"), "/opt/Slicer")
    kept = local_server.environment({"PATH": "/bin", "HOME": "/h", **own})
    assert kept == {"PATH": "/bin", "HOME": "/h"}


def test_the_command_is_found_by_setting_by_path_and_by_python(tmp_path: Path) -> None:
    path = command(tmp_path, "")
    assert local_server.found(str(path), {}) == [str(path)]
    assert local_server.found(str(tmp_path / "absent"), {"PATH": str(tmp_path)}) is None
    assert local_server.found("", {"PATH": str(tmp_path)}) == [str(path)]
    assert local_server.found("", {"PATH": "/nonexistent"}) is None
    if not all(map(importlib.util.find_spec, ("inference_server", "torch"))):
        pytest.skip("this Python does not have the package of the server")
    own = tmp_path / "own"
    own.mkdir()
    # No script, but a Python with the package.
    python = own / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert local_server.found("", {"PATH": str(own)}) == [str(python), "-m", "shared_models.command_line"]


def test_what_is_not_installed_is_said(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "data", variables={"PATH": "/nonexistent"})
    with pytest.raises(ServerError, match="not found"):
        server.start(Talk())
    assert not server.running and server.address is None


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    path = command(tmp_path, "import sys\nprint('no such device')\nsys.exit(3)\n")
    server = LocalServer(tmp_path / "data", str(path), {"PATH": os.environ["PATH"]})
    with pytest.raises(ServerError, match="no such device"):
        server.start(Talk())
    assert not server.running


def test_cancelling_the_start_ends_the_process(tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
    path = command(tmp_path, f"import os, time\n{note}\ntime.sleep(60)\n")
    server = LocalServer(tmp_path / "data", str(path), {"PATH": os.environ["PATH"]})
    talk = Talk()
    threading.Timer(1.0, talk.stop).start()
    with pytest.raises(Cancelled):
        server.start(talk)
    assert not server.running
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_real_server_is_started_used_taken_over_and_stopped(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("lungxai")
    if not script.exists():
        pytest.skip("the command lungxai is not installed beside this Python")
    data = tmp_path / "data"
    variables = {**os.environ, "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}
    server = LocalServer(data, str(script), variables, ("--device", "cpu"))
    report = server.start(Talk())
    try:
        address = server.address
        assert report.ok and report.device == "cpu" and address is not None
        assert stat.S_IMODE((data / "token").stat().st_mode) == 0o600
        with Client(address.url, address.token) as client:
            assert client.cases() == []
        # Slicer was killed and starts again: the server that still runs is found, and stopped with the second one.
        later = LocalServer(data, "", {"PATH": "/nonexistent"})
        assert later.start(Talk()).ok and later.address == address
        later.stop()
        assert server._process is not None
        assert server._process.wait(20) is not None
    finally:
        server.stop()
    assert not server.running and not later.running
    assert look(address.url, address.token).kind == "unreachable"
    assert not (data / "address.json").exists()
