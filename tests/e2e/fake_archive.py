"""For tests: a DICOMweb archive that does what a test tells it to, well or badly.

FakeArchive    the server; ``answers`` maps the end of a path to a function of the request's handler
said()         an answer with a body
multipart()    images as WADO-RS sends them
metadata()     DICOM JSON of images
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset

BOUNDARY = "a-boundary"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
Answer = Callable[[BaseHTTPRequestHandler], None]


class FakeArchive:
    """On a free port of this machine, until the ``with`` block ends.

    Attributes
    ----------
    answers : end of a path, without its query, to what is done; the first that fits. Else 404
    asked : (method, path, headers, body) of every request
    """

    def __init__(self, answers: dict[str, Answer], certificate: tuple[Path, Path] | None = None) -> None:
        self.answers, self.asked = answers, []
        archive = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:  # noqa: N802
                archive.asked.append((self.command, self.path, dict(self.headers), self._body()))
                path = self.path.partition("?")[0]
                for end, answer in archive.answers.items():
                    if path.endswith(end):
                        return answer(self)
                said(b"", status=404)(self)

            do_POST = do_GET  # noqa: N815

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None: ...  # a client that goes away is what these tests are about

        self._server = Quiet(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/dicom-web"

    def __enter__(self) -> FakeArchive:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def said(body: Any, kind: str = "application/dicom+json", status: int = 200, **headers: str) -> Answer:
    """An answer; ``body`` is bytes, or is written as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def encoded(image: Dataset) -> bytes:
    """A DICOM file's bytes."""
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    with BytesIO() as stream:
        image.save_as(stream, enforce_file_format=True)
        return stream.getvalue()


def multipart(*parts: bytes, end: bytes = f"\r\n--{BOUNDARY}--\r\n".encode()) -> bytes:
    """A body of RELATED."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"\r\n".join(head + part for part in parts) + end


def metadata(*images: Dataset) -> list[dict[str, Any]]:
    """What retrieve-metadata answers; without pixels."""
    kept = [{k: v for k, v in image.to_json_dict().items() if k != "7FE00010"} for image in images]
    return kept
