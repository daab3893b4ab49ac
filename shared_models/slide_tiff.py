"""TIFF pictures read tile by tile: headers are judged before memory is taken.

check_tiff()   refuses a TIFF whose header asks for more than it should; also before openslide is given the file
TiffLevels     the levels of a TIFF that openslide does not read (OME-TIFF with sub-images, strips): none, zlib, JPEG
Level          one level: size and its block grid

A strip is a tile as wide as the picture. A block is decoded into exactly the bytes that the header declares, never
more; a block that is not there (length 0, as scanners write glass) is white.

tifffile reads headers only. Its own grouping of pages into pictures is not used: for OME-TIFF it takes the XML at its
word, and with it a billion planes, or pixels of another file that the XML names.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Optional
from xml.etree import ElementTree

import numpy as np

from .contract.errors import InputTooLarge, InvalidInput
from .contract.values import Array

MAX_SIDE_PX = 1_000_000
MAX_BLOCK_BYTES = 64 << 20
MAX_BLOCKS = 8_000_000
MAX_PAGES = 512
_MAX_XML = 8 << 20
_CACHE_BYTES = 64 << 20
_NONE, _JPEG, _ZLIB = (1,), (7,), (8, 32946)
_RGB, _YCBCR = 2, 6
_UM = {"m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "pm": 1e-6,
       "Å": 1e-4, "in": 25400.0}  # fmt: skip
_BROKEN = "Copy the file again from the scanner or the archive; it may be incomplete."
_CONVERT = "Export the slide as 8-bit RGB (in QuPath: File > Export images > OME-TIFF, RGB)."


@dataclass(frozen=True, eq=False)
class Level:
    """One level of a pyramid: (width, height) in pixels, and the TIFF page that holds it."""

    size: tuple[int, int]
    page: Any


def is_tiff(path: Path) -> bool:
    """Whether the file opens as classic or big TIFF, little or big endian."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def check_page(page: Any) -> None:
    """Judge one page by its header.

    Raises
    ------
    InputTooLarge : the picture or one of its blocks is larger than any real slide's.
    InvalidInput : not 8-bit RGB, or a header that contradicts itself.
    """
    width, height = int(page.imagewidth), int(page.imagelength)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise InputTooLarge(f"The slide claims to be {width} x {height} pixels.", _BROKEN)
    check_blocks(page)
    samples = int(page.samplesperpixel)
    if int(page.bitspersample) != 8:
        raise InvalidInput(f"The slide has {page.bitspersample} bits per colour; 8 are needed.", _CONVERT)
    if samples not in (3, 4) or int(page.photometric) not in (_RGB, _YCBCR):
        raise InvalidInput("The slide is not an RGB picture (it may be fluorescence, or in grey).", _CONVERT)
    if int(page.planarconfig) != 1:
        raise InvalidInput("The slide stores red, green and blue apart.", _CONVERT)


