"""What the modalities of a case say together. An object that exists is valid.

FusionResult   the fused answer, how much each modality and each clinical field said, and what is said without it
LeftOut        the answer without one of them
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from .errors import InvalidInput
from .probabilities import Probabilities, checked_probabilities, checked_probability
from .provenance import Provenance
from .values import CLASSES, Abstention, ClinicalFields

MODALITIES = ("radiology", "pathology", "clinical")
CLINICAL_FIELDS = tuple(ClinicalFields.__dataclass_fields__)
# Beside the fields: what the clinical model says before any field is known.
BASE = "base"
# Modality, field and base to the words that a reader sees.
PART_LABELS: dict[str, str] = {
    "radiology": "CT",
    "pathology": "Slide",
    "clinical": "Clinical fields",
    "age_years": "Age",
    "sex": "Sex",
    "smoking": "Smoking",
    "pack_years": "Pack-years",
    BASE: "Before any field",
}
_SHARES_TOLERANCE = 1e-6


def _likeliest(probabilities: Probabilities, abstention: Optional[Abstention]) -> Optional[str]:
    assessed = {name: value for name, value in probabilities.items() if value is not None}
    return max(assessed, key=assessed.__getitem__) if assessed and abstention is None else None


@dataclass(frozen=True)
class LeftOut:
    """What the modalities would say together if one part were not there: the fusion of the rest, by the same rules.

    Parameters
    ----------
    probabilities, not_assessed_mass, abstention : as in FusionResult
    """

    probabilities: Probabilities
    not_assessed_mass: float
    abstention: Optional[Abstention] = None

    def __post_init__(self) -> None:
        checked_probability(self.not_assessed_mass, "The share of the classes not assessed")
        checked_probabilities(self.probabilities, 1.0 - self.not_assessed_mass)

    @property
    def answer(self) -> Optional[str]:
        """The likeliest class; None where there would be no answer."""
        return _likeliest(self.probabilities, self.abstention)


@dataclass(frozen=True)
class FusionResult:
    """What all modalities say together.

    Parameters
    ----------
    probabilities : class to probability; None where no modality assessed it
    not_assessed_mass : probability left to the classes that no modality assessed
    prior : class to probability before any evidence
    weights : modality to its weight in the pool, for those that took part
    contributions : modality to class to weighted log evidence; 0 is neutral
    missing : modalities that did not take part
    agreement : in words, whether the modalities point the same way
    provenance : of every model that took part
    abstention : set where there is no answer
    field_contributions : each of CLINICAL_FIELDS, and BASE, to class to its share of ``contributions["clinical"]``,
        which the shares sum to; 0 for a field that is not known. All are 0 where the fields were given but did not
        take part. Empty where none was given, or the server is older than 0.2
    leave_one_out : each modality that took part, and each clinical field that took part, to what would be said
        without it. Empty where none took part, or the server is older than 0.2
    class_weights : modality to class to weight, for those whose weights were learned; its mean is in ``weights``
    reliability : those modalities, to the share of the learned weight that the case's reliability left, 0 to 1
    conformal_set : classes, likeliest first, that hold the true one in ``conformal_coverage`` of the cases that are
        like those it was calibrated on; only classes that were assessed. Empty where no such set was calibrated
    conformal_coverage : 0 to 1; None where there is no set
    """

    probabilities: Probabilities
    not_assessed_mass: float
    prior: Mapping[str, float]
    weights: Mapping[str, float]
    contributions: Mapping[str, Mapping[str, float]]
    missing: tuple[str, ...]
    agreement: str
    provenance: tuple[Provenance, ...] = ()
    abstention: Optional[Abstention] = None
    field_contributions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    leave_one_out: Mapping[str, LeftOut] = field(default_factory=dict)
    class_weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reliability: Mapping[str, float] = field(default_factory=dict)
    conformal_set: tuple[str, ...] = ()
    conformal_coverage: Optional[float] = None

    @property
    def answer(self) -> Optional[str]:
        """The likeliest class; None where there is no answer."""
        return _likeliest(self.probabilities, self.abstention)

    def __post_init__(self) -> None:
        checked_probability(self.not_assessed_mass, "The share of the classes not assessed")
        checked_probabilities(self.probabilities, 1.0 - self.not_assessed_mass)
        checked_probabilities(self.prior, 1.0)
        if set(self.weights) | set(self.missing) != set(MODALITIES) or set(self.weights) & set(self.missing):
            raise InvalidInput("Each modality either took part or is missing.", "Check the versions.")
        if set(self.contributions) != set(self.weights):
            raise InvalidInput("A modality's contribution is missing.", "Check the versions of both sides.")
        numbers = [*self.weights.values(), *(v for row in self.contributions.values() for v in row.values())]
        if not all(math.isfinite(n) for n in numbers) or any(w < 0 for w in self.weights.values()):
            raise InvalidInput("A weight or contribution is not valid.", "Weights are 0 or more.")
        self._check_parts()
        self._check_learned()

    def _check_parts(self) -> None:
        """Shares of the fields that sum to what the clinical fields contribute, and parts that can be left out."""
        shares, whole = self.field_contributions, self.contributions.get("clinical", {})
        if shares:
            rows = [shares.get(name, {}) for name in (*CLINICAL_FIELDS, BASE)]
            if len(shares) != len(rows) or any(set(row) != set(CLASSES) for row in rows):
                raise InvalidInput("A clinical field's contribution is missing.", "Check the versions of both sides.")
            # NaN fails the comparison too.
            if not all(
                abs(math.fsum(row[name] for row in rows) - whole.get(name, 0.0)) <= _SHARES_TOLERANCE
                for name in CLASSES
            ):
                raise InvalidInput(
                    "The clinical fields' contributions do not add up.", "Report this: the result is faulty."
                )
        known = {*self.weights, *(CLINICAL_FIELDS if "clinical" in self.weights else ())}
        if not set(self.leave_one_out) <= known:
            raise InvalidInput("A part that did not take part is left out.", "Check the versions of both sides.")

    def _check_learned(self) -> None:
        """Weights of classes and a conformal set that belong to this result."""
        rows = self.class_weights
        numbers = [weight for row in rows.values() for weight in row.values()]
        valid = set(rows) <= set(self.weights) and all(set(row) <= set(CLASSES) for row in rows.values())
        valid = valid and set(self.reliability) <= set(self.weights) and all(math.isfinite(n) for n in numbers)
        if not valid or any(n < 0 for n in numbers) or not all(0 <= r <= 1 for r in self.reliability.values()):
            raise InvalidInput("A learned weight is not valid.", "Check the versions of both sides.")
        chosen, coverage = self.conformal_set, self.conformal_coverage
        assessed = {name for name, value in self.probabilities.items() if value is not None}
        whole = len(set(chosen)) == len(chosen) and set(chosen) <= assessed and bool(chosen) == (coverage is not None)
        if not whole or (coverage is not None and not 0 < coverage < 1):
            raise InvalidInput("The set of likely classes is not valid.", "Check the versions of both sides.")
