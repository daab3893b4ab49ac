"""The shared colours: one per class, far apart, and a ramp that gets lighter all the way."""

from __future__ import annotations

from itertools import combinations

import pytest

from shared_models.contract.colours import CLASS_COLOURS, CLASS_LABELS, METHOD_LABELS, heat_colour
from shared_models.contract.results import METHODS
from shared_models.contract.values import CLASSES


def _luminance(colour: tuple[int, int, int]) -> float:
    red, green, blue = colour
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_class_has_its_own_colour_and_name() -> None:
    assert tuple(CLASS_COLOURS) == CLASSES and tuple(CLASS_LABELS) == CLASSES and tuple(METHOD_LABELS) == METHODS
    for one, other in combinations(CLASS_COLOURS.values(), 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other)) ** 0.5 > 60


def test_ramp_gets_lighter_and_is_viridis() -> None:
    colormaps = pytest.importorskip("matplotlib").colormaps
    steps = [heat_colour(i / 50) for i in range(51)]
    assert all(_luminance(a) < _luminance(b) for a, b in zip(steps, steps[1:]))
    for index, colour in enumerate(steps):
        expected = [255 * part for part in colormaps["viridis"](index / 50)[:3]]
        assert max(abs(a - b) for a, b in zip(colour, expected)) < 6


def test_ramp_holds_outside_its_range() -> None:
    assert heat_colour(-3) == heat_colour(0) == heat_colour(float("nan"))
    assert heat_colour(7) == heat_colour(1)
