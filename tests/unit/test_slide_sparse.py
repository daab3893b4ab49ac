"""A synthetic slide of 100,000 x 100,000 pixels: the grid and all tiles, with no more memory than a small slide takes.

Only blocks with tissue are in the file, as scanners write it; inside it they all are one drawn block.
Memory is the peak of a child process that does nothing else, as the kernel counted it.
"""

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")

REPO = Path(__file__).parents[2]
BLOCK, MPP = 256, 0.25
# Squares of tissue: left, top, side, as shares of the slide's side.
TISSUE = ((0.10, 0.12, 0.06), (0.55, 0.40, 0.06), (0.83, 0.90, 0.06))

CHILD = """
import json, sys
import numpy as np
from shared_models.slide_reader import open_slide
from shared_models.slide_readahead import read_ahead
from shared_models.slide_tiles import tissue_grid

with open_slide(sys.argv[1]) as slide:
    grid = tissue_grid(slide, 224, 0.9)
    read, origins, dark = 0, [], 0
    for part in read_ahead(slide.reopen, 224, 0.9, grid, 16):
        if part.tiles is not None:
            read += len(part.tiles.pixels)
            dark += int((part.tiles.pixels[:, 112, 112].min(axis=-1) < 220).sum())
            origins += part.tiles.origin_px.tolist()
    status = open("/proc/self/status").read()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"side": slide.dimensions[0], "count": grid.count, "read": read, "last": part.next, "dark": dark,
                      "origins": origins, "peak_mb": peak}))
"""


def _block() -> np.ndarray:
    """uint8 (BLOCK, BLOCK, 3): pink with sharp detail; of few values, so that it is small in the file."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.choice((-25, 25), (BLOCK // 8, BLOCK // 8)), np.ones((8, 8), int))[..., None]
    return (np.array([200, 125, 180]) + coarse).astype(np.uint8)


def _blocks(side: int, block: np.ndarray) -> Iterator[bytes]:
    """The blocks of one level, row by row; none where there is glass, white beside the tissue where it ends."""
    whole = zlib.compress(block.tobytes(), 1)
    count = -(-side // BLOCK)
    held: dict[tuple[int, int], bytes] = {}
    for left, top, share in TISSUE:
        x0, y0, x1, y1 = (round(v * side) for v in (left, top, left + share, top + share))
        for row in range(y0 // BLOCK, -(-y1 // BLOCK)):
            for column in range(x0 // BLOCK, -(-x1 // BLOCK)):
                up, before = row * BLOCK, column * BLOCK
                part = (slice(max(y0 - up, 0), y1 - up), slice(max(x0 - before, 0), x1 - before))
                if block[part].shape == block.shape:
                    held[row, column] = whole
                    continue
                cut = np.full_like(block, 243)
                cut[part] = block[part]
                held[row, column] = zlib.compress(cut.tobytes(), 1)
    return (held.get((row, column), b"") for row in range(count) for column in range(count))


def write_sparse(path: Path, side: int) -> None:
    block = _block()
    levels = [side, side // 4, side // 16]
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for number, length in enumerate(levels):
            per_cm = 1e4 / (MPP * 4**number)
            first = {"subifds": len(levels) - 1, "description": "Synthetic, not a patient"}
            writer.write(
                _blocks(length, block), shape=(length, length, 3), dtype=np.uint8, tile=(BLOCK, BLOCK),
                photometric="rgb", compression="zlib", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                **(first if number == 0 else {"subfiletype": 1}),
            )  # fmt: skip


def _read(path: Path) -> dict:
    # A shell between: a child's peak begins at that of the process that it was forked from.
    command = ["/bin/sh", "-c", 'exec "$0" -c "$1" "$2"', sys.executable, CHILD, str(path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not say how much memory was held")
def test_memory_does_not_grow_with_the_slide(tmp_path) -> None:
    found = {}
    for side in (100_000, 10_000):
        path = tmp_path / f"{side}.tif"
        write_sparse(path, side)
        assert path.stat().st_size < 20_000_000
        found[side] = _read(path)
    large, small = found[100_000], found[10_000]
    assert large["side"] == 100_000 and large["count"] >= 130 > 20 > small["count"] >= 1
    for one in (large, small):
        assert one["last"] == one["count"] and one["read"] >= 0.9 * one["count"] > 0
        centre = (np.array(one["origins"]) + 403) / one["side"]
        near = [(np.abs(centre - (np.array(t[:2]) + t[2] / 2)) < t[2] / 2 + 900 / one["side"]).all(1) for t in TISSUE]
        assert np.any(near, axis=0).all() and (one is small or all(n.sum() > 40 for n in near))
    assert large["peak_mb"] - small["peak_mb"] < 150, (large["peak_mb"], small["peak_mb"])
