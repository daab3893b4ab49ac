"""The coded words: those of a standard are the standard's, ours are told apart and fit in."""

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from inference_server import dicom_codes
from shared_models.contract.results import CT_TARGETS, FOUND_BY, METHODS, SIDES
from shared_models.contract.values import CLASSES

ALL = [v for v in vars(dicom_codes).values() if isinstance(v, Code)] + [
    code for v in vars(dicom_codes).values() if isinstance(v, dict)
    for code in v.values() if isinstance(code, Code)
]  # fmt: skip
# Words of PS3.16 that pydicom's dictionary does not hold: the container of TID 1500, and a language.
ELSEWHERE = {("UMLS", "C0034375"), ("RFC5646", "en")}
SAME_CODE_OTHER_WORDS = {"24627-2": "CT Chest Report", "49755003": "Morphologically Abnormal Structure"}


@pytest.mark.parametrize("code", sorted(set(ALL)), ids=lambda code: f"{code.scheme_designator} {code.value}")
def test_each_code_is_what_it_says(code) -> None:
    assert len(code.value) <= 16 and len(code.meaning) <= 64
    assert code.meaning.isascii()
    if code.scheme_designator == dicom_codes.SCHEME:
        assert code.scheme_designator.startswith("99")  # PS3.16 section 8: private coding schemes
        return
    if (code.scheme_designator, code.value) in ELSEWHERE:
        return
    known = [
        kind[code.value][0] for kind in concepts[code.scheme_designator].values() if code.value in kind
    ]  # fmt: skip
    assert code.meaning in known or SAME_CODE_OTHER_WORDS.get(code.value) in known


def test_no_code_of_ours_is_given_twice() -> None:
    own = [code for code in ALL if code.scheme_designator == dicom_codes.SCHEME]
    assert len(own) > 15
    assert len({code.value for code in own}) == len({code.meaning for code in own}) == len(set(own))


def test_every_word_of_the_contract_has_a_code() -> None:
    assert set(dicom_codes.SIDES) == set(SIDES)
    assert set(dicom_codes.PROBABILITIES) == set(CLASSES)
    assert set(dicom_codes.FOUND_VALUES) == set(FOUND_BY)
    assert set(dicom_codes.MAP_METHODS) == set(dicom_codes.MAP_QUANTITIES) == set(METHODS)
    assert set(dicom_codes.TARGETS) == set(CT_TARGETS)
