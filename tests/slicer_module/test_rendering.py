"""Pictures without a screen: what is drawn lies where it belongs, in the colours that were promised, and no more."""

import numpy as np
import pytest
import scene_cases
from drawn_cases import RADIUS_MM, near, phantom_case, pixel_of, require_drawing

from shared_models.contract.colours import heat_colour

PLANES = ("Axial", "Sagittal", "Coronal")
GRADCAM, OTHER = "gradcam|nodule", "integrated_gradients|nodule"
PICTURE_PX = 500


@pytest.fixture(scope="module")
def shown(phantom):
    """Views, and the phantom's case in them."""
    pytest.importorskip("trame_slicer", reason="the viewer is not installed: pip install 'lungxai[viewer]'")
    require_drawing()
    from LungXAILib import rendering, viewer, volumes
    from LungXAILib.logics import SceneLogics

    logics = SceneLogics.headless()
    views = rendering.Views(logics, (PICTURE_PX, PICTURE_PX), ["SYNTHETIC CASE"])
    node = volumes.volume_node(logics, phantom.volume, "ct")
    opened = viewer.opened(logics, node, phantom_case(phantom))
    views.look_at(node)
    yield views, opened
    views.close()


@pytest.fixture
def at_nodule(shown):
    """The first nodule in every view, its heatmap over it, as the page shows it first."""
    views, opened = shown
    for plane in views.slices.values():
        plane.set_visible_in_3d(False)
    opened.show(GRADCAM, 0.6, 0.25, True, "lung")
    opened.jump(0)
    for view in views.slices.values():
        view.get_view_node().SetFieldOfView(120.0, 120.0, view.get_view_node().GetFieldOfView()[2])
    views.show_legends()
    return views, opened


def middle(mask: np.ndarray) -> np.ndarray:
    assert mask.any()
    return np.argwhere(mask).mean(axis=0)


def window(picture: np.ndarray, centre, half: int = 80) -> np.ndarray:
    row, column = centre
    return picture[row - half : row + half, column - half : column + half]


@pytest.mark.parametrize("plane", PLANES)
def test_the_outline_runs_around_the_nodule(at_nodule, plane) -> None:
    from LungXAILib.colours import nodule_colour

    views, opened = at_nodule
    centre = pixel_of(views.slices[plane], opened.case.radiology.nodules[0].centre_lps_mm)
    opened.nodes.markups.SetDisplayVisibility(False)  # its cross and words would cover the nodule
    opened.show("", 0.6, 0.25, False, "lung")
    plain = window(views.picture(plane), centre)
    opened.show("", 0.6, 0.25, True, "lung")
    outline = near(window(views.picture(plane), centre), nodule_colour(1))
    opened.nodes.markups.SetDisplayVisibility(True)
    assert not near(plain, nodule_colour(1)).any()
    # The nodule of the CT itself, tissue in air, says where the outline has to be.
    tissue = plain.mean(axis=2) > 150
    rows, columns = np.indices(tissue.shape) - 80
    tissue &= np.hypot(rows, columns) < 45  # 1.2 times its radius: no vessel
    assert np.abs(middle(outline) - middle(tissue)).max() < 4
    assert np.abs(middle(outline) - 80).max() < 6
    # A line, not a filled disc; as wide as the nodule.
    assert outline.sum() < 0.5 * tissue.sum()
    extent = np.ptp(np.argwhere(outline), axis=0)
    assert (np.abs(extent - np.ptp(np.argwhere(tissue), axis=0)) < 14).all()


