"""The slide-level result in project.qpproj: there where no QuPath is open, and nothing else of the file changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_project_files import GOLDEN, VERSIONS, golden, project

from qupath_bridge.files_backend import FilesBackend
from qupath_bridge.project_files import read_project
from qupath_bridge.project_metadata import put_metadata
from shared_models.contract.errors import ServerError


@pytest.fixture
def processes(tmp_path) -> Path:
    """A list of running programs with none in it."""
    (tmp_path / "proc").mkdir()
    return tmp_path / "proc"


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob("project.qpproj.lungxai-*"))


@golden
@pytest.mark.parametrize("version", VERSIONS)
def test_qupaths_own_project_gets_the_texts_and_keeps_the_rest(version, tmp_path, processes) -> None:
    shutil.copytree(GOLDEN / f"qupath-{version}", tmp_path / "study")
    path = tmp_path / "study" / "project.qpproj"
    before = path.read_bytes()
    read = read_project(path)
    (entry,) = read.entries
    assert put_metadata(read, entry.image, {"LungXAI P(Normal)": "0.4 µ", "LungXAI case": "c1"}, processes=processes)
    expected = json.loads(before)
    expected["images"][0]["metadata"] = {"LungXAI P(Normal)": "0.4 µ", "LungXAI case": "c1"}
    assert json.loads(path.read_bytes()) == expected and list(json.loads(path.read_bytes())) == list(expected)
    assert read_project(path).entries[0].metadata["LungXAI case"] == "c1"
    (backup,) = backups(path)
    assert backup.read_bytes() == before
    # Later texts replace those of the same name; the same again changes nothing and copies nothing.
    for _ in range(2):
        assert put_metadata(read, entry.image, {"LungXAI case": "c2"}, processes=processes)
    assert read_project(path).entries[0].metadata == {"LungXAI P(Normal)": "0.4 µ", "LungXAI case": "c2"}
    assert len(backups(path)) == 2


def test_it_is_not_written_where_qupath_may_have_it_open(tmp_path, processes) -> None:
    path = project(tmp_path, extra={"of": [1.5, None, 12345678901234567890]})
    before, read = path.read_bytes(), read_project(path)
    (image,) = (entry.image for entry in read.entries)
    running = processes / "77"
    (running / "fd").mkdir(parents=True)
    (running / "cmdline").write_bytes(b"/opt/QuPath/bin/QuPath\0")
    assert not put_metadata(read, image, {"a": "1"}, processes=processes)
    assert not put_metadata(read, image, {"a": "1"}, processes=tmp_path / "no list of programs")
    shutil.rmtree(running)
    path.chmod(0o644)
    moved = path.rename(tmp_path / "elsewhere.qpproj")
    path.symlink_to(moved)
    assert not put_metadata(read, image, {"a": "1"}, processes=processes)
    path.unlink()
    moved.rename(path)
    assert path.read_bytes() == before and not backups(path)
    assert put_metadata(read, image, {"a": "1"}, processes=processes)
    body = json.loads(path.read_bytes())
    assert body["images"][0].pop("metadata") == {"a": "1"} and body == json.loads(before)


def test_the_files_backend_keeps_both_and_a_full_disk_loses_none(tmp_path, processes, monkeypatch) -> None:
    path = project(tmp_path)
    backend = FilesBackend(path, processes)
    (image,) = backend.images()
    backend.set_metadata(image, {"LungXAI case": "c1"})
    assert backend.metadata(image) == {"LungXAI case": "c1"}
    assert read_project(path).entries[0].metadata == {"LungXAI case": "c1"}
    before = path.read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qupath_bridge.project.shutil.copy2", full)
    with pytest.raises(ServerError, match="backed up"):
        backend.set_metadata(image, {"LungXAI case": "c2"})
    assert path.read_bytes() == before and backend.metadata(image) == {"LungXAI case": "c2"}
