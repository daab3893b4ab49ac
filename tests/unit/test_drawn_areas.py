"""Areas drawn in QuPath, found again by name or class in what was laid beside the project."""

from __future__ import annotations

import pytest
import shapely
from test_geojson_torture import slide
from test_project_files import GOLDEN, golden, project

from qupath_bridge.annotations import heatmap_geojson, slide_geojson, write_geojson
from qupath_bridge.drawn_areas import drawn_areas
from qupath_bridge.files_backend import FilesBackend
from qupath_bridge.geojson_mend import mended
from qupath_bridge.geojson_reader import read_objects
from shared_models.contract.errors import InvalidInput


def drawn(name, kind, coordinates, shape="Polygon", of="annotation", **more) -> dict:
    properties = {"objectType": of, **({"name": name} if name else {}), **more}
    if kind:
        properties["classification"] = {"name": kind, "color": [1, 2, 3]}
    return {
        "type": "Feature", "id": "x", "geometry": {"type": shape, "coordinates": coordinates}, "properties": properties
    }  # fmt: skip


def box(x, y, side) -> list:
    return [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]]


@pytest.fixture
def beside(tmp_path):
    """A project with objects of a person's, of a run, and of a heatmap beside it."""
    backend = FilesBackend(project(tmp_path))
    (image,) = backend.images()
    bow_tie = [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]
    features = [
        drawn("biopsy", "Tumor", box(0, 0, 100), childObjects=[drawn("inside", "Tumor", box(10, 10, 5))]),
        drawn("Tumor", None, [box(200, 0, 50), box(300, 0, 50)], "MultiPolygon"),
        drawn("crossed", "Stroma", bow_tie),
        drawn("a line", "Tumor", [[0, 0], [9, 9]], "LineString"),
        drawn(None, None, box(7, 7, 7)),
        drawn(None, "Tumor", box(500, 0, 10), of="detection"),
    ]
    result = slide([(0, 0), (100, 0)], 0, (100.0, 100.0))
    features += slide_geojson(result)["features"]
    backend.write_run(image, "imported", {"type": "FeatureCollection", "features": features}, "mine")
    backend.write_run(image, "run1", {"type": "FeatureCollection", "features": [drawn("mine?", None, box(0, 0, 9))]})
    return backend, image


def test_areas_are_found_by_name_and_by_class_and_are_valid(beside) -> None:
    backend, image = beside
    found = [shapely.geometry.shape(area) for area in backend.regions(image, "Tumor")]
    assert [area.area for area in found] == [10_000, 25, 5_000]
    (crossed,) = backend.regions(image, "crossed")
    assert shapely.geometry.shape(crossed).is_valid and shapely.geometry.shape(crossed).area == 40.5
    assert len(backend.regions(image, "inside")) == 1


@pytest.mark.parametrize("name", ["Adenocarcinoma", "Normal", "a line", "mine?", "tumor", ""])
def test_what_nobody_drew_is_no_area_and_the_names_that_there_are_are_said(beside, name) -> None:
    backend, image = beside
    with pytest.raises(InvalidInput) as refused:
        backend.regions(image, name)
    assert "There are: Stroma, Tumor, biopsy, crossed, inside." in refused.value.message
    assert "Export objects as GeoJSON" in refused.value.remedy and "lungxai qupath import" in refused.value.remedy


def test_where_nothing_was_laid_beside_the_way_is_said(tmp_path) -> None:
    backend = FilesBackend(project(tmp_path))
    with pytest.raises(InvalidInput, match="There are: none") as refused:
        backend.regions(backend.images()[0], "Tumor")
    assert '--image "a.png"' in refused.value.remedy


def test_a_heatmaps_steps_are_not_drawn(tmp_path) -> None:
    import numpy as np
    from test_annotations import heatmap

    write_geojson(tmp_path / "a.geojson", heatmap_geojson(heatmap(np.array([[1, 2], [3, 4]]))))
    assert len(read_objects(tmp_path / "a.geojson")) > 1 and not list(drawn_areas([tmp_path / "a.geojson"]))


@golden
def test_qupaths_own_export_is_read(tmp_path) -> None:
    backend = FilesBackend(project(tmp_path))
    (image,) = backend.images()
    collection, _ = mended(read_objects(GOLDEN / "qupath-0.7.0" / "all_objects.geojson"))
    backend.write_run(image, "imported", collection, "all")
    (area,) = backend.regions(image, "Region 1")
    assert shapely.geometry.shape(area).equals(shapely.box(100, 100, 900, 900))
    assert [a["type"] for a in backend.regions(image, "Normal")] == ["MultiPolygon"]
