"""LIDC's reader annotations: contours and ratings of up to four readers, and which of them outline the same nodule.

Source: Armato et al. 2011, Med Phys 38:915, doi 10.1118/1.3528204; format: TCIA's page of LIDC-IDRI.

series_of()      SeriesInstanceUID that a file is about, without reading further
read_nodules()   the outlined nodules (3 mm and more) of every reader
Contour          one closed outline on one slice
ReaderNodule     one nodule of one reader
grouped()        nodules of different readers that overlap, together
agreed_mask()    pixels that so many readers of a group hold for nodule

LIDC's rule: the outline runs along the first pixels outside of the nodule, so its pixels are not nodule. Where
``included`` is false it cuts a hole: what lies within is not nodule, and the outline's pixels are. Departs from pylidc,
which chains readers by the distance of their outlines: here two belong together if they share a pixel, the pairs of the
largest overlap (IoU) first, and never two nodules of one reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from xml.etree.ElementTree import Element

import numpy as np

from ..contract.errors import InvalidInput
from ..contract.values import Array
from .safe_xml import first_text, parsed, read_bounded

RATINGS = ("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation",
           "texture", "malignancy")  # fmt: skip
_MOST_POINTS = 20_000
_SIDE = 4096
_MOST_PIXELS = 100_000_000  # within the boxes around all outlines of a file; a nodule of 30 mm has about 5,000 a slice
_BROKEN = "Download LIDC-XML-only.zip again."


@dataclass(frozen=True, eq=False)
class Contour:
    """``xy`` int32 (n, 2): columns and rows of its pixels, 0-based; ``z_mm`` of the slice, ``sop_uid`` its image."""

    sop_uid: str
    z_mm: float
    included: bool
    xy: Array


@dataclass(frozen=True, eq=False)
class ReaderNodule:
    """``reader`` 0 to 3; ``ratings`` 1 to 5 (6) by name of RATINGS, empty where the reader gave none."""

    reader: int
    contours: tuple[Contour, ...]
    ratings: dict[str, int]

    @property
    def z_mm(self) -> tuple[float, ...]:
        """Positions of its slices, in order."""
        return tuple(sorted({contour.z_mm for contour in self.contours}))

    def pixels(self) -> dict[str, set[tuple[int, int]]]:
        """(row, column) of its pixels by image."""
        found: dict[str, set[tuple[int, int]]] = {}
        for sop_uid in {contour.sop_uid for contour in self.contours}:
            own = [c for c in self.contours if c.sop_uid == sop_uid]
            low = np.min([c.xy.min(0) for c in own], axis=0)
            high = np.max([c.xy.max(0) for c in own], axis=0)
            shape = (int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
            rows, columns = np.nonzero(slice_mask(own, shape, (int(low[0]), int(low[1]))))
            found[sop_uid] = set(zip((rows + low[1]).tolist(), (columns + low[0]).tolist()))
        return found


def series_of(path: Path) -> Optional[str]:
    """UID of the CT series that a file is about; None for a radiograph's file or another XML.

    Raises
    ------
    InvalidInput : it cannot be read, or is made to attack.
    """
    return first_text(read_bounded(path), "SeriesInstanceUid")


def read_nodules(path: Path) -> tuple[ReaderNodule, ...]:
    """Nodules of 3 mm and more; smaller ones (one point) and non-nodules are passed over.

    Raises
    ------
    InvalidInput : it cannot be read, is no LIDC file, or holds coordinates that no CT has.
    """
    root = parsed(read_bounded(path))
    if root.tag != "LidcReadMessage":
        raise InvalidInput("The XML file is no reading of a CT by LIDC.", _BROKEN)
    found, left = [], _MOST_PIXELS
    for reader, session in enumerate(root.findall("readingSession")):
        for nodule in session.findall("unblindedReadNodule"):
            contours = tuple(_contour(roi) for roi in nodule.findall("roi") if len(roi.findall("edgeMap")) > 1)
            left -= sum(int(np.prod(np.ptp(contour.xy, axis=0) + 3)) for contour in contours)
            if left < 0:
                raise InvalidInput("The outlines of LIDC are larger than nodules are.", _BROKEN)
            if contours:
                found.append(ReaderNodule(reader, contours, _ratings(nodule)))
    return tuple(found)


def _contour(roi: Element) -> Contour:
    try:
        edges = roi.findall("edgeMap")
        if len(edges) > _MOST_POINTS:
            raise ValueError
        xy = np.array([[int(e.findtext("xCoord") or ""), int(e.findtext("yCoord") or "")] for e in edges], np.int32)
        z = float(roi.findtext("imageZposition") or "")
        if not np.isfinite(z) or xy.min() < 0 or xy.max() >= _SIDE:
            raise ValueError
    except (ValueError, OverflowError) as fault:
        raise InvalidInput("An outline of LIDC has coordinates that no CT has.", _BROKEN) from fault
    included = (roi.findtext("inclusion") or "TRUE").strip().upper() != "FALSE"
    return Contour((roi.findtext("imageSOP_UID") or "").strip(), z, included, xy)


def _ratings(nodule: Element) -> dict[str, int]:
    given = nodule.find("characteristics")
    values = {name: (given.findtext(name) or "").strip() for name in RATINGS} if given is not None else {}
    return {name: int(value) for name, value in values.items() if value in ("1", "2", "3", "4", "5", "6")}


def slice_mask(contours: Sequence[Contour], shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Array:
    """bool (rows, columns) of one reader's contours on one slice, its upper left at (column, row) ``origin``."""
    from PIL import Image, ImageDraw
    from scipy import ndimage

    mask = np.zeros(shape, bool)
    for contour in sorted(contours, key=lambda c: not c.included):  # holes last
        picture = Image.new("1", (shape[1] + 2, shape[0] + 2))
        ring = [(int(x) - origin[0] + 1, int(y) - origin[1] + 1) for x, y in contour.xy]
        ImageDraw.Draw(picture).line([*ring, ring[0]], fill=1)
        outline = np.asarray(picture)
        within = (ndimage.binary_fill_holes(outline) & ~outline)[1:-1, 1:-1]
        mask = mask | within if contour.included else mask & ~within
    return mask


