"""What a cohort held, and what was left out: the table that every result on it needs.

Accounting    counts while the cases pass; .report takes exclusions; .text() and .body() tell them

It holds a name per patient, no path and no case, so it grows with the number of patients alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..contract.notice import NOTICE
from ..contract.values import CLASSES
from .case import SPLITS, Cohort, CohortCase, Exclusion

NO_LABEL = "no class of ours"
_NAMED = 5


@dataclass
class Accounting:
    """Counts of one reading of a cohort.

    Attributes
    ----------
    patients : class to split to number of patients; a patient counts once
    images : modality to split to number
    exclusions : (what, reason) to number
    named : (what, reason) to the first few public pseudonyms
    """

    cohort: Cohort
    patients: dict[str, Counter[str]] = field(default_factory=dict)
    images: dict[str, Counter[str]] = field(default_factory=dict)
    annotations: Counter[str] = field(default_factory=Counter)
    clinical: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    slices: int = 0
    paired: int = 0
    exclusions: Counter[tuple[str, str]] = field(default_factory=Counter)
    named: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def report(self, left_out: Exclusion) -> None:
        """Count one exclusion."""
        key = (left_out.what, left_out.reason)
        self.exclusions[key] += 1
        names = self.named.setdefault(key, [])
        if left_out.patient_id and left_out.patient_id not in names and len(names) < _NAMED:
            names.append(left_out.patient_id)

    def counted(self, cases: Iterable[CohortCase]) -> Iterator[CohortCase]:
        """The same cases, counted as they pass."""
        for case in cases:
            split = case.split or "no split"
            self.cases += 1
            if case.patient_id not in self._seen:
                self._seen.add(case.patient_id)
                self.patients.setdefault(case.label or NO_LABEL, Counter())[split] += 1
            for image in case.images:
                self.images.setdefault(image.modality, Counter())[split] += 1
                self.slices += image.count if image.series_uid else 0
            for annotation in case.annotations:
                self.annotations[annotation.kind] += 1
            if case.clinical is not None:
                for name in ("age_years", "sex", "smoking", "pack_years"):
                    self.clinical[name] += getattr(case.clinical, name) is not None
            self.paired += bool(case.of("CT") and case.of("slide"))
            yield case

    def warnings(self) -> list[str]:
        """What a reader of the numbers has to know."""
        found = []
        if not self.cases:
            found.append("No case was found: is the root the folder that the download made?")
        without = sum(counts["no split"] for counts in self.patients.values())
        if without:
            found.append(
                f"{without} {self.cohort.unit}s have no split: which of them show the same tissue is not known, so a "
                "split would leak. Give one with --splits."
            )
        for label, counts in sorted(self.patients.items()):
            empty = [name for name in SPLITS if not counts[name]]
            if empty and not counts["no split"] and label != NO_LABEL:
                found.append(f"{label}: none in {', '.join(empty)}; nothing can be said of it there.")
        return found

    def text(self) -> str:
        """The accounting as plain text, 80 to 120 columns wide."""
        cohort, unit = self.cohort, self.cohort.unit
        columns = [*SPLITS, *(["no split"] if any(c["no split"] for c in self.patients.values()) else [])]
        lines = [
            f"{cohort.title} ({cohort.license})", f"{cohort.source}", "",
            f"{sum(c.total() for c in self.patients.values())} {unit}s, "
            f"{sum(c.total() for c in self.images.values())} images"
            + (f" ({self.slices} slices)" if self.slices else "")
            + (f", {self.paired} with CT and slide of the same {unit}" if self.paired else ""), "",
        ]  # fmt: skip
        lines += _table(f"{unit}s by class", self.patients, columns, [*CLASSES, NO_LABEL])
        if self.images:
            lines += ["", *_table("images", self.images, columns, sorted(self.images))]
        if self.annotations:
            lines += ["", "outlines: " + ", ".join(f"{n} {kind}" for kind, n in sorted(self.annotations.items()))]
        if self.clinical.total():
            known = ", ".join(f"{name} {n}" for name, n in self.clinical.items())
            lines += ["", f"clinical fields known: {known} of {self.cases}"]
        lines += ["", "left out:" if self.exclusions else "left out: nothing"]
        for (what, reason), n in sorted(self.exclusions.items(), key=lambda item: (-item[1], item[0])):
            names = self.named[what, reason]
            shown = f" ({', '.join(names)}{', ...' if len(names) == _NAMED else ''})" if names else ""
            lines.append(f"  {n:6d}  {what}: {reason}{shown}")
        notes = [*cohort.notes, *self.warnings()]
        lines += ["", *(f"note: {note}" for note in notes), f"Shows: {cohort.shows}", NOTICE]
        return "\n".join(lines)

    def body(self) -> dict[str, Any]:
        """The accounting as a JSON object."""
        return {
            "cohort": self.cohort.name, "title": self.cohort.title, "license": self.cohort.license,
            "source": self.cohort.source, "shows": self.cohort.shows, "unit": self.cohort.unit,
            "cases": self.cases, "patients": {k: dict(v) for k, v in self.patients.items()},
            "images": {k: dict(v) for k, v in self.images.items()}, "slices": self.slices,
            "paired_ct_slide": self.paired, "annotations": dict(self.annotations), "clinical": dict(self.clinical),
            "exclusions": [
                {"what": what, "reason": reason, "count": n, "patients": self.named[what, reason]}
                for (what, reason), n in sorted(self.exclusions.items())
            ],
            "notes": [*self.cohort.notes, *self.warnings()], "notice": NOTICE,
        }  # fmt: skip


def _table(title: str, counts: dict[str, Counter[str]], columns: list[str], order: list[str]) -> list[str]:
    rows = [name for name in order if name in counts]
    width = max([len(title), *map(len, rows)])
    lines = [f"{title:{width}}  " + "".join(f"{c:>10}" for c in [*columns, "all"])]
    for name in rows:
        cells = [counts[name][column] for column in columns]
        lines.append(f"{name:{width}}  " + "".join(f"{n:10d}" for n in [*cells, sum(cells)]))
    return lines
