"""A server under hands that mean it ill: bytes that are no HTTP, clients that never end, JSON with two meanings."""

import json
import socket
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_server import ct, fake_server, raw, sha256, tiles, until

from shared_models.contract import errors, routes
from shared_models.contract.client import Client
from shared_models.contract.codec import encode
from shared_models.contract.values import SlideTiles


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = fake_server(tmp_path_factory.mktemp("data"), chunk_timeout_s=0.7)
    with running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as connected:
        yield connected


def head(server, line: str, *more: str) -> bytes:
    own = (f"Host: {server.url[7:]}", f"Authorization: Bearer {server.token}", f"{routes.PROTOCOL_HEADER}: 1")
    return "\r\n".join((f"{line} HTTP/1.1", *own, *more, "", "")).encode("latin-1")


def connected(server) -> socket.socket:
    host, port = server.url[7:].split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def refusal(answer: bytes) -> tuple[int, str]:
    """(status, code) of a whole answer that has to be an error in our form."""
    start, _, body = answer.rpartition(b"\r\n\r\n")
    fields = json.loads(body)
    assert set(fields) == {"code", "message", "remedy"} and all(fields.values())
    return int(start.split(b" ")[1]), fields["code"]


# What is no HTTP, or says two things


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",  # TLS
        b"GET /v1/info\r\n\r\n",
        b"GET /v1/c\xc3\xbf HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/info HTTP/1.1\r\n\r\n",
        b"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /v1/cases HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}",
        b"POST /v1/cases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (48 << 10),
    ],
    ids=range(8),
)
def test_what_is_no_request_is_refused_in_our_form(server, sent: bytes) -> None:
    assert refusal(raw(server.url, sent)) == (400, "RequestError")


def test_a_chunk_that_is_none_is_refused_in_our_form_and_without_a_trace(server) -> None:
    line = head(server, "POST /v1/cases", "Content-Type: application/json", "Transfer-Encoding: chunked")
    assert refusal(raw(server.url, line + b"zz\r\n{}\r\n0\r\n\r\n")) == (400, "RequestError")
    with connected(server) as late:  # refused already: what comes after it has no answer left
        late.sendall(line.replace(b"Bearer ", b"Bearer x"))
        answer = b""
        while not answer.endswith(b"}"):
            answer += late.recv(1 << 16)
        assert refusal(answer)[0] == 401
        late.sendall(b"zz\r\n")
        assert late.recv(1 << 16) == b""
    assert "Traceback" not in server.log.read_text()


def test_a_length_stated_twice_is_refused(server) -> None:
    """A proxy in front may take the one, this server the other: what is between them would be a request of its own."""
    line = head(server, "POST /v1/cases", "Content-Length: 2", "Transfer-Encoding: chunked", "Connection: close")
    assert refusal(raw(server.url, line + b"2\r\n{}\r\n0\r\n\r\n")) == (400, "RequestError")


@pytest.mark.parametrize("part", ["bytes=0-3", "bytes=a-b", "bytes=99999999-", "lines"])
def test_answers_are_whole(server, client, part: str) -> None:
    line = head(server, f"GET {routes.volume(client.put_volume(ct()))}", f"Range: {part}", "Connection: close")
    answer = raw(server.url, line)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"LXAI" in answer


# Clients that never end


def closed_within(connection: socket.socket, seconds: float, keep_on: bytes) -> bool:
    """Whether the server ends a connection that goes on sending ``keep_on``."""
    end = time.monotonic() + seconds
    connection.settimeout(0.05)
    while time.monotonic() < end:
        try:
            connection.sendall(keep_on)
            if connection.recv(1 << 16) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_a_request_line_that_trickles_in_is_let_go(server) -> None:
    with connected(server) as silent, connected(server) as slow:
        slow.sendall(b"GET /v1/healthz HTTP/1.1\r\nHost: x\r\n")
        assert closed_within(slow, 3.0, b"X: y\r\n")
        assert silent.recv(1) == b""


