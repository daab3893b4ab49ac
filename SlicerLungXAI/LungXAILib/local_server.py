"""A server of the module's own: `lungxai serve` on a free port, as a process beside 3D Slicer.

LocalServer   starts it, waits until it answers, stops it
found()       how the command `lungxai` is called on this machine
environment() the variables for it, without those that are Slicer's own

The server has a data folder of its own, where it writes its address and its token. One that an earlier session left
behind (Slicer was killed) is found by them and taken over.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import LungXAIError, ServerError, ServerTimeout

from .pump import Talk
from .server_connection import Address, ConnectionReport, test_connection
from .text import tr

ADDRESS_FILE, TOKEN_FILE, LOG_FILE = "address.json", "token", "server.log"
# Slicer's own Python would be loaded by another one's, and its libraries by the server's.
SLICER_VARIABLES = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONNOUSERSITE",
    "PYTHONSTARTUP",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FRAMEWORK_PATH",
    "QT_PLUGIN_PATH",
)
_START_S, _LOAD_S, _STOP_S = 60.0, 120.0, 10.0


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """``variables`` without those by which Slicer's Python finds itself.

    In Slicer, give what ``slicer.util.startupEnvironment()`` says: there Slicer's parts of PATH are out already.
    """
    return {name: value for name, value in variables.items() if name not in SLICER_VARIABLES}


def found(command: str, variables: Mapping[str, str]) -> Optional[list[str]]:
    """How `lungxai` is called: the path of the settings, PATH, or a Python on PATH that has the package.

    Parameters
    ----------
    command : path from the settings; empty looks for it
    variables : the environment it will run in; its PATH is searched
    """
    if command:
        path = Path(command).expanduser()
        return [str(path)] if path.is_file() and os.access(path, os.X_OK) else None
    search = variables.get("PATH", os.defpath)
    script = shutil.which("lungxai", path=search)
    if script is not None:
        return [script]
    for name in ("python3.11", "python3.12", "python3", "python"):
        python = shutil.which(name, path=search)
        if python is not None and _has_package(python, variables):
            return [python, "-m", "shared_models.command_line"]
    return None


def _has_package(python: str, variables: Mapping[str, str]) -> bool:
    look = "import importlib.util as u, sys; sys.exit(not (u.find_spec('inference_server') and u.find_spec('torch')))"
    try:
        # -P would keep this folder out of the search, but is not there before Python 3.11.
        answer = subprocess.run(
            [python, "-c", look], env=dict(variables), cwd=os.path.abspath(os.sep), timeout=20, **_quiet()
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def _quiet() -> dict[str, Any]:
    """No console window on Windows, and nothing on ours."""
    hidden = {"creationflags": 0x08000000} if sys.platform == "win32" else {}
    return {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **hidden}


def default_data_dir() -> Path:
    """Where the module's own server keeps its cases."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "lungxai-slicer"


class LocalServer:
    """The module's own server.

    Parameters
    ----------
    data_dir : its folder
    command : path of `lungxai`; empty looks for it
    variables : environment, already without Slicer's own
    arguments : further arguments of `lungxai serve`

    Attributes
    ----------
    address : once it answers
    """

    def __init__(
        self,
        data_dir: Path,
        command: str = "",
        variables: Optional[Mapping[str, str]] = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.data_dir = data_dir
        self.address: Optional[Address] = None
        self._command = command
        self._variables = environment(os.environ if variables is None else variables)
        self._arguments = tuple(arguments)
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._pid: Optional[int] = None

    @property
    def running(self) -> bool:
        """Whether this object has a server to stop."""
        return self._pid is not None

    def start(self, talk: Talk) -> ConnectionReport:
        """Start the server, or take over the one that runs on the folder, and wait until its models are loaded.

        Raises
        ------
        ServerError : `lungxai` is not installed, or the server did not start.
        ServerTimeout : it takes too long.
        Cancelled : the user stopped it; the server is stopped too.
        """
        talk.progress(tr("looking for a server"), 0.0)
        report = self._taken_over()
        if report is None:
            talk.progress(tr("starting the server"), 0.05)
            self._launch()
        try:
            return self._loaded(talk, report)
        except LungXAIError:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server in order, or by force where it does not end."""
        process, pid = self._process, self._pid
        self._process, self._pid, self.address = None, None, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        elif pid is not None:
            try:
                os.kill(pid, signal.SIGTERM)
            except OSError:
                return  # it has ended already

    def _taken_over(self) -> Optional[ConnectionReport]:
        """What a server on this folder says; None where none answers with the folder's own token."""
        try:
            said = json.loads((self.data_dir / ADDRESS_FILE).read_text())
            url, pid = str(said["url"]), int(said["pid"])
            token = (self.data_dir / TOKEN_FILE).read_text().strip()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        report = test_connection(url, token)
        if not report.ok and report.kind != "loading":
            return None
        self.address, self._pid = Address(url, token), pid
        return report

    def _launch(self) -> None:
        command = found(self._command, self._variables)
        if command is None:
            raise ServerError(
                tr("`lungxai` was not found on this machine."),
                tr("Install it (pip install lungxai, Python 3.11), or give its path in the settings of this panel."),
            )
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.data_dir / ADDRESS_FILE).unlink(missing_ok=True)
        arguments = ["serve", "--port", "0", "--data-dir", str(self.data_dir), *self._arguments]
        handle = os.open(self.data_dir / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as log:
            try:
                self._process = subprocess.Popen(
                    [*command, *arguments],
                    env=self._variables,
                    cwd=str(self.data_dir),
                    **{**_quiet(), "stdout": log, "stderr": log},
                )
            except OSError as fault:
                raise ServerError(
                    tr("`lungxai` could not be started: {why}.").format(why=fault.strerror or type(fault).__name__),
                    tr("Check its path in the settings of this panel."),
                ) from fault
        self._pid = self._process.pid

    def _loaded(self, talk: Talk, report: Optional[ConnectionReport]) -> ConnectionReport:
        """Wait for the address, then for the models."""
        begun = time.monotonic()
        while self.address is None:
            talk.wait(0.1)
            spent = time.monotonic() - begun
            talk.progress(tr("starting the server"), min(0.05 + 0.3 * spent / 10, 0.35))
            self._check_alive()
            self.address = self._announced()
            if self.address is None and spent > _START_S:
                raise ServerTimeout(tr("The server takes too long to start."), self._see_log())
        while True:
            if report is None or report.kind == "loading":
                report = test_connection(self.address.url, self.address.token)
            if report.kind not in ("loading", "unreachable"):
                return report
            spent = time.monotonic() - begun
            talk.progress(tr("loading the models"), min(0.4 + 0.6 * spent / 30, 0.95))
            if spent > _LOAD_S:
                raise ServerTimeout(tr("The server takes too long to load its models."), self._see_log())
            self._check_alive()
            talk.wait(0.2)
            report = None

    def _announced(self) -> Optional[Address]:
        try:
            url = str(json.loads((self.data_dir / ADDRESS_FILE).read_text())["url"])
            return Address(url, (self.data_dir / TOKEN_FILE).read_text().strip())
        except (OSError, ValueError, KeyError):
            return None

    def _check_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(
                tr("The server ended while it started. {words}").format(words=self._last_words()).strip(),
                self._see_log(),
            )

    def _last_words(self) -> str:
        try:
            lines = (self.data_dir / LOG_FILE).read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][-300:] if lines else ""

    def _see_log(self) -> str:
        return tr("Run `lungxai doctor`, or see {log}.").format(log=self.data_dir / LOG_FILE)
