"""Fusion: a log-opinion pool of the modalities over a prior. The derivation is in docs/fusion.md.

log p(c) = log prior(c) + sum over modalities of contribution_m(c) + constant

fuse()         results of one case -> FusionResult, with what each part contributes and what is said without it
PRIOR          class to probability before any evidence, with its source
WEIGHTS        modality to its default weight
_Evidence      what one modality says, over the classes it covers
_pull()        weighted log evidence, neutral on the classes a modality does not cover
_by_field()    the pull of the clinical fields, shared out over the fields

A modality that is missing, abstains, or has weight 0 leaves no trace in the probabilities.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Protocol, Union

from .agreement import abstention_of, agreement_of
from .contract.errors import InvalidInput
from .contract.fusion_result import BASE, CLINICAL_FIELDS, MODALITIES, FusionResult, LeftOut
from .contract.provenance import Provenance
from .contract.results import PathologyResult, RadiologyResult
from .contract.values import CLASSES, Abstention, ClinicalFields
from .shapley import shapley

CANCERS = CLASSES[:4]

# Histology: SEER Cancer Statistics Review 1975-2010, table 15.28, histologically confirmed cases of 2006-2010,
# both sexes, all races; the four types alone, so other and unspecified carcinomas are left out.
_SEER_CASES = {"adenocarcinoma": 92669, "squamous_cell": 48561, "large_cell": 5890, "small_cell": 30845}
# A choice, not a measurement: before any evidence, cancer and no cancer are held equally likely.
P_NORMAL = 0.5
PRIOR: dict[str, float] = {
    **{name: (1 - P_NORMAL) * _SEER_CASES[name] / sum(_SEER_CASES.values()) for name in CANCERS},
    "normal": P_NORMAL,
}
# Choices, not fitted: no paired cases were at hand. Tissue is the reference; readers' ratings of a nodule are
# not histology; clinical fields overlap with what the prior already holds.
WEIGHTS: dict[str, float] = {"radiology": 0.5, "pathology": 1.0, "clinical": 0.5}
UNCALIBRATED_FACTOR = 0.5
# Share of malignant nodules that the malignancy model was calibrated on; pass its own where the card names one.
MALIGNANCY_PREVALENCE = 0.5
# No probability is taken as nearer to 0 or 1 than this, so no modality can veto alone.
EPSILON = 0.01


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
class _Evidence:
    """``ratio``: class to p/q for those with evidence; ``covered``: classes told apart by name; ``says``: p."""

    ratio: Mapping[str, float]
    covered: tuple[str, ...]
    says: Mapping[str, float]
    provenance: tuple[Provenance, ...]


def _restricted(values: Mapping[str, float], names: tuple[str, ...]) -> dict[str, float]:
    total = math.fsum(values[name] for name in names)
    return {name: values[name] / total for name in names}


def _clipped(values: Mapping[str, float]) -> dict[str, float]:
    held = {name: min(max(value, EPSILON), 1 - EPSILON) for name, value in values.items()}
    return _restricted(held, tuple(held))


def _classes(
    values: Mapping[str, Optional[float]], reference: Mapping[str, float], provenance: tuple[Provenance, ...]
) -> Optional[_Evidence]:
    """Evidence of a modality that names classes; ``reference`` is the case mix its probabilities assume."""
    known = {name: float(value) for name, value in values.items() if value is not None}
    if len(known) < 2:
        return None  # one class alone cannot be told from anything
    covered = tuple(name for name in CLASSES if name in known)
    q, p = _clipped(_restricted(reference, covered)), _clipped(known)
    return _Evidence({name: p[name] / q[name] for name in covered}, covered, p, provenance)


def _of_ct(result: RadiologyResult, prior: Mapping[str, float], prevalence: float) -> Optional[_Evidence]:
    """Subtypes where the CT model assessed them; otherwise malignancy, which tells cancer from normal alone."""
    named = _classes(result.probabilities, prior, result.provenance)
    if named is not None or result.malignancy is None:
        return named
    m = min(max(result.malignancy, EPSILON), 1 - EPSILON)
    ratio = {name: m / prevalence for name in CANCERS} | {"normal": (1 - m) / (1 - prevalence)}
    return _Evidence(ratio, (), {"cancer": m, "normal": 1 - m}, result.provenance)


def _of_fields(answer: Union[Mapping[str, float], Abstention], model: ClinicalModelLike) -> Optional[_Evidence]:
    return None if isinstance(answer, Abstention) else _classes(answer, model.prior, (model.provenance,))


def _pull(evidence: _Evidence, weight: float, prior: Mapping[str, float]) -> dict[str, float]:
    """Weighted log evidence per class, with a prior-weighted mean ratio of 1 over the classes it speaks of."""
    share = _restricted(prior, tuple(evidence.ratio))
    mean = math.fsum(share[name] * ratio**weight for name, ratio in evidence.ratio.items())
    return {
        name: weight * math.log(evidence.ratio[name]) - math.log(mean) if name in evidence.ratio else 0.0
        for name in CLASSES
    }


def _by_field(
    clinical: ClinicalFields, known: list[str], model: ClinicalModelLike, weight: float, prior: Mapping[str, float]
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
        return dict.fromkeys(CLASSES, 0.0) if evidence is None else _pull(evidence, weight, prior)

    base, shares = shapley(known, value)
    return {**shares, BASE: base}


def _checked(weights: Optional[Mapping[str, float]], prior: Mapping[str, float], prevalence: float) -> dict[str, float]:
    given = dict(weights or {})
    if not set(given) <= set(MODALITIES):
        raise InvalidInput("A weight names an unknown modality.", f"Known are: {', '.join(MODALITIES)}.")
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
            raise InvalidInput("A weight is not a number from 0 to 100.", "Give 0 to leave a modality out.")
    if set(prior) != set(CLASSES) or not all(v > 0 for v in prior.values()) or abs(sum(prior.values()) - 1) > 1e-6:
        raise InvalidInput("The prior is not valid.", "Give every class more than 0, all together 1.")
    if not 0 < prevalence < 1:
        raise InvalidInput("The malignancy model's prevalence is not valid.", "Give a share between 0 and 1.")
    return given


def fuse(
    radiology: Optional[RadiologyResult],
    pathology: Optional[PathologyResult],
    clinical: Optional[ClinicalFields],
    *,
    clinical_model: Optional[ClinicalModelLike] = None,
    weights: Optional[Mapping[str, float]] = None,
    prior: Mapping[str, float] = PRIOR,
    malignancy_prevalence: float = MALIGNANCY_PREVALENCE,
) -> FusionResult:
    """What the modalities of one case say together.

    Parameters
    ----------
    radiology, pathology, clinical : None where the case has none
    clinical_model : None leaves the clinical fields out
    weights : modality to weight, 0 to 100, over the defaults; 0 leaves the modality out
    prior : class to probability before any evidence
    malignancy_prevalence : share of malignant nodules in the data that calibrated the malignancy model

    Raises
    ------
    InvalidInput : a weight, the prior or the prevalence is not valid.

    Source: Genest and Zidek 1986, "Combining probability distributions", doi 10.1214/ss/1177013825.
    Departs from it in: ratios to the prior are pooled, so a modality may cover some classes only.
    """
    given = _checked(weights, prior, malignancy_prevalence)

    def pooled(**changed: Any) -> FusionResult:
        case = {"radiology": radiology, "pathology": pathology, "clinical": clinical, **changed}
        return _pooled(**case, model=clinical_model, given=given, prior=prior, prevalence=malignancy_prevalence)

    def without(**changed: Any) -> LeftOut:
        rest = pooled(**changed)
        return LeftOut(rest.probabilities, rest.not_assessed_mass, rest.abstention)

    whole = pooled()
    fields = [name for name in CLINICAL_FIELDS if getattr(clinical, name, None) is not None]
    left_out = {name: without(**{name: None}) for name in whole.weights}
    shares: dict[str, dict[str, float]] = {}
    if clinical is not None and fields:
        shares = {name: dict.fromkeys(CLASSES, 0.0) for name in (*CLINICAL_FIELDS, BASE)}
        if "clinical" in whole.weights and clinical_model is not None:
            shares.update(_by_field(clinical, fields, clinical_model, whole.weights["clinical"], prior))
            for name in fields:
                left_out[name] = without(clinical=dataclasses.replace(clinical, **{name: None}))
    return dataclasses.replace(whole, field_contributions=shares, leave_one_out=left_out)


def _pooled(
    radiology: Optional[RadiologyResult],
    pathology: Optional[PathologyResult],
    clinical: Optional[ClinicalFields],
    model: Optional[ClinicalModelLike],
    given: Mapping[str, float],
    prior: Mapping[str, float],
    prevalence: float,
) -> FusionResult:
    """The pool itself; parameters as in fuse(), ``given`` being the checked weights."""
    found: dict[str, Optional[_Evidence]] = dict.fromkeys(MODALITIES)
    if radiology is not None and radiology.abstention is None:
        found["radiology"] = _of_ct(radiology, prior, prevalence)
    if pathology is not None and pathology.abstention is None:
        found["pathology"] = _classes(pathology.probabilities, prior, pathology.provenance)
    if clinical is not None and model is not None:
        found["clinical"] = _of_fields(model.probabilities(clinical), model)

    taking_part: dict[str, _Evidence] = {}
    used: dict[str, float] = {}
    for name, evidence in found.items():
        if evidence is None:
            continue
        trusted = bool(evidence.provenance) and all(p.calibrated for p in evidence.provenance)
        weight = float(given.get(name, WEIGHTS[name] * (1.0 if trusted else UNCALIBRATED_FACTOR)))
        if weight > 0:
            taking_part[name], used[name] = evidence, weight

    pulls = {name: _pull(evidence, used[name], prior) for name, evidence in taking_part.items()}
    scores = {c: math.log(prior[c]) + math.fsum(pull[c] for pull in pulls.values()) for c in CLASSES}
    top = max(scores.values())
    pooled = _restricted({c: math.exp(score - top) for c, score in scores.items()}, CLASSES)
    assessed = {c for evidence in taking_part.values() for c in evidence.covered}
    agreement, conflict = agreement_of({name: evidence.says for name, evidence in taking_part.items()})
    return FusionResult(
        probabilities={c: pooled[c] if c in assessed else None for c in CLASSES},
        not_assessed_mass=min(1.0, math.fsum(pooled[c] for c in CLASSES if c not in assessed)),
        prior=dict(prior),
        weights=used,
        contributions=pulls,
        missing=tuple(name for name in MODALITIES if name not in taking_part),
        agreement=agreement,
        provenance=tuple(p for evidence in taking_part.values() for p in evidence.provenance),
        abstention=abstention_of({c: pooled[c] for c in assessed}, conflict),
    )
