"""Deletion, insertion and removals: against areas worked by hand, a plain loop of the paper, and captum."""

import numpy as np
import pytest

from shared_models import faithfulness_curves as fc

# Four cells of 2 x 2 pixels that add 4, 1, 3 and 2 to a linear model's answer.
WORTH = np.array([[4.0, 1.0], [3.0, 2.0]])


def _linear():
    weights = np.kron(WORTH / 4, np.ones((2, 2)))
    picture = np.ones((1, 4, 4), np.float32)
    return picture, np.zeros_like(picture), weights, lambda x: (x[:, 0] * weights).sum(axis=(1, 2))


def test_areas_of_a_linear_model_by_hand() -> None:
    picture, nothing, weights, score = _linear()
    best = fc.curves(weights, picture, nothing, score, cell=2, steps=4)
    assert best.deletion.tolist() == [10, 6, 3, 1, 0] and best.insertion.tolist() == [0, 4, 7, 9, 10]
    assert best.fraction.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert best.deletion_auc == pytest.approx(3.75) and best.insertion_auc == pytest.approx(6.25)
    worst = fc.curves(-weights, picture, nothing, score, cell=2, steps=4)
    assert (worst.deletion_auc, worst.insertion_auc) == pytest.approx((6.25, 3.75))


def test_no_order_beats_the_linear_models_own() -> None:
    import itertools

    picture, nothing, weights, score = _linear()
    best = fc.curves(weights, picture, nothing, score, cell=2, steps=4)
    for order in itertools.permutations(range(4)):
        other = np.kron(np.array(order).reshape(2, 2), np.ones((2, 2)))
        found = fc.curves(other, picture, nothing, score, cell=2, steps=4)
        assert found.deletion_auc >= best.deletion_auc - 1e-9 and found.insertion_auc <= best.insertion_auc + 1e-9


