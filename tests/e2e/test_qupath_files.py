"""`lungxai qupath` on a project as plain files: real tiles come back as regions; stopped runs are taken up again."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import shapely
from fake_server import fake_server
from PIL import Image
from qupath_validator import refusals

from qupath_bridge.backend import Written
from qupath_bridge.files_backend import FilesBackend
from qupath_bridge.geojson_reader import read_objects, walk
from shared_models.command_line import main
from shared_models.contract.client import Client
from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.errors import InvalidInput, ModelUnavailable, ServerBusy

pytest.importorskip("torch")


def refused(path: Path) -> list:
    import gzip

    return refusals(json.loads(gzip.decompress(path.read_bytes())))


@pytest.fixture(scope="module")
def study(tmp_path_factory, real_data):
    """A project of the composed slide, classified by the real model, and the slide's truth."""
    from compose_slide import compose

    folder = tmp_path_factory.mktemp("study")
    truth = compose(real_data, folder / "composed.tif", ["adenocarcinoma", "squamous_cell", "normal"])
    project = folder / "study" / "project.qpproj"
    assert main(["qupath", "new", str(folder / "composed.tif"), "--out", str(project)]) == 0
    assert main(["qupath", "classify", str(project), "--explain", "gradcam", "--synthetic"]) == 0
    return project, truth


def objects(project: Path, name: str = "tiles"):
    (path,) = (project.parent / "lungxai").glob(f"*.{name}.geojson.gz")
    assert refused(path) == []
    return read_objects(path)


def places_of(truth, label=None) -> list:
    return [t["origin_px"] for t in truth["tiles"] if label in (None, t["label"])]


def test_regions_lie_where_they_were_composed_and_glass_has_no_tile(study) -> None:
    project, truth = study
    side = truth["tile_px"]
    (run,) = objects(project)
    for name in ("adenocarcinoma", "squamous_cell", "normal"):
        places = places_of(truth, name)
        composed = shapely.union_all([shapely.box(x, y, x + side, y + side) for x, y in places])
        found = [
            shapely.geometry.shape({"type": o.shape, "coordinates": o.coordinates})
            for o in run.children if o.kind == "annotation" and o.class_name == CLASS_LABELS[name]
        ]  # fmt: skip
        area = shapely.union_all(found)
        iou = area.intersection(composed).area / area.union(composed).area
        assert iou >= 0.94, f"{name}: {iou:.3f}"
    tissue = shapely.union_all([shapely.box(x, y, x + side, y + side) for x, y in places_of(truth)])
    for tile in (o for o in run.children if o.kind == "tile"):
        shape = shapely.geometry.shape({"type": tile.shape, "coordinates": tile.coordinates})
        assert shape.intersection(tissue).area >= 0.5 * shape.area


def test_every_object_bears_its_numbers_and_what_made_it(study) -> None:
    project, _ = study
    (run,) = objects(project)
    assert run.locked and "SYNTHETIC" in run.name and len(run.metadata["LungXAI weights sha256"]) == 64
    for tile in (o for o in run.children if o.kind == "tile"):
        measured = tile.measurements
        assert set(measured) == {
            "P(Adenocarcinoma)", "P(Squamous cell carcinoma)", "P(Normal)", "Entropy (bits)", "Malignancy score",
            "Attribution (Grad-CAM)", "Quality", "Like the training tiles",
        }  # fmt: skip
        assert measured["Malignancy score"] == pytest.approx(1 - measured["P(Normal)"], abs=2e-5)
    assert {o.metadata["LungXAI run"] for o in objects(project, "gradcam")} == {run.metadata["LungXAI run"]}
    backend = FilesBackend(project)
    said = backend.metadata(backend.images()[0])
    assert said["LungXAI P(Large cell carcinoma)"] == "not assessed" and said["LungXAI synthetic"] == "yes"


def test_a_second_run_does_nothing_and_the_store_is_gone(study, capsys) -> None:
    project, _ = study
    assert not (project.parent / "lungxai" / "server").exists()
    before = {p.name: p.read_bytes() for p in (project.parent / "lungxai").iterdir()}
    assert main(["qupath", "classify", str(project), "--explain", "gradcam", "--synthetic"]) == 0
    assert "done already" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (project.parent / "lungxai").iterdir()} == before


