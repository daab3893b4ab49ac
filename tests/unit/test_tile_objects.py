"""Tiles that overlap or are smaller than the model's field, their quality, and classes of a model of others."""

from __future__ import annotations

import uuid
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from qupath_validator import refusals
from test_geojson_torture import slide

from qupath_bridge.annotations import FIELD_KEY, slide_geojson
from qupath_bridge.features import SPACE, object_id
from qupath_bridge.geojson_reader import objects_of
from qupath_bridge.tile_classes import OTHER_COLOURS, other_classes
from shared_models.contract.colours import CLASS_COLOURS, NOT_ASSESSED
from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import Heatmap


def parts(made) -> tuple:
    """The run, its regions and its tiles; QuPath would refuse none of them."""
    assert refusals(made) == []
    (run,) = objects_of(made)
    return run, [o for o in run.children if o.kind == "annotation"], [o for o in run.children if o.kind == "tile"]


def shape(item):
    return shapely.geometry.shape({"type": item.shape, "coordinates": item.coordinates})


def others(names, rows, origins=None):
    origins = [(x * 100, 0) for x in range(len(rows))] if origins is None else origins
    bare = slide(origins, 0, (100.0, 100.0))
    unseen = replace(
        bare, tile_probabilities=np.full_like(bare.tile_probabilities, np.nan),
        probabilities=dict.fromkeys(bare.probabilities),
    )  # fmt: skip
    return replace(unseen, other_classes=names, other_probabilities=np.array(rows, np.float32))


@settings(max_examples=50, deadline=None)
@given(st.floats(30, 400), st.floats(0, 0.9), st.floats(1, 3), st.integers(0, 10**6))
def test_drawn_tiles_lie_in_the_middle_of_their_field_and_cells_never_overlap(drawn, overlap, wider, seed) -> None:
    step, field = drawn * (1 - overlap), drawn * wider
    place = np.unique(np.random.default_rng(seed).integers(0, 12, (30, 2)), axis=0)
    origins = np.rint(place * step - (field - step) / 2).astype(np.int64)
    result = slide(origins, seed, (field, field))
    made = slide_geojson(result, step_px=(step, step), drawn_px=(drawn, drawn), slide_mpp=0.5)
    run, regions, tiles = parts(made)
    for tile, origin in zip(tiles, origins, strict=True):
        x0, y0, x1, y1 = shape(tile).bounds
        assert x1 - x0 == pytest.approx(drawn, abs=0.02) and y1 - y0 == pytest.approx(drawn, abs=0.02)
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx(tuple(origin + field / 2), abs=0.02)
    shapes = [shape(region) for region in regions]
    assert sum(s.area for s in shapes) == pytest.approx(shapely.union_all(shapes).area, rel=1e-6)
    if step >= 4:
        assert sum(s.area for s in shapes) == pytest.approx(len(place) * step * step, rel=0.01)
        assert run.measurements["LungXAI area px^2"] == pytest.approx(len(place) * step * step, abs=0.01)
        assert sum(r.measurements["LungXAI tiles"] for r in regions) == len(place)
        for cell, tile in zip(place, tiles):  # a class is drawn where its tiles have their centres
            middle = shapely.Point((cell + 0.5) * step)
            assert any(s.buffer(1).contains(middle) for r, s in zip(regions, shapes) if r.class_name == tile.class_name)


def test_a_heatmap_is_measured_over_what_is_drawn() -> None:
    values = np.zeros((8, 8), np.float32)
    values[2:6, 2:6] = 4
    matrix = np.array([[50.0, 0, 25], [0, 50, 25], [0, 0, 1]])
    result = slide([(0, 0)], 0, (400.0, 400.0))
    heatmap = Heatmap(values, matrix, "s", "pathology", "gradcam", "normal", result.provenance[0], {})
    for drawn, mean in (((200.0, 200.0), 4), ((400.0, 400.0), 1), (None, 1)):
        _, _, (tile,) = parts(slide_geojson(result, [heatmap], drawn_px=drawn))
        assert tile.measurements["Attribution (Grad-CAM)"] == mean


def test_the_run_says_what_a_script_asks_the_server_by() -> None:
    result = slide([(0, 0)], 0, (448.5, 448.0))
    run, (region, *_), _ = parts(slide_geojson(result, case_id="case-17", drawn_px=(100, 100)))
    for item in (run, region):
        assert item.metadata["LungXAI case"] == "case-17" and item.metadata["LungXAI slide"] == "s"
    assert run.metadata[FIELD_KEY] == "448.5 448.0"
    run, _, _ = parts(slide_geojson(result))
    assert "LungXAI case" not in run.metadata and "LungXAI slide" not in run.metadata
    with pytest.raises(InvalidInput):
        slide_geojson(result, step_px=(0.001, 5.0))


