"""Writing into a QuPath project through QuPath's own code.

Those marked ``qupath`` start a real QuPath (PAQUO_QUPATH_DIR) in this process; the others need neither it nor paquo.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from qupath_bridge import project as bridge
from qupath_bridge.annotations import heatmap_geojson, slide_geojson
from qupath_bridge.backend import RUN_KEY
from qupath_bridge.project import PaquoProject, class_colours, copy_beside, installed_version, paquo_problem
from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS
from shared_models.contract.errors import InvalidInput, LungXAIError, ModelUnavailable, ServerBusy
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, PathologyResult
from shared_models.contract.values import CLASSES

MADE_BY = Provenance("model", "ab" * 32, "1.0", True, "cpu", ("adenocarcinoma", "squamous_cell", "normal"))


def made(slide_id: str = "s1", shift: int = 0) -> PathologyResult:
    """A result of 4 x 3 tiles of 64 px: adenocarcinoma on the left, normal on the right; large cell not assessed."""
    origins = np.array([[x * 64 + shift, y * 64] for y in range(3) for x in range(4)], np.int64)
    left = np.array([0.8, 0.15, np.nan, np.nan, 0.05], np.float32)
    right = np.array([0.1, 0.1, np.nan, np.nan, 0.8], np.float32)
    rows = np.array([left if x < 2 else right for _ in range(3) for x in range(4)], np.float32)
    whole = dict(zip(CLASSES, (0.45, 0.125, None, None, 0.425)))
    return PathologyResult(slide_id, 0.5, (64.0, 64.0), origins, rows, whole, (MADE_BY,))


def heat() -> Heatmap:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    matrix = np.array([[64.0, 0, 32], [0, 64, 32], [0, 0, 1]])
    return Heatmap(values, matrix, "s1", "pathology", "gradcam", "adenocarcinoma", MADE_BY, {"steps": 1})


def run_of(collection: dict) -> str:
    return collection["features"][0]["properties"]["metadata"][RUN_KEY]


def project_json(folder: Path, version: str = "0.6.0", uri: str = "file:///slides/a.tif") -> Path:
    """A project of one image as QuPath's plain files."""
    server = {"builderType": "uri", "providerClassName": "x", "uri": uri, "args": [], "metadata": {"name": "a.tif"}}
    image = {"serverBuilder": server, "entryID": 1, "randomizedName": "r", "imageName": "a.tif", "metadata": {}}
    path = folder / "project.qpproj"
    path.write_text(json.dumps({"version": version, "lastID": 1, "images": [image]}))
    (folder / "data" / "1").mkdir(parents=True)
    return path


def qupath_folder(folder: Path, *jars: str) -> Path:
    (folder / "lib" / "app").mkdir(parents=True)
    for jar in jars:
        (folder / "lib" / "app" / jar).touch()
    return folder


# Without QuPath


@pytest.mark.parametrize("jar, version", [("qupath-core-0.6.0.jar", "0.6.0"), ("qupath-core-0.7.1-rc1.jar", "0.7.1")])
def test_the_version_is_read_from_the_installation(tmp_path: Path, jar: str, version: str) -> None:
    assert installed_version(qupath_folder(tmp_path, "qupath-core-processing-9.9.9.jar", jar)) == version


def test_the_macos_folder_is_known(tmp_path: Path) -> None:
    (tmp_path / "Contents" / "app").mkdir(parents=True)
    (tmp_path / "Contents" / "app" / "qupath-core-0.5.1.jar").touch()
    assert installed_version(tmp_path) == "0.5.1"


@pytest.mark.parametrize("jar", ["qupath-core-0.4.4.jar", "qupath-core-0.8.0.jar", "qupath-core-0.60.0.jar"])
def test_an_unsupported_version_is_named_with_the_supported_ones(tmp_path: Path, jar: str) -> None:
    with pytest.raises(ModelUnavailable, match=jar[12:17]) as refused:
        installed_version(qupath_folder(tmp_path, jar))
    assert all(version in refused.value.remedy for version in ("0.5", "0.6", "0.7"))


def test_a_folder_without_qupath_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="names no QuPath") as refused:
        installed_version(tmp_path)
    assert "lib/app" in refused.value.remedy


def test_paquo_that_is_not_installed_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    problem = paquo_problem()
    assert isinstance(problem, ModelUnavailable) and "pip install paquo==0.9.0" in problem.remedy


