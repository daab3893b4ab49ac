"""A progress bar for the terminal: stage, fraction, time left. In a file or a pipe it is one line a stage."""

from __future__ import annotations

import sys
import time
from typing import Optional, TextIO

_WIDTH = 28


def time_left(spent_s: float, fraction: float) -> str:
    """In words, from what has passed; empty while there is too little to judge by."""
    if fraction < 0.03 or spent_s < 1.0 or fraction >= 1.0:
        return ""
    left = spent_s * (1 - fraction) / fraction
    return f"about {left:.0f} s left" if left < 90 else f"about {left / 60:.0f} min left"


class ProgressBar:
    """One task's bar; a ``with`` block ends its line.

    Parameters
    ----------
    title : what is done, in a few words
    stream : standard error unless given; a bar is drawn on a terminal only
    """

    def __init__(self, title: str, stream: Optional[TextIO] = None) -> None:
        self._title, self._stream = title, stream or sys.stderr
        self._begun = time.monotonic()
        self._stage = ""
        self._drawn = self._stream.isatty()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: object, fault: object, trace: object) -> None:
        spent = time.monotonic() - self._begun
        outcome = f"done in {spent:.1f} s" if kind is None else "stopped"
        self._stream.write(f"{chr(13) + chr(27) + '[K' if self._drawn else ''}{self._title}: {outcome}\n")
        self._stream.flush()

    def update(self, stage: str, fraction: float) -> None:
        """``fraction`` of the task is done, 0 to 1; ``stage`` is what goes on."""
        if not self._drawn:
            if stage != self._stage:
                self._stream.write(f"{self._title}: {stage}\n")
                self._stream.flush()
            self._stage = stage
            return
        full = int(_WIDTH * min(max(fraction, 0.0), 1.0))
        left = time_left(time.monotonic() - self._begun, fraction)
        bar = "#" * full + "-" * (_WIDTH - full)
        self._stream.write(f"\r\x1b[K{self._title} [{bar}] {100 * fraction:3.0f} % {stage} {left}".rstrip())
        self._stream.flush()
