"""The report on made-up answers: whose calibration is wrong in a known way, and what cannot be promised is not."""

import numpy as np
import pytest

from shared_models import calibration_report
from shared_models.calibration import softmax
from shared_models.evidence_cases import Cases


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    monkeypatch.setattr(calibration_report, "REPEATS", 2)


def _cases(seed: int, n: int = 320, bias: float = 0.0, sharp: float = 1.0) -> Cases:
    """Four cases a group; a model that calls the second class too rarely by ``bias`` and is too sure by ``sharp``."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, 3))
    y = np.array([rng.choice(3, p=p) for p in softmax(z)])
    p = softmax((z - np.array([0.0, bias, 0.0])) * sharp)
    ids = np.array([str(i) for i in range(n)])
    groups = np.array([str(i // 4) for i in range(n)])
    return Cases("made_up", "val", "tile", "source field", ids, groups, ("a", "b", "c"), y, p)


def test_what_helps_is_seen_and_what_is_calibrated_is_left_alone() -> None:
    found = calibration_report.tried(_cases(0, bias=2.0, sharp=2.0))
    assert found["temperature and class biases"]["nll"] < found["temperature"]["nll"] - 0.05
    assert found["temperature"]["nll"] < found["as it ships"]["nll"] - 0.05
    assert found["temperature and class biases"]["accuracy"] > found["as it ships"]["accuracy"]
    found = calibration_report.tried(_cases(1))
    assert all(found["as it ships"]["nll"] < other["nll"] + 0.01 for other in found.values())


def test_no_group_is_in_two_folds() -> None:
    groups = np.repeat(["x", "y", "z", "u", "v", "w"], [1, 5, 2, 2, 3, 9])
    fold = calibration_report._folds(groups, 3)
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups)) and set(fold) == set(range(5))


def test_held_is_measured_on_other_cases_than_it_is_fitted_on() -> None:
    tuning, cases = _cases(2), _cases(3)
    found = calibration_report.held(cases, tuning)
    assert found["n"] == 320 and found["groups"] == 80
    assert found["by_chance"][1] <= found["ece"] <= found["by_chance"][2]
    for sets in found["sets"]:
        assert sets["coverage"] == pytest.approx(sets["stated"], abs=0.06)
        assert sets["ci95"][0] <= sets["coverage"] <= sets["ci95"][1]
    sure = calibration_report.held(_cases(3, sharp=4.0), tuning)
    assert sure["ece"] > sure["by_chance"][2] and sure["ece_debiased"] > found["ece_debiased"] + 0.05


def test_the_report_says_both_and_names_what_cannot_be_promised(monkeypatch) -> None:
    made = {"val": _cases(2), "test": _cases(3, sharp=4.0)}
    monkeypatch.setattr(calibration_report, "CASES", {"made_up": "nowhere:nothing"})
    monkeypatch.setattr(calibration_report, "_cases", lambda where, root, split, models: made[split])
    text = calibration_report.report(None, "test", None)
    assert "## made_up" in text and "320 cases of 80 source fields" in text
    assert "more than chance alone shows" in text and "the bar of 0.03 is missed" in text
    assert "| 0.02, with probability 0.95 | none |" in text and "Research use only" in text
    assert all(f"| {name} |" in text for name in calibration_report.METHODS)
    assert all(line.count("|") == 6 for line in text.splitlines() if line.startswith("| 0.0") and "probab" in line)
