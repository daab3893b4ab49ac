"""Guard: what a request has to show before a route sees it, and what every answer carries.

1. Host     the address that the server listens on, so that a web page cannot rebind a name of its own to it
2. Origin   absent, or the server's own, so that no web page can post here
3. token    "Authorization: Bearer ...", compared in constant time; only /v1/healthz and the files of the server's
            own page, which hold no data, go without
4. protocol X-LungXAI-Protocol, equal to ours; the same go without

The log has a line a request: method, route template, status, milliseconds. No identifier, no query, no body.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import stat
import time
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared_models.contract import routes
from shared_models.contract.client import is_loopback
from shared_models.contract.codec import PROTOCOL_VERSION
from shared_models.contract.errors import ContractMismatch, LungXAIError, ServerBusy, ServerError

from .answers import answer, refused, unexpected
from .dashboard import PAGES

log = logging.getLogger("lungxai.http")
TOKEN_FILE = "token"
_MIN_TOKEN = 20
_MAX_AT_ONCE = 256
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_ON_EVERY_ANSWER = (
    (routes.PROTOCOL_HEADER.lower().encode(), str(PROTOCOL_VERSION).encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def token_of(data_dir: Path) -> str:
    """The token of a data folder; made on first use, in a file that only its owner can read.

    Raises
    ------
    ServerError : others can read the file, it holds no token, or it cannot be read.
    """
    path = data_dir / TOKEN_FILE
    try:
        return _token_in(path)
    except (OSError, ValueError) as fault:
        raise ServerError(f"The token in {path} cannot be read.", "Delete it, so that a new one is made.") from fault


def _token_in(path: Path) -> str:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ServerError(
            f"Others on this machine can read the token in {path}.",
            f"Delete it, so that a new one is made; or run: chmod 600 {path}",
        )
    if not path.is_file():
        raise ValueError("no regular file")  # a pipe would be waited for
    token = path.read_text().strip()
    if len(token) < _MIN_TOKEN or not token.isascii():
        raise ServerError(f"{path} holds no token.", "Delete it, so that a new one is made.")
    return token


class Guard:
    """The outermost layer of the application.

    Parameters
    ----------
    app : what is guarded
    token : of the data folder
    host, port : where the server listens
    allowed_hosts : further Host headers, "name" or "name:port"
    """

    def __init__(self, app: ASGIApp, token: str, host: str, port: int, allowed_hosts: tuple[str, ...] = ()) -> None:
        self._app = app
        self._token = token.encode()
        names = {"127.0.0.1", "localhost", "[::1]"} if is_loopback(host) else set()
        names.add(f"[{host}]" if ":" in host else host)
        self._hosts = {f"{name}:{port}" for name in names} | {h.lower() for h in allowed_hosts}
        self._hosts |= {f"{h.lower()}:{port}" for h in allowed_hosts if ":" not in h}
        if port == 80:
            self._hosts |= names
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        begun, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # The page's own files hold no data: a browser may keep them, and asks whether they are still the same.
                kept = scope["path"] in PAGES and status in (200, 304)
                always = [pair for pair in _ON_EVERY_ANSWER if not kept or pair[0] != b"cache-control"]
                own = {name for name, _ in always}
                headers = [(k, v) for k, v in message.get("headers", ()) if k.lower() not in own]
                message = {**message, "headers": [*headers, *always]}
            await send(message)

        self._open += 1
        try:
            self._check(scope)
            # Whole answers only: no client of ours asks for parts, and Starlette's refusals of a bad range are its own.
            scope["headers"] = [(k, v) for k, v in scope["headers"] if k not in (b"range", b"if-range")]
            await self._app(scope, receive, sent)
        except LungXAIError as fault:
            await answer(fault)(scope, receive, sent)
        except Exception as fault:
            error = unexpected(fault)
            if not status:
                await answer(error)(scope, receive, sent)
        finally:
            self._open -= 1
            route = getattr(scope.get("route"), "path", "-")
            method = scope["method"] if scope["method"] in _METHODS else "?"
            log.info("%s %s %s %.0f ms", method, route, status, 1000 * (time.perf_counter() - begun))

    def _check(self, scope: Scope) -> None:
        host = _only(scope, b"host").lower()
        if host not in self._hosts:
            raise refused(403, "The server does not answer to this name.", "Use the address that it printed at start.")
        origin = _only(scope, b"origin").lower()
        if origin and origin != f"{scope['scheme']}://{host}":
            raise refused(403, "Web pages may not talk to this server.", "Use 3D Slicer, QuPath or the command line.")
        if _only(scope, b"content-length") and _only(scope, b"transfer-encoding"):
            # Which of the two counts is where a proxy in front and this server could part ways.
            raise refused(400, "The request states its length twice.", "Check the client's version.")
        if scope["path"] == routes.HEALTHZ or (scope["method"] in ("GET", "HEAD") and scope["path"] in PAGES):
            return
        if self._open > _MAX_AT_ONCE:
            raise ServerBusy("The server has too many requests open.", "Try again in a moment.")
        scheme, _, token = _only(scope, b"authorization").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode("latin-1"), self._token):
            raise refused(401, "The server's token is missing or wrong.", "Copy it from the file named at start.")
        protocol = _only(scope, routes.PROTOCOL_HEADER.lower().encode())
        if protocol != str(PROTOCOL_VERSION):
            raise ContractMismatch(
                f"The client speaks another protocol than this server, which speaks {PROTOCOL_VERSION}.",
                "Update the older side.",
            )


def _only(scope: Scope, name: bytes) -> str:
    """The value of a header; "" where it is absent or there are two, so that no check sees another than a route."""
    values = [value for key, value in scope["headers"] if key == name]
    return str(values[0].decode("latin-1")) if len(values) == 1 else ("" if not values else "\0")
