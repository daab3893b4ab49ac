"""A lesion followed through thick slices, against shapes whose ends are known."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shared_models.ct_linking import followed  # noqa: E402
from shared_models.ct_neighbourhood import Neighbourhood, Prompt  # noqa: E402
from shared_models.ct_segmentation import SIDE  # noqa: E402

THICK, THIN = (0.8, 0.8, 5.0), (0.8, 0.8, 1.0)  # column, row, slice
RADII = {2: 4, 3: 6, 4: 8, 5: 8, 6: 6, 7: 5}  # mm, by slice: the lesion


class Bright(torch.nn.Module):
    """Stands in for the network: sure where HU is over 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] - (1000 / 1200 * 2 - 1)) * 1e3


def disc(radius_mm: float, row: float = 40.0) -> np.ndarray:
    y, x = np.mgrid[:80, :80]
    return np.hypot(y - row, x - 40) * 0.8 <= radius_mm


@pytest.fixture
def lesion() -> np.ndarray:
    found = np.zeros((12, 80, 80), bool)
    for k, radius in RADII.items():
        found[k] = disc(radius)
    return found


def seen(shown: np.ndarray, spacing=THICK) -> tuple[np.ndarray, Neighbourhood, np.ndarray]:
    """HU of what is dense, the crops, and the outline of slice 4 alone on them."""
    middle = np.array([4.0, 40, 40])
    around = Neighbourhood(shown.shape, spacing, Prompt(middle, middle), SIDE, 0.8)
    known = np.zeros(shown.shape, bool)
    known[4] = disc(RADII[4])
    return np.where(shown, 100, -900).astype(np.int16), around, known[around.where]


def test_a_lesion_is_followed_to_both_ends_and_no_further(lesion) -> None:
    hu, around, known = seen(lesion)
    found = followed(Bright(), hu, THICK, known, around)
    np.testing.assert_array_equal(found, lesion[around.where])


def test_thin_slices_stay_as_they_were_outlined(lesion) -> None:
    hu, around, known = seen(lesion, THIN)
    np.testing.assert_array_equal(followed(Bright(), hu, THIN, known, around), known)


def test_it_stops_where_something_larger_or_something_beside_begins(lesion) -> None:
    wall = lesion.copy()
    wall[3] = disc(12)
    hu, around, known = seen(wall)
    low = around.where[0].start
    assert np.flatnonzero(followed(Bright(), hu, THICK, known, around).any((1, 2)))[0] + low == 4
    beside = lesion.copy()
    beside[3] = disc(6, row=51.0)
    hu, around, known = seen(beside)
    assert np.flatnonzero(followed(Bright(), hu, THICK, known, around).any((1, 2)))[0] + low == 4
