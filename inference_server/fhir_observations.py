"""The FHIR Observations of what the modalities say together, of the slide and of the clinical fields.

observation()        what all of them have in common
class_components()   a probability per class, or why there is none
add_fusion(), add_slide(), add_clinical()   put them among the entries; the kinds that were added
The CT's are in fhir_nodules.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional

import numpy as np

from shared_models.contract.fusion_result import MODALITIES, PART_LABELS, FusionResult
from shared_models.contract.fusion_words import reliability_words, set_words
from shared_models.contract.probabilities import Probabilities
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import PathologyResult
from shared_models.contract.values import CLASSES, Abstention, ClinicalFields

from .case_record import CaseRecord
from .dicom_codes import NOT_ASSESSED_SHARE, RELIABILITY
from .fhir_codes import (
    CODED,
    Json,
    absent,
    class_concept,
    component,
    concept,
    local,
    naming,
    probability,
    quantity,
)
from .fhir_entries import Entries, clean, notes

_UNKNOWN_FIELD = "Not known."


def observation(entries: Entries, category: str, code: Json, value: Json, **more: object) -> Json:
    """An Observation; preliminary, since nobody verified it. ``value`` as for component(); empty parts are left out."""
    return {
        "status": "preliminary", "category": [concept(CODED[category])], "code": code,
        "subject": entries.reference("Patient"), "device": entries.reference("Device/software"), **value,
        **{name: part for name, part in more.items() if part},
    }  # fmt: skip


def said(abstention: Optional[Abstention]) -> list[str]:
    """An abstention as a note."""
    if abstention is None:
        return []
    return [f"No answer: {abstention.reason} What would help: {abstention.what_would_help}"]


def class_components(values: Probabilities, made_by: Iterable[Provenance]) -> list[Json]:
    """One for each of CLASSES; ``values`` 0 to 1. A class that no model knows is "unsupported", never 0."""
    known = {name for provenance in made_by for name in provenance.coverage}
    words = {
        "unknown": "Not assessed: there is no answer.",
        "unsupported": "Not assessed: no model that took part learned this class from real data.",
    }
    parts = []
    for name in CLASSES:
        reason = "unknown" if name in known else "unsupported"
        parts.append(component(class_concept(name), probability(values.get(name), reason, words[reason])))
    return parts


def add_fusion(entries: Entries, record: CaseRecord, members: list[str]) -> list[str]:
    """``members``: kinds of the Observations that it was fused from."""
    kind, code, fusion = "Observation/fusion", local("fused-classes"), record.fusion
    if fusion is None:
        entries.add(kind, observation(entries, "survey", code, absent("not-performed", "The parts were not fused.")))
        return [kind]
    if fusion.answer is not None:
        value = {"valueCodeableConcept": class_concept(fusion.answer)}
    else:
        value = absent("unknown", "No answer." if fusion.abstention is None else clean(fusion.abstention.reason))
    parts = class_components(fusion.probabilities, fusion.provenance)
    for name, part in zip(CLASSES, parts):
        if name in fusion.conformal_set:
            part["interpretation"] = [local("in-conformal-set")]
    parts.append(component(local(NOT_ASSESSED_SHARE.value), probability(fusion.not_assessed_mass)))
    parts += [_weight(name, fusion, record) for name in MODALITIES]
    words = [*said(fusion.abstention), fusion.agreement, set_words(fusion), *reliability_words(fusion)]
    sources = [entries.reference(member) for member in members]
    whole = observation(entries, "survey", code, value, component=parts, derivedFrom=sources, **notes(words))
    entries.add(kind, whole)
    return [kind]


def _weight(name: str, fusion: FusionResult, record: CaseRecord) -> Json:
    weight = fusion.weights.get(name)
    if weight is not None:
        return component(local(f"weight-{name}"), quantity(float(weight), "1"))
    there = getattr(record, name) is not None
    words = "It was there, but did not take part." if there else f"{PART_LABELS[name]}: not there."
    return component(local(f"weight-{name}"), absent("unknown" if there else "not-performed", words))


def area_fractions(result: PathologyResult) -> dict[str, float]:
    """Class to the share of all tiles that it is the likeliest of; the classes that were assessed."""
    table = result.tile_probabilities
    rows, columns = np.isfinite(table).any(axis=1), np.flatnonzero(np.isfinite(table).any(axis=0))
    likeliest = np.nanargmax(table[rows], axis=1) if rows.any() else np.empty(0, int)
    return {CLASSES[c]: float((likeliest == c).sum() / len(table)) for c in columns}


def add_slide(entries: Entries, result: Optional[PathologyResult]) -> list[str]:
    """The slide's Observations, and the Specimen that it shows."""
    kind = "Observation/slide"
    if result is None:
        nothing = absent("not-performed", "No slide was analysed.")
        entries.add(kind, observation(entries, "laboratory", local("slide-classes"), nothing))
        return [kind]
    of_slide = {"specimen": _specimen(entries, result)}
    parts = class_components(result.probabilities, result.provenance)
    parts.append(component(local("pixel-size"), quantity(float(result.mpp), "um", "\u00b5m")))
    parts.append(component(local("tile-count"), {"valueInteger": len(result.origin_px)}))
    if result.tile_quality is not None and len(result.tile_quality):
        parts.append(component(local("tile-quality"), quantity(float(np.median(result.tile_quality)), "1")))
    if result.reliability is not None:
        parts.append(component(local(RELIABILITY.value), quantity(float(result.reliability), "1")))
    value = _likeliest(result.probabilities, result.abstention)
    words = notes([*said(result.abstention), *result.notes])
    code = local("slide-classes")
    entries.add(kind, observation(entries, "laboratory", code, value, component=parts, **of_slide, **words))
    areas = class_components(area_fractions(result), result.provenance)
    whole = observation(entries, "laboratory", local("slide-areas"), {}, component=areas, **of_slide)
    entries.add("Observation/slide/areas", whole)
    kinds = [kind, "Observation/slide/areas"]
    others = _others(result)
    if others:
        code = concept(text="Mean probability over the tiles, classes of the slide's own model")
        whole = observation(entries, "laboratory", code, {}, component=others, **of_slide)
        entries.add("Observation/slide/others", whole)
        kinds.append("Observation/slide/others")
    return kinds


