"""Frames of results: label volumes and heatmaps, and blosc2; round trip, mutation and hostile frames."""

import importlib.util
import json
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.contract import codec
from shared_models.contract.errors import InputTooLarge, InvalidInput, LungXAIError
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, LabelVolume
from shared_models.contract.values import CTVolume

BY = Provenance("model", "ab" * 32, "1.0", True, "cpu", ("adenocarcinoma", "normal"))
AFFINE = np.array([[0.5, 0, 0, -7], [0, 0.5, 0, 3], [0, 0, 2, 11], [0, 0, 0, 1.0]])
ON_SLIDE = np.array([[32, 0, 16], [0, 32, 16], [0, 0, 1.0]])
BLOSC2 = pytest.param(
    "blosc2", marks=pytest.mark.skipif(importlib.util.find_spec("blosc2") is None, reason="blosc2 is not installed")
)


def labels() -> LabelVolume:
    values = np.zeros((3, 5, 7), np.uint8)
    values[1, 1:4, 2:5] = 3
    return LabelVolume(values, AFFINE, "1.2.3")


def ct_map() -> Heatmap:
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    return Heatmap(values, AFFINE, "1.2.3", "radiology", "occlusion", "malignancy", BY, {"window": 8, "fill": "air"})


def slide_map() -> Heatmap:
    values = np.random.default_rng(1).random((4, 6)).astype(np.float32)
    settings_ = {"steps": 50, "scale": 0.5, "signed": False}
    return Heatmap(values, ON_SLIDE, "s1", "pathology", "gradcam", "normal", BY, settings_)


def ct() -> CTVolume:
    return CTVolume(np.random.default_rng(2).integers(-1024, 300, (3, 8, 8)).astype(np.int16), AFFINE, "1.2.3")


MAKERS = [labels, ct_map, slide_map]


def parts(frame: bytes) -> tuple[int, dict, bytes]:
    _, _, kind, size, _, _ = codec._PREFIX.unpack_from(frame)
    return kind, json.loads(frame[24 : 24 + size]), frame[24 + size :]


