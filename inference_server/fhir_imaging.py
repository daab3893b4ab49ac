"""The FHIR resources that point at the CT's images.

add_study()       ImagingStudy: the series, and its images where the series is at hand
add_selection()   the images that a nodule lies on

R4 has no ImagingSelection. HL7's cross-version package hl7.fhir.uv.xver-r5.r4 0.1.0 says how R5's stands in R4: a Basic
whose extensions are its elements. Observation.derivedFrom of R4 cannot refer to a Basic, so the reference to the study,
which any R4 reader follows, bears the cross-version extension with the reference to the selection.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from shared_models.contract.results import LabelVolume, Nodule

from .fhir_codes import CODED, Json, concept, naming
from .fhir_entries import Entries, clean

if TYPE_CHECKING:
    from .dicom_source import SourceSeries

R5 = "http://hl7.org/fhir/5.0/StructureDefinition/extension-"
_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")


def is_uid(text: str) -> bool:
    """A DICOM UID; a case's CT may come from a file that has none."""
    return bool(_UID.fullmatch(text)) and len(text) <= 64


def add_study(entries: Entries, series_uid: str, series: Optional[SourceSeries], identified: bool) -> Json:
    """The study; its Reference.

    Parameters
    ----------
    series : with it the study's UID and all images are named
    identified : and date, accession number and descriptions, which may tell who the patient is
    """
    study: Json = {"status": "unknown" if series is None else "available", "subject": entries.reference("Patient")}
    study["modality"] = [CODED["ct"]]
    one: Json = {"uid": series_uid, "modality": CODED["ct"]}
    if series is None:
        if is_uid(series_uid):
            study["series"] = [one]
        else:
            study["identifier"] = [{"system": naming("series"), "value": clean(series_uid)}]
        return entries.add("ImagingStudy", study)
    first = series.datasets[0]
    study["identifier"] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{series.study_uid}"}]
    if identified:
        accession, day = _text(first, "AccessionNumber"), date_of(_text(first, "StudyDate"))
        if accession:
            study["identifier"].append({"type": concept(CODED["accession"]), "value": accession})
        study.update({"started": day} if day else {})
        study.update(_described(first, "StudyDescription"))
        one.update(_described(first, "SeriesDescription"))
    one.update(_number(first, "SeriesNumber"))
    instances = [
        {"uid": uid, "sopClass": _sop_class(sop_class), **_number(dataset, "InstanceNumber")}
        for (sop_class, uid), dataset in zip(series.instances, series.datasets)
    ]
    study.update(numberOfSeries=1, numberOfInstances=len(instances))
    study["series"] = [{**one, "numberOfInstances": len(instances), "instance": instances}]
    return entries.add("ImagingStudy", study)


def add_selection(entries: Entries, nodule: Nodule, mask: Optional[LabelVolume], series: SourceSeries) -> Json:
    """The images that the nodule's outline lies on, or without one the image nearest to its centre.

    Returns
    -------
    ``{"extension": [...]}`` for the Reference to the study.

    Raises
    ------
    BadGeometry : the mask is not on the series' grid.
    """
    frames: dict[int, list[int]] = {}
    for index in _slices(nodule, mask, series):
        file, frame = series.frames[index]
        frames.setdefault(file, []).extend([] if frame is None else [frame + 1])
    selected = []
    for file, numbers in sorted(frames.items()):
        sop_class, uid = series.instances[file]
        parts = [{"url": "uid", "valueId": uid}]
        number = _number(series.datasets[file], "InstanceNumber")
        parts += [{"url": "number", "valueUnsignedInt": number["number"]}] if number else []
        parts.append({"url": "sopClass", "valueCoding": _sop_class(sop_class)})
        parts += [{"url": "subset", "valueString": str(n)} for n in sorted(numbers)]
        selected.append({"url": f"{R5}ImagingSelection.instance", "extension": parts})
    maker = [{"url": "actor", "valueReference": entries.reference("Device/software")}]
    elements: list[Json] = [
        {"url": f"{R5}ImagingSelection.performer", "extension": maker},
        {"url": f"{R5}ImagingSelection.code", "valueCodeableConcept": concept(CODED["of_interest"])},
        {"url": f"{R5}ImagingSelection.studyUid", "valueId": series.study_uid},
        {"url": f"{R5}ImagingSelection.derivedFrom", "valueReference": entries.reference("ImagingStudy")},
        {"url": f"{R5}ImagingSelection.seriesUid", "valueId": series.series_uid},
        {"url": f"{R5}ImagingSelection.frameOfReferenceUid", "valueId": series.frame_of_reference_uid},
        *selected,
    ]
    reference = entries.add(
        f"Basic/nodule/{nodule.label}",
        {
            "extension": elements,
            "modifierExtension": [{"url": f"{R5}ImagingSelection.status", "valueCode": "available"}],
            "code": concept(CODED["of_interest"], text=f"Images that nodule {nodule.label} lies on"),
            "subject": entries.reference("Patient"),
        },
    )
    return {"extension": [{"url": f"{R5}Observation.derivedFrom", "valueReference": reference}]}


def _slices(nodule: Nodule, mask: Optional[LabelVolume], series: SourceSeries) -> list[int]:
    """Indices of slices of the stack."""
    if mask is not None:
        labels, start = series.on_stack(mask.labels, mask.ijk_to_lps)
        found = np.flatnonzero((labels == nodule.label).any(axis=(1, 2))) + start[0]
        if len(found):
            return [int(index) for index in found]
    place = np.linalg.solve(series.stack_to_lps, [*nodule.centre_lps_mm, 1.0])
    return [int(np.clip(np.rint(place[2]), 0, series.shape[0] - 1))]


def _sop_class(uid: str) -> Json:
    return {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{uid}"}


def _number(dataset: Any, keyword: str) -> Json:
    """``{"number": n}``, where the header has one that FHIR can hold."""
    try:
        value = int(dataset.get(keyword))
    except (TypeError, ValueError):
        return {}
    return {"number": value} if 0 <= value < 1 << 31 else {}


def _described(dataset: Any, keyword: str) -> Json:
    text = _text(dataset, keyword)
    return {"description": text} if text else {}


def _text(dataset: Any, keyword: str) -> str:
    value = str(dataset.get(keyword) or "").strip()
    return clean(value) if value else ""


def date_of(dicom: str) -> str:
    """A DICOM date as FHIR writes it; "" where it is none."""
    try:
        return datetime.datetime.strptime(dicom, "%Y%m%d").date().isoformat()
    except ValueError:
        return ""
