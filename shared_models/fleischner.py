"""Fleischner Society 2017: what to do about a lung nodule found by chance, as a table of rules.

TABLE                the rows, as in the two parts of the guideline's table (A solid, B subsolid)
IncidentalNodule     what fleischner() needs; None is "not known"
fleischner()         the row that fits, or why there is none

Size is the mean of long and short axis, rounded to whole millimetres: 5.5 mm counts as 6, 8.4 mm as 8. Research use
only.

Source: MacMahon et al. 2017, Radiology 284:228, doi 10.1148/radiol.2017161659. Each row was compared with reproductions
of its table by two other authors, Radiopaedia ("Fleischner Society pulmonary nodule recommendations", 2022) among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Union

from .clinical_risk import NODULE_TYPES
from .nodule_guideline import Advice, Limits, NotApplicable, check_number, check_one_of, half_up, missing, within

GUIDELINE = "Fleischner Society 2017"
COUNTS = ("single", "multiple")
RISKS = ("low", "high")
INPUT_NAMES = {
    "mean_mm": "mean of the nodule's long and short axis in mm",
    "volume_mm3": "the nodule's volume in mm³, if measured; must agree with the diameter",
    "nodule_type": "whether the nodule is solid, part-solid or non-solid (ground glass)",
    "count": "whether it is a single nodule or one of multiple (then give the most suspicious one)",
    "risk": "the patient's risk of lung cancer, judged by the clinician; matters for solid nodules",
    "age_years": "age in years",
    "screening": "whether the CT was made for lung cancer screening",
    "known_cancer": "whether the patient has or had a primary cancer",
    "immunosuppressed": "whether the patient is immunosuppressed",
    "seen_before": "whether an earlier CT already shows the nodule",
    "benign_pattern": "whether it has a benign pattern of calcification, or fat",
    "typical_perifissural": "whether it is a typical perifissural or juxtapleural lymph node by its shape",
}
_UNDER_6, _6_TO_8, _OVER_8, _FROM_6 = (0, 6), (6, 9), (9, math.inf), (6, math.inf)
# Of part B the source writes "< 100" and "> 100 mm³"; exactly 100 is taken to the longer follow-up, as in part A.
_VOLUMES: dict[Limits, Limits] = {
    _UNDER_6: (0, 100), _6_TO_8: (100, 251), _OVER_8: (251, math.inf), _FROM_6: (100, math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """``risk`` None: both. ``mm``: low <= whole millimetres < high."""

    id: str
    condition: str
    next_step: str
    source: str
    nodule_types: tuple[str, ...]
    count: str
    risk: Optional[str]
    mm: Limits


_NONE, _OPTIONAL = "No routine follow-up.", "CT at 12 months is optional."
_A, _B = "MacMahon 2017, table, part A (solid), ", "MacMahon 2017, table, part B (subsolid), "
_SOLID, _SUBSOLID = ("solid",), ("nonsolid", "part_solid")
TABLE = (
    Row("solid-single-low-under-6", "Single solid nodule < 6 mm (< 100 mm³), low risk", _NONE,
        _A + "single, low risk, < 6 mm", _SOLID, "single", "low", _UNDER_6),
    Row("solid-single-high-under-6", "Single solid nodule < 6 mm (< 100 mm³), high risk", _OPTIONAL,
        _A + "single, high risk, < 6 mm", _SOLID, "single", "high", _UNDER_6),
    Row("solid-single-low-6-to-8", "Single solid nodule 6 to 8 mm (100 to 250 mm³), low risk",
        "CT at 6 to 12 months, then consider CT at 18 to 24 months.",
        _A + "single, low risk, 6-8 mm", _SOLID, "single", "low", _6_TO_8),
    Row("solid-single-high-6-to-8", "Single solid nodule 6 to 8 mm (100 to 250 mm³), high risk",
        "CT at 6 to 12 months, then CT at 18 to 24 months.",
        _A + "single, high risk, 6-8 mm", _SOLID, "single", "high", _6_TO_8),
    Row("solid-single-over-8", "Single solid nodule > 8 mm (> 250 mm³), low or high risk",
        "Consider CT at 3 months, PET/CT or tissue sampling.",
        _A + "single, both risks, > 8 mm", _SOLID, "single", None, _OVER_8),
    Row("solid-multiple-low-under-6", "Multiple solid nodules < 6 mm (< 100 mm³), low risk", _NONE,
        _A + "multiple, low risk, < 6 mm", _SOLID, "multiple", "low", _UNDER_6),
    Row("solid-multiple-high-under-6", "Multiple solid nodules < 6 mm (< 100 mm³), high risk", _OPTIONAL,
        _A + "multiple, high risk, < 6 mm", _SOLID, "multiple", "high", _UNDER_6),
    Row("solid-multiple-low-6-to-8", "Multiple solid nodules, the most suspicious 6 to 8 mm (100 to 250 mm³), low risk",
        "CT at 3 to 6 months, then consider CT at 18 to 24 months.",
        _A + "multiple, low risk, 6-8 mm", _SOLID, "multiple", "low", _6_TO_8),
    Row("solid-multiple-high-6-to-8",
        "Multiple solid nodules, the most suspicious 6 to 8 mm (100 to 250 mm³), high risk",
        "CT at 3 to 6 months, then CT at 18 to 24 months.",
        _A + "multiple, high risk, 6-8 mm", _SOLID, "multiple", "high", _6_TO_8),
    Row("solid-multiple-low-over-8", "Multiple solid nodules, the most suspicious > 8 mm (> 250 mm³), low risk",
        "CT at 3 to 6 months, then consider CT at 18 to 24 months.",
        _A + "multiple, low risk, > 8 mm", _SOLID, "multiple", "low", _OVER_8),
    Row("solid-multiple-high-over-8", "Multiple solid nodules, the most suspicious > 8 mm (> 250 mm³), high risk",
        "CT at 3 to 6 months, then CT at 18 to 24 months.",
        _A + "multiple, high risk, > 8 mm", _SOLID, "multiple", "high", _OVER_8),
    Row("nonsolid-single-under-6", "Single ground-glass nodule < 6 mm (< 100 mm³)", _NONE,
        _B + "single, ground glass, < 6 mm", ("nonsolid",), "single", None, _UNDER_6),
    Row("nonsolid-single-from-6", "Single ground-glass nodule ≥ 6 mm (> 100 mm³)",
        "CT at 6 to 12 months to confirm persistence, then CT every 2 years until 5 years.",
        _B + "single, ground glass, ≥ 6 mm", ("nonsolid",), "single", None, _FROM_6),
    Row("part-solid-single-under-6", "Single part-solid nodule < 6 mm (< 100 mm³)", _NONE,
        _B + "single, part-solid, < 6 mm", ("part_solid",), "single", None, _UNDER_6),
    Row("part-solid-single-from-6", "Single part-solid nodule ≥ 6 mm (> 100 mm³)",
        "CT at 3 to 6 months to confirm persistence. If unchanged and the solid component stays < 6 mm, CT every year "
        "for 5 years. If it persists with a solid component ≥ 6 mm it is highly suspicious.",
        _B + "single, part-solid, ≥ 6 mm", ("part_solid",), "single", None, _FROM_6),
    Row("subsolid-multiple-under-6", "Multiple subsolid nodules < 6 mm (< 100 mm³)",
        "CT at 3 to 6 months. If stable, consider CT at 2 and 4 years.",
        _B + "multiple, < 6 mm", _SUBSOLID, "multiple", None, _UNDER_6),
    Row("subsolid-multiple-from-6", "Multiple subsolid nodules, the most suspicious ≥ 6 mm (> 100 mm³)",
        "CT at 3 to 6 months. Then as the most suspicious nodule demands.",
        _B + "multiple, ≥ 6 mm", _SUBSOLID, "multiple", None, _FROM_6),
)  # fmt: skip


@dataclass(frozen=True)
class IncidentalNodule:
    """What fleischner() needs; None is "not known". INPUT_NAMES says each in words.

    Parameters
    ----------
    mean_mm : mean of long and short axis, over 0 to 300
    volume_mm3 : over 0
    nodule_type : one of clinical_risk.NODULE_TYPES
    count : one of COUNTS
    risk : one of RISKS; given by a clinician, never derived here
    """

    mean_mm: Optional[float] = None
    volume_mm3: Optional[float] = None
    nodule_type: Optional[str] = None
    count: Optional[str] = None
    risk: Optional[str] = None
    age_years: Optional[float] = None
    screening: Optional[bool] = None
    known_cancer: Optional[bool] = None
    immunosuppressed: Optional[bool] = None
    seen_before: Optional[bool] = None
    benign_pattern: Optional[bool] = None
    typical_perifissural: Optional[bool] = None

    def __post_init__(self) -> None:
        check_number(self.mean_mm, INPUT_NAMES["mean_mm"], 0.1, 300)
        check_number(self.volume_mm3, "the nodule's volume in mm³", 0.1, 2e7)
        check_number(self.age_years, INPUT_NAMES["age_years"], 0, 120)
        check_one_of(self.nodule_type, "the type of the nodule", NODULE_TYPES)
        check_one_of(self.count, "the count", COUNTS)
        check_one_of(self.risk, "the risk", RISKS)


def _outside(nodule: IncidentalNodule) -> Optional[NotApplicable]:
    """Whom the guideline is not for, and what its table does not hold."""
    unknown = missing(nodule, ("mean_mm", "age_years", "screening", "known_cancer", "immunosuppressed"), INPUT_NAMES)
    limits = {
        "It is not for lung cancer screening": (nodule.screening, "Use Lung-RADS."),
        "It is not for patients under 35 years":
            (nodule.age_years is not None and nodule.age_years < 35, "Decide case by case."),
        "It is not for patients with a known primary cancer": (nodule.known_cancer, "Follow that cancer's guideline."),
        "It is not for immunosuppressed patients": (nodule.immunosuppressed, "Think of infection; decide by case."),
        "Its table is for a nodule's first finding; an earlier CT shows this one":
            (nodule.seen_before, "Compare both: growth or stability decides."),
        "Its table is for indeterminate nodules; this one has a benign pattern of calcification, or fat":
            (nodule.benign_pattern, "Judge it by that pattern."),
        "Its table is not for typical perifissural or juxtapleural lymph nodes":
            (nodule.typical_perifissural, "The guideline's text asks no follow-up CT of them, even over 6 mm, unless "
                                          "the border is spiculated, the fissure displaced, or there was a cancer."),
        "It is for nodules; over 30 mm this is a mass": (half_up(nodule.mean_mm or 0, 0) > 30, "Work it up as a mass."),
    }  # fmt: skip
    for reason, (broken, remedy) in limits.items():
        if broken:
            return NotApplicable(f"{GUIDELINE} does not apply. {reason}.", remedy)
    if unknown:
        return NotApplicable(f"{GUIDELINE} needs inputs that are not known.", f"Say {'; '.join(unknown)}.")
    return None


def _rows(nodule: IncidentalNodule, mm: Optional[float], mm3: Optional[float]) -> list[Row]:
    """All rows that what is known leaves possible; sizes rounded, None is any."""
    return [row for row in TABLE
            if nodule.nodule_type in (None, *row.nodule_types) and nodule.count in (None, row.count)
            and (row.risk is None or nodule.risk in (None, row.risk))
            and (mm is None or within(mm, row.mm)) and (mm3 is None or within(mm3, _VOLUMES[row.mm]))]  # fmt: skip


def _steps(rows: list[Row]) -> tuple[str, ...]:
    """Their next steps, each once, in the order of the table."""
    return tuple(dict.fromkeys(row.next_step for row in TABLE if row in rows))


def fleischner(nodule: IncidentalNodule) -> Union[Advice, NotApplicable]:
    """What to do next about an indeterminate nodule found by chance.

    Limits: adults from 35 years, no lung cancer screening, no known primary cancer, no immunosuppression, first finding
    of a nodule up to 30 mm. Where type, count or risk is not known and matters, all next steps that remain are named
    and none is chosen. Diameter and volume, where both are given, must lead to the same row.

    Source: MacMahon et al. 2017, Radiology 284:228, doi 10.1148/radiol.2017161659.
    """
    outside = _outside(nodule)
    if outside or nodule.mean_mm is None:
        return outside or NotApplicable("The nodule's size is not known.", "Measure it.")
    by_mm = _rows(nodule, half_up(nodule.mean_mm, 0), None)
    if nodule.volume_mm3 is not None:
        by_volume = _rows(nodule, None, half_up(nodule.volume_mm3, 0))
        if by_volume != by_mm:
            reason = "Diameter and volume lead to different rows of the table."
            return NotApplicable(reason, "Measure again, or give only one of them.", _steps(by_mm + by_volume))
    if len(by_mm) > 1:
        told_apart_by = {"nodule_type": {row.nodule_types for row in by_mm}, "count": {row.count for row in by_mm},
                         "risk": {row.risk for row in by_mm}}  # fmt: skip
        unknown = missing(nodule, [name for name, values in told_apart_by.items() if len(values) > 1], INPUT_NAMES)
        reason = "More than one row of the table remains possible."
        return NotApplicable(reason, f"Say {'; '.join(unknown)}.", _steps(by_mm))
    row = by_mm[0]
    absent = {"seen_before": "an earlier CT that shows the nodule", "benign_pattern": "benign calcification or fat",
              "typical_perifissural": "the shape of a perifissural lymph node"}  # fmt: skip
    assumed = tuple(missing(nodule, tuple(absent), absent))
    return Advice(GUIDELINE, "", row.id, row.condition, row.next_step, row.source, assumed)
