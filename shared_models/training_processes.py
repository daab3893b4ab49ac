"""Training in several processes on one machine, and stopping any of them gently.

in_processes()   runs a task's training once for each process; the parent waits and repeats their error
Interruption     Ctrl-C or SIGTERM ask for a stop after this step; a second one stops at once
launched()       whether torchrun or `accelerate launch` started this process: then none is started here

Lock order: the parent holds nothing while it waits; each process talks to the others through torch.distributed alone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Optional

from .contract.errors import LungXAIError, ServerError, from_body

# What the launchers of torch and accelerate set for each process, and Accelerator reads.
_RANK, _LOCAL, _SIZE, _HOST, _PORT = "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return _RANK in os.environ and _SIZE in os.environ


class Interruption:
    """While it is entered, the first SIGINT or SIGTERM sets ``asked``; the second ends the process as usual."""

    def __init__(self, quiet: bool = False) -> None:
        self.asked = False
        self._quiet = quiet
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def _heard(self, number: int, frame: Optional[FrameType]) -> None:
        self.asked = True
        self._restore()
        if not self._quiet:
            print("\nStopping after this step, with a checkpoint. Again to stop at once.", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(
        self, kind: Optional[type[BaseException]], fault: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._restore()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _one(rank: int, count: int, port: int, work: Callable[[Any], None], request: Any, outcome: Any) -> None:
    os.environ.update({_RANK: str(rank), _LOCAL: str(rank), _SIZE: str(count), "LOCAL_WORLD_SIZE": str(count),
                       _HOST: "127.0.0.1", _PORT: str(port)})  # fmt: skip
    try:
        work(request)
    except LungXAIError as fault:
        outcome.put(("error", fault.body()))
        raise
    except KeyboardInterrupt:
        outcome.put(("interrupted", {}))


def in_processes(count: int, work: Callable[[Any], None], request: Any) -> None:
    """Run ``work(request)`` in ``count`` new processes that torch.distributed joins.

    Parameters
    ----------
    work : a function of a module; it ends alike in all of them

    Raises
    ------
    LungXAIError : what one of them raised; the others are ended.
    KeyboardInterrupt : they were asked to stop, and did.
    """
    from torch import multiprocessing

    outcome = multiprocessing.get_context("spawn").SimpleQueue()
    context = multiprocessing.spawn(_one, (count, _free_port(), work, request, outcome), nprocs=count, join=False)
    patience = 1
    while True:
        try:
            # Processes on which others wait inside a collective operation do not always heed SIGTERM.
            if context.join(grace_period=10):
                break
        except KeyboardInterrupt:
            patience -= 1
            if patience < 0:
                for process in context.processes:
                    process.kill()
                raise
        except (multiprocessing.ProcessExitedException, multiprocessing.ProcessRaisedException) as fault:
            kind, told = outcome.get() if not outcome.empty() else ("", {})
            if kind == "error":
                raise from_body(told) from None
            last = str(fault).strip().splitlines()[-1]
            raise ServerError(
                f"A training process failed: {last:.300}", "Try --processes 1; go on with --resume."
            ) from fault
    if not outcome.empty() and outcome.get()[0] == "interrupted":
        raise KeyboardInterrupt
