"""What evidence is made of: cases kept bit by bit, streamed reading, subgroups, figures and tests worked by hand."""

import json
import math
import tracemalloc

import numpy as np
import pytest

from shared_models import evidence_intervals, evidence_measures, evidence_strata, evidence_tests
from shared_models.contract.errors import InvalidInput
from shared_models.ct_data import SLICES
from shared_models.evidence_accounting import accounting
from shared_models.evidence_cases import Cases, Exclusion, Numbers, of_task
from shared_models.evidence_figures import figures_of, roc_curve
from shared_models.evidence_reading import Nodule, nodules, rows_of


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(evidence_intervals, "RESAMPLES", 100)


def _cases(labels, p, groups=None, split="test", rivals=None, strata=None, classes=("no", "yes")) -> Cases:
    n = len(labels)
    p = np.array(p, float)
    return Cases(
        "task", split, "case", "group", np.array([f"c{i}" for i in range(n)]),
        np.array(groups if groups is not None else [f"g{i}" for i in range(n)], dtype=str), classes,
        np.array(labels), np.stack([1 - p, p], axis=1) if p.ndim == 1 else p, {}, rivals or {}, strata or {},
        (Exclusion("c9", "torn"), Exclusion("c8", "torn")),
    )  # fmt: skip


def test_cases_come_back_bit_by_bit(tmp_path) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet((1, 1, 1), 5)
    own = Cases(
        "t", "val", "tile", "field", np.array(list("abcde")), np.array(list("uuvvw")), ("x", "y", "z"),
        np.array([0, 1, 2, 1, 0]), p, {"v": np.array([1e-300, np.nan, 0.1 + 0.2, -0.0, 1])},
        {"part: one": np.array([-np.inf, 1, 2, 3, 4]), "part: three": p[::-1]},
        {"by, comma": np.array(['"q"', "", "1", "2", "3"])},
        (Exclusion("a", "no, \"picture\""),), "composed", ("A note.",),
    )  # fmt: skip
    own.save(tmp_path)
    read = Cases.load(tmp_path / "cases_t_val.json")
    for name in ("ids", "groups", "labels", "probabilities"):
        assert getattr(read, name).tolist() == getattr(own, name).tolist()
    assert list(read.rivals) == list(own.rivals)
    np.testing.assert_array_equal(read.values["v"], own.values["v"])
    np.testing.assert_array_equal(read.rivals["part: one"], own.rivals["part: one"])
    np.testing.assert_array_equal(read.rivals["part: three"], own.rivals["part: three"])
    assert read.strata["by, comma"].tolist() == own.strata["by, comma"].tolist()
    assert (read.exclusions, read.synthetic, read.notes) == (own.exclusions, own.synthetic, own.notes)
    assert not list(tmp_path.glob("*.part"))