def test_a_wrong_folder_is_found_before_java_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path))
    problem = paquo_problem()
    assert isinstance(problem, ModelUnavailable) and str(tmp_path) in problem.message


def test_java_that_runs_for_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Started:
        @staticmethod
        def isJVMStarted() -> bool:  # noqa: N802  jpype's own name
            return True

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "jpype", Started())
    monkeypatch.delitem(sys.modules, "paquo.java", raising=False)
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(qupath_folder(tmp_path, "qupath-core-0.6.0.jar")))
    assert isinstance(paquo_problem(), ServerBusy)
    monkeypatch.setitem(sys.modules, "paquo.java", Started())
    assert paquo_problem() is None


def test_a_project_that_qupath_has_open_is_refused_before_java_starts(tmp_path: Path) -> None:
    path = project_json(tmp_path)
    running = tmp_path / "proc" / "4242"
    (running / "fd").mkdir(parents=True)
    (running / "cmdline").write_bytes(b"/opt/QuPath/bin/QuPath\0" + os.fsencode(path) + b"\0")
    with pytest.raises(ServerBusy, match="4242") as refused:
        PaquoProject(path, tmp_path / "proc")
    assert "Close QuPath" in refused.value.remedy


def test_a_read_only_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project_json(tmp_path)
    # Tests may run as root, who can write anywhere.
    monkeypatch.setattr(bridge.os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(InvalidInput, match="read-only"):
        PaquoProject(path, tmp_path / "none")


@pytest.mark.parametrize("version", ["0.4.4", "0.8.0", ""])
def test_a_project_of_another_version_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(InvalidInput):
        PaquoProject(project_json(tmp_path, version), tmp_path / "none")


def test_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LungXAIError):
        PaquoProject(tmp_path / "none.qpproj", tmp_path / "none")


def test_a_backup_never_overwrites_another(tmp_path: Path) -> None:
    data = tmp_path / "data.qpdata"
    copies = set()
    for content in (b"one", b"two", b"three"):
        data.write_bytes(content)
        copy = copy_beside(data)
        assert copy.read_bytes() == content
        copies.add(copy)
    assert len(copies) == 3 and all(copy.name.startswith("data.qpdata.lungxai-") for copy in copies)


def test_colours_of_all_classes_are_found_among_the_children() -> None:
    found = class_colours(slide_geojson(made())["features"])
    assert found == {CLASS_LABELS[name]: CLASS_COLOURS[name] for name in ("adenocarcinoma", "normal")}


# With QuPath


@pytest.fixture
def opened(tmp_path: Path):
    """(path, where to look for QuPaths) of a project of one slide, with one annotation drawn by hand, "biopsy"."""
    if not os.environ.get("PAQUO_QUPATH_DIR"):
        pytest.skip("needs a QuPath 0.5 to 0.7, named by PAQUO_QUPATH_DIR")
    problem = paquo_problem()
    if problem is not None:
        pytest.fail(str(problem))
    import shapely
    import tifffile
    from paquo.classes import QuPathPathClass
    from paquo.images import QuPathImageType
    from paquo.projects import QuPathProject

    slide = tmp_path / "he.tif"
    tifffile.imwrite(
        slide, np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8), photometric="rgb", tile=(256, 256)
    )
    folder = tmp_path / "project"
    with QuPathProject(folder, mode="x") as project:
        entry = project.add_image(slide, image_type=QuPathImageType.BRIGHTFIELD_H_E)
        drawn = entry.hierarchy.add_annotation(shapely.box(10, 10, 200, 150), QuPathPathClass("Tumor"))
        drawn.name = "biopsy"
    return folder / "project.qpproj", tmp_path / "no processes"


def objects(path: Path) -> list:
    """Every object that QuPath reads back from the disk."""
    from paquo.java import GsonTools
    from paquo.projects import QuPathProject

    project = QuPathProject(path, mode="r")
    found = []
    for thing in project.images[0].hierarchy.java_object.getAllObjects(False):
        feature = json.loads(str(GsonTools.getInstance().toJson(thing)))
        properties = feature["properties"]
        found.append(
            {
                "kind": properties["objectType"],
                "name": properties.get("name"),
                "class": properties.get("classification", {}).get("name"),
                "colour": properties.get("classification", {}).get("color"),
                "measurements": properties.get("measurements", {}),
                "metadata": properties.get("metadata", {}),
                "locked": bool(thing.isLocked()),
                "parent": None if thing.getParent().isRootObject() else str(thing.getParent().getName()),
            }
        )
    return found


