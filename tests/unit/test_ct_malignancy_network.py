"""The malignancy network's grid against positions worked by hand, and its weights on disk."""

import numpy as np
import pytest
import torch

from shared_models.contract.errors import InvalidInput, ModelUnavailable
from shared_models.ct_malignancy_network import (
    FEATURES,
    GRID_MM,
    GRID_PX,
    WINDOWS_HU,
    Grid,
    MalignancyNetwork,
    grid_of,
    inputs,
    restored,
    saved,
)

PIXEL = (0.8, 0.6)  # row, column: different, so that swapped axes show


def disc(shape, centre, radius_mm) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot((rows - centre[0]) * PIXEL[0], (columns - centre[1]) * PIXEL[1]) <= radius_mm


def test_a_place_of_the_ct_is_where_the_grid_says() -> None:
    grid = grid_of(disc((120, 160), (50, 90), 6), PIXEL)
    assert grid.centre == pytest.approx((50, 90))
    rows, columns = np.meshgrid(np.arange(120.0), np.arange(160.0), indexing="ij")
    # Bilinear sampling of a plane is exact: each grid pixel reads its own place.
    across = (np.arange(GRID_PX) - 31.5) * GRID_MM
    assert grid.sampled(rows)[:, 7] == pytest.approx(50 + across / 0.8, abs=1e-4)
    assert grid.sampled(columns)[5] == pytest.approx(90 + across / 0.6, abs=1e-4)


def test_a_map_goes_back_onto_the_place_it_was_made_from() -> None:
    grid = grid_of(disc((120, 160), (50.25, 90.5), 6), PIXEL)
    rows, columns = np.meshgrid(np.arange(120.0), np.arange(160.0), indexing="ij")
    for plane in (rows, columns):
        returned = grid.back(grid.sampled(plane))
        inner = np.zeros(plane.shape, bool)
        inner[25:76, 55:127] = True  # well inside 44.8 mm about the centre
        assert np.abs(returned - plane)[inner].max() < 1e-3
    held = grid.back(np.ones((GRID_PX, GRID_PX), np.float32))
    centre, half = grid.centre, GRID_PX * GRID_MM / 2
    within = (np.abs(rows - centre[0]) * 0.8 <= half) & (np.abs(columns - centre[1]) * 0.6 <= half)
    assert (held == within).all() and 0 < within.mean() < 1


def test_a_nodule_at_the_edge_of_the_ct_repeats_the_edge_and_the_outline_ends() -> None:
    mask = np.zeros((60, 60), bool)
    mask[:4, 55:] = True
    hu = np.full((60, 60), -800, np.int16)
    hu[:4, 55:] = 50
    x, grid = inputs(hu, mask, PIXEL)
    assert x.shape == (1, 3, GRID_PX, GRID_PX) and x.dtype == torch.float32 and x.isfinite().all()
    above = x[0, :, 2, GRID_PX - 3]  # beyond the corner
    assert above[0] == pytest.approx((50 + 1000) / 1200 * 2 - 1) and above[2] == 0
    assert grid.back(x[0, 2].numpy()).shape == (60, 60)
    far = Grid((500.0, 500.0), PIXEL, (60, 60))
    assert (far.sampled(hu) == -800).all() and not far.back(np.ones((GRID_PX, GRID_PX))).any()


def test_the_windows_run_from_minus_one_to_one_and_the_outline_is_a_channel() -> None:
    mask = disc((100, 100), (50, 50), 8)
    for (low, high), channel in zip(WINDOWS_HU, (0, 1)):
        for hu, expected in ((low - 50, -1), (low, -1), ((low + high) / 2, 0), (high, 1), (high + 50, 1)):
            x, _ = inputs(np.full(mask.shape, hu), mask, PIXEL)
            assert x[0, channel].numpy() == pytest.approx(expected, abs=1e-6)
    area = float(x[0, 2].sum()) * GRID_MM**2
    assert area == pytest.approx(mask.sum() * PIXEL[0] * PIXEL[1], rel=0.02)


def test_what_cannot_be_rated_is_refused() -> None:
    empty, some = np.zeros((50, 50), bool), disc((50, 50), (20, 20), 5)
    hu = np.zeros((50, 50), np.int16)
    with pytest.raises(InvalidInput, match="no nodule"):
        inputs(hu, empty, PIXEL)
    with pytest.raises(InvalidInput, match="not on the grid"):
        inputs(hu[:-1], some, PIXEL)
    for spacing in ((0.0, 0.7), (float("nan"), 0.7)):
        with pytest.raises(InvalidInput, match="pixel size"):
            inputs(hu, some, spacing)


def test_the_answer_can_be_explained() -> None:
    torch.manual_seed(0)
    network = MalignancyNetwork().eval()
    seen = []
    hook = network.features.register_forward_hook(lambda module, given, found: seen.append(found))
    x, _ = inputs(np.full((80, 80), -300, np.int16), disc((80, 80), (40, 40), 6), PIXEL)
    x.requires_grad_(True)
    logits = network(x)
    logits[0, 0].backward()
    hook.remove()
    assert logits.shape == (1, 2) and seen[0].shape == (1, 64, 16, 16) and (seen[0] >= 0).all()
    assert (x.grad.abs().amax((0, 2, 3)) > 0).all()  # every channel counts


def test_weights_are_a_state_dict_and_nothing_else_is_read(tmp_path) -> None:
    torch.manual_seed(1)
    network = MalignancyNetwork().eval()
    saved(network, tmp_path / "network.pt")
    x = torch.randn(3, 3, GRID_PX, GRID_PX).clamp(-1, 1).abs()
    again = restored(tmp_path / "network.pt")
    assert not again.training
    with torch.inference_mode():
        assert (again(x) - network(x)).abs().max() < 5e-3  # half precision
    assert (tmp_path / "network.pt").stat().st_size < 400_000

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    state = network.state_dict()
    torch.save({"head.weight": Evil()}, tmp_path / "evil.pt")
    torch.save({k: v for k, v in state.items() if k != "head.bias"}, tmp_path / "part.pt")
    torch.save({**state, "head.bias": torch.full((2,), float("nan"))}, tmp_path / "nan.pt")
    for name in ("evil.pt", "part.pt", "nan.pt", "none.pt"):
        with pytest.raises(ModelUnavailable):
            restored(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("width", list(FEATURES))
def test_weights_say_how_wide_their_network_is(tmp_path, width) -> None:
    network = MalignancyNetwork(width=width).eval()
    saved(network, tmp_path / "network.pt")
    again = restored(tmp_path / "network.pt")
    assert again.head.in_features == 2 * FEATURES[width][-1]
    x = torch.zeros(1, 3, GRID_PX, GRID_PX)
    with torch.inference_mode():
        assert (again(x) - network(x)).abs().max() < 5e-3
