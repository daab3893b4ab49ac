"""Cases of which CT, slide and clinical fields are of the same patient: what evaluates the fusion without composing.

PairedCase       one patient, with the images to look at
paired_cases()   those of a cohort, in one split or all

TCGA-LUAD/LUSC (slides and clinical fields; CT of some) and Lung-Fused-CT-Pathology have them; any cohort is taken.
A composed case (composed_cohort.py) is never one of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..contract.errors import InvalidInput
from ..contract.values import ClinicalFields
from .case import CohortCase, CohortImage, Report
from .registry import COHORTS
from .split import with_splits

PARTS = ("ct", "slide", "clinical")


@dataclass(frozen=True)
class PairedCase:
    """One patient whose parts are all its own.

    Parameters
    ----------
    case : as the cohort gives it
    ct : the CT with the most slices, or None
    slide : its first slide by name, or None
    clinical : its fields, or None
    """

    case: CohortCase
    ct: Optional[CohortImage]
    slide: Optional[CohortImage]
    clinical: Optional[ClinicalFields]

    @property
    def patient_id(self) -> str:
        """The public pseudonym; evidence is resampled by it."""
        return self.case.patient_id

    @property
    def label(self) -> Optional[str]:
        """The class by histology."""
        return self.case.label

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of PARTS it has."""
        return tuple(name for name in PARTS if getattr(self, name) is not None)


def paired(cases: Iterable[CohortCase], need: Sequence[str] = ("ct", "slide")) -> Iterator[PairedCase]:
    """The cases that have every part of ``need`` and a class, lazily and in order.

    Raises
    ------
    InvalidInput : ``need`` names a part that there is not.
    """
    if not set(need) <= set(PARTS):
        raise InvalidInput("There is no such part of a case.", f"Name some of {', '.join(PARTS)}.")
    for case in cases:
        scans, slides = case.of("CT"), sorted(case.of("slide"), key=lambda image: image.slide_id)
        ct = max(scans, key=lambda image: (image.count, image.series_uid), default=None)
        found = PairedCase(case, ct, slides[0] if slides else None, case.clinical)
        if case.label is not None and set(need) <= set(found.parts):
            yield found


def paired_cases(
    cohort: str, root: Path, split: Optional[str] = None, need: Sequence[str] = ("ct", "slide"),
    report: Report = lambda left_out: None, seed: int = 0,
) -> Iterator[PairedCase]:  # fmt: skip
    """Paired cases of the cohort ``cohort`` (a name of registry.COHORTS) at ``root``; of one split, or of all.

    Raises
    ------
    InvalidInput : there is no such cohort, or the root is not of its layout.
    """
    if cohort not in COHORTS:
        raise InvalidInput("There is no cohort of that name.", f"One of {', '.join(COHORTS)}.")
    cases = with_splits(COHORTS[cohort].read(root, report), seed=seed)
    return paired((case for case in cases if split is None or case.split == split), need)