@pytest.mark.parametrize("plane", PLANES)
def test_the_heatmap_mixes_its_ramp_with_the_ct_by_the_opacity(at_nodule, plane) -> None:
    views, opened = at_nodule
    row, column = pixel_of(views.slices[plane], opened.case.radiology.nodules[0].centre_lps_mm)
    opened.nodes.markups.SetDisplayVisibility(False)
    seen = {}
    for opacity in (0.0, 0.5, 1.0):
        opened.show(GRADCAM, opacity, 0.1, False, "lung")
        picture = views.picture(plane).astype(float)
        seen[opacity] = picture[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1))
    opened.nodes.markups.SetDisplayVisibility(True)
    # At the top of the hill the ramp is at its end, less what a voxel's size takes off it.
    ends = np.array([heat_colour(0.88), heat_colour(1.0)])
    assert (seen[1.0] >= ends.min(axis=0) - 12).all() and (seen[1.0] <= ends.max(axis=0) + 12).all()
    assert np.ptp(seen[0.0]) < 3  # the CT alone is grey
    assert np.abs(seen[0.5] - (seen[0.0] + seen[1.0]) / 2).max() < 4


def test_below_the_threshold_the_ct_is_seen(at_nodule) -> None:
    views, opened = at_nodule
    centre = np.array(opened.case.radiology.nodules[0].centre_lps_mm)
    low = pixel_of(views.slices["Axial"], centre + (0.0, -0.7 * RADIUS_MM, 0.0))  # 0.3 of the top

    def at(threshold: float) -> np.ndarray:
        opened.show(GRADCAM, 0.9, threshold, False, "lung")
        return views.picture("Axial")[low].astype(int)

    bare = at(0.8)
    assert np.ptp(bare) < 3
    assert np.abs(at(0.1) - bare).sum() > 60
    assert np.ptp(at(0.1)) > 20


def test_nothing_is_painted_where_there_is_no_heat(at_nodule) -> None:
    views, opened = at_nodule
    node = views.slices["Axial"]
    opened.show("", 0.6, 0.25, False, "lung")
    without = views.picture("Axial")
    opened.show(GRADCAM, 0.6, 0.25, False, "lung")
    with_heat = views.picture("Axial")
    row, column = pixel_of(node, opened.case.radiology.nodules[0].centre_lps_mm)
    radius = 1.1 * RADIUS_MM / 120.0 * PICTURE_PX
    rows, columns = np.indices(without.shape[:2])
    outside = np.hypot(rows - row, columns - column) > radius
    outside &= columns < PICTURE_PX - 260  # the legend with its title
    assert np.array_equal(without[outside], with_heat[outside])
    assert (without != with_heat)[~outside].any()


