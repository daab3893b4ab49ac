"""The DICOM files that are to be sent: what they are, whether they are ours, whether they are whole.

objects()      DicomObjects of files and folders
DicomObject    one file's SOP class, instance and transfer syntax
OURS           the SOP classes that LungXAI writes
complete()     whether a dataset has all its pixels
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.dicom_log import discreet
from shared_models.regular_files import files_below

OURS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR",
    "1.2.840.10008.5.1.4.1.1.30": "Parametric Map",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF",
    "1.2.840.10008.5.1.4.1.1.91.1": "Microscopy Bulk Simple Annotations",
}
_MOST_FILES = 10_000
_MOST_BYTES = 2 << 30  # one object is held in memory while it is sent
_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Manufacturer"]


@dataclass(frozen=True)
class DicomObject:
    """One file.

    Parameters
    ----------
    what : its SOP class in words
    size : bytes
    ours : one of OURS that LungXAI wrote
    """

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    study: str
    what: str
    size: int
    ours: bool

    def dataset(self) -> Any:
        """The whole pydicom.Dataset.

        Raises
        ------
        InvalidInput : the file is cut short, or has changed since it was looked at.
        """
        import pydicom

        try:
            with discreet():
                whole = pydicom.dcmread(self.path)
        except Exception:  # pydicom raises whatever it stumbles over
            raise _damaged(self.path) from None
        if str(whole.get("SOPInstanceUID")) != self.sop_instance or not complete(whole):
            raise _damaged(self.path)
        return whole


def objects(paths: Sequence[Path], others: bool = False) -> list[DicomObject]:
    """What lies at ``paths``, each once.

    Parameters
    ----------
    paths : DICOM files, or folders; what is no DICOM file in a folder, the report as HTML say, is passed over
    others : take objects too that LungXAI did not write

    Raises
    ------
    InvalidInput : nothing there, no DICOM, damaged, or not ours.
    InputTooLarge : too many files, or one that does not fit into memory.
    """
    found: dict[Path, DicomObject] = {}
    for path in paths:
        if not path.exists():
            raise InvalidInput(f"{path.name} is not there.", "Check the path.")
        for file in files_below(path):
            one = _object(file)
            if one is not None:
                found[file.resolve()] = one
            elif path.is_file():
                raise InvalidInput(f"{path.name} is no DICOM file.", "Give the .dcm files, or their folder.")
            if len(found) > _MOST_FILES:
                raise InputTooLarge(f"There are more than {_MOST_FILES} DICOM files.", "Send fewer at a time.")
    if not found:
        raise InvalidInput("There is no DICOM file.", "`lungxai report CASE --dicom FOLDER --out DIR` writes some.")
    foreign = Counter(one.what for one in found.values() if not one.ours)
    if foreign and not others:
        kinds = ", ".join(f"{what} ({count})" for what, count in foreign.most_common(4))
        raise InvalidInput(
            f"There are objects that LungXAI did not write: {kinds}. Nothing was sent.",
            "Give the folder of the results alone, or add --others if they are meant to be sent.",
        )
    return list(found.values())


def complete(dataset: Any) -> bool:
    """Whether uncompressed pixels are as many as the header says; True where that cannot be told."""
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    pixels = next((dataset[k] for k in ("PixelData", "FloatPixelData") if k in dataset), None)
    if pixels is None or syntax is None or not syntax.is_transfer_syntax or syntax.is_compressed:
        return True
    bits = int(dataset.BitsAllocated) * int(dataset.get("SamplesPerPixel") or 1)
    count = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    if "422" in str(dataset.get("PhotometricInterpretation")):
        return True  # fewer samples than pixels
    return len(pixels.value or b"") >= (bits * count + 7) // 8


def _object(file: Path) -> DicomObject | None:
    import pydicom

    from .dicom_header import MANUFACTURER

    try:
        with file.open("rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                return None
        with discreet():
            head = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        uids = [str(head.get(tag) or "") for tag in _TAGS[:3]]
        syntax, size = str(head.file_meta.TransferSyntaxUID), file.stat().st_size
    except Exception:  # pydicom raises whatever it stumbles over
        raise _damaged(file) from None
    if head.get("SOPClassUID") == "1.2.840.10008.1.3.10" or not uids[0]:
        return None  # DICOMDIR, a table of contents
    if size > _MOST_BYTES:
        raise InputTooLarge(f"{file.name} is larger than 2 GiB.", "Send it with the archive's own tools.")
    if not all(uids):
        raise _damaged(file)
    ours = uids[0] in OURS and str(head.get("Manufacturer", "")) == MANUFACTURER
    return DicomObject(file, *uids[:2], syntax, uids[2], OURS.get(uids[0]) or _name(uids[0]), size, ours)


def _name(sop_class: str) -> str:
    from pydicom.uid import UID

    uid = UID(sop_class)
    return uid.name.removesuffix(" Storage") if uid.name != uid else "an unknown kind of object"


def _damaged(file: Path) -> InvalidInput:
    return InvalidInput(f"{file.name} is a damaged DICOM file.", "Write it again, or leave it out.")
