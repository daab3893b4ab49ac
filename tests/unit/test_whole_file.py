"""A file that appears under its name complete or not at all."""

import os

import pytest

from shared_models.contract.errors import ServerError
from shared_models.whole_file import written


def test_a_file_is_replaced_and_nothing_lies_beside_it(tmp_path) -> None:
    path = tmp_path / "answer.json"
    assert written(path, b"first") == path
    written(path, [b"sec", b"ond"])
    assert path.read_bytes() == b"second" and list(tmp_path.iterdir()) == [path]


def test_what_fails_on_the_way_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "answer.json"
    path.write_bytes(b"before")

    def pieces():
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(ServerError, match="answer.json could not be written: No space left"):
        written(path, pieces())
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_a_link_in_its_place_is_not_written_through(tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    os.symlink(secret, tmp_path / "answer.json.part")
    written(tmp_path / "answer.json", b"new")
    assert secret.read_bytes() == b"secret" and (tmp_path / "answer.json").read_bytes() == b"new"


def test_a_folder_that_is_not_there_is_said(tmp_path) -> None:
    with pytest.raises(ServerError, match="could not be written"):
        written(tmp_path / "none" / "answer.json", b"")
