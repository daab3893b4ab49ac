"""A volume as a DICOM CT series, labelled synthetic."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Union

import numpy as np

from .contract.values import CTVolume
from .geometry import index_to_lps


def new_uid(*parts: object) -> str:
    """A DICOM UID that follows from ``parts``."""
    return "2.25." + str(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "big"))


def write_dicom(volume: CTVolume, folder: Union[str, os.PathLike[str]], synthetic: bool = True) -> None:
    """Write ``volume`` as a CT series, one file per slice, that read_ct() reads back.

    Parameters
    ----------
    folder : made if missing; files are named by slice
    synthetic : name patient and series synthetic; else the patient's name stays empty

    The geometry is exact as far as 16 characters per number hold it, which is all that DICOM has.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
    from pydicom.valuerep import DSfloat

    def decimal(*values: float) -> list[Any]:
        return [DSfloat(float(v), auto_format=True) for v in values]

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    offset = 1024 if volume.voxels.min() >= -1024 else 0  # stored unsigned, as scanners do, where HU allow it
    axes = volume.ijk_to_lps[:3, :3] / volume.spacing_mm
    for index, hu in enumerate(volume.voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = new_uid(volume.series_uid, "image", index)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = pydicom.Dataset()
        image.file_meta = meta
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        image.ImageType = ["DERIVED" if synthetic else "ORIGINAL", "PRIMARY", "AXIAL"]
        image.StudyDate, image.StudyTime, image.AccessionNumber = "20260101", "120000", ""
        image.Modality, image.Manufacturer, image.ReferringPhysicianName = "CT", "LungXAI", ""
        image.PatientName = "SYNTHETIC^PHANTOM" if synthetic else ""
        image.PatientID = "SYNTHETIC" if synthetic else ""
        image.PatientBirthDate, image.PatientSex, image.PatientPosition = "", "", "HFS"
        if synthetic:
            image.StudyDescription = "Synthetic data, not a patient"
            image.SeriesDescription = "Synthetic thorax phantom"
        image.StudyInstanceUID = new_uid(volume.series_uid, "study")
        image.SeriesInstanceUID = volume.series_uid
        image.FrameOfReferenceUID = new_uid(volume.series_uid, "frame of reference")
        image.StudyID, image.SeriesNumber, image.AcquisitionNumber = "1", 1, 1
        image.InstanceNumber, image.PositionReferenceIndicator = index + 1, ""
        image.ImagePositionPatient = decimal(*index_to_lps(volume.ijk_to_lps, (0, 0, index)))
        image.ImageOrientationPatient = decimal(*axes[:, 0], *axes[:, 1])
        image.PixelSpacing = decimal(volume.spacing_mm[1], volume.spacing_mm[0])
        image.SliceThickness = decimal(volume.spacing_mm[2])[0]
        image.KVP = "120"
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = hu.shape
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = 0 if offset else 1
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = str(-offset), "1", "HU"
        image.WindowCenter, image.WindowWidth = "-500", "1500"
        stored = (hu.astype(np.int32) + offset).astype("<u2" if offset else "<i2")
        image.PixelData = stored.tobytes()
        image.save_as(folder / f"slice{index:04d}.dcm", enforce_file_format=True)