def test_ids_are_uuids_of_version_5() -> None:
    for key in ("", "run tile 1 2", "größer " * 30):
        assert object_id(key) == str(uuid.uuid5(SPACE, key))


def test_quality_is_measured_where_it_was_judged() -> None:
    result = slide([(0, 0), (100, 0)], 0, (100.0, 100.0))
    _, _, tiles = parts(slide_geojson(replace(result, tile_quality=np.array([0.25, 1], np.float32))))
    assert [t.measurements["Quality"] for t in tiles] == [0.25, 1.0]
    assert all("Quality" not in t.measurements for t in parts(slide_geojson(result))[2])


def test_how_like_the_training_tiles_a_tile_is_is_measured_where_it_was_judged() -> None:
    result = slide([(0, 0), (100, 0)], 0, (100.0, 100.0))
    _, _, tiles = parts(slide_geojson(replace(result, tile_reliability=np.array([0.125, 1], np.float32))))
    assert [t.measurements["Like the training tiles"] for t in tiles] == [0.125, 1.0]
    assert all("Like the training tiles" not in t.measurements for t in parts(slide_geojson(result))[2])


def test_a_model_of_others_is_drawn_by_its_own_classes() -> None:
    rows = [(0.75, 0.25, 0.0), (0.5, 0.25, 0.25), (0.1, 0.1, 0.8)]
    run, regions, tiles = parts(slide_geojson(others(("Lepidic", "Acinar", "normal"), rows)))
    assert [t.class_name for t in tiles] == ["Lepidic", "Lepidic", "normal (other model)"]
    assert [t.colour for t in tiles] == [OTHER_COLOURS[0], OTHER_COLOURS[0], OTHER_COLOURS[2]]
    assert [(r.class_name, r.measurements["LungXAI tiles"]) for r in regions] == [
        ("Lepidic", 2), ("normal (other model)", 1),
    ]  # fmt: skip
    assert set(tiles[0].measurements) == {"P(Lepidic)", "P(Acinar)", "P(normal (other model))", "Entropy (bits)"}
    assert tiles[1].measurements["Entropy (bits)"] == 1.5 and tiles[1].measurements["P(Acinar)"] == 0.25
    assert run.measurements["LungXAI mean P(Lepidic)"] == pytest.approx(0.45, abs=1e-5)
    assert not any("P(slide)" in name for r in regions for name in r.measurements)
    # Where the suite's own classes were assessed too, they are numbers of the tiles and no regions.
    both = replace(
        slide([(0, 0)], 0, (100.0, 100.0)), other_classes=("Lepidic",), other_probabilities=np.ones((1, 1), np.float32)
    )
    _, (region,), (tile,) = parts(slide_geojson(both))
    assert region.class_name == tile.class_name == "Lepidic"
    assert {"P(Normal)", "P(Lepidic)", "Malignancy score"} <= set(tile.measurements)
    assert tile.measurements["Entropy (bits)"] == 0


def test_one_class_alone_is_not_drawn_where_there_is_less_than_a_half_of_it() -> None:
    run, (region,), tiles = parts(slide_geojson(others(("Tumour",), [(0.75,), (0.25,)])))
    assert [t.class_name for t in tiles] == ["Tumour", None] and region.measurements["LungXAI tiles"] == 1
    assert run.measurements["LungXAI tiles"] == 2
    assert tiles[0].measurements["Entropy (bits)"] == pytest.approx(0.81128)


# Machado, Oliveira and Fernandes 2009, severity 1.0; on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(colour, deficiency) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as a reader with this deficiency sees it."""
    part = np.array(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(DEFICIENCIES[deficiency]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.maximum(to_xyz @ seen / [0.9505, 1, 1.089], 1e-4))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_of_others_are_apart_from_each_other_and_from_the_suites_own(deficiency) -> None:
    own = [*CLASS_COLOURS.values(), NOT_ASSESSED]
    pairs = [*combinations(OTHER_COLOURS, 2), *((a, b) for a in OTHER_COLOURS for b in own)]
    apart = {pair: float(np.linalg.norm(lab(pair[0], deficiency) - lab(pair[1], deficiency))) for pair in pairs}
    nearest = min(apart, key=apart.__getitem__)
    assert apart[nearest] > (20 if deficiency == "none" else 12), (nearest, apart[nearest])


def test_many_classes_of_others_have_a_colour_each() -> None:
    names = tuple(f"class {n}" for n in range(24))
    classes = other_classes(others(names, np.eye(24)))
    assert len(set(classes.colours)) == 24
    first = [classes.colours[n] for n in range(0, 24, len(OTHER_COLOURS))]
    assert all(sum(a) > sum(b) for a, b in pairwise(first))
