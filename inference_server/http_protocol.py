"""PatientProtocol: uvicorn's HTTP/1.1 connection, with an end to its patience and our form for its refusals.

What uvicorn leaves open, and what is done here:
connections             any number                MAX_CONNECTIONS; for one more the longest idle one is let go
request line, headers   may trickle in for ever   whole within ``patience_s`` of the first byte, or of connecting
rest of a body          read on after the answer  given up after ``patience_s``
an answer               may wait for ever unread  given up after STALLED_S without a byte taken
bytes that are no HTTP  plain text, or a trace    400 with {code, message, remedy}
"""

from __future__ import annotations

import asyncio
from typing import Any, Optional

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from shared_models.contract.errors import LungXAIError, ServerBusy

from .answers import answer, refused

MAX_CONNECTIONS = 400  # each is a file descriptor, and a process often has 1024
STALLED_S = 120.0


class PatientProtocol(H11Protocol):
    """One connection.

    Parameters
    ----------
    patience_s : seconds that a client has for a request's head
    arguments : uvicorn's own
    """

    def __init__(self, *, patience_s: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._patience_s = patience_s
        self._since = self.loop.time()
        self._head: Optional[asyncio.TimerHandle] = None
        self._rest: Optional[asyncio.TimerHandle] = None
        self._stalled: Optional[asyncio.TimerHandle] = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS and not self._idle_one_let_go():
            self._refuse(ServerBusy("The server has too many connections open.", "Try again in a moment."))
            return
        self._head = self.loop.call_later(self._patience_s, self._let_go)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        for timer in (self._head, self._rest, self._stalled):
            if timer is not None:
                timer.cancel()
        self._head = self._rest = self._stalled = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._since = self.loop.time()
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        # Begun, not whole: the time runs on from the first byte, whatever trickles in.
        self._head = self._running(self._head, self.conn.their_state is h11.IDLE, self._patience_s)
        answered = self.conn.our_state in (h11.DONE, h11.MUST_CLOSE)
        sending = answered and self.conn.their_state is h11.SEND_BODY
        self._rest = self._running(self._rest, sending, self._patience_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._running(self._stalled, True, STALLED_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled = self._running(self._stalled, False, STALLED_S)

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP; in the middle of an exchange there is nothing left to say."""
        self._refuse(refused(400, "This is not a request that can be read.", "Check the client's version."))

    def _refuse(self, fault: LungXAIError) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            told = answer(fault)
            headers = [*told.raw_headers, (b"connection", b"close")]
            head = h11.Response(status_code=fault.status, headers=headers, reason=STATUS_PHRASES[fault.status])
            for event in (head, h11.Data(data=bytes(told.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _idle_one_let_go(self) -> bool:
        """Make room; False where every connection is at work."""
        others = [c for c in self.connections if isinstance(c, PatientProtocol) and c is not self]
        idle = [c for c in others if c.cycle is None or c.cycle.response_complete]
        if not idle:
            return False
        longest = min(idle, key=lambda c: c._since)
        self.connections.discard(longest)
        longest.transport.abort()
        return True

    def _running(
        self, timer: Optional[asyncio.TimerHandle], needed: bool, seconds: float
    ) -> Optional[asyncio.TimerHandle]:
        """``timer`` started where it is needed and does not run, stopped where it is not."""
        if needed and timer is None:
            return self.loop.call_later(seconds, self._let_go)
        if not needed and timer is not None:
            timer.cancel()
            return None
        return timer

    def _let_go(self) -> None:
        self.transport.abort()
