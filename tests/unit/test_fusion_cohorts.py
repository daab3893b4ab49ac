"""Composed, phantom and paired cases, the other ways to fuse, and the ablation table."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shared_models import composed_parts, fusion_ablation, phantom, phantom_cohort
from shared_models.cohorts.case import CohortCase, CohortImage
from shared_models.composed_cohort import STRENGTHS, VERSIONS, degraded, drawn, without
from shared_models.composed_parts import Parts, composed, pathology_of
from shared_models.contract.errors import BadGeometry, InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import PathologyResult, RadiologyResult
from shared_models.contract.values import CLASSES, Abstention, ClinicalFields
from shared_models.fusion import PRIOR
from shared_models.fusion_ablation import MAIN, ablation, answers, text
from shared_models.fusion_baselines import Stacking, alone, columns, majority, unweighted_mean, weighted_mean
from shared_models.fusion_cases import FusionCase, of_cohort
from shared_models.fusion_fit import case_weights, evidence_of, of_cases
from shared_models.phantom_cohort import TILE_STRENGTHS, _sampled, phantom_cases

THREE = ("adenocarcinoma", "squamous_cell", "normal")
NONE = dict.fromkeys(CLASSES)
BY = Provenance("test", "0" * 64, "0", True, "cpu", THREE)


def slide(p, sure=True):
    values = {**NONE, **dict(zip(THREE, p))}
    return PathologyResult(
        "s", 0.9, (224.0, 224.0), np.zeros((0, 2), np.int64), np.zeros((0, 5), np.float32), values, (BY,)
    )


def ct(m):
    return RadiologyResult("u", (), m, NONE, (BY,))


class Clinical:
    prior = {"adenocarcinoma": 0.5, "squamous_cell": 0.5}
    provenance = BY

    def probabilities(self, fields):
        if fields.age_years is None:
            return Abstention("No age.", "The age.")
        p = 1 / (1 + np.exp((60 - fields.age_years) / 10))
        return {"adenocarcinoma": 1 - p, "squamous_cell": p}

    def base(self):
        return self.prior


def tables(seed=0):
    """20 malignant nodules of 12 patients, 30 benign ones of 25 of whom 3 have a malignant one too; 4 tiles a field."""
    rng = np.random.default_rng(seed)
    bad = np.array([f"p{i % 12}" for i in range(20)])
    good = np.array([f"q{i % 22}" for i in range(27)] + ["p0", "p1", "p2"])
    patients, malignant = np.concatenate([bad, good]), np.r_[np.ones(20, bool), np.zeros(30, bool)]
    order = rng.permutation(50)
    groups = np.repeat([f"f{i}" for i in range(40)], 4)
    labels = np.repeat(np.array([THREE[i % 3] for i in range(40)]), 4)
    squamous = rng.random(60) < 0.5
    return patients[order], malignant[order], groups, labels, squamous


@pytest.mark.parametrize("seed", range(5))
def test_in_the_independent_cohort_no_part_is_used_twice_and_every_part_is_of_the_class(seed):
    patients, malignant, groups, labels, squamous = tables()
    cases = drawn(patients, malignant, groups, labels, squamous, seed=seed)
    assert len(cases) == len({patients[c.nodule] for c in cases}) == len({groups[c.tile] for c in cases})
    people = [c.patient for c in cases if c.patient is not None]
    assert len(set(people)) == len(people) and {c.group for c in cases} == {str(patients[c.nodule]) for c in cases}
    for case in cases:
        assert labels[case.tile] == case.label and malignant[case.nodule] == (case.label != "normal")
        assert (case.patient is None) == (case.label == "normal")
        assert case.patient is None or squamous[case.patient] == (case.label == "squamous_cell")
    # Whoever has a malignant nodule is never a normal case.
    ill = set(patients[malignant])
    assert not ill & {patients[c.nodule] for c in cases if c.label == "normal"}
    assert [sum(c.label == name for c in cases) for name in THREE] == [6, 6, 13]
    assert cases == drawn(patients, malignant, groups, labels, squamous, seed=seed)
    assert cases != drawn(patients, malignant, groups, labels, squamous, seed=seed + 1)


def test_used_again_takes_every_field_once_and_keeps_nodule_patients_together():
    patients, malignant, groups, labels, squamous = tables()
    cases = drawn(patients, malignant, groups, labels, squamous, again=True)
    assert sorted(groups[c.tile] for c in cases) == sorted(set(groups))
    assert len({c.group for c in cases}) < len(cases)
    people = [c.patient for c in cases if c.patient is not None]
    assert len(set(people)) == len(people)


def test_borrowed_fields_are_of_patients_that_nobody_else_has_and_of_both_types_alike():
    patients, malignant, groups, labels, squamous = tables()
    cases = drawn(patients, malignant, groups, labels, squamous, borrowed=True)
    people = [c.patient for c in cases if c.patient is not None]
    assert len(set(people)) == len(people)
    lent = [bool(squamous[c.patient]) for c in cases if c.label == "normal" and c.patient is not None]
    assert len(lent) == 13 and abs(sum(lent) - 6.5) <= 0.5
    plain = drawn(patients, malignant, groups, labels, squamous)
    assert [dataclasses.replace(c, patient=None) for c in cases] == [
        dataclasses.replace(c, patient=None) for c in plain
    ]


def many(n=300, clinical=True, seed=0):
    """Cases whose slide is right in most, whose CT is right in most, and whose fields lean."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(n):
        label = THREE[i % 3]
        odds = np.array([2.2 * (c == label) for c in THREE]) + rng.normal(0, 1.3, 3)
        m = 1 / (1 + np.exp(-(2.0 if label != "normal" else -2.0) - rng.normal(0, 1.5)))
        age = None if label == "normal" or not clinical else 60 + (5 if label == "squamous_cell" else -5)
        fields = None if age is None else ClinicalFields(float(age + rng.normal(0, 8)))
        p = np.exp(odds) / np.exp(odds).sum()
        cases.append(FusionCase(f"c{i}", f"g{i // 2}", label, ct(float(m)), slide(p), fields))
    return cases


