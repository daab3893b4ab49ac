"""Frames from the network to the disk.

What can be refused is refused before memory or disk is taken for it: the length from Content-Length, the shape from
the frame's header as soon as that has arrived. Then the whole size is set aside on disk, the rest is streamed into
it in pieces of a megabyte, and the CRC and the SHA-256 are computed on the way. A client that leaves in the middle
leaves nothing behind; one that dawdles is let go.
"""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Optional

import numpy as np
from starlette.requests import ClientDisconnect, Request

from shared_models.contract import routes
from shared_models.contract.codec import PREFIX_BYTES, FrameHead, header_bytes, read_head
from shared_models.contract.errors import InputTooLarge, InvalidInput, LungXAIError, ServerBusy
from shared_models.contract.jsonforms import qualities
from shared_models.contract.values import checked_affine, checked_extent, checked_quality

from .answers import refused
from .blobs import Sink, Written
from .cases import Cases
from .job_requests import slide_id
from .settings import Settings

_PIECE = 1 << 20
_MAX_NAME = 256
_FURTHEST_PX = 1 << 24
_GRACE_S = 30.0
_DRAIN_S = 2.0
_CRC = struct.Struct("<I")
_CRC_OFFSET = 20


def content_length(request: Request) -> int:
    """The declared length of a body; 411 where there is none."""
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        fault = InvalidInput("The upload does not say how long it is.", "Send it with Content-Length.")
        fault.status = 411
        raise fault
    return int(text)


async def json_body(request: Request, limit: int = routes.MAX_JSON_BYTES, timeout_s: float = 15.0) -> bytes:
    """A small body, whole.

    Raises
    ------
    InputTooLarge : longer than ``limit``, declared or not.
    """
    too_large = InputTooLarge("The request is too large.", "Check the client's version.")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise refused(408, "The request came too slowly.", "Check the connection and send it again.") from None
    return bytes(body)