def test_one_on_a_connection_that_was_used_is_let_go_too(server) -> None:
    with connected(server) as slow:
        slow.sendall(head(server, f"GET {routes.HEALTHZ}"))
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert closed_within(slow, 3.0, b"G")


def test_a_body_without_end_after_its_refusal_is_let_go(server) -> None:
    with connected(server) as endless:
        endless.sendall(head(server, f"PUT {routes.volume('0' * 64)}", f"Content-Length: {9 << 40}"))
        assert closed_within(endless, 6.0, bytes(1 << 16))


def test_idle_connections_keep_nobody_out(tmp_path) -> None:
    with fake_server(tmp_path, chunk_timeout_s=30.0) as (url, token), Client(url, token) as client:
        host, port = url[7:].split(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(450)]
        try:
            assert client.info()["ready"]
            assert idle[0].recv(1) == b""  # the one that was idle longest made room
        finally:
            for connection in idle:
                connection.close()


# JSON with two meanings, numbers with too many digits

HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("part", "body"),
    [
        ("radiology", '{"volume": "SHA", "points_lps_mm": [[HUGE, 1, 2]]}'),
        ("radiology", '{"volume": "SHA", "boxes_lps_mm": [[[-HUGE, 1, 2], [3, 4, 5]]]}'),
        ("radiology", '{"volume": "SHA", "points_lps_mm": [[NaN, 1, 2]]}'),
        ("radiology", '{"volume": "x", "volume": "SHA"}'),
        ("pathology", '{"slide_id": "s", "tile_px": [HUGE, 1]}'),
        ("fusion", '{"weights": {"radiology": HUGE}}'),
        ("clinical", '{"age_years": HUGE}'),
        ("clinical", '{"age_years": 60, "age_years": 6}'),
        ("clinical", '{"age_years": Infinity}'),
    ],
)
def test_a_request_that_can_be_read_two_ways_or_not_at_all_is_refused(server, client, part: str, body: str) -> None:
    case_id, sha = client.create_case(), client.put_volume(ct())
    data = body.replace("SHA", sha).replace("HUGE", HUGE).encode()
    method = "PUT" if part == "clinical" else "POST"
    more = ("Content-Type: application/json", f"Content-Length: {len(data)}", "Connection: close")
    assert refusal(raw(server.url, head(server, f"{method} {routes.case(case_id, part)}", *more) + data))[0] == 422
    held = client.case(case_id)
    assert not held["jobs"] and not held["clinical"]


def test_a_fault_of_a_route_is_answered_in_our_form(server, client) -> None:
    """A stored result that is not there any more stands for whatever nobody thought of."""
    case_id = client.create_case()
    client.wait(client.radiology(case_id, client.put_volume(ct())))
    for path in server.data_dir.glob("blobs/*/*"):
        path.unlink()
    with pytest.raises(errors.ServerError):
        client.mask(case_id)
    answer = raw(server.url, head(server, f"GET {routes.mask(case_id)}", "Connection: close"))
    assert refusal(answer)[0] == 500
    until(lambda: "GET /v1/cases/{case_id}/radiology/mask 500" in server.log.read_text())
    assert "Traceback" not in server.log.read_text()


# Headers of frames that pass for sound

