"""Fusion: a log-opinion pool of the modalities over a prior. The derivation is in docs/fusion.md.

log p(c) = log prior(c) + sum over modalities of contribution_m(c) + constant

fuse()         results of one case -> FusionResult, with what each part contributes and what is said without it
pooled()       the same without the parts: several times as fast
PRIOR          class to probability before any evidence, with its source
WEIGHTS        modality to its fixed weight, where none was learned (fusion_weights.py)
_Weighing      which weight a modality has in a case
_by_field()    the pull of the clinical fields, shared out over the fields

A modality that is missing, abstains, or has weight 0 leaves no trace in the probabilities.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Optional, Protocol, Union

from .agreement import abstention_of, agreement_of
from .contract.errors import InvalidInput
from .contract.fusion_result import BASE, CLINICAL_FIELDS, MODALITIES, FusionResult, LeftOut
from .contract.provenance import Provenance
from .contract.results import PathologyResult, RadiologyResult
from .contract.values import CLASSES, Abstention, ClinicalFields
from .fusion_evidence import CANCERS, Evidence, confidence, measures_of, of_classes, of_ct, pull, restricted
from .fusion_evidence import EPSILON as EPSILON
from .fusion_weights import FusionWeights, prevalence_of, shipped
from .shapley import shapley

# Histology: SEER Cancer Statistics Review 1975-2010, table 15.28, histologically confirmed cases of 2006-2010,
# both sexes, all races; the four types alone, so other and unspecified carcinomas are left out.
_SEER_CASES = {"adenocarcinoma": 92669, "squamous_cell": 48561, "large_cell": 5890, "small_cell": 30845}
# A choice, not a measurement: before any evidence, cancer and no cancer are held equally likely.
P_NORMAL = 0.5
PRIOR: dict[str, float] = {
    **{name: (1 - P_NORMAL) * _SEER_CASES[name] / sum(_SEER_CASES.values()) for name in CANCERS},
    "normal": P_NORMAL,
}
# Choices, not fitted: they hold for models to which no weights were fitted. Tissue is the reference; readers' ratings
# of a nodule are not histology; clinical fields overlap with what the prior already holds.
WEIGHTS: dict[str, float] = {"radiology": 0.5, "pathology": 1.0, "clinical": 0.5}
UNCALIBRATED_FACTOR = 0.5
# Share of malignant nodules that a malignancy model was calibrated on, where it is not known; the learned weights know
# that of the model they were fitted to.
MALIGNANCY_PREVALENCE = 0.5

Learned = Union[FusionWeights, None, Literal["shipped"]]


class ClinicalModelLike(Protocol):
    """What fusion asks of a clinical model; ``prior`` is the case mix that it was calibrated on."""

    @property
    def prior(self) -> Mapping[str, float]: ...

    @property
    def provenance(self) -> Provenance: ...

    def probabilities(self, fields: ClinicalFields) -> Union[Mapping[str, float], Abstention]: ...

    def base(self) -> Mapping[str, float]:
        """What it says where no field is known; probabilities() may abstain there."""


@dataclass(frozen=True)
class _Weighing:
    """Which weight a modality has in a case: the one that was given, else the learned, else the fixed one.

    ``given`` and ``reliability`` are checked; ``measures``: modality to what its result says of its reliability.
    """

    given: Mapping[str, float]
    learned: Optional[FusionWeights]
    reliability: Mapping[str, float]
    measures: Mapping[str, Mapping[str, float]]

    def of(self, modality: str, evidence: Evidence) -> tuple[dict[str, float], Optional[float]]:
        """Class to weight, over what ``evidence`` speaks of; and, where it was learned, what reliability leaves."""
        if modality in self.given:
            return dict.fromkeys(evidence.ratio, float(self.given[modality])), None
        if self.reliability.get(modality) == 0:
            return dict.fromkeys(evidence.ratio, 0.0), None
        measures = {**self.measures.get(modality, {}), "confidence": confidence(evidence.says)}
        if modality in self.reliability:
            measures["typicality"] = self.reliability[modality]
        found = None if self.learned is None else self.learned.of(modality, evidence, measures)
        if found is not None:
            return found
        trusted = bool(evidence.provenance) and all(p.calibrated for p in evidence.provenance)
        factor = (1.0 if trusted else UNCALIBRATED_FACTOR) * self.reliability.get(modality, 1.0)
        return dict.fromkeys(evidence.ratio, WEIGHTS[modality] * factor), None


def _of_fields(answer: Union[Mapping[str, float], Abstention], model: ClinicalModelLike) -> Optional[Evidence]:
    return None if isinstance(answer, Abstention) else of_classes(answer, model.prior, (model.provenance,))


def _by_field(
    clinical: ClinicalFields, known: list[str], model: ClinicalModelLike, weigh: _Weighing, prior: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Each known field, and BASE, to its share of the clinical pull: Shapley's, over the fields that are known.

    The pull of a set of fields is what the pool would take from the model if only they were known; of no field, what
    the model says at its base. Shares, because the log of a probability, and smoking beside pack-years, are no sums.
    """

    def value(fields: frozenset[str]) -> dict[str, float]:
        answer = model.probabilities(ClinicalFields(**{name: getattr(clinical, name) for name in fields}))
        if not fields and isinstance(answer, Abstention):
            answer = model.base()
        evidence = _of_fields(answer, model)
        if evidence is None:
            return dict.fromkeys(CLASSES, 0.0)
        return pull(evidence, weigh.of("clinical", evidence)[0], prior)

    base, shares = shapley(known, value)
    return {**shares, BASE: base}


