"""Heatmaps over the CT: colours, window, threshold, legend, one map or two."""

import dataclasses

import numpy as np
import pytest
from LungXAILib import heatmaps, naming, results, volumes
from LungXAILib.colours import heat_node
from scene_cases import AFFINES, case, ct, heatmap, node_count, slice_views, world_of_voxel

from shared_models.contract.colours import heat_colour
from shared_models.contract.errors import InvalidInput
from shared_models.contract.heatmap_words import UNMEASURED
from shared_models.contract.notice import NOTICE

GRADCAM, GRADIENTS = ("gradcam", "nodule"), ("integrated_gradients", "malignancy")


@pytest.fixture
def views(logics):
    return slice_views(logics)


@pytest.fixture
def nodes(logics, views):
    volume = ct(AFFINES["oblique"])
    return results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume))


def composites(logics) -> dict:
    return {n.GetLayoutName(): n for n in naming.nodes_by_class(logics.scene, "vtkMRMLSliceCompositeNode")}


def drawn(node) -> np.ndarray:
    """What the display pipeline makes of a volume: RGBA by voxel (slices, rows, columns, 4)."""
    from vtk.util.numpy_support import vtk_to_numpy

    port = node.GetDisplayNode().GetOutputImageDataConnection()
    port.GetProducer().Update(port.GetIndex())
    image = port.GetProducer().GetOutputDataObject(port.GetIndex())
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*image.GetDimensions()[::-1], 4)


def test_each_value_has_the_colour_of_the_ramp(nodes) -> None:
    node = nodes.heatmaps[GRADCAM]
    heatmaps.set_threshold(node, 0.0)
    values = volumes.voxels_of(node)
    wanted = np.array([heat_colour(float(v) / 5.0) for v in values.reshape(-1)]).reshape(*values.shape, 3)
    shown = drawn(node)
    # Slicer maps through 256 steps.
    assert np.abs(shown[..., :3].astype(int) - wanted).max() <= 4


def test_below_the_threshold_the_ct_is_seen(nodes) -> None:
    node = nodes.heatmaps[GRADCAM]
    values = volumes.voxels_of(node)
    for threshold in (0.0, 0.25, 0.8):
        heatmaps.set_threshold(node, threshold)
        opaque = drawn(node)[..., 3] > 0
        assert np.array_equal(opaque, (values >= np.float32(threshold * 5.0)) & (values > 0))


def test_a_map_without_a_positive_value_draws_nothing(logics) -> None:
    volume = ct(uid="negative")
    against = dataclasses.replace(heatmap(volume), values=-np.ones((6, 7, 8), np.float32))
    node = volumes.volume_node(logics, volume, "ct")
    nodes = results.import_case(logics, node, case(volume, heatmaps=(against,)))
    heatmaps.show(logics, nodes, GRADCAM, threshold=0.0)
    assert not drawn(nodes.heatmaps[GRADCAM])[..., 3].any()


def test_negative_values_are_not_drawn(logics) -> None:
    volume = ct(uid="signed")
    values = np.linspace(-5.0, 5.0, 6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    signed = dataclasses.replace(heatmap(volume), values=values)
    nodes = results.import_case(logics, volumes.volume_node(logics, volume, "ct"), case(volume, heatmaps=(signed,)))
    heatmaps.set_threshold(nodes.heatmaps[GRADCAM], 0.0)
    assert np.array_equal(drawn(nodes.heatmaps[GRADCAM])[..., 3] > 0, values > 0)


def test_all_maps_share_one_procedural_colour_node(logics, nodes) -> None:
    colours = {node.GetDisplayNode().GetColorNode() for node in nodes.heatmaps.values()}
    assert colours == {heat_node(logics.scene)}
    [colour] = colours
    assert colour.IsA("vtkMRMLProceduralColorNode")
    ramp = colour.GetColorTransferFunction()
    for fraction in (0.0, 0.35, 1.0):
        rgb = [0.0, 0.0, 0.0]
        ramp.GetColor(fraction, rgb)
        assert np.allclose(rgb, np.array(heat_colour(fraction)) / 255)


def test_the_window_runs_from_nothing_to_the_maps_top(nodes) -> None:
    display = nodes.heatmaps[GRADCAM].GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 5.0)
    assert display.GetApplyThreshold() and not display.GetAutoWindowLevel()
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (1.25, 5.0)


def test_the_legend_names_method_target_model_trust_and_the_notice(nodes) -> None:
    legend = heatmaps.legend_of(nodes.heatmaps[GRADIENTS])
    said = ["Integrated Gradients: malignancy", "Model: made up, tests only", UNMEASURED, NOTICE]
    assert legend.GetTitleText() == "\n".join(said)
    assert legend.GetPrimaryDisplayNode() is nodes.heatmaps[GRADIENTS].GetDisplayNode()
    assert not legend.GetVisibility()  # until its map is shown
    assert max(legend.GetSize()) <= 0.4  # beside the nodule, not over it
    assert len(legend.GetLabelFormat() % 8) == 4  # short numbers would be drawn as large as the bar is wide


