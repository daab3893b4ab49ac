"""A DICOMweb archive, asked with dicomweb-client through a session that trusts no answer.

web_client()     the client of a node, and its session
BoundedSession   no redirect, no proxy, no answer longer than allowed, cut short, or slower than a modem
echo_web()       tries whether a node answers
answers()        turns what goes wrong into errors that a person can act on
json_value()     one value out of DICOM JSON
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import requests
import urllib3

from shared_models.contract.errors import (
    Cancelled,
    InputTooLarge,
    InvalidInput,
    LungXAIError,
    OutOfMemory,
    ServerBusy,
    ServerError,
    ServerTimeout,
    ServerUnreachable,
)
from shared_models.contract.wire import StraightSession
from shared_models.dicom_log import discreet

from .dicom_nodes import WebNode

CONNECT_S, SILENCE_S = 10.0, 60.0
MAX_JSON_BYTES = 64 << 20
_SLOWEST_BYTES_PER_S = 8 << 10
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_TAIL_BYTES = 512
_NOBODYS_STUDY = "2.25.0"

Cancel = Callable[[], bool]


class BoundedSession(StraightSession):
    """A session for one archive.

    Parameters
    ----------
    cancelled : asked while an answer comes

    Attributes
    ----------
    limit : bytes that the next answers may have

    Raises
    ------
    ServerError : from a request: the archive answers with a redirect, or packed.
    InputTooLarge, ServerTimeout, ServerUnreachable, Cancelled : while the answer is read: it is longer than ``limit``,
        too slow, or cut short.
    """

    def __init__(self, cancelled: Cancel = lambda: False) -> None:
        super().__init__()
        self.trust_env = False  # no proxy, no .netrc
        # A packed answer could unpack to far more than the limit before it is counted.
        self.headers["Accept-Encoding"] = "identity"
        self.limit = MAX_JSON_BYTES
        self._cancelled = cancelled

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        # dicomweb-client names the host without its port; http.client knows both.
        request.headers.pop("Host", None)
        response = super().send(request, **{**how, "stream": True, "allow_redirects": False})
        if 300 <= response.status_code < 400:
            response.close()
            raise ServerError(
                "The archive wants to send us to another address, which was not followed.",
                "Ask its administrator for the address that it really has, and write that into the file of nodes.",
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            raise ServerError("The archive packed its answer, which was not asked for.", "Ask its administrator.")
        response.headers.pop("Warning", None)  # would be shown as it is by dicomweb-client's log
        kind, _, _ = response.headers.get("Content-Type", "").partition(";")
        if "json" in kind:
            response.headers["Content-Type"] = kind.strip()  # dicomweb-client knows it without parameters only
        response.iter_content = self._bounded(response)  # type: ignore[method-assign]
        return response

    def _bounded(self, response: requests.Response) -> Callable[..., Iterator[bytes]]:
        """Reads an answer piece by piece, as it comes: requests waits for pieces of a size, and with it for ever."""
        limit, begun = self.limit, time.monotonic()

        def pieces() -> Iterator[bytes]:
            count, tail = 0, b""
            while part := _piece(response):
                count += len(part)
                tail = (tail + part)[-_TAIL_BYTES:]
                if count > limit:
                    raise InputTooLarge(
                        "The archive sends more than was announced or than is allowed.",
                        "Nothing more of it was read. Ask its administrator what it holds there.",
                    )
                if time.monotonic() - begun > SILENCE_S + count / _SLOWEST_BYTES_PER_S:
                    raise ServerTimeout("The archive sends too slowly.", "Try again when the network is quieter.")
                if self._cancelled():
                    raise Cancelled("Stopped.", "What came is kept; ask for the same series again to go on.")
                yield part
            _check_end(response.headers.get("Content-Type", ""), tail)

        def bounded(*_: Any, **__: Any) -> Iterator[bytes]:
            try:
                yield from pieces()
            except BaseException:
                response.close()  # the connection is of no more use
                raise
            response.raw.release_conn()

        return bounded


@contextlib.contextmanager
def web_client(node: WebNode, cancelled: Cancel = lambda: False) -> Iterator[tuple[Any, BoundedSession]]:
    """A dicomweb_client.DICOMwebClient, and its session, closed at the end.

    Raises
    ------
    InvalidInput : nobody agreed that data may go to this node, or its secret or certificates are not there.
    """
    from dicomweb_client import DICOMwebClient

    node.check()
    logging.getLogger("dicomweb_client").setLevel(logging.ERROR)  # below that it writes identifiers
    session = BoundedSession(cancelled)
    authorization = node.authorization(os.environ)
    if authorization:
        session.headers["Authorization"] = authorization
    if node.ca_file:
        file = Path(node.ca_file).expanduser()
        if not file.is_file():
            raise InvalidInput(f"The certificates of the node {node.name} are not there.", f"Check {file}.")
        session.verify = str(file)
    client = DICOMwebClient(
        node.url.rstrip("/"), session=session, permissive_uid=True, timeout=(CONNECT_S, SILENCE_S)
    )  # archives hold UIDs that the standard would not allow
    client.set_http_retry_params(retry=False)
    with session:
        yield client, session


@contextlib.contextmanager
def answers(node: WebNode) -> Iterator[None]:
    """Whatever goes wrong inside with the archive's answers is a LungXAIError in words, without identifiers."""
    try:
        with discreet():
            yield
    except (LungXAIError, KeyboardInterrupt):
        raise
    except requests.HTTPError as fault:
        raise _refused(node, 0 if fault.response is None else fault.response.status_code) from None
    except requests.exceptions.SSLError:
        raise ServerUnreachable(
            f"The certificate of the node {node.name} is not trusted.",
            "Name the hospital's certificates with ca_file in the file of nodes.",
        ) from None
    except requests.Timeout:
        raise ServerTimeout(f"The node {node.name} does not answer.", "Try again, or ask its administrator.") from None
    except requests.ConnectionError:
        raise ServerUnreachable(
            f"The node {node.name} cannot be reached, or it broke off.", f"Check that {node.address} is right and runs."
        ) from None
    except MemoryError:
        raise OutOfMemory("There is too little memory for this object.", "Close programs.") from None
    except Exception:  # pydicom and JSON raise whatever they stumble over
        raise ServerError(
            f"The answer of the node {node.name} is not DICOMweb, or it is damaged.", "Check its address."
        ) from None


