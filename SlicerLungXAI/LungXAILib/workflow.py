"""Workflow: what the module is doing, as a state machine without Qt.

idle -> running -> done | failed
        running -> cancelling -> idle
done, failed -> running

A run is a list of errands, one after the other. Each is prepared on the main thread (a volume node is read), worked on
in a thread (HTTP), and delivered on the main thread again (results go into the scene). In a run of several, one that
fails does not stop the rest; batch.py tells how each ended.

tick(), from a timer on the main thread, moves everything; it never waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from shared_models.contract.errors import Cancelled, LungXAIError

from .pump import Ended, Pump, Work, in_words
from .text import tr

IDLE, RUNNING, CANCELLING, FAILED, DONE = "idle", "running", "cancelling", "failed", "done"
STATES = (IDLE, RUNNING, CANCELLING, FAILED, DONE)
_CLOSE_S = 5.0
_log = logging.getLogger("lungxai.slicer")


def _nothing(_: Any) -> None:
    return None


@dataclass(frozen=True)
class Errand:
    """One thing to be done.

    Parameters
    ----------
    title : what it is about, in words; for a CT its name
    prepare : on the main thread, gives the work
    deliver : on the main thread, takes what the work gave
    """

    title: str
    prepare: Callable[[], Work]
    deliver: Callable[[Any], None] = _nothing


@dataclass(frozen=True)
class Outcome:
    """How one errand ended; ``fault`` is None where it went well."""

    title: str
    fault: Optional[LungXAIError] = None


class Workflow:
    """The state machine.

    Parameters
    ----------
    on_change : called on the main thread whenever an attribute changed
    clock : seconds; for tests

    Attributes
    ----------
    state : one of STATES
    stage, fraction : what is being done, in words, and how much of the run is done
    message, remedy : what to tell the user, and what to do about it
    outcomes : how each errand of the run ended so far
    """

    def __init__(
        self, on_change: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state = IDLE
        self.stage, self.fraction = "", 0.0
        self.message, self.remedy = "", ""
        self.outcomes: list[Outcome] = []
        self._on_change, self._clock = on_change, clock
        self._pump = Pump()
        self._errands: Sequence[Errand] = ()
        self._begun = 0.0
        self._ticking = False
        self._dropping = ""

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self.state in (RUNNING, CANCELLING)

    @property
    def count(self) -> int:
        """Errands of the run."""
        return len(self._errands)

    @property
    def seconds_left(self) -> Optional[float]:
        """An estimate from what has passed; None while there is too little to judge by."""
        spent = self._clock() - self._begun
        if self.state != RUNNING or self.fraction < 0.03 or spent < 1.0:
            return None
        return spent * (1.0 - self.fraction) / self.fraction

    def start(self, errands: Sequence[Errand]) -> bool:
        """Begin a run; False where one is under way, or there is nothing to do."""
        if self.busy or not errands:
            return False
        self._errands, self.outcomes, self._dropping = tuple(errands), [], ""
        self._begun = self._clock()
        self.state, self.stage, self.fraction = RUNNING, tr("starting"), 0.0
        self.message = self.remedy = ""
        self._next()
        return True

    def cancel(self, because: str = "") -> None:
        """Stop the run: the server's job is stopped too, and what still arrives is left out.

        Parameters
        ----------
        because : why, in words, where it was not the user
        """
        if not self.busy:
            return
        self.state, self.stage, self._dropping = CANCELLING, tr("stopping"), because
        self._pump.stop()
        self._on_change()

    def tick(self) -> None:
        """Take up the news of the work. Call it from a timer while busy."""
        # Delivering may draw, and drawing may run the timer again.
        if self._ticking:
            return
        self._ticking = True
        try:
            news, ended = self._pump.drain()
            if news is not None and self.state == RUNNING:
                self.stage, self.fraction = news[0], (len(self.outcomes) + news[1]) / len(self._errands)
            if ended is not None:
                self._end(ended)
            if news is not None or ended is not None:
                self._on_change()
        finally:
            self._ticking = False

    def close(self, wait_s: float = _CLOSE_S) -> bool:
        """End whatever is under way and leave its result out; False where the thread outlives ``wait_s``."""
        ended = self._pump.close(wait_s)
        if self.busy:
            self._finish(IDLE, tr("Cancelled."), "")
        return ended

    def _next(self) -> None:
        """Begin the next errand that can be begun; the run ends where there is none."""
        while len(self.outcomes) < len(self._errands):
            errand = self._errands[len(self.outcomes)]
            try:
                work = errand.prepare()
            except Exception as fault:
                self._record(errand, fault)
                continue
            self._pump.start(work)
            self._on_change()
            return
        self._sum_up()
        self._on_change()

    def _end(self, ended: Ended) -> None:
        """One errand's work has ended."""
        if self.state == CANCELLING:
            self._stopped(ended)
            return
        errand = self._errands[len(self.outcomes)]
        fault = ended.fault
        if isinstance(fault, Cancelled):  # by another client of the server
            self._finish(IDLE, tr("The job was stopped on the server."), "")
            return
        if fault is None:
            try:
                errand.deliver(ended.value)
            except Exception as found:
                fault = found
            if self.state == CANCELLING:  # cancelled while it was delivered
                self._stopped(Ended())
                return
        self._record(errand, fault)
        self.fraction = len(self.outcomes) / len(self._errands)
        self._next()

    def _stopped(self, ended: Ended) -> None:
        message, remedy = self._dropping or tr("Cancelled."), ""
        if ended.fault is not None and not isinstance(ended.fault, Cancelled):
            # Stopped here, but the server may go on: the user should know.
            shown = self._shown(ended.fault)
            message, remedy = f"{message} {tr('The server could not be told:')} {shown.message}", shown.remedy
        self._finish(IDLE, message, remedy)

    def _record(self, errand: Errand, fault: Optional[BaseException]) -> None:
        self.outcomes.append(Outcome(errand.title, None if fault is None else self._shown(fault)))

    def _shown(self, fault: BaseException) -> LungXAIError:
        if not isinstance(fault, LungXAIError):
            _log.error("LungXAI: unexpected fault", exc_info=fault)
        return in_words(fault)

    def _sum_up(self) -> None:
        faults = [outcome.fault for outcome in self.outcomes if outcome.fault is not None]
        if len(self.outcomes) == 1:
            fault = faults[0] if faults else None
            self._finish(FAILED if fault else DONE, fault.message if fault else "", fault.remedy if fault else "")
            return
        well = len(self.outcomes) - len(faults)
        message = tr("{well} of {all} done.").format(well=well, all=len(self.outcomes))
        self._finish(DONE if well else FAILED, message, tr("See the list for those that failed.") if faults else "")

    def _finish(self, state: str, message: str, remedy: str) -> None:
        self.state, self.stage = state, ""
        self.fraction = 1.0 if state == DONE else 0.0
        self.message, self.remedy = message, remedy
