"""Whatever objects come in, the mended file is one that QuPath takes; sound objects are left as they are."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qupath_validator import refusals

from qupath_bridge.geojson_mend import mended
from qupath_bridge.geojson_reader import objects_of
from shared_models.contract.errors import LungXAIError

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
SQUARE = [[[0, 0], [0, 9], [9, 9], [9, 0], [0, 0]]]


def one(coordinates, kind="Polygon", **properties):
    feature = {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}
    return mended(objects_of({"type": "FeatureCollection", "features": [feature]}))


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not here")
@pytest.mark.parametrize("version", ["0.6.0", "0.7.0"])
def test_qupaths_own_export_is_left_as_it_is(version) -> None:
    raw = json.loads((GOLDEN / f"qupath-{version}" / "all_objects.geojson").read_text())
    assert mended(objects_of(raw)) == (raw, [])


def test_what_is_broken_is_mended_with_its_children_and_said() -> None:
    child = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": SQUARE},
             "properties": {"objectType": "tile", "measurements": {"a": 1.5, "b": None}}}  # fmt: skip
    bow = [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]
    made, notes = one(bow, name="x", childObjects=[child], classification={"name": "Adenocarcinoma"}, isLocked=True)
    assert refusals(made) == []
    properties = made["features"][0]["properties"]
    assert made["features"][0]["geometry"]["type"] == "MultiPolygon" and properties["isLocked"] is True
    assert properties["classification"] == {"name": "Adenocarcinoma", "color": [213, 94, 0]}
    assert properties["childObjects"][0]["properties"]["measurements"] == {"a": 1.5}
    assert len(notes) == 3


@pytest.mark.parametrize(
    ("coordinates", "kind"),
    [
        ([], "Polygon"), ([[]], "Polygon"), ([[[0, 0]]], "Polygon"), ([[[0, 0], [9, 0], [0, 0], [0, 0]]], "Polygon"),
        ([[["a", "b"]] * 4], "Polygon"),
        ([[[10**400, 0], [0, 1], [1, 1], [0, 0]]], "Polygon"), ([[None] * 4], "Polygon"),
        ([[]], "MultiPolygon"), ([], "Point"), (["x", "y"], "Point"), ([{}], "LineString"),
    ],
)  # fmt: skip
def test_what_has_no_shape_is_left_out(coordinates, kind) -> None:
    made, notes = one(coordinates, kind)
    assert made["features"] == [] and "left out" in notes[0]


def test_heights_are_dropped_and_rings_closed() -> None:
    for coordinates in ([[[0, 0, 5], [0, 9, 5], [9, 9, 5], [0, 0, 5]]], [[[0, 0], [0, 9], [9, 9]]]):
        made, notes = one(coordinates)
        assert refusals(made) == [] and len(notes) == 2


numbers = st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | st.none() | st.just("x") | st.booleans()
points = st.lists(st.integers(0, 50) | numbers, min_size=1, max_size=3)
ring_lists = st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(list), max_size=7), max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.lists(ring_lists | st.lists(st.lists(points, max_size=5), max_size=3), max_size=3), st.booleans())
def test_any_coordinates_end_as_a_file_that_qupath_takes(parts, many) -> None:
    coordinates = parts if many else parts[0] if parts else []
    try:
        made, _ = one(coordinates, "MultiPolygon" if many else "Polygon")
    except LungXAIError as fault:
        assert fault.message
        return
    assert refusals(made) == []
