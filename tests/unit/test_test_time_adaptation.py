"""Test-time adaptation: statistics by hand, the network left alone, temperature and accuracy without labels."""

import numpy as np
import pytest

from shared_models.contract.errors import InvalidInput
from shared_models.test_time_adaptation import confidence, expected_accuracy, matched_temperature, restandardised

torch = pytest.importorskip("torch")


def one_layer():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    network[0].running_mean[:] = torch.tensor([10.0, 20.0, 30.0])
    network[0].running_var[:] = torch.tensor([4.0, 5.0, 6.0])
    return network.eval()


def test_statistics_are_mixed_by_how_many_tiles_each_side_counts() -> None:
    network, tiles = one_layer(), np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    adapted = restandardised(network, tiles, prior=24, batch=8)
    own = tiles.astype(float).reshape(-1, 3)
    wanted_mean = 0.75 * np.array([10, 20, 30]) + 0.25 * own.mean(axis=0)
    wanted_variance = 0.75 * np.array([4, 5, 6]) + 0.25 * own.var(axis=0, ddof=1)
    assert adapted[0].running_mean.numpy() == pytest.approx(wanted_mean, rel=1e-5)
    assert adapted[0].running_var.numpy() == pytest.approx(wanted_variance, rel=1e-5)
    assert not adapted.training and not adapted[0].training and adapted[0].momentum == 0.1
    assert network[0].running_mean.tolist() == [10, 20, 30]  # the network itself is left alone


def test_without_a_prior_the_tiles_are_standardised() -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    adapted = restandardised(one_layer(), tiles, prior=0, batch=8)
    seen = adapted(torch.from_numpy(tiles).permute(0, 3, 1, 2).float())
    assert seen.mean(dim=(0, 2, 3)).abs().max() < 0.02 and (seen.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02
    with pytest.raises(InvalidInput):
        restandardised(one_layer(), tiles[:1])
    with pytest.raises(InvalidInput):
        restandardised(torch.nn.Sequential(torch.nn.ReLU()), tiles)


def test_expected_accuracy_is_the_share_above_the_bar_of_labelled_cases() -> None:
    sure = np.linspace(0.01, 1, 100)
    right = sure > 0.2  # 80 of 100; the bar lies where 80 are above
    assert expected_accuracy(sure, right, np.array([0.1, 0.15, 0.5, 0.9])) == 0.5
    assert expected_accuracy(sure, right, sure) == pytest.approx(0.8, abs=0.011)


def test_the_temperature_makes_the_mean_confidence_what_is_expected() -> None:
    logits = np.random.default_rng(2).normal(0, 3, (50, 3))
    for wanted in (0.5, 0.7, 0.9):
        found = matched_temperature(logits, wanted)
        assert confidence(logits, found).mean() == pytest.approx(wanted, abs=1e-4)
    assert matched_temperature(logits, 1.0) == 0.05 and matched_temperature(logits, 0.1) == 20.0
    assert confidence(np.array([[0.0, np.log(3)]]), 1.0) == pytest.approx([0.75])
