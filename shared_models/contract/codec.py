"""Value <-> bytes, protocol version 1. Never pickle.

offset      size  field (little-endian)
0           4     magic "LXAI"
4           2     protocol version
6           2     kind: 1 CTVolume, 2 SlideTiles, 3 LabelVolume, 4 Heatmap
8           4     length h of the header
12          8     length p of the payload as sent
20          4     CRC-32 of header and payload
24          h     header: UTF-8 JSON, the fields that are not the payload array
24 + h      p     payload

Payload by ``compression`` of the header:
none            the array's little-endian bytes (tiles: JPEG moved probabilities by up to 0.087)
zlib            byte-shuffled (all first bytes, then all second bytes, ...), zlib level 1
blosc2          one blosc2 chunk, zstd level 1, shuffled; only where both ends have blosc2

The header's shape is checked against the caller's limit before anything is
decompressed, and the decompressor is capped at exactly the declared size.

Large arrays are copied, packed and unpacked a piece at a time: one long call on bytes would hold the interpreter,
and with it the window of the program that sends, for up to a second. blosc2 cannot be used so; a program with a window
sends zlib.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from .errors import ContractMismatch, InputTooLarge, InvalidInput
from .jsonforms import from_json, origins, qualities, to_json
from .provenance import Provenance
from .results import Heatmap, LabelVolume
from .values import Array, CTVolume, SlideTiles

PROTOCOL_VERSION = 1
MAGIC = b"LXAI"
PREFIX_BYTES = 24
MAX_DECODED_BYTES = 2 << 30
MAX_HEADER_BYTES = 4 << 20
# zlib cannot do better than 1032; a blosc2 chunk of 32 bytes can claim a gigabyte of one repeated value.
MAX_RATIO = 1100
_BLOSC2_MAX_BYTES = (2 << 30) - (1 << 20)
_BLOSC2_HEAD_BYTES = 32
_PIECE_BYTES = 1 << 20
_PREFIX = struct.Struct("<4sHHIQI")

Framed = Union[CTVolume, SlideTiles, LabelVolume, Heatmap]


@dataclass(frozen=True)
class _Kind:
    code: int
    value: type[Any]
    array: str
    dtype: str
    axes: tuple[int, ...]
    compression: str


_KINDS = (
    _Kind(1, CTVolume, "voxels", "<i2", (3,), "zlib"),
    _Kind(2, SlideTiles, "pixels", "|u1", (4,), "none"),
    _Kind(3, LabelVolume, "labels", "|u1", (3,), "zlib"),
    _Kind(4, Heatmap, "values", "<f4", (2, 3), "zlib"),
)
_BY_CODE = {kind.code: kind for kind in _KINDS}


@dataclass(frozen=True)
class FrameHead:
    """What a frame says of itself, checked against the limits but not yet against its payload."""

    kind: str
    shape: tuple[int, ...]
    decoded_bytes: int
    payload_bytes: int
    fields: dict[str, Any]


def compressions() -> tuple[str, ...]:
    """Compressions that this side can read, best first."""
    return ("blosc2", "zlib") if importlib.util.find_spec("blosc2") else ("zlib",)


def encode(value: Framed, compression: str = "zlib") -> bytes:
    """One frame holding ``value``; decode() gives an equal value back.

    Parameters
    ----------
    value : one of the kinds tabled above
    compression : "zlib" or "blosc2", for the kinds that are compressed
    """
    kind = next((k for k in _KINDS if isinstance(value, k.value)), None)
    if kind is None:
        raise InvalidInput(f"{type(value).__name__} has no frame.", "Send it as JSON.")
    array = getattr(value, kind.array).astype(kind.dtype, copy=False)
    header = {name: to_json(item) for name, item in vars(value).items() if name != kind.array and item is not None}
    header = {"shape": array.shape, **header}
    pieces: Iterator[Union[bytes, memoryview]]
    if kind.compression == "none":
        pieces = _pieces(array)
    else:
        packed = b""
        if compression == "blosc2" and array.nbytes <= _BLOSC2_MAX_BYTES:
            packed = _blosc2_packed(array)
        if packed and array.nbytes <= MAX_RATIO * len(packed):
            header["compression"] = "blosc2"
            pieces = iter((packed,))
        else:
            pieces = _deflated(array)
    try:
        head = json.dumps(header, allow_nan=False).encode()
    except (ValueError, TypeError) as fault:
        raise InvalidInput("The data cannot be written as it is.", "Report this: a field is not finite.") from fault
    frame = io.BytesIO()
    frame.write(bytes(PREFIX_BYTES) + head)
    crc, size = zlib.crc32(head), 0
    for piece in pieces:
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        frame.write(piece)
    frame.seek(0)
    frame.write(_PREFIX.pack(MAGIC, PROTOCOL_VERSION, kind.code, len(head), size, crc))
    return frame.getvalue()


def header_bytes(prefix: bytes) -> int:
    """Length of the header that follows the first PREFIX_BYTES of a frame; checks magic and version.

    Raises
    ------
    ContractMismatch, InputTooLarge : as decode().
    """
    if len(prefix) < PREFIX_BYTES or prefix[:4] != MAGIC:
        raise ContractMismatch("This is not LungXAI data.", "Check the address and the client's version.")
    _, version, _, head_size, _, _ = _PREFIX.unpack_from(prefix)
    if version != PROTOCOL_VERSION:
        raise ContractMismatch(
            f"The data speaks protocol {version}, this side {PROTOCOL_VERSION}.", "Update the older side."
        )
    if head_size > MAX_HEADER_BYTES:
        raise InputTooLarge("The data's header is too large.", "Send fewer tiles at once.")
    return int(head_size)


def read_head(start: bytes, max_bytes: int = MAX_DECODED_BYTES) -> FrameHead:
    """What a frame declares, from its first PREFIX_BYTES + header_bytes() bytes.

    A server checks this before it takes memory or disk for the rest.

    Raises
    ------
    ContractMismatch, InputTooLarge, InvalidInput : as decode().
    """
    head_size = header_bytes(start)
    _, _, code, _, payload_size, _ = _PREFIX.unpack_from(start)
    kind = _BY_CODE.get(code)
    try:
        if kind is None:
            raise ValueError("kind")
        fields = json.loads(bytes(memoryview(start)[PREFIX_BYTES : PREFIX_BYTES + head_size]))
        shape = fields.pop("shape")
        if len(shape) not in kind.axes or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError("shape")
        size = math.prod(shape) * np.dtype(kind.dtype).itemsize
        if size > max_bytes:
            raise InputTooLarge(f"The data holds {size} bytes, {max_bytes} are allowed.", "Crop it.")
        if kind.compression == "none":
            if payload_size != size:
                raise ValueError("payload size")
        elif size > MAX_RATIO * payload_size:
            raise ValueError("payload too small for what it claims to hold")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        raise InvalidInput("The data's header and content do not agree.", "Send it again.") from fault
    return FrameHead(kind.value.__name__, tuple(shape), size, int(payload_size), fields)


def decode(frame: Union[bytes, memoryview], max_bytes: int = MAX_DECODED_BYTES) -> Framed:
    """The value in ``frame``.

    Raises
    ------
    ContractMismatch : not a frame, or of another protocol version.
    InputTooLarge : the declared array is larger than ``max_bytes``.
    InvalidInput : truncated, damaged, or a header that lies.
    """
    head_size = header_bytes(bytes(frame[:PREFIX_BYTES]))
    _, _, code, _, payload_size, crc = _PREFIX.unpack_from(frame)
    body = memoryview(frame)[PREFIX_BYTES:]
    if len(body) != head_size + payload_size or zlib.crc32(body) != crc:
        raise InvalidInput("The data arrived damaged or cut short.", "Send it again.")
    head = read_head(bytes(frame[: PREFIX_BYTES + head_size]), max_bytes)
    kind = _BY_CODE[code]
    payload = body[head_size:]
    fields = dict(head.fields)
    dtype = np.dtype(kind.dtype)
    try:
        compression = fields.pop("compression", kind.compression)
        if (compression == "none") != (kind.compression == "none"):
            raise ValueError("compression")
        if compression == "none":
            array = np.frombuffer(payload, dtype)
        elif compression == "zlib":
            array = _unshuffled(_inflated(payload, head.decoded_bytes), dtype)
        elif compression == "blosc2":
            array = np.frombuffer(_blosc2_unpacked(payload, head.decoded_bytes), dtype)
        else:
            raise ValueError("compression")
        fields[kind.array] = array.reshape(head.shape).astype(dtype.newbyteorder("="), copy=False)
        return _built(kind.value, fields)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, zlib.error) as fault:
        raise InvalidInput("The data's header and content do not agree.", "Send it again.") from fault


def _built(value: type[Any], fields: dict[str, Any]) -> Framed:
    for name in ("ijk_to_lps", "index_to_world"):
        if name in fields:
            # numpy would read text and true as numbers
            if not {type(number) for row in fields[name] for number in row} <= {int, float}:
                raise TypeError("numbers expected")
            fields[name] = np.array(fields[name], dtype=np.float64)
    if "origin_px" in fields:
        fields["origin_px"] = origins(fields["origin_px"])
    if "quality" in fields:
        fields["quality"] = qualities(fields["quality"])
    if isinstance(fields.get("mpp"), bool):
        raise TypeError("number expected")
    if "parameters" in fields and not all(isinstance(v, (str, int, float)) for v in fields["parameters"].values()):
        raise TypeError("parameters")
    if "provenance" in fields:
        fields["provenance"] = from_json(Provenance, fields["provenance"])
    for name in ("series_uid", "slide_id", "source_id", "target", "modality", "method"):
        if name in fields and not isinstance(fields[name], str):
            raise TypeError("text expected")
    built: Framed = value(**fields)
    return built


def _pieces(array: Array) -> Iterator[memoryview]:
    """The array's bytes, a piece at a time."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    for start in range(0, len(flat), _PIECE_BYTES):
        yield flat[start : start + _PIECE_BYTES]