def check_blocks(page: Any) -> None:
    """Judge how a page is stored, whatever it shows.

    Raises
    ------
    InputTooLarge : one block is larger than should be held in memory, or there are more than any real slide has.
    InvalidInput : blocks without a size.
    """
    block_w, block_h = block_size(page)
    if block_w * block_h * max(int(page.samplesperpixel), 1) * max(int(page.bitspersample) // 8, 1) > MAX_BLOCK_BYTES:
        raise InputTooLarge(
            f"The slide is stored in blocks of {block_w} x {block_h} pixels, too large to be read piece by piece.",
            "Convert it to a tiled, pyramidal TIFF, for example with `vips tiffsave --tile --pyramid`.",
        )
    if block_w < 1 or block_h < 1:
        raise InvalidInput("The slide's blocks have no size.", _BROKEN)
    if -(-int(page.imagewidth) // block_w) * -(-int(page.imagelength) // block_h) > MAX_BLOCKS:
        raise InputTooLarge("The slide is stored in more pieces than any real one.", _BROKEN)


def block_size(page: Any) -> tuple[int, int]:
    """(width, height) of a tile, or of a strip."""
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return int(page.imagewidth), min(int(page.rowsperstrip), int(page.imagelength))


def opened(path: Path) -> Any:
    """A tifffile.TiffFile whose first page, description, and number and blocks of pages were judged.

    Raises
    ------
    InvalidInput, InputTooLarge : as check_page(), or not a TIFF that can be read at all.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it logs a line a page, and names the file
    try:
        tif = tifffile.TiffFile(path, is_ome=False)
    except Exception as fault:  # tifffile raises many kinds for a broken header
        raise InvalidInput("The slide's file cannot be read.", _BROKEN) from fault
    try:
        page = tif.pages[0]
        check_page(page)
        description = page.description or ""
        if "<!DOCTYPE" in description or "<!ENTITY" in description or len(description) > _MAX_XML:
            raise InvalidInput("The slide's description holds XML that slides do not have.", _BROKEN)
        for other in pages(tif)[1:]:
            check_blocks(other)
    except (InvalidInput, InputTooLarge):
        tif.close()
        raise
    except Exception as fault:
        tif.close()
        raise InvalidInput("The slide's file cannot be read.", _BROKEN) from fault
    return tif


def pages(tif: Any) -> list[Any]:
    """The pages of a file, without their sub-pages.

    Raises
    ------
    InputTooLarge : more than any slide has; a chain of pages may be as long as its file, or lead back into itself.
    """
    found = []
    for index in range(MAX_PAGES + 1):
        try:
            found.append(tif.pages[index])
        except IndexError:
            return found
    raise InputTooLarge(f"The file holds more than {MAX_PAGES} pictures.", _CONVERT)


def check_tiff(path: Path) -> None:
    """Judge a TIFF without reading pixels; raises as opened()."""
    opened(path).close()


class TiffLevels:
    """The levels of a TIFF, finest first.

    Parameters
    ----------
    path : of a TIFF

    Attributes
    ----------
    levels : of one picture; labels, macros and thumbnails are left out
    mpp : (x, y) micrometres per pixel as the file says, or None

    Raises
    ------
    InvalidInput, InputTooLarge : as check_page(), for every level; or a compression that is not known here.
    """

    def __init__(self, path: Path) -> None:
        self._tif = opened(path)
        try:
            self.levels = self._read_levels()
            self.mpp = _ome_mpp(self._tif.pages[0].description) or _tag_mpp(self.levels[0].page)
        except (InvalidInput, InputTooLarge):
            self._tif.close()
            raise
        except Exception as fault:
            self._tif.close()
            raise InvalidInput("The slide's file cannot be read.", _BROKEN) from fault
        self._file: BinaryIO = path.open("rb")
        self._cache: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._held = 0

    def _read_levels(self) -> list[Level]:
        there = pages(self._tif)
        first = max(there, key=lambda p: p.imagewidth * p.imagelength)
        size = (first.imagewidth, first.imagelength)
        if sum((p.imagewidth, p.imagelength) == size and not p.is_reduced for p in there) > 1:
            raise InvalidInput("The slide has several focus planes, times or channels.", _CONVERT)
        small = [p for p in there if p is not first and p.is_reduced]
        if len(first.subifds or ()) > MAX_PAGES:
            raise InputTooLarge(f"The file holds more than {MAX_PAGES} pictures.", _CONVERT)
        if first.subifds:
            small += [first.pages[index] for index in range(len(first.subifds))]
        found = []
        for page in [first, *(p for p in small if _same_picture(p, size))]:
            check_page(page)
            if int(page.compression) not in (*_NONE, *_JPEG, *_ZLIB) or int(page.predictor) not in (1, 2):
                raise InvalidInput(f"The slide's compression ({page.compression.name}) is not known here.", _CONVERT)
            found.append(Level((int(page.imagewidth), int(page.imagelength)), page))
        return sorted(found, key=lambda level: -level.size[0])

    def close(self) -> None:
        """Release the file."""
        self._file.close()
        self._tif.close()
        self._cache.clear()

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Array:
        """uint8 (height, width, 3) of one level, in its own pixels; white outside the picture."""
        page, (full_w, full_h) = self.levels[level].page, self.levels[level].size
        block_w, block_h = block_size(page)
        across = -(-full_w // block_w)
        answer = np.full((height, width, 3), 255, np.uint8)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, full_w), min(y + height, full_h)
        if x0 >= x1 or y0 >= y1:
            return answer
        for row in range(y0 // block_h, -(-y1 // block_h)):
            for column in range(x0 // block_w, -(-x1 // block_w)):
                block = self._block(level, row * across + column, (row * block_h, full_h))
                if block is None:
                    continue
                left, top = max(x0, column * block_w), max(y0, row * block_h)
                right, low = min(x1, (column + 1) * block_w), min(y1, (row + 1) * block_h)
                up, before = row * block_h, column * block_w
                part = block[top - up : low - up, left - before : right - before]
                answer[top - y : low - y, left - x : right - x] = part
        return answer

    def _block(self, level: int, index: int, row: tuple[int, int]) -> Optional[Array]:
        """Block ``index`` as uint8 (h, w, 3), from the cache if it is there; None where the file holds none."""
        key = (level, index)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        page = self.levels[level].page
        width, height = block_size(page)
        if not page.is_tiled:  # the last strip is as high as what is left
            height = min(height, row[1] - row[0])
        samples = int(page.samplesperpixel)
        if index >= len(page.dataoffsets):
            raise InvalidInput("A part of the slide is missing from the file.", _BROKEN)
        length = int(page.databytecounts[index])
        if length == 0:
            return None
        if length > 2 * width * height * samples + 65536:
            raise InvalidInput("A part of the slide is larger than it can be.", _BROKEN)
        self._file.seek(int(page.dataoffsets[index]))
        data = self._file.read(length)
        if len(data) < length:
            raise InvalidInput("The slide's file is cut off.", _BROKEN)
        block = _decoded(data, page, (height, width, samples))
        self._held += block.nbytes
        self._cache[key] = block
        while self._held > _CACHE_BYTES and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1].nbytes
        return block


def _same_picture(page: Any, size: tuple[int, int]) -> bool:
    """Whether a page has the shape of the whole; a label or a macro has not."""
    width, height = int(page.imagewidth), int(page.imagelength)
    scale = size[0] / max(width, 1)
    return scale > 1 and abs(size[1] / scale - height) <= 2 + 0.01 * height


def _decoded(data: bytes, page: Any, shape: tuple[int, int, int]) -> Array:
    """uint8 (h, w, 3) of one block; raises InvalidInput unless it is exactly as large as declared."""
    size = shape[0] * shape[1] * shape[2]
    if int(page.compression) in _JPEG:
        return _jpeg(data, page, shape)
    if int(page.compression) in _ZLIB:
        try:
            data = zlib.decompressobj().decompress(data, size + 1)
        except zlib.error as fault:
            raise InvalidInput("A part of the slide is damaged.", _BROKEN) from fault
    if len(data) != size:
        raise InvalidInput("A part of the slide is damaged.", _BROKEN)
    block = np.frombuffer(data, np.uint8).reshape(shape)
    if int(page.predictor) == 2:
        block = np.cumsum(block, axis=1, dtype=np.uint8)
    return block[..., :3]


def _jpeg(data: bytes, page: Any, shape: tuple[int, int, int]) -> Array:
    from PIL import Image

    tables = page.jpegtables
    head = bytes(tables[:-2]) if tables else data[:2]
    if int(page.photometric) == _RGB:
        # Without this mark a decoder takes three channels for YCbCr. TIFF 6, technical note 2.
        head = head[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + head[2:]
    try:
        picture = Image.open(io.BytesIO(head + data[2:]), formats=["JPEG"])
        if picture.size != (shape[1], shape[0]) or picture.mode != "RGB":  # before it is decoded
            raise InvalidInput("A part of the slide is not what the file says.", _BROKEN)
        return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise InvalidInput("A part of the slide is damaged.", _BROKEN) from fault


def _ome_mpp(description: str) -> Optional[tuple[float, float]]:
    """(x, y) from the first picture's Pixels element; None where it or its unit is missing or unknown."""
    if not description.rstrip().endswith("OME>"):
        return None
    try:
        root = ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError):
        return None
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "Pixels":
            sizes = []
            for axis in "XY":
                unit = _UM.get(element.get(f"PhysicalSize{axis}Unit", "µm"))
                value = element.get(f"PhysicalSize{axis}")
                try:
                    sizes.append(float(value) * unit if value and unit else None)
                except ValueError:
                    sizes.append(None)
            return (sizes[0], sizes[1]) if sizes[0] and sizes[1] else None
    return None


def _tag_mpp(page: Any) -> Optional[tuple[float, float]]:
    """(x, y) from the resolution tags, where their unit is a centimetre or an inch."""
    unit = {2: 25400.0, 3: 10000.0}.get(int(page.tags.valueof("ResolutionUnit", default=1)))
    pair = [page.tags.valueof(name, default=None) for name in ("XResolution", "YResolution")]
    if unit is None or any(value is None or value[0] <= 0 or value[1] <= 0 for value in pair):
        return None
    x, y = (unit * value[1] / value[0] for value in pair)
    return x, y
