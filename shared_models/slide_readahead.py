"""Reads the tiles of a slide while what was read before is at work.

read_ahead()   batches of a grid in order, read by threads of their own
ReadBatch      tiles, how many were left out, and where to go on after a stop

Each thread opens the slide for itself: handles and caches of a slide are not shared. Threads end with the generator,
however that ends: at its end, at a fault of the reader (raised where the batch is asked for) or of the consumer, at
Ctrl-C, or when it is closed or forgotten. Memory is bounded by ``ahead`` + 2 batches.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .contract.errors import Cancelled, InvalidInput
from .contract.values import SlideTiles
from .slide_quality import LEAST_QUALITY, tile_quality
from .slide_reader import Slide
from .slide_tiles import TileGrid


@dataclass(frozen=True, eq=False)
class ReadBatch:
    """One batch.

    Parameters
    ----------
    tiles : with their quality; None where all of the batch were left out
    next : index in the grid to go on from after a stop
    left_out : how many tiles of the batch were below the least quality
    """

    tiles: Optional[SlideTiles]
    next: int
    left_out: int


def read_ahead(
    reopen: Callable[[], Slide], tile_px: int, model_mpp: float, grid: TileGrid, batch: int = 64, *,
    start: int = 0, ahead: int = 2, threads: int = 1, least_quality: float = LEAST_QUALITY,
) -> Generator[ReadBatch, None, None]:  # fmt: skip
    """Read a grid's tiles ahead of the consumer.

    Parameters
    ----------
    reopen : opens the slide; called once a thread, in that thread
    tile_px : side of a tile in the model's pixels
    model_mpp : micrometres per pixel at which tiles are read
    grid : of tissue_grid()
    batch : tiles in a batch before any is left out
    start : index in the grid to begin at, the ``next`` of the last batch that was dealt with
    ahead : batches that are read before they are asked for
    threads : that read; a second helps where the file lies on a slow disk
    least_quality : tiles below it are left out; 0 keeps all

    Raises
    ------
    InvalidInput : batch, ahead or threads below 1; or that part of the file is damaged, as Slide.read() says.
    """
    if min(batch, ahead, threads) < 1 or start < 0:
        raise InvalidInput("Tiles are read at least one at a time, one batch ahead.", "Report this.")
    stop = threading.Event()
    own, opened = threading.local(), []

    def read(first: int) -> ReadBatch:
        if not hasattr(own, "slide"):
            own.slide = reopen()
            opened.append(own.slide)
        return _read(own.slide, tile_px, model_mpp, grid, (first, min(first + batch, grid.count)), least_quality, stop)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="slide-reader")
    waiting: deque[Future[ReadBatch]] = deque()
    try:
        for first in range(start, grid.count, batch):
            waiting.append(pool.submit(read, first))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        for slide in opened:
            slide.close()


def _read(
    slide: Slide, tile_px: int, model_mpp: float, grid: TileGrid, part: tuple[int, int], least_quality: float,
    stop: threading.Event,
) -> ReadBatch:  # fmt: skip
    origins = grid.origin_px[part[0] : part[1]]
    pixels = np.empty((len(origins), tile_px, tile_px, 3), np.uint8)
    # Row by row, whatever the order of the grid: neighbours share blocks of the file, which are decoded once.
    for index in np.lexsort((origins[:, 0], origins[:, 1])):
        if stop.is_set():
            raise Cancelled("Reading was stopped.", "")
        x, y = origins[index]
        pixels[index] = slide.read(int(x), int(y), *grid.tile_px, tile_px)
    quality = tile_quality(pixels, model_mpp)
    kept = quality >= least_quality
    left_out = len(origins) - int(kept.sum())
    if left_out:
        pixels, origins, quality = pixels[kept], origins[kept], quality[kept]
    tiles = SlideTiles(pixels, origins, model_mpp, slide.slide_id, quality) if len(origins) else None
    return ReadBatch(tiles, part[1], left_out)
