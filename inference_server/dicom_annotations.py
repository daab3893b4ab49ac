"""The tiles of a DICOM slide as Microscopy Bulk Simple Annotations, for the archive that the slide came from.

write_annotations()   tiles.dcm
annotations()         the object

One group per class, of the tiles that look most like it to the model; each tile is a polygon of four corners in pixels
of the slide's total pixel matrix at its finest level, with the probability of each assessed class and their entropy.
Tiles unlike those that the model learned from are a group of their own, which is not rated. The patient, study and
specimen modules are the source's. Not RECTANGLE, which not every reader knows (wsidicom 0.36 does not).

Source: DICOM PS3.3 A.87, C.37.1; classes by CID 638 (SNOMED CT).
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np

from qupath_bridge.tile_classes import TileClasses, tile_classes
from shared_models.contract.colours import CLASS_LABELS, NOT_ASSESSED
from shared_models.contract.errors import InvalidInput, LungXAIError, OutOfMemory, ServerError
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import PathologyResult
from shared_models.contract.values import CLASSES, Array
from shared_models.dicom_log import discreet
from shared_models.out_of_distribution import UNRELIABLE

from .case_record import CaseRecord
from .dicom_slide import DicomSlide

SERIES_NUMBER = 9005
_BELOW, _UNRATED = -1, -2  # places of tiles without a class: of a model's only class less than a half, or not rated
# What highdicom asks of the source by itself; it gets the source's own values at the end, as they are.
_NAMES = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
          "StudyTime", "ReferringPhysicianName")  # fmt: skip


def write_annotations(record: CaseRecord, slide_folder: Path, out: Path) -> list[Path]:
    """Write the tiles of the case's slide into ``out``, whole or not at all; an earlier file is replaced.

    Parameters
    ----------
    slide_folder : folder of the DICOM slide, or one of its files where the folder holds several
    out : made if missing

    Returns
    -------
    The file.

    Raises
    ------
    InvalidInput : the case has no tiles, there is no DICOM slide, or it is another one than the case's.
    ServerError, OutOfMemory : the file cannot be written.
    """
    made = annotations(record, DicomSlide.read(slide_folder))
    path, part = out / "tiles.dcm", out / "tiles.dcm.part"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with discreet():
            made.save_as(part, enforce_file_format=True)
        os.replace(part, path)
    except OSError as fault:
        raise ServerError(
            f"{path.name} could not be written: {fault.strerror}.", "Free disk space, or choose another folder."
        ) from fault
    finally:
        part.unlink(missing_ok=True)
    return [path]


def annotations(record: CaseRecord, slide: DicomSlide) -> Any:
    """highdicom.ann.MicroscopyBulkSimpleAnnotations of the tiles.

    Raises
    ------
    InvalidInput : as for write_annotations().
    OutOfMemory : there are too many tiles for this machine.
    """
    import highdicom

    from .dicom_header import carried, described, maker, scheme

    slide.check(record)
    assert record.pathology is not None
    try:
        with discreet():
            image = copy.deepcopy(slide.header)
            for name in _NAMES:
                setattr(image, name, "")
            made = highdicom.ann.MicroscopyBulkSimpleAnnotations(
                source_images=[image],
                annotation_coordinate_type="2D",
                pixel_origin_interpretation="VOLUME",
                annotation_groups=_groups(record.pathology, slide),
                series_instance_uid=highdicom.UID(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                series_description=described("LungXAI tiles", record.synthetic),
                content_label="TILES",
                content_description=NOTICE,
                coding_schemes=[scheme()],
                **maker(),
            )
            return carried(made, slide.header)
    except LungXAIError:
        raise
    except MemoryError:
        raise OutOfMemory("There is too little memory for the annotations.", "Close programs.") from None
    except (AttributeError, KeyError, TypeError, ValueError):  # highdicom, of a source that breaks DICOM's rules
        raise InvalidInput(
            "The slide's DICOM header lacks what an annotation has to refer to, or holds values that DICOM forbids.",
            "Export the slide again, or have the archive correct it.",
        ) from None


def _groups(result: PathologyResult, slide: DicomSlide) -> list[Any]:
    """One highdicom.ann.AnnotationGroup per class that has tiles, and of those without a class."""
    classes, corners = tile_classes(result), _corners(result, slide)
    winner = classes.winner if classes.names else np.full(len(corners), _UNRATED)
    if result.tile_reliability is not None:
        winner = np.where(result.tile_reliability < UNRELIABLE, _UNRATED, winner)
    groups: list[Any] = []
    for place in [*range(len(classes.names)), _BELOW, _UNRATED]:
        chosen = np.flatnonzero(winner == place)
        if len(chosen):
            groups.append(_group(len(groups) + 1, place, classes, chosen, corners[chosen], result))
    return groups


def _group(
    number: int, place: int, classes: TileClasses, chosen: Array, corners: Array, result: PathologyResult
) -> Any:  # fmt: skip
    """The group of class ``place``, an index of ``classes``, or of the tiles without one."""
    import highdicom
    from highdicom.color import CIELabColor

    from .dicom_codes import LUNG
    from .dicom_header import algorithm, plain

    label, category, kind, what = _named(place, classes)
    keys = classes.keys
    absent = [CLASS_LABELS[name].lower() for name in CLASSES if keys is not None and name not in keys]
    said = f" Not assessed: {', '.join(absent)}." if absent else ""
    return highdicom.ann.AnnotationGroup(
        number, highdicom.UID(), plain(label, 64), category, kind, "POLYGON", list(corners), "AUTOMATIC",
        algorithm(result.provenance[0]), _measured(chosen, place, classes, result), f"{what}{said} {NOTICE}",
        [LUNG], display_color=CIELabColor.from_rgb(*(classes.colours[place] if place >= 0 else NOT_ASSESSED)),
    )  # fmt: skip


def _named(place: int, classes: TileClasses) -> tuple[str, Any, Any, str]:
    """Label, category, type and description of a group."""
    from .dicom_codes import own
    from .dicom_header import plain
    from .dicom_tissue_codes import BELOW_HALF, NOT_RATED, TISSUE, TYPES

    if place == _UNRATED:
        return NOT_RATED.meaning, TISSUE, NOT_RATED, "Tiles unlike those that the model learned from."
    if place == _BELOW:
        return BELOW_HALF.meaning, TISSUE, BELOW_HALF, f"Tiles with less than a half of {plain(classes.names[0], 64)}."
    name = plain(classes.names[place], 64)
    category, kind = TYPES[classes.keys[place]] if classes.keys is not None else (TISSUE, own(f"other_{place}", name))
    return name, category, kind, f"Tiles that look most like {name.lower()} to the model."


def _measured(chosen: Array, place: int, classes: TileClasses, result: PathologyResult) -> list[Any]:
    """Probabilities and entropy of the tiles ``chosen``, how like the training tiles they are, and their quality."""
    from highdicom.ann import Measurements

    from .dicom_codes import NO_UNIT, PROBABILITIES, RELIABILITY, own
    from .dicom_header import plain
    from .dicom_tissue_codes import BIT, ENTROPY, QUALITY

    columns: list[tuple[Any, Array, Any]] = []
    if place != _UNRATED:  # what is not rated gets no number that looks like a rating
        for k, name in enumerate(classes.names):
            code = PROBABILITIES[classes.keys[k]] if classes.keys is not None else own(f"p_other_{k}", plain(name, 64))
            columns.append((code, classes.probabilities[:, k], NO_UNIT))
        columns.append((ENTROPY, classes.entropy_bits, BIT))
    for code, values in ((RELIABILITY, result.tile_reliability), (QUALITY, result.tile_quality)):
        if values is not None:
            columns.append((code, values, NO_UNIT))
    return [Measurements(code, np.asarray(values, np.float32)[chosen], unit) for code, values, unit in columns]


def _corners(result: PathologyResult, slide: DicomSlide) -> Array:
    """Each tile's corners, float (n, 4, 2), (column, row), clockwise from the upper left, held within the slide."""
    first = result.origin_px.astype(float)
    ends = np.clip(np.stack([first, first + result.tile_px], axis=1), 0, slide.size)
    exact = np.stack([ends[:, [0, 1, 1, 0], 0], ends[:, [0, 0, 1, 1], 1]], axis=2)
    short = exact.astype(np.float32)
    return short if (short == exact).all() else exact
