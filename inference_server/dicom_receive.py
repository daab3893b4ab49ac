"""One series out of an archive, or out of a folder, into a folder of its own.

receive()   by WADO-RS, by C-GET, or copied; whole or not at all, and taken up again where it stopped
Received    what came

Nothing is fetched but the one series that the user names. What an archive says is checked before it is believed: how
many images and how large before the first is sent for, then every image against the series that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Optional, Union

from shared_models.contract.errors import Cancelled, InputTooLarge, InvalidInput, LungXAIError, ServerError
from shared_models.dicom_log import discreet
from shared_models.regular_files import files_below

from .dicom_association import associated, broken_off, status_of
from .dicom_incoming import MAX_BYTES, MAX_IMAGES, IncomingSeries
from .dicom_nodes import DimseNode, Node, WebNode
from .dicom_query import checked_uid, located, matches
from .dicom_web import answers, json_value, web_client

Progress = Callable[[str, float], None]
Cancel = Callable[[], bool]
Step = Callable[[int], None]

_HEADER_BYTES = 16 << 20  # that an image may have beside its pixels
_MOST_IMAGE_BYTES = (2 << 30) + _HEADER_BYTES
_MOST_FILES = 200_000
_SYNTAXES = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.5",
)  # fmt: skip


@dataclass(frozen=True)
class Received:
    """A series that came.

    Parameters
    ----------
    folder : where it is
    images, size : how many, and their bytes
    fetched : of them now; the rest lay there from an attempt before
    """

    folder: Path
    images: int
    size: int
    fetched: int


def receive(
    source: Union[Node, Path], series_uid: str, out: Path, on_progress: Progress = lambda stage, fraction: None,
    cancelled: Cancel = lambda: False, *, study_uid: Optional[str] = None, max_images: int = MAX_IMAGES,
    max_bytes: int = MAX_BYTES,
) -> Received:  # fmt: skip
    """Receive one series.

    Parameters
    ----------
    source : a node of dicom_nodes, or a folder in which the series lies among others
    series_uid : SeriesInstanceUID
    out : folder, not there yet or empty; beside it ``out``.partial holds what came until all did
    on_progress : told what goes on, and the share of the images, 0 to 1
    cancelled : asked between and within images
    study_uid : StudyInstanceUID, for archives that cannot look for a series alone

    Raises
    ------
    InvalidInput : no such series, not a UID, ``out`` is taken, or the archive sent another series or damaged images.
    InputTooLarge : more images or bytes than allowed, or than the archive announced.
    OutOfMemory : no room on the disk.
    ServerUnreachable, ServerTimeout, ServerError : the archive; what came is kept in ``out``.partial.
    Cancelled : by ``cancelled``; likewise.
    """
    checked_uid(series_uid, "series")
    if study_uid is not None:
        checked_uid(study_uid, "study")
    if not isinstance(source, Path):
        source.check()
    incoming = IncomingSeries(series_uid, out, max_images, max_bytes)
    before = len(incoming.held)

    def step(total: int) -> None:
        if cancelled():
            raise Cancelled("Stopped.", "What came is kept; ask for the same series again to go on.")
        on_progress("receiving", len(incoming.held) / max(total, 1))

    try:
        if isinstance(source, Path):
            _from_folder(source, series_uid, incoming, step)
        elif isinstance(source, DimseNode):
            _by_dimse(source, series_uid, study_uid, incoming, step)
        else:
            _by_web(source, series_uid, study_uid, incoming, step, cancelled)
        folder = incoming.finish()
    finally:
        incoming.leave()
    on_progress("receiving", 1.0)
    return Received(folder, len(incoming.held), incoming.size, len(incoming.held) - before)


def _by_web(
    node: WebNode, series: str, study: Optional[str], incoming: IncomingSeries, step: Step, cancelled: Cancel
) -> None:  # fmt: skip
    with web_client(node, cancelled) as (client, session), answers(node):
        study = study or located(client, series)
        announced = dict(_announced(client.retrieve_series_metadata(study, series), series))
        missing = [uid for uid in announced if uid not in incoming.held]
        _check_announced(incoming, len(announced), sum(announced[uid] for uid in missing))
        for uid in missing:
            step(len(announced))
            # Twice: what an encoding, or a header, may add to the pixels themselves.
            session.limit = min(2 * announced[uid] + _HEADER_BYTES, _MOST_IMAGE_BYTES)
            image = client.retrieve_instance(study, series, uid, media_types=(("application/dicom", "*"),))
            if str(image.get("SOPInstanceUID")) != uid and incoming.checked(image):
                raise InvalidInput("The archive sent another image than the one asked for.", "Ask its administrator.")
            incoming.add(image)
        step(len(announced))


def _announced(metadata: Any, series: str) -> Iterator[tuple[str, int]]:
    """SOPInstanceUID and bytes of pixels of each image, by the archive's metadata."""
    for one in metadata:
        if json_value(one, "0020000E") != series:
            raise InvalidInput(
                "The archive answered with another series than the one that was asked for.", "Ask its administrator."
            )
        uid = checked_uid(json_value(one, "00080018"), "image")
        rows, columns, bits = (_number(json_value(one, tag), 0) for tag in ("00280010", "00280011", "00280100"))
        samples, frames = (_number(json_value(one, tag), 1) for tag in ("00280002", "00280008"))
        size = rows * columns * bits * samples * frames // 8
        if size > _MOST_IMAGE_BYTES:
            raise InputTooLarge("An image of the series has more than 2 GiB.", "Receive it by the archive's own tools.")
        yield uid, size


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else otherwise


