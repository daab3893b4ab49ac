"""Small CT series for the tests, whole or spoiled in one chosen way.

ct_image()       one CT Image Storage data set of 12 x 16 pixels, axial, HU that name the slice
write_series()   n of them in a folder, each through ``edit`` first
write()          one data set as a file; ``cut`` bytes taken off its end
enhanced_ct()    one multi-frame Enhanced CT with per-frame functional groups
"""

from collections.abc import Callable
from pathlib import Path
from typing import Optional

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

ROWS, COLUMNS = 12, 16
SPACING_Z = 2.5
# Whoever reads these in a message or a log has found a leak.
SECRETS = ("Doe^Jane", "PID-4711", "1.2.3.999")


def hu_of(index: int) -> np.ndarray:
    """The HU that slice ``index`` holds, int16 (rows, columns): air and tissue, different in each slice."""
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 7 - 1000 + 11 * index).astype(np.int16)


def ct_image(index: int, series: str = "1") -> Dataset:
    """Slice ``index`` at z = 2.5 * index, spacing 0.8 (columns) x 0.7 (rows) mm."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"1.2.3.999.{series}.{index + 1}"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.Modality = "CT"
    image.PatientName, image.PatientID = SECRETS[0], SECRETS[1]
    image.StudyInstanceUID = "1.2.3.999"
    image.SeriesInstanceUID = f"1.2.3.999.{series}"
    image.InstanceNumber = 1 + (index * 7) % 5  # says nothing about the order
    image.AcquisitionNumber = 1
    image.ImagePositionPatient = [-10.0, -20.0, SPACING_Z * index]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing = [0.7, 0.8]
    image.SliceThickness = 3.0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = ROWS, COLUMNS
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
    image.PixelData = (hu_of(index).astype(np.int32) + 1024).astype("<u2").tobytes()
    return image


def write(image: Dataset, path: Path, cut: int = 0) -> Path:
    """Write one data set; ``cut`` bytes are missing at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return path


def write_series(
    folder: Path, count: int = 6, edit: Optional[Callable[[Dataset, int], None]] = None, series: str = "1"
) -> Path:
    """Write ``count`` slices; ``edit(image, index)`` spoils them one by one."""
    for index in range(count):
        image = ct_image(index, series)
        if edit is not None:
            edit(image, index)
        # Names in another order than the slices: only the position may decide.
        write(image, folder / f"{(index * 37) % 101:03d}-{series}.dcm")
    return folder


def enhanced_ct(count: int = 5, shared_scale: bool = True) -> Dataset:
    """A multi-frame Enhanced CT; its frames lie in reverse order."""
    image = ct_image(0)
    image.SOPClassUID = EnhancedCTImageStorage
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(image, name)
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(image, name)
    image.NumberOfFrames = count
    scale, turn, measures = Dataset(), Dataset(), Dataset()
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, -1024, "HU"
    turn.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.8], 3.0
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([turn])
    shared.PixelMeasuresSequence = Sequence([measures])
    if shared_scale:
        shared.PixelValueTransformationSequence = Sequence([scale])
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    order = range(count - 1, -1, -1)
    groups = []
    for index in order:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [-10.0, -20.0, SPACING_Z * index]
        group.PlanePositionSequence = Sequence([place])
        if not shared_scale:
            group.PixelValueTransformationSequence = Sequence([scale])
        groups.append(group)
    image.PerFrameFunctionalGroupsSequence = Sequence(groups)
    image.PixelData = b"".join((hu_of(i).astype(np.int32) + 1024).astype("<u2").tobytes() for i in order)
    return image
