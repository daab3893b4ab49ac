"""What an archive holds of one patient or one study; asked only when the user names it.

find()         series, by QIDO-RS or C-FIND
FoundSeries    one of them, with what is needed to choose and to receive it
located()      the study that a series lies in
checked_uid()  a UID that may be put into a request
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput, ServerError

from .dicom_association import associated, broken_off, status_of
from .dicom_nodes import DimseNode, Node, WebNode

MOST_FOUND = 500
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# What matches more than one patient, or would be another query.
_WILD = re.compile(r"[*?\\\x00-\x1f\x7f]")


@dataclass(frozen=True)
class FoundSeries:
    """One series.

    Parameters
    ----------
    date : of the study, as the archive writes it (YYYYMMDD), or ""
    images : how many; None where the archive does not say
    """

    study_uid: str
    series_uid: str
    modality: str
    date: str
    description: str
    images: Optional[int]


_FIELDS = {"study_uid": ("StudyInstanceUID", "0020000D"), "series_uid": ("SeriesInstanceUID", "0020000E"),
           "modality": ("Modality", "00080060"), "date": ("StudyDate", "00080020"),
           "description": ("SeriesDescription", "0008103E"),
           "images": ("NumberOfSeriesRelatedInstances", "00201209")}  # fmt: skip


def checked_uid(uid: str, what: str) -> str:
    """``uid``, or InvalidInput where it is none; ``what`` names it."""
    if len(uid) > 64 or not _UID.fullmatch(uid):
        article = "an" if what == "image" else "a"
        raise InvalidInput(f"This is not the UID of {article} {what}.", "A UID has digits and dots only, 64 at most.")
    return uid


def find(node: Node, *, study: Optional[str] = None, patient: Optional[str] = None) -> list[FoundSeries]:
    """The series of one study or of one patient.

    Parameters
    ----------
    study : StudyInstanceUID
    patient : PatientID, in full

    Returns
    -------
    At most MOST_FOUND, newest study first. No name and no number of the patient is in it.

    Raises
    ------
    InvalidInput : neither is given, or something that more than one patient could match.
    LungXAIError : the archive cannot be reached, refuses, or answers with something else.
    """
    if (study is None) == (patient is None):
        raise InvalidInput("Series are looked for by study or by patient.", "Give one of --study and --patient.")
    if study is not None:
        checked_uid(study, "study")
    if patient is not None and (not patient.strip() or _WILD.search(patient) or len(patient) > 64):
        raise InvalidInput("This is not one patient's ID.", "Give the ID in full, without * or ?.")
    asked = {"StudyInstanceUID": study} if study is not None else {"PatientID": patient}
    found = list(_by_dimse(node, asked) if isinstance(node, DimseNode) else _by_web(node, asked))
    if study is not None and any(one.study_uid != study for one in found):
        raise ServerError("The archive answered with another study.", "Ask its administrator.")
    return sorted(found[:MOST_FOUND], key=lambda one: (one.date, one.study_uid, one.series_uid), reverse=True)


def located(client: Any, series_uid: str) -> str:
    """The study of a series of a DICOMweb archive.

    Parameters
    ----------
    client : of dicom_web.web_client()

    Raises
    ------
    InvalidInput : the archive has no such series, or cannot look for it.
    """
    from .dicom_web import json_value

    asked = {"SeriesInstanceUID": series_uid}
    answer = client.search_for_series(search_filters=asked, fields=["StudyInstanceUID"], limit=2)
    studies = {json_value(one, "0020000D") for one in answer if json_value(one, "0020000E") == series_uid}
    if len(studies) != 1:
        raise InvalidInput(
            "The archive has no series of this UID, or cannot look for it.", "Check the UID, or give --study too."
        )
    return checked_uid(studies.pop(), "study")


def matches(association: Any, node: DimseNode, level: str, asked: dict[str, Any]) -> Iterator[Any]:
    """Datasets that match, of a connection with the study root's find model.

    Parameters
    ----------
    level : STUDY, SERIES or IMAGE
    asked : keyword to value; "" asks for it
    """
    from pydicom import Dataset
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in asked.items():
        setattr(query, keyword, value)
    for answer, identifier in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
        status = status_of(answer)
        if status is None:
            raise broken_off(node)
        if status in (0xFF00, 0xFF01) and identifier is not None:
            yield identifier
        elif status != 0:
            raise ServerError(f"The node {node.name} refused the search (0x{status:04X}).", "Ask its administrator.")


def _by_web(node: WebNode, asked: dict[str, Any]) -> Iterator[FoundSeries]:
    from .dicom_web import answers, json_value, web_client

    with web_client(node) as (client, _), answers(node):
        fields = [keyword for keyword, _ in _FIELDS.values()]
        for one in client.search_for_series(search_filters=asked, fields=fields, limit=MOST_FOUND):
            yield _series({name: json_value(one, tag) for name, (_, tag) in _FIELDS.items()})


def _by_dimse(node: DimseNode, asked: dict[str, Any]) -> Iterator[FoundSeries]:
    from pynetdicom import build_context
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

    with associated(node, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
        if not association.accepted_contexts:
            raise ServerError(f"The node {node.name} does not let us search (C-FIND).", "Ask its administrator.")
        # By the standard, series are found below one study only.
        of_study = {**asked, "StudyInstanceUID": asked.get("StudyInstanceUID", ""), "StudyDate": ""}
        for study in list(matches(association, node, "STUDY", of_study))[:MOST_FOUND]:
            below = {keyword: "" for name, (keyword, _) in _FIELDS.items() if name != "date"}
            below["StudyInstanceUID"] = str(study.get("StudyInstanceUID", ""))
            for one in matches(association, node, "SERIES", below):
                said = {name: _text(one.get(keyword, "")) for name, (keyword, _) in _FIELDS.items()}
                yield _series({**said, "study_uid": below["StudyInstanceUID"], "date": _text(study.get("StudyDate"))})


def _text(value: Any) -> str:
    return "".join(c for c in str("" if value is None else value) if c.isprintable())[:256]


def _series(said: dict[str, str]) -> FoundSeries:
    images = int(said["images"]) if said["images"].isdecimal() and len(said["images"]) < 9 else None
    return FoundSeries(**{**said, "images": images})  # type: ignore[arg-type]