def test_the_heatmap_is_a_picture_of_the_slide_s_own_size(study) -> None:
    from shared_models.slide_reader import open_slide

    project, truth = study
    (path,) = (project.parent / "lungxai").glob("*.gradcam.ome.tif")
    with open_slide(path) as picture, open_slide(project.parents[1] / "composed.tif", truth["mpp"]) as slide:
        assert picture.dimensions == slide.dimensions and picture.mpp == pytest.approx(slide.mpp)
        assert len(picture.level_sizes) > 1
        glass = picture.read(0, 0, 200, 200, 20)
        tissue = picture.read(*truth["tiles"][0]["origin_px"], 6 * 224, 6 * 224, 64)
    assert (glass == 255).all() and tissue.std() > 5


def test_export_and_import_give_files_that_qupath_takes(study, tmp_path, capsys) -> None:
    project, _ = study
    assert main(["qupath", "export", str(project), "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").iterdir()
    assert refused(path) == []
    count = len(list(walk(read_objects(path))))
    assert count == sum(len(list(walk(objects(project, name)))) for name in ("tiles", "gradcam"))
    (project.parent / "data" / "1" / "data.qpdata").write_bytes(b"x")
    try:
        assert main(["qupath", "export", str(project), "--out", str(tmp_path / "out")]) == 1
        assert "objects of QuPath are not among them" in capsys.readouterr().out
    finally:
        (project.parent / "data" / "1" / "data.qpdata").unlink()


def grained(height: int, width: int) -> np.ndarray:
    """Pink with grain as sharp as a cell's nucleus: every tile is tissue of full quality."""
    from scipy.ndimage import gaussian_filter

    grain = gaussian_filter(np.random.default_rng(0).normal(0, 1, (height, width)), 1.5)
    pixels = np.array([200, 120, 180]) + 40 * (grain / grain.std())[..., None] * np.array([0.8, 1.0, 0.5])
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture
def project(tmp_path) -> Path:
    """A project of one picture of 20 x 20 tiles, tissue all over."""
    Image.fromarray(grained(20 * 64, 20 * 64)).save(tmp_path / "pink.png")
    target = tmp_path / "study" / "project.qpproj"
    assert main(["qupath", "new", str(tmp_path / "pink.png"), "--mpp", "0.5", "--out", str(target)]) == 0
    return target


BROKEN = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "id": "x", "geometry": {"type": "Polygon", "coordinates": ring},
         "properties": {"objectType": "annotation", "name": None, "classification": {"name": name}}}
        for name, ring in (
            ("Tumour", [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]), ("Adenocarcinoma", [[[0, 0], [9, 0], [9, 9]]]),
            ("Line", [[[0, 0], [9, 0], [0, 0], [0, 0]]]), ("Empty", []),
        )
    ],
}  # fmt: skip


def test_what_qupath_would_refuse_is_mended_and_said(project, tmp_path, capsys) -> None:
    (tmp_path / "drawn.geojson").write_text(json.dumps(BROKEN))
    assert refusals(BROKEN) and main(["qupath", "import", str(tmp_path / "drawn.geojson"), str(project)]) == 0
    said = capsys.readouterr().out
    (path,) = (project.parent / "lungxai").glob("*.imported.drawn.geojson.gz")
    assert refused(path) == [] and [o.class_name for o in read_objects(path)] == ["Tumour", "Adenocarcinoma"]
    assert "2 objects had no shape" in said and "made valid" in said and "a class without a colour" in said
    assert str(path) in said and "Drag" in said


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with fake_server(folder) as (url, token), Client(url, token) as client:
        yield ["--server", url, "--token-file", str(folder / "token")], client


def small_tiles(monkeypatch) -> None:
    """The fake model takes tiles of 64 pixels, 32 µm."""
    monkeypatch.setattr(
        "qupath_bridge.classify.pathology_model",
        lambda client, name=None: {"tile_px": 64, "spacing_um_px": 0.5, "modality": "pathology", "model_id": "fake 1"},
    )


