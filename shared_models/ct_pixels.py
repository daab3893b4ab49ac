"""The pixels of CT slices as HU.

Uncompressed and the common compressed forms are decoded by pydicom; what it cannot decode (lossless JPEG, without
its plug-ins) goes to the decoders that ITK brings. A slice that cannot be decoded is counted, never guessed.
A decoder takes memory and time for the size that the compressed image itself names, so that is looked at first.
"""

from __future__ import annotations

import struct
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array
from .ct_slices import Slice

# The JPEG markers that are followed by a size: start of frame, of any process; 0xF7 is JPEG-LS.
_SIZED = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def same_pixels(one: Slice, other: Slice) -> bool:
    """Whether two slices hold the same HU; a damaged one equals none."""
    first, second = _hu(one), _hu(other)
    return first is not None and second is not None and np.array_equal(first, second)


def read_voxels(ordered: list[Slice]) -> tuple[Array, list[str]]:
    """HU of a stack, int16 (slices, rows, columns), and notes in words.

    Raises
    ------
    InvalidInput : slices are damaged, or their compression has no decoder here.
    """
    voxels = np.empty((len(ordered), ordered[0].rows, ordered[0].columns), np.int16)
    damaged, clipped = 0, 0
    for index, one in enumerate(ordered):
        hu = _hu(one)
        if hu is None or hu.shape != voxels.shape[1:] or not np.isfinite(hu).all():
            damaged += 1
            continue
        clipped += int(((hu < -32768) | (hu > 32767)).sum())
        voxels[index] = np.clip(np.rint(hu), -32768, 32767) if hu.dtype.kind == "f" else np.clip(hu, -32768, 32767)
    if damaged:
        raise InvalidInput(
            f"The pixels of {damaged} of {len(ordered)} slices are cut short or damaged.",
            "Copy or export the series again.",
        )
    notes = [f"{clipped} voxels lay outside the 16-bit range and were clipped."] if clipped else []
    return voxels, notes


def _hu(one: Slice) -> Optional[Array]:
    """HU of one slice (rows, columns), int32 or float64; None where the pixels are damaged.

    Raises
    ------
    InvalidInput : the compression has no decoder here.
    """
    from pydicom.pixels import get_decoder, pixel_array

    compressed = one.transfer_syntax.is_compressed
    if not compressed or get_decoder(one.transfer_syntax).is_available:
        if compressed and not _as_large_as_said(one):
            return None
        try:
            index = 0 if one.frame is None else one.frame
            stored = pixel_array(_with_syntax(one) if one.bare else one.path, index=index)
            return one.to_hu(stored)
        except Exception:  # decoders meet hostile bytes: whatever they raise, the slice is not readable
            if not compressed:
                return None
    return _hu_by_itk(one)


def _as_large_as_said(one: Slice) -> bool:
    """Whether the compressed image is as large as the data set says; True where it names no size (run lengths)."""
    import pydicom
    from pydicom.encaps import get_frame

    try:
        with one.path.open("rb") as stream:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
            stream.seek(stream.tell() + 12)  # the head of Pixel Data itself
            count = int(dataset.get("NumberOfFrames") or 1)
            frame = get_frame(stream, one.frame or 0, number_of_frames=count)
    except Exception:  # as in _hu()
        return False
    return image_size(frame) in (None, (one.columns, one.rows))


def image_size(frame: bytes) -> Optional[tuple[int, int]]:
    """(columns, rows) of a JPEG, JPEG-LS or JPEG 2000 image by its own header; None for what is none of them."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0 and len(frame) >= start + 24:
        right, low, left, top = struct.unpack_from(">4I", frame, start + 8)
        return right - left, low - top
    if frame[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in _SIZED:
            rows, columns = struct.unpack_from(">2H", frame, place + 5)
            return columns, rows
        place += 1 if marker == 0xFF else 2 + int(struct.unpack_from(">H", frame, place + 2)[0])
    return None


def _with_syntax(one: Slice) -> Any:
    """The whole data set of a file that does not say how it is encoded."""
    import pydicom

    dataset = pydicom.dcmread(one.path, force=True)
    dataset.file_meta.TransferSyntaxUID = one.transfer_syntax
    return dataset


def _hu_by_itk(one: Slice) -> Optional[Array]:
    """ITK brings its own decoders, such as lossless JPEG; it reads single-frame files only."""
    try:
        import SimpleITK

        if one.frame is not None:
            raise ImportError
    except ImportError:
        raise InvalidInput(
            f"The CT is compressed ({one.transfer_syntax.name}) and there is no decoder for it here.",
            "Install the decoders (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls), "
            "or export the series uncompressed.",
        ) from None
    if not _as_large_as_said(one):
        return None
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(one.path))
    try:
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() != 1 or tuple(reader.GetSize()) != (one.columns, one.rows, 1):
            return None
        values = SimpleITK.GetArrayFromImage(reader.Execute())[0]
    except RuntimeError:
        return None
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int32)
