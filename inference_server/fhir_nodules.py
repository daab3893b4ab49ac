"""The FHIR Observations of the CT: the case's malignancy, its classes, and one for each nodule.

add_ct()   puts them among the entries; the kinds of those that stand by themselves
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from shared_models.contract.results import Nodule, RadiologyResult

from .case_record import CaseRecord
from .dicom_codes import FOUND, FOUND_VALUES, MALIGNANCY, NODULES_FOUND, RELIABILITY
from .fhir_codes import CODED, Json, absent, component, concept, local, naming, probability, quantity
from .fhir_entries import Entries, clean, notes
from .fhir_imaging import add_selection, add_study
from .fhir_observations import class_components, observation, said

if TYPE_CHECKING:
    from .dicom_source import SourceSeries

_SITES = {"left": "left", "right": "right", None: "lung"}


def add_ct(entries: Entries, record: CaseRecord, series: Optional[SourceSeries], identified: bool) -> list[str]:
    """The CT's Observations, its ImagingStudy, and what each nodule lies on.

    Parameters
    ----------
    series : of the CT, where it is at hand
    identified : the study says what the series says of it
    """
    result, kind = record.radiology, "Observation/ct"
    if result is None:
        nothing = absent("not-performed", "No CT was analysed.")
        entries.add(kind, observation(entries, "imaging", local(MALIGNANCY.value), nothing))
        return [kind]
    study = add_study(entries, result.series_uid, series, identified)
    nodules = []
    for nodule in result.nodules:
        source = dict(study)
        if series is not None:
            source.update(add_selection(entries, nodule, record.mask, series))
        nodules.append(entries.add(f"Observation/nodule/{nodule.label}", _nodule(entries, nodule, result, source)))
    parts = [component(local(NODULES_FOUND.value), {"valueInteger": len(result.nodules)})]
    if result.reliability is not None:
        parts.append(component(local(RELIABILITY.value), quantity(float(result.reliability), "1")))
    told = notes([*said(result.abstention), *result.notes])
    words = "No model assessed it." if result.nodules else "No nodule was outlined."
    value = _malignancy(result.malignancy, result, words)
    site = {"bodySite": concept(CODED["lung"])}
    whole = observation(
        entries, "imaging", local(MALIGNANCY.value), value, component=parts, hasMember=nodules, derivedFrom=[study],
        **site, **told,
    )  # fmt: skip
    entries.add(kind, whole)
    classes = class_components(result.probabilities, result.provenance)
    whole = observation(entries, "imaging", local("ct-classes"), {}, component=classes, derivedFrom=[study], **site)
    entries.add("Observation/ct/classes", whole)
    return [kind, "Observation/ct/classes"]


def _malignancy(value: Optional[float], result: RadiologyResult, words: str) -> Json:
    """Where there is no value: who looked and gave no answer, or in ``words`` why nobody looked."""
    if result.abstention is None:
        return probability(value, "not-performed", words)
    return probability(value, "unknown", clean(result.abstention.reason))


def _nodule(entries: Entries, nodule: Nodule, result: RadiologyResult, source: Json) -> Json:
    parts = [
        component(concept(CODED["long_axis"]), quantity(float(nodule.long_axis_mm), "mm")),
        component(concept(CODED["short_axis"]), quantity(float(nodule.short_axis_mm), "mm")),
        component(concept(CODED["volume"]), quantity(float(nodule.volume_mm3), "mm3", "mm\u00b3")),
        component(concept(CODED["mean_hu"]), quantity(float(nodule.mean_hu), "[hnsf'U]", "HU")),
        component(local(MALIGNANCY.value), _malignancy(nodule.malignancy, result, "No model assessed this nodule.")),
        component(local(FOUND.value), {"valueCodeableConcept": local(FOUND_VALUES[nodule.found_by].value)}),
    ]
    parts += [
        component(local(f"centre-{axis}"), quantity(float(value), "mm"))
        for axis, value in zip("xyz", nodule.centre_lps_mm)
    ]
    if any(value is not None for value in nodule.subtype.values()):
        parts += class_components(nodule.subtype, result.provenance)
    # The axes are of the axial slice where the nodule is largest, as radiologists measure it.
    return observation(
        entries, "imaging", concept(CODED["nodule"], text=f"Nodule {nodule.label}"), {},
        identifier=[{"system": naming("nodule"), "value": f"{entries.case_id}/{nodule.label}"}],
        bodySite=concept(CODED[_SITES[nodule.side]]), component=parts, derivedFrom=[source],
    )  # fmt: skip