IDENTITY = np.eye(4).tolist()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ijk_to_lps": [[int(HUGE), 0, 0, 0], *IDENTITY[1:]]}, "InvalidInput"),
        ({"ijk_to_lps": [["1", "0", "0", "0"], *IDENTITY[1:]]}, "InvalidInput"),
        ({"ijk_to_lps": [[True, False, False, False], *IDENTITY[1:]]}, "InvalidInput"),
        ({"ijk_to_lps": [[[[1]]]]}, "InvalidInput"),
        ({"ijk_to_lps": {"0": 1}}, "InvalidInput"),
        ({"ijk_to_lps": np.diag([1e6, 1e6, 1e6, 1]).tolist()}, "BadGeometry"),
        ({"ijk_to_lps": np.diag([1e-9, 1, 1, 1]).tolist()}, "BadGeometry"),
        ({"ijk_to_lps": [[1, 0, 0, 1e300], *IDENTITY[1:]]}, "BadGeometry"),
        ({"series_uid": "\ud800"}, "InvalidInput"),
        ({"series_uid": "a\nb"}, "InvalidInput"),
        ({"series_uid": "x" * 100_000}, "InvalidInput"),
        ({"shape": [True, True, True]}, "InvalidInput"),
        ({"shape": [1 << 62, 1 << 62, 1 << 62]}, "InputTooLarge"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("kind", ["CT", "mask"])
def test_a_header_that_lies_is_refused_at_the_door(server, client, kind: str, fields: dict, code: str) -> None:
    header = json.dumps({"shape": [2, 2, 2], "ijk_to_lps": IDENTITY, "series_uid": "1", **fields}).encode()
    payload = zlib.compress(bytes(16))
    crc = zlib.crc32(payload, zlib.crc32(header))
    number = 1 if kind == "CT" else 3
    frame = struct.pack("<4sHHIQI", b"LXAI", 1, number, len(header), len(payload), crc) + header + payload
    path = routes.volume(sha256(frame)) if kind == "CT" else routes.mask(client.create_case())
    line = head(server, f"PUT {path}", f"Content-Length: {len(frame)}", "Connection: close")
    status, said = refusal(raw(server.url, line + frame))
    assert said == code and status in (413, 422)
    assert not list((server.data_dir / "tmp").iterdir())


# What ends up in the report


def test_a_report_holds_no_markup_of_its_input_and_no_room_for_tiles_that_lie_apart(server, client) -> None:
    """Two tiles at the ends of the largest slide there can be; a name that would be script, were it not escaped."""
    name = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}</style>'
    case_id = client.create_case()
    pixels = np.full((2, 16, 16, 3), 200, np.uint8)
    far = np.array([[-(1 << 24), -(1 << 24)], [1 << 24, 1 << 24]], np.int64)
    client.put_tiles(case_id, SlideTiles(pixels, far, 0.5, name))
    client.wait(client.pathology(case_id, name, tile_px=(1, 1)))
    answer = client._request("GET", routes.case(case_id, "report"))
    assert "<script" not in answer.text and "<img src=x" not in answer.text and "{{7*7}}" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy and "frame-ancestors 'none'" in policy
    assert psutil.Process(server.process.pid).memory_info().rss < 700 << 20
    with pytest.raises(errors.InvalidInput):
        client.put_tiles(case_id, SlideTiles(pixels[:1], far[:1] * 2, 0.5, name))
    with pytest.raises(errors.InvalidInput, match="size"):
        client.pathology(case_id, name, tile_px=(1e-300, 1))


# A disk that turns bits over


def turn_a_bit(data_dir: Path, size: int, place: int) -> None:
    """In the stored file of this size."""
    (path,) = [p for p in data_dir.glob("blobs/*/*") if p.stat().st_size == size]
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_bit_that_turned_over_is_an_error_and_not_a_wrong_answer(tmp_path) -> None:
    with fake_server(tmp_path) as (url, token), Client(url, token) as own:
        case_id, volume = own.create_case(), ct(shape=(5, 16, 16))
        size = len(own._request("GET", routes.volume(own.put_volume(volume))).content)
        turn_a_bit(tmp_path, size, 90)
        with pytest.raises(errors.ServerError, match="damaged or gone"):
            own.wait(own.radiology(case_id, own.put_volume(volume)))
        own.wait(own.radiology(case_id, own.put_volume(volume)))  # sent again, as the remedy says

        own.put_tiles(case_id, tiles(3))
        turn_a_bit(tmp_path, len(encode(tiles(3))), -1)
        with pytest.raises(errors.ServerError, match="damaged or gone"):
            own.wait(own.pathology(case_id, "s"))
        own.put_tiles(case_id, tiles(3))
        own.wait(own.pathology(case_id, "s"))

        body = own._request("GET", routes.case(case_id, "radiology")).content
        turn_a_bit(tmp_path, len(body), body.index(b"0.7"))
        for ask in (own.radiology_result, own.fuse, own.report):
            with pytest.raises(errors.ServerError, match="damaged or gone"):
                ask(case_id)
