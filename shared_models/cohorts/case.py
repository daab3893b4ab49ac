"""What every cohort reader yields: one patient (or one source field of tiles), with images and what is known.

CohortImage        one CT series, one slide, or one tile: where it lies, not its pixels
CohortAnnotation   a file that outlines something in one of the images
CohortCase         all of one patient
Exclusion          what was left out, and why; a value, not an error
Cohort             a reader: its name, licence, layout, and the function that reads

Nothing here holds a pixel, so a cohort of a terabyte is read in the memory of one patient. Identifiers are the public
pseudonyms of the collections; a text that is not of the collection's own form is never kept, shown or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from ..contract.errors import InvalidInput
from ..contract.values import CLASSES, ClinicalFields

SPLITS = ("train", "val", "test")
MODALITIES = ("CT", "PT", "slide", "tile")
KINDS = ("LIDC_XML", "VOC_XML", "RTSTRUCT", "SEG", "MASK")


@dataclass(frozen=True)
class CohortImage:
    """One image of a case.

    Parameters
    ----------
    path : the folder of a DICOM series, or the file of a slide or tile
    modality : one of MODALITIES
    series_uid : SeriesInstanceUID of a series, "" for slides and tiles
    slide_id : name of a slide or tile, "" for series
    group : images of one group show the same tissue and stay in one split; "" is the patient
    count : slices of a series, 1 for a slide or tile
    frame_uid : FrameOfReferenceUID of a series, "" where there is none; images that share it share their space (LPS mm)

    Raises
    ------
    InvalidInput : an unknown modality, or neither or both of series and slide named.
    """

    path: Path
    modality: str
    series_uid: str = ""
    slide_id: str = ""
    group: str = ""
    count: int = 1
    frame_uid: str = ""

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES or bool(self.series_uid) == bool(self.slide_id) or self.count < 1:
            raise InvalidInput("An image of a cohort is a series or a slide.", "Name one of the two.")

    @property
    def image_id(self) -> str:
        """The series' UID, or the slide's name."""
        return self.series_uid or self.slide_id


@dataclass(frozen=True)
class CohortAnnotation:
    """A file that outlines something in an image of the case.

    Parameters
    ----------
    path : the file (of VOC_XML: the patient's folder of them), or a series' folder (MASK)
    kind : one of KINDS
    series_uid : of the image that it belongs to, "" where the file does not say
    names : what it outlines, as the file calls it
    """

    path: Path
    kind: str
    series_uid: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput("An annotation of an unknown kind.", f"One of {', '.join(KINDS)}.")


@dataclass(frozen=True)
class CohortCase:
    """One patient of a cohort.

    Parameters
    ----------
    case_id : unique within the cohort
    patient_id : public pseudonym; what is split by. Where no patients are known, the source field
    cohort : name of the cohort
    label : one of contract CLASSES by histology, or None where the collection has none or another one
    clinical : the fields that the collection gives, or None
    images : CT and PET series, slides, tiles
    annotations : outlines
    split : "train", "val", "test", or None before a split was made
    splittable : False where it is not known what belongs together, so that every split but a given one would leak

    Raises
    ------
    InvalidInput : an unknown class or split, or no name.
    """

    case_id: str
    patient_id: str
    cohort: str
    label: Optional[str] = None
    clinical: Optional[ClinicalFields] = None
    images: tuple[CohortImage, ...] = ()
    annotations: tuple[CohortAnnotation, ...] = ()
    split: Optional[str] = None
    splittable: bool = True

    def __post_init__(self) -> None:
        if not self.case_id or not self.patient_id or not self.cohort:
            raise InvalidInput("A case of a cohort needs its names.", "Name case, patient and cohort.")
        if self.label is not None and self.label not in CLASSES:
            raise InvalidInput("A case of a class that there is not.", f"One of {', '.join(CLASSES)}.")
        if self.split is not None and self.split not in SPLITS:
            raise InvalidInput("A case of a split that there is not.", f"One of {', '.join(SPLITS)}.")

    def of(self, *modalities: str) -> tuple[CohortImage, ...]:
        """Its images of these modalities."""
        return tuple(image for image in self.images if image.modality in modalities)


@dataclass(frozen=True)
class Exclusion:
    """Something that was left out.

    Parameters
    ----------
    what : "patient", "series", "slide", "tile", "annotation", "row", "file"
    reason : why, in words that hold no identifier
    patient_id : public pseudonym, or "" where there is none of the collection's form
    """

    what: str
    reason: str
    patient_id: str = ""


Report = Callable[[Exclusion], None]


@dataclass(frozen=True)
class Cohort:
    """A reader of one public collection.

    Parameters
    ----------
    name : as the command takes it
    title, license, source : the collection, its licence, where it is (URL or DOI)
    shows : what results on it can show, and what not
    layout : the folders and files that are expected below the root
    read : (root, report) -> cases, lazily, in a fixed order; what is left out goes to ``report``. Raises InvalidInput
        where the root is not of this layout, or a table lacks a column that is needed
    notes : what the accounting says beside its numbers
    unit : what a "patient" is here
    """

    name: str
    title: str
    license: str
    source: str
    shows: str
    layout: str
    read: Callable[[Path, Report], Iterator[CohortCase]]
    notes: tuple[str, ...] = field(default=())
    unit: str = "patient"
