"""Conformal sets against MAPIE and the definition, against the promise that they make, and with groups."""

import json

import numpy as np
import pytest

from shared_models import conformal

# MAPIE 1.6.0, SplitConformalClassifier(confidence_level=0.9, conformity_score="lac", prefit=True) on _cases(): the sets
# of 40 cases, row by row, as the bits after a leading 1
MAPIE_LAC = 0x19E4A25AA3B95FA63C18A637611B5669B9B991DB7


def _cases() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r = np.random.default_rng(1)
    p = r.dirichlet(np.ones(4) * 0.5, 75)
    y = np.array([r.choice(4, p=q) for q in p])
    return p, y, r.dirichlet(np.ones(4) * 0.5, 40)


def test_lac_agrees_with_mapie() -> None:
    p, y, other = _cases()
    theirs = np.array([c == "1" for c in f"{MAPIE_LAC:b}"[1:]]).reshape(40, 4)
    np.testing.assert_array_equal(conformal.fit(p, y, 0.9).of(other), theirs)


def test_aps_agrees_with_the_definition_case_by_case() -> None:
    # As in Angelopoulos and Bates 2021, arXiv:2107.07511, section 2.1, in loops; MAPIE draws at random here.
    p, y, other = _cases()
    scores = sorted(sum(q for q in row if q >= row[c]) for row, c in zip(p, y))
    limit = scores[int(np.ceil(76 * 0.9)) - 1]
    found = conformal.fit(p, y, 0.9, score="aps").of(other)
    for row, inside in zip(other, found):
        falling = np.argsort(-row)
        expected = {int(c) for k, c in enumerate(falling) if k == 0 or row[falling[: k + 1]].sum() <= limit}
        assert set(np.flatnonzero(inside).tolist()) == expected


def test_threshold_by_hand() -> None:
    # Nine cases, coverage 0.8: the ceil(10 x 0.8) = 8th smallest of 1 - p.
    right = np.arange(1, 10) / 10
    p = np.stack([right, 1 - right], axis=1)
    assert conformal.fit(p, np.zeros(9, int), 0.8).thresholds == pytest.approx((0.8, 0.8))
    # Coverage 0.95 needs 19 cases: nine promise nothing, so every class is in.
    wide = conformal.fit(p, np.zeros(9, int), 0.95)
    assert wide.thresholds == (float("inf"),) * 2 and wide.of(p).all()


