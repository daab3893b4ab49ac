"""For tests of the server: a real server process with the backend of tests/fake_models.py, and small inputs."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

import numpy as np
import psutil

from inference_server.local import LocalServer
from shared_models.contract.codec import PREFIX_BYTES, header_bytes
from shared_models.contract.values import CTVolume, SlideTiles

TESTS = Path(__file__).parents[1]


def fake_server(data_dir: Path, environment: Optional[dict[str, str]] = None, **choices: Any) -> LocalServer:
    environment = {"PYTHONPATH": str(TESTS), **(environment or {})}
    return LocalServer(data_dir, environment=environment, **{"backend": "fake_models:load", **choices})


def ct(commands: str = "quick", seed: int = 0, shape: tuple[int, int, int] = (4, 16, 16)) -> CTVolume:
    """Noise in HU; ``commands`` are for tests/fake_models.py."""
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape, dtype=np.int16)
    return CTVolume(voxels, np.diag([0.7, 0.7, 1.0, 1.0]), commands)


def tiles(count: int, value: int = 200, slide_id: str = "s", first: int = 0, side: int = 16) -> SlideTiles:
    """Tiles of one colour, edge to edge; ``value`` is what tests/fake_models.py answers by."""
    origin = np.array([[(first + n) * 2 * side, 0] for n in range(count)], dtype=np.int64)
    return SlideTiles(np.full((count, side, side, 3), value, np.uint8), origin, 0.5, slide_id)


def sha256(frame: bytes) -> str:
    return hashlib.sha256(frame).hexdigest()


def frame_start(frame: bytes) -> int:
    """Length of a frame's prefix and header."""
    return PREFIX_BYTES + header_bytes(frame[:PREFIX_BYTES])


def until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first true answer of ``true``; AssertionError when none comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = true()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError("this did not happen in time")


def workers(server: LocalServer) -> list[psutil.Process]:
    """The server's worker processes; its resource tracker is not one."""
    assert server.process is not None
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def raw(url: str, request: bytes, close: bool = False) -> bytes:
    """Send bytes as they are; the whole answer, or b"" where the client leaves without reading."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(request)
        if close:
            return b""
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
        return answer
