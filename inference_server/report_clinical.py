"""What the report says of the clinical fields: the fields, the clinical model's answer, and published risk models.

clinical_values()   CaseRecord -> what templates/report_clinical.html shows; under "summary" what the first page shows
risk_range()        a published model's least and greatest risk over what the case does not say

A published model has many inputs that a case does not hold. None is made up: the model is asked for every combination
of what is not known, and the least and the greatest answer are shown with the inputs that were varied. Where the model
was not made for such a patient or nodule it is not applicable, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Optional, Union

from shared_models.clinical import BUNDLE, ClinicalModel
from shared_models.clinical_risk import NODULE_TYPES, BrockNodule, MayoNodule, Risk, brock, mayo
from shared_models.contract.errors import LungXAIError
from shared_models.contract.results import Nodule
from shared_models.contract.values import SEXES, Abstention, ClinicalFields

from .case_record import CaseRecord
from .report_charts import percent
from .report_ct import interval_words, type_of
from .report_fusion import clinical_words
from .report_models import measured
from .report_words import _, class_words, part_words

# The models rise or fall with age all the way, so the ends of the range that they were made for are enough.
_MAYO_AGES, _BROCK_AGES = (18.0, 100.0), (50.0, 75.0)
_EITHER = (False, True)


@dataclass(frozen=True)
class RiskRange:
    """One published model on one nodule.

    Attributes
    ----------
    low, high : probabilities; None where the model is not applicable
    outcome : of what
    reason : why it is not applicable; "" where it is
    varied : inputs that are not known and were varied, in words
    taken : what is taken to hold, in words
    source : the publication; "" where it is not applicable
    """

    low: Optional[float]
    high: Optional[float]
    outcome: str
    reason: str
    varied: tuple[str, ...]
    taken: tuple[str, ...]
    source: str


def risk_range(
    model: Callable[[Any], Union[Risk, Abstention]], inputs: Callable[..., Any], known: Mapping[str, Any],
    unknown: Mapping[str, tuple[str, Sequence[Any]]], taken: Sequence[str],
) -> RiskRange:  # fmt: skip
    """Ask ``model`` for every combination of what is not known.

    Parameters
    ----------
    inputs : makes what the model takes, from ``known`` and one value of each of ``unknown``
    unknown : input to its words and the values that it may have
    taken : what is taken to hold, in words

    Returns
    -------
    The range of the combinations that the model is made for; not applicable where it is made for none of them.
    """
    answers: list[Risk] = []
    refused: Optional[Abstention] = None
    for values in product(*(options for _words, options in unknown.values())):
        try:
            answer = model(inputs(**known, **dict(zip(unknown, values))))
        except LungXAIError as fault:  # a size that no model is for
            answer = Abstention(fault.message, fault.remedy)
        if isinstance(answer, Risk):
            answers.append(answer)
        else:
            refused = answer
    varied = tuple(words for words, _options in unknown.values())
    if not answers:
        reason = "" if refused is None else f"{refused.reason} {refused.what_would_help}"
        return RiskRange(None, None, "", reason, (), (), "")
    shares = [answer.probability for answer in answers]
    return RiskRange(min(shares), max(shares), answers[0].outcome, "", varied, tuple(taken), answers[0].source)


def _smoked(fields: ClinicalFields) -> Optional[bool]:
    if fields.smoking is not None:
        return fields.smoking != "never"
    return True if fields.pack_years else None


def _mayo(nodule: Nodule, count: int, fields: ClinicalFields) -> RiskRange:
    known: dict[str, Any] = {
        "diameter_mm": nodule.long_axis_mm, "solitary": count == 1, "cancer_within_5_years": False,
        "lung_cancer_before": False,
    }  # fmt: skip
    unknown: dict[str, tuple[str, Sequence[Any]]] = {
        "extrathoracic_cancer": (_("a cancer outside the chest more than five years ago"), _EITHER),
        "spiculated": (_("spiculation"), _EITHER), "upper_lobe": (_("upper lobe or not"), _EITHER),
    }  # fmt: skip
    smoked = _smoked(fields)
    for name, value, words, options in (
        ("age_years", fields.age_years, _("age, 18 to 100 years"), _MAYO_AGES),
        ("ever_smoked", smoked, _("ever smoked or not"), _EITHER),
    ):
        if value is None:
            unknown[name] = (words, options)
        else:
            known[name] = value
    taken = (_("found by chance"), _("no cancer within five years, and never one of the lung"),
             _("the only nodule, as one was marked"))  # fmt: skip
    return risk_range(mayo, MayoNodule, known, unknown, taken)


def _brock(nodule: Nodule, count: int, kind: Optional[str], fields: ClinicalFields) -> RiskRange:
    known: dict[str, Any] = {
        "diameter_mm": nodule.long_axis_mm, "nodule_count": count, "lung_cancer_before": False,
        "first_screening_ct": True,
    }  # fmt: skip
    unknown: dict[str, tuple[str, Sequence[Any]]] = {
        "family_lung_cancer": (_("a relative with lung cancer"), _EITHER),
        "emphysema": (_("emphysema"), _EITHER), "upper_lobe": (_("upper lobe or not"), _EITHER),
        "spiculated": (_("spiculation"), _EITHER),
    }  # fmt: skip
    taken = [_("first screening CT"), _("never a lung cancer before"),
             _("%(n)s nodules on the CT, as marked") % {"n": count}]  # fmt: skip
    smoked = _smoked(fields)
    if smoked is None:
        taken.append(_("smokes or smoked"))
    known["ever_smoked"] = True if smoked is None else smoked
    for name, value, words, options in (
        ("age_years", fields.age_years, _("age, 50 to 75 years"), _BROCK_AGES),
        ("sex", fields.sex, _("sex"), SEXES),
        ("nodule_type", kind, _("type of the nodule"), NODULE_TYPES),
    ):
        if value is None:
            unknown[name] = (words, options)
        else:
            known[name] = value
    if kind is not None:
        taken.append(_("type as computed"))
    return risk_range(brock, BrockNodule, known, unknown, taken)


def clinical_values(record: CaseRecord) -> Optional[dict[str, Any]]:
    """What the templates show as ``clinical``; None where no fields were given and there is no nodule to rate."""
    nodules = () if record.radiology is None else record.radiology.nodules
    if record.clinical is None and not nodules:
        return None
    given = record.clinical or ClinicalFields()
    fields = [(part_words(name), said or _("not known")) for name, said in clinical_words(given).items()]
    nodule = nodules[0] if nodules else None
    risks = [] if nodule is None else _risks(record, nodule, given)
    return {
        "given": record.clinical is not None,
        "fields": fields,
        "answer": _answer(record),
        "nodule": None if nodule is None else nodule.label,
        "several": len(nodules) > 1,
        "tissue": record.pathology is not None,
        "risks": risks,
        "summary": {"fields": fields, "risk": _risk_line(risks, nodule)},
    }


def _risks(record: CaseRecord, nodule: Nodule, fields: ClinicalFields) -> list[dict[str, Any]]:
    assert record.radiology is not None
    count = len(record.radiology.nodules)
    found = (
        (_("Mayo"), _("an indeterminate nodule found by chance"), _mayo(nodule, count, fields)),
        (_("Brock"), _("a nodule of a first screening CT"), _brock(nodule, count, type_of(record, nodule), fields)),
    )
    return [
        {"name": name, "for": meant, "range": risk, "words": _("not applicable") if risk.low is None else _range(risk)}
        for name, meant, risk in found
    ]


def _range(risk: RiskRange) -> str:
    assert risk.low is not None and risk.high is not None
    return percent(risk.low) if risk.low == risk.high else interval_words(risk.low, risk.high)


def _risk_line(risks: Sequence[Mapping[str, Any]], nodule: Optional[Nodule]) -> str:
    if nodule is None:
        return ""
    said = "; ".join(f"{row['name']}: {row['words']}" for row in risks)
    return _("Published risk of nodule %(label)s, over what is not known: %(said)s") % {
        "label": nodule.label, "said": said}  # fmt: skip


def _answer(record: CaseRecord) -> Optional[dict[str, Any]]:
    """What the clinical model alone says; None where no field was given."""
    if record.clinical is None:
        return None
    try:
        model = ClinicalModel.load()
    except LungXAIError as fault:
        return {"words": fault.message, "interval": "", "support": "", "model": "", "other": False}
    said = model.probabilities(record.clinical)
    if isinstance(said, Abstention):
        words = f"{said.reason} {said.what_would_help}"
        return {"words": words, "interval": "", "support": "", "model": model.provenance.model_id, "other": False}
    name = max(said, key=lambda n: said[n])
    words = _("%(name)s %(share)s, given that it is one of the two types that the model tells apart") % {
        "name": class_words(name), "share": percent(said[name])}  # fmt: skip
    interval, support = _uncertainty(model, name, said["squamous_cell"])
    fused = record.fusion.provenance if record.fusion is not None else ()
    took_part = [p.weights_sha256 for p in fused if p.model_id.split(" ")[0] == BUNDLE]
    other = bool(took_part) and model.provenance.weights_sha256 not in took_part
    return {"words": words, "interval": interval, "support": support, "model": model.provenance.model_id,
            "other": other}  # fmt: skip


def _uncertainty(model: ClinicalModel, name: str, squamous: float) -> tuple[str, str]:
    """The interval of the answer's own class, and how often patients answered about the same had it."""
    calibration = measured((model.provenance,), BUNDLE)
    bar = None if calibration is None else calibration.like("squamous_cell", squamous)
    found = None if calibration is None else calibration.interval("squamous_cell", squamous)
    if bar is None or found is None:
        return "", ""
    own = name == "squamous_cell"
    interval = interval_words(*(found if own else (1 - found[1], 1 - found[0])))
    rate, low, high = (bar.rate, *bar.ci95) if own else (1 - bar.rate, 1 - bar.ci95[1], 1 - bar.ci95[0])
    support = _("Of %(n)s validation patients answered about the same, %(rate)s had %(name)s (95 %% interval %(low)s "
                "to %(high)s %%).") % {
        "n": bar.n, "rate": f"{100 * rate:.0f} %", "name": class_words(name, within=True),
        "low": f"{100 * low:.0f}", "high": f"{100 * high:.0f}",
    }  # fmt: skip
    return interval, support
