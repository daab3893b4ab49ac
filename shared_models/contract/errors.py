"""The errors a client can meet, rebuilt by code on the far side of the wire.

LungXAIError
  RequestError      the caller fixes it
    ContractMismatch  409
    InputTooLarge     413
    InvalidInput      422
      BadGeometry
      SpacingUnknown
  ServerError       the operator fixes it
    ServerBusy        429
    ModelUnavailable  503
    OutOfMemory       507
  TransportError    raised by the client only
    ServerUnreachable
    ServerTimeout
    Cancelled

Body: ``{"code": class name, "message": what happened, "remedy": what to do}``.
Messages are read by clinicians: no identifiers of a patient, no stack traces.
"""

from __future__ import annotations

from collections.abc import Iterator


class LungXAIError(Exception):
    """Base of all errors; ``message`` says what happened, ``remedy`` what to do."""

    status: int = 500

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def body(self) -> dict[str, str]:
        """The JSON object that crosses the wire."""
        return {"code": type(self).__name__, "message": self.message, "remedy": self.remedy}


class RequestError(LungXAIError):
    status = 400


class ContractMismatch(RequestError):
    status = 409


class InputTooLarge(RequestError):
    status = 413


class InvalidInput(RequestError):
    status = 422


class BadGeometry(InvalidInput):
    pass


class SpacingUnknown(InvalidInput):
    pass


class ServerError(LungXAIError):
    status = 500


class ServerBusy(ServerError):
    status = 429


class ModelUnavailable(ServerError):
    status = 503


class OutOfMemory(ServerError):
    status = 507


class TransportError(LungXAIError):
    pass


class ServerUnreachable(TransportError):
    pass


class ServerTimeout(TransportError):
    pass


class Cancelled(TransportError):
    pass


def _tree(root: type[LungXAIError]) -> Iterator[type[LungXAIError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def from_body(body: object) -> LungXAIError:
    """Rebuild an error from a response body; an unknown or malformed one is a ServerError."""
    if isinstance(body, dict):
        # TransportErrors are the client's own: a server cannot claim one.
        known = {c.__name__: c for c in _tree(LungXAIError) if not issubclass(c, TransportError)}
        kind = known.get(str(body.get("code")), ServerError)
        return kind(str(body.get("message", "The server reported an error.")), str(body.get("remedy", "")))
    return ServerError("The server sent an unreadable error.", "Check the server's log, or its version.")
