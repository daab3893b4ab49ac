"""What viewers say of a heatmap."""

from dataclasses import replace

import numpy as np

from shared_models.contract.colours import heat_colour
from shared_models.contract.heatmap_words import FIGURES, SANITY, parts, target_words, title, trust
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import Heatmap

BY = Provenance("model", "ab" * 32, "1.0", True, "cpu", ("adenocarcinoma",))
VALUES = np.array([[1.0, -2.0], [0.0, 0.5]], np.float32)
SIGNED = Heatmap(VALUES, np.eye(3), "s", "pathology", "occlusion", "adenocarcinoma", BY, {"window": 32})


def test_a_signed_map_is_told_apart_into_for_and_against() -> None:
    speaks_for, against = parts(SIGNED)
    assert against is not None
    np.testing.assert_array_equal(speaks_for.values - against.values, VALUES)
    assert speaks_for.values.min() >= 0 <= against.values.min()
    assert title(speaks_for) == "Occlusion: Adenocarcinoma"
    assert title(against) == "Occlusion: against Adenocarcinoma"
    positive = replace(SIGNED, values=np.abs(VALUES))
    assert parts(positive) == (positive, None)


def test_targets_in_words() -> None:
    assert target_words("squamous_cell") == "Squamous cell carcinoma"
    assert target_words("against malignancy") == "against malignancy"
    assert target_words("lepidic growth") == "lepidic growth"
    assert target_words("normal rather than squamous_cell") == "Normal rather than Squamous cell carcinoma"
    assert target_words("against normal rather than x") == "against Normal rather than x"


def test_a_map_says_how_far_it_can_be_trusted() -> None:
    assert "not measured" in trust(SIGNED)
    measured = replace(SIGNED, parameters={FIGURES: "insertion 0.83 (test, n=60)", SANITY: "passed"})
    assert trust(measured) == "insertion 0.83 (test, n=60)"
    failed = replace(SIGNED, parameters={FIGURES: "insertion 0.83 (test, n=60)", SANITY: "failed"})
    assert trust(failed).startswith("FAILS the sanity check") and trust(failed).endswith("(test, n=60)")


def test_the_two_ramps_are_told_apart_at_every_step_by_anyone() -> None:
    """Apart in plain distance where maps are drawn, from a fifth of their scale up; each runs from dark to light."""
    for step in range(4, 21):
        one, other = np.array(heat_colour(step / 20), float), np.array(heat_colour(step / 20, against=True), float)
        assert np.abs(one - other).sum() > 40
    for against in (False, True):
        light = [np.dot(heat_colour(s / 20, against), (0.2126, 0.7152, 0.0722)) for s in range(21)]
        assert (np.diff(light) > 0).all()
