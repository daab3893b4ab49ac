"""Negative evidence and measured trust of heatmaps: server, nodes, legends, blends, and found again after saving."""

import dataclasses

import numpy as np
import pytest
from LungXAILib import case_results, heat_labels, heatmaps, jobs, naming, nodules, results, volumes
from LungXAILib.colours import HEAT_ATTRIBUTE, heat_node
from LungXAILib.practice_server import Behaviour, PracticeServer
from LungXAILib.pump import Talk
from LungXAILib.server_connection import Address
from scene_cases import AFFINES, case, ct, heatmap, node_count, signed, slice_views
from test_scene_heatmaps import composites, drawn

from shared_models.contract.colours import heat_colour
from shared_models.contract.errors import InvalidInput
from shared_models.contract.heatmap_words import FAILED, FAILS, FIGURES, PASSED, SANITY, UNMEASURED

FOR, AGAINST, PLAIN = ("saliency", "malignancy"), ("saliency", "against malignancy"), ("gradcam", "nodule")
FIGURE = "insertion AUC 0.81"


@pytest.fixture
def nodes(logics):
    """A signed map that fails its sanity check, and one without negative values that passes."""
    slice_views(logics)
    volume = ct(AFFINES["oblique"])
    fine = dataclasses.replace(heatmap(volume), parameters={SANITY: PASSED, FIGURES: FIGURE})
    maps = (signed(volume, **{SANITY: FAILED, FIGURES: FIGURE}), fine)
    return results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume, heatmaps=maps))


def test_what_speaks_against_is_a_map_of_its_own(nodes) -> None:
    assert list(nodes.heatmaps) == [FOR, AGAINST, PLAIN]
    given = np.linspace(-2.0, 5.0, 6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    speaks_for, against = (volumes.voxels_of(nodes.heatmaps[key]) for key in (FOR, AGAINST))
    assert np.array_equal(speaks_for - against, given) and min(speaks_for.min(), against.min()) == 0.0
    assert np.array_equal(volumes.affine_of(nodes.heatmaps[FOR]), volumes.affine_of(nodes.heatmaps[AGAINST]))
    assert [heatmaps.top_of(nodes.heatmaps[key]) for key in (FOR, AGAINST)] == [5.0, 2.0]
    assert heatmaps.label_of(AGAINST) == "Saliency: against malignancy"


def test_it_has_a_ramp_a_threshold_and_a_legend_of_its_own(logics, nodes) -> None:
    node = nodes.heatmaps[AGAINST]
    assert node.GetDisplayNode().GetColorNode() is heat_node(logics.scene, against=True) is not heat_node(logics.scene)
    values = volumes.voxels_of(node)
    heatmaps.set_threshold(node, 0.0)
    wanted = np.array([heat_colour(float(v) / 2.0, against=True) for v in values.reshape(-1)]).reshape(6, 7, 8, 3)
    assert np.abs(drawn(node)[..., :3].astype(int) - wanted).max() <= 4
    assert heatmaps.show(logics, nodes, AGAINST, opacity=0.3, threshold=0.5) is node
    assert np.array_equal(drawn(node)[..., 3] > 0, values >= 1.0)
    assert all(c.GetForegroundVolumeID() == node.GetID() for c in composites(logics).values())
    assert all(c.GetForegroundOpacity() == 0.3 for c in composites(logics).values())
    seen = [key for key, other in nodes.heatmaps.items() if heatmaps.legend_of(other).GetVisibility()]
    assert seen == [AGAINST]
    assert "against malignancy" in heatmaps.legend_of(node).GetTitleText()


def test_each_says_how_it_compares_with_the_other_sign(nodes) -> None:
    lines = {key: heat_labels.caption(node)[-1] for key, node in nodes.heatmaps.items()}
    assert "What speaks against is a map of its own" in lines[FOR] and "40 %" in lines[FOR]
    assert "Its scale is its own" in lines[AGAINST] and "40 %" in lines[AGAINST]
    assert lines[PLAIN] == FIGURE


def test_a_failed_sanity_check_stands_in_the_legend_and_leads_the_trust(nodes) -> None:
    for key in (FOR, AGAINST):
        node = nodes.heatmaps[key]
        assert heat_labels.fails(node) and heat_labels.trust_of(node) == f"{FAILS}; {FIGURE}"
        assert FAILS in " ".join(heatmaps.legend_of(node).GetTitleText().split("\n"))
    good = nodes.heatmaps[PLAIN]
    assert not heat_labels.fails(good) and heat_labels.trust_of(good) == FIGURE
    assert "FAILS" not in heatmaps.legend_of(good).GetTitleText()
    colours = [heatmaps.legend_of(nodes.heatmaps[key]).GetTitleTextProperty().GetColor() for key in (FOR, PLAIN)]
    assert colours[0] != colours[1]


def test_a_map_that_only_speaks_against_says_so(logics) -> None:
    volume = ct(uid="against")
    only = dataclasses.replace(heatmap(volume), values=-heatmap(volume).values)
    nodes = results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume, heatmaps=(only,)))
    empty, full = nodes.heatmaps.values()
    assert heat_labels.scale_words(empty) == "Nothing in it speaks for the target."
    assert heatmaps.top_of(full) == 5.0 and heat_labels.scale_words(full) == ""


