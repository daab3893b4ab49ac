"""Which trainings a cross-validation is made of."""

from __future__ import annotations

import numpy as np
import pytest

from shared_models.training_folds import checked, runs

PATIENTS = np.repeat([f"p{i}" for i in range(7)], 2)


def test_every_case_is_held_out_once_and_no_patient_is_on_both_sides() -> None:
    whole, *folds = runs("all", 3, PATIENTS, seed=1)
    assert whole.folder == "network" and list(whole.kept) == [*range(14)] and not len(whole.held)
    assert [fold.folder for fold in folds] == ["fold_0", "fold_1", "fold_2"]
    assert sorted(np.concatenate([fold.held for fold in folds])) == [*range(14)]
    for fold in folds:
        assert sorted([*fold.kept, *fold.held]) == [*range(14)]
        assert not set(PATIENTS[fold.kept]) & set(PATIENTS[fold.held])


def test_a_part_is_the_same_as_in_the_whole() -> None:
    asked = {part: [run.folder for run in runs(part, 2, PATIENTS, seed=1)] for part in ("all", "network", "folds")}
    assert asked == {"all": ["network", "fold_0", "fold_1"], "network": ["network"], "folds": ["fold_0", "fold_1"]}
    assert [run.folder for run in runs("all", 0, PATIENTS, seed=1)] == ["network"]


def test_what_is_wrong_is_said() -> None:
    for part, folds in (("half", 2), ("all", 1), ("all", -1)):
        with pytest.raises(ValueError, match="part is one of all, network, folds; folds 0 or more than 1"):
            checked(part, folds)