def test_what_is_missing_does_not_depend_on_the_class_or_the_results():
    cases = many(900)
    thin = without(cases, 0.3, seed=1)
    for name in ("radiology", "pathology"):
        gone = np.array([getattr(case, name) is None for case in thin])
        assert 0.16 < gone.mean() < 0.26  # 0.3, less the 0.09 that would have neither
        each = [gone[i::3].mean() for i in range(3)]
        assert max(each) - min(each) < 0.1
    assert all(any((c.radiology, c.pathology, c.clinical)) for c in thin)
    changed = [dataclasses.replace(case, label="normal", radiology=ct(0.1)) for case in cases]
    for one, other in zip(thin, without(changed, 0.3, seed=1)):
        assert (one.radiology is None) == (other.radiology is None)
    assert all(a.radiology is b.radiology and a.pathology is b.pathology for a, b in zip(without(cases, 0.0), cases))


def test_degraded_tiles_are_softer_the_same_each_time_and_left_alone_at_strength_none():
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 255, (2, 64, 64, 3)).astype(np.uint8)
    assert degraded(pixels, "none") is pixels
    detail = [
        float(np.abs(np.diff(degraded(pixels, name).astype(float), axis=1)).mean()) for name in STRENGTHS
    ]  # fmt: skip
    assert detail == sorted(detail, reverse=True) and detail[-1] < 0.2 * detail[0]
    assert np.array_equal(degraded(pixels, "strong"), degraded(pixels, "strong"))
    assert {strength for strength, _, _ in VERSIONS.values()} <= set(STRENGTHS)


class FakeSlide:
    """A tile model that reads the class out of a tile's first pixel."""

    classes, mpp, provenance = THREE, 0.9, BY
    card = {"lungxai": {"temperature": 2.0, "class_offsets": [0.5, -0.25, -0.25]}}

    def answers(self, pixels):
        rows = np.full((len(pixels), 5), np.nan, np.float32)
        rows[:, [CLASSES.index(c) for c in THREE]] = (0.9, 0.09, 0.01)
        return rows