def test_beside_the_ct_it_is_black(shown) -> None:
    views, opened = shown
    views.look_at(opened.nodes.ct)
    opened.show("", 0.0, 0.0, False, "lung")
    for plane in ("Sagittal", "Coronal"):  # the phantom is lower than it is wide
        picture = views.picture(plane)
        band = picture[42:58, 100:230]
        assert (band == 0).all()
        assert picture[PICTURE_PX // 2].max() > 200


def test_the_legend_shows_the_ramp_from_dark_to_light(at_nodule) -> None:
    views, opened = at_nodule
    opened.show("", 0.6, 0.25, True, "lung")
    views.show_legends()
    without = views.picture("Axial")
    opened.show(GRADCAM, 0.6, 0.25, True, "lung")
    views.show_legends()
    edge = views.picture("Axial")[:, -30:]
    assert not near(without[:, -30:] / 1.0, np.array(heat_colour(1.0)) / 255).any()
    places = [middle(near(edge, np.array(heat_colour(f)) / 255, 30))[0] for f in (0.02, 0.25, 0.5, 0.75, 0.98)]
    assert (np.diff(places) < -15).all()  # rows grow downwards, so more lies higher


def test_another_method_is_another_picture(at_nodule) -> None:
    views, opened = at_nodule
    opened.show(OTHER, 0.6, 0.25, True, "lung")
    row, column = pixel_of(views.slices["Axial"], opened.case.radiology.nodules[0].centre_lps_mm)
    away = views.picture("Axial")[row + 8, column - 8].astype(int)
    opened.show(GRADCAM, 0.6, 0.25, True, "lung")
    assert np.ptp(away) < 3  # its hill is over the other nodule
    assert np.ptp(views.picture("Axial")[row + 8, column - 8].astype(int)) > 20


def test_the_mediastinal_window_turns_the_lung_black(at_nodule) -> None:
    views, opened = at_nodule
    centre = np.array(opened.case.radiology.nodules[0].centre_lps_mm)
    place = pixel_of(views.slices["Axial"], centre + (0.0, -20.0, 0.0))
    seen = {}
    for name in ("lung", "mediastinum"):
        opened.show("", 0.0, 0.0, False, name)
        seen[name] = window(views.picture("Axial"), place, 6).mean()
    assert seen["mediastinum"] < 3 < 25 < seen["lung"]


def test_an_unknown_heatmap_or_window_is_refused_in_words(shown) -> None:
    from shared_models.contract.errors import InvalidInput

    _, opened = shown
    for wrong in (("saliency|nodule", 0.5, 0.2, True, "lung"), (GRADCAM, 0.5, 0.2, True, "bone")):
        with pytest.raises(InvalidInput, match="no such"):
            opened.show(*wrong)
    with pytest.raises(InvalidInput, match="no such nodule"):
        opened.jump(2)


def test_each_nodule_is_a_surface_of_its_colour_in_3d(shown) -> None:
    from LungXAILib.colours import nodule_colour

    views, opened = shown
    views.look_at(opened.nodes.ct)
    for view in views.slices.values():
        view.set_visible_in_3d(False)
    picture = views.picture("ThreeD")
    renderer = views.three_d.renderer()
    for nodule in opened.case.radiology.nodules:
        renderer.SetWorldPoint(*scene_cases.lps_to_ras(nodule.centre_lps_mm), 1.0)
        renderer.WorldToDisplay()
        x, y, _ = renderer.GetDisplayPoint()
        seen = picture[PICTURE_PX - 1 - round(y), round(x)].astype(float)
        colour = np.array(nodule_colour(nodule.label))
        # Lit, so darker or lighter, but of the same hue.
        assert np.corrcoef(seen, colour)[0, 1] > 0.95, nodule.label
    # A corner with nothing in it has the background alone.
    from LungXAILib.rendering import BACKGROUND

    assert (picture[-40:-10, 10:60] == BACKGROUND).all()


def test_slices_in_3d_show_the_ct(shown) -> None:
    views, opened = shown
    views.look_at(opened.nodes.ct)
    opened.show("", 0.0, 0.0, True, "lung")
    before = views.picture("ThreeD")
    views.slices["Coronal"].set_visible_in_3d(True)
    after = views.picture("ThreeD")
    views.slices["Coronal"].set_visible_in_3d(False)
    assert ((before != after).any(axis=2)).mean() > 0.15


def test_each_picture_says_what_it_is_not(at_nodule) -> None:
    views, _ = at_nodule
    for name in (*PLANES, "ThreeD"):
        corner = views.picture(name)[4:34, 4:200]
        white = (corner > 200).all(axis=2)
        assert white[:15].sum() > 100 and white[15:].sum() > 150  # two lines of words


def test_a_case_without_a_nodule_can_be_drawn(phantom) -> None:
    pytest.importorskip("trame_slicer", reason="the viewer is not installed: pip install 'lungxai[viewer]'")
    require_drawing()
    from LungXAILib import rendering, viewer, volumes
    from LungXAILib.logics import SceneLogics

    logics = SceneLogics.headless()
    views = rendering.Views(logics, (200, 200))
    node = volumes.volume_node(logics, phantom.volume, "ct")
    opened = viewer.opened(logics, node, scene_cases.empty_case(phantom.volume))
    views.look_at(node)
    opened.show("", 0.6, 0.25, True, "lung")
    assert opened.heatmaps() == [] and opened.nodules() == []
    assert views.picture("Axial").std() > 20
    assert views.picture("ThreeD").shape == (200, 200, 3)
    views.close()


def test_a_machine_that_cannot_draw_says_what_to_install(monkeypatch) -> None:
    pytest.importorskip("trame_slicer", reason="the viewer is not installed: pip install 'lungxai[viewer]'")
    from LungXAILib import rendering

    from shared_models.contract.errors import ModelUnavailable

    monkeypatch.setattr(rendering, "_PROBE", "import os; os.abort()")
    with pytest.raises(ModelUnavailable, match="libosmesa6"):
        rendering.require_rendering()
