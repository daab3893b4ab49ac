"""The fused answer of a report: its charts, and in words what each part contributes and what is said without it.

fusion_values()   FusionResult -> what the template shows
clinical_words()  the clinical fields as a reader reads them
"""

from __future__ import annotations

from typing import Any, Optional, Union

from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.fusion_result import PART_LABELS, FusionResult, LeftOut
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.values import CLASSES, ClinicalFields

from .report_charts import contribution_chart, field_chart, percent, probability_chart

# The parts as they stand within a sentence.
_NAMES = {name: label if label == "CT" else label.lower() for name, label in PART_LABELS.items()}
_ARTICLES = {"radiology": "the ", "pathology": "the ", "clinical": "the "}


def clinical_words(fields: ClinicalFields) -> dict[str, Optional[str]]:
    """Field to its value in words, None where it is not known."""
    units = {"age_years": " years"}
    return {
        name: None if value is None else f"{value:g}{units.get(name, '')}" if isinstance(value, (int, float)) else value
        for name, value in vars(fields).items()
    }


def fusion_values(fusion: FusionResult, clinical: Optional[ClinicalFields]) -> dict[str, Any]:
    """Name to value, of those that the template's summary asks for."""
    assessed = {n: p for n, p in fusion.probabilities.items() if p is not None}
    best = max(assessed, key=lambda n: assessed[n]) if assessed else None
    given = {} if clinical is None else clinical_words(clinical)
    longest = [
        max((abs(v) for row in rows.values() for v in row.values()), default=0.0)
        for rows in (fusion.contributions, fusion.field_contributions)
    ]
    return {
        "result": fusion,
        "headline": None if best is None else f"{CLASS_LABELS[best]}, {percent(assessed[best])}",
        "certainty": [words for words in (set_words(fusion), *reliability_words(fusion)) if words],
        "chart": probability_chart(fusion.probabilities, "Fused probabilities", "fused"),
        "contributions": contribution_chart(fusion.contributions),
        "fields": field_chart(fusion.field_contributions, given),
        "enlarged": longest[0] / longest[1] if longest[1] else 1.0,
        "fields_idle": bool(fusion.field_contributions) and "clinical" in fusion.missing,
        "left_out": _left_out(fusion),
        "not_assessed": [CLASS_LABELS[n] for n, p in fusion.probabilities.items() if p is None],
        "mass": percent(fusion.not_assessed_mass),
        "prior": [(CLASS_LABELS[n], percent(fusion.prior[n])) for n in CLASSES],
    }


def _left_out(fusion: FusionResult) -> Optional[dict[str, Any]]:
    """Sentences, and the table under them; None where nothing can be left out."""
    if not fusion.leave_one_out:
        return None
    names = [c for c in CLASSES if fusion.probabilities[c] is not None]
    rows: list[tuple[str, Union[FusionResult, LeftOut]]] = [("Nothing", fusion)]
    rows += [(PART_LABELS[part], left) for part, left in fusion.leave_one_out.items()]
    return {
        "sentences": _sentences(fusion),
        "classes": [CLASS_LABELS[name] for name in names],
        "rows": [
            (
                label,
                [percent(left.probabilities[name]) for name in names],
                percent(left.not_assessed_mass),
                "No answer" if left.answer is None else CLASS_LABELS[left.answer],
            )
            for label, left in rows
        ],
    }


def _sentences(fusion: FusionResult) -> list[str]:
    """One for each part without which the answer would be another, and one for all the rest."""
    words, same = [], []
    for part, left in fusion.leave_one_out.items():
        name = _ARTICLES.get(part, "") + _NAMES[part]
        if left.answer == fusion.answer:
            same.append(name)
        elif left.answer is not None:
            share = percent(left.probabilities[left.answer])
            words.append(f"Without {name} the answer would be {CLASS_LABELS[left.answer].lower()}, {share}.")
        else:
            reason = "" if left.abstention is None else left.abstention.reason.rstrip(".")
            words.append(f"Without {name} there would be no answer{reason and ': ' + reason[:1].lower() + reason[1:]}.")
    if same:
        no_answer = "there would still be no answer"
        still = no_answer if fusion.answer is None else f"it would still be {CLASS_LABELS[fusion.answer].lower()}"
        one = len(same) == 1
        words.append(f"Without {same[0]} {still}." if one else f"Without one of these {still}: {', '.join(same)}.")
    return words
