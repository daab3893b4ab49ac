"""Blobs: a file is there whole or not at all, with rights for its owner alone."""

import hashlib
import os
import stat

import pytest

from inference_server.blobs import Blobs
from shared_models.contract.errors import OutOfMemory


def test_a_file_lies_under_its_hash_for_its_owner_alone(tmp_path) -> None:
    blobs = Blobs(tmp_path / "data")
    written = blobs.put("job-1", b"abc")
    assert written.sha256 == hashlib.sha256(b"abc").hexdigest() and written.size == 3
    assert not blobs.path(written.sha256).exists()
    blobs.adopt(written)
    path = blobs.path(written.sha256)
    assert path.read_bytes() == b"abc" and not list(blobs.tmp.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(stat.S_IMODE(d.stat().st_mode) == 0o700 for d in (blobs.root, blobs.tmp, path.parent, tmp_path / "data"))


def test_the_same_content_twice_is_one_file(tmp_path) -> None:
    blobs = Blobs(tmp_path)
    first, second = blobs.put("a", b"x"), blobs.put("b", b"x")
    blobs.adopt(first)
    blobs.adopt(second)
    assert len(list(blobs.root.glob("*/*"))) == 1 and not list(blobs.tmp.iterdir())


def test_a_sink_given_up_leaves_nothing(tmp_path) -> None:
    blobs = Blobs(tmp_path)
    sink = blobs.sink("upload", 1000)
    sink.write(b"half")
    assert [p.stat().st_size for p in blobs.tmp.iterdir()] == [1000]  # set aside in full
    sink.close()
    assert not list(blobs.tmp.iterdir())


def test_a_shorter_content_than_was_set_aside_is_cut(tmp_path) -> None:
    blobs = Blobs(tmp_path)
    sink = blobs.sink("upload", 1000)
    sink.write(b"short")
    blobs.adopt(sink.finish())
    assert blobs.path(hashlib.sha256(b"short").hexdigest()).read_bytes() == b"short"


def test_what_does_not_fit_is_refused_before_the_first_byte(tmp_path) -> None:
    blobs = Blobs(tmp_path)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with pytest.raises(OutOfMemory, match="disk is full"):
        blobs.sink("upload", free + (1 << 40))
    with pytest.raises(OutOfMemory, match="disk is full"):
        blobs.sink("upload", 1, reserve=free + (1 << 40))
    assert not list(blobs.tmp.iterdir())


def test_a_start_sweeps_what_nothing_names(tmp_path) -> None:
    blobs = Blobs(tmp_path)
    kept, orphan = blobs.put("a", b"kept"), blobs.put("a", b"orphan")
    blobs.adopt(kept)
    blobs.adopt(orphan)
    blobs.put("job-1", b"unfinished")
    assert blobs.sweep({kept.sha256}) == 2
    assert blobs.path(kept.sha256).exists() and not blobs.path(orphan.sha256).exists()
    assert not list(blobs.tmp.iterdir())


def test_only_the_owners_files_are_forgotten(tmp_path) -> None:
    blobs = Blobs(tmp_path)
    blobs.put("job-1", b"a")
    other = blobs.put("job-12", b"b")
    blobs.forget("job-1")
    assert [p.name for p in blobs.tmp.iterdir()] == [other.temporary]


@pytest.mark.parametrize("name", ["../x", "", "a/b", "a.b", "*"])
def test_an_owner_cannot_name_another_place(tmp_path, name: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        Blobs(tmp_path).sink(name)
    with pytest.raises(ValueError, match="sha256"):
        Blobs(tmp_path).path("../" + "0" * 61)