def of(found: list, kind: str) -> list:
    return [thing for thing in found if thing["kind"] == kind]


@pytest.mark.qupath
def test_a_run_is_written_and_read_back(opened) -> None:
    path, processes = opened
    collection = slide_geojson(made())
    run = run_of(collection)
    with PaquoProject(path, processes) as project:
        assert project.kind == "paquo"
        (image,) = project.images()
        written = project.write_run(image, run, collection)
    assert (written.path, written.steps) == (None, ())
    found = objects(path)
    tiles, annotations = of(found, "tile"), of(found, "annotation")
    assert len(tiles) == 12 and written.objects == len(found) - 1
    top = next(thing for thing in annotations if thing["name"].startswith("LungXAI run"))
    assert top["locked"] and top["metadata"][RUN_KEY] == run and top["parent"] is None
    assert top["metadata"]["LungXAI weights sha256"] == "ab" * 32
    assert all(tile["parent"] == top["name"] for tile in tiles)
    regions = [thing for thing in annotations if thing["parent"] == top["name"]]
    assert {thing["class"] for thing in regions} == {"Adenocarcinoma", "Normal"}
    assert "biopsy" in {thing["name"] for thing in annotations}


@pytest.mark.qupath
def test_measurements_are_floats_and_what_was_not_assessed_has_none(opened) -> None:
    path, processes = opened
    with PaquoProject(path, processes) as project:
        project.write_run(project.images()[0], "run1", slide_geojson(made()))
    for tile in of(objects(path), "tile"):
        numbers = tile["measurements"]
        assert all(isinstance(value, float) for value in numbers.values())
        assert "P(Large cell carcinoma)" not in numbers
        assert sum(numbers[f"P({CLASS_LABELS[name]})"] for name in MADE_BY.coverage) == pytest.approx(1, abs=1e-3)
        assert tile["class"] == ("Adenocarcinoma" if numbers["P(Adenocarcinoma)"] > 0.5 else "Normal")


@pytest.mark.qupath
def test_colours_are_ours_also_for_a_class_that_qupath_knew(opened) -> None:
    from paquo.classes import QuPathPathClass
    from paquo.projects import QuPathProject

    path, processes = opened
    QuPathPathClass("Normal").java_object.setColor(1, 2, 3)
    with PaquoProject(path, processes) as project:
        project.write_run(project.images()[0], "run1", slide_geojson(made()))
    listed = {kind.name: kind.color.to_rgb() for kind in QuPathProject(path, mode="r").path_classes if kind.name}
    for name in ("adenocarcinoma", "normal"):
        assert listed[CLASS_LABELS[name]] == CLASS_COLOURS[name]
    for tile in of(objects(path), "tile"):
        assert tuple(tile["colour"]) in (CLASS_COLOURS["adenocarcinoma"], CLASS_COLOURS["normal"])


@pytest.mark.qupath
def test_a_second_run_replaces_the_first_and_another_stands_beside_it(opened) -> None:
    path, processes = opened
    with PaquoProject(path, processes) as project:
        (image,) = project.images()
        project.write_run(image, "run1", slide_geojson(made()))
        once = len(objects(path))
        project.write_run(image, "run1", slide_geojson(made()))
        assert len(objects(path)) == once
        project.write_run(image, "run2", slide_geojson(made("s2", shift=100)))
    assert len(of(objects(path), "tile")) == 24


@pytest.mark.qupath
def test_a_later_session_adds_the_heatmap_and_leaves_the_tiles(opened) -> None:
    path, processes = opened
    collection = slide_geojson(made())
    run = run_of(collection)
    with PaquoProject(path, processes) as project:
        project.write_run(project.images()[0], run, collection)
    with PaquoProject(path, processes) as project:
        steps = project.write_run(project.images()[0], run, heatmap_geojson(heat(), run=run), "gradcam")
    found = objects(path)
    assert len(of(found, "tile")) == 12
    assert steps.objects == sum(1 for thing in found if str(thing["class"]).startswith("LungXAI gradcam")) > 1


@pytest.mark.qupath
def test_a_run_is_removed_with_all_its_parts_and_nothing_drawn_by_hand(opened) -> None:
    path, processes = opened
    collection = slide_geojson(made())
    run = run_of(collection)
    with PaquoProject(path, processes) as project:
        (image,) = project.images()
        project.write_run(image, run, collection)
        project.write_run(image, run, heatmap_geojson(heat(), run=run), "gradcam")
        project.write_run(image, "other", slide_geojson(made("s2", shift=100)))
        assert project.remove_run(image, run) == 2
        assert project.remove_run(image, run) == 0
    found = objects(path)
    assert {thing["metadata"].get(RUN_KEY) for thing in found} >= {"other"}
    assert not [thing for thing in found if thing["metadata"].get(RUN_KEY) == run]
    assert "biopsy" in {thing["name"] for thing in found} and len(of(found, "tile")) == 12