def _others(result: PathologyResult) -> list[Json]:
    """Of a model of somebody else, whose classes have no codes here."""
    table = result.other_probabilities
    if table is None or not len(table):
        return []
    means = table.mean(axis=0)
    return [component(concept(text=clean(n)), quantity(float(m), "1")) for n, m in zip(result.other_classes, means)]


def _likeliest(probabilities: Mapping[str, Optional[float]], abstention: Optional[Abstention]) -> Json:
    """The likeliest class as value, or why there is none."""
    assessed = {name: value for name, value in probabilities.items() if value is not None}
    if abstention is not None:
        return absent("unknown", clean(abstention.reason))
    if not assessed:
        return absent("unsupported", "No class of the suite was assessed.")
    return {"valueCodeableConcept": class_concept(max(assessed, key=assessed.__getitem__))}


def _specimen(entries: Entries, result: PathologyResult) -> Json:
    """Where and how the tissue was taken is not known here, so it is not said."""
    return entries.add(
        "Specimen",
        {
            "identifier": [{"system": naming("slide"), "value": clean(result.slide_id)}],
            "type": concept(CODED["tissue"]),
            "subject": entries.reference("Patient"),
            "processing": [
                {"description": "Hematoxylin and eosin, as the models expect", "procedure": concept(CODED["he_stain"])}
            ],
            "container": [{"description": "Glass slide, scanned whole"}],
        },
    )


def add_clinical(entries: Entries, fields: Optional[ClinicalFields]) -> list[str]:
    """One Observation for each field, known or not."""
    given = fields or ClinicalFields()
    unknown = absent("unknown", _UNKNOWN_FIELD)
    rows = {
        "age_years": ("survey", concept(CODED["age_years"]), _amount(given.age_years, "a", "years")),
        "sex": ("survey", concept(CODED["sex"]), _answer(given.sex)),
        "smoking": ("social_history", concept(CODED["smoking"]), _answer(given.smoking)),
        "pack_years": (
            "social_history", concept(CODED["pack_years"], CODED["pack_years_sct"], text="Pack-years"),
            _amount(given.pack_years, "{pack-years}", "pack-years"),
        ),
    }  # fmt: skip
    kinds = []
    for name, (category, code, value) in rows.items():
        whole = observation(entries, category, code, value or unknown)
        del whole["device"]  # as it was given, not measured by us
        kinds.append(f"Observation/clinical/{name}")
        entries.add(kinds[-1], whole)
    return kinds


def _amount(value: Optional[float], code: str, unit: str) -> Optional[Json]:
    return None if value is None else quantity(value, code, unit)


def _answer(value: Optional[str]) -> Optional[Json]:
    return None if value is None else {"valueCodeableConcept": concept(CODED[value], text=value)}
