"""SlideTask: the tiles of one slide as a worker reads them, mapped from the stored frames, so that they take no memory.

A tile that was sent twice, in two batches that overlap, counts once: the first one stays.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared_models.contract.codec import PREFIX_BYTES, header_bytes, read_head
from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import CLASSES, Array

from .engine import Task


class SlideTask:
    """One pathology job.

    Attributes
    ----------
    count : tiles, each origin once
    shape : (height, width) of a tile
    mpp : micrometres per pixel of the tiles
    tile_px : (width, height) of a tile in level-0 pixels: what the job says, or the step of the tiles' grid
    origin_px : int64 (count, 2), level-0 pixels
    probabilities : float32 (count, 5), filled in as the calls come back; NaN before that
    done : tiles classified so far

    Raises
    ------
    InvalidInput : the frames are not tiles of one slide, or there are none.
    """

    def __init__(self, task: Task, frames: list[Path], max_decoded_bytes: int) -> None:
        self.task = task
        self.slide_id = str(task.request["slide_id"])
        self._frames: list[Array] = []
        origins, places = [], []
        for number, path in enumerate(frames):
            with path.open("rb") as file:
                prefix = file.read(PREFIX_BYTES)
                start = prefix + file.read(header_bytes(prefix))
            head = read_head(start, max_decoded_bytes)
            if head.kind != "SlideTiles" or head.fields["slide_id"] != self.slide_id:
                raise InvalidInput("These are not tiles of this slide.", "Send the tiles again.")
            self._frames.append(np.memmap(path, np.uint8, "r", offset=len(start), shape=head.shape))
            origins.append(np.array(head.fields["origin_px"], dtype=np.int64).reshape(-1, 2))
            places.append(np.stack([np.full(head.shape[0], number), np.arange(head.shape[0])], axis=1))
            self.mpp = float(head.fields["mpp"])
        if not frames or len({frame.shape[1:] for frame in self._frames}) != 1:
            raise InvalidInput("There are no tiles of this slide.", "Send its tiles first.")
        every = np.concatenate(origins)
        first = np.sort(np.unique(every, axis=0, return_index=True)[1])
        self.origin_px = every[first]
        self._places = np.concatenate(places)[first]
        self.count = len(first)
        self.shape = (int(self._frames[0].shape[1]), int(self._frames[0].shape[2]))
        given = task.request.get("tile_px")
        self.tile_px = (float(given[0]), float(given[1])) if given else grid_step(self.origin_px, self.shape)
        self.probabilities = np.full((self.count, len(CLASSES)), np.nan, dtype=np.float32)
        self.done = 0

    def pixels(self, start: int, stop: int) -> Array:
        """uint8 (n, height, width, 3), RGB, of tiles ``start`` to ``stop`` (exclusive)."""
        return np.stack([self._frames[frame][tile] for frame, tile in self._places[start:stop]])


def grid_step(origin_px: Array, shape: tuple[int, int]) -> tuple[float, float]:
    """(width, height) in level-0 pixels of tiles that lie edge to edge.

    The smallest step between tiles, over both axes for square tiles; ``shape`` itself where there is one tile only.

    Parameters
    ----------
    origin_px : int64 (n, 2)
    shape : (height, width) of a tile in its own pixels
    """
    steps = [np.diff(np.unique(origin_px[:, axis])) for axis in (0, 1)]
    width, height = (float(s.min()) if s.size else None for s in steps)
    known = [s for s in (width, height) if s is not None]
    if not known:
        return float(shape[1]), float(shape[0])
    if shape[0] == shape[1]:
        return min(known), min(known)
    ratio = shape[0] / shape[1]
    return (width or known[0] / ratio), (height or known[0] * ratio)
