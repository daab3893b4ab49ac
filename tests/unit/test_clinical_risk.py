"""Risk models against independent forms of the same publications, by hand, and silent outside their limits.

No published worked example of these three was at hand, so the second sides are: the not centred table of Uthoff et al.
2019 (Brock), the odds ratios of the publication's own table (PLCOm2012), and odds ratios and sums by hand (Mayo).
"""

import math
from dataclasses import fields, replace

import pytest

from shared_models.clinical_risk import (
    EDUCATION,
    BrockNodule,
    MayoNodule,
    Risk,
    ScreeningCandidate,
    brock,
    mayo,
    plco_m2012,
)
from shared_models.contract.errors import InvalidInput
from shared_models.contract.values import Abstention

MAYO = MayoNodule(60, False, False, False, False, 10, False, False, True)
BROCK = BrockNodule(62, "male", True, False, True, False, False, 4, "solid", False, 4, False)
PLCO = ScreeningCandidate(62, "white", EDUCATION[3], 27, False, False, False, True, False, 10 / 0.4021541613, 27, 10)
MODELS = [(mayo, MAYO), (brock, BROCK), (plco_m2012, PLCO)]


def _odds(answer) -> float:
    assert isinstance(answer, Risk)
    return math.log(answer.probability / (1 - answer.probability))


def _ratio(model, base, **change) -> float:
    return math.exp(_odds(model(replace(base, **change))) - _odds(model(base)))


def test_mayo_by_hand() -> None:
    # 0.0391 x 60 + 0.1274 x 10 - 6.8272 = -3.2072: 3.9 %; all against it: + 0.7917 + 1.3388 + 1.0407 + 0.7838
    assert mayo(MAYO).probability == pytest.approx(0.03890, abs=5e-5)
    worst = replace(MAYO, ever_smoked=True, extrathoracic_cancer=True, spiculated=True, upper_lobe=True)
    assert mayo(worst).probability == pytest.approx(1 / (1 + math.exp(-0.7478)), abs=1e-6)
    # Odds ratios of the publication: smoking 2.2, cancer 3.8, spiculation 2.8, upper lobe 2.2, diameter 1.14 a mm
    for change, ratio in (({"ever_smoked": True}, 2.2), ({"extrathoracic_cancer": True}, 3.8),
                          ({"spiculated": True}, 2.8), ({"upper_lobe": True}, 2.2)):  # fmt: skip
        assert _ratio(mayo, MAYO, **change) == pytest.approx(ratio, abs=0.05)
    assert _ratio(mayo, MAYO, diameter_mm=11) == pytest.approx(1.14, abs=0.005)


def _uthoff(n: BrockNodule) -> float:
    """Brock as Uthoff et al. 2019 print it: nothing is centred, the offset is 0.2761."""
    x = 0.2761 + 0.0287 * n.age_years - 5.3854 * (n.diameter_mm / 10) ** -0.5 - 0.0824 * n.nodule_count
    x += 0.6011 * (n.sex == "female") + 0.2961 * n.family_lung_cancer + 0.2953 * n.emphysema + 0.6581 * n.upper_lobe
    return x + 0.7729 * n.spiculated + {"solid": 0, "part_solid": 0.377, "nonsolid": -0.1276}[n.nodule_type]


@pytest.mark.parametrize("change", [
    {}, {"sex": "female", "age_years": 71.5}, {"emphysema": True, "family_lung_cancer": True, "diameter_mm": 22.0},
    {"nodule_type": "part_solid", "upper_lobe": True, "nodule_count": 1}, {"nodule_type": "nonsolid"},
    {"spiculated": True, "diameter_mm": 8, "age_years": 50},
])  # fmt: skip
def test_brock_agrees_with_the_table_that_is_not_centred(change) -> None:
    given = replace(BROCK, **change)
    assert _odds(brock(given)) == pytest.approx(_uthoff(given), abs=2e-4)


def test_brock_of_the_centre_is_its_constant() -> None:
    assert _odds(brock(BROCK)) == pytest.approx(-6.7892, abs=1e-6)


def test_plco_of_the_centre_is_its_constant() -> None:
    assert _odds(plco_m2012(PLCO)) == pytest.approx(-4.532506, abs=1e-6)
    assert plco_m2012(PLCO).probability == pytest.approx(0.0106, abs=5e-5)


