"""Value <-> bytes, protocol version 1. Never pickle.

offset      size  field (little-endian)
0           4     magic "LXAI"
4           2     protocol version
6           2     kind: 1 CTVolume, 2 SlideTiles
8           4     length h of the header
12          8     length p of the payload as sent
20          4     CRC-32 of header and payload
24          h     header: UTF-8 JSON, the fields that are not the payload array
24 + h      p     payload: byte-shuffled, zlib level 1 (CT); raw (tiles)

The header's shape is checked against the caller's limit before anything is
decompressed, and the decompressor is capped at exactly the declared size.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from typing import Any, Union

import numpy as np

from .errors import ContractMismatch, InputTooLarge, InvalidInput
from .values import Array, CTVolume, SlideTiles

PROTOCOL_VERSION = 1
MAGIC = b"LXAI"
MAX_DECODED_BYTES = 2 << 30
MAX_HEADER_BYTES = 4 << 20
_PREFIX = struct.Struct("<4sHHIQI")
_CT, _TILES = 1, 2


def encode(value: Union[CTVolume, SlideTiles]) -> bytes:
    """One frame holding ``value``; decode() gives an equal value back."""
    if isinstance(value, CTVolume):
        kind = _CT
        header: dict[str, Any] = {
            "shape": value.voxels.shape,
            "ijk_to_lps": value.ijk_to_lps.tolist(),
            "series_uid": value.series_uid,
        }
        planes = value.voxels.astype("<i2").reshape(-1).view(np.uint8).reshape(-1, 2)
        payload = zlib.compress(np.ascontiguousarray(planes.T).tobytes(), 1)
    elif isinstance(value, SlideTiles):
        kind = _TILES
        header = {
            "shape": value.pixels.shape,
            "origin_px": value.origin_px.tolist(),
            "mpp": value.mpp,
            "slide_id": value.slide_id,
        }
        payload = value.pixels.tobytes()
    else:
        raise InvalidInput(f"{type(value).__name__} has no frame.", "Send it as JSON.")
    head = json.dumps(header).encode()
    crc = zlib.crc32(payload, zlib.crc32(head))
    return _PREFIX.pack(MAGIC, PROTOCOL_VERSION, kind, len(head), len(payload), crc) + head + payload


def decode(frame: bytes, max_bytes: int = MAX_DECODED_BYTES) -> Union[CTVolume, SlideTiles]:
    """The value in ``frame``.

    Raises
    ------
    ContractMismatch : not a frame, or of another protocol version.
    InputTooLarge : the declared array is larger than ``max_bytes``.
    InvalidInput : truncated, damaged, or a header that lies.
    """
    if len(frame) < _PREFIX.size or frame[:4] != MAGIC:
        raise ContractMismatch("This is not LungXAI data.", "Check the address and the client's version.")
    _, version, kind, head_size, payload_size, crc = _PREFIX.unpack_from(frame)
    if version != PROTOCOL_VERSION:
        raise ContractMismatch(
            f"The data speaks protocol {version}, this side {PROTOCOL_VERSION}.", "Update the older side."
        )
    body = memoryview(frame)[_PREFIX.size :]
    if head_size > MAX_HEADER_BYTES:
        raise InputTooLarge("The data's header is too large.", "Send fewer tiles at once.")
    if len(body) != head_size + payload_size or zlib.crc32(body) != crc:
        raise InvalidInput("The data arrived damaged or cut short.", "Send it again.")
    try:
        header = json.loads(bytes(body[:head_size]))
        shape = header["shape"]
        axes = 3 if kind == _CT else 4
        whole = all(type(n) is int and n > 0 for n in shape)
        if kind not in (_CT, _TILES) or len(shape) != axes or not whole:
            raise ValueError(shape)
        size = math.prod(shape) * (2 if kind == _CT else 1)
        if size > max_bytes:
            raise InputTooLarge(f"The data holds {size} bytes, {max_bytes} are allowed.", "Crop it.")
        payload = body[head_size:]
        if kind == _CT:
            return CTVolume(
                _unshuffled(_inflated(payload, size)).reshape(shape),
                np.array(header["ijk_to_lps"], dtype=np.float64),
                _text(header["series_uid"]),
            )
        if len(payload) != size:
            raise ValueError("payload size")
        pixels = np.frombuffer(payload, np.uint8).reshape(shape)
        origins = np.array(header["origin_px"], dtype=np.int64)
        return SlideTiles(pixels, origins, header["mpp"], _text(header["slide_id"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, zlib.error) as fault:
        raise InvalidInput("The data's header and content do not agree.", "Send it again.") from fault


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _inflated(payload: memoryview, size: int) -> bytes:
    """Exactly ``size`` bytes, or ValueError; a bomb is stopped one byte past the declared size."""
    stream = zlib.decompressobj()
    data = stream.decompress(payload, size + 1)
    if len(data) != size or not stream.eof or stream.unused_data:
        raise ValueError("payload size")
    return data


def _unshuffled(data: bytes) -> Array:
    planes = np.frombuffer(data, np.uint8).reshape(2, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view("<i2").astype(np.int16, copy=False)
