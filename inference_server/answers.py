"""Errors as answers: every one has the body {code, message, remedy}, whatever raised it."""

from __future__ import annotations

import logging
import os

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from shared_models.contract import routes
from shared_models.contract.codec import PROTOCOL_VERSION
from shared_models.contract.errors import InvalidInput, LungXAIError, RequestError, ServerError

log = logging.getLogger("lungxai.http")
RETRY_AFTER_S = 2


def refused(status: int, message: str, remedy: str) -> RequestError:
    """A RequestError that is answered with a status of HTTP's own, such as 401."""
    fault = RequestError(message, remedy)
    fault.status = status
    return fault


def answer(fault: LungXAIError) -> JSONResponse:
    """The response for one of our errors."""
    headers = {routes.PROTOCOL_HEADER: str(PROTOCOL_VERSION)}
    if fault.status == 429:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if fault.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(fault.body(), fault.status, headers)


def unexpected(fault: BaseException) -> ServerError:
    """The error for a fault of our own. The log says where it was raised, never what it was raised with."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "?" if trace is None else f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
    log.error("unexpected %s at %s", type(fault).__name__, where)
    return _of_ours()


def _of_ours() -> ServerError:
    return ServerError("The server met an unexpected fault.", "Look into the server's log and report it.")


_BY_STATUS = {
    404: ("There is nothing at this address.", "Check the address and the client's version."),
    405: ("This address does not allow that.", "Check the client's version."),
}


def install(app: FastAPI) -> None:
    """Answer every exception of ``app`` in our form."""

    async def ours(_: Request, fault: Exception) -> Response:
        assert isinstance(fault, LungXAIError)
        return answer(fault)

    async def http(_: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        known = ("The request cannot be answered.", "Check the client's version.")
        return answer(refused(fault.status_code, *_BY_STATUS.get(fault.status_code, known)))

    async def invalid(_: Request, fault: Exception) -> Response:
        return answer(InvalidInput("The request is not valid.", "Check the client's version."))

    async def left(_: Request, fault: Exception) -> Response:
        return answer(refused(400, "The client left before it had sent everything.", "Send it again."))

    async def unforeseen(_: Request, fault: Exception) -> Response:
        return answer(_of_ours())  # it goes on to the Guard, which writes it down

    app.add_exception_handler(Exception, unforeseen)
    app.add_exception_handler(LungXAIError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, left)