def counted(monkeypatch, sent: list) -> None:
    put = Client.put_tiles

    def counting(self, case_id, tiles, ahead=False):
        sent.append(len(tiles.pixels))
        return put(self, case_id, tiles, ahead)

    monkeypatch.setattr(Client, "put_tiles", counting)


def drawn_tiles(project: Path) -> list[tuple[float, ...]]:
    """(left, top, right, bottom) of each tile of the only run."""
    (run,) = objects(project)
    rings = [np.array(o.coordinates[0]) for o in run.children if o.kind == "tile"]
    return sorted((*ring.min(axis=0), *ring.max(axis=0)) for ring in rings)


def test_smaller_tiles_that_overlap_are_drawn_and_their_regions_do_not(project, server, monkeypatch) -> None:
    small_tiles(monkeypatch)
    command = ["qupath", "classify", str(project), *server[0], "--tile-um", "16", "--overlap", "0.5"]
    assert main(command) == 0
    boxes = drawn_tiles(project)
    assert {(b[2] - b[0], b[3] - b[1]) for b in boxes} == {(32.0, 32.0)}
    assert sorted({b[0] for b in boxes})[:3] == [0.0, 16.0, 32.0]
    (run,) = objects(project)
    parts = [
        shapely.geometry.shape({"type": o.shape, "coordinates": o.coordinates})
        for o in run.children if o.kind == "annotation"
    ]  # fmt: skip
    together = shapely.union_all(parts).area
    assert together == pytest.approx(sum(p.area for p in parts)) == pytest.approx(len(boxes) * 16 * 16)
    said = json.loads(run.metadata["LungXAI parameters"])
    assert (said["tile_um"], said["overlap"]) == (16.0, 0.5)


@pytest.mark.parametrize("given", [["--tile-um", "40"], ["--overlap", "0.95"], ["--tile-um", "nan"]])
def test_tiles_that_cannot_be_are_refused(project, server, monkeypatch, given) -> None:
    small_tiles(monkeypatch)
    assert main(["qupath", "classify", str(project), *server[0], *given]) == 2
    assert not list((project.parent / "lungxai").glob("*.geojson.gz"))


