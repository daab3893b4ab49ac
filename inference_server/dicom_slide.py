"""DicomSlide: a slide in DICOM files as annotations refer to it, by the header of its finest level; is it a case's?

Source: DICOM PS3.3 A.32.8 (VL Whole Slide Microscopy Image).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.contract.results import PathologyResult
from shared_models.dicom_log import discreet
from shared_models.regular_files import files_below
from shared_models.slide_reader import Slide, open_slide

from .case_record import CaseRecord
from .slides import StoredSlide

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_MOST_FILES = 2_000
# Of 255: pixels that were read anew from the same file differ by nothing, resampled by another program by little.
_SAME_COLOUR = 8.0
_LOOKED_AT = 5
_LEAST_TISSUE, _MOST_BARE = 0.2, 0.1


@dataclass(frozen=True, eq=False)
class DicomSlide:
    """One slide.

    Parameters
    ----------
    path : file of its finest level
    header : pydicom.Dataset of that file, without pixels
    size : (columns, rows) of its total pixel matrix
    """

    path: Path
    header: Any
    size: tuple[int, int]

    @classmethod
    def read(cls, place: Path) -> DicomSlide:
        """The slide in a folder, or the one that a file is of.

        Raises
        ------
        InvalidInput : no DICOM slide there, several, or one whose finest level lies in several files.
        InputTooLarge : too many files.
        """
        import pydicom

        if not place.exists():
            raise InvalidInput("The slide is not there.", "Check the path.")
        found = []
        for number, file in enumerate(files_below(place if place.is_dir() else place.parent)):
            if number >= _MOST_FILES:
                raise InputTooLarge("The folder holds too many files.", "Give the folder of the slide alone.")
            with discreet():
                try:
                    header = pydicom.dcmread(file, stop_before_pixels=True)
                    size = int(header.TotalPixelMatrixColumns), int(header.TotalPixelMatrixRows)
                    kind = list(header.ImageType)
                except Exception:  # pydicom raises whatever it stumbles over: no slide, then
                    continue
            if header.get("SOPClassUID") == _WHOLE_SLIDE and "VOLUME" in kind:
                found.append(cls(file, header, size))
        if place.is_file():
            own = [one for one in found if one.path == place]
            found = [one for one in found if own and one.series == own[0].series]
        if not found:
            raise InvalidInput("There is no DICOM slide.", "Give the folder with the slide's .dcm files.")
        if len({one.series for one in found}) > 1:
            raise InvalidInput("The folder holds several slides.", "Give one file of the slide that was analysed.")
        finest = max(one.size[0] for one in found)
        levels = [one for one in found if one.size[0] == finest]
        if len(levels) > 1:
            raise InvalidInput(
                "The slide's finest level lies in several files.", "Export it with one file for each level."
            )
        return levels[0]

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return str(self.header.get("SeriesInstanceUID", ""))

    def check(self, record: CaseRecord) -> None:
        """Whether the case's tiles are of this slide: by their pixels, or where these are not known by where tissue is.

        Raises
        ------
        InvalidInput : the case has no tiles, or they are of another slide.
        """
        result = record.pathology
        if result is None or not len(result.origin_px):
            raise InvalidInput("This case has no tiles of a slide.", "Analyse its slide first.")
        inside = (result.origin_px + np.array(result.tile_px) > 0) & (result.origin_px < np.array(self.size))
        if not inside.all():
            raise _other_slide()
        with open_slide(self.path) as slide:
            same = _same_pixels(slide, record.slide, result) if record.slide is not None else _on_tissue(slide, result)
        if not same:
            raise _other_slide()


def _same_pixels(slide: Slide, stored: StoredSlide, result: PathologyResult) -> bool:
    """A few tiles, read again, look as they did."""
    width, height = result.tile_px
    for number in np.unique(np.linspace(0, stored.count - 1, _LOOKED_AT).astype(int)):
        x, y = (float(v) for v in stored.origin_px[number])
        now = slide.read(x, y, width, height, (stored.shape[1], stored.shape[0])).astype(float)
        if np.abs(now - stored.chosen(np.array([number]))[0]).mean() > _SAME_COLOUR:
            return False
    return True


def _on_tissue(slide: Slide, result: PathologyResult) -> bool:
    """Nearly all tiles lie on tissue, as those of the slide itself do; those of another one would lie on glass too."""
    from shared_models.slide_tissue import THUMBNAIL_PX, TissueMap, tissue_mask

    tissue = TissueMap(tissue_mask(slide.thumbnail(THUMBNAIL_PX)), slide.dimensions)
    shares = tissue.shares(result.origin_px.astype(float), *result.tile_px)
    return bool((shares < _LEAST_TISSUE).mean() <= _MOST_BARE)


def _other_slide() -> InvalidInput:
    return InvalidInput(
        "The case's tiles are not of this slide. Nothing was written.",
        "Give the DICOM slide that was analysed, or analyse this one.",
    )
