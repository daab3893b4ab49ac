"""What a bundle keeps of how its probabilities came true: by hand, and of these very weights only."""

import dataclasses
import json

import numpy as np
import pytest

from shared_models.calibration_record import FILE, HEADS, read, record
from shared_models.evidence_cases import Cases
from shared_models.model_bundle import MODELS_ROOT, Bundle

SHA = "a" * 64


def cases(p, labels, split="val"):
    p, n = np.asarray(p, float), len(p)
    table = p if p.ndim == 2 else np.stack([1 - p, p], axis=1)
    names = ("benign", "malignant") if table.shape[1] == 2 else ("a", "b", "c")
    ids = np.array([str(i) for i in range(n)])
    return Cases("t", split, "nodule", "patient", ids, ids, names, np.asarray(labels), table, notes=("said",))


def recorded(tuning, test):
    return record(tuning, test, SHA, "commit", resamples=40)


@pytest.fixture(scope="module")
def two():
    random = np.random.default_rng(0)
    p = np.sort(random.uniform(0.02, 0.98, 120))
    labels = (random.random(120) < p).astype(int)
    return p, labels, recorded(cases(p, labels), cases(p, labels, "test"))


def test_the_bar_of_a_case_is_that_of_the_nearest_answers(two) -> None:
    p, labels, found = two
    bars = found.bars["malignant"]
    assert [bar.n for bar in bars] == [20] * 6 and list(found.bars) == ["malignant"]
    assert found.like("malignant", 0.0) == bars[0] and found.like("malignant", 1.0) == bars[-1]
    border = (p[19] + p[20]) / 2
    assert found.like("malignant", border - 1e-6) == bars[0] and found.like("malignant", border + 1e-6) == bars[1]
    assert bars[2].rate == pytest.approx(labels[40:60].mean())
    assert found.like("benign", 0.5) is None


def test_the_interval_holds_the_answer_and_narrows_with_more_cases(two) -> None:
    p, labels, found = two
    for value in (0.0, 0.03, 0.4, 0.9, 1.0):
        low, high = found.interval("malignant", value)
        assert 0 <= low <= value <= high <= 1
    low, high = found.interval("malignant", 0.5)
    assert 0.05 < high - low < 0.5
    more = recorded(cases(np.tile(p, 5), np.tile(labels, 5)), cases(p, labels, "test"))
    narrow = more.interval("malignant", 0.5)
    assert narrow[1] - narrow[0] < 0.6 * (high - low)


def test_a_model_that_is_too_sure_is_seen_in_the_interval() -> None:
    random = np.random.default_rng(1)
    p = random.choice([0.05, 0.95], 150)
    labels = (random.random(150) < np.where(p > 0.5, 0.6, 0.4)).astype(int)
    found = recorded(cases(p, labels), cases(p, labels, "test"))
    low, high = found.interval("malignant", 0.95)
    assert low < 0.65 and high == 0.95
    assert found.ece > found.by_chance[2]


def test_of_three_classes_each_has_bars_and_none_a_curve() -> None:
    p = np.random.default_rng(2).dirichlet((1, 1, 1), 60)
    found = recorded(cases(p, p.argmax(1)), cases(p, p.argmax(1), "test"))
    assert list(found.bars) == ["a", "b", "c"] and found.interval("a", 0.5) is None
    assert found.like("c", 0.9).rate == 1.0


def test_what_was_written_is_read_for_these_weights_only(two, tmp_path) -> None:
    found = two[2]
    (tmp_path / "docs").mkdir()
    (tmp_path / FILE).write_text(json.dumps(dataclasses.asdict(found)))
    back = read(tmp_path, SHA)
    assert back.like("malignant", 0.3) == found.like("malignant", 0.3)
    assert back.interval("malignant", 0.3) == pytest.approx(found.interval("malignant", 0.3))
    assert read(tmp_path, "b" * 64) is None
    (tmp_path / FILE).write_text('{"bars": 3}')
    assert read(tmp_path, SHA) is None and read(tmp_path / "nowhere", SHA) is None


@pytest.mark.parametrize("name", sorted(HEADS.values()))
def test_every_head_that_ships_has_one_of_its_own_weights(name) -> None:
    found = read(MODELS_ROOT / name, Bundle.load(MODELS_ROOT / name).weights_sha256)
    assert found is not None, "run python -m shared_models.calibration_record --data ../shared/data"
    assert found.split == "val" and found.test_n > 50 and found.ece_ci95[0] <= found.ece <= found.ece_ci95[1]
    assert "dirty" not in found.commit
