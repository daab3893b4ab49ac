"""A small slide as DICOM whole-slide files for the tests: two levels, uncompressed, that openslide and highdicom read.

tissue()        a picture with two pieces of pink tissue on glass; SYNTHETIC
write_slide()   a picture as a slide
SECRETS         whoever reads these in a message has found a leak
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
TILE = 64
SECRETS = ("Rossi^Maria", "PID-0815", "SPECIMEN-77")


def tissue(seed: int = 0, shape: tuple[int, int] = (512, 768)) -> np.ndarray:
    """uint8 (rows, columns, 3): noise of H&E's colours in two ellipses, white around them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = np.full((*shape, 3), 245, np.uint8)
    for cy, cx in random.uniform(0.3, 0.7, (2, 2)) * shape:
        inside = ((y - cy) / 140) ** 2 + ((x - cx) / 170) ** 2 < 1
        picture[inside] = random.normal((200, 110, 170), 12, (int(inside.sum()), 3)).clip(0, 255)
    return picture


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def level(picture: np.ndarray, number: int, mpp: float, series: str) -> Dataset:
    """One level; ``picture`` is (rows, columns, 3), its sides multiples of TILE or not."""
    rows, columns = picture.shape[:2]
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = WHOLE_SLIDE
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"{series}.{number}"
    image.SpecificCharacterSet = "ISO_IR 192"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.826.0.1.3680043.10.77", series
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = f"{series}.99", "SLIDE_CORNER"
    image.PatientName, image.PatientID = SECRETS[:2]
    image.PatientBirthDate, image.PatientSex, image.PatientAge = "19500101", "F", "076Y"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260102", "101500", "7", "A-1"
    image.ReferringPhysicianName, image.StudyDescription = "", "Biopsy, right upper lobe"
    image.ContentDate, image.ContentTime, image.AcquisitionDateTime = "20260102", "101500", "20260102101500"
    image.Modality, image.Manufacturer, image.ManufacturerModelName = "SM", "LungXAI tests", "drawn"
    image.DeviceSerialNumber, image.SoftwareVersions = "1", "1"
    image.ImageType = ["DERIVED" if number else "ORIGINAL", "PRIMARY", "VOLUME", "RESAMPLED" if number else "NONE"]
    image.SeriesNumber, image.InstanceNumber = 1, number + 1
    image.ContainerIdentifier = SECRETS[2]
    image.IssuerOfTheContainerIdentifierSequence, image.AcquisitionContextSequence = [], []
    image.ContainerTypeCodeSequence = [_code("433466003", "SCT", "Microscope slide")]
    specimen = Dataset()
    specimen.SpecimenIdentifier, specimen.SpecimenUID = SECRETS[2], "1.2.826.0.1.3680043.10.77.5"
    specimen.IssuerOfTheSpecimenIdentifierSequence, specimen.SpecimenPreparationSequence = [], []
    image.SpecimenDescriptionSequence = [specimen]
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.IlluminationTypeCodeSequence = [_code("111744", "DCM", "Brightfield illumination")]
    path.IlluminationColorCodeSequence = [_code("371251000", "SCT", "White")]
    image.OpticalPathSequence, image.NumberOfOpticalPaths = [path], 1
    image.VolumetricProperties, image.SpecimenLabelInImage, image.BurnedInAnnotation = "VOLUME", "NO", "NO"
    image.FocusMethod, image.ExtendedDepthOfField, image.LossyImageCompression = "AUTO", "NO", "00"
    image.DimensionOrganizationType, image.PositionReferenceIndicator = "TILED_FULL", "SLIDE_CORNER"
    image.TotalPixelMatrixColumns, image.TotalPixelMatrixRows, image.TotalPixelMatrixFocalPlanes = columns, rows, 1
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    image.TotalPixelMatrixOriginSequence, image.ImageOrientationSlide = [origin], [0, -1, 0, -1, 0, 0]
    image.ImagedVolumeWidth, image.ImagedVolumeHeight = columns * mpp / 1e3, rows * mpp / 1e3
    image.ImagedVolumeDepth = 1.0
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [mpp / 1e3, mpp / 1e3], 1.0
    shared.PixelMeasuresSequence = [measures]
    image.SharedFunctionalGroupsSequence = [shared]
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.Rows = image.Columns = TILE
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    down, across = -(-rows // TILE), -(-columns // TILE)
    whole = np.full((down * TILE, across * TILE, 3), 255, np.uint8)
    whole[:rows, :columns] = picture
    tiles = whole.reshape(down, TILE, across, TILE, 3).swapaxes(1, 2)
    image.NumberOfFrames, image.PixelData = down * across, tiles.tobytes()
    return image


def write_slide(
    folder: Path, picture: np.ndarray, mpp: float = 0.5, series: str = "1.2.826.0.1.3680043.10.77.1",
    edit: Callable[[Dataset], None] = lambda image: None,
) -> Path:  # fmt: skip
    """Two levels of ``picture`` in ``folder``; ``edit`` spoils each. The file of the finer one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = picture.shape[0] // 4 * 4, picture.shape[1] // 4 * 4
    coarse = picture[:rows, :columns].reshape(rows // 4, 4, columns // 4, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    for number, (pixels, size) in enumerate(((picture, mpp), (coarse, 4 * mpp))):
        image = level(pixels, number, size, series)
        edit(image)
        image.save_as(folder / f"level{number}.dcm", enforce_file_format=True)
    return folder / "level0.dcm"