def forged(kind: int, header: object, payload: bytes) -> bytes:
    """A frame whose checksum is right, whatever it holds."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    crc = zlib.crc32(payload, zlib.crc32(head))
    return codec._PREFIX.pack(codec.MAGIC, 1, kind, len(head), len(payload), crc) + head + payload


def array_of(value):
    return next(v for v in vars(value).values() if isinstance(v, np.ndarray))


@pytest.mark.parametrize("compression", ["zlib", BLOSC2])
@pytest.mark.parametrize("make", [*MAKERS, ct])
def test_round_trip(make, compression: str) -> None:
    sent = make()
    got = codec.decode(codec.encode(sent, compression))
    assert type(got) is type(sent)
    for name, value in vars(sent).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(got, name), value)
            assert getattr(got, name).dtype == value.dtype
        else:
            assert getattr(got, name) == value


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 10**6), st.sampled_from(codec.compressions()))
def test_any_volume_comes_back(shape, seed, compression) -> None:
    chance = np.random.default_rng(seed)
    sent = LabelVolume(chance.integers(0, 256, shape).astype(np.uint8), AFFINE, "x")
    np.testing.assert_array_equal(codec.decode(codec.encode(sent, compression)).labels, sent.labels)
    values = chance.normal(size=shape).astype(np.float32)
    heat = Heatmap(values, AFFINE, "x", "radiology", "saliency", "malignancy", BY, {})
    np.testing.assert_array_equal(codec.decode(codec.encode(heat, compression)).values, values)


@pytest.mark.parametrize("make", MAKERS)
def test_every_truncation_and_every_flipped_bit_is_refused(make) -> None:
    frame = codec.encode(make())
    for end in range(len(frame)):
        with pytest.raises(LungXAIError):
            codec.decode(frame[:end])
    for place in range(len(frame) * 8):
        bad = bytearray(frame)
        bad[place // 8] ^= 1 << place % 8
        with pytest.raises(LungXAIError):
            codec.decode(bytes(bad))


@pytest.mark.parametrize("compression", ["zlib", BLOSC2])
@pytest.mark.parametrize("make", [*MAKERS, ct])
def test_a_cut_payload_under_a_right_checksum_is_refused(make, compression: str) -> None:
    kind, header, payload = parts(codec.encode(make(), compression))
    for end in range(len(payload)):
        with pytest.raises(LungXAIError):
            codec.decode(forged(kind, header, payload[:end]))


@pytest.mark.parametrize("make", [*MAKERS, ct])
@pytest.mark.parametrize("compression", ["zlib", BLOSC2])
def test_a_damaged_payload_is_an_error_or_a_value_of_the_declared_shape(make, compression: str) -> None:
    kind, header, payload = parts(codec.encode(make(), compression))
    chance = np.random.default_rng(3)
    for _ in range(300):
        bad = bytearray(payload)
        for place in chance.integers(0, min(len(bad), 64), 3):
            bad[place] = chance.integers(0, 256)
        try:
            got = codec.decode(forged(kind, header, bytes(bad)))
        except LungXAIError:
            continue
        assert list(array_of(got).shape) == header["shape"]


def peak_of(frame: bytes, limit: int, error: type) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(error):
            codec.decode(frame, limit)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", MAKERS)
def test_no_memory_is_taken_for_more_than_was_declared_and_is_allowed(make) -> None:
    kind, header, _ = parts(codec.encode(make()))
    bomb = zlib.compress(bytes(64 << 20), 9)
    assert peak_of(forged(kind, header, bomb), 1 << 30, InvalidInput) < 2 << 20
    large = {**header, "shape": [1 << 12] * len(header["shape"])}
    assert peak_of(forged(kind, large, bomb), 1 << 20, InputTooLarge) < 2 << 20
    # Within the limit, but far more than this payload can hold.
    wide = {**header, "shape": [1] * (len(header["shape"]) - 1) + [200 << 20]}
    assert peak_of(forged(kind, wide, zlib.compress(b"x")), 2 << 30, InvalidInput) < 2 << 20


@pytest.mark.skipif(importlib.util.find_spec("blosc2") is None, reason="blosc2 is not installed")
def test_a_blosc2_chunk_that_claims_another_size_is_refused() -> None:
    import blosc2

    kind, header, payload = parts(codec.encode(ct(), "blosc2"))
    for size in (0, 1, 1 << 20, (1 << 31) - 1, (1 << 32) - 1):
        bad = payload[:4] + size.to_bytes(4, "little") + payload[8:]
        with pytest.raises(LungXAIError):
            codec.decode(forged(kind, header, bad))
    other = blosc2.compress2(bytes(64 << 20), typesize=2)
    with pytest.raises(InvalidInput):
        codec.decode(forged(kind, header, other))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAKERS), st.data())
def test_any_header_is_an_error_or_a_value(make, data) -> None:
    kind, header, payload = parts(codec.encode(make()))
    name = data.draw(st.sampled_from([*header, "values", "unknown"]))
    lie = dict(header)
    if data.draw(st.booleans()) and name in lie:
        del lie[name]
    else:
        lie[name] = data.draw(JUNK)
    try:
        got = codec.decode(forged(data.draw(st.sampled_from([1, 2, 3, 4])), lie, payload), 1 << 20)
    except LungXAIError:
        return
    assert isinstance(got, (CTVolume, LabelVolume, Heatmap))
    codec.decode(codec.encode(got))


@pytest.mark.parametrize("head", [b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b"", b"null", b"[]", b"1e999"])
def test_a_header_that_is_no_object_is_refused(head: bytes) -> None:
    for kind in range(6):
        with pytest.raises(LungXAIError):
            codec.decode(forged(kind, head, b"x"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("index_to_world", [["32", "0", "16"], ["0", "32", "16"], ["0", "0", "1"]]),
        ("index_to_world", [[True, 0, 16], [0, 32, 16], [0, 0, 1]]),
        ("index_to_world", [[10**400, 0, 16], [0, 32, 16], [0, 0, 1]]),
        ("index_to_world", [[float("nan"), 0, 16], [0, 32, 16], [0, 0, 1]]),
        ("parameters", {"window": [1, 2]}),
        ("parameters", ["window"]),
        ("method", 3),
        ("target", ["normal"]),
        ("provenance", None),
    ],
)
def test_text_is_no_number_and_a_list_no_parameter(name: str, value: object) -> None:
    kind, header, payload = parts(codec.encode(slide_map()))
    with pytest.raises(InvalidInput):
        codec.decode(forged(kind, {**header, name: value}, payload))


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("make", MAKERS)
def test_golden_frame_of_version_1_is_written_and_read(make) -> None:
    stored = (GOLDEN / f"{make.__name__}_v1.lxai").read_bytes()
    now = codec.encode(make())
    kind, header, payload = parts(stored)
    # Another zlib may pack differently, so the payload is compared unpacked; all the rest to the byte.
    assert now[:8] == stored[:8] and parts(now)[:2] == (kind, header)
    assert zlib.decompress(parts(now)[2]) == zlib.decompress(payload)
    got, sent = codec.decode(stored), make()
    assert type(got) is type(sent)
    np.testing.assert_array_equal(array_of(got), array_of(sent))
    assert all(getattr(got, k) == v for k, v in vars(sent).items() if not isinstance(v, np.ndarray))


def test_uncompressed_golden_frame_is_written_to_the_byte() -> None:
    stored = (GOLDEN / "tiles_v1.lxai").read_bytes()
    assert codec.encode(codec.decode(stored)) == stored


def test_a_parameter_that_is_not_finite_is_refused_before_it_is_sent() -> None:
    heat = Heatmap(np.zeros((1, 1), np.float32), ON_SLIDE, "s", "pathology", "gradcam", "normal", BY, {"x": np.nan})
    with pytest.raises(InvalidInput):
        codec.encode(heat)


if __name__ == "__main__":
    for maker in MAKERS:
        (GOLDEN / f"{maker.__name__}_v1.lxai").write_bytes(codec.encode(maker()))
