"""Tiles of one image to the server, read ahead of it, in a way that can be stopped and taken up again.

Sent       up to which tile of its grid the server has an image
Progress   the image's entry in the project's state file
send()     send what the server does not have yet
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from inference_server.progress import ProgressBar
from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput
from shared_models.slide_readahead import read_ahead
from shared_models.slide_reader import Slide
from shared_models.slide_tiles import TileGrid

from .files_backend import read_state, write_state

SENDING = 0.5  # of the bar
_TILES_AT_ONCE = 64
_KEPT_EVERY_S = 2.0


@dataclass(frozen=True)
class Sent:
    """Up to which tile of the grid the server has them, and how many of those were left out."""

    next: int = 0
    left_out: int = 0


class Progress:
    """What the project's folder remembers of an image, kept now and then and at the end."""

    def __init__(self, file: Path, entry_id: str, entry: dict[str, object]) -> None:
        self._file, self._entry_id, self._entry, self._kept = file, entry_id, entry, -_KEPT_EVERY_S

    def keep(self, done: bool = False, **values: object) -> None:
        self._kept = time.monotonic()
        self._entry = {**self._entry, **values, "done": done}
        write_state(self._file, {**read_state(self._file), self._entry_id: self._entry})

    def now_and_then(self, **values: object) -> None:
        if time.monotonic() - self._kept > _KEPT_EVERY_S:
            self.keep(**values)


def send(
    client: Client, case_id: str, slide_id: str, reopen: Callable[[], Slide], grid: TileGrid, model: Mapping[str, Any],
    before: Mapping[str, Any], progress: Progress, bar: ProgressBar, least: float,
) -> Sent:  # fmt: skip
    """Send what the server does not have yet. A batch that it has already changes nothing.

    Parameters
    ----------
    reopen : opens the slide for the thread that reads
    before : the entry of an earlier run with the same tiles and case; empty where there was none
    least : tiles of less quality are left out; 0 keeps all

    Raises
    ------
    InvalidInput : the case holds tiles of this slide that lie elsewhere, or no tile is of use.
    """
    held = {str(s["slide_id"]): int(s["tiles"]) for s in client.case(case_id)["slides"]}.get(slide_id, 0)
    if held and not before:
        raise InvalidInput(
            f"The case holds {held} tiles of this slide from another run, and they would be mixed.",
            "Leave out --case, or name a new case.",
        )
    sent = Sent(int(before.get("next", 0)), int(before.get("left_out", 0))) if held else Sent()
    progress.keep(next=sent.next, left_out=sent.left_out)
    begun, first = time.monotonic(), sent.next
    scale = int(model["tile_px"]), float(model["spacing_um_px"])
    try:
        with closing(read_ahead(reopen, *scale, grid, _TILES_AT_ONCE, start=sent.next, least_quality=least)) as batches:
            for batch in batches:
                if batch.tiles is not None:
                    client.put_tiles(case_id, batch.tiles, ahead=True)
                sent = Sent(batch.next, sent.left_out + batch.left_out)
                progress.now_and_then(next=sent.next, left_out=sent.left_out)
                rate = (sent.next - first) / max(time.monotonic() - begun, 1e-3)
                bar.update(rated(f"sending {grid.count} tiles", rate), SENDING * sent.next / grid.count)
    finally:  # Ctrl-C too
        progress.keep(next=sent.next, left_out=sent.left_out)
    if sent.left_out == grid.count:
        raise InvalidInput("Every tile of the slide is blurred or covered.", "Scan the slide again.")
    return sent


def rated(stage: str, rate: float) -> str:
    # In a file or a pipe each change of the stage is a line of its own.
    return f"{stage} ({rate:.0f} tiles/s)" if sys.stderr.isatty() else stage
