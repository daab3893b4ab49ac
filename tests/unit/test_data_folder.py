"""A data folder that was damaged, half restored, or is none: said at the start, and nothing in it is touched."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from inference_server.cases import Cases
from inference_server.security import token_of
from inference_server.settings import Settings
from shared_models.contract.errors import ServerError


@pytest.fixture
def folder(tmp_path) -> Path:
    """Forty cases, one with a result."""
    cases = Cases(Settings(data_dir=tmp_path / "data"))
    for number in range(40):
        cases.create(f"case{number}", False)
    cases.put_json("case1", "clinical", {"age_years": 60})
    cases.close()
    return tmp_path / "data"


def _record(folder: Path, data: bytes) -> None:
    for path in folder.glob("cases.sqlite*"):
        path.unlink()
    (folder / "cases.sqlite").write_bytes(data)


def _pages(folder: Path) -> None:
    data = bytearray((folder / "cases.sqlite").read_bytes())
    for start in range(4096, len(data), 512):
        data[start : start + 64] = bytes(64)
    _record(folder, bytes(data))


def _in_place_of(name: str) -> Callable[[Path], None]:
    def replaced(folder: Path) -> None:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink()
        if name in ("blobs", "tmp"):
            (folder / name).write_text("a file")
        else:
            (folder / name).mkdir()

    return replaced


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "another file": (lambda folder: _record(folder, b"SQLite" * 4000), "damaged"),
    "zeros in its pages": (_pages, "damaged"),
    "cut short": (lambda folder: _record(folder, (folder / "cases.sqlite").read_bytes()[:9000]), "damaged"),
    "emptied": (lambda folder: _record(folder, b""), "missing"),
    "deleted": (lambda folder: (_record(folder, b""), (folder / "cases.sqlite").unlink()), "missing"),
    "a newer one": (lambda folder: _newer(folder), "newer version"),
    "a folder for the record": (_in_place_of("cases.sqlite"), "cannot be used"),
    "a folder for the lock": (_in_place_of("lock"), "cannot be used"),
    "a file for the files": (_in_place_of("blobs"), "cannot be used"),
    "a file for what is being written": (_in_place_of("tmp"), "cannot be used"),
}


def _newer(folder: Path) -> None:
    record = sqlite3.connect(folder / "cases.sqlite")
    record.execute("PRAGMA user_version=9")
    record.close()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.glob("blobs/*/*"))}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_said_and_left_alone(folder, name: str) -> None:
    damage, words = DAMAGE[name]
    damage(folder)
    before = _files(folder)
    for _ in range(2):  # the lock was given back
        with pytest.raises(ServerError, match=words) as fault:
            Cases(Settings(data_dir=folder))
        assert fault.value.remedy
    assert _files(folder) == before


def test_a_folder_that_is_none_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/lungxai")):
        with pytest.raises(ServerError, match="cannot be used"):
            Cases(Settings(data_dir=place))


@pytest.mark.parametrize("what", ["bytes", "folder", "pipe", "empty"])
def test_a_token_that_cannot_be_read_is_said(tmp_path, what: str) -> None:
    token = tmp_path / "token"
    if what == "folder":
        token.mkdir(mode=0o700)
    elif what == "pipe":
        os.mkfifo(token, 0o600)
    else:
        token.touch(0o600)
        token.write_bytes(b"\xff" * 40 if what == "bytes" else b"")
    with pytest.raises(ServerError, match="token"):
        token_of(tmp_path)
