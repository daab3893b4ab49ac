"""Truly paired cases: `lungxai evaluate --paired COHORT ROOT`, the fusion where CT, slide and fields are one patient's.

evaluate_cohort()   the ablation table of one cohort and split; same form as the task "fusion"
Tolerant            a reader of images that leaves a part out, with the reason, where it cannot be read or answered

Patients are read one at a time. A part that cannot be read is missing, as for a patient who never had it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from .contract.errors import InvalidInput, LungXAIError
from .evidence_cases import Numbers

NEED = ("ct", "slide")


class Tolerant:
    """``of`` of a path; None where it raises one of our errors, which is then in ``exclusions`` under a pseudonym."""

    def __init__(self, what: str, of: Callable[[Path], Any]) -> None:
        self._numbers, self._of = Numbers(what), of
        self.exclusions: list[tuple[str, str]] = []

    def __call__(self, path: Path) -> Any:
        name = self._numbers.of(str(path))
        try:
            return self._of(path)
        except LungXAIError as fault:
            self.exclusions.append((name, f"{type(fault).__name__}: the part cannot be used"))  # a message may name it
            return None


def evaluate_cohort(
    cohort: str, root: Path, split: str, models_root: Path,
    radiology_of: Optional[Callable[[Path], Any]] = None, pathology_of: Optional[Callable[[Path], Any]] = None,
) -> dict[str, Any]:  # fmt: skip
    """The fusion and everything beside it on the cohort's paired cases.

    Parameters
    ----------
    cohort : a name of cohorts.registry.COHORTS; root : folder of its download
    split : of the cohort's own split by patient
    radiology_of, pathology_of : folder of a series, file of a slide -> its result; None: the models under
        ``models_root``

    Returns
    -------
    "n", "cohorts" (one, with its ablation table), "cases" for the evidence page, "text".

    Raises
    ------
    InvalidInput : no such cohort, a root of another layout, or no paired case of a known class in the split.
    """
    from .cohorts.paired import paired_cases
    from .evaluate_fusion import evaluate_paired
    from .fusion_cases import _CTOf, _SlideOf

    left_out: list[Any] = []
    ct = Tolerant("series", radiology_of or _CTOf(models_root))
    slide = Tolerant("slide", pathology_of or _SlideOf(models_root))
    try:
        found = evaluate_paired(
            paired_cases(cohort, root, split, NEED, left_out.append), models_root, radiology_of=ct, pathology_of=slide
        )
    except ValueError as fault:
        if isinstance(fault, LungXAIError):
            raise
        raise InvalidInput(
            f"{cohort} has no paired case of a known class in the split {split}.",
            "Look at `lungxai cohorts NAME ROOT`, or choose another split.",
        ) from fault
    patients = Numbers("patient")
    excluded = [(patients.of(one.patient_id or f"\0{place}"), one.reason) for place, one in enumerate(left_out)]
    table = {key: found[key] for key in ("accounting", "rows", "tests", "main", "most", "conformal")}
    cases = {
        **found["cases"], "unit": "patient", "grouped_by": "patient", "synthetic": "",
        "exclusions": [*excluded, *ct.exclusions, *slide.exclusions],
    }  # fmt: skip
    return {
        "n": found["n"], "title": f"Fusion on paired cases: {cohort}", "note": found["label"].strip("; "),
        "cohorts": {f"paired cases of {cohort}": {**table, "label": ""}}, "cases": cases, "text": found["text"],
    }  # fmt: skip
