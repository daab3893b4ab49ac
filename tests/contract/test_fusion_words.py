"""How sure a fused answer is, in words."""

from dataclasses import replace

from shared_models.contract.fusion_result import FusionResult
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.values import CLASSES

EVEN = dict.fromkeys(CLASSES, 0.2)
PLAIN = FusionResult(EVEN, 0.0, EVEN, {"pathology": 1.0}, {"pathology": dict.fromkeys(CLASSES, 0.0)},
                     ("radiology", "clinical"), "One modality took part.")  # fmt: skip


def test_the_set_names_its_classes_and_its_coverage() -> None:
    assert set_words(PLAIN) == ""
    some = replace(PLAIN, conformal_set=("squamous_cell", "normal"), conformal_coverage=0.9)
    assert set_words(some) == (
        "Likely: squamous cell carcinoma or normal. Such a set held the true class in 90 % of the cases that it was "
        "calibrated on."
    )
    assert set_words(replace(some, conformal_set=("normal",))).startswith("Likely: normal. ")


def test_only_a_lowered_weight_is_told() -> None:
    assert reliability_words(PLAIN) == []
    (words,) = reliability_words(replace(PLAIN, reliability={"pathology": 0.6}))
    assert words.startswith("Slide counts with 60 % of its weight")
    assert reliability_words(replace(PLAIN, reliability={"pathology": 1.0})) == []
    known = replace(PLAIN, weights={"clinical": 1.0}, contributions={"clinical": dict.fromkeys(CLASSES, 0.0)},
                    missing=("radiology", "pathology"), reliability={"clinical": 0.91})  # fmt: skip
    assert reliability_words(known)[0].startswith("Clinical fields count with 91 % of their weight")
