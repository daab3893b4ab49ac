"""ACR Lung-RADS v2022: the category of a nodule seen in lung cancer screening, by the rows of lung_rads_table.py.

ScreeningNodule      what lung_rads() needs; None is "not known"
lung_rads()          the category, the row that fired and what to do next, or why there is none

Size is the mean of long and short axis, to one decimal: 5.94 mm counts as 5.9, 5.95 mm as 6.0; volume to whole mm³.
Growth is an increase of the mean diameter of more than 1.5 mm within 12 months. An exam takes the category of its most
suspicious nodule; this is the category of one nodule. Research use only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Optional, Union

from .clinical_risk import NODULE_TYPES
from .lung_rads_table import CATEGORIES, FLAGGED, NEXT_STEP, TABLE, Row
from .nodule_guideline import Advice, NotApplicable, check_number, check_one_of, half_up, missing, within

GUIDELINE = "ACR Lung-RADS v2022"
FOUND = ("baseline", "new", "known")
GROWTH_MM = 1.5
PREVIOUS = ("2", "3", "4A", "4B")
Outcome = Union[Advice, NotApplicable]
INPUT_NAMES = {
    "mean_mm": "mean of the nodule's long and short axis in mm",
    "volume_mm3": "the nodule's volume in mm³, if measured; must agree with the diameter",
    "nodule_type": "whether the nodule is solid, part-solid or non-solid (ground glass)",
    "solid_mm": "mean diameter of a part-solid nodule's solid component in mm",
    "found": "baseline: first screening CT; new: on a later one; known: an earlier CT shows it",
    "previous_mean_mm": "a known nodule's mean diameter on the earlier CT in mm",
    "previous_solid_mm": "a known part-solid nodule's solid component then in mm; 0 if there was none",
    "months_since": "months since that CT", "previous_category": "the known nodule's category on that CT",
    "age_years": "age in years", "pack_years": "pack-years smoked",
    "years_since_quitting": "years since quitting; 0 for who smokes now",
    "screening": "whether the CT was made for lung cancer screening",
    "symptoms": "whether there are symptoms of lung cancer", "known_lung_cancer": "whether lung cancer is known",
    "benign_pattern": "complete, central, popcorn or ring calcification, or fat",
    "juxtapleural": "juxtapleural, smooth, and oval, lentiform or triangular",
    "slow_growing": "growth over multiple screening exams, never over 1.5 mm in 12 months",
    "suspicious": "features that increase suspicion, as spiculation or enlarged lymph nodes",
    "proven_benign": "proven benign by diagnostic work-up", "airway": "an airway nodule",
    "cyst": "an atypical cyst", "infection": "findings that suggest infection or inflammation",
}  # fmt: skip


@dataclass(frozen=True)
class ScreeningNodule:
    """What lung_rads() needs; None is "not known". INPUT_NAMES says each in words.

    Parameters
    ----------
    mean_mm, previous_mean_mm : mean of long and short axis, over 0 to 300
    volume_mm3 : over 0; not used for known nodules, whose growth goes by diameter
    nodule_type : one of clinical_risk.NODULE_TYPES
    solid_mm, previous_solid_mm : mean diameter of the solid component, not over the nodule's
    found : one of FOUND
    months_since : over 0; counted in whole months, 5.5 as 6
    previous_category : one of PREVIOUS
    """

    mean_mm: Optional[float] = None
    volume_mm3: Optional[float] = None
    nodule_type: Optional[str] = None
    solid_mm: Optional[float] = None
    found: Optional[str] = None
    previous_mean_mm: Optional[float] = None
    previous_solid_mm: Optional[float] = None
    months_since: Optional[float] = None
    previous_category: Optional[str] = None
    age_years: Optional[float] = None
    pack_years: Optional[float] = None
    years_since_quitting: Optional[float] = None
    screening: Optional[bool] = None
    symptoms: Optional[bool] = None
    known_lung_cancer: Optional[bool] = None
    benign_pattern: Optional[bool] = None
    juxtapleural: Optional[bool] = None
    slow_growing: Optional[bool] = None
    suspicious: Optional[bool] = None
    proven_benign: Optional[bool] = None
    airway: Optional[bool] = None
    cyst: Optional[bool] = None
    infection: Optional[bool] = None

    def __post_init__(self) -> None:
        for name, low, high in (("mean_mm", 0.1, 300), ("volume_mm3", 0.1, 2e7), ("previous_mean_mm", 0.1, 300),
                                ("solid_mm", 0, self.mean_mm or 300), ("months_since", 0.1, 600),
                                ("previous_solid_mm", 0, self.previous_mean_mm or 300), ("age_years", 0, 120),
                                ("pack_years", 0, 400), ("years_since_quitting", 0, 100)):  # fmt: skip
            check_number(getattr(self, name), INPUT_NAMES[name], low, high)
        check_one_of(self.nodule_type, "the type of the nodule", NODULE_TYPES)
        check_one_of(self.found, "how the nodule was found", FOUND)
        check_one_of(self.previous_category, "the previous category", PREVIOUS)


def _outside(nodule: ScreeningNodule) -> Optional[NotApplicable]:
    """Whom the system is not for, and which findings this table does not hold."""
    age, packs, quit_years = nodule.age_years, nodule.pack_years, nodule.years_since_quitting
    judge = "A radiologist must categorise it by the full table."
    criteria = "If screened by other criteria, a radiologist must decide whether Lung-RADS holds."
    for broken, reason, remedy, possible in (
        (nodule.screening is False, "It is for lung cancer screening only", "Found by chance: see Fleischner.", ()),
        (nodule.symptoms, "It is not for patients with symptoms of lung cancer", "Use diagnostic guidelines.", ()),
        (nodule.known_lung_cancer, "It is not for patients with known lung cancer", "Follow that cancer's guideline.",
         ()),
        (age is not None and not 50 <= age <= 80, "Screening is for ages 50 to 80 (USPSTF 2021)", criteria, ()),
        (packs is not None and packs < 20, "Screening is for 20 pack-years or more (USPSTF 2021)", criteria, ()),
        (quit_years is not None and quit_years > 15,
         "Screening is for those who smoke or quit within 15 years (USPSTF 2021)", criteria, ()),
        (nodule.airway, "Airway nodules are not covered here", judge, ()),
        (nodule.cyst, "Atypical cysts are not covered here", judge, ()),
        (nodule.infection, "Findings of infection or inflammation may make the exam category 0", judge, ("0",)),
    ):  # fmt: skip
        if broken:
            return NotApplicable(f"{GUIDELINE} gives no category. {reason}.", remedy, possible)
    unknown = missing(nodule, ("mean_mm", "screening", "symptoms", "known_lung_cancer", "age_years", "pack_years",
                               "years_since_quitting"), INPUT_NAMES)  # fmt: skip
    if unknown:
        return NotApplicable(f"{GUIDELINE} needs inputs that are not known.", f"Say {'; '.join(unknown)}.")
    return None


def _sorted(categories: set[str]) -> tuple[str, ...]:
    return tuple(sorted(categories, key=("0", *CATEGORIES).index))


def _advice(nodule: ScreeningNodule, row: Row) -> Outcome:
    """``row``, raised to 4X where the reader saw suspicious features."""
    if nodule.suspicious and row.category in ("3", "4A", "4B"):
        raised = FLAGGED["4X"]
        row = replace(raised, condition=f"{raised.condition}; without them category {row.category}: {row.condition}")
    elif nodule.suspicious:
        return NotApplicable(
            f"By its size this is category {row.category}, but suspicious features were seen, and 4X is defined for "
            "categories 3 and 4 only.", "A radiologist must decide.", (row.category,))  # fmt: skip
    assumed = ["airway", "cyst", "infection", "suspicious", "benign_pattern", "juxtapleural"]
    assumed += ["slow_growing"] if nodule.found == "known" else []
    return Advice(GUIDELINE, row.category, row.id, row.condition, NEXT_STEP[row.category], row.source,
                  tuple(missing(nodule, assumed, INPUT_NAMES)))  # fmt: skip


def _remaining(nodule: ScreeningNodule, name: str, values: tuple[str, ...]) -> NotApplicable:
    """What remains possible while ``name`` is not known, from every value that it may have; nothing if any is open."""
    possible: set[str] = set()
    complete = True
    for value in values:
        outcome = _category(replace(nodule, **{name: value}))  # type: ignore[arg-type]
        remain = {outcome.category} if isinstance(outcome, Advice) else set(outcome.possible)
        possible, complete = possible | remain, complete and bool(remain)
    return NotApplicable(f"The category depends on an input that is not known: {INPUT_NAMES[name]}.",
                         f"Say {INPUT_NAMES[name]}.", _sorted(possible) if complete else ())  # fmt: skip


def _rows(nodule: ScreeningNodule, found: str, mean_mm: float, solid_mm: Optional[float],
          volume_mm3: Optional[float] = None) -> list[Row]:  # fmt: skip
    """The size rows that fit; by volume instead of diameter where one is given. An unknown solid part may be any."""
    mm = half_up(mean_mm, 1)
    fitting = []
    for row in TABLE:
        whole = within(mm, row.mm) if volume_mm3 is None else within(half_up(volume_mm3, 0), row.mm3)
        part = row.solid_mm is None or (
            row.solid_mm[0] <= mm if solid_mm is None else within(half_up(solid_mm, 1), row.solid_mm)
        )
        if row.nodule_type == nodule.nodule_type and found in row.found and whole and part:
            fitting.append(row)
    return fitting


def _by_size(nodule: ScreeningNodule, found: str) -> Outcome:
    """By the size rows, as found at baseline, new, or growing."""
    assert nodule.mean_mm is not None
    rows = _rows(nodule, found, nodule.mean_mm, nodule.solid_mm)
    flagged = FLAGGED["2-juxtapleural"]
    volume = nodule.volume_mm3 if found in ("baseline", "new") else None
    if nodule.juxtapleural and nodule.nodule_type == "solid" and found in flagged.found:
        by_mm = within(half_up(nodule.mean_mm, 1), flagged.mm)
        by_mm3 = by_mm if volume is None else within(half_up(volume, 0), flagged.mm3)
        if by_mm and by_mm3:
            return _advice(nodule, flagged)
        rows = [flagged, *rows] if by_mm != by_mm3 else rows
    by_volume = rows if volume is None else _rows(nodule, found, nodule.mean_mm, nodule.solid_mm, volume)
    possible = _sorted({row.category for row in rows + by_volume})
    if {row.category for row in by_volume} != {row.category for row in rows}:
        return NotApplicable("Diameter and volume lead to different categories.",
                             "Measure again, or give only the one that you trust.", possible)  # fmt: skip
    if len(rows) == 1:
        return _advice(nodule, rows[0])
    if not rows:
        return NotApplicable(f"No row of {GUIDELINE} names this combination.", "A radiologist must decide.")
    if nodule.nodule_type == "part_solid" and nodule.solid_mm is None:
        return NotApplicable("The category depends on the size of the solid component, which is not known.",
                             "Measure the solid component.", possible)  # fmt: skip
    return NotApplicable("More than one row of the table fits this nodule.", "A radiologist must decide.", possible)


def _grew(now: float, before: float, months: float) -> Optional[bool]:
    """Over 1.5 mm within 12 months; None where a longer interval leaves it open.

    An increase over n times 12 months that exceeds n times 1.5 mm must exceed 1.5 mm in one of them.
    """
    increase = half_up(half_up(now, 1) - half_up(before, 1), 1)
    if increase > GROWTH_MM * math.ceil(max(half_up(months, 0), 1) / 12):
        return True
    return None if increase > GROWTH_MM else False


def _known(nodule: ScreeningNodule) -> Outcome:
    """A nodule that an earlier CT shows: growing, slowly growing, larger in category, or stable."""
    assert nodule.mean_mm is not None
    if nodule.slow_growing and nodule.nodule_type != "nonsolid":
        return _advice(nodule, FLAGGED["4B-slow-growing"])
    needed = ["previous_mean_mm", "months_since"]
    if nodule.nodule_type == "part_solid":
        needed += ["solid_mm", "previous_solid_mm"]
    unknown = missing(nodule, needed, INPUT_NAMES)
    if unknown:
        return NotApplicable("Growth cannot be judged.", f"Say {'; '.join(unknown)}.")
    before, months = nodule.previous_mean_mm or 0.0, nodule.months_since or 0.0
    grew = _grew(nodule.mean_mm, before, months)
    if nodule.nodule_type == "part_solid":
        solid, solid_before = nodule.solid_mm or 0.0, nodule.previous_solid_mm or 0.0
        whole, grew = grew, True if solid and not solid_before else _grew(solid, solid_before, months)
        if whole is not False and grew is False:
            return NotApplicable("The whole nodule grew, or may have, but not its solid component; the table names "
                                 "growth of the solid component only.", "A radiologist must decide.")  # fmt: skip
    if grew is None:
        return NotApplicable("The nodule grew by over 1.5 mm, but over more than 12 months: whether it did so within "
                             "12 months is not known.", "Compare with a CT of at most 12 months ago.")  # fmt: skip
    if grew:
        return _by_size(nodule, "growing")
    return _not_growing(nodule, before, half_up(months, 0))


def _not_growing(nodule: ScreeningNodule, before: float, months: float) -> Outcome:
    """Stable, decreased, or larger without growth by definition: the stepped follow-up and the size thresholds."""
    assert nodule.mean_mm is not None
    if nodule.nodule_type == "nonsolid" and within(half_up(nodule.mean_mm, 1), FLAGGED["2-nonsolid-stable"].mm):
        return _advice(nodule, FLAGGED["2-nonsolid-stable"])
    was = nodule.previous_category
    now = _rows(nodule, "baseline", nodule.mean_mm, nodule.solid_mm)[0]
    then = _rows(nodule, "baseline", before, nodule.previous_solid_mm)[0]
    rank = CATEGORIES.index
    if rank(now.category) > rank(then.category):
        if was is None:
            return NotApplicable("The nodule crossed a size threshold, but its previous category is not known.",
                                 f"Say {INPUT_NAMES['previous_category']}.")  # fmt: skip
        if rank(now.category) < rank(was):
            return NotApplicable(f"The nodule crossed a size threshold, but was of category {was} before.",
                                 "A radiologist must decide.", (now.category, was))  # fmt: skip
        return _advice(nodule, now)
    if was == "4B" and nodule.proven_benign:
        return _advice(nodule, FLAGGED["2-after-4B"])
    if was == "2" and now.category == "2":
        return _advice(nodule, now)
    if was == "3" and months >= 6:
        return _advice(nodule, FLAGGED["2-after-3"])
    if was == "4A" and months >= 3:
        return _advice(nodule, FLAGGED["3-after-4A"])
    if was is None:
        return _remaining(nodule, "previous_category", PREVIOUS)
    if was == "2":
        return NotApplicable(f"A stable nodule of category 2 whose size at first detection would be category "
                             f"{now.category}: no row names it.", "A radiologist must decide.",
                             ("2", now.category))  # fmt: skip
    why = {"3": "its 6-month follow-up is not reached", "4A": "its 3-month follow-up is not reached",
           "4B": "only proof that it is benign lowers it"}[was]  # fmt: skip
    possible = ("2", was) if was == "4B" and nodule.proven_benign is None else (was,)
    return NotApplicable(f"A stable nodule of category {was}: {why}.", "A radiologist must decide.", possible)


def _category(nodule: ScreeningNodule) -> Outcome:
    if nodule.benign_pattern:
        return _advice(nodule, FLAGGED["1-benign"])
    if nodule.nodule_type is None:
        return _remaining(nodule, "nodule_type", NODULE_TYPES)
    if nodule.solid_mm and nodule.nodule_type != "part_solid":
        return NotApplicable("A nodule with a measured solid component is part-solid.", "Correct one of them.")
    if nodule.solid_mm == 0 and nodule.found in ("baseline", "new"):
        return NotApplicable("A part-solid nodule without a solid component is non-solid.", "Correct one of them.")
    if nodule.slow_growing and nodule.found in ("baseline", "new"):
        return NotApplicable("A nodule grows over screening exams only if an earlier one shows it.", "Correct it.")
    if nodule.found is None:
        return _remaining(nodule, "found", FOUND)
    return _known(nodule) if nodule.found == "known" else _by_size(nodule, nodule.found)


def lung_rads(nodule: ScreeningNodule) -> Outcome:
    """The Lung-RADS v2022 category of one screening nodule, its row, and what to do next.

    Limits: a CT made for lung cancer screening; 50 to 80 years, 20 pack-years, smoking or quit within 15 years (USPSTF
    2021); no symptoms of lung cancer, no known lung cancer. Airway nodules, atypical cysts and findings of infection
    (category 0) are not covered. Where the type or another input is not known, the categories that remain possible are
    named and none is chosen. Diameter and volume, where both are given, must agree.

    Source: ACR Lung-RADS v2022; Christensen et al. 2024, J Am Coll Radiol 21:473, doi 10.1016/j.jacr.2023.09.009.
    """
    return _outside(nodule) or _category(nodule)