def _drawn(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cases of groups of one to eight; a group's cases are alike, and a wrong model is wrong on whole groups."""
    sizes = rng.integers(1, 9, groups)
    names = np.repeat(np.arange(groups), sizes)
    shift = rng.normal(0, 1.5, (groups, 3))[names]
    y = rng.integers(0, 3, groups)[names]
    z = 1.5 * np.eye(3)[y] + shift + rng.normal(0, 0.2, (len(y), 3))
    p = np.exp(z)
    return p / p.sum(1, keepdims=True), y, names


@pytest.mark.parametrize("score", conformal.SCORES)
def test_holds_what_it_promises_for_a_new_group(score) -> None:
    rng = np.random.default_rng(0)
    held, plain = [], []
    for _ in range(150):
        p, y, names = _drawn(rng, 40)
        other, truth, their = _drawn(rng, 100)
        sets = conformal.fit(p, y, 0.8, names, score=score)
        held.append(conformal.measured(sets.of(other), truth, their)["coverage_by_group"])
        plain.append(sets.thresholds[0])
    # 40 groups: at least 0.8, and no more than about 1 / 41 and the likeliest class's addition above.
    assert 0.79 < np.mean(held) < (0.83 if score == "lac" else 0.9)
    assert np.std(plain) > 0


def test_a_large_group_counts_once() -> None:
    p = np.array([[0.9, 0.1]] * 5 + [[0.2, 0.8]] * 95)
    names = np.r_[np.arange(5), np.full(95, 9)]
    grouped = conformal.fit(p, np.zeros(100, int), 0.7, names)
    alone = conformal.fit(p, np.zeros(100, int), 0.7)
    assert grouped.thresholds[0] == pytest.approx(0.1) and alone.thresholds[0] == pytest.approx(0.8)
    assert (grouped.groups, alone.groups, grouped.cases) == (6, 100, 100)


def test_by_class_each_class_is_covered_and_a_class_without_cases_is_always_in() -> None:
    rng = np.random.default_rng(2)
    covered = {False: [], True: []}
    for _ in range(60):
        y = (rng.random(400) < 0.15).astype(int)
        q = np.clip(rng.normal(0.15 + 0.3 * y, 0.12), 0.01, 0.99)  # the rare class is called too rarely
        p = np.stack([1 - q, q, np.zeros(400)], axis=1)
        for by_class in covered:
            sets = conformal.fit(p[:200], y[:200], 0.9, by_class=by_class)
            covered[by_class].append(conformal.measured(sets.of(p[200:]), y[200:])["by_class"][1])
    assert np.mean(covered[False]) < 0.7 and 0.88 < np.mean(covered[True]) < 0.96
    assert conformal.fit(p, y, 0.9, by_class=True).of(p)[:, 2].all()


def test_lac_may_be_empty_and_aps_never_is() -> None:
    sure = np.array([[0.99, 0.005, 0.005]] * 50)
    torn = np.array([[0.4, 0.3, 0.3]])
    lac = conformal.fit(sure, np.zeros(50, int), 0.9)
    assert not lac.of(torn).any()
    aps = conformal.fit(sure, np.zeros(50, int), 0.9, score="aps")
    assert aps.of(np.array([[0.999, 0.0005, 0.0005]])).tolist() == [[True, False, False]]
    told = conformal.measured(lac.of(torn), [0])
    assert told["empty"] == 1 and told["coverage"] == 0 and told["by_class"] == [0.0, None, None]


@pytest.mark.parametrize("score", conformal.SCORES)
@pytest.mark.parametrize("by_class", [False, True])
def test_more_coverage_never_takes_a_class_out(score, by_class) -> None:
    p, y, names = _drawn(np.random.default_rng(3), 30)
    before = np.zeros((40, 3), bool)
    other = np.random.default_rng(4).dirichlet(np.ones(3), 40)
    for coverage in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        inside = conformal.fit(p, y, coverage, names, score=score, by_class=by_class).of(other)
        assert not (before & ~inside).any()
        before = inside
    assert inside.all()  # 30 groups cannot promise 0.99


def test_is_kept_as_json() -> None:
    p, y, other = _cases()
    for sets in (conformal.fit(p, y, 0.9), conformal.fit(p[:6], y[:6], 0.9, score="aps", by_class=True)):
        back = conformal.ConformalSet.from_json(json.loads(json.dumps(sets.as_json(), allow_nan=False)))
        assert back == sets and (back.of(other) == sets.of(other)).all()
    for wrong in ({}, {**sets.as_json(), "score": "raps"}, {**sets.as_json(), "coverage": 1.2}, {"thresholds": 3}):
        with pytest.raises(ValueError):
            conformal.ConformalSet.from_json(wrong)


@pytest.mark.parametrize("change", [
    {"coverage": 1.0}, {"coverage": 0.0}, {"labels": [0, 2]}, {"labels": [0]}, {"score": "raps"},
    {"groups": [1]}, {"probabilities": np.array([[0.5, np.nan], [0.5, 0.5]])}, {"labels": [-1, 0]},
])  # fmt: skip
def test_refuses_what_has_no_answer(change) -> None:
    given = {"probabilities": np.array([[0.5, 0.5], [0.2, 0.8]]), "labels": [0, 1], "coverage": 0.5, **change}
    with pytest.raises(ValueError):
        conformal.fit(**given)


def test_refuses_other_classes() -> None:
    p, y, _ = _cases()
    with pytest.raises(ValueError, match="4 classes"):
        conformal.fit(p, y, 0.9).of(p[:, :3])