def test_showing_a_map_lays_it_over_the_ct_in_every_view(logics, nodes) -> None:
    shown = heatmaps.show(logics, nodes, GRADCAM, opacity=0.4, threshold=0.5)
    assert shown is nodes.heatmaps[GRADCAM]
    assert set(composites(logics)) == {"Red", "Yellow", "Green"}
    for composite in composites(logics).values():
        assert composite.GetBackgroundVolumeID() == nodes.ct.GetID()
        assert composite.GetForegroundVolumeID() == shown.GetID()
        assert composite.GetForegroundOpacity() == 0.4
    assert shown.GetDisplayNode().GetLowerThreshold() == 2.5
    legends = {key: heatmaps.legend_of(node).GetVisibility() for key, node in nodes.heatmaps.items()}
    assert legends == {GRADCAM: 1, GRADIENTS: 0}


def test_another_map_replaces_it_and_none_leaves_the_ct(logics, nodes) -> None:
    heatmaps.show(logics, nodes, GRADCAM)
    heatmaps.show(logics, nodes, GRADIENTS)
    assert composites(logics)["Red"].GetForegroundVolumeID() == nodes.heatmaps[GRADIENTS].GetID()
    assert not heatmaps.legend_of(nodes.heatmaps[GRADCAM]).GetVisibility()
    assert heatmaps.show(logics, nodes, None) is None
    for composite in composites(logics).values():
        assert composite.GetBackgroundVolumeID() == nodes.ct.GetID()
        assert composite.GetForegroundVolumeID() is None
    assert not any(heatmaps.legend_of(node).GetVisibility() for node in nodes.heatmaps.values())


def test_two_maps_side_by_side(logics, views, nodes) -> None:
    views["Red"].GetSliceNode().SetOrientationToCoronal()
    pair = heatmaps.compare(logics, nodes, GRADCAM, GRADIENTS)
    assert pair == (nodes.heatmaps[GRADCAM], nodes.heatmaps[GRADIENTS])
    foreground = {name: composite.GetForegroundVolumeID() for name, composite in composites(logics).items()}
    assert foreground == {"Red": pair[0].GetID(), "Yellow": pair[1].GetID(), "Green": None}
    assert all(heatmaps.legend_of(node).GetVisibility() for node in pair)
    red, yellow = views["Red"].GetSliceNode(), views["Yellow"].GetSliceNode()
    for row in range(4):
        for column in range(4):
            assert red.GetSliceToRAS().GetElement(row, column) == yellow.GetSliceToRAS().GetElement(row, column)
    assert composites(logics)["Red"].GetLinkedControl() and composites(logics)["Yellow"].GetLinkedControl()


def test_two_maps_blended_into_one(logics, complaints, nodes) -> None:
    [blend] = heatmaps.compare(logics, nodes, GRADCAM, GRADIENTS, share=0.25)
    first, second = nodes.heatmaps[GRADCAM], nodes.heatmaps[GRADIENTS]
    # The crops start at (slice, row, column) (2, 3, 4) and (5, 9, 8) and are 6 x 7 x 8.
    values = volumes.voxels_of(blend)
    assert values.shape == (9, 13, 12)
    wanted = np.zeros((9, 13, 12), np.float32)
    wanted[:6, :7, :8] += 0.75 * volumes.voxels_of(first) / 5
    wanted[3:, 6:, 4:] += 0.25 * volumes.voxels_of(second) / 5
    assert np.allclose(values, wanted, atol=1e-6)
    assert np.allclose(world_of_voxel(blend, (0, 0, 0)), world_of_voxel(first, (0, 0, 0)), atol=1e-9)
    assert np.allclose(world_of_voxel(blend, (4, 6, 3)), world_of_voxel(second, (0, 0, 0)), atol=1e-9)
    assert composites(logics)["Green"].GetForegroundVolumeID() == blend.GetID()
    assert "75 % Grad-CAM: nodule" in heatmaps.legend_of(blend).GetTitleText()
    assert blend.GetDisplayNode().GetColorNode() is heat_node(logics.scene)
    before = node_count(logics)
    [other] = heatmaps.compare(logics, nodes, GRADCAM, GRADIENTS, share=1.0)
    assert node_count(logics) == before  # the earlier blend is replaced
    assert volumes.voxels_of(other)[:3].max() == 0.0
    heatmaps.show(logics, nodes, GRADCAM)
    assert not heatmaps.legend_of(other).GetVisibility()
    assert not complaints


@pytest.mark.parametrize(
    "ask",
    [
        lambda logics, nodes: heatmaps.show(logics, nodes, ("saliency", "nodule")),
        lambda logics, nodes: heatmaps.show(logics, nodes, GRADCAM, opacity=1.5),
        lambda logics, nodes: heatmaps.show(logics, nodes, GRADCAM, threshold=-0.1),
        lambda logics, nodes: heatmaps.compare(logics, nodes, GRADCAM, ("occlusion", "nodule")),
        lambda logics, nodes: heatmaps.compare(logics, nodes, GRADCAM, GRADIENTS, share=2.0),
    ],
)
def test_what_cannot_be_shown_is_said(logics, nodes, ask) -> None:
    with pytest.raises(InvalidInput) as refused:
        ask(logics, nodes)
    assert refused.value.remedy


def test_a_missing_map_names_those_that_are_there(logics, nodes) -> None:
    with pytest.raises(InvalidInput, match="Grad-CAM: nodule, Integrated Gradients: malignancy"):
        heatmaps.show(logics, nodes, ("saliency", "nodule"))