def overlap(a: dict[str, set[tuple[int, int]]], b: dict[str, set[tuple[int, int]]]) -> float:
    """IoU over all slices of two sets of pixels by image; 0 where they share none."""
    shared = sum(len(a[uid] & b[uid]) for uid in a.keys() & b.keys())
    union = sum(map(len, a.values())) + sum(map(len, b.values())) - shared
    return shared / union if union else 0.0


def grouped(nodules: Sequence[ReaderNodule]) -> tuple[tuple[ReaderNodule, ...], ...]:
    """Nodules that overlap, largest overlap first, no two of one reader in a group; in the order of the file."""
    pixels = [nodule.pixels() for nodule in nodules]
    pairs = [
        (overlap(pixels[i], pixels[j]), i, j)
        for i in range(len(nodules)) for j in range(i) if nodules[i].reader != nodules[j].reader
    ]  # fmt: skip
    groups: list[set[int]] = [{i} for i in range(len(nodules))]
    of = list(range(len(nodules)))
    for shared, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        a, b = of[i], of[j]
        if shared <= 0 or a == b:
            continue
        if {nodules[k].reader for k in groups[a]} & {nodules[k].reader for k in groups[b]}:
            continue
        groups[a] |= groups[b]
        for k in groups[b]:
            of[k] = a
        groups[b] = set()
    return tuple(tuple(nodules[k] for k in sorted(group)) for group in sorted(filter(None, groups), key=min))


def agreed_mask(group: Sequence[ReaderNodule], sop_uid: str, shape: tuple[int, int], readers: int = 2) -> Array:
    """bool (rows, columns) of one image: pixels that at least ``readers`` readers hold for nodule."""
    votes = np.zeros(shape, int)
    for nodule in group:
        own = [contour for contour in nodule.contours if contour.sop_uid == sop_uid]
        votes += slice_mask(own, shape)
    result: Array = votes >= readers
    return result


def mean_rating(group: Sequence[ReaderNodule], name: str) -> Optional[float]:
    """Mean of a rating over the readers who gave it; None where none did."""
    given = [nodule.ratings[name] for nodule in group if name in nodule.ratings]
    return float(np.mean(given)) if given else None