def _deflated(array: Array) -> Iterator[bytes]:
    planes = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, array.itemsize)
    stream = zlib.compressobj(1)
    for piece in _pieces(planes.T):
        yield stream.compress(piece)
    yield stream.flush()


def _inflated(payload: memoryview, size: int) -> Array:
    """uint8 (size,), or ValueError; a bomb is stopped one byte past the declared size."""
    stream, unpacked, filled = zlib.decompressobj(), np.empty(size, np.uint8), 0
    for start in range(0, len(payload), _PIECE_BYTES):
        rest: Union[bytes, memoryview] = payload[start : start + _PIECE_BYTES]
        while True:
            most = min(_PIECE_BYTES, size + 1 - filled)
            piece = stream.decompress(rest, most)
            if stream.unused_data or filled + len(piece) > size:
                raise ValueError("payload size")
            unpacked[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
            rest = stream.unconsumed_tail
            # With a full piece there may be more inside the stream, though it took in all that it was given.
            if not rest and len(piece) < most:
                break
        if stream.eof and start + _PIECE_BYTES < len(payload):
            raise ValueError("payload size")
    if filled != size or not stream.eof:
        raise ValueError("payload size")
    return unpacked


def _unshuffled(data: Array, dtype: np.dtype[Any]) -> Array:
    return np.ascontiguousarray(data.reshape(dtype.itemsize, -1).T).reshape(-1).view(dtype)


def _blosc2_packed(array: Array) -> bytes:
    import blosc2

    packed: bytes = blosc2.compress2(
        array, typesize=array.itemsize, codec=blosc2.Codec.ZSTD, clevel=1, filters=[blosc2.Filter.SHUFFLE]
    )
    return packed


def _blosc2_unpacked(payload: memoryview, size: int) -> bytes:
    """Exactly ``size`` bytes, or ValueError; the chunk's own sizes are checked before memory is taken."""
    try:
        import blosc2
    except ImportError:
        raise InvalidInput("This side cannot read blosc2.", "Send it with zlib.") from None
    data = bytes(payload)
    try:
        if len(data) < _BLOSC2_HEAD_BYTES:  # blosc2 would read past its end
            raise ValueError("payload size")
        declared, packed, _ = blosc2.get_cbuffer_sizes(data)
        if declared != size or packed != len(data):
            raise ValueError("payload size")
        # One thread, so that a damaged chunk cannot leave a pool of threads waiting.
        unpacked: bytes = blosc2.decompress2(data, nthreads=1)
    except RuntimeError as fault:
        raise ValueError("blosc2") from fault
    if len(unpacked) != size:
        raise ValueError("payload size")
    return unpacked
