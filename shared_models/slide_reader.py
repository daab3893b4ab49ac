"""Opens a slide, whatever wrote it, and reads it piece by piece.

open_slide()   SVS, NDPI, MRXS, DICOM and other scanner files (openslide), TIFF and OME-TIFF (slide_tiff), PNG and JPEG
Slide          size and pixel size of level 0; thumbnail() and read() at any scale

The pixel size is what the file says or what the caller gives; it is never guessed. A value no microscope has (such as
the 72 dpi that painting programs write) counts as not said. Memory is bounded by what is asked for, not by the file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Protocol, Union

import numpy as np

from .contract.errors import InputTooLarge, InvalidInput, SpacingUnknown
from .contract.values import Array
from .slide_tiff import MAX_SIDE_PX, TiffLevels, check_tiff, is_tiff

MIN_MPP, MAX_MPP = 0.05, 20.0
MAX_PICTURE_PX = 100_000_000
_MAX_READ_PX = 32_000_000
_MAX_OVERVIEW_PX = 4_000_000_000  # read in whole for the thumbnail; more takes many minutes
_CHUNK_PX = 2048
_UID_NAME = re.compile(r"(\d+(?:\.\d+)+)(?:\.dcm)?")
_REMEDY_FILE = "Copy the file again from the scanner or the archive; it may be incomplete."
_REMEDY_MPP = "Give the micrometres per pixel with --mpp (about 0.25 for a 40x scan, 0.5 for a 20x scan)."
_REMEDY_RGB = "Export it as 8-bit RGB."


class _Levels(Protocol):
    """What reads a file: levels finest first, and a region of one of them in its own pixels."""

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Array: ...
    def close(self) -> None: ...


class Slide:
    """An open slide.

    Attributes
    ----------
    dimensions : (width, height) of level 0, pixels
    level_sizes : (width, height) of each level, finest first
    mpp : micrometres per level-0 pixel
    slide_id : name of the file without its endings
    reopen : opens the file once more, for another thread: a handle serves one at a time

    Made by open_slide(); closes itself at the end of a ``with`` block.
    """

    def __init__(
        self, levels: _Levels, sizes: list[tuple[int, int]], mpp: float, slide_id: str, reopen: Callable[[], Slide]
    ) -> None:  # fmt: skip
        self._levels = levels
        self._sizes = sizes
        self.level_sizes = tuple(sizes)
        self.dimensions = sizes[0]
        self.mpp = mpp
        self.slide_id = slide_id
        self.reopen = reopen

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], fault: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._levels.close()

    def read(self, x: float, y: float, width: float, height: float, out_px: Union[int, tuple[int, int]]) -> Array:
        """A rectangle of level 0, at another scale.

        Parameters
        ----------
        x, y, width, height : level-0 pixels; what lies outside the slide is white
        out_px : (width, height) of the answer, or one number for a square

        Returns
        -------
        uint8 (out height, out width, 3), RGB; from the coarsest level that is fine enough, averaged down.

        Raises
        ------
        InvalidInput : that part of the file is damaged. InputTooLarge : more at once than fits the cap.
        """
        from PIL import Image

        out_w, out_h = (out_px, out_px) if isinstance(out_px, int) else out_px
        if out_w < 1 or out_h < 1 or width <= 0 or height <= 0:
            raise InvalidInput("A region without size was asked for.", "Report this.")
        level = self._level_for(min(width / out_w, height / out_h))
        sx = self._sizes[level][0] / self.dimensions[0]
        sy = self._sizes[level][1] / self.dimensions[1]
        left, top, right, low = x * sx, y * sy, (x + width) * sx, (y + height) * sy
        x0, y0 = math.floor(left + 1e-6), math.floor(top + 1e-6)
        x1, y1 = max(math.ceil(right - 1e-6), x0 + 1), max(math.ceil(low - 1e-6), y0 + 1)
        if (x1 - x0) * (y1 - y0) > _MAX_READ_PX or out_w * out_h > _MAX_READ_PX:
            raise InputTooLarge("Too much of the slide was asked for at once.", "Use a slide with a pyramid.")
        part = self._levels.region(level, x0, y0, x1 - x0, y1 - y0)
        if part.shape[:2] == (out_h, out_w) and abs(left - x0) < 1e-3 and abs(top - y0) < 1e-3:
            return part
        box = (max(left - x0, 0.0), max(top - y0, 0.0), min(right - x0, x1 - x0), min(low - y0, y1 - y0))
        picture = Image.fromarray(part).resize((out_w, out_h), Image.Resampling.BILINEAR, box=box)
        return np.asarray(picture)

    def thumbnail(self, max_px: int) -> Array:
        """The whole slide, its longer side ``max_px`` or the slide's own; uint8 (h, w, 3), RGB.

        Read in pieces, so that a slide without a pyramid takes no more memory than one with it.

        Raises
        ------
        InputTooLarge : the slide is so large that it needs a pyramid.
        """
        scale = min(1.0, max_px / max(self.dimensions))
        out_w, out_h = (max(1, round(side * scale)) for side in self.dimensions)
        answer = np.empty((out_h, out_w, 3), np.uint8)
        level = self._level_for(1 / scale)
        if self._sizes[level][0] * self._sizes[level][1] > _MAX_OVERVIEW_PX:
            raise InputTooLarge(
                f"The slide has no small copy of itself, and {self._sizes[level][0]} x {self._sizes[level][1]} pixels.",
                "Convert it to a tiled, pyramidal TIFF, for example with `vips tiffsave --tile --pyramid`.",
            )
        step = max(1, int(_CHUNK_PX * out_w / self._sizes[level][0]))
        px, py = self.dimensions[0] / out_w, self.dimensions[1] / out_h
        for top in range(0, out_h, step):
            for left in range(0, out_w, step):
                w, h = min(step, out_w - left), min(step, out_h - top)
                answer[top : top + h, left : left + w] = self.read(left * px, top * py, w * px, h * py, (w, h))
        return answer

    def _level_for(self, downsample: float) -> int:
        """The coarsest level that is no coarser than ``downsample``."""
        fits = [i for i, size in enumerate(self._sizes) if self.dimensions[0] / size[0] <= downsample * 1.01]
        return fits[-1] if fits else 0


class _OpenSlideLevels:
    """A file that openslide reads."""

    def __init__(self, path: Path) -> None:
        import openslide

        self._fault = openslide.OpenSlideError
        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as fault:
            raise InvalidInput("The slide's file cannot be read.", _REMEDY_FILE) from fault
        self.sizes = [(int(w), int(h)) for w, h in self._slide.level_dimensions]
        self._factors = [float(d) for d in self._slide.level_downsamples]
        said = [self._slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
        self.mpp = _pair(said)
        if not all(0 < side <= MAX_SIDE_PX for size in self.sizes for side in size):
            self.close()
            raise InputTooLarge(f"The slide claims to be {self.sizes[0]} pixels.", _REMEDY_FILE)

    def close(self) -> None:
        self._slide.close()

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Array:
        from PIL import Image

        place = (round(x * self._factors[level]), round(y * self._factors[level]))
        try:
            read = self._slide.read_region(place, level, (width, height))
        except self._fault as fault:
            raise InvalidInput("A part of the slide is damaged.", _REMEDY_FILE) from fault
        # What the scanner did not record is transparent, and is shown as glass.
        white = Image.new("RGB", read.size, (255, 255, 255))
        white.paste(read, mask=read.getchannel("A"))
        return np.asarray(white)


class _Picture:
    """A picture without a pyramid, held in memory: PNG, JPEG, or a TIFF of moderate size that nothing else reads."""

    def __init__(self, path: Path) -> None:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path, formats=["PNG", "JPEG", "TIFF", "BMP"]) as picture:
                if picture.width * picture.height > MAX_PICTURE_PX:  # before pixels are read
                    raise InputTooLarge(
                        f"The picture has {picture.width} x {picture.height} pixels, too many without tiles.",
                        "Convert it to a tiled, pyramidal TIFF.",
                    )
                if picture.mode not in ("RGB", "RGBA"):
                    raise InvalidInput(f"The picture is not 8-bit RGB (it is {picture.mode}).", _REMEDY_RGB)
                if picture.mode == "RGBA":
                    white = Image.new("RGB", picture.size, (255, 255, 255))
                    white.paste(picture, mask=picture.getchannel("A"))
                    self._pixels = np.asarray(white)
                else:
                    self._pixels = np.asarray(picture)
        except Image.DecompressionBombError as fault:
            raise InputTooLarge("The picture has too many pixels.", "Convert it to a tiled TIFF.") from fault
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as fault:
            raise InvalidInput("The picture cannot be read.", _REMEDY_FILE) from fault
        self.sizes = [(self._pixels.shape[1], self._pixels.shape[0])]

    def close(self) -> None:
        self._pixels = np.empty((0, 0, 3), np.uint8)

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Array:
        full_h, full_w = self._pixels.shape[:2]
        answer = np.full((height, width, 3), 255, np.uint8)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, full_w), min(y + height, full_h)
        if x0 < x1 and y0 < y1:
            answer[y0 - y : y1 - y, x0 - x : x1 - x] = self._pixels[y0:y1, x0:x1]
        return answer


def _pair(said: list[Any]) -> Optional[tuple[float, float]]:
    try:
        x, y = (float(value) for value in said)
    except (TypeError, ValueError):
        return None
    return x, y


def _checked_mpp(said: Optional[tuple[float, float]], given: Optional[float]) -> float:
    if given is not None:
        if not (math.isfinite(given) and MIN_MPP <= given <= MAX_MPP):
            raise SpacingUnknown(f"{given} is not a pixel size of a slide ({MIN_MPP} to {MAX_MPP}).", _REMEDY_MPP)
        return float(given)
    if said is None or not all(math.isfinite(v) and MIN_MPP <= v <= MAX_MPP for v in said):
        raise SpacingUnknown("The slide does not say how large its pixels are.", _REMEDY_MPP)
    if abs(said[0] - said[1]) > 0.05 * max(said):
        raise InvalidInput(f"The slide's pixels are not square ({said[0]:.3g} x {said[1]:.3g} µm).", _REMEDY_RGB)
    return (said[0] + said[1]) / 2


def open_slide(path: Union[str, os.PathLike[str]], mpp: Optional[float] = None) -> Slide:
    """Open a slide.

    Parameters
    ----------
    path : SVS, NDPI, MRXS, SCN, BIF, DICOM, TIFF, OME-TIFF, PNG, JPEG
    mpp : micrometres per level-0 pixel; only needed where the file does not say

    Raises
    ------
    SpacingUnknown : the file does not say its pixel size and ``mpp`` is not given.
    InvalidInput : not a slide, damaged, cut off, or not 8-bit RGB.
    InputTooLarge : the header asks for more memory than a real slide would.
    """
    file = Path(path)
    if not file.exists():
        raise InvalidInput(f"There is no file {file.name}.", "Check the path.")
    if not (file.is_file() or file.is_dir()):
        raise InvalidInput(f"{file.name} is no file.", "Choose the slide's file.")  # a pipe would be waited for
    levels, sizes, said = _levels(file)
    try:
        return Slide(levels, sizes, _checked_mpp(said, mpp), _name(file), lambda: open_slide(file, mpp))
    except InvalidInput:
        levels.close()
        raise


def _name(file: Path) -> str:
    """Up to the first dot; a DICOM file or folder that is named by its UID keeps all of it, since they begin alike."""
    uid = _UID_NAME.fullmatch(file.name)
    return uid[1] if uid else file.name.split(".")[0] or file.name


def _levels(file: Path) -> tuple[_Levels, list[tuple[int, int]], Optional[tuple[float, float]]]:
    import openslide

    vendor = None if file.is_dir() else openslide.OpenSlide.detect_format(str(file))
    if vendor == "hamamatsu" or (vendor is not None and not is_tiff(file)):
        # NDPI keeps a whole level in one strip and is read by its restart marks; the rest are not TIFF.
        scanner = _OpenSlideLevels(file)
        return scanner, scanner.sizes, scanner.mpp
    if file.is_dir():
        raise InvalidInput(f"{file.name} is a folder.", "Choose the slide's file in it.")
    if not is_tiff(file):
        picture = _Picture(file)
        return picture, picture.sizes, None
    check_tiff(file)
    if vendor is not None and vendor != "generic-tiff":
        scanner = _OpenSlideLevels(file)
        return scanner, scanner.sizes, scanner.mpp
    try:
        tiff = TiffLevels(file)
        return tiff, [level.size for level in tiff.levels], tiff.mpp
    except InputTooLarge:
        raise
    except InvalidInput as fault:
        if "compression" not in fault.message:
            raise
    if vendor is not None:
        scanner = _OpenSlideLevels(file)
        return scanner, scanner.sizes, scanner.mpp
    picture = _Picture(file)
    return picture, picture.sizes, None