def test_cases_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="label"):
        _cases([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="not a number"):
        _cases([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="column"):
        _cases([0, 1], [0.1, 0.2], strata={"s": np.array(["a"])})


def test_names_of_a_plain_task_become_numbers() -> None:
    given = {"ids": ["Doe", "Roe"], "groups": ["Doe", "Doe"], "labels": ["b", "a"], "classes": ["a", "b"],
             "probabilities": [[0.1, 0.9], [0.6, 0.4]], "exclusions": [("x", "y")]}  # fmt: skip
    found = of_task("t", "val", {"cases": given})
    assert found.ids.tolist() == ["case-00001", "case-00002"] and found.groups.tolist() == ["group-00001"] * 2
    assert found.labels.tolist() == [1, 0] and of_task("t", "val", {"n": 1}) is None
    numbers = Numbers("p")
    assert [numbers.of(name) for name in "aba"] == ["p-00001", "p-00002", "p-00001"]


def test_figures_worked_by_hand() -> None:
    found = evidence_measures.measured(_cases([0, 0, 0, 1, 1], [0.1, 0.2, 0.8, 0.7, 0.9]))
    assert found["confusion"].tolist() == [[2, 1], [0, 2]]
    assert found["measures"]["accuracy"]["value"] == pytest.approx(0.8)
    assert found["measures"]["AUROC"]["value"] == pytest.approx(5 / 6)
    assert found["measures"]["macro F1"]["value"] == pytest.approx((0.8 + 0.8) / 2)
    own = found["per_class"]["yes"]
    assert own["sensitivity"]["value"] == 1 and own["specificity"]["value"] == pytest.approx(2 / 3)
    assert own["ppv"]["value"] == pytest.approx(2 / 3) and own["npv"]["value"] == 1
    assert found["exclusions"] == {"torn": 2} and found["majority"] == pytest.approx(0.6)
    brier = (0.01 + 0.04 + 0.64 + 0.09 + 0.01) / 5
    assert found["calibration"]["yes"]["brier"]["value"] == pytest.approx(brier)
    json.dumps(evidence_measures.plain(found), allow_nan=False)


def test_no_error_gets_the_interval_of_the_groups_and_no_false_certainty() -> None:
    found = evidence_measures.measured(_cases([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], groups=list("aabb")))
    low, high = found["measures"]["accuracy"]["ci95"]
    assert high == 1 and low == pytest.approx(2 / (2 + 1.959964**2), abs=1e-6)  # Wilson: 2 of 2 groups
    assert all(math.isnan(v) for v in found["measures"]["AUROC"]["ci95"])


def test_thresholds_are_chosen_elsewhere_never_on_the_cases_that_are_measured() -> None:
    tuning = _cases([0] * 20 + [1] * 20, [0.1] * 20 + [0.4] * 20, split="val")
    cases = _cases([0, 0, 0, 1, 1, 1], [0.1, 0.5, 0.2, 0.3, 0.9, 0.8])
    found = evidence_measures.measured(cases, tuning)
    point = found["operating_points"][0]
    assert point["threshold"] == pytest.approx(0.4)
    assert point["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert point["specificity"]["value"] == pytest.approx(2 / 3)
    sets = [(one["stated"], one["promised_for"]) for one in found["conformal"]]
    assert sets == [(c, who) for c in (0.9, 0.95) for who in ("all cases", "each class")]
    assert found["abstention"][-1]["sure"] is None and found["tuned_on"]["split"] == "val"
    for none in (None, _cases([0, 1], [0.1, 0.9]), _cases([0, 1], [0.1, 0.9], split="val", classes=("other", "yes"))):
        assert "operating_points" not in evidence_measures.measured(cases, none)


def test_a_subgroup_of_few_is_counted_only() -> None:
    strata = {"size": np.array(["over 8 mm"] * 5 + ["under 6 mm"])}
    found = evidence_measures.measured(_cases([0, 1, 0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8, 0.6, 0.9], strata=strata))
    assert list(found["subgroups"]["size"]) == ["under 6 mm", "over 8 mm"]
    assert "measures" not in found["subgroups"]["size"]["under 6 mm"]
    assert found["subgroups"]["size"]["over 8 mm"]["measures"]["accuracy"]["value"] == pytest.approx(0.8)


def test_tests_are_paired_and_corrected_together() -> None:
    labels = [0, 1] * 8
    right = np.where(np.array(labels) == 1, 0.9, 0.1)
    wrong_at_first = right.copy()
    wrong_at_first[:6] = 1 - wrong_at_first[:6]
    two = np.stack([1 - wrong_at_first, wrong_at_first], axis=1)
    cases = _cases(labels, right, rivals={"worse": two, "score": 4 + np.array(labels) * 3.0})
    every = evidence_tests.tests_of(cases)
    by = {(t["rival"], t["test"]): t for t in every}
    assert by["worse", "McNemar, exact"]["p"] == pytest.approx(2 * 0.5**6)
    assert by["worse", "McNemar, exact"]["difference"] == pytest.approx(6 / 16)
    assert by["score", "DeLong"]["p"] == 1 and ("score", "McNemar, exact") not in by  # no threshold is known
    known = _cases(labels, right, split="val", rivals={"score": 3.0 - np.array(labels)})
    tuned = {(t["rival"], t["test"]): t for t in evidence_tests.tests_of(cases, known)}
    assert tuned["score", "McNemar, exact"]["difference"] == pytest.approx(0.5)  # at 2 all are called
    fixed = evidence_tests.corrected([{"p": 0.01}, {"p": float("nan")}, {"p": 0.04}, {"p": 0.03}])
    assert [t["p_holm"] for t in fixed[:1] + fixed[2:]] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(fixed[1]["p_holm"])


def test_youden_by_hand() -> None:
    y = np.array([False, False, True, False, True, True])
    assert evidence_tests.youden(y, np.array([1.0, 2, 3, 4, 5, 6])) == 5  # 2/3 + 1 beats 1 + 2/3 by being higher


def test_roc_curves_as_scikit_learn_draws_them() -> None:
    missing = "scikit-learn is not installed: pip install 'lungxai[train]'"
    metrics = pytest.importorskip("sklearn.metrics", reason=missing)
    rng = np.random.default_rng(3)
    y, score = rng.random(60) < 0.4, rng.integers(0, 12, 60) / 12
    own = roc_curve(y, score)
    for mine, theirs in zip(own, metrics.roc_curve(y, score, drop_intermediate=False)):
        np.testing.assert_allclose(mine, theirs)


def test_pictures_are_the_same_twice_and_say_what_they_show() -> None:
    cases = _cases([0, 1, 0, 1, 1, 0], [0.1, 0.9, 0.2, 0.4, 0.8, 0.3], strata={"s": np.array(["a"] * 6)})
    figures = evidence_measures.measured(cases)
    first, second = figures_of(cases, figures), figures_of(cases, figures)
    assert [one.name for one in first] == ["confusion", "roc", "reliability", "decision", "risk", "subgroups"]
    for one, other in zip(first, second):
        assert one.svg == other.svg and one.svg.startswith(b"<?xml") and b"<text" in one.svg
    assert "yes called no: 1" in first[0].alt and "yes 1.000" in first[1].alt


def _picture(*, wall=False, vessel=False):
    y, x = np.mgrid[:71, :71] - 35
    mask = np.hypot(y, x) < 5
    hu = np.where(mask, 20, -850)
    if wall:
        hu[(x > 4)] = 40
    if vessel:
        hu[(np.abs(y) < 2) & (x > 0)] = 40
    return hu, mask


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [({}, "neither"), ({"wall": True}, "juxtapleural"), ({"vessel": True}, "juxtavascular"),
     ({"wall": True, "vessel": True}, "juxtapleural")],
)  # fmt: skip
def test_what_a_nodule_touches(drawn, expected) -> None:
    hu, mask = _picture(**drawn)
    assert evidence_strata.contact_class(hu, mask, 0.7) == expected
    cube = np.full((3, 71, 71), -850), np.zeros((3, 71, 71), bool)
    cube[0][1], cube[1][1] = hu, mask
    assert evidence_strata.contact_class(*cube, 0.7) == expected


def test_classes_of_size_density_and_rating_at_their_edges() -> None:
    size = [evidence_strata.size_class(mm) for mm in (5.99, 6, 8, 8.01)]
    assert size == ["under 6 mm", "6 to 8 mm", "6 to 8 mm", "over 8 mm"]
    assert [evidence_strata.density_class(t) for t in (1, 2, 3, 4, 5)] == [
        "ground glass", "ground glass", "part-solid", "solid", "solid",
    ]  # fmt: skip
    assert evidence_strata.density_class(float("nan")) == evidence_strata.rating_class(0) == "not known"
    assert [evidence_strata.age_class(a) for a in (None, 59, 60, 70.5)] == [
        "not known", "under 60", "60 to 70", "over 70",
    ]  # fmt: skip
    disc, ball = np.ones((10, 10), bool), np.ones((10, 10, 10), bool)
    assert evidence_strata.diameter_mm(disc, 0.5) == pytest.approx(2 * math.sqrt(25 / math.pi))
    assert evidence_strata.diameter_mm(ball, 0.5) == pytest.approx((6 * 125 / math.pi) ** (1 / 3))


def _archive(root, n, cut=None):
    folder = root / SLICES
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, 100, (n, 71, 71)).astype(np.int16)
    mask = np.zeros((n, 71, 71), bool)
    mask[:, 30:40, 30 : 40] = True
    packed = np.packbits(mask.reshape(n, -1), axis=1)
    path = folder / "lidc_nodule_slices_71px.npz"
    np.savez_compressed(path, hu=hu, mask=packed)
    lines = ["patient_id,pixel_mm,split", *(f"p{k},0.7,{('test', 'val')[k % 2]}" for k in range(n))]
    (folder / "nodules.csv").write_text("\n".join(lines) + "\n")
    return hu, mask


def test_nodules_are_those_of_the_split_and_never_all_in_memory(tmp_path) -> None:
    hu, mask = _archive(tmp_path, 600)
    first, count = None, 0
    tracemalloc.start()
    for one in nodules(tmp_path, "slices", "val"):
        assert isinstance(one, Nodule)
        first, count = first or one, count + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 300 and peak < hu.nbytes / 3
    np.testing.assert_array_equal(first.hu, hu[1])
    np.testing.assert_array_equal(first.mask, mask[1])


def test_an_archive_that_cannot_be_read_is_said_so(tmp_path) -> None:
    _archive(tmp_path, 4)
    path = tmp_path / SLICES / "lidc_nodule_slices_71px.npz"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InvalidInput, match="cannot be read"):
        list(nodules(tmp_path, "slices", "val"))
    np.savez(path, hu=np.array([{"a": 1}], dtype=object), mask=np.zeros((1, 4), np.uint8))
    with pytest.raises(InvalidInput, match="layout"):
        list(nodules(tmp_path, "slices", "val"))


