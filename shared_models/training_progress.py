"""What training says while it runs: where it is, the loss, and the time left.

Progress       lines on the screen, at most one every few seconds
duration()     seconds in words
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Optional, TextIO

_SECONDS_BETWEEN = 5.0


def duration(seconds: float) -> str:
    """Seconds in words, such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Time left is judged by the steps and validations of this session.

    Parameters
    ----------
    epochs, epoch_steps : of the whole run
    name : before each line
    out : None says nothing
    """

    def __init__(self, epochs: int, epoch_steps: int, name: str, out: Optional[TextIO]) -> None:
        self._epochs, self._steps, self._name, self._out = epochs, epoch_steps, name, out
        self._step_seconds: Optional[float] = None
        self._epoch_seconds = 0.0
        self._said = 0.0

    def step(self, epoch: int, step: int, loss: float, seconds: float) -> None:
        """After step ``step`` (from 1) of ``epoch`` (from 0), which took ``seconds``; ``loss`` is the epoch's mean."""
        # Recent steps count more: a machine's pace changes.
        before = self._step_seconds
        self._step_seconds = seconds if before is None else 0.95 * before + 0.05 * seconds
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN:
            self._said = now
            self._line(f"epoch {epoch + 1}/{self._epochs} step {step}/{self._steps} loss {loss:.4f}, "
                       f"about {duration(self.left(epoch, step))} left")  # fmt: skip

    def validated(self, seconds: float) -> None:
        """After a validation and the writing of a checkpoint that took ``seconds``."""
        self._epoch_seconds = seconds

    def left(self, epoch: int, step: int) -> float:
        """Seconds to the end of the last epoch."""
        steps = (self._epochs - epoch) * self._steps - step
        return steps * (self._step_seconds or 0.0) + (self._epochs - epoch) * self._epoch_seconds

    def epoch(self, epoch: int, loss: float, figures: Mapping[str, float], best: bool) -> None:
        """After an epoch (from 0)."""
        told = " ".join(f"{name} {value:.4f}" for name, value in figures.items())
        left = f", about {duration(self.left(epoch + 1, 0))} left" if epoch + 1 < self._epochs else ""
        self._line(f"epoch {epoch + 1}/{self._epochs} loss {loss:.4f} {told}{' (best)' if best else ''}{left}")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._line(text)

    def _line(self, text: str) -> None:
        if self._out is not None:
            print(f"{self._name}: {text}", file=self._out, flush=True)
