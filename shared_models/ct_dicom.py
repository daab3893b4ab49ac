"""A folder of DICOM files to one CT volume.

surveyed()      headers only: which files are CT slices, and what else lies there
series_choice() the series to try, best first
read_dicom()    survey -> choice -> stack (ct_stack.py) -> pixels (ct_pixels.py)

Headers are read before any pixel, and the whole size is checked before memory is taken. A file that is damaged
stops the reading even at the end of the stack, where its absence would otherwise not show. No message or note
holds a name, an identifier, or a path.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .contract.errors import InputTooLarge, InvalidInput, LungXAIError
from .contract.values import CTVolume
from .ct_pixels import read_voxels, same_pixels
from .ct_slices import Slice, slices_of
from .ct_stack import stacked
from .dicom_log import discreet
from .regular_files import files_below

MAX_FILES = 50_000
MAX_SIDE = 2048
MAX_BYTES = 2 << 30
MAX_HEADER_BYTES = 64 << 20
MAX_HEADER_READS = 600_000  # two or three an element; an enhanced CT of 2048 images has about 300,000
MAX_FILE_BYTES = MAX_BYTES + (64 << 20)
_CT = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced
}
_DICOMDIR = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
_TAGS = """SOPClassUID SOPInstanceUID Modality ImageType SamplesPerPixel PhotometricInterpretation Rows Columns
    BitsAllocated BitsStored PixelRepresentation NumberOfFrames ImagePositionPatient ImageOrientationPatient
    PixelSpacing SliceThickness RescaleSlope RescaleIntercept RescaleType PixelPaddingValue SeriesInstanceUID
    StudyInstanceUID PatientID AcquisitionNumber TemporalPositionIdentifier TemporalPositionIndex TriggerTime
    NominalPercentageOfCardiacPhase ContrastBolusAgent ConvolutionKernel KVP AcquisitionTime
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence""".split()
# Reformatted or computed pictures: read only where there is nothing better.
_COMPUTED = {"SECONDARY", "MIP", "MINIP", "AVERAGE", "VRT", "SCREEN SAVE", "PROJECTION IMAGE"}


@dataclass
class Survey:
    """What the files are, from their headers alone."""

    slices: list[Slice] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    faults: dict[str, LungXAIError] = field(default_factory=dict)  # series -> why one of its images cannot be used
    damaged: int = 0
    files: int = 0


def read_dicom(path: Path) -> tuple[CTVolume, tuple[str, ...]]:
    """The CT under ``path`` (a folder, read with its sub-folders, or one file), and what to know of it in words.

    Raises
    ------
    InvalidInput : no CT there, files damaged, several patients, values that are not HU, no decoder.
    BadGeometry, SpacingUnknown : the slices make no regular stack.
    InputTooLarge : more than 2048 rows, columns or slices, or 2 GiB.
    """
    with discreet():
        survey = surveyed(path)
        if survey.damaged:
            raise InvalidInput(
                f"{survey.damaged} of {survey.files} files are cut short or damaged DICOM files.",
                "Copy or export the series again; a CT with a slice missing is not read.",
            )
        choices = series_choice(survey)
        if len({s.patient for s in survey.slices if s.patient}) > 1:
            raise InvalidInput("The folder holds CT images of several patients.", "Give one patient's folder.")
        refusals: list[LungXAIError] = []
        for slices in choices:
            try:
                if slices[0].series_uid in survey.faults:
                    raise survey.faults[slices[0].series_uid]
                _check_size(slices)
                ordered, affine, found = stacked(slices, same_pixels)
            except LungXAIError as refusal:
                refusals.append(refusal)
                continue
            voxels, more = read_voxels(ordered)
            volume = CTVolume(voxels, affine, ordered[0].series_uid or "dicom")
            return volume, (*_told(survey, len(choices), len(ordered), refusals), *found, *more)
        raise refusals[0]


def _told(survey: Survey, series: int, slices: int, refusals: list[LungXAIError]) -> list[str]:
    notes = []
    if series > 1:
        notes.append(f"{series} CT series were found; one with {slices} slices was read.")
    notes += [f"A series was left out: {refusal.message}" for refusal in refusals]
    return notes + [f"Left out: {what} ({n})." for what, n in sorted(survey.left_out.items())]


def surveyed(path: Path) -> Survey:
    """Read the header of every file under ``path``.

    Raises
    ------
    InputTooLarge : more than MAX_FILES files.
    """
    survey = Survey()
    for file in files_below(path):
        if file != path and file.name.upper() == "DICOMDIR":
            continue  # a table of contents
        survey.files += 1
        if survey.files > MAX_FILES:
            raise InputTooLarge(f"The folder holds more than {MAX_FILES} files.", "Give the folder of one series.")
        try:
            dataset, pixel_bytes = _header(file)
        except _LeftOut as why:
            survey.left_out[str(why)] += 1
            continue
        except _Damaged:
            survey.damaged += 1
            continue
        try:
            reason = _not_a_slice(dataset)
            if reason:
                survey.left_out[reason] += 1
            else:
                survey.slices += slices_of(dataset, file, pixel_bytes)
        except LungXAIError as fault:
            survey.faults.setdefault(str(dataset.get("SeriesInstanceUID") or ""), fault)
        except Exception:  # values are parsed here for the first time: whatever is raised, the header is not readable
            survey.damaged += 1
    return survey


def series_choice(survey: Survey) -> list[list[Slice]]:
    """Series to try, best first: acquired before computed, axial before others, then most slices.

    Raises
    ------
    InvalidInput : there is no CT series; the message says what is there instead.
    """
    series: dict[tuple[str, bool], list[Slice]] = {}
    for one in survey.slices:
        series.setdefault((one.series_uid, bool(_COMPUTED & set(one.image_type))), []).append(one)
    if not series:
        for fault in survey.faults.values():
            raise fault
        there = ", ".join(f"{what} ({n})" for what, n in survey.left_out.most_common(3)) or "nothing"
        raise InvalidInput(
            f"No CT series was found, but: {there}.",
            "Choose the folder of the CT series, or a .nrrd or .nii file itself.",
        )

    def rank(slices: list[Slice]) -> tuple[bool, bool, int]:
        computed = bool(_COMPUTED & set(slices[0].image_type))
        return not computed, bool(abs(slices[0].normal[2]) > 0.7), len(slices)

    return sorted(series.values(), key=rank, reverse=True)


class _LeftOut(Exception):
    """Not for us; the text says what it is, in the plural."""


class _Damaged(Exception):
    pass


class _Header:
    """A file of which only so much can be read as a header may have; more is _Damaged."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._reads, self._bytes = 0, 0
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        left = MAX_HEADER_BYTES - self._bytes
        data = self._stream.read(left + 1 if size < 0 else min(size, left + 1))
        self._reads, self._bytes = self._reads + 1, self._bytes + len(data)
        if self._reads > MAX_HEADER_READS or self._bytes > MAX_HEADER_BYTES:
            raise _Damaged
        return data


