"""What QuPath wants to know of a slide before it opens it: which of its readers, which levels, which pixel size.

described()   a NewSlide of a file

QuPath's two readers for whole slides are OpenSlide and Bio-Formats. A file goes to the one that reads it here: what
openslide knows to OpenSlide, with the levels that openslide sees, since QuPath asks for a level by its number; the rest
(OME-TIFF, strips, PNG, JPEG) to Bio-Formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from shared_models.contract.errors import InvalidInput, SpacingUnknown

from .project_files import Level

OPENSLIDE = "qupath.lib.images.servers.openslide.OpenslideServerBuilder"
BIO_FORMATS = "qupath.lib.images.servers.bioformats.BioFormatsServerBuilder"
THUMBNAIL_PX = 512


@dataclass(frozen=True, eq=False)
class NewSlide:
    """A slide that is to be in a project.

    Parameters
    ----------
    path : the file, absolute
    provider, arguments : Java class of QuPath that reads it, and what it is told
    levels : finest first
    mpp : micrometres per level-0 pixel; None where neither the file nor the caller says
    thumbnail : JPEG, at most THUMBNAIL_PX wide and high; None for none
    """

    path: Path
    provider: str
    arguments: tuple[str, ...]
    levels: tuple[Level, ...]
    mpp: Optional[float]
    thumbnail: Optional[bytes] = None


def described(path: Path, mpp: Optional[float] = None) -> NewSlide:
    """What QuPath wants to know of a file.

    Parameters
    ----------
    mpp : where the file has none; a slide without any is described too, and QuPath then shows it in pixels

    Raises
    ------
    InvalidInput, InputTooLarge : as open_slide().
    """
    import openslide

    from shared_models.slide_reader import open_slide

    known = mpp
    try:
        slide = open_slide(path, mpp)
        known = slide.mpp
    except SpacingUnknown:
        if mpp is not None:
            raise
        slide = open_slide(path, 1.0)  # opened for its size and its picture alone; no pixel size is written
    with slide:
        sizes, thumbnail = list(slide.level_sizes), _jpeg(slide.thumbnail(THUMBNAIL_PX))
    file = path.resolve()
    if openslide.OpenSlide.detect_format(str(file)) is None:
        return NewSlide(file, BIO_FORMATS, ("--series", "0"), _levels(sizes), known, thumbnail)
    try:
        with openslide.OpenSlide(str(file)) as opened:
            sizes = [(int(w), int(h)) for w, h in opened.level_dimensions]
    except openslide.OpenSlideError as fault:
        raise InvalidInput(f"{path.name} cannot be read by openslide.", "Copy the file again.") from fault
    return NewSlide(file, OPENSLIDE, (), _levels(sizes), known, thumbnail)


def _levels(sizes: list[tuple[int, int]]) -> tuple[Level, ...]:
    """A downsample is the mean of both ratios, or whole where rounding of the sides alone parts it from that."""
    answer = []
    width, height = sizes[0]
    for w, h in sizes:
        mean = (width / w + height / h) / 2
        whole = round(mean)
        exact = abs(width / whole - w) <= 1 and abs(height / whole - h) <= 1
        answer.append(Level(float(whole) if exact else mean, w, h))
    return tuple(answer)


def _jpeg(pixels: object) -> bytes:
    import io

    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=85)
    return target.getvalue()
