"""Shapes that break writers: whatever comes in, QuPath would take what goes out; 100,000 tiles take bounded memory."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from qupath_validator import refusals

from qupath_bridge.annotations import heatmap_geojson, slide_geojson, write_geojson
from qupath_bridge.geojson_reader import read_objects, walk
from qupath_bridge.outlines import geometry, joined, regions, sound
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, PathologyResult
from shared_models.contract.values import CLASSES

BY = Provenance("test", "0" * 64, "test", True, "cpu", ("adenocarcinoma", "squamous_cell", "normal"))


def slide(origins, seed: int, side) -> PathologyResult:
    table = np.full((len(origins), 5), np.nan, np.float32)
    table[:, [0, 1, 4]] = np.random.default_rng(seed).dirichlet((1, 1, 1), len(origins))
    whole = {name: (1 / 3 if name in BY.coverage else None) for name in CLASSES}
    return PathologyResult("s", 0.5, side, np.array(origins, np.int64).reshape(-1, 2), table, whole, (BY,))


def refused(shape) -> list:
    feature = {
        "type": "Feature", "id": "00000000-0000-4000-8000-000000000000", "geometry": geometry(shape),
        "properties": {"objectType": "annotation"},
    }  # fmt: skip
    return refusals({"type": "FeatureCollection", "features": [feature]})


SHAPES = {
    "bow-tie": (shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]), 40.5),
    "overlapping parts": (shapely.MultiPolygon([shapely.box(0, 0, 9, 9), shapely.box(5, 5, 14, 14)]), 146),
    "the same part twice": (shapely.MultiPolygon([shapely.box(0, 0, 9, 9)] * 2), 81),
    "sliver": (shapely.box(0, 0, 1000, 0.004), None),
    "spike": (shapely.Polygon([(0, 0), (9, 0), (9, 9), (9, 400), (9, 9), (0, 9)]), 81),
    "hole": (shapely.Polygon(shapely.box(0, 0, 9, 9).exterior, [shapely.box(3, 3, 6, 6).exterior]), 72),
    "hole outside": (shapely.Polygon(shapely.box(0, 0, 9, 9).exterior, [shapely.box(20, 20, 22, 22).exterior]), 85),
    "hole that touches the rim": (
        shapely.Polygon(shapely.box(0, 0, 9, 9).exterior, [[(0, 3), (4, 2), (4, 6), (0, 3)]]), 73),
    "parts that touch in a point": (shapely.MultiPolygon([shapely.box(0, 0, 5, 5), shapely.box(5, 5, 9, 9)]), 41),
    "nothing": (shapely.Polygon(), None),
    "a line": (shapely.LineString([(0, 0), (9, 9)]), None),
    "a mixture": (shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(0, 0, 2, 2)]), 4),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_every_broken_shape_is_mended_or_dropped(name) -> None:
    shape, area = SHAPES[name]
    mended = sound(shape)
    if area is None:
        assert mended is None
        return
    assert refused(mended) == []
    assert mended.area == pytest.approx(area, rel=0.01)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e4, 1e5)] * 2), min_size=3, max_size=12))
def test_any_ring_is_mended_or_dropped(corners) -> None:
    mended = sound(shapely.Polygon(corners))
    assert mended is None or refused(mended) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 900)] * 2), max_size=25), st.integers(0, 99), st.floats(1, 300).map(float),
)  # fmt: skip
def test_tiles_that_overlap_anyhow_are_written_as_qupath_takes_them(origins, seed, side) -> None:
    origins = list(dict.fromkeys(origins))
    made = slide_geojson(slide(origins, seed, (side, side * 0.7)))
    assert refusals(made) == []
    assert sum(o["properties"]["objectType"] == "tile" for f in made["features"]
               for o in f["properties"]["childObjects"]) == len(origins)  # fmt: skip


def test_a_region_with_holes_keeps_them_and_rings_do_not_fill_in() -> None:
    ring = [(x * 100, y * 100) for x in range(3) for y in range(3) if (x, y) != (1, 1)]
    (area,) = regions(joined(np.array(ring), (100.0, 100.0)))
    assert area.area == 80_000 and len(area.interiors) == 1 and refused(area) == []
    # A chessboard: parts meet in points alone.
    board = [(x * 100, y * 100) for x in range(8) for y in range(8) if (x + y) % 2]
    whole = joined(np.array(board), (100.0, 100.0))
    assert whole.area == len(board) * 1e4 and refused(whole) == []
    # Both ways of joining agree; tiles one pixel off the grid take the other way.
    some = np.array([place for n, place in enumerate(board + ring) if n % 5])
    plain = shapely.union_all(shapely.box(*some.T, *(some + 100).T))
    assert shapely.equals(joined(some, (100.0, 100.0)), plain)
    some[::3] += 1
    plain = shapely.union_all(shapely.box(*some.T, *(some + 100).T))
    assert shapely.equals(joined(some, (100.0, 100.0)), plain)
    assert joined(np.zeros((0, 2)), (1.0, 1.0)) is None and regions(None) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6), st.floats(0.3, 90), st.floats(-3, 3))
def test_any_noise_as_a_heatmap_is_written_as_qupath_takes_it(rows, columns, seed, cell, turn) -> None:
    values = np.random.default_rng(seed).choice([0, 0, 1, 2, 5], (rows, columns)).astype(np.float32)
    cos, sin = np.cos(turn) * cell, np.sin(turn) * cell
    matrix = np.array([[cos, -sin, 7.77], [sin, cos, 3.33], [0, 0, 1]])
    assert refusals(heatmap_geojson(Heatmap(values, matrix, "s", "pathology", "gradcam", "x", BY, {}))) == []


MANY = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from test_geojson_torture import slide
from qupath_bridge.annotations import slide_geojson, write_geojson
places = [(x * 224, y * 224) for y in range(400) for x in range(250)]
# Neighbours never share a class: each tile is a region of its own, and regions of one class meet in corners alone.
table = np.full((len(places), 5), np.nan, np.float32)
table[:, [0, 1, 4]] = np.eye(3, dtype=np.float32)[[(x + y) // 224 % 3 for x, y in places]]
result = replace(slide(places, 0, (224.0, 224.0)), tile_probabilities=table)
write_geojson(Path(sys.argv[1]), slide_geojson(result, slide_mpp=0.5, drawn_px=(200.0, 200.0)))
# Not ru_maxrss: that is never less than what the parent held when it started this process.
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmHWM is of Linux")
def test_100_000_tiles_go_into_one_file_in_less_than_a_gigabyte(tmp_path) -> None:
    path = tmp_path / "many.geojson.gz"
    here = Path(__file__).parent
    places = [str(here), str(here.parent), str(here.parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places!r}\n{MANY}", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 1024, f"{done.stdout} MiB"
    # Not by the bridge's own reader, which checks each of 200,000 objects.
    (run,) = json.loads(gzip.decompress(path.read_bytes()))["features"]
    children = run["properties"].pop("childObjects")
    tiles = [o for o in children if o["properties"]["objectType"] == "tile"]
    assert len(tiles) == 100_000 and len(children) == 200_000
    assert len({run["id"], *(o["id"] for o in children)}) == 200_001
    assert run["properties"]["measurements"]["LungXAI area px^2"] == 100_000 * 224**2
    first, said = children[0]["properties"], run["properties"]["metadata"]
    assert first["metadata"]["LungXAI run"] == said["LungXAI run"]
    assert "LungXAI model" in said and "LungXAI model" not in first["metadata"]


def test_a_file_reads_back_as_what_was_written(tmp_path) -> None:
    made = slide_geojson(slide([(0, 0), (150, 30), (900, 900)], 1, (200.0, 100.0)), slide_mpp=0.25)
    write_geojson(tmp_path / "a.geojson.gz", made)
    (top,), (run,) = made["features"], read_objects(tmp_path / "a.geojson.gz")
    for feature, read in zip([top, *top["properties"]["childObjects"]], walk([run]), strict=True):
        properties = feature["properties"]
        assert (read.kind, read.object_id) == (properties["objectType"], feature["id"])
        assert {"type": read.shape, "coordinates": read.coordinates} == feature["geometry"]
        assert dict(read.measurements) == properties["measurements"]
        assert dict(read.metadata) == properties.get("metadata", {})
        kind = properties.get("classification")
        assert kind is None or (read.class_name, list(read.colour)) == (kind["name"], kind["color"])
    assert json.loads(json.dumps(made, allow_nan=False)) == made
