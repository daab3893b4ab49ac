"""Prompts, the crops around them and their way back, against places that are known."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shared_models.contract.errors import Cancelled  # noqa: E402
from shared_models.ct_neighbourhood import Neighbourhood, Prompt, pixel_mm  # noqa: E402
from shared_models.ct_prompts import SIGMA_PX, box_map, point_map, strength  # noqa: E402
from shared_models.ct_segmentation import neighbourhood, prompted_probability  # noqa: E402


def point(*index: float) -> Prompt:
    return Prompt(np.array(index, float), np.array(index, float))


class Bright(torch.nn.Module):
    """Stands in for the network: sure where HU is over 0, and only where something was pointed at nearby."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append(float(x[:, 2].max()))
        return (x[:, :1] - (1000 / 1200 * 2 - 1)) * 1e3


def test_a_bell_falls_with_distance_and_a_box_is_filled() -> None:
    assert point_map(0.0) == 1 and point_map(SIGMA_PX) == pytest.approx(np.exp(-0.5))
    box = box_map((10, 12), (2, 3), (5, 8))
    assert (box[2:6, 3:9] == 1).all() and 0.5 < box[1, 5] < 1 and box[9, 5] < 0.01
    assert strength(0.0) == 1 and 0 < strength(20.0) < strength(5.0) < 1


@pytest.mark.parametrize("pixel", [0.6, 0.83])
def test_native_pixels_are_not_interpolated_and_come_back_in_place(pixel) -> None:
    hu = np.random.default_rng(0).integers(-1000, 400, (3, 90, 100)).astype(np.int16)
    around = Neighbourhood(hu.shape, (pixel, pixel, 5.0), point(1, 40, 60), 64, pixel_mm((pixel, pixel, 5.0)))
    planes, asked = around.axial(hu, around.slices)
    k, j, i = around.where
    np.testing.assert_array_equal(planes.numpy()[:, : j.stop - j.start], hu[k, j, i])
    np.testing.assert_array_equal(around.back(planes), hu[around.where])
    row, column = np.unravel_index(int(asked[1].argmax()), (64, 64))
    assert (j.start + row, i.start + column) == (40, 60)
    assert float(asked[1].max()) == 1 and float(asked[0].max()) == pytest.approx(float(strength(5.0)))


def test_crops_at_the_border_and_of_coarse_pixels_come_back_in_place() -> None:
    z, y, x = np.mgrid[:20, :60, :60]
    smooth = (10 * x + 3 * y - 500 + 5 * z).astype(np.int16)
    around = Neighbourhood(smooth.shape, (1.6, 1.6, 2.0), point(0, 2, 58), 64, 1.0)
    planes, _ = around.axial(smooth, around.slices)
    assert planes.shape[1:] == (64, 64)
    np.testing.assert_allclose(around.back(planes), smooth[around.where], atol=3)
    for axis in (1, 2):
        places = np.arange(around.where[axis].start, around.where[axis].stop)
        turned, asked = around.turned(smooth, axis, places)
        assert asked.max() > 0.9
        np.testing.assert_allclose(around.back(turned, axis), smooth[around.where], atol=6)


@pytest.mark.parametrize("between_slices", [1.0, 5.0])
def test_what_the_network_is_sure_of_is_where_it_was(between_slices) -> None:
    z, y, x = np.mgrid[:24, :80, :80]
    ball = np.hypot(np.hypot((z - 12) * between_slices, (y - 30) * 0.8), (x - 50) * 0.8) <= 9
    hu = np.where(ball, 100, -900).astype(np.int16)
    network = Bright()
    around, probability = prompted_probability(network, hu, (0.8, 0.8, between_slices), point(12, 30, 50), turns=2)
    found = np.zeros(ball.shape, bool)
    found[around.where] = probability > 0.5
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.93
    assert max(network.asked) > 0.9


def test_a_lesion_that_fills_the_crop_is_seen_from_further_away() -> None:
    y, x = np.mgrid[:200, :200]
    disc = np.hypot(y - 100, x - 100) * 0.7 <= 35
    hu = np.where(disc, 100, -900).astype(np.int16)[None]
    around, probability = prompted_probability(Bright(), hu, (0.7, 0.7, 5.0), point(0, 100, 100), turns=1)
    found = np.zeros(hu.shape, bool)
    found[around.where] = probability > 0.5
    assert around.pixel > 0.7 and 2 * (found[0] & disc).sum() / (found.sum() + disc.sum()) > 0.97


def test_a_large_box_gets_room() -> None:
    box = Prompt(np.array([5.0, 20, 20]), np.array([9.0, 150, 90]))
    around = neighbourhood((20, 200, 200), (0.7, 0.7, 2.5), box)
    assert all(w.start <= a and w.stop > b for w, a, b in zip(around.where, box.low, box.high))


def test_cancel_stops_between_batches() -> None:
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(1)
        return len(calls) > 3

    network = Bright()
    with pytest.raises(Cancelled):
        prompted_probability(network, np.zeros((40, 80, 80), np.int16), (0.8, 0.8, 1.0), point(20, 40, 40),
                             cancelled=cancelled)  # fmt: skip
    assert len(network.asked) == 3
