"""Heatmaps in the report: both signs in their ramps, how far each can be trusted, a failed check as a warning."""

import dataclasses
import re

import numpy as np
import pytest
from test_report import BY, ct_case, slide_case, whole_page

from inference_server import report_pictures as pictures
from inference_server.report_heatmaps import map_words
from shared_models.contract.colours import heat_colour
from shared_models.contract.heatmap_words import FAILED, FAILS, FIGURES, PASSED, SANITY, UNMEASURED
from shared_models.contract.results import Heatmap, placed

FIGURE = "insertion AUC 0.81 <on 40 nodules>"


def signed(parameters=None, against: float = 0.5) -> Heatmap:
    """For in one voxel, against in another one of the nodule's slice."""
    *_, heatmap = ct_case()
    values = np.array(heatmap.values)
    values[2, 5, 9] = -against
    return dataclasses.replace(heatmap, values=values, target="malignancy", parameters=parameters or {})


def captions(text: str) -> list[str]:
    found = re.findall(r"<figcaption>(.*?)</figcaption>", text, re.S)
    return [caption for caption in found if "Model:" in caption]


def test_each_map_says_what_it_is_and_how_far_it_can_be_trusted() -> None:
    [caption] = captions(whole_page(ct_heatmaps={"gradcam": signed({SANITY: PASSED, FIGURES: FIGURE})}))
    assert "Grad-CAM: malignancy" in caption and "insertion AUC 0.81 &lt;on 40 nodules&gt;" in caption
    assert "Model: test &lt;model&gt;" in caption
    assert "warning" not in caption and FAILS not in caption
    [caption] = captions(whole_page(ct_heatmaps={"gradcam": signed()}))
    assert UNMEASURED in caption


def test_a_failed_sanity_check_is_a_warning_beside_the_picture() -> None:
    maps = {
        "gradcam": signed({SANITY: FAILED, FIGURES: FIGURE}),
        "occlusion": dataclasses.replace(signed(), method="occlusion"),
    }
    bad, good = captions(whole_page(ct_heatmaps=maps))
    [warning] = re.findall(r'<strong class="warning">(.*?)</strong>', bad)
    assert warning.startswith(FAILS) and "0.81" in warning
    assert "warning" not in good and "Occlusion: malignancy" in good


def test_what_speaks_against_is_never_left_out() -> None:
    [caption] = captions(whole_page(ct_heatmaps={"gradcam": signed()}))
    assert "what speaks against has 50 % of what speaks for" in caption
    places = [
        caption.index("rgb({},{},{})".format(*heat_colour(f, a))) for f, a in ((1.0, True), (0.0, True), (1.0, False))
    ]
    assert places == sorted(places)  # the legend runs from most against, by nothing, to most for
    only = dataclasses.replace(signed(), values=-np.abs(signed().values))
    assert map_words(only).signs == "Nothing in it speaks for the target." and map_words(only).ends == (
        "against",
        "for",
    )
    assert "what speaks for has 25 % of what speaks against" in map_words(signed(against=4.0)).signs
    assert map_words(signed(against=1e-4)).signs.endswith("what speaks against has under 1 % of what speaks for.")
    assert map_words(signed(against=0.0)).signs == "" and map_words(signed(against=0.0)).ends == ("least", "most")
    empty = dataclasses.replace(signed(), values=np.zeros_like(signed().values))
    assert "Empty" in map_words(empty).signs


def test_a_picture_that_the_map_does_not_reach_says_so() -> None:
    [caption] = captions(whole_page(ct_heatmaps={"gradcam": signed()}))
    assert "Here it reaches" not in caption
    elsewhere = np.zeros((5, 11, 11), np.float32)
    elsewhere[0, 5, 5], elsewhere[2, 5, 5] = 1.0, -0.03  # the nodule's slice is the third one
    small = dataclasses.replace(ct_case()[2].nodules[0], long_axis_mm=3.0, short_axis_mm=2.0)
    ct = dataclasses.replace(ct_case()[2], nodules=(small,))
    maps = {"gradcam": dataclasses.replace(signed(), values=elsewhere)}
    [caption] = captions(whole_page(radiology=ct, fusion=None, ct_heatmaps=maps))
    assert "Here it reaches 3 % of its strongest value." in caption
    elsewhere[2, 5, 5] = 0.0
    far = dataclasses.replace(signed(), values=elsewhere, parameters={SANITY: FAILED})
    text = whole_page(radiology=ct, fusion=None, ct_heatmaps={"gradcam": far})
    assert not captions(text) and "Grad-CAM: malignancy: nothing of this heatmap lies here" in text and FAILS in text


def test_a_map_of_one_slice_is_drawn_on_that_slice() -> None:
    values = np.zeros((5, 11, 11), np.float32)
    values[3, 5, 5] = 1.0  # slice 12 of the CT; the nodule's middle is on slice 11
    [caption] = captions(whole_page(ct_heatmaps={"gradcam": dataclasses.replace(signed(), values=values)}))
    assert "Grad-CAM: malignancy, slice 12" in caption and "Here it reaches" not in caption
    [caption] = captions(whole_page(ct_heatmaps={"gradcam": signed()}))
    assert "slice" not in caption.split("</b>")[0]


@pytest.mark.parametrize("against", [False, True])
def test_each_side_is_drawn_in_its_ramp_where_its_voxels_are(against: bool) -> None:
    volume, _, radiology, _ = ct_case()
    heatmap = signed(against=1.0)
    crop = pictures.crop_of(volume, radiology.nodules[0])
    whole = placed(heatmap.values, heatmap.index_to_world, volume.voxels.shape, volume.ijk_to_lps)
    picture = pictures.overlay(volume, whole, pictures.top_of(heatmap), crop).astype(int)
    column = 69 if against else 65
    per_voxel = picture.shape[1] / (crop.columns[1] - crop.columns[0])
    y, x = (int((place + 0.5 - first) * per_voxel) for place, first in ((35, crop.rows[0]), (column, crop.columns[0])))
    grey = pictures._grey(volume, crop)[0, 0].astype(float)
    wanted = 0.35 * grey + 0.65 * np.array(heat_colour(1.0, against))
    assert np.abs(picture[y, x] - wanted).max() < 12


def test_every_map_of_a_slide_is_shown_both_signs() -> None:
    _, shown = slide_case()
    place = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    values = np.array([[1.0, 0.0, -1.0, -1.0]] * 2, np.float32)
    first = Heatmap(values, place, "s", "pathology", "gradcam", "adenocarcinoma", BY, {SANITY: FAILED})
    maps = {"gradcam": first, "occlusion": dataclasses.replace(first, method="occlusion", parameters={})}
    text = whole_page(slide_heatmaps=maps, ct_heatmaps={})
    assert ["Grad-CAM: Adenocarcinoma" in c for c in captions(text)] == [True, False]
    assert "Occlusion: Adenocarcinoma" in captions(text)[1] and FAILS in captions(text)[0]
    picture = pictures.slide_overlay(*shown.picture(), first).astype(int)
    grey = 200 * 0.35
    assert np.abs(picture[5, 2] - (grey + 0.65 * np.array(heat_colour(1.0)))).max() <= 2
    assert np.abs(picture[5, 37] - (grey + 0.65 * np.array(heat_colour(1.0, True)))).max() <= 2
    assert (picture[5, 15] == 200).all()
