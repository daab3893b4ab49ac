"""The sanity check catches a map that ignores the model, and lets one pass that follows it."""

import numpy as np
import pytest

from shared_models import sanity_checks as sc

torch = pytest.importorskip("torch")
STAGES = {"head": ["3"], "body": ["0"]}
PICTURES = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def _network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 5, padding=2), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(6 * 256, 2)
    ).eval()


def _gradient(model, index: int) -> np.ndarray:
    x = PICTURES[index : index + 1].clone().requires_grad_(True)
    model(x)[0, 0].backward()
    return x.grad[0, 0].numpy()


def _maps(model, index: int):
    edges = np.abs(np.gradient(PICTURES[index, 0].numpy())[0])  # an edge detector: it never asks the model
    return {"gradient": _gradient(model, index), "edges": edges, "upside down": edges * _sign(model)}


def _sign(model) -> float:
    return 1.0 if torch.equal(model[3].weight, NETWORK[3].weight) else -1.0


NETWORK = _network()


def test_a_map_that_ignores_the_model_fails_and_one_that_follows_it_passes() -> None:
    before = {name: value.clone() for name, value in NETWORK.state_dict().items()}
    found = sc.checked(NETWORK, STAGES, _maps, 6)
    assert found["gradient"].passed and found["gradient"].spearman[-1] < 0.3
    assert not found["edges"].passed and found["edges"].spearman == (1.0, 1.0) and found["edges"].ssim[0] > 0.999
    assert not found["upside down"].passed and found["upside down"].ssim[0] < 0.5
    assert found["gradient"].stages == ("head", "body") and found["gradient"].pictures == 6
    assert all(torch.equal(value, before[name]) for name, value in NETWORK.state_dict().items())
    assert sc.checked(NETWORK, STAGES, _maps, 6) == found  # the same for a seed
    stored = found["edges"].stored()
    assert stored["passed"] is False and stored["limit"] == sc.LIMIT and stored["stages"] == ("head", "body")


def test_randomising_goes_from_the_head_down_and_adds_up() -> None:
    seen = []

    def maps(model, index: int):
        seen.append([bool((model[i].weight != NETWORK[i].weight).any()) for i in (3, 0)])
        return {"m": np.zeros((16, 16))}

    sc.checked(NETWORK, STAGES, maps, 1)
    assert seen == [[False, False], [True, False], [True, True]]


def test_shuffling_keeps_every_value_and_moves_nearly_all() -> None:
    layer = torch.nn.Linear(30, 20)
    before = layer.weight.detach().clone()
    sc.shuffled(layer, 1)
    assert torch.equal(layer.weight.flatten().sort()[0], before.flatten().sort()[0])
    assert (layer.weight != before).float().mean() > 0.9


def test_a_part_that_would_stay_trained_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.weight"):
        sc.checked(NETWORK, {"head": ["3"]}, _maps, 1)


def test_agreement_with_scipy_and_of_a_flat_map() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a = rng.normal(size=(12, 12)).round(1)
    b = a + rng.normal(size=a.shape)
    assert sc.rank_agreement(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert sc.rank_agreement(a, np.ones(a.shape)) == 0


def test_structural_similarity_by_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((15, 13))
    b = np.clip(a + 0.2 * rng.normal(size=a.shape), 0, None)
    x, y = ((v - v.min()) / (v.max() - v.min()) for v in (a, b))
    values = []
    for r in range(9):
        for c in range(7):
            p, q = x[r : r + 7, c : c + 7].ravel(), y[r : r + 7, c : c + 7].ravel()
            both = np.cov(p, q)
            values.append(
                (2 * p.mean() * q.mean() + 1e-4) * (2 * both[0, 1] + 9e-4)
                / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (both[0, 0] + both[1, 1] + 9e-4))
            )  # fmt: skip
    assert sc.structural_similarity(a, b) == pytest.approx(np.mean(values))
    assert sc.structural_similarity(a, a) == pytest.approx(1)
