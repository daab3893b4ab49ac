"""The HTTP client of Slicer and QuPath alike. It never raises anything of requests' own.

Data goes to another host only with ``consent_to_remote=True``; redirects and proxies are not followed,
so neither can carry patient data elsewhere.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Optional
from urllib.parse import urlsplit

import requests

from . import routes
from .codec import PROTOCOL_VERSION
from .errors import ContractMismatch, InvalidInput, ServerError, ServerTimeout, ServerUnreachable, from_body


def is_loopback(host: Optional[str]) -> bool:
    """True for localhost and loopback addresses; names are not resolved, since an answer can change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Client:
    """A connection to one inference server.

    Parameters
    ----------
    url : for example ``http://127.0.0.1:8765``
    token : bearer token of the server
    timeout_s : seconds without an answer before ServerTimeout
    consent_to_remote : the user agreed that data leaves this machine

    Raises
    ------
    InvalidInput : not an http(s) address, or another host without consent.
    """

    def __init__(self, url: str, token: str, timeout_s: float = 30.0, consent_to_remote: bool = False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput("The server's address is not valid.", "Give it as http://127.0.0.1:PORT.")
        if not consent_to_remote and not is_loopback(parts.hostname):
            raise InvalidInput("This server is on another machine.", "Agree to send patient data there first.")
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc
        self._session.headers.update(
            {"Authorization": f"Bearer {token}", routes.PROTOCOL_HEADER: str(PROTOCOL_VERSION)}
        )

    def info(self) -> dict[str, Any]:
        """Protocol, models with coverage, and device of the server."""
        return self._json("GET", routes.INFO)

    def close(self) -> None:
        self._session.close()

    def _json(self, method: str, path: str) -> dict[str, Any]:
        try:
            answer = self._session.request(
                method, self._url + path, timeout=self._timeout_s, allow_redirects=False
            )
        except requests.Timeout as fault:
            raise ServerTimeout("The server does not answer.", "Wait, or restart it.") from fault
        except requests.RequestException as fault:
            raise ServerUnreachable("The server cannot be reached.", "Start it, or check its address.") from fault
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.status_code >= 400:
            raise from_body(body)
        if answer.headers.get(routes.PROTOCOL_HEADER) != str(PROTOCOL_VERSION):
            raise ContractMismatch("The server speaks another protocol.", "Check the address; update the older side.")
        if answer.status_code != 200 or not isinstance(body, dict):
            raise ServerError("The server's answer is unreadable.", "Check the server's version.")
        return body