def test_nodes_of_an_older_scene_say_that_nothing_was_measured(nodes) -> None:
    node = nodes.heatmaps[FOR]
    for name in (heat_labels.MODEL, heat_labels.TRUST, heat_labels.SANITY_CHECK, heat_labels.COUNTERPART):
        node.RemoveAttribute(name)
    assert heat_labels.caption(node) == ["Saliency: malignancy", UNMEASURED] and not heat_labels.fails(node)


def test_both_signs_side_by_side(logics, nodes) -> None:
    pair = heatmaps.compare(logics, nodes, FOR, AGAINST)
    assert [composites(logics)[name].GetForegroundVolumeID() for name in ("Red", "Yellow")] == [n.GetID() for n in pair]
    assert all(heatmaps.legend_of(node).GetVisibility() for node in pair)


def test_both_signs_blended_keep_their_ramps(logics, complaints, nodes) -> None:
    [blend] = heatmaps.compare(logics, nodes, FOR, AGAINST, share=0.5, threshold=0.5)
    values, shown = volumes.voxels_of(blend), drawn(blend)
    given = np.linspace(-2.0, 5.0, 6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    assert np.allclose(values, np.where(given > 0, 0.5 * given / 5, 0.5 * given / 2), atol=1e-6)
    strength = np.abs(values) / 0.5
    assert not shown[strength < 0.49][..., 3].any() and shown[strength > 0.51][..., 3].all()
    for side in (values > 0.26, values < -0.26):
        wanted = [heat_colour(2 * abs(float(v)), v < 0) for v in values[side]]
        assert side.sum() > 20 and np.abs(shown[side][:, :3].astype(int) - wanted).max() <= 8  # of 128 steps a side
    heatmaps.set_threshold(blend, 0.0)
    # Around 0 nothing is drawn: it says nothing.
    assert not drawn(blend)[np.abs(values) < 1e-6][..., 3].any()
    assert heat_labels.fails(blend) and FAILS in heat_labels.trust_of(blend)
    before = node_count(logics)
    [other] = heatmaps.compare(logics, nodes, FOR, AGAINST, share=0.25)
    assert node_count(logics) == before  # the earlier blend went, with its colours
    heatmaps.show(logics, nodes, PLAIN)
    assert not heatmaps.legend_of(other).GetVisibility() and not complaints


def test_a_blend_of_two_against_maps_has_their_ramp_and_one_failure_is_enough(logics) -> None:
    volume = ct(uid="two")
    maps = (signed(volume), signed(volume, method="occlusion", **{SANITY: FAILED}))
    nodes = results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume, heatmaps=maps))
    [blend] = heatmaps.compare(logics, nodes, AGAINST, ("occlusion", "against malignancy"), share=0.5)
    assert blend.GetDisplayNode().GetColorNode() is heat_node(logics.scene, against=True)
    assert heat_labels.fails(blend)
    assert f"Saliency: against malignancy: {UNMEASURED}" in heat_labels.trust_of(blend)


