"""The pixels of CT slices as HU.

Uncompressed and the common compressed forms are decoded by pydicom; what it cannot decode (lossless JPEG, without
its plug-ins) goes to the decoders that ITK brings. A slice that cannot be decoded is counted, never guessed.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array
from .ct_slices import Slice


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
        try:
            index = 0 if one.frame is None else one.frame
            stored = pixel_array(_with_syntax(one) if one.bare else one.path, index=index)
            return one.to_hu(stored)
        except Exception:  # decoders meet hostile bytes: whatever they raise, the slice is not readable
            if not compressed:
                return None
    return _hu_by_itk(one)


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
