"""Preferences: what the module remembers on this machine between sessions, in the application's settings.

Never remembered: a token that was typed (its file's path is), patients, cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared_models.contract.errors import InvalidInput

from .server_connection import DEFAULT_URL
from .text import tr

_PREFIX = "LungXAI/"
_MAX_TOKEN_BYTES = 4096


class Preferences:
    """The module's part of a QSettings-like object (``value(name, default)``, ``setValue(name, value)``)."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def _text(self, name: str, default: str = "") -> str:
        value = self._settings.value(_PREFIX + name, default)
        return default if value is None else str(value)

    def _put(self, name: str, value: str) -> None:
        self._settings.setValue(_PREFIX + name, value)

    @property
    def url(self) -> str:
        return self._text("ServerUrl", DEFAULT_URL)

    @url.setter
    def url(self, value: str) -> None:
        self._put("ServerUrl", value)

    @property
    def token_file(self) -> str:
        return self._text("TokenFile")

    @token_file.setter
    def token_file(self, value: str) -> None:
        self._put("TokenFile", value)

    @property
    def command(self) -> str:
        """Path of the ``lungxai`` command; empty looks for it."""
        return self._text("Command")

    @command.setter
    def command(self, value: str) -> None:
        self._put("Command", value)

    @property
    def methods(self) -> tuple[str, ...]:
        """Heatmap methods that were ticked last."""
        return tuple(name for name in self._text("Methods", "gradcam").split(",") if name)

    @methods.setter
    def methods(self, value: Sequence[str]) -> None:
        self._put("Methods", ",".join(value))

    @property
    def target(self) -> str:
        """What heatmaps explained last, of results.CT_TARGETS; empty leaves it to the server."""
        return self._text("Target")

    @target.setter
    def target(self, value: str) -> None:
        self._put("Target", value)

    def consented(self, host: str) -> bool:
        """Whether the user agreed earlier that patient data goes to ``host``."""
        return host in self._hosts()

    def consent(self, host: str, agreed: bool) -> None:
        """Remember the user's answer for ``host``."""
        hosts = [known for known in self._hosts() if known != host]
        self._put("ConsentedHosts", ",".join([*hosts, host] if agreed else hosts))

    def _hosts(self) -> list[str]:
        return [host for host in self._text("ConsentedHosts").split(",") if host]


def token_in(path: str) -> str:
    """The token in a file.

    Raises
    ------
    InvalidInput : the file cannot be read, or holds no token.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            token = file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            tr("The token file cannot be read."), tr("Choose the file `token` in the server's data folder.")
        ) from None
    if not token or not token.isprintable() or " " in token:
        raise InvalidInput(tr("This file holds no token."), tr("Choose the file `token` in the server's data folder."))
    return token
