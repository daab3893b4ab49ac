"""StoredSlide: the tiles of one slide, mapped from the stored frames by mapped(), so that they take no memory.

A tile that was sent twice, in two batches that overlap, counts once: the first one stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from shared_models.contract.codec import PREFIX_BYTES, FrameHead, header_bytes, read_head
from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import Array

_WHITE = 255
_MOST_PX = 4000


class StoredSlide:
    """One slide as it was sent.

    Parameters
    ----------
    slide_id : the slide's name, which every frame has to bear
    frames : files with SlideTiles frames
    max_decoded_bytes : of one frame
    tile_px : (width, height) of a tile in level-0 pixels, where that is known

    Attributes
    ----------
    count : tiles, each origin once
    shape : (height, width) of a tile
    mpp : micrometres per pixel of the tiles
    tile_px : (width, height) in level-0 pixels: what was given, or the step of the tiles' grid
    origin_px : int64 (count, 2), upper left of each tile, level-0 pixels
    quality : float32 (count,), NaN where the sender did not judge a tile

    Raises
    ------
    InvalidInput : the frames are not tiles of one slide, or there are none.
    """

    def __init__(
        self,
        slide_id: str,
        frames: Sequence[Path],
        max_decoded_bytes: int,
        tile_px: Optional[tuple[float, float]] = None,
    ) -> None:
        self.slide_id = slide_id
        self._frames: list[Array] = []
        origins, places, qualities = [], [], []
        for number, path in enumerate(frames):
            head, pixels = mapped(path, max_decoded_bytes)
            if head.fields["slide_id"] != self.slide_id:
                raise InvalidInput("These are not tiles of this slide.", "Send the tiles again.")
            self._frames.append(pixels)
            origins.append(np.array(head.fields["origin_px"], dtype=np.int64).reshape(-1, 2))
            places.append(np.stack([np.full(head.shape[0], number), np.arange(head.shape[0])], axis=1))
            qualities.append(np.array(head.fields.get("quality", [np.nan] * head.shape[0]), np.float32))
            self.mpp = float(head.fields["mpp"])
        if not frames or len({frame.shape[1:] for frame in self._frames}) != 1:
            raise InvalidInput("There are no tiles of this slide.", "Send its tiles first.")
        every = np.concatenate(origins)
        first = np.sort(np.unique(every, axis=0, return_index=True)[1])
        self.origin_px = every[first]
        self._places = np.concatenate(places)[first]
        self.quality = np.concatenate(qualities)[first]
        self.count = len(first)
        self.shape = (int(self._frames[0].shape[1]), int(self._frames[0].shape[2]))
        self.tile_px = tile_px or grid_step(self.origin_px, self.shape)

    def pixels(self, start: int, stop: int) -> Array:
        """uint8 (n, height, width, 3), RGB, of tiles ``start`` to ``stop`` (exclusive)."""
        return self.chosen(np.arange(start, min(stop, self.count)))

    def chosen(self, tiles: Array) -> Array:
        """uint8 (n, height, width, 3), RGB, of the tiles of these numbers, int (n,)."""
        return np.stack([self._frames[frame][tile] for frame, tile in self._places[tiles]])

    def of_frame(self, frame: int) -> tuple[Array, Array]:
        """Which tiles the frame of this number, 0 is the first one sent, brought.

        Returns
        -------
        int (n,), their numbers in the slide; int (n,), their places in the frame
        """
        tiles = np.flatnonzero(self._places[:, 0] == frame)
        return tiles, self._places[tiles, 1]

    def size_of_frame(self, frame: int) -> int:
        """How many tiles the frame of this number holds, those sent before included."""
        return len(self._frames[frame])

    def picture(self, max_px: int = 1200) -> tuple[Array, Array]:
        """The slide put together from its tiles, small; white where no tile was sent.

        Returns
        -------
        uint8 (rows, columns, 3), RGB, no side longer than about ``max_px``, or than 4000 where the tiles are many
        float64 (3, 3), from (column, row, 1) to level-0 pixels; index (0, 0) is the centre of the first pixel
        """
        first = self.origin_px.min(axis=0)
        extent = self.origin_px.max(axis=0) - first + self.tile_px
        # One level-0 length a pixel on both axes, and at least one pixel a tile where they do not lie too far apart.
        step = min(max(float(extent.max()) / max_px, self.tile_px[0] / self.shape[1]), *self.tile_px)
        step = max(step, float(extent.max()) / _MOST_PX)
        columns, rows = (max(1, round(size / step)) for size in self.tile_px)
        columns, rows = min(columns, self.shape[1]), min(rows, self.shape[0])
        width, height = (int(np.ceil(size / step)) + 1 for size in extent)
        whole = np.full((height + rows, width + columns, 3), _WHITE, dtype=np.uint8)
        down = np.linspace(0, self.shape[0], rows + 1).astype(int)[:-1]
        across = np.linspace(0, self.shape[1], columns + 1).astype(int)[:-1]
        counts = np.diff([*down, self.shape[0]])[:, None, None] * np.diff([*across, self.shape[1]])[None, :, None]
        for number in range(self.count):
            sums = np.add.reduceat(self.pixels(number, number + 1)[0].astype(np.uint32), down, axis=0)
            small = np.add.reduceat(sums, across, axis=1) // counts
            column, row = np.rint((self.origin_px[number] - first) / step).astype(int)
            whole[row : row + rows, column : column + columns] = small
        centre = first + step / 2
        return whole[:height, :width], np.array([[step, 0, centre[0]], [0, step, centre[1]], [0, 0, 1]], dtype=float)


def mapped(path: Path, max_decoded_bytes: int) -> tuple[FrameHead, Array]:
    """One stored batch of tiles: its head, and its pixels, uint8 (n, height, width, 3), mapped from the file.

    Raises
    ------
    InvalidInput : it holds something else.
    """
    with path.open("rb") as file:
        prefix = file.read(PREFIX_BYTES)
        start = prefix + file.read(header_bytes(prefix))
    head = read_head(start, max_decoded_bytes)
    if head.kind != "SlideTiles":
        raise InvalidInput("These are not tiles of a slide.", "Send the tiles again.")
    return head, np.memmap(path, np.uint8, "r", offset=len(start), shape=head.shape)


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