@pytest.mark.qupath
def test_metadata_is_kept_with_the_image(opened) -> None:
    from paquo.projects import QuPathProject

    path, processes = opened
    with PaquoProject(path, processes) as project:
        (image,) = project.images()
        project.set_metadata(image, {"LungXAI P(Normal)": "0.4", "LungXAI case": "c1"})
        project.set_metadata(image, {"LungXAI P(Normal)": "0.5"})
    kept = QuPathProject(path, mode="r").images[0].metadata
    assert (kept["LungXAI P(Normal)"], kept["LungXAI case"]) == ("0.5", "c1")


@pytest.mark.qupath
def test_regions_are_found_by_name_and_by_class(opened) -> None:
    path, processes = opened
    with PaquoProject(path, processes) as project:
        (image,) = project.images()
        for called in ("biopsy", "Tumor"):
            (geometry,) = project.regions(image, called)
            assert geometry["type"] == "Polygon"
            assert {tuple(corner) for corner in geometry["coordinates"][0]} == {
                (10, 10),
                (200, 10),
                (200, 150),
                (10, 150),
            }
        with pytest.raises(InvalidInput, match="no area named Stroma") as refused:
            project.regions(image, "Stroma")
        assert "biopsy" in refused.value.remedy


@pytest.mark.qupath
def test_the_hierarchy_is_backed_up_before_the_first_change(opened) -> None:
    path, processes = opened
    data = path.parent / "data" / "1" / "data.qpdata"
    before = data.read_bytes()
    with PaquoProject(path, processes) as project:
        (image,) = project.images()
        project.write_run(image, "run1", slide_geojson(made()))
        project.write_run(image, "run2", slide_geojson(made("s2", shift=100)))
    (copy,) = data.parent.glob("data.qpdata.lungxai-*")
    assert copy.read_bytes() == before != data.read_bytes()


@pytest.mark.qupath
def test_a_project_that_was_opened_meanwhile_is_not_written_to(opened) -> None:
    path, processes = opened
    data = path.parent / "data" / "1" / "data.qpdata"
    before = data.read_bytes()
    with PaquoProject(path, processes) as project:
        (image,) = project.images()
        (processes / "77" / "fd").mkdir(parents=True)
        (processes / "77" / "cmdline").write_bytes(b"/opt/QuPath/bin/QuPath\0" + os.fsencode(path) + b"\0")
        for change in (
            lambda: project.write_run(image, "run1", slide_geojson(made())),
            lambda: project.set_metadata(image, {"a": "b"}),
        ):
            with pytest.raises(ServerBusy, match="77"):
                change()
    assert data.read_bytes() == before


@pytest.mark.qupath
def test_a_slide_that_was_moved_away_is_named(opened, tmp_path: Path) -> None:
    path, processes = opened
    (tmp_path / "he.tif").rename(tmp_path / "elsewhere.tif")
    with PaquoProject(path, processes) as project:
        with pytest.raises(InvalidInput, match="not where the project says") as refused:
            project.write_run(project.images()[0], "run1", slide_geojson(made()))
    assert "he.tif" in refused.value.message
    assert not list((path.parent / "data" / "1").glob("*.lungxai-*"))


@pytest.mark.qupath
def test_a_project_that_moved_with_its_slide_is_written_to(opened, tmp_path: Path) -> None:
    path, processes = opened
    moved = tmp_path / "moved"
    moved.mkdir()
    path.parent.rename(moved / "project")
    (tmp_path / "he.tif").rename(moved / "he.tif")
    path = moved / "project" / "project.qpproj"
    with PaquoProject(path, processes) as project:
        project.write_run(project.images()[0], "run1", slide_geojson(made()))
    assert len(of(objects(path), "tile")) == 12


@pytest.mark.qupath
def test_a_closed_project_says_so(opened) -> None:
    path, processes = opened
    project = PaquoProject(path, processes)
    (image,) = project.images()
    project.close()
    project.close()
    with pytest.raises(InvalidInput, match="closed"):
        project.write_run(image, "run1", slide_geojson(made()))
