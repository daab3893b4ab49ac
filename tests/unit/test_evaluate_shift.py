"""The measuring under shift: on models whose answers are known, and how it is written."""

import numpy as np
import pytest

from shared_models import evaluate_shift, shift_ct, shift_slide
from shared_models.evaluate_shift import measured, one_of_each, tile_curves
from shared_models.shift_remedies import AT, REMEDIES, softmax
from shared_models.shift_table import presented

pytest.importorskip("scipy")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch) -> None:
    monkeypatch.setattr(evaluate_shift, "_RESAMPLES", 20)


def test_measures_of_a_condition_by_hand() -> None:
    p = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    truth, groups = np.array([0, 1, 1, 0]), np.array([0, 1, 2, 3])
    found = measured(truth, p, groups, np.array([True, False, False, False]))
    assert found["accuracy"]["value"] == 0.75 and found["foreign"]["value"] == 0.25
    assert found["nll"]["value"] == pytest.approx(-np.log([0.8, 0.4, 0.7, 0.9]).mean())
    assert found["brier"]["value"] == pytest.approx(np.mean([0.08, 0.72, 0.18, 0.02]))
    assert "foreign" not in measured(truth, p, groups) and len(found["ece"]["ci95"]) == 2


def test_cases_are_of_different_groups_and_the_labels_in_turn() -> None:
    labels, groups = np.array([*"aaaabbbbcc"]), np.array([1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    kept = one_of_each(labels, groups, 5, seed=0)
    assert sorted(groups[kept]) == [1, 2, 3, 4, 5] and sorted(labels[kept[:3]]) == ["a", "b", "c"]
    assert np.array_equal(kept, one_of_each(labels, groups, 5, seed=0))


def test_a_model_that_looks_at_brightness_falls_with_gamma_and_not_with_blur() -> None:
    dark, light = np.full((4, 32, 32, 3), 100, np.uint8), np.full((4, 32, 32, 3), 150, np.uint8)
    pixels, truth = np.concatenate([dark, light]), np.repeat([0, 1], 4)

    def answers(tiles):
        light = 1 / (1 + np.exp(-(tiles.mean(axis=(1, 2, 3)) - 125) / 5))
        return np.stack([1 - light, light], axis=1), None

    found = tile_curves(answers, pixels, truth, np.arange(8), seed=0)
    assert set(found) == set(shift_slide.SHIFTS)
    values = {name: [one["value"] for one in of["accuracy"]] for name, of in found.items()}
    # Half of all tiles go each way.
    assert values["blur"] == [1.0] * 6 and values["gamma"][0] == 1.0 and values["gamma"][5] < 0.8
    assert found["gamma"]["nll"][5]["value"] > found["gamma"]["nll"][0]["value"] + 1


def test_a_malignancy_model_is_asked_on_shifted_slices(monkeypatch) -> None:
    from types import SimpleNamespace

    from shared_models.ct_data import Nodules

    hu = np.full((6, 71, 71), -850, np.int16)
    mask = np.zeros(hu.shape, bool)
    mask[:, 30:40, 30:40] = True
    hu[mask] = np.repeat([-20, 40], 300)
    rows = tuple({"patient_id": str(i), "pixel_mm": "0.7"} for i in range(6))

    def assessed_slice(hu, mask, pixel):
        assert pixel == (0.7, 0.7)
        value = 1 / (1 + np.exp(-hu[mask].mean() / 20))
        return SimpleNamespace(probability=value, malignancy=None if hu[mask].std() > 60 else value)

    model = SimpleNamespace(assessed_slice=assessed_slice, familiar=object())
    malignant = np.repeat([False, True], 3)
    found = evaluate_shift.malignancy_curves(model, Nodules(hu, mask, rows), np.arange(6), malignant, seed=0)
    assert set(found) == {name for name, shift in shift_ct.SHIFTS.items() if not shift.volumes_only}
    assert found["hu_offset"]["auroc"][0]["value"] == 1.0
    told = [one["value"] for one in found["dose_noise"]["foreign"]]
    assert told[0] == 0 and told[5] == 1


def _figures(measures, grades) -> dict:
    each = [{"value": 0.9 - 0.1 * g, "ci95": [0.8 - 0.1 * g, 1 - 0.1 * g]} for g in range(grades)]
    return dict.fromkeys(measures, each)


def test_tables_and_curves_hold_every_grade() -> None:
    names = list(shift_slide.SHIFTS)
    result = {"split": "test", "models": {"tiles": {
        "n": 9, "groups": 7, "curves": {name: _figures(("accuracy", "ece", "nll", "brier"), 6) for name in names},
        "remedies": {"none": {r: _figures(("accuracy", "ece"), 1) for r in REMEDIES},
                     "blur": {r: _figures(("accuracy", "ece"), len(AT)) for r in REMEDIES}},
    }}}  # fmt: skip
    found = presented(result)
    by_title = {curve["title"]: curve for curve in found["curves"]}
    accuracy = by_title["H&E tiles: accuracy"]
    assert accuracy["x"] == [0, 1, 2, 3, 4, 5] and set(accuracy["lines"]) == {name.replace("_", " ") for name in names}
    assert accuracy["lines"]["blur"]["y"] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert accuracy["lines"]["blur"]["low"][1] == pytest.approx(0.7)
    assert "n 9 of 7 groups" in accuracy["note"] and "foreign" not in " ".join(by_title)
    table = next(table for table in found["tables"] if "win it back" in table["title"])
    assert [row[0] for row in table["rows"]] == ["none", *(f"blur, grade {grade}" for grade in AT)]
    assert all(len(row) == len(one["columns"]) for one in found["tables"] for row in one["rows"])
    assert "0.80 (0.70 to 0.90)" in found["text"] and "simulated on real cases" in found["text"]


def test_softmax_with_a_temperature() -> None:
    assert softmax(np.array([[0.0, np.log(9)]]), 2.0) == pytest.approx(np.array([[0.25, 0.75]]))
