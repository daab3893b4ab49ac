"""Fusion: a hand-worked case, and what must hold for every case."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.contract.errors import InvalidInput
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import FusionResult, PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, Abstention, ClinicalFields
from shared_models.fusion import EPSILON, PRIOR, fuse

THREE = ("adenocarcinoma", "squamous_cell", "normal")
NONE = dict.fromkeys(CLASSES)
HELP = Abstention("Too little tissue.", "Another section.")


def made(coverage=THREE, calibrated=True):
    return Provenance("test 1", "0" * 64, "0", calibrated, "cpu", tuple(coverage))


def slide(values, calibrated=True, abstention=None):
    return PathologyResult(
        "s", 0.5, (448.0, 448.0), np.zeros((0, 2), np.int64), np.zeros((0, 5), np.float32),
        {**NONE, **values}, (made(values, calibrated),), abstention=abstention,
    )  # fmt: skip


def ct(malignancy, abstention=None):
    return RadiologyResult("u", (), malignancy, NONE, (made(()),), abstention=abstention)


class Clinical:
    """Says what it was told to; its case mix is even."""

    prior = {"adenocarcinoma": 0.5, "squamous_cell": 0.5}
    provenance = made(("adenocarcinoma", "squamous_cell"))

    def __init__(self, p):
        self.p = p

    def probabilities(self, fields):
        return self.p if isinstance(self.p, Abstention) else {"adenocarcinoma": self.p, "squamous_cell": 1 - self.p}

    def base(self):
        return self.prior


def full(result):
    """All five pooled probabilities, from the prior and the contributions alone."""
    raw = {c: result.prior[c] * math.exp(sum(row[c] for row in result.contributions.values())) for c in CLASSES}
    return {c: v / sum(raw.values()) for c, v in raw.items()}


shares = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda v: sum(v) > 0.1)
slides = st.one_of(st.none(), shares.map(lambda v: slide({c: x / sum(v) for c, x in zip(THREE, v)})))
cts = st.one_of(st.none(), st.floats(0, 1).map(ct))
clinicals = st.one_of(st.none(), st.floats(0, 1).map(Clinical))
weights = st.fixed_dictionaries({}, optional={m: st.floats(0, 3) for m in ("radiology", "pathology", "clinical")})


def test_hand_worked():
    prior = {"adenocarcinoma": 0.3, "squamous_cell": 0.1, "large_cell": 0.05, "small_cell": 0.05, "normal": 0.5}
    answer = fuse(ct(0.8), slide({"adenocarcinoma": 0.7, "squamous_cell": 0.2, "normal": 0.1}), None,
                  prior=prior, weights={"radiology": 1, "pathology": 1}, malignancy_prevalence=0.5)  # fmt: skip
    # Slide, against (1/3, 1/9, 5/9): ratios 2.1, 1.8, 0.18; CT: 1.6 and 0.4.
    raw = [0.3 * 2.1 * 1.6, 0.1 * 1.8 * 1.6, 0.05 * 1.6, 0.05 * 1.6, 0.5 * 0.18 * 0.4]  # sum 1.492
    assert sum(raw) == pytest.approx(1.492)
    assert answer.probabilities["adenocarcinoma"] == pytest.approx(1.008 / 1.492)
    assert answer.probabilities["squamous_cell"] == pytest.approx(0.288 / 1.492)
    assert answer.probabilities["normal"] == pytest.approx(0.036 / 1.492)
    assert answer.probabilities["large_cell"] is None and answer.probabilities["small_cell"] is None
    assert answer.not_assessed_mass == pytest.approx(0.16 / 1.492)
    assert answer.agreement.startswith("Same direction") and answer.abstention is None


@settings(deadline=None)
@given(cts, slides, clinicals, weights)
def test_adds_up_and_sums(radiology, pathology, model, given_weights):
    answer = fuse(radiology, pathology, ClinicalFields(), clinical_model=model, weights=given_weights)
    assert math.fsum(v for v in answer.probabilities.values() if v is not None) == pytest.approx(
        1 - answer.not_assessed_mass
    )
    for name, value in full(answer).items():
        assert answer.probabilities[name] is None or answer.probabilities[name] == pytest.approx(value)
    assert to_json(from_json(FusionResult, to_json(answer))) == to_json(answer)


@settings(deadline=None)
@given(cts, slides, clinicals)
def test_order_does_not_matter(radiology, pathology, model):
    answer = fuse(radiology, pathology, ClinicalFields(), clinical_model=model)
    rows = list(answer.contributions.values())
    for order in itertools.permutations(rows):
        raw = {c: math.log(PRIOR[c]) for c in CLASSES}
        for row in order:
            raw = {c: raw[c] + row[c] for c in CLASSES}
        total = math.fsum(math.exp(v) for v in raw.values())
        assert all(v is None or v == pytest.approx(math.exp(raw[c]) / total) for c, v in answer.probabilities.items())


@settings(deadline=None)
@given(cts, slides, clinicals, st.sampled_from(("radiology", "pathology", "clinical")))
def test_weight_0_and_abstaining_are_missing(radiology, pathology, model, out):
    def run(r, p, m, **more):
        return to_json(fuse(r, p, ClinicalFields(), clinical_model=m, **more))

    gone = run(*(None if out == name else v for name, v in
                 (("radiology", radiology), ("pathology", pathology), ("clinical", model))))  # fmt: skip
    assert run(radiology, pathology, model, weights={out: 0}) == gone
    quiet = run(
        ct(0.9, HELP) if out == "radiology" else radiology,
        slide({"adenocarcinoma": 0.9, "normal": 0.1}, abstention=HELP) if out == "pathology" else pathology,
        Clinical(HELP) if out == "clinical" else model,
    )
    assert quiet == gone


@settings(deadline=None)
@given(shares, st.floats(0.05, 3))
def test_uncovered_classes_keep_their_mass(values, weight):
    answer = fuse(None, slide({c: x / sum(values) for c, x in zip(THREE, values)}), None, weights={"pathology": weight})
    assert answer.not_assessed_mass == pytest.approx(PRIOR["large_cell"] + PRIOR["small_cell"])
    assert answer.contributions["pathology"]["small_cell"] == 0


def test_evidence_equal_to_the_reference_is_neutral():
    share = sum(PRIOR[c] for c in THREE)
    answer = fuse(ct(0.5), slide({c: PRIOR[c] / share for c in THREE}), ClinicalFields(), clinical_model=Clinical(0.5))
    assert all(v == pytest.approx(0, abs=1e-12) for row in answer.contributions.values() for v in row.values())


def test_ct_alone_names_no_type():
    answer = fuse(ct(0.95), None, None)
    assert all(v is None for v in answer.probabilities.values()) and answer.not_assessed_mass == 1
    assert answer.abstention is not None and "slide" in answer.abstention.what_would_help
    assert answer.missing == ("pathology", "clinical")


def test_no_modality_can_veto():
    sure = slide({"adenocarcinoma": 1.0, "squamous_cell": 0.0, "normal": 0.0})
    assert fuse(None, sure, None).probabilities["normal"] > 0
    assert 0 < EPSILON < 0.05


def test_conflict_and_close_calls_abstain():
    clash = fuse(ct(0.95), slide({"adenocarcinoma": 0.02, "squamous_cell": 0.02, "normal": 0.96}), None)
    assert clash.agreement.startswith("Strong conflict") and clash.abstention is not None
    close = fuse(None, slide({"adenocarcinoma": 0.49, "squamous_cell": 0.48, "normal": 0.03}), None)
    assert close.abstention is not None and "close" in close.abstention.reason


def test_who_hardly_leans_takes_no_side():
    sure = slide({"adenocarcinoma": 0.9, "squamous_cell": 0.05, "normal": 0.05})
    answer = fuse(ct(0.9), sure, ClinicalFields(), clinical_model=Clinical(0.45))
    assert answer.agreement == (
        "Same direction: radiology and pathology agree (cancer and adenocarcinoma). Clinical takes no side."
    )
    opposed = fuse(ct(0.9), sure, ClinicalFields(), clinical_model=Clinical(0.3))
    assert opposed.agreement.startswith("Conflict") and "pathology and clinical disagree" in opposed.agreement
    silent = fuse(ct(0.5), sure, None)
    assert silent.agreement == "There is nothing to compare. Radiology takes no side." and silent.abstention is None


def test_uncalibrated_weighs_half():
    values = {"adenocarcinoma": 0.8, "normal": 0.2}
    assert fuse(None, slide(values, False), None).weights["pathology"] == 0.5
    assert fuse(None, slide(values), None).weights["pathology"] == 1.0


@pytest.mark.parametrize("bad", [{"pathology": -1}, {"pathology": math.nan}, {"x": 1}, {"clinical": True}])
def test_bad_weights_are_refused(bad):
    with pytest.raises(InvalidInput):
        fuse(None, None, None, weights=bad)