def test_the_tiles_of_an_annotation_alone(project, server, monkeypatch, tmp_path, capsys) -> None:
    small_tiles(monkeypatch)
    command = ["qupath", "classify", str(project), *server[0], "--region", "Tumour"]
    assert main(command) == 2 and "lungxai qupath import" in capsys.readouterr().err
    ring = [[640, 640], [1280, 640], [1280, 1280], [640, 640]]
    drawn = {
        "type": "Feature", "id": "a", "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumour", "color": [1, 2, 3]}},
    }  # fmt: skip
    (tmp_path / "drawn.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [drawn]}))
    assert main(["qupath", "import", str(tmp_path / "drawn.geojson"), str(project)]) == 0
    assert main(command) == 0
    shape = shapely.Polygon(ring)
    boxes = drawn_tiles(project)
    assert 40 < len(boxes) < 60
    assert all(shape.covers(shapely.Point((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)) for b in boxes)


def test_blurred_tiles_are_left_out_and_said(server, monkeypatch, tmp_path, capsys) -> None:
    from scipy.ndimage import gaussian_filter

    small_tiles(monkeypatch)
    pixels = grained(10 * 64, 20 * 64)
    pixels[:, 640:] = gaussian_filter(pixels, (8, 8, 0))[:, 640:]
    Image.fromarray(pixels).save(tmp_path / "half.png")
    project = tmp_path / "study" / "project.qpproj"
    assert main(["qupath", "new", str(tmp_path / "half.png"), "--mpp", "0.5", "--out", str(project)]) == 0
    assert main(["qupath", "classify", str(project), *server[0]]) == 0
    left_out = re.search(r"(\d+) tiles were left out", capsys.readouterr().out)
    assert left_out is not None and int(left_out[1]) > 70  # of the 100 blurred ones; tiles this small vary
    sharp = [b for b in drawn_tiles(project) if b[0] < 640]
    assert len(sharp) == 100 and len(drawn_tiles(project)) == 200 - int(left_out[1])
    assert main(["qupath", "classify", str(project), *server[0], "--region", "whole"]) == 0
    counts = [len(read_objects(p)[0].children) for p in (project.parent / "lungxai").glob("*.tiles.geojson.gz")]
    assert max(counts) > 200 > min(counts)  # the whole slide keeps its blurred tiles too


def test_a_heatmap_costs_no_second_sending_and_other_tiles_are_not_mixed_in(
    project, server, monkeypatch, capsys
) -> None:
    options, client = server
    small_tiles(monkeypatch)
    sent: list = []
    counted(monkeypatch, sent)
    command = ["qupath", "classify", str(project), *options, "--case", "one-case"]
    assert main(command) == 0 and sum(sent) == 400
    assert main([*command, "--explain", "gradcam"]) == 0 and sum(sent) == 400
    assert list((project.parent / "lungxai").glob("*.gradcam.ome.tif"))
    assert main([*command, "--tile-um", "20"]) == 2
    assert "would be mixed" in capsys.readouterr().err
    assert len(client.pathology_result("one-case").origin_px) == 400


def test_ctrl_c_keeps_what_was_sent_and_the_next_run_goes_on(project, server, monkeypatch, capsys) -> None:
    options, client = server
    monkeypatch.setattr("qupath_bridge.sending._TILES_AT_ONCE", 4)
    put, sent = Client.put_tiles, []

    def stopped(self, case_id, tiles, ahead=False):
        if len(sent) == 2:
            raise KeyboardInterrupt
        sent.append(len(tiles.pixels))
        return put(self, case_id, tiles)

    small_tiles(monkeypatch)
    command = ["qupath", "classify", str(project), *options]
    with monkeypatch.context() as patch:
        patch.setattr(Client, "put_tiles", stopped)
        assert main(command) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert not list((project.parent / "lungxai").glob("*.geojson.gz")) and sum(sent) == 8
    again: list = []
    counted(monkeypatch, again)
    assert main(command) == 0
    assert sum(again) == 400 - 8
    (run,) = objects(project)
    assert sum(o.kind == "tile" for o in run.children) == 400
    assert len({tuple(map(tuple, o.coordinates[0])) for o in run.children if o.kind == "tile"}) == 400
    again.clear()
    assert main([*command, "--case", "case-of-the-ct"]) == 0 and sum(again) == 400
    assert client.pathology_result("case-of-the-ct").slide_id == "pink"
    again.clear()
    assert main([*command, "--region", "whole", "--dry-run"]) == 0 and not again
    assert "400 tiles of 32 µm" in capsys.readouterr().out


class Kept:
    """A backend that keeps what it is given; in the place of paquo's."""

    kind = "paquo"

    def __init__(self, path) -> None:
        self.runs, self.metadata, self.closed = {}, {}, False
        Kept.last = self

    def write_run(self, image, run_id, collection, name="tiles"):
        self.runs[image.entry_id, name] = collection
        return Written(1, None, ())

    def set_metadata(self, image, values) -> None:
        self.metadata[image.entry_id] = dict(values)

    def close(self) -> None:
        self.closed = True


def test_objects_go_into_the_project_where_a_qupath_is_and_beside_it_where_none_is(
    project, server, monkeypatch, capsys
) -> None:
    from qupath_bridge import project as through_qupath

    small_tiles(monkeypatch)
    command = ["qupath", "classify", str(project), *server[0], "--explain", "gradcam"]
    monkeypatch.setattr(through_qupath, "paquo_problem", lambda: None)
    monkeypatch.setattr(through_qupath, "PaquoProject", Kept)
    assert main(command) == 0 and "into the project" in capsys.readouterr().out
    assert set(Kept.last.runs) == {("1", "tiles"), ("1", "gradcam")} and Kept.last.closed
    assert all(refusals(collection) == [] for collection in Kept.last.runs.values())
    assert Kept.last.metadata["1"]["LungXAI P(Large cell carcinoma)"] == "not assessed"
    assert not list((project.parent / "lungxai").glob("*.geojson.gz"))
    assert main(command) == 0 and "done already" in capsys.readouterr().out and not Kept.last.runs

    busy = ServerBusy("QuPath has the project open.", "Close it.")

    def refused_open(path):
        raise busy

    monkeypatch.setattr(through_qupath, "PaquoProject", refused_open)
    assert main([*command, "--backend", "paquo"]) == 2 and "has the project open" in capsys.readouterr().err
    assert main(command) == 0 and "beside the project: QuPath has the project open" in capsys.readouterr().err
    assert len(list((project.parent / "lungxai").glob("*.geojson.gz"))) == 2
    monkeypatch.setattr(through_qupath, "paquo_problem", lambda: ModelUnavailable("No QuPath.", "Install one."))
    assert main([*command, "--backend", "paquo"]) == 2 and "No QuPath" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--image", "absent.svs"], "Its images: pink.png"), (["--case", "x"], "--server"),
        (["--all", "--case", "x", "--server", "http://127.0.0.1:1"], "for one image"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before_a_server_is_started(project, capsys, arguments, says) -> None:
    assert main(["qupath", "classify", str(project), *arguments]) == 2
    assert says in capsys.readouterr().err and not (project.parent / "lungxai").exists()


def test_images_that_qupath_shows_otherwise_are_refused(project, server, capsys) -> None:
    body = json.loads(project.read_text())
    whole = body["images"][0]["serverBuilder"]
    for changed, says in (
        ({"builderType": "rotated", "rotation": "ROTATE_90", "builder": whole}, "rotated"),
        ({**whole, "args": ["--series", "2"]}, "several pictures"),
        ({**whole, "metadata": {**whole["metadata"], "width": 7}}, "in the file"),
        ({**whole, "uri": "https://elsewhere/slide"}, "not a file of this machine"),
    ):  # fmt: skip
        body["images"][0]["serverBuilder"] = changed
        project.write_text(json.dumps(body))
        assert main(["qupath", "classify", str(project), *server[0]]) == 2
        assert says in capsys.readouterr().err


def test_runs_are_removed_by_name_and_names_are_no_paths(project) -> None:
    backend = FilesBackend(project)
    (image,) = backend.images()
    empty = {"type": "FeatureCollection", "features": []}
    for run, name in (("one", "tiles"), ("one", "gradcam"), ("two", "tiles")):
        assert backend.write_run(image, run, empty, name).objects == 0
    assert backend.remove_run(image, "one") == 2 and len(backend.parts(image)) == 1
    backend.set_metadata(image, {"a": "1", "b": "2"})
    backend.set_metadata(image, {"b": "3"})
    assert backend.metadata(image) == {"a": "1", "b": "3"}
    for bad in ("../x", "*", "", "a/b"):
        with pytest.raises(InvalidInput):
            backend.write_run(image, bad, empty)
        with pytest.raises(InvalidInput):
            backend.remove_run(image, bad)
    with pytest.raises(InvalidInput, match="no area of the name"):
        backend.regions(image, "Tumour")
    backend.close()


def test_links_in_a_project_of_others_are_not_written_through(project, tmp_path, capsys) -> None:
    backend = FilesBackend(project)
    (image,) = backend.images()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "server").mkdir()
    (mine / "precious").write_text("precious")
    (project.parent / "lungxai").mkdir()
    for name in ("1_pink_png.metadata.json", "1_pink_png.one.tiles.geojson.gz"):
        (project.parent / "lungxai" / f"{name}.part").symlink_to(mine / "precious")
    backend.set_metadata(image, {"a": "1"})
    backend.write_run(image, "one", {"type": "FeatureCollection", "features": []})
    assert (mine / "precious").read_text() == "precious" and backend.metadata(image) == {"a": "1"}
    (project.parent / "lungxai" / "server").symlink_to(mine / "server")
    assert main(["qupath", "classify", str(project)]) == 2 and "leads elsewhere" in capsys.readouterr().err
    shutil.rmtree(project.parent / "lungxai")
    (project.parent / "lungxai").symlink_to(mine)
    assert main(["qupath", "classify", str(project)]) == 2 and "leads elsewhere" in capsys.readouterr().err
    assert sorted(p.name for p in mine.iterdir()) == ["precious", "server"]
