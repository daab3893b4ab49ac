"""The fused answer of a report: its charts, and in words what each part contributes and what is said without it.

fusion_values()   FusionResult -> what the templates show
clinical_words()  the clinical fields as a reader reads them
"""

from __future__ import annotations

from typing import Any, Optional, Union

from shared_models.contract.fusion_result import FusionResult, LeftOut
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.values import CLASSES, ClinicalFields

from .report_charts import answer_chart, contribution_chart, field_chart, percent, probability_chart
from .report_words import _, class_words, part_words


def _with_article(part: str) -> str:
    """A part as it stands within a sentence."""
    whole = {"radiology": _("the CT"), "pathology": _("the slide"), "clinical": _("the clinical fields")}
    return whole.get(part) or part_words(part, within=True)


def clinical_words(fields: ClinicalFields) -> dict[str, Optional[str]]:
    """Field to its value in words, None where it is not known."""
    given = {name: f"{value:g}" for name, value in vars(fields).items() if isinstance(value, (int, float))}
    if "age_years" in given:
        given["age_years"] = _("%(age)s years") % {"age": given["age_years"]}
    named = {
        "female": _("female"), "male": _("male"), "never": _("never"), "former": _("former"), "current": _("current"),
    }  # fmt: skip
    return {name: None if value is None else given.get(name) or named[value] for name, value in vars(fields).items()}


def fusion_values(fusion: FusionResult, clinical: Optional[ClinicalFields]) -> dict[str, Any]:
    """Name to value, of those that the templates ask for."""
    assessed = {n: p for n, p in fusion.probabilities.items() if p is not None}
    best = max(assessed, key=lambda n: assessed[n]) if assessed else None
    given = {} if clinical is None else clinical_words(clinical)
    longest = [
        max((abs(v) for row in rows.values() for v in row.values()), default=0.0)
        for rows in (fusion.contributions, fusion.field_contributions)
    ]
    return {
        "result": fusion,
        "headline": None if best is None else f"{class_words(best)}, {percent(assessed[best])}",
        "certainty": [words for words in (set_words(fusion), *reliability_words(fusion)) if words],
        "missing": [part_words(name, within=True) for name in fusion.missing],
        "answer_chart": answer_chart(fusion.probabilities, fusion.contributions),
        "chart": probability_chart(fusion.probabilities, _("Fused probabilities"), "fused"),
        "contributions": contribution_chart(fusion.contributions),
        "fields": field_chart(fusion.field_contributions, given),
        "enlarged": longest[0] / longest[1] if longest[1] else 1.0,
        "fields_idle": bool(fusion.field_contributions) and "clinical" in fusion.missing,
        "left_out": _left_out(fusion),
        "not_assessed": [class_words(n, within=True) for n, p in fusion.probabilities.items() if p is None],
        "mass": percent(fusion.not_assessed_mass),
        "weights": [(part_words(name), f"{weight:.2f}") for name, weight in fusion.weights.items()],
        "prior": [(class_words(n), percent(fusion.prior[n])) for n in CLASSES],
        "calibrated": bool(fusion.provenance) and all(p.calibrated for p in fusion.provenance),
        "uncalibrated": list(dict.fromkeys(p.model_id for p in fusion.provenance if not p.calibrated)),
    }


def _left_out(fusion: FusionResult) -> Optional[dict[str, Any]]:
    """Sentences, and the table under them; None where nothing can be left out."""
    if not fusion.leave_one_out:
        return None
    names = [c for c in CLASSES if fusion.probabilities[c] is not None]
    rows: list[tuple[str, Union[FusionResult, LeftOut]]] = [(_("Nothing"), fusion)]
    rows += [(part_words(part), left) for part, left in fusion.leave_one_out.items()]
    return {
        "sentences": _sentences(fusion),
        "classes": [class_words(name) for name in names],
        "rows": [
            (
                label,
                [percent(left.probabilities[name]) for name in names],
                percent(left.not_assessed_mass),
                _("No answer") if left.answer is None else class_words(left.answer),
            )
            for label, left in rows
        ],
    }


def _sentences(fusion: FusionResult) -> list[str]:
    """One for each part without which the answer would be another, and one for all the rest."""
    words, same = [], []
    for part, left in fusion.leave_one_out.items():
        name = _with_article(part)
        if left.answer == fusion.answer:
            same.append(name)
        elif left.answer is not None:
            share = percent(left.probabilities[left.answer])
            words.append(
                _("Without %(part)s the answer would be %(answer)s, %(share)s.")
                % {"part": name, "answer": class_words(left.answer, within=True), "share": share}
            )
        elif left.abstention is None:
            words.append(_("Without %(part)s there would be no answer.") % {"part": name})
        else:
            reason = left.abstention.reason
            words.append(
                _("Without %(part)s there would be no answer: %(reason)s")
                % {"part": name, "reason": f"{reason[:1].lower()}{reason[1:].rstrip('.')}."}
            )
    if not same:
        return words
    if fusion.answer is None:
        one, many = (
            _("Without %(parts)s there would still be no answer."),
            _("Without one of these there would still be no answer: %(parts)s."),
        )
    else:
        one, many = (
            _("Without %(parts)s it would still be %(answer)s."),
            _("Without one of these it would still be %(answer)s: %(parts)s."),
        )
    answer = "" if fusion.answer is None else class_words(fusion.answer, within=True)
    return [*words, (one if len(same) == 1 else many) % {"parts": ", ".join(same), "answer": answer}]