def test_a_tile_is_its_slide_raw_is_at_temperature_1_and_a_blurred_one_is_not_looked_at():
    noise = np.random.default_rng(0).normal(0, 30, (1, 224, 224, 1))
    sharp = np.clip(np.array([200, 120, 180]) + noise, 0, 255).astype(np.uint8)
    flat = np.full((1, 224, 224, 3), (200, 120, 180), np.uint8)
    found = pathology_of(FakeSlide(), np.concatenate([sharp, flat]), ["a", "b"])
    calibrated, raw = found[0]
    assert calibrated.probabilities["adenocarcinoma"] == pytest.approx(0.9)
    squares = (np.array([0.9, 0.09, 0.01]) * np.exp([-0.5, 0.25, 0.25])) ** 2  # both undone
    assert raw.probabilities["squamous_cell"] == pytest.approx(squares[1] / squares.sum(), rel=1e-4)
    assert found[1][0].abstention is not None and found[1][0].probabilities["normal"] is None


def test_alone_and_the_means_by_hand():
    case = FusionCase("c", "g", "normal", ct(0.8), slide((0.7, 0.2, 0.1)), ClinicalFields(60.0))
    said = evidence_of(case, Clinical(), 0.5)
    by_ct, by_slide, by_fields = (alone(said[name]) for name in ("radiology", "pathology", "clinical"))
    assert by_ct["normal"] == pytest.approx(0.2)
    assert by_ct["squamous_cell"] == pytest.approx(0.8 * PRIOR["squamous_cell"] / 0.5)
    share = sum(PRIOR[c] for c in THREE)
    assert by_slide["adenocarcinoma"] == pytest.approx(0.7 * share)
    assert by_fields["normal"] == pytest.approx(0.5)  # it cannot deny it
    assert by_fields["adenocarcinoma"] == pytest.approx(by_fields["squamous_cell"] * PRIOR["adenocarcinoma"]
                                                        / PRIOR["squamous_cell"])  # fmt: skip
    mean = unweighted_mean(said)
    assert mean["normal"] == pytest.approx((0.2 + 0.1 * share + 0.5) / 3)
    assert weighted_mean(said)["normal"] == pytest.approx((0.5 * 0.2 + 0.1 * share + 0.5 * 0.5) / 2)
    assert max(majority(said), key=majority(said).__getitem__) == "adenocarcinoma"
    assert unweighted_mean({}) == PRIOR


def test_stacking_learns_and_travels():
    table = of_cases(many(150), Clinical(), 0.5, THREE)
    folds = np.arange(len(table.labels)) % 5
    found = Stacking.fitted(table, folds)
    again = Stacking.of_numbers(found.numbers())
    p = again.probabilities(table)
    np.testing.assert_allclose(p, found.probabilities(table), atol=1e-4)
    assert columns(table).shape == (150, 4) and (p.argmax(axis=1) == table.labels).mean() > 0.8
    weights = case_weights(table.labels, THREE)
    share = sum(PRIOR[c] for c in THREE)
    for c in range(3):
        assert weights[table.labels == c].sum() / weights.sum() == pytest.approx(PRIOR[THREE[c]] / share)


def test_the_table_says_who_is_right_and_tests_it(monkeypatch):
    monkeypatch.setattr(fusion_ablation, "RESAMPLES", 40)
    cases = [*many(120), FusionCase("other", "o", "small_cell", ct(0.9), None, None)]
    found = ablation(cases, THREE, Clinical(), None, label="composed: of different people")
    main = found["main"]
    assert main == "CT + H&E + clinical, fixed weights" != MAIN
    assert found["accounting"]["cases"] == 120 and found["accounting"]["other_classes"] == 1
    p = {name: np.array(rows) for name, rows in found["cases"]["rivals"].items()}
    p[main] = np.array(found["cases"]["probabilities"])
    labels = np.array([THREE.index(name) for name in found["cases"]["labels"]])
    right = {name: rows.argmax(axis=1) == labels for name, rows in p.items()}
    for name, row in found["rows"].items():
        assert row["accuracy"]["value"] == pytest.approx(right[name].mean())
        np.testing.assert_allclose(p[name].sum(axis=1), 1)
        low, high = row["accuracy"]["ci95"]
        assert low <= row["accuracy"]["value"] <= high
    for name, test in found["tests"].items():
        assert test["only_fused"] == (right[main] & ~right[name]).sum()
        assert test["only_other"] == (right[name] & ~right[main]).sum()
        assert test["p_holm"] >= test["p"] and 0 < test["p_by_group"] <= 1
    # Together they are better than the slide alone here, and the table knows.
    slide_test = found["tests"]["H&E alone"]
    assert slide_test["p"] < 0.05 and slide_test["only_fused"] > slide_test["only_other"]
    wrong = int((~right["H&E alone"]).sum())
    assert found["most"]["H&E alone"] == pytest.approx(min(1.0, 2.0 ** (1 - wrong)))
    shown = text("a test", found)
    assert "of different people" in shown and f"| **{main}** |" in shown and "| H&E alone |" in shown
    with pytest.raises(ValueError):
        ablation(cases[-1:], THREE, Clinical(), None)


