"""The report: one page that needs nothing else, says what is missing, and puts pictures where the voxels are."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from report_cases import stored_slide

from inference_server import report_pictures as pictures
from inference_server.case_record import CaseRecord
from inference_server.report import render
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap, LabelVolume, Nodule, PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, ClinicalFields, CTVolume, SlideTiles
from shared_models.fusion import fuse
from shared_models.model_bundle import SLIDE_MODEL

BY = Provenance("test <model>", "0" * 64, "test", True, "cpu", ("adenocarcinoma", "squamous_cell", "normal"))
AFFINE = np.array([[0.8, 0, 0, -40], [0, 0.8, 0, -40], [0, 0, 2.0, 0], [0, 0, 0, 1]])
FLIPPED = np.array([[-0.8, 0, 0, 40], [0, 0.8, 0, -40], [0, 0, -2.0, 38], [0, 0, 0, 1]])


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list = []
        self.words: list = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.words.append(data)


def ct_case(affine=AFFINE):
    volume = CTVolume(np.full((20, 100, 100), -800, np.int16), affine, "ct")
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[8:13, 30:41, 60:71] = 1
    centre = tuple((affine @ [65, 35, 10, 1])[:3])
    nodule = Nodule(1, centre, 12.0, 9.0, 500.0, -20.0, 0.8, dict.fromkeys(CLASSES), "search")
    result = RadiologyResult("ct", (nodule,), 0.8, dict.fromkeys(CLASSES), (BY,), ("a <script>note</script>",))
    values = np.zeros((5, 11, 11), np.float32)
    values[2, 5, 5] = 1
    part = affine.copy()
    part[:3, 3] = (affine @ [60, 30, 8, 1])[:3]
    heatmap = Heatmap(values, part, "ct", "radiology", "gradcam", "nodule", BY, {"layer": "x"})
    return volume, LabelVolume(labels, affine, "ct"), result, heatmap


def slide_case():
    table = np.full((2, 5), np.nan, np.float32)
    table[:, [0, 1, 4]] = [(0.9, 0.05, 0.05), (0.1, 0.1, 0.8)]
    whole = {"adenocarcinoma": 0.85, "squamous_cell": 0.004, "normal": 0.146, "large_cell": None, "small_cell": None}
    result = PathologyResult("s", 0.9, (200.0, 200.0), np.array([[0, 0], [200, 0]]), table, whole, (BY,))
    tiles = SlideTiles(np.full((2, 20, 20, 3), 200, np.uint8), result.origin_px, 9.0, "s")
    return result, stored_slide(tiles, (200.0, 200.0))


def whole_page(**more) -> str:
    volume, mask, radiology, heatmap = ct_case()
    pathology, shown = slide_case()
    clinical = ClinicalFields(age_years=67)
    fusion = fuse(radiology, pathology, clinical)
    given = dict(
        radiology=radiology, mask=mask, volume=volume, ct_heatmaps={"gradcam": heatmap}, pathology=pathology,
        slide=shown, slide_heatmaps={}, clinical=clinical, fusion=fusion, synthetic=False,
    )  # fmt: skip
    return render(CaseRecord("case-1", **{**given, **more}))


def test_nothing_is_asked_of_the_network_and_nothing_runs() -> None:
    text = whole_page()
    page = Page(text)
    assert not [t for t, _ in page.tags if t in ("script", "iframe", "link", "object", "form")]
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\((?!#)", text)
    assert any(a.get("http-equiv") == "Content-Security-Policy" for _, a in page.tags)


def test_hostile_words_stay_words() -> None:
    text = whole_page()
    assert "<script" not in text and "&lt;script&gt;note" in text and "test &lt;model&gt;" in text


def test_every_picture_has_words_and_every_chart_a_title() -> None:
    page = Page(whole_page())
    images = [a for t, a in page.tags if t == "img"]
    assert len(images) >= 5 and all(a["alt"].strip() for a in images)
    assert sum(t == "svg" for t, _ in page.tags) == sum(t == "title" for t, _ in page.tags) - 1


def test_not_assessed_is_never_a_number_and_unlikely_is_never_zero() -> None:
    words = " ".join(Page(whole_page()).words)
    assert "not assessed" in words and "under 1 %" in words and not re.search(r"(?<!\d)0 %", words)
    assert "Research use only" in words and "SYNTHETIC" not in words


def test_synthetic_is_said() -> None:
    assert "SYNTHETIC CASE" in whole_page(synthetic=True)


@pytest.mark.parametrize("missing", ["radiology", "pathology", "clinical", "fusion"])
def test_each_part_may_be_missing(missing) -> None:
    text = whole_page(**{missing: None})
    says = {
        "radiology": "No CT was analysed", "pathology": "No slide was analysed",
        "clinical": "No clinical fields were given", "fusion": "were not fused",
    }  # fmt: skip
    assert says[missing] in text


def test_a_ct_without_nodules_shows_a_slice_and_says_so() -> None:
    volume, mask, _, _ = ct_case()
    nothing = RadiologyResult("ct", (), None, dict.fromkeys(CLASSES), (BY,))
    text = whole_page(radiology=nothing, ct_heatmaps={}, fusion=None)
    assert "no nodule was marked" in text


@pytest.mark.parametrize("affine", [AFFINE, FLIPPED])
def test_outline_and_heat_lie_where_the_voxels_are(affine) -> None:
    from shared_models.contract.results import placed

    volume, mask, radiology, heatmap = ct_case(affine)
    nodule = radiology.nodules[0]
    crop = pictures.crop_of(volume, nodule)
    assert crop.slice_index == 10
    picture = pictures.key_image(volume, mask, nodule, crop).astype(int)
    yellow = np.argwhere((picture[..., 0] > 240) & (picture[..., 2] < 20))
    per_voxel = picture.shape[1] / (crop.columns[1] - crop.columns[0])
    rows, columns = yellow[:, 0] / per_voxel + crop.rows[0], yellow[:, 1] / per_voxel + crop.columns[0]
    assert rows.min() == pytest.approx(30, abs=0.6) and rows.max() == pytest.approx(41, abs=0.6)
    assert columns.min() == pytest.approx(60, abs=0.6) and columns.max() == pytest.approx(71, abs=0.6)
    whole = placed(heatmap.values, heatmap.index_to_world, volume.voxels.shape, volume.ijk_to_lps)
    warm = pictures.overlay(volume, whole, 1.0, crop).astype(int)
    spread = warm.max(axis=2) - warm.min(axis=2)  # the CT is grey: colour is heat
    y, x = np.argwhere(spread > 60).mean(axis=0) / per_voxel
    assert y + crop.rows[0] == pytest.approx(35.5, abs=0.6) and x + crop.columns[0] == pytest.approx(65.5, abs=0.6)
    assert pictures._letters(affine)["left"] == ("R" if affine[0, 0] > 0 else "L")


def test_the_class_map_colours_each_tile() -> None:
    result, shown = slide_case()
    found = pictures.slide_images(result, *shown.picture())["classes"].astype(int)
    left, right = found[10, 10], found[10, 30]
    assert left[0] > left[2] + 80 and right[1] > right[0] + 80  # orange for adenocarcinoma, green for normal


def test_a_slide_model_of_others_shows_its_own_classes_and_says_that_it_was_not_validated() -> None:
    known, shown = slide_case()
    own = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    nothing = dict.fromkeys(CLASSES)
    by = Provenance("theirs 1", "1" * 64, "test", False, "cpu", ())
    table = np.full((2, 5), np.nan, np.float32)
    result = PathologyResult(
        "s", 0.9, (200.0, 200.0), known.origin_px, table, nothing, (by,), tile_quality=np.array([0.3, 0.9], np.float32),
        other_classes=("lepidic", "<b>solid</b>"), other_probabilities=own,
    )  # fmt: skip
    text = render(CaseRecord("case", pathology=result, slide=shown))
    words = " ".join(Page(text).words)
    assert "lepidic" in words and "<b>solid</b>" in words and "not validated here" in words
    assert "LC25000 tiles of one laboratory" not in words and "1 below 0.5" in words
    shipped = Provenance(f"{SLIDE_MODEL} 0.1.0", "0" * 64, "test", True, "cpu", BY.coverage)
    known = dataclasses.replace(known, provenance=(shipped,))
    ours = " ".join(Page(render(CaseRecord("case", pathology=known, slide=shown))).words)
    assert "not validated here" not in ours