def _header(file: Path) -> tuple[Any, int]:
    """The elements of _TAGS, and how many bytes follow them in the file."""
    import pydicom
    from pydicom.filereader import read_dataset

    claims = file.suffix.lower() in (".dcm", ".dicom", ".ima")
    try:
        with file.open("rb") as stream:
            start = stream.read(132)
            size = stream.seek(0, os.SEEK_END)
            part10 = start[128:] == b"DICM"
            # Old exports have no preamble: they begin with an element of group 8, identifying the study.
            bare = start[:2] == b"\x08\x00" and start[3:4] == b"\x00"
            if not part10 and not bare:
                raise _Damaged if claims else _LeftOut("files that are not DICOM")
            if size > MAX_FILE_BYTES:
                raise InputTooLarge("A DICOM file is larger than 2 GiB.", "Crop the CT, or export it in slices.")
            stream.seek(0)
            header: Any = _Header(stream)
            meta: Any = {}
            if part10:
                stream.seek(132)
                meta = read_dataset(header, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
            stream.seek(0)
            if str(meta.get("TransferSyntaxUID", "")) in _DEFLATED:
                # A few bytes deflate a gigabyte, and the reader inflates without a limit.
                if str(meta.get("MediaStorageSOPClassUID", "")) not in _CT:
                    raise _LeftOut("deflated DICOM objects that are no CT images")
                raise InvalidInput("The DICOM files are deflated.", "Export them as Explicit VR Little Endian.")
            dataset = pydicom.dcmread(header, stop_before_pixels=True, force=bare, specific_tags=_TAGS)
            element = 8 if dataset.original_encoding[0] else 12  # the head of Pixel Data itself: implicit, explicit VR
            return dataset, size - stream.tell() - element
    except (_LeftOut, _Damaged, LungXAIError):
        raise
    except Exception:  # the parser meets hostile bytes: whatever it raises, the file is not readable
        raise _Damaged from None


def _not_a_slice(dataset: Any) -> str:
    """Why this is no CT slice, in words, or ""."""
    meta = getattr(dataset, "file_meta", {})
    sop = str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")
    modality = str(dataset.get("Modality") or "")
    if not re.fullmatch("[A-Z]{0,8}", modality):  # shown below, so it may hold nothing but a code
        modality = "other"
    if sop == _DICOMDIR:
        return "DICOM directories"
    if sop.startswith(_SECONDARY_CAPTURE):
        return "secondary captures, pictures of a screen"
    if sop not in _CT:
        return f"{modality} objects that are no CT images".strip()
    if modality not in ("CT", ""):
        return f"{modality} images"
    if "LOCALIZER" in {str(v).upper() for v in _listed(dataset.get("ImageType"))}:
        return "localizer (scout) images"
    if dataset.get("SamplesPerPixel", 1) not in (1, None):
        return "colour pictures"
    return ""


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _check_size(slices: list[Slice]) -> None:
    rows, columns = max(s.rows for s in slices), max(s.columns for s in slices)
    if max(rows, columns, len(slices)) > MAX_SIDE or rows * columns * len(slices) * 2 > MAX_BYTES:
        raise InputTooLarge(
            f"The CT has {len(slices)} slices of {columns} x {rows} pixels; "
            f"{MAX_SIDE} each way and 2 GiB in all are allowed.",
            "Crop it, or choose a series with thicker slices.",
        )
