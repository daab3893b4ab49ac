"""Learned weights of the fusion: what must hold for every case, and that the fit is of the pool of fuse()."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.contract.fusion_result import FusionResult
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, SEXES, SMOKING, ClinicalFields
from shared_models.fusion import PRIOR, fuse, pooled
from shared_models.fusion_ablation import posterior
from shared_models.fusion_card import write_bundle
from shared_models.fusion_cases import FusionCase
from shared_models.fusion_evidence import CANCERS
from shared_models.fusion_fit import fitted, fixed, log_odds, loss, named, of_cases
from shared_models.fusion_weights import BUNDLE, WEIGHTS, FusionWeights, learned_in
from shared_models.model_bundle import MODELS_ROOT, Bundle

THREE = ("adenocarcinoma", "squamous_cell", "normal")
NONE = dict.fromkeys(CLASSES)
SHA = {"radiology": "1" * 64, "pathology": "2" * 64, "clinical": "3" * 64}
FAST = settings(deadline=None, max_examples=40)
OWN = {
    "weights": {
        "radiology": {**dict.fromkeys(CANCERS, 0.7), "normal": 0.4},
        "pathology": {"adenocarcinoma": 1.2, "squamous_cell": 0.9, "normal": 1.5},
        "clinical": {"adenocarcinoma": 0.6, "squamous_cell": 0.3},
    },
    "reliability": {
        "radiology": {"confidence": 0.2, "typicality": 0.5},
        "pathology": {"quality": 0.5, "confidence": 0.1, "typicality": 1.0},
        "clinical": {"confidence": 0.4},
    },
    "fitted_with": SHA,
    "told_apart": {"radiology": ["cancer", "normal"], "pathology": list(THREE), "clinical": list(THREE[:2])},
    "malignancy_prevalence": 0.4,
    "conformal": {"coverage": 0.9, "threshold": 0.2, "classes": list(THREE), "n": 90},
    "fit": {"loss_of_penalty": {"0.1": 0.2}, "penalty": 0.1, "folds": 5, "loss_of_fixed": 0.2, "split": "val",
            "cases": 9, "parts": {"nodule_patients": 3, "tile_fields": 3, "clinical_patients": 3}},
}  # fmt: skip


def by(modality, coverage=()):
    return Provenance(modality, SHA[modality], "0", True, "cpu", coverage)


BY_FUSION = Provenance("lung_fusion 0", "4" * 64, "0", True, "cpu", THREE)
LEARNED = FusionWeights.of_numbers(OWN, BY_FUSION)


def slide(values, quality=None, reliability=None, made_by=None):
    n = 0 if quality is None else 1
    return PathologyResult(
        "s", 0.5, (448.0, 448.0), np.zeros((n, 2), np.int64), np.full((n, 5), np.nan, np.float32), {**NONE, **values},
        (made_by or by("pathology"),), tile_quality=None if quality is None else np.array([quality], np.float32),
        reliability=reliability,
    )  # fmt: skip


def ct(malignancy, reliability=None):
    return RadiologyResult("u", (), malignancy, NONE, (by("radiology"),), reliability=reliability)


class Clinical:
    """Log odds of squamous cell carcinoma out of the fields; its case mix is even."""

    prior = {"adenocarcinoma": 0.5, "squamous_cell": 0.5}
    provenance = by("clinical")

    def probabilities(self, fields):
        odds = 0.05 * ((fields.age_years or 60) - 60) + (0.7 if fields.sex == "male" else 0.0)
        odds += {None: 0.0, "never": -1.0, "former": 0.3, "current": 0.6}[fields.smoking]
        odds += 0.01 * (fields.pack_years or 0)
        return {"adenocarcinoma": 1 / (1 + math.exp(odds)), "squamous_cell": 1 / (1 + math.exp(-odds))}

    def base(self):
        return self.prior


@st.composite
def slides(draw):
    raw = [draw(st.floats(0.0, 1.0)) + 1e-9 for _ in THREE]
    values = {c: x / sum(raw) for c, x in zip(THREE, raw)}
    like = draw(st.none() | st.floats(0.5, 1, width=32))
    return slide(values, draw(st.none() | st.floats(0.3125, 1, width=32)), like)


cts = st.builds(ct, st.floats(0, 1), st.none() | st.floats(0.5, 1))
fields = st.builds(
    ClinicalFields, st.floats(20, 100), st.sampled_from((None, *SEXES)), st.sampled_from((None, *SMOKING)), st.none()
)


def run(radiology, pathology, clinical, **more):
    return fuse(radiology, pathology, clinical, clinical_model=Clinical(), **{"learned": LEARNED, **more})


@FAST
@given(st.none() | cts, st.none() | slides(), st.none() | fields)
def test_contributions_and_shares_add_up_to_the_fused_log_odds(radiology, pathology, clinical):
    answer = run(radiology, pathology, clinical)
    rows = [row for name, row in answer.contributions.items() if name != "clinical"]
    rows += answer.field_contributions.values()
    scores = {c: math.log(PRIOR[c]) + math.fsum(row[c] for row in rows) for c in CLASSES}
    assessed = [c for c in CLASSES if answer.probabilities[c] is not None]
    for one in assessed:
        fused = math.log(answer.probabilities[one] / answer.probabilities[assessed[0]])
        assert fused == pytest.approx(scores[one] - scores[assessed[0]], abs=1e-9)
    for name, left in answer.leave_one_out.items():
        gone = {"radiology": radiology, "pathology": pathology, "clinical": clinical}
        if name in gone:
            gone[name] = None
        else:
            gone["clinical"] = dataclasses.replace(clinical, **{name: None})
        assert left.probabilities == run(**gone).probabilities
    assert from_json(FusionResult, json.loads(json.dumps(to_json(answer)))) == answer


@FAST
@given(cts, slides(), fields, st.sampled_from(("radiology", "pathology", "clinical")))
def test_a_missing_modality_leaves_what_the_others_say_as_it_is(radiology, pathology, clinical, out):
    case = {"radiology": radiology, "pathology": pathology, "clinical": clinical}
    whole, less = run(**case), run(**{**case, out: None})
    assert out in less.missing and out not in less.contributions
    for name in less.weights:
        assert less.contributions[name] == whole.contributions[name]
        assert less.class_weights[name] == whole.class_weights[name]
    # The posterior of the others, by hand: divide the missing one's evidence out.
    pulls = {c: math.log(posterior(whole)[c]) - whole.contributions[out][c] for c in CLASSES}
    total = math.fsum(math.exp(v) for v in pulls.values())
    for c, value in posterior(less).items():
        assert value == pytest.approx(math.exp(pulls[c]) / total, rel=1e-9)
    # Neutral evidence and none are the same.
    share = sum(PRIOR[c] for c in THREE)
    neutral = {
        "radiology": ct(LEARNED.malignancy_prevalence), "pathology": slide({c: PRIOR[c] / share for c in THREE}),
        "clinical": ClinicalFields(60.0),
    }  # fmt: skip
    assert posterior(run(**{**case, out: neutral[out]})) == pytest.approx(posterior(less))


@FAST
@given(slides(), fields)
def test_classes_outside_the_coverage_get_neither_more_nor_less(pathology, clinical):
    answer = run(None, pathology, clinical)
    for c in ("large_cell", "small_cell"):
        assert [row[c] for row in answer.contributions.values()] == [0.0] * len(answer.contributions)
    alone = run(None, pathology, None)
    assert alone.not_assessed_mass == pytest.approx(PRIOR["large_cell"] + PRIOR["small_cell"])


@FAST
@given(st.lists(st.tuples(cts | st.none(), slides() | st.none(), fields | st.none()), min_size=1, max_size=6))
def test_the_fit_is_of_the_pool_that_fuse_computes(rows):
    cases = [FusionCase(str(i), str(i), "normal", *row) for i, row in enumerate(rows)]
    table = of_cases(cases, Clinical(), LEARNED.malignancy_prevalence, THREE)
    numbers = []
    for name in ("radiology", "pathology", "clinical"):
        w, e = OWN["weights"][name], OWN["reliability"][name]
        numbers += [w["adenocarcinoma"], w["normal"]] if name == "radiology" else list(w.values())
        order = {"radiology": ("typicality", "confidence"), "pathology": ("quality", "typicality", "confidence")}
        numbers += [e[r] for r in order.get(name, ("confidence",))]
    found = np.exp(log_odds(table, np.array(numbers)))
    assert named(np.array(numbers)) == (OWN["weights"], OWN["reliability"])
    for row, case in zip(found, cases):
        full = posterior(run(case.radiology, case.pathology, case.clinical))
        total = sum(full[c] for c in THREE)
        assert row == pytest.approx([full[c] / total for c in THREE], abs=1e-9)


def test_the_fit_finds_weights_that_are_planted_and_none_leaves_its_bounds():
    rng = np.random.default_rng(1)
    cases = []
    for i in range(600):
        label = THREE[rng.integers(3)]
        # A slide that says more than it knows, a CT that knows nothing.
        odds = np.array([1.0 * (c == label) for c in THREE]) + rng.normal(0, 1, 3)
        p = np.exp(odds / 0.6) / np.exp(odds / 0.6).sum()
        share = sum(PRIOR[c] for c in THREE)
        q = p * [PRIOR[c] / share for c in THREE]
        cases.append(
            FusionCase(str(i), str(i), label, ct(float(rng.uniform(0.02, 0.98))),
                       slide(dict(zip(THREE, q / q.sum()))), None)
        )  # fmt: skip
    table = of_cases(cases, Clinical(), 0.5, THREE)
    numbers = fitted(table, 1e-3)
    weights, _ = named(numbers)
    assert all(0 <= w <= 1 for row in weights.values() for w in row.values())
    assert max(weights["radiology"].values()) < 0.15
    assert all(w == pytest.approx(0.6, abs=0.25) for w in weights["pathology"].values())
    assert weights["clinical"] == pytest.approx({"adenocarcinoma": 0.5, "squamous_cell": 0.5}, abs=2e-3)
    assert loss(table, numbers) < loss(table, fixed()) - 0.02
    strong, _ = named(fitted(table, 1e4))
    assert strong["pathology"] == pytest.approx(dict.fromkeys(THREE, 1.0), abs=1e-3)


def test_less_reliable_weighs_less_and_is_said():
    values = {"adenocarcinoma": 0.9, "squamous_cell": 0.05, "normal": 0.05}
    sharp, soft = run(None, slide(values, 1.0), None), run(None, slide(values, 0.49), None)
    assert soft.probabilities["adenocarcinoma"] < sharp.probabilities["adenocarcinoma"]
    assert soft.reliability["pathology"] == pytest.approx(0.7 * sharp.reliability["pathology"])
    for c in THREE:
        assert soft.class_weights["pathology"][c] == pytest.approx(0.7 * sharp.class_weights["pathology"][c])
    said = run(ct(0.9), slide(values), None, reliability={"pathology": 0.5})
    assert said.reliability["pathology"] == pytest.approx(0.5 * run(None, slide(values), None).reliability["pathology"])
    foreign = run(ct(0.9), slide(values), None, reliability={"pathology": 0})
    assert "pathology" in foreign.missing
    assert foreign.contributions["radiology"] == said.contributions["radiology"]
    for wrong in ({"pathology": 1.5}, {"x": 1}, {"clinical": True}, {"pathology": math.nan}):
        with pytest.raises(InvalidInput):
            run(None, slide(values), None, reliability=wrong)


def test_a_model_that_the_weights_were_not_fitted_to_has_its_fixed_weight():
    values = {"adenocarcinoma": 0.9, "squamous_cell": 0.05, "normal": 0.05}
    other = Provenance("another", "9" * 64, "0", True, "cpu", THREE)
    answer = run(ct(0.8), slide(values, made_by=other), None)
    assert answer.weights["pathology"] == 1.0 and set(answer.class_weights) == {"radiology"}
    assert answer.conformal_set == () and answer.conformal_coverage is None
    assert BY_FUSION in answer.provenance
    two = run(None, slide({"adenocarcinoma": 0.9, "normal": 0.1}), None)
    assert two.class_weights == {} and two.weights == {"pathology": 1.0} and BY_FUSION not in two.provenance
    assert run(None, slide(values), None, weights={"pathology": 0.3}).weights == {"pathology": 0.3}
    assert run(None, slide(values), None, learned=None).weights == {"pathology": 1.0}


def test_the_prevalence_is_that_of_the_model_the_weights_were_fitted_to():
    assert run(ct(0.4), None, None).contributions["radiology"]["normal"] == pytest.approx(0)
    assert run(ct(0.5), None, None, learned=None).contributions["radiology"]["normal"] == pytest.approx(0)


def test_the_conformal_set_is_of_assessed_classes_and_never_empty():
    unsure = run(None, slide({"adenocarcinoma": 0.48, "squamous_cell": 0.47, "normal": 0.05}, 1.0), None)
    assert set(unsure.conformal_set) == {"adenocarcinoma", "squamous_cell"} and unsure.conformal_coverage == 0.9
    sure = run(None, slide({"adenocarcinoma": 0.98, "squamous_cell": 0.01, "normal": 0.01}, 1.0), None)
    assert sure.conformal_set == ("adenocarcinoma",)
    assert run(ct(0.9), None, None).conformal_set == ()  # no type was assessed
    high = FusionWeights.of_numbers({**OWN, "conformal": {**OWN["conformal"], "threshold": 0.999}}, BY_FUSION)
    assert len(run(None, slide({"adenocarcinoma": 0.5, "squamous_cell": 0.4, "normal": 0.1}), None,
                   learned=high).conformal_set) == 1  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"conformal_set": ("large_cell",)},
        {"conformal_set": ("normal", "normal")},
        {"conformal_set": ()},
        {"conformal_coverage": 1.5},
        {"class_weights": {"clinical": {"normal": 1.0}}},
        {"class_weights": {"pathology": {"normal": -1.0}}},
        {"reliability": {"pathology": 1.5}},
    ],
)
def test_a_result_that_contradicts_itself_is_refused(change):
    whole = run(None, slide({"adenocarcinoma": 0.9, "squamous_cell": 0.05, "normal": 0.05}), None)
    with pytest.raises(InvalidInput):
        dataclasses.replace(whole, **change)


def test_an_older_result_is_read_and_written_as_it_was():
    old = pooled(None, slide({"adenocarcinoma": 0.9, "squamous_cell": 0.05, "normal": 0.05}), None, learned=None)
    body = to_json(old)
    assert not {"class_weights", "reliability", "conformal_set", "conformal_coverage"} & set(body)
    assert from_json(FusionResult, body) == old


def test_the_bundle_is_written_read_and_checked(tmp_path):
    assert learned_in(tmp_path) is None
    write_bundle(tmp_path, OWN, {"commit": "c" * 40, "seed": 1, "command": "train"})
    found = FusionWeights.load(tmp_path)
    assert found.weights == LEARNED.weights and found.exponents == LEARNED.exponents
    assert found.conformal == LEARNED.conformal and found.provenance.model_id.startswith("lung_fusion")
    card = (tmp_path / BUNDLE / "docs" / "README.md").read_text()
    assert "Research use only" in card and "not measured on paired patients" in card.replace("\n", " ")
    path = tmp_path / BUNDLE / WEIGHTS
    path.write_text(path.read_text().replace("1.2", "9.9"))
    with pytest.raises(ModelUnavailable):
        learned_in(tmp_path)
    shutil.rmtree(tmp_path / BUNDLE / "models")
    with pytest.raises(ModelUnavailable):
        learned_in(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": {"pathology": {"normal": -0.1}}},
        {"weights": {"pathology": {"stroma": 1}}},
        {"reliability": {"pathology": {"beauty": 1}}},
        {"malignancy_prevalence": 1.0},
        {"conformal": {"coverage": 1.2, "threshold": 0.1, "classes": [], "n": 1}},
    ],
)
def test_weights_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError):
        FusionWeights.of_numbers({**OWN, **wrong}, BY_FUSION)


def test_the_weights_that_ship_are_fitted_to_the_models_that_ship():
    """Where this fails a model was trained again: run `python -m shared_models.train_fusion --data ../shared/data`."""
    learned = learned_in(MODELS_ROOT)
    if learned is None:
        pytest.skip("no learned weights ship")
    for modality, name in (
        ("radiology", "lung_nodule_malignancy"), ("pathology", "lung_he_lite0"), ("clinical", "lung_clinical_subtype"),
    ):  # fmt: skip
        assert learned.fitted_with[modality] == Bundle.load(MODELS_ROOT / name).weights_sha256, modality
