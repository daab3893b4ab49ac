"""What a segment is, in DICOM's words: Slicer's terminology entry, which DICOM SEG export reads.

NODULE, LUNG, SIDE_CODES    the codes
nodule_entry()              the entry of a nodule in a lung
side_of_entry()             the side that an entry names

Codes of SNOMED CT as DICOM has them: CID 7150 category, CID 7159 lesion (Nodule, M-03010 in the older SRT), CID 4031
region (Lung), CID 244 laterality. An entry is
``context~category~type~type modifier~region context~region~region modifier``, a code ``scheme^value^meaning``.
"""

from __future__ import annotations

from typing import Optional

Code = tuple[str, str, str]

CATEGORY: Code = ("SCT", "49755003", "Morphologically Altered Structure")
NODULE: Code = ("SCT", "27925004", "Nodule")
LUNG: Code = ("SCT", "39607008", "Lung")
SIDE_CODES: dict[str, Code] = {
    "left": ("SCT", "7771000", "Left"),
    "right": ("SCT", "24028007", "Right"),
}
TYPE_CONTEXT = "Segmentation category and type - DICOM master list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"
TAG = "TerminologyEntry"  # vtkSegmentation.GetTerminologyEntryTagName()
_NONE: Code = ("", "", "")


def nodule_entry(side: Optional[str]) -> str:
    """The terminology entry of a nodule in the lung of ``side``; None is a lung, which one not being known."""
    modifier = _NONE if side is None else SIDE_CODES[side]
    codes = ["^".join(code) for code in (CATEGORY, NODULE, _NONE)]
    region = ["^".join(code) for code in (LUNG, modifier)]
    return "~".join([TYPE_CONTEXT, *codes, REGION_CONTEXT, *region])


def side_of_entry(entry: str) -> Optional[str]:
    """The side that an entry names; None where it names none."""
    modifier = entry.rpartition("~")[2]
    return next((side for side, code in SIDE_CODES.items() if modifier == "^".join(code)), None)
