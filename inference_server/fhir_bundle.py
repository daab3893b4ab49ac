"""A case as FHIR R4: one Bundle that needs nothing else, in which every reference resolves.

fhir_bundle()   CaseRecord -> plain JSON

The Bundle is a *collection*: a file that is handed over and does nothing by itself. A transaction would make a server
write, and what a research result overwrites in a hospital is for that hospital to say. Ids follow from the case and
from what a resource is, so whoever stores it can PUT each entry under its id, and a case sent again replaces itself.

Patient             the case's pseudonymous id; more only where it was asked for
DiagnosticReport    preliminary, for ever: research
Observation         fused answer, CT, nodules, slide, clinical fields (fhir_observations.py, fhir_nodules.py)
ImagingStudy, Basic the images (fhir_imaging.py); Specimen: the slide
ClinicalImpression  each note of the board, which is a clinicians' judgement and not a measurement
Device, Provenance  what made what (fhir_makers.py)
CodeSystem          the codes that are ours (fhir_codes.py)
"""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any, Optional

from shared_models.contract.errors import InvalidInput
from shared_models.contract.provenance import Provenance

from .case_record import CaseRecord
from .fhir_codes import CODED, Json, code_system, concept, local, naming
from .fhir_entries import Entries, clean
from .fhir_imaging import date_of
from .fhir_makers import add_devices, add_provenance
from .fhir_narrative import conclusion, patient_text, report_text
from .fhir_nodules import add_ct
from .fhir_observations import add_clinical, add_fusion, add_slide

if TYPE_CHECKING:
    from .dicom_source import SourceSeries

_GENDERS = {"F": "female", "M": "male", "O": "other"}


def fhir_bundle(
    record: CaseRecord,
    series: Optional[SourceSeries] = None,
    *,
    identified: bool = False,
    created: Optional[datetime.datetime] = None,
) -> dict[str, Any]:
    """The Bundle.

    Parameters
    ----------
    record : the case
    series : the DICOM series of its CT; with it the images are named by their UIDs
    identified : the Patient also bears what the series says of it (id, name, birth date, sex), the ImagingStudy its
        date, accession number and descriptions. Off by default: without it nothing of the series but UIDs and the
        numbers of series and images goes into the Bundle
    created : now, unless given; without a time zone it is local time. The Bundle says it in UTC

    Raises
    ------
    InvalidInput : ``identified`` without a series, or the series is not that of the case.
    BadGeometry : the case's CT does not lie where the series lies.
    """
    if identified and series is None:
        raise InvalidInput("Who the patient is stands in the DICOM series only.", "Give the CT's DICOM folder too.")
    if series is not None:
        series.check(record)
    moment = (created or datetime.datetime.now()).astimezone(datetime.timezone.utc).isoformat(timespec="seconds")
    entries = Entries(record.case_id, record.synthetic)
    entries.add("Patient", _patient(record, series if identified else None))
    results = (record.radiology, record.pathology, record.fusion)
    add_devices(entries, [model for result in results if result is not None for model in result.provenance])

    ct = add_ct(entries, record, series, identified)
    slide = add_slide(entries, record.pathology)
    clinical = add_clinical(entries, record.clinical)
    there = [
        *(ct[:1] if record.radiology is not None else []),
        *(slide[:1] if record.pathology is not None else []),
        *(clinical if record.clinical is not None else []),
    ]
    fused = add_fusion(entries, record, there)
    report = _report(entries, record, [*fused, *ct, *slide, *clinical], moment)
    entries.add("DiagnosticReport", report)
    _notes(entries, record)

    def provenance(name: str, kinds: list[str], models: tuple[Provenance, ...], sources: list[Json]) -> None:
        add_provenance(entries, name, kinds, models, sources, moment)

    if record.radiology is not None:
        made = [*ct, *entries.kinds("Observation/nodule/"), *entries.kinds("Basic/")]
        provenance("ct", made, record.radiology.provenance, [entries.reference("ImagingStudy")])
    if record.pathology is not None:
        provenance("slide", slide, record.pathology.provenance, [entries.reference("Specimen")])
    sources = [entries.reference(kind) for kind in there]
    if record.fusion is not None:
        provenance("fusion", fused, record.fusion.provenance, sources)
    provenance("report", ["DiagnosticReport"], (), [*sources, *map(entries.reference, fused)])
    entries.add("CodeSystem", code_system())
    bundle = {
        "resourceType": "Bundle", "id": entries.id_of("Bundle"), "meta": entries.meta, "language": "en",
        "identifier": {"system": naming("bundle"), "value": record.case_id},
        "type": "collection", "timestamp": moment, "entry": entries.entries("DiagnosticReport"),
    }  # fmt: skip
    # No two parts of it are one object, and what is no JSON is a fault here, not at the receiver.
    whole: dict[str, Any] = json.loads(json.dumps(bundle, allow_nan=False))
    return whole


