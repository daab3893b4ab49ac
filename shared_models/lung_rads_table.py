"""The rows of ACR Lung-RADS v2022 that lung_rads.py applies.

CATEGORIES    in rising suspicion
NEXT_STEP     per category, what the table says to do next
Row           one row; its limits are of sizes already rounded
TABLE         size rows: type, how the nodule was found, limits in mm and mm³
FLAGGED       rows that a reader's judgement calls, not a size

Source: ACR Lung-RADS v2022 (November 2022), explained in Christensen et al. 2024, J Am Coll Radiol 21:473,
doi 10.1016/j.jacr.2023.09.009. The ACR's PDF itself was not at hand: each row was compared with its rendering in the
ACR/RSNA common data element RDES267 ("Lung-RADS categorization") and with at least one independent implementation,
volumes up to category 4A also with version 1.1 as reprinted by AHRQ (NCBI NBK568579), where the row is unchanged. Left
out: category 0 and "no nodules" (of the exam, not of a nodule), airway nodules, atypical cysts, growth by volume, and a
category 2 nodule over its first size that stays stable (no row says it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

from .nodule_guideline import Limits

CATEGORIES = ("1", "2", "3", "4A", "4B", "4X")
_YEARLY = "Screening with low-dose CT in 12 months."
_PET = "PET/CT may be considered for a solid nodule or solid component of ≥ 8 mm (≥ 268 mm³)"
_WORK_UP = (
    f"Diagnostic chest CT with or without contrast; {_PET}; tissue sampling; and/or referral for clinical evaluation."
)
NEXT_STEP = {
    "1": _YEARLY, "2": _YEARLY, "3": "Low-dose CT in 6 months.", "4A": f"Low-dose CT in 3 months. {_PET}.",
    "4B": _WORK_UP, "4X": _WORK_UP,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row; sizes are low <= size < high.

    Parameters
    ----------
    found : of "baseline", "new", "growing"; those that the row names
    mm, mm3 : of the whole nodule
    solid_mm : of the solid component; None is any
    """

    id: str
    category: str
    condition: str
    nodule_type: str = ""
    found: tuple[str, ...] = ()
    mm: Limits = (0, math.inf)
    mm3: Limits = (0, math.inf)
    solid_mm: Optional[Limits] = None

    @property
    def source(self) -> str:
        return f"ACR Lung-RADS v2022, assessment table, category {self.category}"