def test_it_is_saved_and_found_again(logics, complaints, reload, nodes) -> None:
    said = {key: (heat_labels.caption(n), heatmaps.legend_of(n).GetTitleText()) for key, n in nodes.heatmaps.items()}
    [blend] = heatmaps.compare(logics, nodes, FOR, AGAINST, share=0.5)
    pixels = drawn(blend).copy()
    [after] = reload()
    assert list(after.heatmaps) == [FOR, AGAINST, PLAIN]
    for key, node in after.heatmaps.items():
        assert (heat_labels.caption(node), heatmaps.legend_of(node).GetTitleText()) == said[key]
        assert heat_labels.fails(node) == (key != PLAIN)
        words = heatmaps.legend_of(node).GetTitleTextProperty()
        assert (words.GetColor()[2] < 0.9) == (key != PLAIN) and words.GetBackgroundOpacity() == pytest.approx(0.6)
        side = node.GetDisplayNode().GetColorNode().GetAttribute(HEAT_ATTRIBUTE)
        assert side == ("against" if key == AGAINST else "1")
    [kept] = [n for n in naming.nodes_of_case(logics.scene, after.case_id, "blend") if n.IsA("vtkMRMLVolumeNode")]
    assert np.abs(drawn(kept).astype(int) - pixels).max() <= 1
    shown = heatmaps.show(logics, after, AGAINST, threshold=0.5)
    assert np.array_equal(drawn(shown)[..., 3] > 0, volumes.voxels_of(shown) >= 1.0)
    assert not heatmaps.legend_of(kept).GetVisibility()
    # Slice views without an application complain about their own orientation when they are loaded.
    assert not [said for said in complaints if "orientation preset" not in said]


def test_removing_the_case_removes_both_ramps(logics, nodes) -> None:
    heatmaps.compare(logics, nodes, FOR, AGAINST, share=0.5)
    results.remove_case(logics, nodes.case_id)
    left = naming.nodes_by_class(logics.scene, "vtkMRMLColorNode")
    assert left and not [node.GetName() for node in left if "LungXAI" in node.GetName()]


@pytest.mark.parametrize("affine", ["oblique", "left-handed", "anisotropic"])
def test_a_jump_goes_to_the_slice_on_which_the_map_lies(logics, affine) -> None:
    slice_views(logics)
    volume = ct(AFFINES[affine])
    values = np.zeros((6, 7, 8), np.float32)
    values[4, 5, 2] = 1.0  # at (slice, row, column) (6, 8, 6); the first nodule's middle is on slice 4
    flat = dataclasses.replace(heatmap(volume), values=values)
    node = volumes.volume_node(logics, volume, "ct")
    nodes = results.import_case(logics, node, case(volume, heatmaps=(flat,)))
    view = next(n for n in naming.nodes_by_class(logics.scene, "vtkMRMLSliceNode") if n.GetLayoutName() == "Red")

    def slice_index() -> float:
        nodules.jump_to(logics, nodes, 0)
        matrix = view.GetSliceToRAS()
        ras = np.array([matrix.GetElement(row, 3) for row in range(3)])
        return float(np.linalg.solve(volume.ijk_to_lps, [*(ras * (-1, -1, 1)), 1.0])[2])

    heatmaps.show(logics, nodes, None)
    middle = slice_index()
    assert middle == pytest.approx(4.0, abs=0.01)
    heatmaps.show(logics, nodes, PLAIN)
    assert slice_index() == pytest.approx(6.0, abs=0.01)
    heatmaps.show(logics, nodes, PLAIN, threshold=1.0)
    assert slice_index() == pytest.approx(6.0, abs=0.01)
    # One that is drawn at the middle too leaves the view there.
    volumes.voxels_of(nodes.heatmaps[PLAIN])[2] = 1.0
    assert slice_index() == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize("target", [None, "nodule", "malignancy"])
def test_target_signs_and_trust_come_from_the_server_into_the_scene(logics, target) -> None:
    volume = ct(uid="asked", shape=(16, 40, 40))
    node = volumes.volume_node(logics, volume, "ct")
    kind = Behaviour(signed=True, measured=FIGURE, sanity=FAILED)
    with PracticeServer(kind) as server:
        address = Address(server.url, server.token)
        question = jobs.Question("asked", explain=("gradcam", "saliency"), target=target)
        made = jobs.analyse(address, volumes.volume_of(node), question)(Talk())
        [asked] = server.jobs.values()
    assert asked.body.get("target") == target
    assert isinstance(made, case_results.CaseResults)
    nodes = results.import_case(logics, node, made)
    word = target or "malignancy"  # what this server explains when nobody asks
    assert set(nodes.heatmaps) == {(m, t) for m in ("gradcam", "saliency") for t in (word, f"against {word}")}
    for found in nodes.heatmaps.values():
        assert heat_labels.trust_of(found) == f"{FAILS}; {FIGURE}"
        assert heat_labels.model_of(found) == "practice, no model"


def test_a_target_that_the_server_does_not_know_is_refused() -> None:
    volume = ct(uid="asked", shape=(16, 40, 40))
    with PracticeServer() as server, pytest.raises(InvalidInput, match="target"):
        jobs.analyse(Address(server.url, server.token), volume, jobs.Question(target="subtype"))(Talk())
