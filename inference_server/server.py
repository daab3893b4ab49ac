"""Server: the parts of one server put together, from the data folder to the socket."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from shared_models.contract.client import is_loopback
from shared_models.contract.errors import LungXAIError, ServerError

from .app import build_app
from .cases import Cases
from .http_protocol import PatientProtocol
from .jobs import JobBoard
from .security import TOKEN_FILE, Guard, token_of
from .server_info import RESEARCH_USE
from .settings import Settings
from .worker_engine import WorkerEngine

ADDRESS_FILE = "address.json"
_BACKLOG = 256


class Server:
    """One server on one data folder.

    Parameters
    ----------
    settings : every choice
    quiet : print nothing to standard output

    Raises
    ------
    ServerError : the port or the data folder is taken, or the token's file is open to others.
    """

    def __init__(self, settings: Settings, quiet: bool = False) -> None:
        os.umask(0o077)
        self._settings = settings
        self._quiet = quiet
        self._failed = False
        self._cases = Cases(settings)
        try:
            token = token_of(settings.data_dir)
            self._socket = _bound(settings.host, settings.port)
        except BaseException:
            self._cases.close()
            raise
        self.port = int(self._socket.getsockname()[1])
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"http://{host}:{self.port}"
        self._engine = WorkerEngine(settings)
        self._board = JobBoard(self._cases, self._engine, settings.max_queued_jobs)
        app = build_app(settings, self._cases, self._board, self._engine, self._lifespan, self._closing)
        guarded = Guard(app, token, settings.host, self.port, settings.allowed_hosts)
        config = uvicorn.Config(
            guarded,
            http=functools.partial(PatientProtocol, patience_s=settings.chunk_timeout_s),  # type: ignore[arg-type]
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            h11_max_incomplete_event_size=32 << 10,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
        )
        self._uvicorn = uvicorn.Server(config)

    def run(self) -> int:
        """Serve until told to stop; the exit code."""
        # uvicorn ends in order on SIGTERM and then sends it on to us: as Ctrl-C, it lets us clean up too.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._uvicorn.run(sockets=[self._socket])
        except KeyboardInterrupt:
            pass
        finally:
            self._engine.stop()
            (self._settings.data_dir / ADDRESS_FILE).unlink(missing_ok=True)
            self._cases.close()
        return 1 if self._failed else 0

    def stop(self) -> None:
        """Ask run() to return; from any thread."""
        self._uvicorn.should_exit = True

    def _closing(self) -> bool:
        return self._uvicorn.should_exit

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(self._board.start)
        self._announce()
        watch = asyncio.create_task(self._watch_models())
        try:
            yield
        finally:
            watch.cancel()

    def _announce(self) -> None:
        folder: Path = self._settings.data_dir
        temporary = folder / (ADDRESS_FILE + ".new")
        temporary.write_text(json.dumps({"url": self.url, "pid": os.getpid()}))
        os.replace(temporary, folder / ADDRESS_FILE)
        self._say(f"LungXAI server on {self.url} (open it in a browser: cases, jobs, reports, notes)")
        self._say(f"Token: in {folder / TOKEN_FILE}")
        self._say(RESEARCH_USE)
        if not is_loopback(self._settings.host):
            self._say("WARNING: other machines can reach this server, and the connection is not encrypted.")
        self._say("Loading models ... (Ctrl-C ends the server)")

    async def _watch_models(self) -> None:
        """Say once how loading went; end where the server was asked for a device that is not there."""
        while True:
            status = self._engine.status()
            if status.ready or status.problem is not None:
                break
            await asyncio.sleep(0.1)
        if status.problem is not None:
            print(f"lungxai serve: {status.problem}", file=sys.stderr, flush=True)
            if status.fatal:
                self._failed = True
                self.stop()
            return
        self._say(f"Device: {status.device}")
        for model in status.models:
            coverage = ", ".join(model.get("coverage", ())) or "none"
            self._say(f"Model: {model['model_id']} ({model['modality']}); trained on real data for: {coverage}")
        for modality, fault in status.problems.items():
            self._say(f"No {modality}: {fault}")
        self._say("Ready.")

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket, so that a client that comes early waits instead of being refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY on TCP only
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as fault:
        bound.close()
        raise ServerError(
            f"Port {port} on {host} cannot be used: {os.strerror(fault.errno) if fault.errno else 'unknown address'}.",
            "Stop the server that has it, or choose another with --port (0 takes a free one).",
        ) from fault
    return bound


def log_to_stderr() -> None:
    """One line an event; uvicorn speaks only when something is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def main(settings: Settings, quiet: bool = False) -> int:
    """Run a server in this process; the exit code. Errors are printed with their remedy."""
    log_to_stderr()
    try:
        return Server(settings, quiet).run()
    except LungXAIError as fault:
        print(f"lungxai serve: {fault}", file=sys.stderr)
        return 1
