"""The codes of the FHIR export: each with its code system, its display as that system spells it, and who confirms it.

CODED         name to Coding, of standard terminologies
LOCAL         code to (display, definition) of what no standard terminology names; code_system() goes with the bundle
concept(), local(), class_concept()   CodeableConcepts
quantity(), probability(), absent()   value[x] in UCUM, and why there is none
component()   of an Observation
naming()      the system of an identifier of ours

Confirmed by
- pydicom 3.0's dictionaries of DICOM PS3.16: all of DCM; of SNOMED CT axes, volume, stain, specimen, smoking, normal
- HL7's IPS, hl7ch/ch-ips: smoking status and its answers, lung structure; maps of RadLex: left and right lung
- the Lithuanian lung screening guide: nodule of lung; the German base profiles: cigarette pack-years and their unit
- hl7-eu/imaging, after hl7.fhir.uv.xver-r5.r4 0.1.0: of interest; HL7's AI transparency guide: program software
- GDC's list of ICD-O-3 morphology: the four carcinomas; mCODE and others: the system of ICD-O-3
- the value sets of R4: why a value is absent, categories, provenance; R4's own examples: test health data
Of SNOMED CT the preferred term is the display, without the semantic tag. DCM 111047 "Probability of cancer" is left
alone: see dicom_codes.py.
"""

from __future__ import annotations

from typing import Any, Optional

from shared_models.contract.colours import CLASS_LABELS
from shared_models.phantom_dicom import new_uid

from .dicom_codes import FOUND, FOUND_VALUES, MALIGNANCY, NODULES_FOUND, NOT_ASSESSED_SHARE, RELIABILITY

Json = dict[str, Any]

SNOMED, LOINC, UCUM = "http://snomed.info/sct", "http://loinc.org", "http://unitsofmeasure.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
ICD_O_3 = "http://terminology.hl7.org/CodeSystem/icd-o-3"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_HL7 = "http://terminology.hl7.org/CodeSystem/"

CODED: dict[str, Json] = {
    name: {"system": system, "code": code, "display": display}
    for name, system, code, display in (
        # Morphology. "Normal" is no neoplasm and has no morphology code of ICD-O-3.
        ("adenocarcinoma", ICD_O_3, "8140/3", "Adenocarcinoma, NOS"),
        ("squamous_cell", ICD_O_3, "8070/3", "Squamous cell carcinoma, NOS"),
        ("large_cell", ICD_O_3, "8012/3", "Large cell carcinoma, NOS"),
        ("small_cell", ICD_O_3, "8041/3", "Small cell carcinoma, NOS"),
        ("normal", SNOMED, "17621005", "Normal"),
        # The nodule
        ("nodule", SNOMED, "786838002", "Nodule of lung"),
        ("lung", SNOMED, "39607008", "Lung structure"),
        ("left", SNOMED, "44029006", "Left lung structure"),
        ("right", SNOMED, "3341006", "Right lung structure"),
        ("long_axis", SNOMED, "103339001", "Long axis"),
        ("short_axis", SNOMED, "103340004", "Short axis"),
        ("volume", SNOMED, "118565006", "Volume"),
        ("mean_hu", DCM, "112181", "Mean Attenuation Coefficient"),
        ("of_interest", DCM, "113000", "Of Interest"),
        ("ct", DCM, "CT", "Computed Tomography"),
        # The slide
        ("tissue", SNOMED, "119376003", "Tissue specimen"),
        ("he_stain", SNOMED, "104210008", "Hematoxylin and eosin stain method"),
        # Clinical fields
        ("age_years", LOINC, "30525-0", "Age"),
        ("sex", LOINC, "46098-0", "Sex"),
        ("female", "http://hl7.org/fhir/administrative-gender", "female", "Female"),
        ("male", "http://hl7.org/fhir/administrative-gender", "male", "Male"),
        ("smoking", LOINC, "72166-2", "Tobacco smoking status"),
        ("never", SNOMED, "266919005", "Never smoked tobacco"),
        ("former", SNOMED, "8517006", "Ex-smoker"),
        ("current", SNOMED, "77176002", "Smoker"),
        ("pack_years", LOINC, "8664-5", "Cigarettes smoked total (pack per year) - Reported"),
        ("pack_years_sct", SNOMED, "401201003", "Cigarette pack-years"),
        # Kinds
        ("imaging", _HL7 + "observation-category", "imaging", "Imaging"),
        ("laboratory", _HL7 + "observation-category", "laboratory", "Laboratory"),
        ("social_history", _HL7 + "observation-category", "social-history", "Social History"),
        ("survey", _HL7 + "observation-category", "survey", "Survey"),
        ("radiology", _HL7 + "v2-0074", "RAD", "Radiology"),
        ("pathology", _HL7 + "v2-0074", "SP", "Surgical Pathology"),
        ("record_number", _HL7 + "v2-0203", "MR", "Medical record number"),
        ("accession", _HL7 + "v2-0203", "ACSN", "Accession ID"),
        ("software", SNOMED, "706689003", "Application program software"),
        ("performer", _HL7 + "provenance-participant-type", "performer", "Performer"),
        ("assembler", _HL7 + "provenance-participant-type", "assembler", "Assembler"),
        ("research", ACT_REASON, "HRESCH", "healthcare research"),
        ("test", ACT_REASON, "HTEST", "test health data"),
        # Why there is no value
        ("unknown", _HL7 + "data-absent-reason", "unknown", "Unknown"),
        ("unsupported", _HL7 + "data-absent-reason", "unsupported", "Unsupported"),
        ("not-performed", _HL7 + "data-absent-reason", "not-performed", "Not Performed"),
    )
}