def test_absent_clinical_fields_do_not_tell_the_pool_the_label():
    """With fields that are neutral the answer is the one without any, so their absence says nothing."""
    cases = many(60)
    neutral = [c if c.clinical is None else dataclasses.replace(c, clinical=ClinicalFields(60.0)) for c in cases]
    bare = [dataclasses.replace(c, clinical=None) for c in cases]
    one, other = (answers(group, THREE, Clinical(), None, None) for group in (neutral, bare))
    name = "CT + H&E + clinical, fixed weights"
    np.testing.assert_allclose(one[name].probabilities, other[name].probabilities, atol=1e-9)


def test_truly_paired_cases_of_a_cohort_go_the_same_way(monkeypatch):
    monkeypatch.setattr(fusion_ablation, "RESAMPLES", 40)

    def image(modality, name, count=1):
        named = {"series_uid": name} if modality == "CT" else {"slide_id": name}
        return CohortImage(Path(name), modality, count=count, **named)

    cases = [
        CohortCase("a", "P1", "TCGA", "adenocarcinoma", ClinicalFields(55.0),
                   (image("CT", "scout", 2), image("CT", "chest", 300), image("slide", "s1"), image("slide", "s2"))),
        CohortCase("b", "P2", "TCGA", "squamous_cell", None, (image("slide", "s3"),)),
        CohortCase("c", "P3", "TCGA", None, None, (image("slide", "s4"),)),
    ]  # fmt: skip
    asked = []

    def radiology_of(path):
        asked.append(str(path))
        return ct(0.9)

    def pathology_of_file(path):
        asked.append(str(path))
        return slide((0.8, 0.1, 0.1) if str(path) == "s1" else (0.1, 0.8, 0.1))

    found = list(of_cohort(cases, radiology_of, pathology_of_file))
    assert asked == ["chest", "s1", "s3"] and [c.group for c in found] == ["P1", "P2"]
    assert found[0].clinical == cases[0].clinical and found[1].radiology is None
    table = ablation(found, THREE, Clinical(), None)
    assert table["rows"][table["main"]]["accuracy"]["value"] == 1.0
    with pytest.raises(InvalidInput):
        FusionCase("x", "x", "stroma", None, None, None)


def test_sampled_fields_are_nobody_s_and_never_contradict_themselves():
    known = {"age_years": [50.0, 70.0, None], "sex": ["male", "female"], "smoking": ["never", "current"],
             "pack_years": [None, 30.0]}  # fmt: skip
    made = [_sampled(known, np.random.default_rng(i)) for i in range(60)]
    assert len({(f.age_years, f.sex, f.smoking, f.pack_years) for f in made}) > 8
    assert all(f.pack_years is None for f in made if f.smoking == "never")


def test_no_part_of_the_real_cohorts_is_in_two_splits(real_data):
    from shared_models.clinical_data import read_cases
    from shared_models.ct_data import SLICES, slices
    from shared_models.evaluate_ct import rated
    from shared_models.slide_data import read_tiles

    if not (real_data / SLICES).is_dir():
        pytest.skip("the nodules are not here")
    used = {}
    for split in ("val", "test"):
        held = slices(real_data, split)
        kept, malignant = rated(held)
        tiles, people = read_tiles(real_data, split), read_cases(real_data, split)
        patients = held.patients[kept]
        for again in (False, True):
            cases = drawn(patients, malignant, tiles.groups, tiles.labels, people.squamous, again=again)
            names = {
                *(patients[c.nodule] for c in cases), *(f"tile {tiles.groups[c.tile]}" for c in cases),
                *(people.patients[c.patient] for c in cases if c.patient is not None),
            }  # fmt: skip
            used.setdefault(split, set()).update(names)
        assert {c.label for c in cases} == set(THREE)
    assert not used["val"] & used["test"]