def test_a_table_that_lacks_what_is_needed_is_refused(tmp_path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,other\na,b\n")
    with pytest.raises(InvalidInput, match="no column label"):
        rows_of(table, "test", "tile", "group", ("file", "label"))
    table.write_bytes(b"file\n\xff\xfe\n")
    with pytest.raises(InvalidInput, match="cannot be read"):
        rows_of(table, "test", "tile", "group")


def test_accounting_finds_a_patient_in_two_splits(tmp_path) -> None:
    for folder, name, rows in (
        ("lidc_nodule_slices", "nodules.csv", ["p1,train,5", "p1,test,1", "p2,val,3", "p3,train,"]),
        ("lidc_nodule_3d_51", "nodules3d.csv", ["p2,test,5", "p3,train,1", "p4,exclude,1"]),
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        column = "malignancy_mean" if name == "nodules.csv" else "malignancy"
        (tmp_path / folder / name).write_text("\n".join([f"patient_id,split,{column}", *rows]) + "\n")
    slices, cubes = accounting(tmp_path)
    assert slices["in_two_splits"] == 1 and cubes["in_two_splits"] == 0 and cubes["elsewhere"] == 1
    assert slices["splits"]["train"] == {"n": 2, "groups": 2, "classes": {"not rated": 1, "rated malignant": 1}}
    assert list(cubes["splits"]) == ["train", "test", "exclude"]
