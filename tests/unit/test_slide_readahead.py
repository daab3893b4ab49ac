"""Tiles are read ahead in order; faults reach the consumer; no thread and no handle outlives the reading."""

import gc
import threading
import time

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput
from shared_models.slide_quality import LEAST_QUALITY
from shared_models.slide_readahead import read_ahead
from shared_models.slide_tiles import TileGrid

SIDE = 32


class Recorder:
    """A slide whose tile at x shows x, sharp unless x is in ``flat``; says what was opened, read and closed."""

    slide_id = "s"

    def __init__(self, flat: tuple[int, ...] = (), broken: int = -1, wait: float = 0.0) -> None:
        self.flat, self.broken, self.wait = flat, broken, wait
        self.opened = self.closed = 0
        self.places: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def open(self):
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def read(self, x: int, y: int, width: float, height: float, out_px: int) -> np.ndarray:
        time.sleep(self.wait)
        self.places.append((x, y))
        self.threads.add(threading.get_ident())
        if x == self.broken:
            raise InvalidInput("A part of the slide is damaged.", "Copy it again.")
        tile = np.full((out_px, out_px, 3), (200, 120, 180), np.uint8)
        if x not in self.flat:
            tile[::4] -= 60
            tile[:, ::4] -= 60
        tile[0, 0, 0] = x  # red: sharpness is judged in green
        return tile


def _grid(count: int) -> TileGrid:
    return TileGrid(np.stack([np.arange(count), np.zeros(count)], axis=1).astype(np.int64), (1.0, 1.0))


def _threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("slide-reader")]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_whole_and_read_elsewhere(threads) -> None:
    slide = Recorder(wait=0.001)
    got = list(read_ahead(slide.open, SIDE, 1.0, _grid(50), 8, threads=threads, ahead=3))
    assert [b.next for b in got] == [8, 16, 24, 32, 40, 48, 50] and all(b.left_out == 0 for b in got)
    assert np.concatenate([b.tiles.origin_px[:, 0] for b in got]).tolist() == list(range(50))
    assert np.concatenate([b.tiles.pixels[:, 0, 0, 0] for b in got]).tolist() == list(range(50))
    assert all((b.tiles.quality >= LEAST_QUALITY).all() and b.tiles.mpp == 1.0 for b in got)
    assert threading.get_ident() not in slide.threads and 1 <= len(slide.threads) <= threads
    assert slide.opened == slide.closed == len(slide.threads) and not _threads()


def test_useless_tiles_are_left_out_and_counted() -> None:
    slide = Recorder(flat=(1, 4, 5, 6, 7))
    first, second, third = read_ahead(slide.open, SIDE, 1.0, _grid(10), 4)
    assert first.tiles.origin_px[:, 0].tolist() == [0, 2, 3] == first.tiles.pixels[:, 0, 0, 0].tolist()
    assert (first.left_out, first.next, second.tiles, second.left_out, second.next) == (1, 4, None, 4, 8)
    assert third.tiles.origin_px[:, 0].tolist() == [8, 9] and third.next == 10
    every = list(read_ahead(slide.open, SIDE, 1.0, _grid(10), 4, least_quality=0.0))
    assert sum(len(b.tiles.pixels) for b in every) == 10 and every[1].tiles.quality.max() < LEAST_QUALITY


def test_it_goes_on_where_it_stopped() -> None:
    reading = read_ahead(Recorder().open, SIDE, 1.0, _grid(20), 6)
    first = next(reading)
    reading.close()
    rest = list(read_ahead(Recorder().open, SIDE, 1.0, _grid(20), 6, start=first.next))
    assert np.concatenate([b.tiles.origin_px[:, 0] for b in rest]).tolist() == list(range(6, 20))
    assert list(read_ahead(Recorder().open, SIDE, 1.0, _grid(20), 6, start=20)) == []


def test_a_fault_of_the_reader_is_raised_where_its_batch_is_asked_for() -> None:
    slide = Recorder(broken=9)
    reading = read_ahead(slide.open, SIDE, 1.0, _grid(40), 4)
    assert next(reading).next == 4 and next(reading).next == 8
    with pytest.raises(InvalidInput, match="damaged"):
        next(reading)
    assert not _threads() and slide.opened == slide.closed == 1

    def gone():
        raise InvalidInput("There is no file.", "Check the path.")

    with pytest.raises(InvalidInput, match="no file"):
        list(read_ahead(gone, SIDE, 1.0, _grid(4), 4))
    assert not _threads()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
def test_a_fault_of_the_consumer_stops_the_reading(fault) -> None:
    slide = Recorder(wait=0.002)
    reading = read_ahead(slide.open, SIDE, 1.0, _grid(5000), 50, ahead=4, threads=2)
    with pytest.raises(fault):
        next(reading)
        reading.throw(fault())
    assert not _threads() and slide.opened == slide.closed
    assert len(slide.places) < 500


def test_a_generator_that_is_forgotten_leaves_nothing_behind() -> None:
    slide = Recorder()
    reading = read_ahead(slide.open, SIDE, 1.0, _grid(1000), 10)
    next(reading)
    del reading
    gc.collect()
    assert not _threads() and slide.opened == slide.closed == 1


def test_no_more_is_read_ahead_than_was_said() -> None:
    slide = Recorder()
    reading = read_ahead(slide.open, SIDE, 1.0, _grid(1000), 10, ahead=2)
    next(reading)
    deadline = time.monotonic() + 5
    while len(slide.places) < 30 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)  # what would be read too much
    assert len(slide.places) == 30
    reading.close()


def test_a_batch_is_read_row_by_row_whatever_the_order_of_the_grid() -> None:
    slide = Recorder()
    origins = np.array([[5, 9], [1, 0], [3, 9], [0, 0], [2, 4]], np.int64)
    (batch,) = read_ahead(slide.open, SIDE, 1.0, TileGrid(origins, (1.0, 1.0)), 8)
    assert slide.places == [(0, 0), (1, 0), (2, 4), (3, 9), (5, 9)]
    assert np.array_equal(batch.tiles.origin_px, origins)
    assert batch.tiles.pixels[:, 0, 0, 0].tolist() == [5, 1, 3, 0, 2]


@pytest.mark.parametrize("choice", [{"batch": 0}, {"ahead": 0}, {"threads": 0}, {"start": -1}])
def test_nonsense_is_refused(choice) -> None:
    with pytest.raises(InvalidInput):
        list(read_ahead(Recorder().open, SIDE, 1.0, _grid(4), **choice))