def some_parts():
    patients, malignant, groups, labels, squamous = tables()
    rows = [{"patient_id": p, "pixel_mm": "0.7"} for p in patients]
    nodules = composed_parts.ct_data.Nodules(np.zeros((50, 9, 9), np.int16), np.zeros((50, 9, 9), bool), tuple(rows))
    tiles = composed_parts.TileSet(np.zeros((160, 8, 8, 3), np.uint8), labels, groups, tuple(map(str, range(160))))
    people = composed_parts.ClinicalCases(
        tuple(ClinicalFields(float(i)) for i in range(60)), squamous, np.array([f"t{i}" for i in range(60)])
    )
    return Parts(nodules, malignant, tiles, people, None, None)


def test_a_version_is_made_of_the_parts_that_were_drawn(monkeypatch):
    parts, malignant = some_parts(), tables()[1]
    monkeypatch.setattr(Parts, "radiology", lambda self, nodule: (ct(0.9 if malignant[nodule] else 0.1),) * 2)
    monkeypatch.setattr(Parts, "pathology", lambda self, rows, strength: [(slide((0.8, 0.1, 0.1)),) * 2 for _ in rows])
    for case in composed(parts, "clean"):
        assert case.radiology.malignancy == (0.1 if case.label == "normal" else 0.9)
        assert ("clinical" in case.parts) == (case.label != "normal")
        assert case.clinical is None or case.parts["clinical"] == f"t{int(case.clinical.age_years)}"
        assert case.parts["radiology"] == case.group
    assert any(case.pathology is None for case in composed(parts, "missing"))
    assert all(case.clinical is not None for case in composed(parts, "borrowed"))


def test_each_phantom_case_has_a_nodule_of_its_class_and_every_field_twice(monkeypatch):
    """Chests that are too full are drawn with fewer nodules, and what was planted goes to the case it was drawn for."""

    def thorax(seed, wanted):
        if len(wanted) > 4:
            raise BadGeometry("No room.", "Fewer.")
        assert [w.diameter_mm for w in wanted] == sorted((w.diameter_mm for w in wanted), reverse=True)
        return SimpleNamespace(volume=None, nodules=[SimpleNamespace(centre_lps_mm=w.diameter_mm) for w in wanted])

    monkeypatch.setattr(phantom, "thorax", thorax)
    monkeypatch.setattr(phantom_cohort, "radiology_on", lambda models, volume, mm: (ct(mm / 30), ct(mm / 30)))
    monkeypatch.setattr(
        phantom_cohort, "_diameters", lambda root, bad, rng: np.array([rng.uniform(*((15, 28) if b else (4, 9)))
                                                                       for b in bad])
    )  # fmt: skip
    known = {"age_years": [70.0], "sex": ["male"], "smoking": ["current"], "pack_years": [40.0]}
    monkeypatch.setattr(phantom_cohort, "_known", lambda root, label: known)
    asked = []

    def pathology(self, rows, strength):
        asked.append(strength)
        return [(slide((0.8, 0.1, 0.1)),) * 2 for _ in rows]

    monkeypatch.setattr(Parts, "pathology", pathology)
    parts = some_parts()
    cases = phantom_cases(parts, Path("nowhere"))
    assert asked == list(TILE_STRENGTHS) and len(cases) == 80 and len({c.case_id for c in cases}) == 80
    labels = dict(zip(parts.tiles.groups, parts.tiles.labels))
    for case in cases:
        assert case.label == labels[case.group] and case.parts["radiology"] == "phantom"
        assert (case.radiology.malignancy > 0.4) == (case.label != "normal") == (case.clinical is not None)
    again = phantom_cases(parts, Path("nowhere"))
    assert [c.radiology.malignancy for c in cases] == [c.radiology.malignancy for c in again]
