"""GeoJSON for QuPath: the importer refuses a file for one bad feature, so every feature is checked."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from qupath_validator import refusals

from qupath_bridge.annotations import heatmap_geojson, run_name, slide_geojson, tile_means, write_geojson
from qupath_bridge.geojson_reader import objects_of, walk
from shared_models.contract.errors import InputTooLarge, InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, PathologyResult
from shared_models.contract.values import CLASSES

KNOWN = ("adenocarcinoma", "squamous_cell", "normal")
BY = Provenance("test", "0" * 64, "test", True, "cpu", KNOWN)


def result(origins, rows, side=(224.5, 224.5)) -> PathologyResult:
    table = np.full((len(rows), 5), np.nan, np.float32)
    table[:, [0, 1, 4]] = rows
    whole = {name: (1 / 3 if name in KNOWN else None) for name in CLASSES}
    return PathologyResult("s", 0.9, side, np.array(origins, np.int64).reshape(-1, 2), table, whole, (BY,))


def heatmap(values, matrix=None) -> Heatmap:
    matrix = np.array([[32.0, 0, 116], [0, 32, 16], [0, 0, 1]]) if matrix is None else matrix
    return Heatmap(np.asarray(values, np.float32), matrix, "s", "pathology", "gradcam", "normal", BY, {})


def checked(collection) -> list:
    """All objects, those below others too; QuPath would refuse none of them."""
    assert refusals(collection) == []
    json.dumps(collection, allow_nan=False)

    def below(features):
        for feature in features:
            yield feature
            yield from below(feature["properties"].get("childObjects", []))

    return list(below(collection["features"]))


def regions_of(features) -> list:
    return [
        f for f in features if f["properties"]["objectType"] == "annotation" and "classification" in f["properties"]
    ]


def test_tiles_bear_their_class_and_only_what_was_assessed() -> None:
    collection = slide_geojson(result([(0, 0), (224, 0)], [(0.7, 0.2, 0.1), (0.1, 0.1, 0.8)]))
    (run, *others) = checked(collection)
    tiles = [f for f in others if f["properties"]["objectType"] == "tile"]
    assert [t["properties"]["classification"]["name"] for t in tiles] == ["Adenocarcinoma", "Normal"]
    assert set(tiles[0]["properties"]["measurements"]) == {
        "P(Adenocarcinoma)", "P(Squamous cell carcinoma)", "P(Normal)", "Entropy (bits)", "Malignancy score",
    }  # fmt: skip
    assert tiles[0]["properties"]["measurements"]["P(Adenocarcinoma)"] == pytest.approx(0.7)
    assert tiles[1]["geometry"]["coordinates"][0][0] in ([448.5, 0.0], [224.0, 0.0])


def test_the_label_is_on_every_annotation() -> None:
    for synthetic in (True, False):
        found = checked(slide_geojson(result([(0, 0)], [(0.7, 0.2, 0.1)]), synthetic=synthetic))
        found += checked(heatmap_geojson(heatmap([[0, 1], [2, 3]]), synthetic=synthetic))
        names = [f["properties"]["name"] for f in found if f["properties"]["objectType"] == "annotation"]
        assert names and all("research use only" in n and ("SYNTHETIC" in n) == synthetic for n in names)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), unique=True, max_size=20), st.integers(0, 99))
def test_any_set_of_tiles_is_sound_and_no_area_is_lost(places, seed) -> None:
    rows = np.random.default_rng(seed).dirichlet((1, 1, 1), len(places))
    origins = [(round(x * 224.5), round(y * 224.5)) for x, y in places]
    features = checked(slide_geojson(result(origins, rows.reshape(-1, 3))))
    assert sum(f["properties"]["objectType"] == "tile" for f in features) == len(places)
    outlines = regions_of(features)
    area = sum(shapely.geometry.shape(f["geometry"]).area for f in outlines)
    # Tiles at rounded origins overlap or part by a pixel at most.
    assert area == pytest.approx(len(places) * 224.5**2, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_any_heatmap_is_sound_and_lies_where_its_cells_are(rows, columns, seed) -> None:
    values = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    features = checked(heatmap_geojson(heatmap(values)))
    top = values.max()
    area = sum(shapely.geometry.shape(f["geometry"]).area for f in features)
    assert area == pytest.approx(float((np.ceil(values / top * 5) > 1).sum()) * 32 * 32)
    row, column = np.unravel_index(values.argmax(), values.shape)
    hottest = shapely.geometry.shape(features[-1]["geometry"])
    assert hottest.contains(shapely.Point(116 + 32 * column, 16 + 32 * row))


def test_a_map_of_zeros_has_no_annotation_and_a_ct_map_is_refused() -> None:
    assert heatmap_geojson(heatmap(np.zeros((3, 3))))["features"] == []
    ct = Heatmap(np.zeros((1, 1, 1), np.float32), np.eye(4), "s", "radiology", "gradcam", "nodule", BY, {})
    with pytest.raises(InvalidInput):
        heatmap_geojson(ct)


def test_files_read_back_are_the_same_each_time_and_whole(tmp_path) -> None:
    collection = slide_geojson(result([(0, 0), (225, 0)], [(0.7, 0.2, 0.1), (0.1, 0.1, 0.8)]))
    for name in ("a.geojson", "a.geojson.gz", "b.geojson.gz"):
        write_geojson(tmp_path / name, collection)
    assert json.loads((tmp_path / "a.geojson").read_text()) == collection
    assert json.loads(gzip.decompress((tmp_path / "a.geojson.gz").read_bytes())) == collection
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(InvalidInput):
        write_geojson(tmp_path / "a.json", collection)


def test_each_contiguous_region_is_one_annotation_with_its_own_id() -> None:
    # Two normal regions, the first of two tiles whose rounded origins leave a gap of half a pixel.
    places = [(224, 0), (449, 0), (2000, 0), (2000, 3000)]
    rows = [(0.1, 0.1, 0.8)] * 3 + [(0.8, 0.1, 0.1)]
    features = checked(slide_geojson(result(places, rows)))
    regions = regions_of(features)
    names = [f["properties"]["classification"]["name"] for f in regions]
    assert names == ["Adenocarcinoma", "Normal", "Normal"]
    assert [f["properties"]["measurements"]["LungXAI tiles"] for f in regions] == [1.0, 2.0, 1.0]
    assert len({f["id"] for f in features}) == len(features)
    assert features == checked(slide_geojson(result(places, rows)))


def test_keys_are_those_of_qupaths_own_export() -> None:
    golden = Path(__file__).parents[3] / "shared" / "golden" / "qupath-0.7.0" / "all_objects.geojson"
    if not golden.exists():
        pytest.skip(f"{golden} is not here")
    own = json.loads(golden.read_text())["features"]
    for kind in ("annotation", "tile"):
        keys = {key for f in own if f["properties"]["objectType"] == kind for key in f["properties"]}
        for feature in checked(slide_geojson(result([(0, 0)], [(0.7, 0.2, 0.1)]))):
            assert set(feature) == set(own[0])
            if feature["properties"]["objectType"] == kind:
                # Children and metadata: QuPath reads them (0.5 and later), the golden objects have none.
                assert set(feature["properties"]) <= keys | {"childObjects", "metadata"}


def test_a_number_that_is_none_is_never_written_and_ragged_maps_are_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError):
        write_geojson(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": [float("nan")]})
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidInput):
        heatmap_geojson(heatmap([[0, 1]]), levels=1)
    monkeypatch.setattr("qupath_bridge.heatmap_contours.MAX_CORNERS", 8)
    with pytest.raises(InputTooLarge):
        heatmap_geojson(heatmap(np.eye(4)))


def test_one_locked_annotation_holds_the_run_and_says_what_made_it() -> None:
    places, rows = [(0, 0), (224, 0), (1000, 1000)], [(0.7, 0.2, 0.1), (0.1, 0.1, 0.8), (0.25, 0.25, 0.5)]
    made = slide_geojson(result(places, rows, (224, 224)), slide_mpp=0.5, parameters={"region": "tissue"})
    (run,) = objects_of(made)
    assert run.kind == "annotation" and run.locked and run.class_name is None and "research use only" in run.name
    assert run.metadata["LungXAI model"] == "test" and run.metadata["LungXAI weights sha256"] == "0" * 64
    assert json.loads(run.metadata["LungXAI parameters"]) == {"region": "tissue"}
    assert run.metadata["LungXAI run"] == run_name("s", (BY,), {"region": "tissue"})
    assert run.metadata["LungXAI not assessed"] == "Large cell carcinoma, Small cell carcinoma"
    assert run.measurements["LungXAI tiles"] == 3 and run.measurements["LungXAI area px^2"] == 3 * 224**2
    assert run.measurements["LungXAI area mm^2"] == pytest.approx(3 * 224**2 * 0.25e-6, abs=1e-6)
    assert run.measurements["LungXAI P(Normal)"] == pytest.approx(1 / 3, abs=1e-5)
    areas = [o for o in run.children if o.kind == "annotation"]
    assert [(a.class_name, a.measurements["LungXAI area px^2"]) for a in areas] == [
        ("Adenocarcinoma", 224**2), ("Normal", 224**2), ("Normal", 224**2),
    ]  # fmt: skip
    assert all(a.metadata["LungXAI run"] == run.metadata["LungXAI run"] and a.locked for a in areas)
    tiles = [o for o in run.children if o.kind == "tile"]
    assert tiles[2].measurements["Entropy (bits)"] == pytest.approx(1.5)
    assert tiles[0].measurements["Malignancy score"] == pytest.approx(0.9)
    assert len({o.object_id for o in walk([run])}) == 7


def test_another_slide_model_or_parameter_is_another_run() -> None:
    other = Provenance("test", "1" * 64, "test", True, "cpu", KNOWN)
    names = {
        run_name("s", (BY,), {}), run_name("t", (BY,), {}), run_name("s", (other,), {}), run_name("s", (BY,), {"a": 1}),
    }  # fmt: skip
    assert len(names) == 4 and run_name("s", (BY,), {}) in names


def test_a_class_that_was_not_assessed_has_no_score() -> None:
    table = np.full((1, 5), np.nan, np.float32)
    table[0, :2] = 0.5, 0.5
    whole = {name: (0.5 if name in KNOWN[:2] else None) for name in CLASSES}
    only = PathologyResult("s", 0.9, (224.0, 224.0), np.zeros((1, 2), np.int64), table, whole, (BY,))
    (tile,) = [o for o in walk(objects_of(slide_geojson(only))) if o.kind == "tile"]
    assert set(tile.measurements) == {"P(Adenocarcinoma)", "P(Squamous cell carcinoma)", "Entropy (bits)"}


def test_each_tile_bears_the_mean_of_its_part_of_a_heatmap() -> None:
    # Two tiles of 2 x 2 cells side by side, and one further down that the map does not reach.
    values = np.array([[1, 2, 10, 20], [3, 4, 30, 40]])
    matrix = np.array([[112.0, 0, 56], [0, 112, 56], [0, 0, 1]])
    slide = result([(0, 0), (224, 0), (0, 5000)], [(0.7, 0.2, 0.1)] * 3, (224, 224))
    means = tile_means(slide, heatmap(values, matrix))
    assert means[:2].tolist() == [2.5, 25.0] and np.isnan(means[2])
    made = slide_geojson(slide, [heatmap(values, matrix)])
    tiles = [f for f in checked(made) if f["properties"]["objectType"] == "tile"]
    assert [t["properties"]["measurements"].get("Attribution (Grad-CAM)") for t in tiles] == [2.5, 25.0, None]
    turned = np.array([[0, 112.0, 56], [112, 0, 56], [0, 0, 1]])
    foreign = Heatmap(np.ones((2, 2), np.float32), matrix, "t", "pathology", "gradcam", "normal", BY, {})
    for wrong in (heatmap(values, turned), foreign):
        with pytest.raises(InvalidInput):
            slide_geojson(slide, [wrong])


def test_a_heatmap_names_its_run_and_how_it_was_made() -> None:
    (first, *_) = objects_of(heatmap_geojson(heatmap([[0, 1], [2, 3]]), run="abc"))
    assert first.metadata["LungXAI run"] == "abc" and first.metadata["LungXAI method"] == "gradcam"
    assert first.metadata["LungXAI weights sha256"] == "0" * 64 and first.metadata["LungXAI target"] == "normal"


def test_an_empty_result_gives_an_empty_file() -> None:
    assert slide_geojson(result([], np.zeros((0, 3)))) == {"type": "FeatureCollection", "features": []}