_END = math.inf
_BASE, _NEW, _GROWING = ("baseline",), ("new",), ("growing",)
_U4, _U6, _U8, _4_6, _6_8, _8_15 = (0, 4), (0, 6), (0, 8), (4, 6), (6, 8), (8, 15)
_V4, _V6, _V8, _V4_6, _V6_8, _V8_15 = (0, 34), (0, 113), (0, 268), (34, 113), (113, 268), (268, 1767)
TABLE = (
    Row("2-solid-baseline", "2", "Solid nodule < 6 mm (< 113 mm³) at baseline", "solid", _BASE, _U6, _V6),
    Row("2-solid-new", "2", "New solid nodule < 4 mm (< 34 mm³)", "solid", _NEW, _U4, _V4),
    Row("2-part-solid-baseline", "2", "Part-solid nodule < 6 mm total mean diameter (< 113 mm³) at baseline",
        "part_solid", _BASE, _U6, _V6),
    Row("2-nonsolid", "2", "Non-solid nodule < 30 mm (< 14,137 mm³) at baseline, new or growing",
        "nonsolid", _BASE + _NEW + _GROWING, (0, 30), (0, 14137)),
    Row("3-solid-baseline", "3", "Solid nodule ≥ 6 to < 8 mm (≥ 113 to < 268 mm³) at baseline",
        "solid", _BASE, _6_8, _V6_8),
    Row("3-solid-new", "3", "New solid nodule 4 to < 6 mm (34 to < 113 mm³)", "solid", _NEW, _4_6, _V4_6),
    Row("3-part-solid-baseline", "3", "Part-solid nodule ≥ 6 mm total mean diameter (≥ 113 mm³) with a solid component "
        "< 6 mm (< 113 mm³) at baseline", "part_solid", _BASE, (6, _END), (113, _END), _U6),
    Row("3-part-solid-new", "3", "New part-solid nodule < 6 mm total mean diameter (< 113 mm³)",
        "part_solid", _NEW, _U6, _V6),
    Row("3-nonsolid", "3", "Non-solid nodule ≥ 30 mm (≥ 14,137 mm³) at baseline or new",
        "nonsolid", _BASE + _NEW, (30, _END), (14137, _END)),
    Row("4A-solid-baseline", "4A", "Solid nodule ≥ 8 to < 15 mm (≥ 268 to < 1,767 mm³) at baseline",
        "solid", _BASE, _8_15, _V8_15),
    Row("4A-solid-new", "4A", "New solid nodule 6 to < 8 mm (113 to < 268 mm³)", "solid", _NEW, _6_8, _V6_8),
    Row("4A-solid-growing", "4A", "Growing solid nodule < 8 mm (< 268 mm³)", "solid", _GROWING, _U8, _V8),
    Row("4A-part-solid-baseline", "4A", "Part-solid nodule ≥ 6 mm total mean diameter (≥ 113 mm³) with a solid "
        "component ≥ 6 to < 8 mm (≥ 113 to < 268 mm³) at baseline",
        "part_solid", _BASE, (6, _END), (113, _END), _6_8),
    Row("4A-part-solid-new-or-growing", "4A", "Part-solid nodule ≥ 6 mm total mean diameter (≥ 113 mm³) with a new or "
        "growing solid component < 4 mm (< 34 mm³)", "part_solid", _NEW + _GROWING, (6, _END), (113, _END), _U4),
    Row("4B-solid-baseline", "4B", "Solid nodule ≥ 15 mm (≥ 1,767 mm³) at baseline",
        "solid", _BASE, (15, _END), (1767, _END)),
    Row("4B-solid-new-or-growing", "4B", "New or growing solid nodule ≥ 8 mm (≥ 268 mm³)",
        "solid", _NEW + _GROWING, (8, _END), (268, _END)),
    Row("4B-part-solid-baseline", "4B", "Part-solid nodule with a solid component ≥ 8 mm (≥ 268 mm³) at baseline",
        "part_solid", _BASE, solid_mm=(8, _END)),
    Row("4B-part-solid-new-or-growing", "4B", "Part-solid nodule with a new or growing solid component ≥ 4 mm "
        "(≥ 34 mm³)", "part_solid", _NEW + _GROWING, solid_mm=(4, _END)),
)  # fmt: skip
FLAGGED = {row.id: row for row in (
    Row("1-benign", "1", "Nodule with complete, central, popcorn or concentric ring calcification, or with fat"),
    Row("2-juxtapleural", "2", "Juxtapleural nodule < 10 mm (< 524 mm³) at baseline or new: solid, smooth margins, and "
        "oval, lentiform or triangular shape", "solid", _BASE + _NEW, (0, 10), (0, 524)),
    Row("2-nonsolid-stable", "2", "Non-solid nodule ≥ 30 mm (≥ 14,137 mm³), stable or slowly growing",
        "nonsolid", mm=(30, _END), mm3=(14137, _END)),
    Row("2-after-3", "2", "Category 3 lesion that is stable or decreased in size at the 6-month follow-up CT"),
    Row("2-after-4B", "2", "Category 4B lesion proven benign by appropriate diagnostic work-up"),
    Row("3-after-4A", "3", "Category 4A lesion that is stable or decreased in size at the 3-month follow-up CT"),
    Row("4B-slow-growing", "4B", "Slow-growing solid or part-solid nodule: growth over multiple screening exams"),
    Row("4X", "4X", "Category 3 or 4 nodule with additional features that increase the suspicion of lung cancer"),
)}  # fmt: skip
