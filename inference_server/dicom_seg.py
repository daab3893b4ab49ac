"""The nodules of a case as a DICOM segmentation: one binary segment each, on the slices of the source.

segmentation()     the object, or None where there is no nodule
segment_numbers()  of each nodule its segment; they count from 1 without a gap, which labels need not
tracking()         what names a nodule of a series, the same in every export

Source: DICOM PS3.3 A.51, C.8.20; terminology as SlicerLungXAI/LungXAILib/terminology.py.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from shared_models.contract.colours import nodule_colour
from shared_models.contract.errors import InvalidInput
from shared_models.contract.notice import NOTICE
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Nodule
from shared_models.contract.values import Array
from shared_models.phantom_dicom import new_uid

from .case_record import CaseRecord
from .dicom_codes import ABNORMAL, LUNG, NODULE, SIDES
from .dicom_header import algorithm, completed, decimals, described, maker, stand_ins
from .dicom_source import SourceSeries

SERIES_NUMBER = 9001
# Who drew the outline. A nodule pointed at is outlined by the model; one "by hand" is the reader's, however it began.
_ALGORITHM_TYPES = {"search": "AUTOMATIC", "point": "SEMIAUTOMATIC", "box": "SEMIAUTOMATIC", "hand": "MANUAL"}


def segment_numbers(record: CaseRecord) -> dict[int, int]:
    """Label of each nodule to the number of its segment; in the order of the labels."""
    assert record.radiology is not None
    return {label: number for number, label in enumerate(sorted(n.label for n in record.radiology.nodules), 1)}


def tracking(series: SourceSeries, label: int) -> tuple[str, str]:
    """(identifier, unique identifier) of the nodule with ``label`` in a series."""
    return f"LungXAI nodule {label}", new_uid(series.series_uid, "nodule", label)


def segmentation(record: CaseRecord, series: SourceSeries) -> Optional[Any]:
    """highdicom.seg.Segmentation of all nodules; None where there is none.

    Frames hold slices that a nodule is on, no others.

    Raises
    ------
    InvalidInput : the mask is missing, or its labels are not those of the nodules.
    BadGeometry : the mask is not on the series.
    """
    import highdicom
    from highdicom.content import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    assert record.radiology is not None
    if not record.radiology.nodules:
        return None
    numbers = segment_numbers(record)
    pixels, slices = _segments(record, series, numbers)
    images = stand_ins(series)
    first = images[0]
    nodules = sorted(record.radiology.nodules, key=lambda nodule: nodule.label)
    model = record.radiology.provenance[0] if record.radiology.provenance else None
    made = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=[_described(n, numbers[n.label], series, model) for n in nodules],
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        series_description=described("LungXAI nodules", record.synthetic),
        content_label="NODULES",
        content_description=NOTICE,
        pixel_measures=PixelMeasuresSequence(first.PixelSpacing, first.SliceThickness, first.SpacingBetweenSlices),
        plane_orientation=PlaneOrientationSequence("PATIENT", first.ImageOrientationPatient),
        plane_positions=[PlanePositionSequence("PATIENT", decimals(*series.positions[k])) for k in slices],
        omit_empty_frames=True,
        **maker(),
    )
    return completed(made, series)


def _segments(record: CaseRecord, series: SourceSeries, numbers: dict[int, int]) -> tuple[Array, Array]:
    """Segment numbers uint8 (slices that have any, rows, columns), and the index in the stack of each slice."""
    if record.mask is None:
        raise InvalidInput("The case has nodules but no segmentation.", "Analyse the CT again.")
    held = set(np.flatnonzero(np.bincount(record.mask.labels.ravel(), minlength=256)).tolist()) - {0}
    if held != set(numbers):
        raise InvalidInput("The case's segmentation does not hold the nodules listed.", "Analyse the CT again.")
    labels, (k, j, i) = series.on_stack(record.mask.labels, record.mask.ijk_to_lps)
    used = np.flatnonzero(labels.any(axis=(1, 2)))
    table = np.zeros(256, np.uint8)
    table[list(numbers)] = list(numbers.values())
    pixels = np.zeros((len(used), *series.shape[1:]), np.uint8)
    pixels[:, j : j + labels.shape[1], i : i + labels.shape[2]] = table[labels[used]]
    return pixels, used + k


def _described(nodule: Nodule, number: int, series: SourceSeries, model: Optional[Provenance]) -> Any:
    import highdicom
    from highdicom.sr import CodedConcept

    kind = _ALGORITHM_TYPES[nodule.found_by]
    if kind != "MANUAL" and model is None:
        raise InvalidInput("The result does not say which model made it.", "Analyse the CT again.")
    name, uid = tracking(series, nodule.label)
    segment = highdicom.seg.SegmentDescription(
        number, f"Nodule {nodule.label}", ABNORMAL, NODULE, kind,
        algorithm_identification=algorithm(model) if kind != "MANUAL" and model is not None else None,
        tracking_uid=uid, tracking_id=name, anatomic_regions=[LUNG],
        display_color=highdicom.color.CIELabColor.from_rgb(*nodule_colour(nodule.label)),
    )  # fmt: skip
    if nodule.side is not None:
        region = segment.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [CodedConcept.from_code(SIDES[nodule.side])]
    return segment
