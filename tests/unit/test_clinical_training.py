"""How the clinical model is fitted and calibrated, on made-up patients."""

import numpy as np

from shared_models.calibration import sigmoid
from shared_models.clinical_data import ClinicalCases
from shared_models.contract.values import ClinicalFields
from shared_models.train_clinical import Recipe, _rows, across_folds, fitted


def _patients(n: int, seed: int) -> ClinicalCases:
    """Men and heavy smokers have squamous cell carcinoma more often; age says nothing."""
    rng = np.random.default_rng(seed)
    male, age, smoking = rng.random(n) < 0.5, rng.uniform(45, 80, n), rng.choice(["never", "former", "current"], n)
    packs = np.where(smoking == "never", 0, rng.uniform(1, 90, n))
    squamous = rng.random(n) < sigmoid(1.5 * male + 0.03 * packs - 2)
    cases = tuple(
        ClinicalFields(float(a), "male" if m else "female", str(s), None if s == "never" else float(p))
        for a, m, s, p in zip(age, male, smoking, packs)
    )
    return ClinicalCases(cases, squamous, np.array([f"p{seed}-{i}" for i in range(n)]))


def test_a_patients_own_answer_does_not_reach_its_score() -> None:
    train, recipe = _patients(150, 0), Recipe(repeats=1)
    rows = _rows(train)
    score = across_folds(rows, train.squamous, 1, recipe)
    fold = np.random.default_rng(1).permutation(150) % 5
    turned = np.where(fold == 2, ~train.squamous, train.squamous)
    again = across_folds(rows, turned, 1, recipe)
    np.testing.assert_array_equal(score[fold == 2], again[fold == 2])
    assert (score[fold != 2] != again[fold != 2]).all()


def test_is_calibrated_on_training_and_validation() -> None:
    train, val = _patients(400, 0), _patients(120, 1)
    own = fitted(train, val, 1, Recipe(repeats=3))
    both = np.r_[train.squamous, val.squamous]
    assert own["n_train"] == 400 and own["n_val"] == 120 and own["n_calibration"] == 520
    assert own["prior"]["squamous_cell"] == both.mean()
    assert 0.6 < own["platt"][0] < 1.6
    # Validation is not in the fit: other answers there change the calibration alone.
    other = fitted(train, ClinicalCases(val.fields, ~val.squamous, val.patients), 1, Recipe(repeats=3))
    assert other["coefficients"] == own["coefficients"] and other["platt"] != own["platt"]
