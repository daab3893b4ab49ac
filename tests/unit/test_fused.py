"""The server's fusion of what a case holds: the parts reach the JSON that clients and the report read."""

import json

import numpy as np
import pytest

from inference_server.fused import Fuser
from shared_models.clinical import ClinicalModel
from shared_models.contract.errors import InvalidInput
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import FusionResult, PathologyResult
from shared_models.contract.values import CLASSES, ClinicalFields
from shared_models.fusion import fuse
from shared_models.model_bundle import MODELS_ROOT

BY = Provenance("test", "0" * 64, "test", True, "cpu", ())
FIELDS = ClinicalFields(67.0, "male", None, 40.0)
SLIDE = PathologyResult(
    "s", 0.9, (200.0, 200.0), np.zeros((0, 2), np.int64), np.zeros((0, 5), np.float32),
    {**dict.fromkeys(CLASSES), "adenocarcinoma": 0.8, "squamous_cell": 0.1, "normal": 0.1}, (BY,),
)  # fmt: skip


class Part:
    def __init__(self, value) -> None:
        self.text = json.dumps(to_json(value))

    def read(self) -> str:
        return self.text


class OneCase:
    """A case in memory, as far as Fuser asks."""

    def __init__(self, **values) -> None:
        self.held = {name: Part(value) for name, value in values.items()}

    def hashes(self, case_id):
        return dict.fromkeys(self.held, case_id)

    def parts(self, case_id, *names):
        return {name: part for name, part in self.held.items() if not names or name in names}

    def put_json(self, case_id, name, body, made_from) -> bool:
        self.held[name] = Part(body)
        return True


def test_the_kept_fusion_says_what_each_part_adds_and_what_is_said_without_it() -> None:
    case = OneCase(pathology=SLIDE, clinical=FIELDS)
    body = Fuser(case, MODELS_ROOT).fuse("case-1", {"clinical": 2.0})
    alone = fuse(None, SLIDE, FIELDS, clinical_model=ClinicalModel.load(), weights={"clinical": 2.0})
    assert from_json(FusionResult, json.loads(json.dumps(body))) == alone
    assert set(body["leave_one_out"]) == {"pathology", "clinical", "age_years", "sex", "pack_years"}
    assert set(body["field_contributions"]) == {"age_years", "sex", "smoking", "pack_years", "base"}
    assert Fuser.held(case.parts("case-1"))["fusion"] == alone


def test_a_case_without_fields_has_no_shares_in_its_json() -> None:
    body = Fuser(OneCase(pathology=SLIDE), MODELS_ROOT).fuse("case-1", None)
    assert "field_contributions" not in body and set(body["leave_one_out"]) == {"pathology"}
    with pytest.raises(InvalidInput):
        Fuser(OneCase(), MODELS_ROOT).fuse("case-1", None)
