"""DICOM headers of strangers, read without their pixels.

header()     the elements that a cohort needs, of one file; Damaged where it cannot be had whole

A header is bounded in bytes; a deflated file is refused before it is inflated; whether the pixels are all there is told
from the file's size.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

MAX_HEADER_BYTES = 64 << 20
MAX_READS = 600_000
TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "PatientSex", "PatientAge",
    "SeriesInstanceUID", "SeriesDescription", "FrameOfReferenceUID", "Rows", "Columns", "SamplesPerPixel",
    "BitsAllocated", "NumberOfFrames", "ImagePositionPatient",
)  # fmt: skip
# Pixels of these are as long as the header says; those of all others are compressed.
_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
PT = ("1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1")
IMAGES = (*CT, *PT)
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")


class NotDicom(Exception):
    """Another kind of file."""


class Damaged(Exception):
    """Cut short, or not readable; ``series_uid`` where the header was readable all the same."""

    def __init__(self, series_uid: str = "") -> None:
        super().__init__("damaged")
        self.series_uid = series_uid


class _Bounded:
    """A stream of which only so much is read as a header may have."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream, self._left, self._reads = stream, limit, MAX_READS
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left, self._reads = self._left - len(data), self._reads - 1
        if self._left < 0 or self._reads < 0:
            raise Damaged
        return data


def header(path: Path, tags: Sequence[str] = TAGS, limit: int = MAX_HEADER_BYTES) -> Any:
    """The data set of ``tags``, values parsed.

    Raises
    ------
    NotDicom : it does not begin as a DICOM file of an archive does.
    Damaged : cut short, larger than ``limit`` before its pixels, deflated, or not readable.
    """
    import pydicom
    from pydicom.filereader import read_dataset

    try:
        with path.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                if path.suffix.lower() == ".dcm":
                    raise Damaged
                raise NotDicom
            size = stream.seek(0, os.SEEK_END)
            stream.seek(132)
            bounded: Any = _Bounded(stream, limit)
            meta: Any = read_dataset(bounded, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
            syntax = str(meta.get("TransferSyntaxUID", ""))
            if syntax in _DEFLATED:
                raise Damaged
            stream.seek(0)
            dataset = pydicom.dcmread(bounded, stop_before_pixels=True, specific_tags=list(tags))
            here = stream.tell()
    except (NotDicom, Damaged):
        raise
    except Exception:  # the parser meets hostile bytes: whatever it raises, the file is not readable
        raise Damaged from None
    series = ""
    try:
        series = str(dataset.get("SeriesInstanceUID") or "")
        for name in tags:
            dataset.get(name)
        element = 8 if dataset.original_encoding[0] else 12  # the head of Pixel Data itself: implicit, explicit VR
        pixels = _pixel_bytes(dataset)
        short = syntax in _PLAIN and pixels and size - here - element < pixels
        # A file that ends within its header reads as one that has fewer elements.
        image = str(dataset.get("SOPClassUID") or "") in IMAGES and "Rows" in tags
        if short or not series or not dataset.get("SOPInstanceUID") or (image and not pixels):
            raise ValueError
        if "SOPClassUID" in tags and not dataset.get("SOPClassUID"):
            raise ValueError
    except Exception:  # values are parsed here for the first time
        raise Damaged(series) from None
    return dataset


def _pixel_bytes(dataset: Any) -> int:
    """Bytes of uncompressed pixels by the header; 0 where there are none."""
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not rows or not columns:
        return 0
    bits = int(rows) * int(columns) * int(dataset.get("SamplesPerPixel") or 1) * int(dataset.get("BitsAllocated") or 0)
    return bits * int(dataset.get("NumberOfFrames") or 1) // 8
