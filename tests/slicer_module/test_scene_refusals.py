"""Results that do not belong to a CT, or not together: refused in words, and the scene stays as it was."""

import dataclasses

import numpy as np
import pytest
from LungXAILib import results, volumes
from scene_cases import AFFINES, case, ct, heatmap, labels_of, node_count, nodule, radiology

from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.results import LabelVolume
from shared_models.contract.values import CTVolume


def other_series(volume):
    return case(ct(volume.ijk_to_lps, uid="another"))


def other_shape(volume):
    return case(CTVolume(volume.voxels[:-1], volume.ijk_to_lps, volume.series_uid))


def other_place(volume):
    affine = np.array(volume.ijk_to_lps)
    affine[0, 3] += 0.5
    return case(CTVolume(volume.voxels, affine, volume.series_uid))


def map_off_the_grid(volume):
    affine = np.array(heatmap(volume).index_to_world)
    affine[:3, 3] += affine[:3, 0] * 0.4
    return case(volume, heatmaps=(dataclasses.replace(heatmap(volume), index_to_world=affine),))


def map_outside(volume):
    return case(volume, heatmaps=(heatmap(volume, first=(10, 3, 4)),))


def more_labels(volume):
    labels = labels_of(volume)
    labels[0, 0, 0] = 9
    return case(volume, mask=LabelVolume(labels, volume.ijk_to_lps, volume.series_uid))


def more_nodules(volume):
    found = tuple(nodule(volume, labels_of(volume), n) for n in (1, 2))
    third = dataclasses.replace(found[0], label=3)
    return case(volume, radiology=radiology(volume, (*found, third)))


@pytest.mark.parametrize(
    ("spoiled", "kind", "words"),
    [
        (other_series, InvalidInput, "another CT"),
        (other_shape, BadGeometry, "do not fit"),
        (other_place, BadGeometry, "moved"),
        (map_off_the_grid, BadGeometry, "not on the CT's grid"),
        (map_outside, BadGeometry, "reaches out"),
        (more_labels, InvalidInput, "do not belong"),
        (more_nodules, InvalidInput, "do not belong"),
    ],
)
def test_a_case_that_does_not_fit_is_refused_and_changes_nothing(logics, spoiled, kind, words) -> None:
    volume = ct(AFFINES["oblique"])
    node = volumes.volume_node(logics, volume, "ct")
    kept = results.import_case(logics, node, case(volume))
    before, text = node_count(logics), kept.record.GetText()
    with pytest.raises(kind, match=words) as refused:
        results.import_case(logics, node, spoiled(volume))
    assert refused.value.remedy
    assert node_count(logics) == before
    [still] = results.case_nodes(logics)
    assert still.record.GetText() == text


def test_a_case_of_mixed_images_cannot_be_made() -> None:
    volume = ct()
    with pytest.raises(InvalidInput, match="different images"):
        case(volume, heatmaps=(heatmap(ct(uid="another")),))
    with pytest.raises(InvalidInput, match="explain the same"):
        case(volume, heatmaps=(heatmap(volume), heatmap(volume)))
