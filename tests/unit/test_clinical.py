"""The clinical model: any subset of the fields, and the directions that are known from the literature."""

import itertools
import json
import shutil

import numpy as np
import pytest

from shared_models.clinical import BUNDLE, FIELDS, ClinicalModel, design, encoded
from shared_models.clinical_data import split_of
from shared_models.contract.errors import ModelUnavailable
from shared_models.contract.values import Abstention, ClinicalFields
from shared_models.model_bundle import MODELS_ROOT

WHOLE = {"age_years": 67.0, "sex": "male", "smoking": "former", "pack_years": 40.0}


@pytest.fixture(scope="module")
def model() -> ClinicalModel:
    return ClinicalModel.load()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_subset_of_fields_gives_probabilities(model, count) -> None:
    for names in itertools.combinations(WHOLE, count):
        answer = model.probabilities(ClinicalFields(**{name: WHOLE[name] for name in names}))
        assert set(answer) == {"adenocarcinoma", "squamous_cell"}
        assert sum(answer.values()) == pytest.approx(1) and all(0 < p < 1 for p in answer.values())


def test_no_field_is_no_answer(model) -> None:
    assert isinstance(model.probabilities(ClinicalFields()), Abstention)


def test_smoking_and_male_sex_speak_for_squamous(model) -> None:
    def squamous(**fields) -> float:
        return model.probabilities(ClinicalFields(**fields))["squamous_cell"]

    assert squamous(sex="female", smoking="never") < 0.35
    assert squamous(sex="male", smoking="current", pack_years=60) > squamous(sex="female", smoking="never") + 0.2
    assert squamous(sex="male") > squamous(sex="female")


def test_never_smokers_have_no_pack_years_and_pack_years_mean_smoking() -> None:
    row = dict(zip(FIELDS, encoded(ClinicalFields(smoking="never"))))
    assert row["log_pack_years"] == 0 and row["ever_smoked"] == 0
    assert dict(zip(FIELDS, encoded(ClinicalFields(pack_years=10))))["ever_smoked"] == 1


def test_a_missing_field_is_zero_with_its_flag() -> None:
    rows = np.array([[70.0, np.nan, 1.0, 0.0, np.nan]])
    row = design(rows, np.array([60.0, 0, 0, 0, 0]), np.array([5.0, 1, 1, 1, 1]))[0]
    np.testing.assert_allclose(row, [2, 0, 1, 0, 0, 0, 1, 0, 0, 1])


def test_the_split_is_by_patient_and_about_60_20_20() -> None:
    found = [split_of(f"TCGA-{i:04d}") for i in range(5000)]
    assert found == [split_of(f"TCGA-{i:04d}") for i in range(5000)]
    assert 0.57 < found.count("train") / 5000 < 0.63 and 0.17 < found.count("test") / 5000 < 0.23


def test_changed_weights_are_refused(tmp_path) -> None:
    shutil.copytree(MODELS_ROOT / BUNDLE, tmp_path / BUNDLE)
    path = tmp_path / BUNDLE / "models" / "model.json"
    body = json.loads(path.read_text())
    body["intercept"] += 1
    path.write_text(json.dumps(body))
    with pytest.raises(ModelUnavailable):
        ClinicalModel.load(tmp_path)
