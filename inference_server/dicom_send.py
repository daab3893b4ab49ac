"""Results to the hospital's archive: only to a node that the user named, and only what LungXAI wrote, unless asked.

send()   by C-STORE (pynetdicom) or STOW-RS (dicomweb-client), one object at a time
Sent     what became of one object

The objects carry the patient module of the series that they were made from, so that the archive files them with it.
What is told of them here holds no identifier: a file's name, its SOP class, the archive's status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput, LungXAIError

from .dicom_association import MOST_CONTEXTS, associated, broken_off, status_of
from .dicom_nodes import DimseNode, Node, WebNode
from .dicom_objects import DicomObject, objects

STORED, CHANGED, REFUSED, NOT_SENT = "stored", "stored with a warning", "refused", "not sent"

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]

_SILENT = "the archive does not say why"
# DICOM PS3.4 annex B.2.3 and PS3.7 annex C; of a range by its first digits.
_STATUS = {
    0x0110: "the archive failed while it stored it",
    0x0111: "the archive holds an object of this number already",
    0x0117: "the archive says that the object's number is not valid",
    0x0122: "the archive does not keep this kind of object",
    0x0124: "this program may not store there",
    0xB000: "the archive changed some of its attributes",
    0xB006: "the archive left out some of its attributes",
    0xB007: "the archive says that it does not match its kind",
}
_RANGES = ((0xA700, 0xA7FF, "the archive has no room"), (0xA900, 0xA9FF, "the archive says it does not match its kind"),
           (0xC000, 0xCFFF, "the archive cannot understand it"))  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """What became of one object.

    Parameters
    ----------
    path : its file
    what : its SOP class in words
    state : STORED, CHANGED, REFUSED, or NOT_SENT (the connection broke before)
    status : the archive's, as it wrote it; "" where it gave none
    words : why, where it was not simply stored
    """

    path: Path
    what: str
    state: str
    status: str = ""
    words: str = ""


def send(
    paths: Sequence[Path], node: Node, on_progress: Progress = lambda stage, fraction: None,
    cancelled: Cancel = lambda: False, *, others: bool = False,
) -> list[Sent]:  # fmt: skip
    """Send DICOM files to an archive.

    Parameters
    ----------
    paths : files, or folders with them
    node : of dicom_nodes
    on_progress : told what is being sent, and the share of all bytes, 0 to 1, that is done
    cancelled : asked before each object; the rest is then NOT_SENT
    others : send objects too that LungXAI did not write

    Returns
    -------
    One for each object, in the order of ``paths``. Where the connection breaks, what was stored stays so and is told.

    Raises
    ------
    InvalidInput : nothing that may be sent, all checked before the first one is; or nobody agreed to this node.
    LungXAIError : the archive cannot be reached, or does not let us in.
    """
    node.check()
    found = objects(paths, others)
    total, done = sum(one.size for one in found) or 1, 0
    answers: list[Sent] = []
    way = _by_dimse(found, node) if isinstance(node, DimseNode) else _by_web(found, node)
    try:
        for one in found:
            if cancelled():
                break
            on_progress(one.what, done / total)
            answers.append(next(way))
            done += one.size
            on_progress(one.what, done / total)
    except LungXAIError as fault:
        if not answers:
            raise
        answers.append(_sent(found[len(answers)], NOT_SENT, "", f"{fault.message} {fault.remedy}".strip()))
    finally:
        way.close()
    answers += [_sent(one, NOT_SENT, "", "Stopped before.") for one in found[len(answers) :]]
    return answers


def _sent(one: DicomObject, state: str, status: str = "", words: str = "") -> Sent:
    return Sent(one.path, one.what, state, status, words)


def _by_dimse(found: Sequence[DicomObject], node: DimseNode) -> Iterator[Any]:
    from pynetdicom import build_context

    kinds = sorted({(one.sop_class, one.transfer_syntax) for one in found})
    if len(kinds) > MOST_CONTEXTS:
        raise InvalidInput("There are too many kinds of objects for one connection.", "Send fewer at a time.")
    with associated(node, [build_context(kind, [syntax]) for kind, syntax in kinds]) as association:
        taken = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
        for one in found:
            if (one.sop_class, one.transfer_syntax) not in taken:
                yield _sent(one, REFUSED, "", "the archive does not take this kind of object in this encoding")
                continue
            try:
                dataset = one.dataset()
            except InvalidInput as fault:
                yield _sent(one, NOT_SENT, "", fault.message)
                continue
            status = status_of(association.send_c_store(dataset))
            if status is None:
                raise broken_off(node)
            yield _of_status(one, status)


def _of_status(one: DicomObject, status: int) -> Sent:
    state = STORED if status == 0 else CHANGED if status >> 12 == 0xB or status in (0x0001, 0x0107) else REFUSED
    words = next((text for low, high, text in _RANGES if low <= status <= high), "")
    known = "" if state == STORED else _STATUS.get(status) or words or _SILENT
    return _sent(one, state, f"0x{status:04X}", known)


def _by_web(found: Sequence[DicomObject], node: WebNode) -> Iterator[Any]:
    import requests

    from .dicom_web import answers, web_client

    with web_client(node) as (client, session):
        session.headers["Accept"] = "application/dicom+json"
        for one in found:
            try:
                dataset = one.dataset()
            except InvalidInput as fault:
                yield _sent(one, NOT_SENT, "", fault.message)
                continue
            with answers(node):
                try:
                    sent = _of_answer(one, client.store_instances([dataset], one.study))
                except requests.HTTPError as fault:
                    refusal = _of_refusal(one, fault.response)
                    if refusal is None:
                        raise
                    sent = refusal
            yield sent


def _of_refusal(one: DicomObject, response: Any) -> Optional[Sent]:
    """What an HTTP error says of this object; None where it says something of the archive or of us."""
    from pydicom import Dataset

    status = 0 if response is None else response.status_code
    if status not in (400, 409, 413, 415, 422):
        return None
    if status == 409 and response.headers.get("Content-Type") in ("application/dicom+json", "application/json"):
        return _of_answer(one, Dataset.from_json(response.json()))
    return _sent(one, REFUSED, f"HTTP {status}", "the archive is too small for it" if status == 413 else _SILENT)


def _of_answer(one: DicomObject, said: Any) -> Sent:
    """By the Store Instances Response Module, DICOM PS3.18 annex I."""
    failed = [item for item in said.get("FailedSOPSequence", ()) if _is(item, one)] or said.get("OtherFailuresSequence")
    stored = [item for item in said.get("ReferencedSOPSequence", ()) if _is(item, one)]
    if failed:
        return _of_status(one, int(failed[0].get("FailureReason") or 0x0110))
    if not stored:
        return _sent(one, REFUSED, "", "the archive does not say that it stored it")
    warned = int(stored[0].get("WarningReason") or 0)
    return _of_status(one, warned) if warned else _sent(one, STORED, "HTTP 200")


def _is(item: Any, one: DicomObject) -> bool:
    return str(item.get("ReferencedSOPInstanceUID")) == one.sop_instance
