"""Random and spoiled NRRD and NIfTI files: a volume or a LungXAIError, in little memory, never another file."""

import gzip
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from shared_models.contract.errors import LungXAIError  # noqa: E402
from shared_models.contract.values import CTVolume  # noqa: E402
from shared_models.ct_reader import read_ct  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from test_ct_files import HEADER, HU, _nifti  # noqa: E402

NIFTI = _nifti((6, 5, 4)) + HU.tobytes()
NRRD = ("\n".join(["NRRD0004", *(f"{k}: {v}" for k, v in HEADER.items())]) + "\n\n").encode() + HU.tobytes()
PACKED = NRRD.replace(b"encoding: raw", b"encoding: gzip").replace(HU.tobytes(), gzip.compress(HU.tobytes()))
LIMIT = 24 << 20
often = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _tried(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    tracemalloc.start()
    try:
        volume, notes = read_ct(path)
        assert isinstance(volume, CTVolume) and volume.voxels.nbytes <= 8 * len(data) * 1100
        assert all(isinstance(note, str) for note in notes)
    except LungXAIError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < LIMIT


@often
@given(st.binary(max_size=2000), st.sampled_from(["a.nrrd", "a.nii", "a.nii.gz", "a.dcm"]), st.booleans())
def test_random_bytes(tmp_path: Path, data: bytes, name: str, magic: bool) -> None:
    starts = {"a.nrrd": b"NRRD0005\n", "a.nii": NIFTI[:4], "a.nii.gz": b"\x1f\x8b", "a.dcm": bytes(128) + b"DICM"}
    _tried(tmp_path / name, (starts[name] if magic else b"") + data)


@often
@given(st.data(), st.sampled_from([("a.nrrd", NRRD), ("b.nrrd", PACKED), ("a.nii", NIFTI), ("a.nii.gz", None)]))
def test_spoiled_bytes(tmp_path: Path, data: st.DataObject, kind: tuple[str, bytes]) -> None:
    name, whole = kind
    plain = bytearray(whole or NIFTI)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(plain) - 1, 420)))
        plain[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 60))
    spoiled = bytes(plain[: len(plain) - cut])
    _tried(tmp_path / name, spoiled if whole else gzip.compress(spoiled))


NUMBERS = st.one_of(st.integers(-(2**70), 2**70).map(str), st.floats().map(repr), st.text(max_size=5))


@often
@given(st.sampled_from(sorted(HEADER)), st.lists(NUMBERS, max_size=4), st.sampled_from([" ", ",", ") ("]))
def test_spoiled_fields(tmp_path: Path, field: str, values: list[str], between: str) -> None:
    text = between.join(values)
    fields = {**HEADER, field: f"({text})" if "space" in field else text}
    head = "\n".join(["NRRD0004", *(f"{k}: {v}" for k, v in fields.items())]) + "\n\n"
    _tried(tmp_path / "a.nrrd", head.encode("utf-8", "surrogatepass") + HU.tobytes())


@often
@given(st.integers(0, 2**64 - 1), st.sampled_from([0, 40, 42, 44, 46, 70, 72, 76, 108, 112, 123, 252, 256, 280, 344]))
def test_spoiled_nifti_fields(tmp_path: Path, value: int, place: int) -> None:
    head = bytearray(NIFTI)
    head[place : place + 8] = value.to_bytes(8, "little")
    _tried(tmp_path / "a.nii", bytes(head))


def test_the_unspoiled_files_are_read(tmp_path: Path) -> None:
    for name, data in (("a.nrrd", NRRD), ("b.nrrd", PACKED), ("a.nii", NIFTI), ("a.nii.gz", gzip.compress(NIFTI))):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(np.sort(read_ct(tmp_path / name)[0].voxels, axis=None), np.sort(HU, axis=None))