def echo_web(node: WebNode) -> None:
    """Ask whether the archive is there and lets us in: for a study that nobody has, so that no data comes.

    Raises
    ------
    LungXAIError : it does not, and why.
    """
    with web_client(node) as (client, session), answers(node):
        session.limit = 1 << 20
        client.search_for_studies(search_filters={"StudyInstanceUID": _NOBODYS_STUDY}, limit=1)


def json_value(dataset: Any, tag: str) -> str:
    """The first value of an attribute, as printable text of at most 256 characters; "" where there is none.

    Parameters
    ----------
    dataset : DICOM JSON, as it came
    tag : eight hexadecimal digits
    """
    element = dataset.get(tag) if isinstance(dataset, dict) else None
    value: Optional[Any] = element.get("Value") if isinstance(element, dict) else None
    first = value[0] if isinstance(value, list) and value else ""
    return "".join(c for c in str(first) if c.isprintable())[:256] if isinstance(first, (str, int, float)) else ""


def _piece(response: requests.Response) -> bytes:
    """What is there of an answer, at most 64 KiB; b"" at its end."""
    try:
        return bytes(response.raw.read1(1 << 16))
    except urllib3.exceptions.TimeoutError:
        raise ServerTimeout("The archive stopped in the middle of its answer.", "Try again.") from None
    except urllib3.exceptions.HTTPError:
        raise _cut_short() from None


def _check_end(content_type: str, tail: bytes) -> None:
    """ServerUnreachable where a multipart answer has no end."""
    boundary = _BOUNDARY.search(content_type)
    if content_type.lower().startswith("multipart/") and boundary and f"--{boundary[1]}--".encode() not in tail:
        raise _cut_short()


def _cut_short() -> ServerUnreachable:
    return ServerUnreachable("The archive broke off in the middle of its answer.", "Try again; it goes on from there.")


def _refused(node: WebNode, status: int) -> LungXAIError:
    if status in (401, 403, 407):
        return InvalidInput(
            f"The node {node.name} does not let us in (HTTP {status}).", "Check its token or password, and its rights."
        )
    if status in (404, 410):
        return InvalidInput(
            f"The node {node.name} has nothing there (HTTP {status}).", "Check the UIDs, and the address of the node."
        )
    if status == 413:
        return InputTooLarge(f"The node {node.name} takes nothing so large (HTTP 413).", "Ask its administrator.")
    if status in (429, 503):
        return ServerBusy(f"The node {node.name} is busy (HTTP {status}).", "Try again in a moment.")
    return ServerError(f"The node {node.name} refused (HTTP {status}).", "Ask its administrator what its log says.")
