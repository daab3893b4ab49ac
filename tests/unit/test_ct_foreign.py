"""Nodules unlike those the malignancy model learned from: not rated, said, and ordered all the same."""

from types import SimpleNamespace

import numpy as np
import pytest

from shared_models.contract.provenance import Provenance
from shared_models.contract.values import CTVolume
from shared_models.ct_malignancy import Assessment
from shared_models.ct_nodules import Candidate
from shared_models.ct_pipeline import _measured, _result

pytest.importorskip("scipy")


def analysed(assessments, why_not="", voxel_mm=1.0):
    """The result of a CT with one 6-voxel cube a nodule, rated in the order of ``assessments``."""
    voxels = np.full((10, 10, 10 * len(assessments) + 10), -800, np.int16)
    pieces = [
        Candidate((slice(2, 8), slice(2, 8), slice(10 * n + 2, 10 * n + 8)), np.ones((6, 6, 6), bool), 0.9, "search")
        for n in range(len(assessments))
    ]
    queue = iter(assessments)
    malignancy = SimpleNamespace(assessed=lambda *given: next(queue), why_not=why_not)
    models = SimpleNamespace(malignancy=malignancy, provenance=(Provenance("t", "0" * 64, "t", True, "cpu", ()),))
    volume = CTVolume(voxels, np.diag([voxel_mm] * 3 + [1.0]), "1.2.3")
    _, rated, _ = _measured(pieces, volume, models, None, lambda: False)
    return _result(volume, rated, models, ())


def test_a_foreign_nodule_is_not_rated_keeps_its_place_and_is_said() -> None:
    found = analysed([Assessment(0.2, 0.9), Assessment(0.99, 0.1), Assessment(0.6, 0.8)])
    assert [n.malignancy for n in found.nodules] == [None, 0.6, 0.2]
    assert [n.centre_lps_mm[0] for n in found.nodules] == [14.5, 24.5, 4.5]
    assert found.malignancy == 0.6 and found.abstention is None and found.reliability == pytest.approx(0.8)
    assert any("Malignancy of nodule 1 is not assessed" in note for note in found.notes)


def test_a_mass_that_is_not_rated_comes_first() -> None:
    mixed = [Assessment(0.9, 0.9), Assessment(0.2, 0.1), Assessment(0.6, 0.8)]
    # Edges of 6 voxels: their diagonal is 8.5 mm here, and 42 mm there.
    assert [n.malignancy for n in analysed(mixed).nodules] == [0.9, 0.6, None]
    assert [n.malignancy for n in analysed(mixed, voxel_mm=5.0).nodules] == [None, 0.9, 0.6]


def test_nothing_but_foreign_nodules_is_no_answer() -> None:
    found = analysed([Assessment(0.9, 0.2), Assessment(0.99, 0.1)])
    assert found.malignancy is None and len(found.nodules) == 2
    assert "unlike all nodules" in found.abstention.reason and found.reliability == pytest.approx(0.1)


def test_where_it_was_not_judged_every_nodule_is_rated_and_that_is_said() -> None:
    found = analysed([Assessment(0.9), Assessment(0.3)], why_not="no parameters were fitted for this model")
    assert [n.malignancy for n in found.nodules] == [0.9, 0.3] and found.reliability is None
    assert any("not assessed: no parameters" in note for note in found.notes)
    assert analysed([]).reliability is None and "No nodule was found" in analysed([]).abstention.reason
