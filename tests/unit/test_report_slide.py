"""The slide in the report: areas of classes, tiles that are shown, quality, scale bars."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from report_cases import GALLERY, case, slide

from inference_server import report_pictures as pictures
from inference_server.report_drawing import magnified, with_bar
from inference_server.report_slide import own_areas, slide_values
from inference_server.report_tiles import MOST_TILES, representative, uncertain
from shared_models.contract.heatmap_words import FAILED, SANITY
from shared_models.contract.values import CLASSES

ADENO, NORMAL = CLASSES.index("adenocarcinoma"), CLASSES.index("normal")


@pytest.fixture(scope="module")
def record():
    return case(clinical=None, **slide())


@pytest.fixture(scope="module")
def shown(record):
    return slide_values(record)


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")).astype(int)


def test_no_slide_is_no_values() -> None:
    assert slide_values(GALLERY["ct_only"]()) is None


def test_tiles_edge_to_edge_have_their_own_area_and_what_overlaps_is_shared() -> None:
    apart = own_areas(np.array([[0, 0], [100, 0], [500, 300]]), (100.0, 100.0))
    assert apart == pytest.approx([1e4, 1e4, 1e4])
    half = own_areas(np.array([[0, 0], [50, 0]]), (100.0, 100.0))
    assert half == pytest.approx([7500, 7500])  # 150 x 100 in all
    three = own_areas(np.array([[0, 0], [0, 0], [50, 50]]), (100.0, 100.0))
    assert three.sum() == pytest.approx(17500)


def test_areas_are_in_square_millimetres_and_in_shares(record, shown) -> None:
    table = record.pathology.tile_probabilities
    adeno = int((np.nan_to_num(table, nan=-1).argmax(axis=1) == ADENO).sum())
    [row] = [r for r in shown["areas"] if r["label"] == "Adenocarcinoma"]
    assert row["tiles"] == adeno and row["share"] == f"{100 * adeno / len(table):.0f} %"
    assert float(row["mm2"]) == pytest.approx(adeno * (48 * 2.33e-3) ** 2, abs=0.006)  # 48 px of 2.33 um a side
    assert shown["summary"]["areas"][0] == (row["label"], row["colour"], row["share"])
    assert [r["label"] for r in shown["areas"]] == ["Adenocarcinoma", "Squamous cell carcinoma", "Normal"]


def test_the_representative_tiles_are_the_surest_ones_apart_from_each_other(record) -> None:
    result = record.pathology
    chosen = representative(result, "adenocarcinoma")
    values = result.tile_probabilities[:, ADENO]
    like = result.tile_reliability >= 0.5
    assert len(chosen) == MOST_TILES and chosen[0] == np.flatnonzero(like)[values[like].argmax()]
    for i, one in enumerate(chosen):
        assert like[one]
        for other in chosen[:i]:
            assert np.abs(result.origin_px[one] - result.origin_px[other]).max() >= 2 * 224
            assert values[one] <= values[other]


def test_tiles_that_lie_close_are_shown_where_there_are_no_others(record) -> None:
    result = record.pathology
    few = dataclasses.replace(
        result, origin_px=result.origin_px[:3], tile_probabilities=result.tile_probabilities[:3],
        tile_quality=None, tile_reliability=None, reliability=None,
    )  # fmt: skip
    assert sorted(representative(few, "normal")) == [0, 1, 2]


def test_the_uncertain_tiles_are_the_most_even_ones_and_none_twice(record) -> None:
    result = record.pathology
    best = representative(result, "adenocarcinoma")
    chosen = uncertain(result, best)
    p = np.nan_to_num(result.tile_probabilities, nan=0.0).max(axis=1)
    assert p[chosen[0]] == np.delete(p, best).min() and not set(chosen) & set(best)
    tied = dataclasses.replace(result, tile_probabilities=np.full_like(result.tile_probabilities, np.nan))
    assert uncertain(tied) == []


def test_each_tile_shows_its_own_pixels_and_its_cut_of_the_map(record, shown) -> None:
    group = shown["tiles"][0]
    index = representative(record.pathology, "adenocarcinoma")[0]
    own = record.slide.chosen(np.array([index]))[0].astype(int)
    drawn, heated = (pixels(group["tiles"][0][name])[2:120:5, 2::5] for name in ("picture", "heatmap"))  # above the bar
    assert drawn.shape == (24, 48, 3) and np.abs(drawn - own[:24]).mean() < 12  # a JPEG of it, five times as large
    assert "Adenocarcinoma 9" in group["tiles"][0]["words"] and "quality" in group["tiles"][0]["words"]
    grid = pictures.grid_of_tile(record.pathology.origin_px[index], (224.0, 224.0), (48, 48))
    heat = pictures.slide_overlay(own.astype(np.uint8), grid, record.slide_heatmaps["gradcam"]).astype(int)
    assert np.abs(heated - heat[:24]).mean() < 12
    assert [g["title"] for g in shown["tiles"]] == [
        "Most representative tiles: likeliest Adenocarcinoma", "Most uncertain tiles",
    ]  # fmt: skip


def test_tiles_show_a_map_that_passes_its_check_where_there_is_one(record) -> None:
    failed = record.slide_heatmaps["gradcam"]
    assert failed.parameters[SANITY] == FAILED
    passed = dataclasses.replace(failed, method="occlusion", parameters={})
    both = dataclasses.replace(record, slide_heatmaps={"gradcam": failed, "occlusion": passed})
    assert slide_values(both)["tiles"][0]["map"].title.startswith("Occlusion")
    assert slide_values(record)["tiles"][0]["map"].failed


def test_where_a_tile_s_pixels_lie_on_the_slide() -> None:
    grid = pictures.grid_of_tile(np.array([1000, 2000]), (400.0, 200.0), (50, 100))
    assert grid @ [0, 0, 1] == pytest.approx([1002, 2002, 1])
    assert grid @ [99, 49, 1] == pytest.approx([1398, 2198, 1])


@pytest.mark.parametrize(("um_per_px", "length"), [(1.0, 100), (4.0, 50), (0.5, 100)])
def test_a_scale_bar_is_as_long_as_it_says(um_per_px, length) -> None:
    blank = np.full((300, 400, 3), 255, np.uint8)
    drawn = with_bar(blank, um_per_px)
    rows = (drawn == 0).all(axis=2)
    longest = max(int(row.sum()) for row in rows)
    assert longest == pytest.approx(length, abs=3)
    assert (blank == 255).all()
    small = blank[:50, :50]
    assert with_bar(small, um_per_px) is small


def test_what_is_small_is_magnified_by_whole_times() -> None:
    small = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    large, times = magnified(small, 10)
    assert times == 3 and large.shape == (12, 12, 3) and (large[::3, ::3] == small).all()
    assert magnified(small, 4)[1] == 1


def test_without_pixels_there_are_shares_alone_and_it_is_said() -> None:
    values = slide_values(case(clinical=None, **{**slide(), "slide": None}))
    assert values["images"] == [] and values["tiles"] == [] and not values["has_mm2"] and not values["has_pixels"]
    assert values["areas"][0]["mm2"] == "" and values["areas"][0]["share"].endswith("%")
    assert "not at hand" in values["summary"]["words"] and values["summary"]["thumbnail"] is None


def test_quality_says_how_many_were_left_out_and_how_many_do_not_count(record, shown) -> None:
    said = " ".join(shown["quality"])
    unlike = int((record.pathology.tile_reliability < 0.5).sum())
    assert f"{unlike} of {len(record.pathology.origin_px)} tiles look unlike" in said
    assert "Every tile that was sent was classified" in said
    result = record.pathology
    kept = dataclasses.replace(
        result, origin_px=result.origin_px[5:], tile_probabilities=result.tile_probabilities[5:],
        tile_quality=None, tile_reliability=None, reliability=None,
    )  # fmt: skip
    said = " ".join(slide_values(dataclasses.replace(record, pathology=kept))["quality"])
    assert "5 tiles that were sent were not classified" in said and "were not judged" in said
    assert "was not assessed" in said


def test_a_model_of_others_shows_its_classes_and_its_tiles() -> None:
    values = slide_values(GALLERY["not_assessed"]())
    assert [name for name, *_ in values["others"]] == ["lepidic", "acinar", "solid"] and values["not_validated"]
    assert [(row["label"], row["colour"]) for row in values["areas"]] == [
        ("lepidic", None), ("acinar", None), ("solid", None),
    ]  # fmt: skip
    assert values["summary"]["class_map"] is None and values["summary"]["thumbnail"] and not values["calibrated"]
    assert values["tiles"][0]["title"].endswith("lepidic") and "lepidic" in values["tiles"][0]["tiles"][0]["words"]


def test_an_abstaining_slide_without_any_answer_has_no_tiles_to_choose() -> None:
    values = slide_values(GALLERY["abstention"]())
    assert values["tiles"] == [] and values["summary"]["class_map"] is None
    assert [(row["label"], row["share"]) for row in values["areas"]] == [("not assessed", "100 %")]