LOCAL: dict[str, tuple[str, str]] = {
    "research-use-only": ("Research use only, not a diagnosis", "By research software; not for clinical decisions."),
    "case-report": ("Lung cancer case report", "What CT, H&E slide and clinical fields of one case say together."),
    "fused-classes": ("Class probabilities, fused", "Probability of each class after CT, slide and clinical fields."),
    "ct-classes": ("Class probabilities, CT", "Probability of each class from the CT alone."),
    "slide-classes": ("Class probabilities, slide", "Probability of each class from the H&E slide alone."),
    "slide-areas": ("Area fractions, slide", "Share of the analysed tiles whose likeliest class is this one."),
    "in-conformal-set": ("In the set of likely classes", "Belongs to the conformal set of the fused answer."),
    "weight-radiology": ("Weight of the CT", "Of its log evidence in the fusion; mean over the classes."),
    "weight-pathology": ("Weight of the slide", "Of its log evidence in the fusion; mean over the classes."),
    "weight-clinical": ("Weight of the clinical fields", "Of their log evidence in the fusion; mean over the classes."),
    "centre-x": ("Centre of mass, x", "DICOM patient coordinates: towards the patient's left."),
    "centre-y": ("Centre of mass, y", "DICOM patient coordinates: towards the back."),
    "centre-z": ("Centre of mass, z", "DICOM patient coordinates: towards the head."),
    "tile-count": ("Number of tiles", "That were analysed."),
    "tile-quality": ("Quality of the tiles, median", "0: useless; 1: sharp, whole tissue."),
    "pixel-size": ("Pixel size", "At which the model looked, micrometres per pixel."),
    "coverage": ("Class learned from real data", "A class outside the coverage is not assessed, never probability 0."),
    "calibrated": ("Calibrated", "Whether probabilities were calibrated on held-out data."),
    "ran-on": ("Ran on", "Kind of processor."),
    "results": ("Results", "SHA-256 of the results that a note was written about."),
    **{
        code.value: (code.meaning, "As in the DICOM exports, coding scheme 99LUNGXAI.")
        for code in (MALIGNANCY, RELIABILITY, NODULES_FOUND, NOT_ASSESSED_SHARE, FOUND, *FOUND_VALUES.values())
    },
}
SYSTEM = "urn:oid:" + new_uid("LungXAI", "codes")


def naming(name: str) -> str:
    """The system of identifiers ``name``, as "case": an OID that follows from it."""
    return "urn:oid:" + new_uid("LungXAI", "identifiers", name)


def coded(code: str) -> Json:
    """Coding of one of LOCAL."""
    return {"system": SYSTEM, "code": code, "display": LOCAL[code][0]}


def concept(*codings: Json, text: str = "") -> Json:
    """CodeableConcept."""
    return {**({"coding": list(codings)} if codings else {}), **({"text": text} if text else {})}


def local(code: str, *more: Json) -> Json:
    """CodeableConcept of one of LOCAL, and of codings that say the same."""
    return concept(coded(code), *more, text=LOCAL[code][0])


def class_concept(name: str) -> Json:
    """CodeableConcept of one of CLASSES."""
    return concept(CODED[name], text=CLASS_LABELS[name])


def quantity(value: float, code: str, unit: str = "") -> Json:
    """valueQuantity, to the last digit as it is; ``code`` of UCUM, ``unit`` as people write it."""
    return {"valueQuantity": {"value": value, "unit": unit or code, "system": UCUM, "code": code}}


def probability(value: Optional[float], reason: str = "", words: str = "") -> Json:
    """valueQuantity of 0 to 1; where there is none, absent()."""
    return absent(reason, words) if value is None else quantity(float(value), "1")


def absent(reason: str, words: str) -> Json:
    """dataAbsentReason: "unsupported" (no model can say it), "not-performed" (nobody looked), "unknown" (no answer)."""
    return {"dataAbsentReason": concept(CODED[reason], text=words)}


def component(code: Json, value: Json) -> Json:
    """One component; ``value`` as quantity() and absent() give it."""
    return {"code": code, **value}


def code_system() -> Json:
    """LOCAL as a resource, so that a receiver needs nothing else to read the codes."""
    return {
        "resourceType": "CodeSystem", "url": SYSTEM, "version": "1", "name": "LungXAICodes", "title": "LungXAI codes",
        "status": "active", "experimental": True, "caseSensitive": True, "content": "complete", "count": len(LOCAL),
        "description": "What LungXAI reports and no standard terminology names. Research use only.",
        "concept": [{"code": c, "display": words, "definition": more} for c, (words, more) in LOCAL.items()],
    }  # fmt: skip