def _checked(
    weights: Optional[Mapping[str, float]], prior: Mapping[str, float], prevalence: Optional[float]
) -> dict[str, float]:
    given = dict(weights or {})
    if not set(given) <= set(MODALITIES):
        raise InvalidInput("A weight names an unknown modality.", f"Known are: {', '.join(MODALITIES)}.")
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
            raise InvalidInput("A weight is not a number from 0 to 100.", "Give 0 to leave a modality out.")
    if set(prior) != set(CLASSES) or not all(v > 0 for v in prior.values()) or abs(sum(prior.values()) - 1) > 1e-6:
        raise InvalidInput("The prior is not valid.", "Give every class more than 0, all together 1.")
    if prevalence is not None and not 0 < prevalence < 1:
        raise InvalidInput("The malignancy model's prevalence is not valid.", "Give a share between 0 and 1.")
    return given


def _checked_reliability(reliability: Optional[Mapping[str, float]]) -> dict[str, float]:
    held = dict(reliability or {})
    valid = set(held) <= set(MODALITIES) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= 1 for v in held.values()
    )
    if not valid:
        raise InvalidInput(
            "A reliability is not valid.", f"Give numbers from 0 to 1 for {', '.join(MODALITIES)}; 1 is as in training."
        )
    return held


def fuse(
    radiology: Optional[RadiologyResult],
    pathology: Optional[PathologyResult],
    clinical: Optional[ClinicalFields],
    *,
    clinical_model: Optional[ClinicalModelLike] = None,
    weights: Optional[Mapping[str, float]] = None,
    prior: Mapping[str, float] = PRIOR,
    malignancy_prevalence: Optional[float] = None,
    learned: Learned = "shipped",
    reliability: Optional[Mapping[str, float]] = None,
) -> FusionResult:
    """What the modalities of one case say together.

    Parameters
    ----------
    radiology, pathology, clinical : None where the case has none
    clinical_model : None leaves the clinical fields out
    weights : modality to weight, 0 to 100, over the learned and the fixed ones; 0 leaves the modality out
    prior : class to probability before any evidence
    malignancy_prevalence : share of malignant nodules in the data that calibrated the malignancy model; None takes
        that of the model that the learned weights were fitted to, and MALIGNANCY_PREVALENCE for any other
    learned : weights per modality and class; "shipped" takes those beside the models that ship, where there are such;
        None takes the fixed ones. They hold for the models they were fitted to; a modality of another model has its
        fixed weight
    reliability : modality to how like the training data its input is, 0 to 1, over what the results say of it; a
        modality that is not named counts as 1, one of 0 takes no part

    Raises
    ------
    InvalidInput : a weight, the prior, the prevalence or a reliability is not valid.
    ModelUnavailable : the weights that ship are broken.

    Source: Genest and Zidek 1986, "Combining probability distributions", doi 10.1214/ss/1177013825.
    Departs from it in: ratios to the prior are pooled, so a modality may cover some classes only.
    """
    shared: dict[str, Any] = {
        "clinical_model": clinical_model, "weights": weights, "prior": prior, "learned": learned,
        "malignancy_prevalence": malignancy_prevalence, "reliability": reliability,
    }  # fmt: skip
    case = {"radiology": radiology, "pathology": pathology, "clinical": clinical}

    def without(**changed: Any) -> LeftOut:
        rest = pooled(**{**case, **changed}, **shared)
        return LeftOut(rest.probabilities, rest.not_assessed_mass, rest.abstention)

    whole = pooled(**case, **shared)
    fields = [name for name in CLINICAL_FIELDS if getattr(clinical, name, None) is not None]
    left_out = {name: without(**{name: None}) for name in whole.weights}
    shares: dict[str, dict[str, float]] = {}
    if clinical is not None and fields:
        shares = {name: dict.fromkeys(CLASSES, 0.0) for name in (*CLINICAL_FIELDS, BASE)}
        if "clinical" in whole.weights and clinical_model is not None:
            weigh = _weighing(radiology, pathology, weights, prior, malignancy_prevalence, learned, reliability)
            shares.update(_by_field(clinical, fields, clinical_model, weigh, prior))
            for name in fields:
                left_out[name] = without(clinical=dataclasses.replace(clinical, **{name: None}))
    return dataclasses.replace(whole, field_contributions=shares, leave_one_out=left_out)