class Uploads:
    """Receives frames for one server; so many at once as the settings allow."""

    def __init__(self, settings: Settings, cases: Cases) -> None:
        self._settings = settings
        self._cases = cases
        self._slots = asyncio.Semaphore(settings.max_uploads)

    async def volume(self, request: Request, sha256: str) -> int:
        """Keep a CT frame under its hash; its size in bytes."""
        written, _ = await self._received(request, lambda: routes.volume(sha256), self._check_volume, None)
        if written.sha256 != sha256:
            self._cases.blobs.forget_one(written)
            raise InvalidInput("The CT arrived damaged.", "Send it again.")
        await asyncio.to_thread(self._keep, written, lambda: self._cases.add_volume(written))
        return written.size

    async def tiles(self, request: Request, case_id: str) -> tuple[str, int, str]:
        """Keep a batch of tiles; (slide id, tiles of that slide so far, the batch's SHA-256)."""
        written, head = await self._received(
            request, lambda: self._cases.check(case_id), lambda head: self._check_tiles(case_id, head), case_id
        )
        count, height, width, _ = head.shape
        name, mpp = head.fields["slide_id"], float(head.fields["mpp"])
        total = await asyncio.to_thread(
            self._keep, written, lambda: self._cases.add_tiles(case_id, name, mpp, height, width, count, written)
        )
        return name, total, written.sha256

    async def correction(self, request: Request, case_id: str) -> int:
        """Keep a segmentation that a reader corrected, until a job has measured it; its size in bytes."""
        written, _ = await self._received(request, lambda: self._cases.check(case_id), self._check_labels, case_id)
        await asyncio.to_thread(self._keep, written, lambda: self._cases.put_correction(case_id, written))
        return written.size

    def _keep(self, written: Written, change: Callable[[], Any]) -> Any:
        try:
            return change()
        except BaseException:
            self._cases.blobs.forget_one(written)
            raise

    # What a header may say

    def _check_volume(self, head: FrameHead) -> None:
        if head.kind != "CTVolume":
            raise InvalidInput("This is not a CT volume.", "Send a CT series.")
        self._check_grid(head)

    def _check_labels(self, head: FrameHead) -> None:
        if head.kind != "LabelVolume":
            raise InvalidInput("This is not a segmentation.", "Send the corrected segmentation.")
        self._check_grid(head)

    def _check_grid(self, head: FrameHead) -> None:
        if max(head.shape) > self._settings.max_axis:
            raise InputTooLarge(f"An axis of the CT is longer than {self._settings.max_axis}.", "Crop it.")
        try:
            rows, name = head.fields["ijk_to_lps"], head.fields["series_uid"]
            valid = isinstance(name, str) and len(name) <= _MAX_NAME and name.isprintable()
            valid = valid and all(type(number) in (int, float) for row in rows for number in row)
            if valid:
                checked_extent(head.shape, checked_affine(np.array(rows, dtype=np.float64)))
        except (KeyError, TypeError, ValueError, OverflowError):
            valid = False
        if not valid:
            raise InvalidInput("The CT's header is not complete.", "Send it again.")

    def _check_tiles(self, case_id: str, head: FrameHead) -> None:
        if head.kind != "SlideTiles":
            raise InvalidInput("These are not tiles of a slide.", "Send the slide's tiles.")
        count, height, width, _ = head.shape
        if count > routes.MAX_TILES_PER_BATCH or max(height, width) > self._settings.max_tile_px:
            raise InputTooLarge(
                f"A batch holds at most {routes.MAX_TILES_PER_BATCH} tiles of at most"
                f" {self._settings.max_tile_px} pixels a side.",
                "Send smaller batches.",
            )
        fields = head.fields
        origins, mpp = fields.get("origin_px"), fields.get("mpp")
        valid = (
            isinstance(origins, list)
            and len(origins) == count
            and all(isinstance(o, list) and len(o) == 2 and all(type(n) is int for n in o) for o in origins)
            and all(abs(n) <= _FURTHEST_PX for o in origins for n in o)
        )
        if not valid or head.shape[3] != 3:
            raise InvalidInput("Each tile needs one (x, y) origin and RGB colours.", "Send the tiles again.")
        if not isinstance(mpp, (int, float)) or isinstance(mpp, bool) or not 0 < mpp < 1e4:
            raise InvalidInput("The slide's pixel size is unknown.", "Give it in micrometres with --mpp.")
        if "quality" in fields:
            try:
                checked_quality(qualities(fields["quality"]), count)
            except TypeError:
                raise InvalidInput("Each tile needs one quality from 0 to 1.", "Send the tiles again.") from None
        self._cases.check_slide(case_id, slide_id(fields.get("slide_id")), float(mpp), height, width)

    # The stream

    async def _received(
        self,
        request: Request,
        allowed: Callable[[], object],
        check: Callable[[FrameHead], None],
        case_id: Optional[str],
    ) -> tuple[Written, FrameHead]:
        pieces = self._pieces(request)
        try:
            await asyncio.to_thread(allowed)
            length = content_length(request)
            if length > self._settings.max_upload_bytes:
                raise InputTooLarge(
                    f"The data is larger than the {self._settings.max_upload_bytes >> 20} MiB this server takes.",
                    "Crop the CT, or send fewer tiles at once.",
                )
            await asyncio.to_thread(self._cases.room, length, case_id)
            async with self._slot():
                return await self._streamed(pieces, length, check)
        except LungXAIError:
            await _drained(pieces)
            raise

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            await asyncio.wait_for(self._slots.acquire(), self._settings.upload_wait_s)
        except asyncio.TimeoutError:
            raise ServerBusy("The server is taking in as much as it can.", "Try again in a moment.") from None
        try:
            yield
        finally:
            self._slots.release()

    async def _streamed(
        self, pieces: AsyncIterator[bytes], length: int, check: Callable[[FrameHead], None]
    ) -> tuple[Written, FrameHead]:
        damaged = InvalidInput("The data arrived damaged or cut short.", "Send it again.")
        start = bytearray()
        needed = PREFIX_BYTES
        async for piece in pieces:
            start += piece
            if needed == PREFIX_BYTES and len(start) >= PREFIX_BYTES:
                needed = PREFIX_BYTES + max(1, header_bytes(bytes(start[:PREFIX_BYTES])))
            if len(start) >= needed > PREFIX_BYTES:
                break
        if len(start) < needed or needed <= PREFIX_BYTES:
            raise damaged

        def checked() -> tuple[FrameHead, Sink]:
            head = read_head(bytes(start[:needed]), self._settings.max_decoded_bytes)
            if needed + head.payload_bytes != length:
                raise damaged
            check(head)
            return head, self._cases.blobs.sink("upload", length, self._settings.disk_reserve_bytes)

        head, sink = await asyncio.to_thread(checked)
        try:
            expected = _CRC.unpack_from(start, _CRC_OFFSET)[0]
            crc, taken = zlib.crc32(start[PREFIX_BYTES:]), len(start)
            pending = bytearray()
            await asyncio.to_thread(sink.write, start)
            async for piece in pieces:
                taken += len(piece)
                if taken > length:
                    raise damaged
                pending += piece
                if len(pending) >= _PIECE:
                    full, pending = pending, bytearray()
                    crc = await asyncio.to_thread(_written, sink, full, crc)
            crc = await asyncio.to_thread(_written, sink, pending, crc)
            if taken != length or crc != expected:
                raise damaged
            return await asyncio.to_thread(sink.finish), head
        finally:
            sink.close()

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        """The body as it comes; 408 for a client that is too slow."""
        stream = request.stream()
        begun, taken = time.monotonic(), 0
        slow = refused(408, "The upload came too slowly and was given up.", "Check the connection and send it again.")
        while True:
            try:
                piece = await asyncio.wait_for(stream.__anext__(), self._settings.chunk_timeout_s)
            except StopAsyncIteration:
                return
            except asyncio.TimeoutError:
                raise slow from None
            taken += len(piece)
            if time.monotonic() - begun > _GRACE_S + taken / self._settings.min_upload_bytes_per_s:
                raise slow
            yield piece


def _written(sink: Sink, data: bytearray, crc: int) -> int:
    sink.write(data)
    return zlib.crc32(data, crc)


async def _drained(pieces: AsyncIterator[bytes]) -> None:
    """Read on for a moment, so that a client in the middle of sending gets to read why it was refused."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for _ in pieces:
                pass
    except (LungXAIError, ClientDisconnect, TimeoutError):
        pass
