"""A slide's heatmap as a picture of the slide's own size: a tiled, pyramidal OME-TIFF for a second viewer beside it.

write_heatmap_tiff()   one file; QuPath's synchronised viewers then show the same place in both

File: BigTIFF, 8-bit RGB, zlib; level 0 has the slide's pixel dimensions, the further levels, each a quarter of the one
before, are its SubIFDs (OME-TIFF, "Sub-resolutions"); the pixel size is PhysicalSizeX and PhysicalSizeY of the OME-XML.
White is where there is no tile. All blocks of one colour are one block in the file, to which the tables of all levels
point: TIFF 6.0 allows that, and readers do not agree what colour a block without bytes has. So a slide of 100,000 x
100,000 pixels takes as long as its tissue, and memory does not grow with it.

Colours are viridis from 0 to the map's maximum; what is less than 0 has the colour of 0. Coarse levels show means.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from shared_models.contract.colours import METHOD_LABELS, heat_colour
from shared_models.contract.errors import InputTooLarge, InvalidInput, ServerError
from shared_models.contract.heatmap_words import trust
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import Heatmap, PathologyResult
from shared_models.contract.values import Array

from .features import label
from .heatmap_painter import EMPTY, Painter

BLOCK_PX = 512
LEAST_LEVEL_PX = 1024
MAX_SIDE_PX = 1_000_000
MAX_BLOCKS = 4_000_000
_AT_ONCE = 64
_ENDINGS = (".ome.tif", ".ome.tiff")


def write_heatmap_tiff(
    path: Union[str, os.PathLike[str]],
    heatmap: Heatmap,
    slide_size_px: tuple[int, int],
    slide_mpp: float,
    *,
    tiles: Optional[PathologyResult] = None,
    synthetic: bool = False,
) -> None:
    """Write a heatmap as a picture, complete or not at all.

    Parameters
    ----------
    path : ends in .ome.tif or .ome.tiff
    heatmap : of the slide, along its axes
    slide_size_px : (width, height) of the slide's level 0
    slide_mpp : micrometres per level-0 pixel
    tiles : the slide's result: white outside of its tiles. Without it, cells of 0 are white
    synthetic : the slide is drawn or composed, and the name and description say so

    Raises
    ------
    InvalidInput : another ending, no heatmap of a slide, or a pixel size that is none.
    InputTooLarge : a slide larger than any real one. ServerError : the disk is full, or the folder is read-only.
    """
    target = Path(path)
    if not target.name.endswith(_ENDINGS):
        raise InvalidInput("A heatmap's picture is an OME-TIFF.", "Choose a name that ends in .ome.tif.")
    width, height = (int(side) for side in slide_size_px)
    if not (np.isfinite(slide_mpp) and slide_mpp > 0 and width > 0 and height > 0):
        raise InvalidInput("The slide's size is not known.", "Give its pixel size with --mpp.")
    if max(width, height) > MAX_SIDE_PX or -(-width // BLOCK_PX) * -(-height // BLOCK_PX) > MAX_BLOCKS:
        raise InputTooLarge(f"The slide claims to be {width} x {height} pixels.", "Check the slide's file.")
    painter = Painter(heatmap, tiles)
    # Made anew under a name of its own, so that nothing that lies there already is written through.
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        _write(part, painter, (width, height), slide_mpp, _said(heatmap, painter, synthetic))
        os.replace(part, target)
    except OSError as fault:
        why = f"{target.name} could not be written: {fault.strerror or fault}."
        raise ServerError(why, "Free disk space, or choose another folder.") from fault
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _said(heatmap: Heatmap, painter: Painter, synthetic: bool) -> tuple[str, str]:
    """Name and description, for the OME-XML."""
    by, method, top = heatmap.provenance, METHOD_LABELS[heatmap.method], painter.top
    ends = [f"RGB {heat_colour(share)} is {share * top:.6g}" for share in (0.0, 0.5, 1.0)]
    if painter.signed:
        ends += [f"RGB {heat_colour(share, against=True)} is {-share * top:.6g}" for share in (0.5, 1.0)]
    lines = [
        f"{method} of {heatmap.target} on {heatmap.source_id}. {NOTICE}",
        *(["SYNTHETIC: the slide is drawn or composed."] if synthetic else []),
        f"Model {by.model_id}, weights sha256 {by.weights_sha256}, code {by.code_version}.",
        f"Colours are viridis from 0 to the map's maximum, {top:.6g}: {'; '.join(ends)}. White: no tile."
        + (" Purples: what speaks against the target." if painter.signed else ""),
        f"How far to trust it: {trust(heatmap)}.",
        f"Parameters: {json.dumps(dict(heatmap.parameters), sort_keys=True)}",
    ]
    return f"LungXAI {method} of {heatmap.target} ({label(synthetic)})", "\n".join(lines)


def _write(path: Path, painter: Painter, size: tuple[int, int], mpp: float, said: tuple[str, str]) -> None:
    import tifffile

    sizes = [size]
    while max(sizes[-1]) > LEAST_LEVEL_PX:
        scale = 4 ** len(sizes)
        sizes.append((max(1, size[0] // scale), max(1, size[1] // scale)))
    metadata = {
        "axes": "YXS", "Name": said[0], "Description": said[1], "PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm",
    }  # fmt: skip
    blocks = _Blocks(painter)
    common: dict[str, Any] = {
        "dtype": np.uint8, "tile": (BLOCK_PX, BLOCK_PX), "photometric": "rgb", "compression": "zlib",
        "resolutionunit": "CENTIMETER",
    }  # fmt: skip
    shared = []
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as tif:
        for number, (width, height) in enumerate(sizes):
            per_cm = (1e4 * width / (mpp * size[0]), 1e4 * height / (mpp * size[1]))
            own: dict[str, Any] = {"subfiletype": 1} if number else {"metadata": metadata, "subifds": len(sizes) - 1}
            shade = np.full(-(-width // BLOCK_PX) * -(-height // BLOCK_PX), -1, np.int16)
            data = blocks.of_level((width, height), size, shade)
            tif.write(data, shape=(height, width, 3), resolution=per_cm, **common, **own)
            shared.append(shade)
    _share(path, shared, blocks)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _share(path: Path, shared: list[Array], blocks: _Blocks) -> None:
    """Lets the blocks of one colour, which were left out, be one block each at the end of the file.

    Parameters
    ----------
    shared : of each level the shade of each block that was left out, -1 for the others
    """
    import tifffile

    with tifffile.TiffFile(path, mode="r+", is_ome=False) as tif:
        file = tif.filehandle
        file.seek(0, os.SEEK_END)
        place = {}
        for shade in sorted({int(s) for level in shared for s in np.unique(level)} - {-1}):
            content = blocks.of_shade(shade)
            place[shade] = (file.tell(), len(content))
            file.write(content)
        first = tif.pages[0]
        for page, level in zip([first, *(first.pages or ())], shared, strict=True):
            for name, part in (("TileOffsets", 0), ("TileByteCounts", 1)):
                tag = page.tags[name]
                table = np.array(tag.value, np.int64).reshape(-1)
                for shade, said in place.items():
                    table[level == shade] = said[part]
                tag.overwrite(table.tolist() if len(table) > 1 else int(table[0]))


@dataclass(frozen=True, eq=False)
class _Span:
    """The squares of the map that a row or a column of blocks shows, from ``first`` to before ``stop``.

    ``whole``: nothing but these. ``shown``: of each pixel its square, counted from ``first``; -1 for none.
    """

    first: int
    stop: int
    whole: bool
    shown: Array


class _Blocks:
    """The packed blocks of each level, row by row."""

    def __init__(self, painter: Painter) -> None:
        self._painter = painter

    def of_shade(self, shade: int) -> bytes:
        """A block of one colour."""
        return self._packed(np.full((1, 1), shade, np.uint8), *(np.zeros(BLOCK_PX, int),) * 2)

    def of_level(self, level: tuple[int, int], full: tuple[int, int], shade: Array) -> Iterator[bytes]:
        """The blocks of a level; where one is of one colour, nothing is given and its shade is put into ``shade``."""
        painter = self._painter
        scale = (full[0] / level[0], full[1] / level[1])
        # Of a coarse level each pixel shows the mean of the cells below it.
        cells = max(1, round(min(scale[0] / painter.cell_px[0], scale[1] / painter.cell_px[1])))
        shades = painter.shades(cells)
        columns, rows = (
            self._shown(level[k], scale[k], painter.first_px[k], cells * painter.cell_px[k]) for k in (0, 1)
        )
        across, down = ([self._span(at, count) for at in np.split(shown, len(shown) // BLOCK_PX)]
                        for shown, count in ((columns, shades.shape[1]), (rows, shades.shape[0])))  # fmt: skip
        places = [(row, column) for row in down for column in across]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # zlib works outside of Python's lock
            for first in range(0, len(places), _AT_ONCE):
                waiting: list[Optional[Future[bytes]]] = []
                for index, (row, column) in enumerate(places[first : first + _AT_ONCE], first):
                    shade[index] = self._one_shade(shades, row, column)
                    several = shade[index] < 0
                    waiting.append(pool.submit(self._mixed, shades, row, column) if several else None)
                for block in waiting:
                    yield b"" if block is None else block.result()

    @staticmethod
    def _shown(pixels: int, scale: float, first_px: float, side_px: float) -> Array:
        """Which square of the map each pixel along an axis shows; -1 where the last block leaves the picture."""
        place = (np.arange(-(-pixels // BLOCK_PX) * BLOCK_PX) + 0.5) * scale
        answer = np.floor((place - first_px) / side_px).astype(int)
        answer[pixels:] = -1
        return answer

    @staticmethod
    def _span(shown: Array, count: int) -> _Span:
        """What a row or a column of blocks shows of so many squares."""
        inside = (shown >= 0) & (shown < count)
        if not inside.any():
            return _Span(0, 0, False, inside * 0)
        first, stop = int(shown[inside].min()), int(shown[inside].max()) + 1
        return _Span(first, stop, bool(inside.all()), np.where(inside, shown - first, -1))

    @staticmethod
    def _one_shade(shades: Array, row: _Span, column: _Span) -> int:
        """The shade of a block that has one alone, -1 for others."""
        if row.first == row.stop or column.first == column.stop:
            return EMPTY
        part = shades[row.first : row.stop, column.first : column.stop]
        low = int(part.min())
        if low != int(part.max()):
            return -1
        return low if low == EMPTY or (row.whole and column.whole) else -1

    def _mixed(self, shades: Array, row: _Span, column: _Span) -> bytes:
        part = shades[row.first : row.stop, column.first : column.stop]
        framed = np.full((part.shape[0] + 1, part.shape[1] + 1), EMPTY, np.uint8)
        framed[:-1, :-1] = part
        return self._packed(framed, row.shown, column.shown)

    def _packed(self, shades: Array, rows: Array, columns: Array) -> bytes:
        return zlib.compress(self._painter.palette[shades[:, columns]][rows].tobytes(), 1)