def _weighing(
    radiology: Optional[RadiologyResult], pathology: Optional[PathologyResult],
    weights: Optional[Mapping[str, float]], prior: Mapping[str, float], prevalence: Optional[float], learned: Learned,
    reliability: Optional[Mapping[str, float]],
) -> _Weighing:  # fmt: skip
    given, held = _checked(weights, prior, prevalence), _checked_reliability(reliability)
    measures = {"radiology": measures_of(radiology), "pathology": measures_of(pathology)}
    return _Weighing(given, shipped() if learned == "shipped" else learned, held, measures)


def pooled(
    radiology: Optional[RadiologyResult],
    pathology: Optional[PathologyResult],
    clinical: Optional[ClinicalFields],
    *,
    clinical_model: Optional[ClinicalModelLike] = None,
    weights: Optional[Mapping[str, float]] = None,
    prior: Mapping[str, float] = PRIOR,
    malignancy_prevalence: Optional[float] = None,
    learned: Learned = "shipped",
    reliability: Optional[Mapping[str, float]] = None,
) -> FusionResult:
    """fuse() without the shares of the fields and without what is said when a part is left out."""
    weigh = _weighing(radiology, pathology, weights, prior, malignancy_prevalence, learned, reliability)
    found: dict[str, Optional[Evidence]] = dict.fromkeys(MODALITIES)
    if radiology is not None and radiology.abstention is None:
        prevalence = malignancy_prevalence
        if prevalence is None:
            prevalence = prevalence_of(weigh.learned, radiology.provenance, MALIGNANCY_PREVALENCE)
        found["radiology"] = of_ct(radiology, prior, prevalence)
    if pathology is not None and pathology.abstention is None:
        found["pathology"] = of_classes(pathology.probabilities, prior, pathology.provenance)
    if clinical is not None and clinical_model is not None:
        found["clinical"] = _of_fields(clinical_model.probabilities(clinical), clinical_model)

    taking_part: dict[str, Evidence] = {}
    by_class: dict[str, dict[str, float]] = {}
    left: dict[str, float] = {}
    for name, evidence in found.items():
        if evidence is None:
            continue
        weight, share = weigh.of(name, evidence)
        if max(weight.values()) > 0:
            taking_part[name], by_class[name] = evidence, weight
            if share is not None:
                left[name] = share

    pulls = {name: pull(evidence, by_class[name], prior) for name, evidence in taking_part.items()}
    scores = {c: math.log(prior[c]) + math.fsum(row[c] for row in pulls.values()) for c in CLASSES}
    top = max(scores.values())
    fused = restricted({c: math.exp(score - top) for c, score in scores.items()}, CLASSES)
    assessed = {c: fused[c] for c in CLASSES if any(c in evidence.covered for evidence in taking_part.values())}
    agreement, conflict = agreement_of({name: evidence.says for name, evidence in taking_part.items()})
    provenance = tuple(p for evidence in taking_part.values() for p in evidence.provenance)
    likely: tuple[str, ...] = ()
    if left and weigh.learned is not None:
        provenance += (weigh.learned.provenance,)
        if set(left) == set(taking_part) and weigh.learned.conformal is not None:
            likely = weigh.learned.conformal.of(assessed)
    return FusionResult(
        probabilities={c: assessed.get(c) for c in CLASSES},
        not_assessed_mass=min(1.0, math.fsum(fused[c] for c in CLASSES if c not in assessed)),
        prior=dict(prior),
        weights={name: _mean(weight, prior) for name, weight in by_class.items()},
        contributions=pulls,
        missing=tuple(name for name in MODALITIES if name not in taking_part),
        agreement=agreement,
        provenance=provenance,
        abstention=abstention_of(assessed, conflict),
        class_weights={name: by_class[name] for name in left},
        reliability=left,
        conformal_set=likely,
        conformal_coverage=weigh.learned.conformal.coverage if likely else None,
    )


def _mean(weight: Mapping[str, float], prior: Mapping[str, float]) -> float:
    """One number for the weights of the classes: their mean by the prior; exact where they are all the same."""
    if len(set(weight.values())) == 1:
        return next(iter(weight.values()))
    share = restricted(prior, tuple(weight))
    return math.fsum(share[name] * weight[name] for name in weight)
