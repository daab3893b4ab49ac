"""QuPath's own exports are read object for object, and the validator tells what its importer refuses."""

import copy
import gzip
import json
from pathlib import Path

import pytest
from qupath_validator import refusals

from qupath_bridge import geojson_reader
from qupath_bridge.geojson_reader import objects_of, read_objects, walk
from shared_models.contract.errors import InputTooLarge, InvalidInput, LungXAIError

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not here")
SQUARE = [[[0, 0], [0, 9], [9, 9], [9, 0], [0, 0]]]


def feature(number: int = 1, kind: str = "annotation", **properties):
    return {
        "type": "Feature", "id": f"00000000-0000-4000-8000-{number:012d}",
        "geometry": {"type": "Polygon", "coordinates": copy.deepcopy(SQUARE)},
        "properties": {"objectType": kind, **properties},
    }  # fmt: skip


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


@golden
@pytest.mark.parametrize("version", ["0.6.0", "0.7.0"])
def test_qupaths_export_is_read_object_for_object(version) -> None:
    path = GOLDEN / f"qupath-{version}" / "all_objects.geojson"
    raw = json.loads(path.read_text())
    assert refusals(raw) == []
    read = read_objects(path)
    red, green = ("Adenocarcinoma", (200, 30, 30)), ("Normal", (30, 150, 60))
    box = lambda x, y, side: [[[x, y], [x, y + side], [x + side, y + side], [x + side, y], [x, y]]]  # noqa: E731
    wanted = [
        ("annotation", "Polygon", box(100, 100, 800), "Region 1", red, True, {"P(Adenocarcinoma)": 0.91}),
        ("annotation", "MultiPolygon", [
            [[[50, 0], [50, 50], [0, 50], [0, 0], [50, 0]]], [[[60, 60], [90, 60], [90, 90], [60, 60]]],
        ], None, green, False, {}),
        ("tile", "Polygon", box(100, 100, 256), None, green, False, {"P(Adenocarcinoma)": pytest.approx(0.2)}),
        ("tile", "Polygon", box(100, 356, 256), None, green, False, {"P(Adenocarcinoma)": pytest.approx(0.3)}),
        ("tile", "Polygon", box(356, 100, 256), None, red, False, {"P(Adenocarcinoma)": 0.5}),
        ("tile", "Polygon", box(356, 356, 256), None, red, False, {"P(Adenocarcinoma)": pytest.approx(0.6)}),
    ]  # fmt: skip
    for got, (kind, shape, coordinates, name, (class_name, colour), locked, measured) in zip(read, wanted, strict=True):
        assert (got.kind, got.shape, got.coordinates, got.name) == (kind, shape, coordinates, name)
        assert (got.class_name, got.colour, got.locked) == (class_name, colour, locked)
        assert dict(got.measurements) == measured and dict(got.metadata) == {} and got.children == ()
    assert [o.object_id for o in read] == [f["id"] for f in raw["features"]]


def test_children_metadata_and_old_forms_are_read() -> None:
    child = feature(2, "tile", measurements=[{"name": "a", "value": 2}])
    parent = feature(1, childObjects=[child], metadata={"k": "v"})
    parent["properties"]["classification"] = {"names": ["Tumor", "Positive"], "colorRGB": -3662306}
    (read,) = objects_of(collection(parent))
    assert (read.class_name, read.colour, dict(read.metadata)) == ("Tumor: Positive", (200, 30, 30), {"k": "v"})
    assert [o.kind for o in walk([read])] == ["annotation", "tile"]
    assert dict(read.children[0].measurements) == {"a": 2.0}
    assert objects_of(parent) == (read,)