def test_agrees_with_the_papers_loop_on_a_network() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(5 * 36, 2)
    )
    calls = []

    def score(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        with torch.no_grad():
            return network(torch.from_numpy(x)).softmax(1)[:, 1].numpy()

    rng = np.random.default_rng(1)
    picture = rng.normal(size=(3, 6, 6)).astype(np.float32)
    baseline = fc.blurred(picture, (0, 1, 2), 2.0)
    values = rng.normal(size=(6, 6))
    found = fc.curves(values, picture, baseline, score, cell=1, steps=12, batch=4)
    assert max(calls) <= 4
    # RISE's own procedure: three pixels at a time, one picture at a time, the sum of its scores less half the ends.
    order = np.argsort(-values, axis=None)
    for start, finish, area in ((picture, baseline, found.deletion_auc), (baseline, picture, found.insertion_auc)):
        now, answers = start.copy(), []
        for step in range(13):
            answers.append(float(score(now[None])[0]))
            for flat in order[3 * step : 3 * step + 3]:
                now[:, flat // 6, flat % 6] = finish[:, flat // 6, flat % 6]
        theirs = (np.sum(answers) - answers[0] / 2 - answers[-1] / 2) / (len(answers) - 1)
        assert area == pytest.approx(theirs, abs=1e-5)
    ends = tuple(score(np.stack([picture, baseline])).tolist())
    again = fc.curves(values, picture, baseline, score, cell=1, steps=12, ends=ends)
    assert again.deletion == pytest.approx(found.deletion, abs=1e-6)


def test_a_map_that_says_nothing_scores_as_random_ones_do_and_is_the_same_for_a_seed() -> None:
    picture, nothing, _, score = _linear()
    flat = np.full((4, 4), 0.7)
    areas = [fc.curves(flat, picture, nothing, score, cell=2, steps=4, seed=s).deletion_auc for s in range(400)]
    assert np.mean(areas) == pytest.approx(5.0, abs=0.15)  # half of 10
    assert len(set(np.round(areas, 6))) > 5
    assert np.array_equal(fc.ranking(flat, 2, seed=3), fc.ranking(flat, 2, seed=3))
    # Ties among some: the higher ones still come first.
    some = np.kron(np.array([[0, 5], [0, 0]]), np.ones((2, 2)))
    assert {fc.ranking(some, 2, seed=s)[0] for s in range(20)} == {1}
    assert len({tuple(fc.ranking(some, 2, seed=s)) for s in range(40)}) == 6


def test_fewer_steps_stay_within_the_stated_error() -> None:
    rng = np.random.default_rng(0)
    worth = rng.exponential(size=(16, 16))
    picture, nothing = np.ones((1, 16, 16), np.float32), np.zeros((1, 16, 16), np.float32)

    def score(x: np.ndarray) -> np.ndarray:
        return (x[:, 0] * worth).sum(axis=(1, 2)) / worth.sum()

    fine = fc.curves(worth, picture, nothing, score, cell=1, steps=256)
    for steps in (4, 14, 28):
        coarse = fc.curves(worth, picture, nothing, score, cell=1, steps=steps)
        assert 0 < abs(coarse.deletion_auc - fine.deletion_auc) <= 1 / (2 * steps)
        assert 0 < abs(coarse.insertion_auc - fine.insertion_auc) <= 1 / (2 * steps)


def test_baselines_change_only_what_they_may() -> None:
    picture = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    for erased in (fc.blurred(picture, (0, 1), 3.0), fc.mean_of(picture, (0, 1))):
        assert np.array_equal(erased[2], picture[2])
        assert erased[:2].std() < 0.5 * picture[:2].std() and erased.dtype == np.float32
    assert fc.mean_of(picture, (1,))[1] == pytest.approx(picture[1].mean())


def _removals():
    rng = np.random.default_rng(4)
    worth = rng.normal(size=(6, 6))
    picture, nothing = np.ones((1, 12, 12), np.float32), np.zeros((1, 12, 12), np.float32)
    weights = np.kron(worth / 4, np.ones((2, 2)))

    def score(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-0.3 * (x[:, 0] * weights).sum(axis=(1, 2))))

    return weights, score, fc.Removals.drawn(picture, nothing, score, cell=2, seed=2, count=20)


def test_the_true_weights_foretell_every_loss() -> None:
    weights, _, removals = _removals()
    assert removals.cells.sum(axis=2).tolist() == [[4] * 20, [11] * 20, [18] * 20]
    assert removals.foretold(0.3 * weights) == pytest.approx(removals.losses, abs=1e-4)
    assert fc.sensitivity(weights, removals) == pytest.approx(1, abs=1e-6)
    assert fc.sensitivity(-7 * weights, removals) == pytest.approx(-1, abs=1e-6)
    assert fc.infidelity(5 * weights, removals) == pytest.approx(0, abs=1e-6)
    assert fc.infidelity(-weights, removals) == 1
    flat = np.full(weights.shape, 0.3)
    assert fc.sensitivity(flat, removals) == 0 and fc.infidelity(np.zeros((12, 12)), removals) == 1


def test_sensitivity_and_infidelity_agree_with_numpy_and_captum() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("captum.metrics")
    weights, _, removals = _removals()
    values = weights + np.random.default_rng(8).normal(size=weights.shape)
    said = removals.foretold(values)
    theirs = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(said, removals.losses)])
    assert fc.sensitivity(values, removals) == pytest.approx(theirs)
    # captum, over the presence of the cells: 1 is there, and a perturbation takes a set of them away.
    sets = torch.from_numpy(removals.cells.reshape(-1, 36).astype(np.float64))
    worth = torch.from_numpy(0.3 * weights[::2, ::2].ravel() * 4)
    attribution = torch.from_numpy(fc.cell_means(values, 2).ravel() * 4)[None]
    found = metrics.infidelity(
        lambda present: present @ worth, lambda present: (sets, present - sets), torch.ones(1, 36).double(),
        attribution, n_perturb_samples=len(sets), normalize=True,
    )  # fmt: skip
    share = float(found[0]) / float((removals.losses**2).mean())
    assert 0 < fc.infidelity(values, removals) < 1
    assert fc.infidelity(values, removals) == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("call", [
    lambda: fc.cell_means(np.zeros((5, 4)), 2),
    lambda: fc.cell_means(np.full((4, 4), np.nan), 2),
    lambda: fc.curves(*_linear()[2:3], *_linear()[:2], _linear()[3], cell=2, steps=5),
])  # fmt: skip
def test_refuses_what_has_no_answer(call) -> None:  # noqa: ANN001
    with pytest.raises(ValueError):
        call()