def _check_announced(incoming: IncomingSeries, images: int, size: int) -> None:
    if not images:
        raise InvalidInput("The archive has no images of this series.", "Check the UID with `lungxai dicom find`.")
    incoming.check_announced(images, size)


def _by_dimse(node: DimseNode, series: str, study: Optional[str], incoming: IncomingSeries, step: Step) -> None:
    from pydicom import dcmread
    from pynetdicom import build_context, build_role, evt
    from pynetdicom.sop_class import (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
    )

    asked = {"SeriesInstanceUID": series, "StudyInstanceUID": study or ""}
    with associated(node, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
        if not association.accepted_contexts:
            raise ServerError(f"The node {node.name} does not let us search (C-FIND).", "Ask its administrator.")
        if study is None:
            studies = {str(one.get("StudyInstanceUID", "")) for one in matches(association, node, "SERIES", asked)}
            if len(studies) != 1:
                raise InvalidInput(
                    "The archive has no series of this UID, or cannot look for it.",
                    "Check the UID, or give --study too.",
                )
            asked["StudyInstanceUID"] = checked_uid(studies.pop(), "study")
        below = {**asked, "SOPInstanceUID": "", "SOPClassUID": ""}
        kinds: dict[str, str] = {}
        for one in matches(association, node, "IMAGE", below):
            kinds[str(one.get("SOPInstanceUID", ""))] = str(one.get("SOPClassUID", ""))
            if len(kinds) > MAX_IMAGES:
                break
    _check_announced(incoming, len(kinds), 0)
    faults: list[LungXAIError] = []

    coming = 0

    def counted(event: Any) -> None:
        """Of each piece of an image: pynetdicom would gather one without an end until the memory is full."""
        nonlocal coming
        coming += len(event.data)
        if coming > _MOST_IMAGE_BYTES and event.assoc.dul.socket is not None:
            faults.append(InputTooLarge("The archive sends an image without an end.", "Ask its administrator."))
            event.assoc.dul.socket.close()

    def stored(event: Any) -> int:
        nonlocal coming
        coming = 0
        try:
            with discreet():
                incoming.add(dcmread(BytesIO(event.encoded_dataset())))
        except LungXAIError as fault:
            faults.append(fault)
            return 0xA700
        except Exception:  # pydicom raises whatever it stumbles over
            faults.append(InvalidInput("The archive sent an image that is damaged.", "Ask its administrator."))
            return 0xC000
        return 0x0000

    classes = sorted({kind for kind in kinds.values() if kind})[:10] or ["1.2.840.10008.5.1.4.1.1.2"]
    contexts = [build_context(kind, [syntax]) for kind in classes for syntax in _SYNTAXES]
    contexts.append(build_context(StudyRootQueryRetrieveInformationModelGet))
    roles = [build_role(kind, scp_role=True) for kind in classes]
    with associated(node, contexts, [(evt.EVT_C_STORE, stored), (evt.EVT_DATA_RECV, counted)], roles) as association:
        for answer, _ in association.send_c_get(_identifier(asked), StudyRootQueryRetrieveInformationModelGet):
            status = status_of(answer)
            if faults:
                raise faults[0]
            if status is None:
                raise broken_off(node)
            step(len(kinds))
            if status not in (0x0000, 0xFF00):
                raise ServerError(
                    f"The node {node.name} did not send the whole series (0x{status:04X}).",
                    "Try again, or ask its administrator whether it allows C-GET.",
                )
    absent = len(set(kinds) - set(incoming.held))
    if absent:
        raise ServerError(f"{absent} of {len(kinds)} images did not come.", "Try again; it goes on from there.")


def _identifier(asked: dict[str, str]) -> Any:
    from pydicom import Dataset

    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID, identifier.SeriesInstanceUID = asked["StudyInstanceUID"], asked["SeriesInstanceUID"]
    return identifier


def _from_folder(folder: Path, series: str, incoming: IncomingSeries, step: Step) -> None:
    import pydicom

    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}.", "Check the path.")
    files = []
    for file in files_below(folder):
        if incoming.folder.resolve() in file.resolve().parents:
            continue
        files.append(file)
        if len(files) > _MOST_FILES:
            raise InputTooLarge(f"The folder holds more than {_MOST_FILES} files.", "Give a folder further down.")
    for file in files:
        step(len(files))
        with discreet():
            try:
                head = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
            except Exception:  # pydicom raises whatever it stumbles over: no DICOM, and then not of this series
                continue
            if str(head.get("SeriesInstanceUID")) != series:
                continue
            try:
                image = pydicom.dcmread(file)
            except Exception:
                raise InvalidInput("An image of the series is damaged.", "Copy or export the series again.") from None
        incoming.add_file(file, image)