def test_packed_files_are_read_and_bombs_are_not(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(gzip.compress(json.dumps(collection(feature())).encode()))
    assert len(read_objects(path)) == 1
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InvalidInput, match="cut off"):
        read_objects(path)
    path.write_bytes(b"nothing that is packed")
    with pytest.raises(InvalidInput, match="damaged"):
        read_objects(path)
    monkeypatch.setattr(geojson_reader, "MAX_BYTES", 1 << 20)
    path.write_bytes(gzip.compress(b" " * (8 << 20)))
    with pytest.raises(InputTooLarge):
        read_objects(path)
    monkeypatch.setattr(geojson_reader, "MAX_OBJECTS", 2)
    with pytest.raises(InputTooLarge):
        objects_of(collection(feature(1, childObjects=[feature(2), feature(3)])))
    for name in ("a.txt", "absent.geojson"):
        with pytest.raises(InvalidInput):
            read_objects(tmp_path / name)


def test_brackets_in_names_are_no_depth_and_real_depth_is_refused(tmp_path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(collection(*[feature(n, name='[["{[\\') for n in range(60)])))
    assert [o.name for o in read_objects(path)] == ['[["{[\\'] * 60
    nested = feature(0)
    for number in range(1, 30):
        nested = feature(number, childObjects=[nested], name="]]]}}}")
    path.write_text(json.dumps(collection(nested)))
    with pytest.raises(InvalidInput, match="nested deeper"):
        read_objects(path)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"type": "FeatureCollection"}, {"type": "FeatureCollection", "features": [None]},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None}]},
        collection({**feature(), "geometry": {"type": "Curve", "coordinates": []}}), collection(feature(kind="x")),
    ],
)  # fmt: skip
def test_what_is_no_object_is_refused_in_words(body) -> None:
    with pytest.raises(LungXAIError) as caught:
        objects_of(body)
    assert caught.value.message and caught.value.remedy


def shaped(kind: str, coordinates):
    return {**feature(), "geometry": {"type": kind, "coordinates": coordinates}}


RED = {"name": "A", "color": [1, 2, 3]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (collection(feature(classification={"name": "A"})), "no colour"),
        (collection(feature(name=None)), "name is null"),
        (collection({**feature(), "geometry": None}), "geometry is null"),
        (collection(shaped("Polygon", [[[0, 0], [0, 9], [9, 9], [9, 0]]])), "unclosed"),
        (collection(shaped("Polygon", [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]])), "Self-intersection"),
        (collection(shaped("MultiPolygon", [SQUARE, SQUARE])), "intersection"),
        (collection(shaped("MultiPolygon", [SQUARE, [[[5, 5], [5, 20], [20, 20], [20, 5], [5, 5]]]])), "intersection"),
        (collection(shaped("Polygon", [*SQUARE, [[20, 20], [20, 22], [22, 22], [20, 20]]])), "outside"),
        (collection(shaped("Polygon", [[[0, 0], [0, 9], [float("nan"), 9], [0, 0]]])), "finite"),
        (collection(shaped("Polygon", [])), "without rings"),
        (collection(feature(), feature()), "twice"),
        (collection({**feature(), "id": "1"}), "no UUID"),
        (collection(feature(kind="root")), "objectType"),
        (collection(feature(measurements={"a": float("inf")})), "measurement"),
        (collection(feature(measurements={"a": None})), "measurement"),
        (collection(feature(metadata={"a": 1})), "metadata"),
        (collection(feature(childObjects=[feature(2, name=None)])), "childObjects[0]: name is null"),
        (collection(feature(classification={"name": "A", "color": [1, 2, 300]})), "no colour"),
        ([], "no FeatureCollection"),
    ],
)  # fmt: skip
def test_the_validator_says_what_qupath_refuses(body, says) -> None:
    found = refusals(body)
    assert any(says.lower() in reason.lower() for reason in found), found


def test_the_validator_takes_what_is_sound() -> None:
    assert refusals(collection()) == []
    hole = [[[2, 2], [4, 2], [4, 4], [2, 2]]]
    fine = [
        feature(1, classification=RED, name="a", isLocked=True, measurements={"a": 1, "b": 0.5}, metadata={"k": "v"}),
        {**feature(2), "geometry": {"type": "Polygon", "coordinates": SQUARE + hole}},
        feature(3, childObjects=[feature(4, "tile")]),
    ]
    assert refusals(collection(*fine)) == []
