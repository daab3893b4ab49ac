"""Pump: one piece of work at a time on a thread of its own; its news are taken up on the main thread.

Talk   what the work is given: it says how far it is, and asks whether it is to stop
Pump   starts work, and hands over its news when drained

Work does HTTP, packing and unpacking, and nothing else: MRML and Qt belong to the main thread, which calls drain() from
a timer. The thread lives as long as its work, so nothing is left behind when nothing is done.

An application may keep the interpreter to itself while its event loop runs (PythonQt can be built so): then no thread
but the main one gets on, unless the main one waits for it. The pump notices, and each drain() gives way for a moment.

Python's garbage collector runs in whichever thread happens to trigger it, and would then destroy widgets and MRML nodes
there, which crashes the application. While there is work it is switched off, and drain() collects in its stead.
"""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional

from shared_models.contract.errors import Cancelled, LungXAIError

Work = Callable[["Talk"], Any]
# With these a window is never held up for as long as anyone would notice.
_NAP_S, _JUDGED_AFTER_S, GIVE_WAY_S = 0.001, 0.03, 0.025


class Talk:
    """Between one piece of work and the main thread; each method may be called from either."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._news: Optional[tuple[str, float]] = None

    def progress(self, stage: str, fraction: float) -> None:
        """``stage`` is what is being done, in words; ``fraction`` is done of all, 0 to 1. Only the latest is kept."""
        with self._lock:
            self._news = (stage, min(max(fraction, 0.0), 1.0))

    def latest(self) -> Optional[tuple[str, float]]:
        """The latest (stage, fraction) since the last call, or None."""
        with self._lock:
            news, self._news = self._news, None
        return news

    def stop(self) -> None:
        """Ask the work to end."""
        self._stop.set()

    def cancelled(self) -> bool:
        """Whether the work is to end."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise Cancelled where the work is to end."""
        if self.cancelled():
            raise Cancelled("Cancelled.", "")

    def wait(self, seconds: float) -> None:
        """Wait, or raise Cancelled as soon as the work is to end."""
        self._stop.wait(seconds)
        self.check()


@dataclass(frozen=True)
class Ended:
    """How work ended: with ``value``, or with ``fault``."""

    value: Any = None
    fault: Optional[BaseException] = None


class Pump:
    """Runs one piece of work at a time."""

    def __init__(self) -> None:
        self._talk: Optional[Talk] = None
        self._thread: Optional[threading.Thread] = None
        self._ended: list[Ended] = []
        self._begun = 0.0
        self._free = threading.Event()
        self._kept: Optional[bool] = None
        self._collects = False

    @property
    def busy(self) -> bool:
        """Whether there is work whose end was not taken up yet."""
        return self._talk is not None

    def start(self, work: Work) -> None:
        """Begin ``work(talk)``.

        Raises
        ------
        RuntimeError : other work is under way.
        """
        if self.busy:
            raise RuntimeError("one piece of work at a time")
        talk, ended, free = Talk(), [], threading.Event()
        self._talk, self._ended, self._free, self._kept = talk, ended, free, None
        self._begun = time.monotonic()

        def run() -> None:
            time.sleep(_NAP_S)  # lets go of the interpreter; it comes back only where the event loop lets go too
            free.set()
            try:
                ended.append(Ended(value=work(talk)))
            except BaseException as fault:  # carried to the main thread, which shows or logs it
                ended.append(Ended(fault=fault))

        self._collects = gc.isenabled()
        gc.disable()
        self._thread = threading.Thread(target=run, name="LungXAI", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the work to end; its end still comes by drain()."""
        if self._talk is not None:
            self._talk.stop()

    def drain(self) -> tuple[Optional[tuple[str, float]], Optional[Ended]]:
        """(stage and fraction, or None; how the work ended, or None while it goes on).

        Never waits for the work; where the application keeps the interpreter it gives way for GIVE_WAY_S.
        """
        if self._talk is None:
            return None, None
        if self._kept is None and time.monotonic() - self._begun > _JUDGED_AFTER_S:
            self._kept = not self._free.is_set()
        if self._kept and self._thread is not None:
            self._thread.join(GIVE_WAY_S)
        if self._collects:
            gc.collect(0)
        news = self._talk.latest()
        if not self._ended:
            return news, None
        ended = self._ended[0]
        self._forget()
        return news, ended

    def close(self, wait_s: float) -> bool:
        """Stop the work and wait for it; False where it did not end in time (it is then left to its own timeout)."""
        thread = self._thread
        self.stop()
        if thread is not None:
            thread.join(wait_s)
        self._forget()
        return thread is None or not thread.is_alive()

    def _forget(self) -> None:
        if self._collects:
            self._collects = False
            gc.enable()
        self._talk, self._thread, self._ended = None, None, []


def in_words(fault: BaseException) -> LungXAIError:
    """An error that can be shown; one of ours as it is."""
    if isinstance(fault, LungXAIError):
        return fault
    return LungXAIError(
        f"Something unexpected went wrong ({type(fault).__name__}).",
        "Look into Slicer's error log (Ctrl+0) and report what it says.",
    )
