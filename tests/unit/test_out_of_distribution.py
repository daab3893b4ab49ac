"""The out-of-distribution score: against scikit-learn, its threshold by hand, and never with other weights."""

import json

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput
from shared_models.out_of_distribution import (
    ARRAYS,
    TOLD,
    at_rate,
    false_alarms,
    fitted,
    load,
    reliability,
    save,
    weights_of,
)

pytest.importorskip("sklearn")


def two_classes(count: int = 300, width: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) * np.geomspace(3, 0.3, width)
    labels = rng.integers(2, size=count)
    return rng.normal(size=(count, width)) @ mixing.T + 8 * labels[:, None], labels


def test_all_directions_but_one_are_scikit_learns_mahalanobis_distance_of_each_class() -> None:
    from sklearn.covariance import EmpiricalCovariance

    x, y = two_classes()
    means = np.stack([x[y == k].mean(axis=0) for k in (0, 1)])
    other = EmpiricalCovariance(assume_centered=True).fit(x - means[y])
    strange = np.random.default_rng(1).normal(0, 6, (40, 12))
    theirs = np.sqrt(np.min([other.mahalanobis(strange - mean) for mean in means], axis=0))
    # Their covariance divides by n, ours by n - 1.
    assert fitted(x, y, 11).of(strange) == pytest.approx(theirs * np.sqrt(299 / 300), rel=1e-6)


def test_few_directions_are_the_precision_of_scikit_learns_probabilistic_pca() -> None:
    from sklearn.decomposition import PCA

    x, y = two_classes()
    means = np.stack([x[y == k].mean(axis=0) for k in (0, 1)])
    precision = PCA(4).fit(x - means[y]).get_precision()
    strange = np.random.default_rng(1).normal(0, 6, (40, 12))
    theirs = [np.einsum("nd,de,ne->n", strange - m, precision, strange - m) for m in means]
    assert fitted(x, y, 4).of(strange) == pytest.approx(np.sqrt(np.min(theirs, axis=0)), rel=1e-6)


def test_units_do_not_matter_where_features_are_standardised() -> None:
    x, y = two_classes()
    units = np.geomspace(1e-3, 1e3, 12)
    assert fitted(x * units, y, 5, standardise=True).of(x[:9] * units) == pytest.approx(
        fitted(x, y, 5, standardise=True).of(x[:9])
    )
    assert not np.allclose(fitted(x * units, y, 5).of(x[:9] * units), fitted(x, y, 5).of(x[:9]))


def test_the_threshold_is_the_least_that_so_few_groups_exceed() -> None:
    score = fitted(*two_classes(), 4)
    values, groups = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 9.5]), np.array([*"aaaabbbbcd"])
    # Shares above 8: a 0, b 0, c 1, d 1; above 9: d alone, a quarter; above 6: b a half, c, d.
    assert false_alarms(values, groups, 9.0) == 0.25 and false_alarms(values, groups, 6.0) == 0.625
    assert at_rate(score, values, groups, 0.25).threshold == 9.0
    assert at_rate(score, values, groups, 0.62).threshold == 7.0
    assert at_rate(score, values, groups, 0.05).threshold == 9.5
    with pytest.raises(InvalidInput):
        at_rate(score, values[:0], groups[:0], 0.05)


def test_reliability_is_a_half_at_the_threshold_and_falls() -> None:
    found = reliability(np.array([0.0, 5, 10, 15, 1e300]), 10.0)
    assert found.dtype == np.float32 and found[0] == 1 and found[2] == 0.5 and found[4] == 0
    assert found[1] == pytest.approx(1 / (1 + 0.5**8)) and found[3] == pytest.approx(1 / (1 + 1.5**8))


@pytest.fixture
def bundle(tmp_path):
    """A bundle's folder, and a score that was fitted to its weights and to those of another one."""
    for name in ("own", "helper"):
        for part in ("configs", "models"):
            (tmp_path / name / part).mkdir(parents=True)
        told = {"lungxai": {"weights": {"models/w.pt": name * 8}}}
        (tmp_path / name / "configs" / "metadata.json").write_text(json.dumps(told))
    x, y = two_classes()
    score = fitted(x, y, 4)
    score = at_rate(score, score.of(x), y, 0.05)
    save(score, tmp_path / "own", weights_of(tmp_path, "own", "helper"), {"commit": "abc"})
    return tmp_path / "own", score, x


def test_what_was_saved_is_read_back(bundle) -> None:
    folder, score, x = bundle
    found, why = load(folder)
    assert why == "" and found.told["commit"] == "abc" and found.threshold == score.threshold
    assert found.of(x) == pytest.approx(score.of(x), rel=1e-4)
    assert found.reliability(x[:3]) == pytest.approx(reliability(score.of(x[:3]), score.threshold), abs=1e-3)
    with pytest.raises(InvalidInput, match="fitted"):
        found.of(x[:, :5])


def test_other_weights_give_no_score_but_the_reason(bundle) -> None:
    folder, _, _ = bundle
    for name in ("own", "helper"):
        path = folder.parent / name / "configs" / "metadata.json"
        before = path.read_text()
        path.write_text(before.replace(name * 8, "another"))
        assert load(folder) == (None, "its parameters were fitted to other weights; fit them again")
        path.write_text(before)
    assert load(folder)[0] is not None
    (folder.parent / "helper" / "configs" / "metadata.json").unlink()
    assert load(folder)[0] is None


def test_missing_or_broken_parameters_give_no_score(bundle, tmp_path) -> None:
    folder, _, _ = bundle
    assert load(tmp_path / "helper") == (None, "no parameters were fitted for this model")
    whole = (folder / ARRAYS).read_bytes()
    (folder / ARRAYS).write_bytes(whole[:-9])
    assert load(folder) == (None, "its parameters were changed")
    (folder / ARRAYS).write_bytes(whole)
    told = json.loads((folder / TOLD).read_text())
    for change in ({"threshold": "high"}, {"threshold": -1.0}, {"sha256": None}, {"made_with": []}, {"made_with": {}}):
        (folder / TOLD).write_text(json.dumps(told | change))
        assert load(folder)[0] is None and load(folder)[1]
    (folder / TOLD).write_text("{")
    assert load(folder) == (None, "its parameters cannot be read")


def test_too_few_cases_are_refused() -> None:
    x, y = two_classes()
    with pytest.raises(InvalidInput):
        fitted(x, y, 12)
    with pytest.raises(InvalidInput):
        fitted(np.where(x > 5, np.nan, x), y, 3)
