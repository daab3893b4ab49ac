"""Where the logics come from, and the words: the running application's, another program's, or made here."""

import dataclasses
import sys
import types

import numpy as np
import pytest
from LungXAILib import results, text, volumes
from LungXAILib.logics import SceneLogics
from scene_cases import case, ct


def test_headless_knows_every_node_that_a_case_needs(logics) -> None:
    for kind in (
        "vtkMRMLSegmentationNode", "vtkMRMLMarkupsFiducialNode", "vtkMRMLColorLegendDisplayNode", "vtkMRMLTextNode",
        "vtkMRMLTableNode", "vtkMRMLPlotChartNode", "vtkMRMLProceduralColorNode", "vtkMRMLSubjectHierarchyNode",
    ):  # fmt: skip
        node = logics.scene.CreateNodeByClass(kind)
        assert node is not None, kind
        node.UnRegister(None)
    assert all(getattr(logics, field.name) is not None for field in dataclasses.fields(logics))


def test_two_headless_scenes_are_apart(logics, complaints) -> None:
    other = SceneLogics.headless()
    volume = ct()
    results.import_case(other, volumes.volume_node(other, volume, "ct"), case(volume))
    assert results.case_nodes(logics) == []
    assert len(results.case_nodes(other)) == len(results.case_nodes(logics, other.scene)) == 1
    assert not complaints


def test_the_logics_of_another_program_are_taken(complaints) -> None:
    """trame-slicer has a scene and logics of its own."""
    core = pytest.importorskip("trame_slicer.core", reason="trame-slicer is not here: pip install 'lungxai[viewer]'")
    app = core.SlicerApp()
    taken = SceneLogics.headless(app.scene, app.app_logic)
    assert taken.scene is app.scene and taken.application is app.app_logic
    assert taken.volumes is app.volumes_logic
    assert taken.segmentations is app.segmentations_logic
    assert taken.terminologies is app.terminologies_logic
    volume = ct()
    nodes = results.import_case(taken, volumes.volume_node(taken, volume, "ct"), case(volume))
    assert len(nodes.heatmaps) == 2
    again = SceneLogics.headless(app.scene, app.app_logic)
    assert again.markups is taken.markups
    assert not complaints


def test_the_running_application_is_asked_through_its_modules(logics, monkeypatch) -> None:
    import slicer

    modules = {
        "volumes": logics.volumes,
        "segmentations": logics.segmentations,
        "markups": logics.markups,
        "subjecthierarchy": logics.subject_hierarchy,
        "terminologies": logics.terminologies,
        "colors": logics.colours,
    }

    def module(logic):
        return types.SimpleNamespace(logic=lambda: logic)

    stand_in = types.SimpleNamespace(**{name: module(logic) for name, logic in modules.items()})
    monkeypatch.setattr(slicer, "modules", stand_in, raising=False)
    running = SceneLogics.of_slicer()
    assert running.scene is logics.scene and running.application is logics.application
    volume = ct()
    nodes = results.import_case(running, volumes.volume_node(running, volume, "ct"), case(volume))
    assert np.array_equal(volumes.volume_of(nodes.ct).voxels, volume.voxels)


@pytest.fixture
def translator():
    text._translator.cache_clear()
    yield
    text._translator.cache_clear()


def test_words_are_translated_where_the_application_can(monkeypatch, translator) -> None:
    asked = []

    def translate(context: str, words: str) -> str:
        asked.append(context)
        return {"not assessed": "nicht beurteilt"}.get(words, words)

    monkeypatch.setitem(sys.modules, "slicer.i18n", types.SimpleNamespace(translate=translate))
    assert text.probability(None) == "nicht beurteilt"
    assert set(asked) == {"LungXAI"}


def test_words_are_as_written_where_it_cannot(monkeypatch, translator) -> None:
    monkeypatch.setitem(sys.modules, "slicer.i18n", None)
    assert text.tr("Nodule table") == "Nodule table"


def test_methods_have_their_names() -> None:
    from shared_models.contract.results import METHODS

    assert [text.method_name(m) for m in METHODS] == [
        "Grad-CAM", "Grad-CAM++", "Integrated Gradients", "Occlusion", "Saliency", "SmoothGrad",
    ]  # fmt: skip
