"""How the two models' log odds are weighed, measured on folds: against logistic regression, and what the card says."""

import numpy as np
import pytest

from shared_models.calibration import sigmoid
from shared_models.ct_malignancy import BUNDLE
from shared_models.ct_malignancy_card import _of_folds
from shared_models.model_bundle import MODELS_ROOT
from shared_models.package_malignancy import across_folds, agreeing
from shared_models.statistics import of_two_classes
from shared_models.training_record import tried


def _scores(n: int = 900, too_sure: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1, (n, 2))
    y = rng.random(n) < sigmoid(odds @ np.array([1.0, 2.0]) - 0.5)
    return odds * too_sure, y, np.arange(n) % 3


def test_each_fold_is_weighed_by_the_others() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    scores, y, fold = _scores()
    found = across_folds(scores, y, fold)
    for k in range(3):
        others = linear.LogisticRegression(C=1e6, max_iter=5000).fit(scores[fold != k], y[fold != k])
        np.testing.assert_allclose(found[fold == k], others.predict_proba(scores[fold == k])[:, 1], atol=1e-6)
    # What lies in a fold does not change its own weights.
    turned = np.where(fold == 1, ~y, y)
    np.testing.assert_allclose(across_folds(scores, turned, fold)[fold == 1], found[fold == 1])


def test_weights_of_other_folds_calibrate() -> None:
    scores, y, fold = _scores()
    told = of_two_classes(y, across_folds(scores, y, fold))
    assert told["ece"] <= told["ece_by_chance"][2] and told["ece_debiased"] < 0.03
    assert of_two_classes(y, sigmoid(scores.sum(1)))["ece"] > 2 * told["ece"]


def test_the_card_says_how_well_and_what_chance_shows() -> None:
    plain = {"value": 0.9, "ci95": [0.8, 0.95]}
    over = {**plain, "p_delong": 0.01}
    crossed = {"folds": 2, "n": 90, "malignant": 30, "patients": 40, "over_area": over, "over_features": over}
    crossed |= {f"auroc_{name}": plain for name in ("both", "features", "network", "area")}
    scores, y, fold = _scores()
    good = of_two_classes(y, across_folds(scores, y, fold))
    text = _of_folds({**crossed, "calibration": good})
    assert f"{good['ece']:.3f}" in text and f"{good['ece_by_chance'][0]:.3f}" in text and "no sign" in text
    bad = of_two_classes(y, sigmoid(scores.sum(1)))
    assert "a sign of miscalibration" in _of_folds({**crossed, "calibration": bad})
    assert "Calibration" not in _of_folds(crossed)


def test_a_model_that_speaks_against_the_other_is_left_out() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(400) % 2
    good = 2.0 * (truth - 0.5) + random.normal(0, 1, 400)
    # The same again with its own noise doubled: the likeliest weights take its noise away, with a negative weight.
    worse = good + random.normal(0, 0.3, 400) - 0.6 * (truth - 0.5)
    plain = agreeing(np.stack([good, random.normal(0, 1, 400) + truth], 1), truth)
    assert min(plain[:2]) > 0
    a, b, offset = agreeing(np.stack([worse, good], 1), truth)
    assert a == 0 and b > 0
    p = 1 / (1 + np.exp(-(b * good + offset)))
    assert np.mean(p) == pytest.approx(np.mean(truth), abs=1e-3)  # likeliest without the other, so its mean is right
    assert agreeing(np.stack([good, worse], 1), truth)[:2] == [b, 0.0]
    with pytest.raises(ValueError, match="Train the network again"):
        agreeing(np.stack([-good, -good], 1), truth)


def test_what_was_tried_is_in_the_card_that_ships() -> None:
    folder = MODELS_ROOT / BUNDLE
    told = tried(folder)
    assert told.startswith("**What was tried.**") and told in (folder / "docs" / "README.md").read_text()
    assert tried(folder / "models") == ""
