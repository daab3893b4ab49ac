"""The client against servers that break off, flood, redirect or answer nonsense: always one of our errors."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from shared_models.contract import client as client_module
from shared_models.contract import errors
from shared_models.contract.client import Client
from shared_models.contract.values import ClinicalFields, CTVolume, SlideTiles

OURS = {"X-LungXAI-Protocol": "1"}
CT = CTVolume(np.zeros((1, 2, 2), np.int16), np.eye(4), "1.2.3")
TILES = SlideTiles(np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2), np.int64), 0.5, "s")


class Scripted(BaseHTTPRequestHandler):
    """Answers each request with the next of ``server.script``; the last one is repeated.

    An answer is (status, headers, body, promised length or None for what the body has).
    """

    def answer(self) -> None:
        self.server.seen.append((self.command, self.path))
        script = self.server.script
        status, headers, body, promised = script.pop(0) if len(script) > 1 else script[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # the client hung up, as it should past its cap
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    running.daemon_threads = True
    running.seen = []
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def told(server, monkeypatch):
    """A function: the answers to give -> a client of that server; waits between attempts are left out."""
    monkeypatch.setattr(client_module.time, "sleep", lambda seconds: None)

    def tell(*script) -> Client:
        server.script = [(*answer, None)[:4] for answer in script]
        return Client(f"http://127.0.0.1:{server.server_port}", "t", timeout_s=5)

    return tell


def event(state: str, fraction: float = 0.5, **more: object) -> bytes:
    body = {"job_id": "j1", "case_id": "c1", "kind": "radiology", "state": state, "stage": "looking"}
    return b"data: " + json.dumps({**body, "fraction": fraction, "queue_position": 0, **more}).encode() + b"\n\n"


STREAM = {**OURS, "Content-Type": "text/event-stream"}


def test_progress_comes_in_order(told) -> None:
    seen: list = []
    told((200, STREAM, event("queued", 0.0) + b": still there\n\n" + event("running") + event("done", 1.0))).wait(
        "j1", seen.append
    )
    assert [(p.state, p.fraction) for p in seen] == [("queued", 0.0), ("running", 0.5), ("done", 1.0)]


def test_a_broken_stream_is_taken_up_again(told, server) -> None:
    seen: list = []
    cut = event("running", 0.25)
    told((200, STREAM, cut, len(cut) + 50), (200, STREAM, b""), (200, STREAM, event("done", 1.0))).wait(
        "j1", seen.append
    )
    assert [p.state for p in seen] == ["running", "done"]
    assert server.seen == [("GET", "/v1/jobs/j1/events")] * 3


def test_a_stream_that_never_says_anything_ends_in_an_error(told, server) -> None:
    with pytest.raises(errors.ServerUnreachable):
        told((200, STREAM, b"")).wait("j1")
    assert 1 < len(server.seen) < 20


def test_a_failed_job_raises_the_servers_error(told) -> None:
    with pytest.raises(errors.OutOfMemory, match="too little memory"):
        told((200, STREAM, event("failed", error=errors.OutOfMemory("too little memory").body()))).wait("j1")
    with pytest.raises(errors.ServerError):
        told((200, STREAM, event("failed"))).wait("j1")
    with pytest.raises(errors.Cancelled):
        told((200, STREAM, event("cancelled"))).wait("j1")


def test_cancel_stops_the_servers_job(told, server) -> None:
    with pytest.raises(errors.Cancelled):
        told((200, STREAM, event("running") * 3), (200, OURS, b"{}")).wait("j1", cancelled=lambda: True)
    assert server.seen == [("GET", "/v1/jobs/j1/events"), ("DELETE", "/v1/jobs/j1")]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, STREAM, b"data: {]\n\n"), errors.ContractMismatch),
        ((200, STREAM, b"data: " + b"[" * 50_000 + b"\n\n"), errors.ContractMismatch),
        ((200, STREAM, b"data: {}\n\n"), errors.ContractMismatch),
        ((200, STREAM, event("running", 7.0)), errors.ContractMismatch),
        ((200, STREAM, b"data: " + b"x" * 200_000), errors.ServerError),
        ((200, {}, event("done")), errors.ContractMismatch),
        ((201, OURS, b"{}"), errors.ServerError),
        ((404, OURS, b"<html>"), errors.ServerError),
    ],
)
def test_a_bad_stream_is_one_of_our_errors(told, answer, error) -> None:
    with pytest.raises(error):
        told(answer).wait("j1")


CALLS = {
    "info": lambda c: c.info(),
    "create_case": lambda c: c.create_case(),
    "cases": lambda c: c.cases(),
    "delete_case": lambda c: c.delete_case("c1"),
    "put_volume": lambda c: c.put_volume(CT),
    "put_tiles": lambda c: c.put_tiles("c1", TILES),
    "put_clinical": lambda c: c.put_clinical("c1", ClinicalFields()),
    "radiology": lambda c: c.radiology("c1", "0" * 64),
    "pathology": lambda c: c.pathology("c1", "s"),
    "job": lambda c: c.job("j1"),
    "cancel": lambda c: c.cancel("j1"),
    "wait": lambda c: c.wait("j1"),
    "radiology_result": lambda c: c.radiology_result("c1"),
    "pathology_result": lambda c: c.pathology_result("c1"),
    "mask": lambda c: c.mask("c1"),
    "heatmap": lambda c: c.heatmap("c1", "radiology", "gradcam"),
    "fuse": lambda c: c.fuse("c1"),
    "report": lambda c: c.report("c1"),
}
BAD = {
    "html error": (502, {}, b"<html>Bad gateway</html>"),
    "other protocol": (200, {"X-LungXAI-Protocol": "2"}, b"{}"),
    "no protocol": (200, {}, b"{}"),
    "dies mid-body": (200, OURS, b'{"a": ', 5000),
    "redirect": (302, {**OURS, "Location": "http://example.invalid/"}, b"{}"),
    "redirect to nowhere": (307, {**OURS, "Location": "http://["}, b"{}"),
    "packed": (200, {**OURS, "Content-Encoding": "gzip"}, gzip.compress(bytes(1 << 20))),
    "error of junk": (422, OURS, json.dumps({"code": ["x"], "message": None}).encode()),
    "deep": (200, OURS, b"[" * 200_000),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bad", BAD)
def test_every_call_meets_a_bad_server_with_one_of_our_errors(told, server, call: str, bad: str) -> None:
    if (call, bad) == ("report", "deep"):
        pytest.skip("a page of brackets is a page")
    with pytest.raises(errors.LungXAIError) as met:
        CALLS[call](told(BAD[bad]))
    assert not isinstance(met.value, errors.Cancelled) and str(met.value)
    assert all("example" not in path for _, path in server.seen)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"case_id": 3, "cases": 3, "tiles": "x", "job_id": null, "compressions": 1}']
)
@pytest.mark.parametrize("call", [c for c in CALLS if c not in ("info", "delete_case", "put_clinical", "cancel")])
def test_an_answer_without_its_field_is_one_of_our_errors(told, call: str, body: bytes) -> None:
    if call in ("report", "put_volume"):
        CALLS[call](told((200, OURS, body)))  # these need no field
        return
    with pytest.raises(errors.LungXAIError):
        CALLS[call](told((200, OURS, body)))


@pytest.mark.parametrize("call", ["info", "radiology_result", "report", "fuse"])
@pytest.mark.parametrize("status", [200, 302, 500])
def test_an_answer_over_the_cap_is_not_read_to_its_end(told, monkeypatch, call: str, status: int) -> None:
    monkeypatch.setattr(client_module, "_MAX_JSON_ANSWER", 1 << 16)
    with pytest.raises(errors.ServerError):
        CALLS[call](told((status, {**OURS, "Location": "/v1/info"}, b" " * (8 << 20))))


def test_a_frame_over_the_cap_is_not_read_to_its_end(told, monkeypatch) -> None:
    monkeypatch.setattr(client_module, "MAX_DECODED_BYTES", 1 << 16)
    with pytest.raises(errors.ServerError):
        CALLS["mask"](told((200, OURS, b" " * (8 << 20))))


@pytest.mark.parametrize("token", ["☃", "ü", "a\nX-Other: 1", "a\x00"])
def test_a_token_that_is_no_header_is_refused(token: str) -> None:
    with pytest.raises(errors.InvalidInput):
        Client("http://127.0.0.1:1", token)


@pytest.mark.parametrize("url", ["http://[", "http://[::1", "http://127.0.0.1:notaport", "http://127.0.0.1:999999"])
def test_an_address_that_is_none_is_one_of_our_errors(url: str) -> None:
    with pytest.raises(errors.LungXAIError):
        Client(url, "t").info()


def test_numbers_that_are_not_finite_are_not_sent(told, server) -> None:
    with pytest.raises(errors.InvalidInput):
        told((202, OURS, b'{"job_id": "j"}')).radiology("c1", "0" * 64, points_lps_mm=[(float("nan"), 0, 0)])
    assert server.seen == []
