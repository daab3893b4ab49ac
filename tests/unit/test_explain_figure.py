"""The figure of `lungxai explain`: every text inside its column, every sign in its ramp, nothing hidden."""

import numpy as np
import pytest

from shared_models.contract.colours import heat_colour
from shared_models.contract.heatmap_words import FAILED, SANITY
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import METHODS, Heatmap
from shared_models.explain_figure import OUTLINE, SIDE_PX, Panel, Subject, blended, figure, number, round_length
from shared_models.figure_sheet import Sheet, font, spelled, wrapped

PROVENANCE = Provenance("test model", "0" * 64, "test", False, "cpu", ("adenocarcinoma", "normal"))
WARNING = (163, 0, 0)
NEARLY_MOST_AGAINST = heat_colour(1 - 1 / (SIDE_PX - 1), against=True)  # the last one within the bar's edge


def heatmap(values: np.ndarray, method: str = "gradcam", target: str = "adenocarcinoma", **parameters) -> Heatmap:
    return Heatmap(
        values.astype(np.float32), np.eye(3), "tile", "pathology", method, target, PROVENANCE, parameters
    )  # fmt: skip


def panel(values: np.ndarray, **of) -> Panel:
    return Panel(heatmap(values, **of), values.astype(np.float32))


def subject(**of) -> Subject:
    grey = np.full((60, 60, 3), 120, np.uint8)
    return Subject(**{"picture": grey, "heading": "Tile", "caption": "The tile", "lines": ("Model: test",), **of})


def has(picture: np.ndarray, colour) -> int:
    return int((picture == np.array(colour, np.uint8)).all(axis=-1).sum())


def slope(low: float = 0.0) -> np.ndarray:
    return np.linspace(low, 1, 3600).reshape(60, 60)


