"""Round trip, mutation and hostile frames of the wire codec."""

import json
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.contract import codec
from shared_models.contract.errors import ContractMismatch, InputTooLarge, InvalidInput, LungXAIError
from shared_models.contract.values import CTVolume, SlideTiles


def ct() -> CTVolume:
    voxels = np.random.default_rng(0).integers(-1024, 3000, (3, 5, 7)).astype(np.int16)
    affine = np.array([[0.7, 0, 0, -10], [0, 0.7, 0, 5], [0, 0, 2.5, 100], [0, 0, 0, 1.0]])
    return CTVolume(voxels, affine, "1.2.3")


def tiles() -> SlideTiles:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3)).astype(np.uint8)
    return SlideTiles(pixels, np.array([[0, 0], [512, 7]], np.int64), 0.5, "s1")


def forged(kind: int, header: dict, payload: bytes) -> bytes:
    head = json.dumps(header).encode()
    crc = zlib.crc32(payload, zlib.crc32(head))
    return codec._PREFIX.pack(codec.MAGIC, 1, kind, len(head), len(payload), crc) + head + payload


def test_ct_round_trip() -> None:
    sent = ct()
    got = codec.decode(codec.encode(sent))
    assert isinstance(got, CTVolume) and got.series_uid == "1.2.3"
    np.testing.assert_array_equal(got.voxels, sent.voxels)
    np.testing.assert_array_equal(got.ijk_to_lps, sent.ijk_to_lps)
    assert got.spacing_mm == pytest.approx((0.7, 0.7, 2.5))


def test_tiles_round_trip() -> None:
    sent = tiles()
    got = codec.decode(codec.encode(sent))
    assert isinstance(got, SlideTiles) and (got.mpp, got.slide_id) == (0.5, "s1")
    np.testing.assert_array_equal(got.pixels, sent.pixels)
    np.testing.assert_array_equal(got.origin_px, sent.origin_px)


def test_the_quality_of_tiles_travels_with_them() -> None:
    plain = tiles()
    judged = SlideTiles(plain.pixels, plain.origin_px, 0.5, "s1", np.array([0.25, 1.0], np.float32))
    got = codec.decode(codec.encode(judged))
    assert isinstance(got, SlideTiles) and got.quality is not None
    np.testing.assert_array_equal(got.quality, judged.quality)
    assert codec.decode(codec.encode(plain)).quality is None
    for wrong in ([0.5], [0.5, 2.0], [True, 0.5], "ab", [0.5, float("nan")]):
        header = {"shape": [2, 1, 1, 3], "origin_px": [[0, 0], [1, 1]], "mpp": 0.5, "slide_id": "s", "quality": wrong}
        with pytest.raises(InvalidInput):
            codec.decode(forged(2, header, bytes(6)))


@pytest.mark.parametrize("make", [ct, tiles])
def test_every_truncation_is_refused(make) -> None:
    frame = codec.encode(make())
    for end in range(len(frame)):
        with pytest.raises(LungXAIError):
            codec.decode(frame[:end])


@pytest.mark.parametrize("make", [ct, tiles])
def test_every_flipped_bit_is_refused(make) -> None:
    frame = codec.encode(make())
    for place in range(len(frame) * 8):
        bad = bytearray(frame)
        bad[place // 8] ^= 1 << place % 8
        with pytest.raises(LungXAIError):
            codec.decode(bytes(bad))


def test_a_bomb_is_stopped_at_the_declared_size() -> None:
    header = {"shape": [1, 10, 10], "ijk_to_lps": np.eye(4).tolist(), "series_uid": "x"}
    frame = forged(1, header, zlib.compress(bytes(64 << 20), 9))
    tracemalloc.start()
    with pytest.raises(InvalidInput):
        codec.decode(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_lying_shape_is_refused_before_memory_is_taken() -> None:
    header = {"shape": [40000, 40000, 40000], "ijk_to_lps": np.eye(4).tolist(), "series_uid": "x"}
    with pytest.raises(InputTooLarge):
        codec.decode(forged(1, header, b""))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
@settings(max_examples=200, deadline=None)
def test_any_header_field_is_an_error_or_a_value(value) -> None:
    for kind, key in [(1, "shape"), (1, "ijk_to_lps"), (1, "series_uid"), (2, "origin_px"), (2, "mpp")]:
        header = {"shape": [1, 1, 1] + [3] * (kind - 1), "ijk_to_lps": np.eye(4).tolist(), "series_uid": "x"}
        header.update({"origin_px": [[0, 0]], "mpp": 0.5, "slide_id": "s"})
        header[key] = value
        payload = zlib.compress(bytes(2)) if kind == 1 else bytes(3)
        try:
            got = codec.decode(forged(kind, header, payload))
        except LungXAIError:
            continue
        assert isinstance(got, (CTVolume, SlideTiles))


def test_another_protocol_version_names_both() -> None:
    frame = bytearray(codec.encode(ct()))
    frame[4] = 9
    with pytest.raises(ContractMismatch, match="protocol 9, this side 1"):
        codec.decode(bytes(frame))


@pytest.mark.parametrize("first", [[True, 0], [0.0, 0], [2**63, 0], [10**400, 0], ["1", 0], [None, 0], [1], 1])
def test_an_origin_is_a_whole_number_and_nothing_that_passes_for_one(first: object) -> None:
    header = {"shape": [2, 4, 6, 3], "origin_px": [first, [512, 7]], "mpp": 0.5, "slide_id": "s1"}
    with pytest.raises(InvalidInput):
        codec.decode(forged(2, header, tiles().pixels.tobytes()))
    header["origin_px"] = [[0, 0], [512, 7]]
    assert codec.decode(forged(2, header, tiles().pixels.tobytes())).slide_id == "s1"
