"""Published risk models of the lung, each with its own inputs and the limits that it was made for.

Risk                         a probability, of what, from where
MayoNodule, mayo()           malignancy of a solitary nodule found by chance (Swensen 1997)
BrockNodule, brock()         cancer in a nodule of a first screening CT (McWilliams 2013, full model with spiculation)
ScreeningCandidate, plco_m2012()   lung cancer within six years, of people who smoked (Tammemägi 2013)

Outside its limits, or where an input is not known, a model gives an Abstention with the reason, never a number. They
are not fitted, not recalibrated and not fused with anything here: prevalence in another clinic may be quite another.
None is a diagnosis. Research use only.

Every coefficient was compared in sources of different authors, named at its model. McWilliams's parsimonious models and
those without spiculation are left out: their coefficients could not be confirmed by a second source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Optional, Union

from .contract.errors import InvalidInput
from .contract.values import Abstention

NODULE_TYPES = ("solid", "part_solid", "nonsolid")
EDUCATION = (
    "less than high school", "high school", "post high school training", "some college", "college", "postgraduate",
)  # fmt: skip
INPUT_NAMES = {
    "age_years": "age", "ever_smoked": "whether the patient ever smoked", "bmi": "body mass index",
    "extrathoracic_cancer": "whether there was a cancer outside the chest more than five years ago",
    "cancer_within_5_years": "whether there was a cancer within the last five years",
    "lung_cancer_before": "whether there was a lung cancer before", "diameter_mm": "the nodule's diameter",
    "spiculated": "whether the nodule is spiculated", "upper_lobe": "whether it lies in an upper lobe",
    "solitary": "whether it is the only nodule", "sex": "sex", "emphysema": "whether the CT shows emphysema",
    "family_lung_cancer": "whether a relative had lung cancer", "nodule_type": "the type of the nodule",
    "nodule_count": "how many nodules there are", "first_screening_ct": "whether this is the first screening CT",
    "education": "education", "copd": "whether there is COPD", "cancer_before": "whether there was a cancer before",
    "smokes_now": "whether the person smokes now", "cigarettes_per_day": "cigarettes a day",
    "years_smoked": "years of smoking", "years_since_quitting": "years since quitting",
    "origin": "origin, as in the model",
}  # fmt: skip


@dataclass(frozen=True)
class Risk:
    """``probability`` of ``outcome``; ``source``: the publication."""

    probability: float
    outcome: str
    source: str


def _number(value: Optional[float], name: str, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:  # NaN fails it
        raise InvalidInput(f"{INPUT_NAMES[name]} must lie between {low:g} and {high:g}.".capitalize(), "Correct it.")


def _one_of(value: Optional[str], name: str, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise InvalidInput(f"{INPUT_NAMES[name]} must be one of {', '.join(allowed)}.".capitalize(), "Correct it.")


def _unknown(given: Any, model: str) -> Optional[Abstention]:
    """What is missing, in words; None where all is known."""
    missing = [INPUT_NAMES[f.name] for f in fields(given) if getattr(given, f.name) is None]
    if missing:
        return Abstention(f"{model} needs inputs that are not known.", f"Say {'; '.join(missing)}.")
    return None


def _outside(model: str, limits: Mapping[str, bool]) -> Optional[Abstention]:
    """The first limit that is not kept."""
    for limit, kept in limits.items():
        if not kept:
            return Abstention(f"{model} was made for {limit}; this case is not.", "Judge without this model.")
    return None


def _known(value: Optional[float]) -> float:
    """NaN, which keeps no limit, where not known."""
    return float("nan") if value is None else float(value)


def _logistic(odds: float) -> float:
    return 0.5 + 0.5 * math.tanh(odds / 2)


@dataclass(frozen=True)
class MayoNodule:
    """What mayo() needs; None is "not known".

    Parameters
    ----------
    age_years : 0 to 120
    ever_smoked : now or formerly
    extrathoracic_cancer : a cancer outside the chest, more than five years ago
    cancer_within_5_years, lung_cancer_before : exclude the model
    diameter_mm : of the nodule
    spiculated, upper_lobe, solitary : of the nodule
    """

    age_years: Optional[float] = None
    ever_smoked: Optional[bool] = None
    extrathoracic_cancer: Optional[bool] = None
    cancer_within_5_years: Optional[bool] = None
    lung_cancer_before: Optional[bool] = None
    diameter_mm: Optional[float] = None
    spiculated: Optional[bool] = None
    upper_lobe: Optional[bool] = None
    solitary: Optional[bool] = None

    def __post_init__(self) -> None:
        _number(self.age_years, "age_years", 0, 120)
        _number(self.diameter_mm, "diameter_mm", 0, 300)


def mayo(nodule: MayoNodule) -> Union[Risk, Abstention]:
    """Probability that a solitary, indeterminate nodule found by chance is malignant, before PET and biopsy.

    Limits: 4 to 30 mm, solitary, an adult, no cancer within five years and never one of the lung. Made on chest
    radiographs of 1984 to 1986 at one referral hospital, where 23 % were malignant; measured on CT it is commonly used
    all the same.

    Source: Swensen et al. 1997, Arch Intern Med 157:849. Coefficients compared with medicalalgorithms.com and with two
    open calculators (constant -6.8272; -6.8238 and -6.872 are misprints of others).
    """
    name = "The Mayo model"
    refused = _unknown(nodule, name) or _outside(name, {
        "adults": _known(nodule.age_years) >= 18,
        "nodules of 4 to 30 mm": 4 <= _known(nodule.diameter_mm) <= 30,
        "solitary nodules": bool(nodule.solitary),
        "patients without a cancer in the last five years": not nodule.cancer_within_5_years,
        "patients who never had lung cancer": not nodule.lung_cancer_before,
    })  # fmt: skip
    if refused:
        return refused
    odds = (
        -6.8272 + 0.0391 * _known(nodule.age_years) + 0.7917 * bool(nodule.ever_smoked)
        + 1.3388 * bool(nodule.extrathoracic_cancer) + 0.1274 * _known(nodule.diameter_mm)
        + 1.0407 * bool(nodule.spiculated) + 0.7838 * bool(nodule.upper_lobe)
    )  # fmt: skip
    return Risk(_logistic(odds), "malignancy of the nodule", "Swensen et al. 1997, Arch Intern Med 157:849")


@dataclass(frozen=True)
class BrockNodule:
    """What brock() needs; None is "not known".

    Parameters
    ----------
    age_years : 0 to 120; sex : "female" or "male"
    ever_smoked, lung_cancer_before, first_screening_ct : whom the model was made for
    family_lung_cancer : of any relative; emphysema : on the CT
    diameter_mm : the longest; nodule_type : one of NODULE_TYPES; upper_lobe, spiculated
    nodule_count : all nodules of that CT, this one included
    """

    age_years: Optional[float] = None
    sex: Optional[str] = None
    ever_smoked: Optional[bool] = None
    lung_cancer_before: Optional[bool] = None
    first_screening_ct: Optional[bool] = None
    family_lung_cancer: Optional[bool] = None
    emphysema: Optional[bool] = None
    diameter_mm: Optional[float] = None
    nodule_type: Optional[str] = None
    upper_lobe: Optional[bool] = None
    nodule_count: Optional[int] = None
    spiculated: Optional[bool] = None

    def __post_init__(self) -> None:
        _number(self.age_years, "age_years", 0, 120)
        _number(self.diameter_mm, "diameter_mm", 0, 300)
        _number(self.nodule_count, "nodule_count", 1, 500)
        _one_of(self.sex, "sex", ("female", "male"))
        _one_of(self.nodule_type, "nodule_type", NODULE_TYPES)


def brock(nodule: BrockNodule) -> Union[Risk, Abstention]:
    """Probability that a nodule of a first screening CT is cancer, or becomes known as one in the following years.

    Limits: 50 to 75 years, smokes or smoked, no lung cancer before, first (baseline) screening CT, 1 to 30 mm. For
    nodules found by chance, or on later rounds, it was not made.

    Source: McWilliams et al. 2013, doi 10.1056/NEJMoa1214726, full model with spiculation (2b). Coefficients compared
    with Uthoff et al. 2019, doi 10.1007/s00330-019-06168-x, table 2 (not centred), and with an open calculator.
    """
    name = "The Brock model"
    refused = _unknown(nodule, name) or _outside(name, {
        "people of 50 to 75 years": 50 <= _known(nodule.age_years) <= 75,
        "people who smoke or smoked": bool(nodule.ever_smoked),
        "people who never had lung cancer": not nodule.lung_cancer_before,
        "a first screening CT": bool(nodule.first_screening_ct),
        "nodules of 1 to 30 mm": 1 <= _known(nodule.diameter_mm) <= 30,
    })  # fmt: skip
    if refused:
        return refused
    kind = {"solid": 0.0, "part_solid": 0.3770, "nonsolid": -0.1276}[str(nodule.nodule_type)]
    odds = (
        -6.7892 + 0.0287 * (_known(nodule.age_years) - 62) + 0.6011 * (nodule.sex == "female")
        + 0.2961 * bool(nodule.family_lung_cancer) + 0.2953 * bool(nodule.emphysema)
        - 5.3854 * ((_known(nodule.diameter_mm) / 10) ** -0.5 - 1.58113883) + kind + 0.6581 * bool(nodule.upper_lobe)
        - 0.0824 * (_known(nodule.nodule_count) - 4) + 0.7729 * bool(nodule.spiculated)
    )  # fmt: skip
    return Risk(_logistic(odds), "cancer in the nodule", "McWilliams et al. 2013, doi 10.1056/NEJMoa1214726")


_ORIGIN = {
    "white": 0.0, "black": 0.3944778, "hispanic": -0.7434744, "asian": -0.466585,
    "american_indian_or_alaska_native": 0.0, "native_hawaiian_or_pacific_islander": 1.027152,
}  # fmt: skip
ORIGINS = tuple(_ORIGIN)


@dataclass(frozen=True)
class ScreeningCandidate:
    """What plco_m2012() needs; None is "not known".

    Parameters
    ----------
    age_years : 0 to 120; bmi : kg/m2
    origin : as the model's questionnaire has it: white, black, hispanic, asian, american_indian_or_alaska_native,
        native_hawaiian_or_pacific_islander
    education : one of EDUCATION
    copd : also emphysema or chronic bronchitis; cancer_before : of any kind; family_lung_cancer : of a relative
    smokes_now; cigarettes_per_day : on average while smoking; years_smoked; years_since_quitting : 0 of who smokes now
    """

    age_years: Optional[float] = None
    origin: Optional[str] = None
    education: Optional[str] = None
    bmi: Optional[float] = None
    copd: Optional[bool] = None
    cancer_before: Optional[bool] = None
    family_lung_cancer: Optional[bool] = None
    ever_smoked: Optional[bool] = None
    smokes_now: Optional[bool] = None
    cigarettes_per_day: Optional[float] = None
    years_smoked: Optional[float] = None
    years_since_quitting: Optional[float] = None

    def __post_init__(self) -> None:
        ranges = {"age_years": (0, 120), "bmi": (10, 80), "cigarettes_per_day": (0, 200), "years_smoked": (0, 100),
                  "years_since_quitting": (0, 100)}  # fmt: skip
        for name, (low, high) in ranges.items():
            _number(getattr(self, name), name, low, high)
        _one_of(self.origin, "origin", ORIGINS)
        _one_of(self.education, "education", EDUCATION)
        if self.smokes_now and (self.ever_smoked is False or self.years_since_quitting):
            raise InvalidInput("Who smokes now has smoked, and has not quit.", "Correct the smoking history.")
        if (self.years_smoked or 0) + (self.years_since_quitting or 0) > (self.age_years or 120):
            raise InvalidInput("Years of smoking and since quitting are more than the age.", "Correct one of them.")


def plco_m2012(person: ScreeningCandidate) -> Union[Risk, Abstention]:
    """Probability of a diagnosis of lung cancer within six years, for the choice of whom to screen.

    Limits: 55 to 74 years, smokes or smoked; of who never smoked it says nothing. Made on US volunteers of 1993 to
    2001.

    Source: Tammemägi et al. 2013, doi 10.1056/NEJMoa1211776, table 2. Coefficients compared in five open
    implementations of different groups; one of them has -0.734744 for hispanic, which does not give the table's odds
    ratio of 0.475 and is a misprint.
    """
    name = "PLCOm2012"
    if person.smokes_now:
        person = replace(person, ever_smoked=True, years_since_quitting=0.0)
    refused = _outside(name, {"people who smoke or smoked": person.ever_smoked is not False})
    refused = refused or _unknown(person, name)
    refused = refused or _outside(name, {
        "people of 55 to 74 years": 55 <= _known(person.age_years) <= 74,
        "people with a smoking history": _known(person.cigarettes_per_day) > 0 and _known(person.years_smoked) > 0,
    })  # fmt: skip
    if refused:
        return refused
    odds = (
        -4.532506 + 0.0778868 * (_known(person.age_years) - 62) + _ORIGIN[str(person.origin)]
        - 0.0812744 * (EDUCATION.index(str(person.education)) + 1 - 4) - 0.0274194 * (_known(person.bmi) - 27)
        + 0.3553063 * bool(person.copd) + 0.4589971 * bool(person.cancer_before)
        + 0.587185 * bool(person.family_lung_cancer) + 0.2597431 * bool(person.smokes_now)
        - 1.822606 * (10 / _known(person.cigarettes_per_day) - 0.4021541613)
        + 0.0317321 * (_known(person.years_smoked) - 27) - 0.0308572 * (_known(person.years_since_quitting) - 10)
    )  # fmt: skip
    return Risk(_logistic(odds), "lung cancer within six years", "Tammemägi et al. 2013, doi 10.1056/NEJMoa1211776")