def _patient(record: CaseRecord, series: Optional[SourceSeries]) -> Json:
    """``series`` only where the patient is to be named."""
    own = {"type": concept(text="Pseudonymous case id"), "system": naming("case"), "value": record.case_id}
    if series is None:
        return {"text": patient_text(record), "identifier": [own]}
    header = series.datasets[0]
    patient: Json = {"identifier": [own]}
    number, issuer = (str(header.get(k) or "").strip() for k in ("PatientID", "IssuerOfPatientID"))
    if number:
        issued = {"assigner": {"display": clean(issuer)}} if issuer else {}
        patient["identifier"].append({"type": concept(CODED["record_number"]), "value": clean(number), **issued})
    name = header.get("PatientName")
    text = "" if name is None else " ".join(str(name).replace("^", " ").replace("=", " ").split())
    if text:
        given = [clean(part) for part in (name.given_name, name.middle_name) if part]
        parts = {"family": clean(name.family_name)} if name.family_name else {}
        patient["name"] = [{"text": clean(text), **parts, **({"given": given} if given else {})}]
    gender = _GENDERS.get(str(header.get("PatientSex") or "").strip())
    born = date_of(str(header.get("PatientBirthDate") or "").strip())
    patient.update({"gender": gender} if gender else {})
    patient.update({"birthDate": born} if born else {})
    return {"text": patient_text(record, text), **patient}


def _report(entries: Entries, record: CaseRecord, results: list[str], moment: str) -> Json:
    """No code of the conclusion: a research result must not be found where diagnoses are searched for."""
    category = [concept(CODED[name]) for name in ("radiology", "pathology") if getattr(record, name) is not None]
    report: Json = {
        "language": "en",
        "text": report_text(record),
        "identifier": [{"system": naming("report"), "value": record.case_id}],
        "status": "preliminary",
        "code": local("case-report"),
        "subject": entries.reference("Patient"),
        "issued": moment,
        "result": [entries.reference(kind) for kind in results],
        "conclusion": conclusion(record),
    }
    if category:
        report["category"] = category
    for field, kind in (("specimen", "Specimen"), ("imagingStudy", "ImagingStudy")):
        if kind in entries:
            report[field] = [entries.reference(kind)]
    return report


def _notes(entries: Entries, record: CaseRecord) -> None:
    """One ClinicalImpression each, which names the one before it; one of earlier results does not name this report."""
    before: Optional[Json] = None
    for number, note in enumerate(record.notes, start=1):
        annotation: Json = {"text": clean(note.text if note.text.strip() else note.decision)}
        impression: Json = {
            "status": "completed",
            "description": "Note of the tumour board",
            "subject": entries.reference("Patient"),
            "note": [annotation],
        }
        if note.author.strip():
            annotation["authorString"] = clean(note.author)
        if note.created:
            annotation["time"] = impression["date"] = note.created
        if note.decision.strip():
            impression["summary"] = clean(note.decision)
        if before is not None:
            impression["previous"] = before
        about = {"system": naming("results"), "value": note.about}
        seen = [{"identifier": about, "display": "The results as they were then"}] if note.about else []
        if note.about and note.about == record.about:
            seen = [entries.reference("DiagnosticReport")]
        if seen:
            impression["investigation"] = [{"code": local("results"), "item": seen}]
        before = entries.add(f"ClinicalImpression/{number}", impression)
