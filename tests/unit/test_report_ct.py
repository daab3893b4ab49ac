"""The CT in the report: sizes, places, intervals, types and pictures of the nodules, and what page one shows."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from report_cases import AFFINE, GALLERY, case, ct, slide

from inference_server import report_pictures as pictures
from inference_server.report_ct import MOST_NODULES, MOST_ON_PAGE_ONE, ct_values, interval_words, rated_words, type_of
from shared_models import ct_density
from shared_models.calibration_record import Calibration, read
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import LabelVolume
from shared_models.contract.values import CTVolume
from shared_models.model_bundle import MODELS_ROOT, Bundle

REAL = Bundle.load(MODELS_ROOT / "lung_nodule_malignancy")


@pytest.fixture(scope="module")
def two():
    return case(**ct(2))


@pytest.fixture(scope="module")
def shown(two):
    return ct_values(two)


def by_the_real_model(record):
    by = Provenance(REAL.model_id, REAL.weights_sha256, "0", True, "cpu", ())
    return dataclasses.replace(record, radiology=dataclasses.replace(record.radiology, provenance=(by,)))


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")).astype(int)


def test_no_ct_is_no_values() -> None:
    assert ct_values(GALLERY["slide_only"]()) is None


def test_each_nodule_has_its_size_place_and_rating(shown) -> None:
    first, second = shown["rows"]
    assert first["size"] == "22.0 x 18.7 mm" and first["malignancy"] == "93 %" and first["side"] == "right lung"
    assert first["place"] == "-69, 12, 80" and second["side"] == "left lung"
    assert first["subtype"] == "not assessed" and not shown["subtype"]


def test_the_key_image_comes_first_then_heatmaps_then_where_it_lies(shown) -> None:
    images = shown["rows"][0]["images"]
    assert [map_ is not None for *_, map_ in images] == [False, True, False]
    key, heat, _ = (pixels(uri) for uri, *_ in images)
    assert "window, level -600 HU, width 1500 HU" in images[0][2] and "slice 17" in images[0][1]
    yellow = (key[..., 0] > 240) & (key[..., 2] < 60)
    assert yellow.sum() > 200  # the outline
    assert (np.abs(heat - key).max(axis=2) > 60).sum() > 500  # heat over the same crop
    assert all(alt for _, alt, *_ in images)


def test_the_key_image_is_of_the_slice_where_the_outline_is_largest(two) -> None:
    labels = two.mask.labels.copy()
    labels[labels == 1] = 0
    labels[20, 100:120, 60:80], labels[16:20, 110, 70] = 1, 1  # a cap below, the widest slice above
    lop = LabelVolume(labels, AFFINE, "1.2.3")
    nodule = two.radiology.nodules[0]
    assert pictures.crop_of(two.volume, nodule).slice_index == 16
    assert pictures.crop_of(two.volume, nodule, lop).slice_index == 20
    assert pictures.crop_of(two.volume, nodule, two.mask).slice_index == 16  # of equal ones the nearest
    labels[labels == 1] = 0
    assert pictures.crop_of(two.volume, nodule, LabelVolume(labels, AFFINE, "1.2.3")).slice_index == 16


def test_page_one_has_at_most_three_with_pictures_and_words(shown) -> None:
    nodule = shown["summary"][0]
    images = shown["rows"][0]["images"]
    assert (nodule["picture"], nodule["heatmap"]) == (images[0][0], images[1][0])
    assert nodule["map"].title.startswith("Grad-CAM") and "right lung" in nodule["size"]
    assert nodule["guideline"].startswith("Screened: Lung-RADS 4B.")
    ten = ct_values(GALLERY["ten_nodules"]())
    assert len(ten["summary"]) == MOST_ON_PAGE_ONE and len(ten["rows"]) == 10
    assert [bool(row["images"]) for row in ten["rows"]] == [True] * MOST_NODULES + [False] * (10 - MOST_NODULES)
    assert "10 nodule candidates" in ten["summary_words"] and "first 3" in ten["summary_words"]


def test_rows_that_fired_before_are_said_once() -> None:
    ten = ct_values(case(**{**ct(10), "volume": None, "mask": None}))
    seen: list = []
    for row in ten["rows"]:
        scenes = row["guidelines"].scenes
        assert (row["same_rows"] is None) == (scenes not in seen)
        seen.append(scenes)
    assert any(row["same_rows"] for row in ten["rows"])


def test_without_a_nodule_the_middle_slice_is_shown() -> None:
    values = ct_values(GALLERY["no_nodule"]())
    assert pixels(values["middle"]).shape[0] > 100 and values["rows"] == [] and values["summary"] == []
    assert values["summary_words"] == "No nodule was marked."


def test_without_voxels_there_are_no_pictures_and_no_type() -> None:
    bare = case(**{**ct(2), "volume": None, "mask": None})
    values = ct_values(bare)
    assert values["rows"][0]["kind"] == "not known" and values["summary"][0]["picture"] is None
    assert any("voxels are not at hand" in words for words in values["type_rule"])
    assert "2, 3, 4A or 4B (new" in values["rows"][0]["guidelines"].short


@pytest.mark.parametrize(("hu", "kind"), [(30, "solid"), (-700, "nonsolid"), (-400, None)])
def test_the_type_is_computed_from_the_voxels_of_this_nodule_alone(hu, kind) -> None:
    parts = ct(2)
    voxels = parts["volume"].voxels.copy()
    voxels[parts["mask"].labels == 1] = hu
    record = case(**{**parts, "volume": CTVolume(voxels, AFFINE, "1.2.3")})
    assert type_of(record, record.radiology.nodules[0]) == kind
    assert type_of(record, record.radiology.nodules[1]) == "solid"
    said = ct_values(record)["rows"][0]["kind"]
    assert said == {"solid": "solid (computed)", "nonsolid": "ground glass (computed)", None: "not known"}[kind]


def test_the_rule_for_the_type_is_told_with_its_agreement_and_thick_slices_are_named(two, shown) -> None:
    rule = " ".join(shown["type_rule"])
    assert "computed, not read" in rule and "readers agreed in 96 %" in rule and "mm apart" not in rule
    thick = AFFINE.copy()
    thick[2, 2] = 5.0
    parts = ct(1)
    given = {**parts, "volume": CTVolume(parts["volume"].voxels, thick, "1.2.3"), "ct_heatmaps": {}}
    assert "5.0 mm apart" in " ".join(ct_values(case(**given))["type_rule"])


def test_a_rule_measured_on_outlines_of_another_network_says_so(two, shown) -> None:
    assert "another version of the segmentation network" in " ".join(shown["type_rule"])
    finder = Bundle.load(MODELS_ROOT / "lung_nodule_segmentation")
    by = Provenance(finder.model_id, ct_density.read().weights_sha256, "0", False, "cpu", ())
    same = dataclasses.replace(two, volume=None, radiology=dataclasses.replace(two.radiology, provenance=(by,)))
    assert "another version" not in " ".join(ct_values(same)["type_rule"])


def test_the_interval_is_of_the_very_weights_or_there_is_none(two, shown) -> None:
    assert shown["rows"][0]["interval"] == "" and "No interval" in shown["interval_rule"]
    real = ct_values(by_the_real_model(two))
    found = read(REAL.folder, REAL.weights_sha256)
    low, high = found.interval("malignant", 0.93)
    assert real["rows"][0]["interval"] == interval_words(low, high) and low <= 0.93 <= high
    assert f"Of {found.like('malignant', 0.93).n} validation nodules" in real["rows"][0]["support"]
    assert real["summary"][0]["malignancy"] == f"93 % ({interval_words(low, high)})"
    assert "not histology" in real["interval_rule"] and f"{found.groups} patients" in real["interval_rule"]


def test_what_is_not_assessed_has_no_interval(two) -> None:
    record = by_the_real_model(GALLERY["abstention"]())
    row = ct_values(record)["rows"][0]
    assert row["malignancy"] == "not assessed" and row["interval"] == row["support"] == ""
    assert rated_words(0.5, None) == {"interval": "", "support": ""}


def test_an_interval_never_says_nought_or_all() -> None:
    assert interval_words(0.61, 0.894) == "61 to 89 %"
    assert interval_words(0.0001, 0.9999) == "under 1 to over 99 %"


def test_the_case_that_holds_tissue_says_that_guidelines_may_not_apply() -> None:
    assert ct_values(case(**{**ct(1), "volume": None}, **slide()))["tissue"]
    assert not ct_values(case(**{**ct(1), "volume": None}))["tissue"]


def test_the_calibration_record_is_what_the_words_are_made_of() -> None:
    assert isinstance(read(REAL.folder, REAL.weights_sha256), Calibration)