@pytest.mark.parametrize("size", [13, 15])
@pytest.mark.parametrize("text", ["a few short words of a line " * 5, "W" * 80, f"short {'i' * 300} end", "", " x"])
def test_no_line_is_wider_than_it_may_be_and_no_letter_is_lost(text, size) -> None:
    lines = wrapped(text, 120, size)
    assert all(font(size).getlength(line) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_letters_that_the_font_lacks_are_spelled_with_those_it_has() -> None:
    assert spelled("200 \u00b5m, 5 mm³: Adénocarcinome ≤ G3, 腺癌") == "200 um, 5 mm3: Adenocarcinome ? G3, ??"
    assert spelled("Squamous cell, 99 %: (n = 60)") == "Squamous cell, 99 %: (n = 60)"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_columns_stay_apart_whatever_a_model_calls_its_classes(count) -> None:
    names = ("W" * 80, "mucinous adenocarcinoma of the right lower lobe, G3", "x")
    panels = [panel(slope(-1), method=m, target=names[n % 3]) for n, m in enumerate(METHODS[:count])]
    picture = figure(subject(lines=(f"Probabilities: {'W' * 300}",)), panels)
    columns = 4 if count + 2 > 6 or count + 2 == 4 else 3
    assert picture.shape[1] == columns * SIDE_PX + (columns + 1) * 24
    assert has(picture[:, :24], (255, 255, 255)) == picture[:, :24].shape[0] * 24
    first = int(np.flatnonzero((picture == 120).all(axis=-1).sum(axis=1) > SIDE_PX // 2)[0])  # where pictures begin
    for n in range(1, columns + 1):
        gutter = picture[first:, n * (SIDE_PX + 24) + 1 : n * (SIDE_PX + 24) + 24]
        assert (gutter == 255).all(), f"something runs out of column {n}"


def test_each_sign_is_drawn_in_its_ramp_and_weak_values_in_neither() -> None:
    values = np.array([[1.0, -1.0, 0.15, -0.15, 0.0]])
    one = blended(np.full((1, 5, 3), 100, np.uint8), values, 1.0)[0].astype(int)
    for place, against in ((0, False), (1, True)):
        wanted = 0.25 * 60 + 0.75 * np.array(heat_colour(1.0, against))
        assert np.abs(one[place] - wanted).max() <= 1
    assert (one[2:] == 60).all()  # of the darker copy


def test_the_strongest_of_both_signs_sets_one_scale() -> None:
    one = blended(np.zeros((1, 2, 3), np.uint8), np.array([[1.0, -4.0]]), 4.0)[0]
    expected = np.array(heat_colour(0.25)) * (0.3 + 0.45 * 0.05 / 0.8)
    assert np.abs(one[0] - expected).max() <= 1.5 and one[1].min() > 150


def test_a_picture_is_grey_and_darker_under_its_map() -> None:
    pink = np.full((4, 4, 3), (250, 180, 210), np.uint8)
    under = blended(pink, np.zeros((4, 4)), 0.0)
    assert (under == under[..., :1]).all() and 90 < under.max() < 140


def test_negative_evidence_has_its_own_ramp_in_the_legend_and_only_then() -> None:
    assert has(figure(subject(), [panel(slope(-0.5))]), NEARLY_MOST_AGAINST) > 0
    assert has(figure(subject(), [panel(slope())]), NEARLY_MOST_AGAINST) == 0


def test_synthetic_data_is_labelled_and_real_data_is_not() -> None:
    assert has(figure(subject(synthetic=True), [panel(slope())])[:40], WARNING) > 100
    assert has(figure(subject(), [panel(slope())]), WARNING) == 0


def test_a_map_that_fails_its_sanity_check_carries_a_warning() -> None:
    assert has(figure(subject(), [panel(slope(), **{SANITY: FAILED})]), WARNING) > 100


def test_values_that_do_not_add_up_as_they_should_carry_a_warning() -> None:
    exact = {"completeness_error": 0.045, "converged": True}
    assert has(figure(subject(), [panel(slope(), **exact)]), WARNING) == 0
    assert has(figure(subject(), [panel(slope(), **{**exact, "converged": False})]), WARNING) > 100


@pytest.mark.parametrize(("method", "says"), [("saliency", "for or against"), ("gradcam", "Only what speaks for it")])
def test_a_map_without_sign_says_what_it_leaves_out(method, says, monkeypatch) -> None:
    said = []
    put = Sheet.text
    monkeypatch.setattr(Sheet, "text", lambda sheet, text, *rest: said.append(text) or put(sheet, text, *rest))
    figure(subject(), [panel(slope(), method=method, sign="absolute")])
    assert any(says in text for text in said)
    said.clear()
    figure(subject(), [panel(slope(-1), method=method, sign="signed")])
    assert not any(says in text for text in said)


def test_an_empty_map_is_drawn_as_empty() -> None:
    picture = figure(subject(), [panel(np.zeros((60, 60)))])
    x, y = 24 + SIDE_PX + 24, int(np.flatnonzero((picture[:, 30] == 120).all(axis=-1))[0])
    assert (picture[y : y + SIDE_PX, x : x + SIDE_PX] == 72).all()


def test_the_outline_runs_around_the_nodule_in_every_picture() -> None:
    inside = np.zeros((60, 60), bool)
    inside[20:40, 20:40] = True
    plain = figure(subject(), [panel(slope())])
    outlined = figure(subject(outline=inside), [panel(slope())])
    assert has(plain, OUTLINE) == 0
    first, second = outlined[:, : 24 + SIDE_PX], outlined[:, 24 + SIDE_PX : 2 * (24 + SIDE_PX)]
    assert has(first, OUTLINE) == has(second, OUTLINE) > 400
    y, x = np.nonzero((first == np.array(OUTLINE)).all(axis=-1))
    assert 98 <= x.min() - 24 < 101 and 199 <= x.max() - 24 <= 202


def test_the_cells_of_a_map_set_its_scale_not_what_lies_between_them() -> None:
    cells, between = np.array([[-0.4, 2.0]], np.float32), np.array([[-0.3, 1.5]], np.float32)
    assert Panel(heatmap(cells), between, cells).most == (2.0, pytest.approx(0.4))
    assert Panel(heatmap(cells), between).most == (1.5, pytest.approx(0.3))


def test_numbers_are_short() -> None:
    said = [number(value) for value in (0.0, 7.461e-5, 0.2849, 21.04, 999.0, 1397.06, 1.0894e6, -32.81)]
    assert said == ["0", "7.46e-05", "0.285", "21", "999", "1397", "1.09e+06", "-32.8"]


@pytest.mark.parametrize(("width", "length"), [(201.6, 50), (40, 10), (60, 20), (100, 20), (1.2, 0.2), (30, 10)])
def test_the_scale_bar_has_a_round_length_of_at_most_a_third(width, length) -> None:
    assert round_length(width) == pytest.approx(length)


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    dark = subject(picture=np.full((60, 60, 3), 30, np.uint8), width=60.0, unit="mm")
    picture = figure(dark, [panel(slope())])[:, 24 : 24 + SIDE_PX]
    bottom = int(np.flatnonzero((picture[:, -1] == 30).all(axis=-1))[-1])
    assert abs(int((picture[bottom - 11] == 255).all(axis=-1).sum()) - SIDE_PX / 3) <= 2  # 20 of 60 mm
