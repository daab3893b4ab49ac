"""LocalServer: a server of one's own on a free loopback port, for as long as a ``with`` block lasts.

    with LocalServer(data_dir) as (url, token):
        client = Client(url, token)

The server is a process of its own. Its settings come through standard input, which then stays open as its lifeline:
when the caller is gone, however it went, the server sees the end of it and leaves, and takes a temporary data folder
with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Optional
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from shared_models.contract import routes
from shared_models.contract.client import Client
from shared_models.contract.errors import LungXAIError, ModelUnavailable, ServerError, ServerTimeout
from shared_models.model_bundle import slide_folder

from .settings import Settings

_SOURCE = Path(__file__).parents[1]
_START_S = 60.0
_STOP_S = 10.0


class LocalServer:
    """A server process.

    Parameters
    ----------
    data_dir : where it keeps its cases; None takes a temporary folder that goes with the server
    ready_s : seconds to wait for the models; 0 does not wait
    environment : variables added to the server's own
    choices : fields of Settings, such as ``slide_model``; ``port`` is a free one unless given

    Attributes
    ----------
    url, token : once it runs
    process : the server's process
    log : file with what the server wrote

    Raises
    ------
    ServerError : it did not start; its last words are in the message.
    ModelUnavailable : it runs but cannot load its models, or there is no slide model of the name that was given.
    """

    def __init__(
        self,
        data_dir: Optional[Path] = None,
        ready_s: float = 180.0,
        environment: Optional[Mapping[str, str]] = None,
        **choices: Any,
    ) -> None:
        try:
            self._temporary = tempfile.TemporaryDirectory(prefix="lungxai-") if data_dir is None else None
        except OSError as fault:
            raise _not_started(fault) from fault
        self.data_dir = Path(self._temporary.name if self._temporary else data_dir or "")
        self._choices = {"port": 0, **choices}
        self._ready_s = ready_s
        self._environment = dict(environment or {})
        self.process: Optional[subprocess.Popen[str]] = None
        self.url = self.token = ""
        self.log = self.data_dir / "server.log"

    def __enter__(self) -> tuple[str, str]:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self.url, self.token

    def __exit__(
        self, kind: Optional[type[BaseException]], fault: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers, and until its models are loaded."""
        from .security import TOKEN_FILE
        from .server import ADDRESS_FILE

        settings = Settings(data_dir=self.data_dir, **self._choices)
        if "slide_model" in self._choices:
            slide_folder(settings.slide_model, settings.models, settings.added_models)
        try:
            self._launch(settings, self.data_dir / ADDRESS_FILE)
        except OSError as fault:
            raise _not_started(fault) from fault
        give_up = time.monotonic() + _START_S
        address = self.data_dir / ADDRESS_FILE
        while not address.exists():
            if self.process is None or self.process.poll() is not None:
                raise ServerError(f"The server did not start. {self._last_words()}", "See `lungxai doctor`.")
            if time.monotonic() > give_up:
                raise ServerTimeout("The server takes too long to start.", "See `lungxai doctor`.")
            time.sleep(0.02)
        self.url = str(json.loads(address.read_text())["url"])
        self.token = (self.data_dir / TOKEN_FILE).read_text().strip()
        self._wait(give_up)

    def _launch(self, settings: Settings, address: Path) -> None:
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        address.unlink(missing_ok=True)
        environment = {**os.environ, **self._environment}
        paths = [str(_SOURCE), *filter(None, [environment.get("PYTHONPATH")])]
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "inference_server.local"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # Ctrl-C is for the caller, which then stops the server in order
            )
        assert self.process.stdin is not None
        given = {"settings": settings.to_json(), "temporary": self._temporary is not None}
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End the server in order, or by force where it does not end."""
        if self.process is not None:
            assert self.process.stdin is not None
            try:
                self.process.stdin.close()
            except OSError:
                pass
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self._temporary is not None:
            self._temporary.cleanup()

    def _wait(self, give_up: float) -> None:
        opener = build_opener(ProxyHandler({}))
        while True:
            try:
                opener.open(self.url + routes.HEALTHZ, timeout=5).close()
                break
            except (URLError, OSError):
                if time.monotonic() > give_up or self.process is None or self.process.poll() is not None:
                    raise ServerError(f"The server does not answer. {self._last_words()}") from None
                time.sleep(0.05)
        if self._ready_s <= 0:
            return
        give_up = time.monotonic() + self._ready_s
        with Client(self.url, self.token) as client:
            while True:
                try:
                    client.ready()
                    return
                except ModelUnavailable:
                    if time.monotonic() > give_up or "server" in client.info()["problems"]:
                        raise
                    time.sleep(0.05)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1][-300:] if lines else ""


def _not_started(fault: OSError) -> ServerError:
    why = fault.strerror or "no reason was given"
    return ServerError(f"The server could not be started: {why}.", "Free disk space, that for temporary files too.")


def _main() -> int:
    from .server import Server, log_to_stderr

    log_to_stderr()
    given = json.loads(sys.stdin.readline())
    settings = Settings.from_json(given["settings"])
    try:
        server = Server(settings, quiet=True)
    except LungXAIError as fault:
        print(fault, file=sys.stderr)
        return 1

    alone = threading.Event()

    def lifeline() -> None:
        sys.stdin.read()
        alone.set()
        server.stop()

    threading.Thread(target=lifeline, daemon=True).start()
    code = server.run()
    if given["temporary"] and alone.is_set():
        shutil.rmtree(settings.data_dir, ignore_errors=True)  # the caller may not be there any more to do it
    return code


if __name__ == "__main__":
    sys.exit(_main())
