"""QuPath projects as plain files: QuPath's own are read field by field, ours have their structure, hostile ones end."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qupath_bridge import project_files
from qupath_bridge.project_files import Level, PathClass, local_path, open_signs, read_project, slide_path
from qupath_bridge.project_json import colour_rgb, packed
from qupath_bridge.project_writer import write_project
from qupath_bridge.slides import BIO_FORMATS, OPENSLIDE, described
from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.errors import InputTooLarge, InvalidInput, LungXAIError

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not here")
VERSIONS = ("0.6.0", "0.7.0")


def project(folder: Path, **changed) -> Path:
    """A small project with one image; ``changed`` replaces fields of it."""
    image = {"entryID": 1, "imageName": "a.png", "serverBuilder": {"builderType": "uri", "uri": "file:///a.png"}}
    body = {"version": "0.6.0", "uri": (folder / "project.qpproj").as_uri(), "images": [image], **changed}
    (folder / "project.qpproj").write_text(json.dumps(body))
    return folder / "project.qpproj"


def picture(path: Path, side: int = 300) -> Path:
    Image.fromarray(np.full((side, side, 3), 200, np.uint8)).save(path)
    return path


@golden
@pytest.mark.parametrize("version", VERSIONS)
def test_qupaths_own_project_is_read_field_by_field(version) -> None:
    path = GOLDEN / f"qupath-{version}" / "project.qpproj"
    raw = json.loads(path.read_text())
    read = read_project(path)
    assert (read.version, read.uri, read.last_id) == (version, raw["uri"], 1)
    assert (read.created_ms, read.modified_ms) == (raw["createTimestamp"], raw["modifyTimestamp"])
    assert read.classes == (PathClass("Adenocarcinoma", (200, 30, 30)), PathClass("Normal", (30, 150, 60)))
    (entry,) = read.entries
    image = entry.image
    assert (image.entry_id, image.name, image.uri) == ("1", "he2048.tif", "file:///slides/he2048.tif")
    assert (image.mpp, image.size_px) == (0.5, (2048, 2048))
    assert entry.provider == OPENSLIDE and entry.arguments == () and entry.plain
    assert entry.levels == (Level(1.0, 2048, 2048), Level(2.0, 1024, 1024), Level(4.0, 512, 512))
    assert dict(entry.metadata) == {} and entry.tags == () and entry.description == ""
    assert read.data_folder(image) == path.parent / "data" / "1"


def structure(value):
    """Keys, order and kinds of values, without the values."""
    if isinstance(value, dict):
        return {"keys": list(value), "of": [structure(v) for v in value.values()]}
    if isinstance(value, list):
        return [structure(v) for v in value]
    return type(value).__name__


@golden
@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_project_has_the_structure_of_qupaths_own(version, tmp_path) -> None:
    own = GOLDEN / f"qupath-{version}"
    slide = shutil.copy(GOLDEN / "he2048.tif", tmp_path / "he2048.tif")
    classes = {"Adenocarcinoma": (200, 30, 30), "Normal": (30, 150, 60)}
    write_project(tmp_path / "new" / "project.qpproj", [described(Path(slide))], classes)
    for name in ("project.qpproj", "classifiers/classes.json", "data/metadata.json", "data/1/server.json"):
        ours, theirs = (json.loads((folder / name).read_text()) for folder in (tmp_path / "new", own))
        assert structure(ours) == structure(theirs), name
    assert (tmp_path / "new/classifiers/classes.json").read_bytes() == (own / "classifiers/classes.json").read_bytes()
    ours, theirs = (json.loads((f / "data/1/server.json").read_text()) for f in (tmp_path / "new", own))
    theirs["uri"] = Path(slide).as_uri()
    assert ours == theirs
    assert max(Image.open(tmp_path / "new/data/1/thumbnail.jpg").size) == 512
    assert {p.name for p in (tmp_path / "new").rglob("*") if p.is_file()} | {"summary.json", "data.qpdata"} == {
        p.name for p in own.rglob("*") if p.is_file() and p.suffix != ".geojson"
    }


def test_a_new_project_is_read_back_and_names_its_slides(tmp_path) -> None:
    slides = [described(picture(tmp_path / name), mpp) for name, mpp in (("a b.png", 0.5), ("ü#1.png", None))]
    write_project(tmp_path / "new" / "study.qpproj", slides)
    read = read_project(tmp_path / "new" / "study.qpproj")
    assert [e.image.name for e in read.entries] == ["a b.png", "ü#1.png"]
    assert [e.image.mpp for e in read.entries] == [0.5, None]
    assert [slide_path(read, e.image) for e in read.entries] == [s.path for s in slides]
    assert all(e.provider == BIO_FORMATS and e.plain for e in read.entries)
    assert {c.name: c.colour for c in read.classes} == {CLASS_LABELS[n]: CLASS_COLOURS[n] for n in CLASS_LABELS}


def test_a_project_is_never_written_over_anything(tmp_path) -> None:
    slide = described(picture(tmp_path / "a.png"))
    target = tmp_path / "new" / "project.qpproj"
    (tmp_path / "new").mkdir()
    write_project(target, [slide])
    before = target.read_bytes()
    with pytest.raises(InvalidInput, match="holds something already"):
        write_project(target, [slide])
    with pytest.raises(InvalidInput):
        write_project(tmp_path / "new" / "other.qpproj", [slide])
    assert target.read_bytes() == before
    for bad in ("x/project.json", "x/.qpproj"):
        with pytest.raises(InvalidInput):
            write_project(tmp_path / bad, [slide])
    for slides in ([], [slide, slide]):
        with pytest.raises(InvalidInput):
            write_project(tmp_path / "x" / "project.qpproj", slides)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "new"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch) -> None:
    slide = described(picture(tmp_path / "a.png"))

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LungXAIError, match="No space left"):
        write_project(tmp_path / "new" / "project.qpproj", [slide])
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_project_that_was_moved_with_its_slides_finds_them(tmp_path) -> None:
    (tmp_path / "old" / "slides").mkdir(parents=True)
    picture(tmp_path / "old" / "slides" / "a.png")
    image = {"entryID": 3, "imageName": "a", "serverBuilder": {"uri": (tmp_path / "old/slides/a.png").as_uri()}}
    project(tmp_path / "old", images=[image])
    (tmp_path / "old").rename(tmp_path / "new")
    read = read_project(tmp_path / "new" / "project.qpproj")
    assert slide_path(read, read.entries[0].image) == tmp_path / "new" / "slides" / "a.png"
    (tmp_path / "new" / "slides" / "a.png").unlink()
    with pytest.raises(InvalidInput, match="not where the project says"):
        slide_path(read, read.entries[0].image)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/b%20c.svs", "/a/b c.svs"), ("file:/a/b.svs", "/a/b.svs"), ("file://localhost/a", "/a"),
        ("file://other/a", None), ("https://x/a", None), ("omero://x", None), ("", None), ("file:a/b", None),
        ("file:///a%00b", None), ("http://[", None),
    ],
)  # fmt: skip
def test_only_files_of_this_machine_are_opened(uri, path) -> None:
    assert local_path(uri) == (None if path is None else Path(path))


def test_rotated_images_are_told_from_plain_ones(tmp_path) -> None:
    inner = {"builderType": "uri", "uri": "file:///a.svs", "providerClassName": "x"}
    image = {"entryID": 1, "serverBuilder": {"builderType": "rotated", "rotation": "ROTATE_90", "builder": inner}}
    (entry,) = read_project(project(tmp_path, images=[image])).entries
    assert not entry.plain and entry.image.uri == "file:///a.svs"


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "0.4.4"}, {"version": None}, {"version": "0.61.0"}, {"images": [{"entryID": "../../etc"}]},
        {"images": [{"entryID": -1}]}, {"images": [{"entryID": True}]}, {"images": [{"entryID": 1}, {"entryID": 1}]},
        {"images": [7]}, {"images": [{"entryID": 1 << 60}]}, {"images": [{"entryID": "١"}]},
    ],
)  # fmt: skip
def test_projects_that_cannot_be_trusted_are_refused(changed, tmp_path) -> None:
    with pytest.raises(InvalidInput):
        read_project(project(tmp_path, **changed))


def test_endless_deep_and_unreal_files_are_refused(tmp_path, monkeypatch) -> None:
    path = project(tmp_path)
    for content in (b"", b"[]", b"\xff\xfe", b"{" * 100_000, b'{"a":' + b"[" * 60 + b"]" * 60 + b"}", b'{"a": NaN}',
                    b'{"version": "0.6.0", "version": "0.7.0"}'):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(InvalidInput):
            read_project(path)
    with pytest.raises(InvalidInput):
        read_project(tmp_path / "absent.qpproj")
    with pytest.raises(InvalidInput):
        read_project(tmp_path / "project.json")
    os.mkfifo(tmp_path / "pipe.qpproj")
    with pytest.raises(InvalidInput):
        read_project(tmp_path / "pipe.qpproj")
    project(tmp_path)
    monkeypatch.setattr(project_files, "MAX_PROJECT_BYTES", 10)
    with pytest.raises(InputTooLarge):
        read_project(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused_in_words(data, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("p")
    body = {
        "version": "0.7.0", "lastID": 1, "uri": "file:/p/project.qpproj", "images": [{
            "entryID": 1, "imageName": "a", "metadata": {"k": "v"}, "tags": ["t"], "serverBuilder": {
                "builderType": "uri", "uri": "file:///a", "args": ["--series", "0"], "metadata": {
                    "width": 9, "height": 9, "levels": [{"downsample": 1.0, "width": 9, "height": 9}],
                    "pixelCalibration": {"pixelWidth": {"value": 0.5, "unit": "µm"}, "pixelHeight": {"value": 0.5}},
                }}}]}  # fmt: skip
    place = body
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if not (isinstance(place[key], (dict, list)) and place[key]) or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    (folder / "project.qpproj").write_text(json.dumps(body))
    try:
        read = read_project(folder / "project.qpproj")
    except LungXAIError as fault:
        assert fault.message and fault.remedy
        return
    for entry in read.entries:
        assert read.data_folder(entry.image).parent == folder / "data"
        assert entry.image.mpp is None or entry.image.mpp > 0


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_colours_are_packed_as_java_does(colour) -> None:
    assert colour_rgb(packed(colour)) == colour and -(1 << 31) <= packed(colour) < 0
    assert packed((200, 30, 30)) == -3662306


def test_an_open_qupath_is_seen_in_what_linux_tells(tmp_path) -> None:
    read = read_project(project(tmp_path))
    proc = tmp_path / "proc"

    def process(number: int, *words: str, holds: str = "/dev/null") -> None:
        (proc / str(number) / "fd").mkdir(parents=True)
        (proc / str(number) / "cmdline").write_bytes(b"\0".join(w.encode() for w in words) + b"\0")
        (proc / str(number) / "fd" / "3").symlink_to(holds)

    proc.mkdir()
    process(999990, "/usr/bin/python3", str(read.path))
    assert open_signs(read, proc) == ()
    process(999991, "/opt/QuPath/bin/QuPath")
    process(999992, "/opt/QuPath/bin/QuPath", "-p", str(read.path))
    process(999993, "/usr/bin/java", "-cp", "x", "qupath.QuPath", holds=str(tmp_path / "data" / "1" / "data.qpdata"))
    signs = open_signs(read, proc)
    assert len(signs) == 3
    assert "cannot be seen" in signs[0] and "started with this project" in signs[1] and "holds a file" in signs[2]
    assert "cannot be seen" in open_signs(read, tmp_path / "absent")[0]
