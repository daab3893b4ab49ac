"""How many inputs are computed at once, and how long that takes.

batch_cpu()    inputs at once on a CPU
SIZES          the batches that a GPU is given
tuned_batch()  the one of them that computes fastest
pieces()       inputs in such batches; even_pieces() on a CPU
seconds_of()   how long something takes, with the work that a GPU has been given
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Callable

import torch

# On a CPU by their pixels. On two cores 4 tiles of 224 x 224 take 50 ms each, 8 take 58, one takes 61. On one,
# 4 slices of 64 x 64 take 13.3 ms each, 8 take 11.6, 16 take 10.9, 32 take 10.6.
_PIXELS_CPU, _LEAST_CPU, _MOST_CPU = 1 << 16, 4, 16
# Few: a GPU chooses its kernels anew for each size that it meets, which can take longer than the maps.
SIZES = (8, 32, 128)
_GAIN = 1.05


def batch_cpu(space: Sequence[int]) -> int:
    """Inputs of this shape at once on a CPU."""
    return min(max(_PIXELS_CPU // math.prod(space), _LEAST_CPU), _MOST_CPU)


def tuned_batch(seconds: Callable[[int], float], sizes: Sequence[int] = SIZES) -> int:
    """The size that computes fastest: ever larger until an input takes hardly less time, or memory does not suffice.

    Parameters
    ----------
    seconds : how long a batch of this size takes; it may raise torch.OutOfMemoryError
    sizes : to choose from, the smallest first; 1 where the memory suffices for none
    """
    best, least = 1, float("inf")
    for size in sizes:
        try:
            each = seconds(size) / size
        except torch.OutOfMemoryError:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            break
        if each * _GAIN > least:
            break
        best, least = size, each
    return best


def pieces(count: int, most: int) -> Iterator[slice]:
    """``count`` inputs in batches of at most ``most``, most of which fill more than half of one of SIZES."""
    start = 0
    while start < count:
        left = count - start
        fits = [size for size in SIZES if size <= most and left > size // 2]
        size = min(left, max(fits, default=min(most, SIZES[0])))
        yield slice(start, start + size)
        start += size


def even_pieces(count: int, most: int) -> Iterator[slice]:
    """``count`` inputs in as few batches of at most ``most`` as there can be, all but equal: a small one is slow."""
    parts = -(-count // most)
    ends = [count * part // parts for part in range(parts + 1)]
    yield from (slice(start, stop) for start, stop in zip(ends, ends[1:]))


def filled(count: int) -> int:
    """The size of a batch that ``count`` inputs are brought to: one input stays one."""
    return next((size for size in SIZES if size >= count), count) if count > 1 else count


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of ``run``, from when the device has nothing else to do until it has done it."""
    _settled(device)
    begun = time.perf_counter()
    run()
    _settled(device)
    return time.perf_counter() - begun


def _settled(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