@pytest.mark.parametrize("change, ratio", [
    ({"age_years": 63}, 1.081), ({"origin": "black"}, 1.484), ({"origin": "hispanic"}, 0.475),
    ({"origin": "asian"}, 0.627), ({"origin": "native_hawaiian_or_pacific_islander"}, 2.793),
    ({"origin": "american_indian_or_alaska_native"}, 1.0), ({"education": EDUCATION[4]}, 0.922), ({"bmi": 28}, 0.973),
    ({"copd": True}, 1.427), ({"cancer_before": True}, 1.582), ({"family_lung_cancer": True}, 1.799),
    ({"years_smoked": 28}, 1.032), ({"years_since_quitting": 11}, 0.970),
])  # fmt: skip
def test_plco_has_the_odds_ratios_of_its_table(change, ratio) -> None:
    # Tammemaegi et al. 2013, table 2
    assert _ratio(plco_m2012, PLCO, **change) == pytest.approx(ratio, abs=6e-4)


def test_plco_of_who_smokes_now_needs_no_year_of_quitting() -> None:
    now = replace(PLCO, smokes_now=True, years_since_quitting=None, ever_smoked=None)
    # 1.297 of smoking now, and ten years of 0.970 more than the centre's
    assert _odds(plco_m2012(now)) - _odds(plco_m2012(PLCO)) == pytest.approx(math.log(1.297) + 10 * 0.0308572, abs=1e-3)
    # Of twice as many cigarettes a day: -1.822606 x (5 / cpd - 10 / cpd)
    twice = replace(PLCO, cigarettes_per_day=2 * PLCO.cigarettes_per_day)
    assert _odds(plco_m2012(twice)) - _odds(plco_m2012(PLCO)) == pytest.approx(1.822606 * 0.4021541613 / 2, abs=1e-6)


@pytest.mark.parametrize("model, base, change, why", [
    (mayo, MAYO, {"diameter_mm": 31}, "4 to 30 mm"), (mayo, MAYO, {"diameter_mm": 3.9}, "4 to 30 mm"),
    (mayo, MAYO, {"cancer_within_5_years": True}, "last five years"), (mayo, MAYO, {"solitary": False}, "solitary"),
    (mayo, MAYO, {"lung_cancer_before": True}, "never had lung"), (mayo, MAYO, {"age_years": 12}, "adults"),
    (brock, BROCK, {"age_years": 49}, "50 to 75"), (brock, BROCK, {"age_years": 76}, "50 to 75"),
    (brock, BROCK, {"ever_smoked": False}, "smoke"), (brock, BROCK, {"first_screening_ct": False}, "first screening"),
    (brock, BROCK, {"diameter_mm": 40}, "1 to 30"), (brock, BROCK, {"lung_cancer_before": True}, "never had lung"),
    (plco_m2012, PLCO, {"age_years": 54}, "55 to 74"), (plco_m2012, PLCO, {"age_years": 75}, "55 to 74"),
    (plco_m2012, PLCO, {"ever_smoked": False}, "smoke or smoked"),
    (plco_m2012, PLCO, {"cigarettes_per_day": 0}, "smoking history"),
])  # fmt: skip
def test_outside_its_limits_a_model_is_silent_and_says_why(model, base, change, why) -> None:
    answer = model(replace(base, **change))
    assert isinstance(answer, Abstention) and why in answer.reason
    assert isinstance(model(base), Risk)


@pytest.mark.parametrize("model, base", MODELS)
def test_every_unknown_input_is_asked_for(model, base) -> None:
    for field in fields(base):
        answer = model(replace(base, **{field.name: None}))
        assert isinstance(answer, Abstention) and "not known" in answer.reason, field.name
        assert answer.what_would_help.startswith("Say ") and "_" not in answer.what_would_help
    assert answer.what_would_help != model(type(base)()).what_would_help


@pytest.mark.parametrize("make", [
    lambda: MayoNodule(age_years=-1), lambda: MayoNodule(diameter_mm=float("nan")), lambda: MayoNodule(age_years=True),
    lambda: BrockNodule(sex="f"), lambda: BrockNodule(nodule_type="ground glass"), lambda: BrockNodule(nodule_count=0),
    lambda: ScreeningCandidate(bmi=2), lambda: ScreeningCandidate(origin="other"),
    lambda: ScreeningCandidate(education="phd"), lambda: ScreeningCandidate(smokes_now=True, years_since_quitting=3),
    lambda: ScreeningCandidate(smokes_now=True, ever_smoked=False),
    lambda: ScreeningCandidate(age_years=60, years_smoked=40, years_since_quitting=30),
])  # fmt: skip
def test_impossible_inputs_are_refused_with_a_remedy(make) -> None:
    with pytest.raises(InvalidInput) as fault:
        make()
    assert fault.value.remedy
