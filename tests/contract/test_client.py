"""The client against a real HTTP server of the standard library that answers as told."""

import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared_models.contract import errors
from shared_models.contract.client import Client


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        answer = (200, {"X-LungXAI-Protocol": "1"}, b"{}")
        seen: dict = {}

        def do_GET(self) -> None:  # noqa: N802
            Handler.seen = {"path": self.path, **self.headers}
            status, headers, body = Handler.answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", Handler
    running.shutdown()
    running.server_close()


def test_info_sends_token_and_protocol(server) -> None:
    url, handler = server
    handler.answer = (200, {"X-LungXAI-Protocol": "1"}, b'{"device": "cpu"}')
    assert Client(url, "secret").info() == {"device": "cpu"}
    assert handler.seen["path"] == "/v1/info" and handler.seen["Authorization"] == "Bearer secret"
    assert handler.seen["X-LungXAI-Protocol"] == "1"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((503, {}, json.dumps(errors.ModelUnavailable("m", "r").body()).encode()), errors.ModelUnavailable),
        ((500, {}, b"<html>"), errors.ServerError),
        ((200, {}, b"{}"), errors.ContractMismatch),
        ((200, {"X-LungXAI-Protocol": "2"}, b"{}"), errors.ContractMismatch),
        ((200, {"X-LungXAI-Protocol": "1"}, b"[1]"), errors.ServerError),
        ((302, {"X-LungXAI-Protocol": "1", "Location": "http://example.invalid/"}, b"{}"), errors.ServerError),
    ],
)
def test_a_bad_answer_is_one_of_our_errors(server, answer, error) -> None:
    url, handler = server
    handler.answer = answer
    with pytest.raises(error):
        Client(url, "t").info()


def test_a_dead_server_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(errors.ServerUnreachable):
        Client(f"http://127.0.0.1:{port}", "t").info()


def test_a_silent_server_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(errors.ServerTimeout):
            Client(f"http://127.0.0.1:{silent.getsockname()[1]}", "t", timeout_s=0.2).info()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1", "http://", "http://10.0.0.1", "http://localhost.evil"])
def test_data_stays_here_without_consent(url: str) -> None:
    with pytest.raises(errors.InvalidInput):
        Client(url, "t")


def test_the_client_loads_no_heavy_package() -> None:
    code = "import sys, shared_models.contract.client; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "numpy" in loaded and not any(f"'{name}'" in loaded for name in ("torch", "monai", "SimpleITK"))
