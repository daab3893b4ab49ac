"""IncomingSeries: the folder that a series is received into, image by image, and whole at the end or not at all.

Until then its name ends in ".partial"; what lies there is used again when the same series is asked for once more.
Files are named by a counter of our own: nothing that an archive says becomes part of a path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shared_models.contract.errors import InputTooLarge, InvalidInput, OutOfMemory, ServerError
from shared_models.dicom_log import discreet

from .dicom_objects import complete

MAX_IMAGES = 10_000
MAX_BYTES = 16 << 30
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WRITING = "receiving.part"
_TAGS = ["SeriesInstanceUID", "SOPInstanceUID"]


class IncomingSeries:
    """One series on its way.

    Parameters
    ----------
    series_uid : SeriesInstanceUID that was asked for; every image has to bear it
    out : folder that it will have; not there yet, or empty
    max_images, max_bytes : that are taken

    Attributes
    ----------
    held : SOPInstanceUIDs that are here already
    size : bytes of them

    Raises
    ------
    InvalidInput : ``out`` holds something, or its ".partial" another series.
    OutOfMemory : the disk is full. ServerError : the folder cannot be written to.
    """

    def __init__(self, series_uid: str, out: Path, max_images: int = MAX_IMAGES, max_bytes: int = MAX_BYTES) -> None:
        self._series, self._out = series_uid, out
        self._most, self._most_bytes = max_images, max_bytes
        self.folder = out.with_name(out.name + ".partial")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidInput(f"{out} holds something already.", "Choose another --out, or an empty folder.")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.held: dict[str, Path] = dict(self._found())
        except OSError as fault:
            raise _unwritten(fault) from None
        self.size = sum(file.stat().st_size for file in self.held.values())
        self._next = 0

    def _found(self) -> Iterator[tuple[str, Path]]:
        import pydicom

        for file in sorted(self.folder.iterdir()):
            if file.suffix != ".dcm":
                if file.name == _WRITING:
                    file.unlink()
                    continue
                raise InvalidInput(f"{self.folder} holds other files.", "Delete it, or choose another --out.")
            try:
                with discreet():
                    head = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
                same = str(head.SeriesInstanceUID) == self._series
                uid = str(head.SOPInstanceUID)
            except Exception:  # pydicom raises whatever it stumbles over
                same, uid = False, ""
            if not same:
                raise InvalidInput(
                    f"{self.folder} holds the beginning of another series.", "Delete it, or choose another --out."
                )
            yield uid, file

    def add(self, dataset: Any) -> None:
        """Keep one image; one that is here already is passed over.

        Parameters
        ----------
        dataset : pydicom.Dataset with its file_meta

        Raises
        ------
        InvalidInput : an image of another series, or not whole.
        InputTooLarge : more than was allowed. OutOfMemory, ServerError : the disk.
        """
        uid = self.checked(dataset)
        if uid not in self.held:
            self._keep(uid, lambda file: dataset.save_as(file, enforce_file_format=True))

    def add_file(self, file: Path, dataset: Any) -> None:
        """Keep a copy of ``file``, which holds ``dataset``; else as add()."""
        uid = self.checked(dataset)
        if uid not in self.held:
            self._keep(uid, lambda copy: shutil.copyfile(file, copy))

    def checked(self, dataset: Any) -> str:
        """The SOPInstanceUID of an image that belongs to this series and is whole; raises as add() does."""
        if str(dataset.get("SeriesInstanceUID")) != self._series:
            raise InvalidInput(
                "The archive sent an image of another series than the one that was asked for. It was not kept.",
                "Ask its administrator; what was received before is still there.",
            )
        uid = str(dataset.get("SOPInstanceUID") or "")
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        if not uid or not syntax or not complete(dataset):
            raise InvalidInput(
                "The archive sent an image that is not whole. It was not kept.", "Try again; it goes on from there."
            )
        return uid

    def _keep(self, uid: str, write: Callable[[Path], Any]) -> None:
        if len(self.held) >= self._most:
            raise InputTooLarge(f"The series has more than {self._most} images.", "Receive it by the archive's tools.")
        part = self.folder / _WRITING
        try:
            write(part)
            size = part.stat().st_size
            if self.size + size > self._most_bytes:
                raise InputTooLarge(
                    f"The series has more than {self._most_bytes >> 30} GiB.", "Receive it by the archive's own tools."
                )
            os.replace(part, self._free())
        except OSError as fault:
            raise _unwritten(fault) from None
        finally:
            part.unlink(missing_ok=True)
        self.held[uid] = self._last
        self.size += size

    def _free(self) -> Path:
        while True:
            self._next += 1
            self._last = self.folder / f"{self._next:05d}.dcm"
            if not self._last.exists():
                return self._last

    def check_announced(self, images: int, size: int) -> None:
        """What an archive is about to send, before it is sent for.

        Parameters
        ----------
        images : of the whole series
        size : bytes that are still to come

        Raises
        ------
        InputTooLarge : more than is taken. OutOfMemory : the disk has no room for it.
        """
        if images > self._most or self.size + size > self._most_bytes:
            raise InputTooLarge(
                f"The series has {images} images and {(self.size + size) / 1e6:.0f} MB, more than is received here.",
                "Check its UID, or receive it by the archive's own tools.",
            )
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise OutOfMemory(
                f"The series needs about {size / 1e6:.0f} MB more; {free / 1e6:.0f} MB are free.",
                "Free disk space, or choose another --out.",
            )

    def leave(self) -> None:
        """Let go of a series that did not come to its end: what was received stays, an empty folder does not."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def finish(self) -> Path:
        """Give the folder its name; ``out``.

        Raises
        ------
        InvalidInput : nothing was received. OutOfMemory, ServerError : the disk.
        """
        if not self.held:
            raise InvalidInput("The series has no images.", "Check its UID with `lungxai dicom find`.")
        try:
            if self._out.is_dir():
                self._out.rmdir()
            os.replace(self.folder, self._out)
        except OSError as fault:
            raise _unwritten(fault) from None
        return self._out


def _unwritten(fault: OSError) -> OutOfMemory | ServerError:
    if fault.errno in _FULL:
        return OutOfMemory("The disk is full.", "Free disk space and ask again; it goes on from there.")
    return ServerError(f"The folder cannot be written to: {fault.strerror}.", "Choose another --out.")
