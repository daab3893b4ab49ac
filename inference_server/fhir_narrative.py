"""The words that a FHIR receiver without our codes shows: XHTML, which every such receiver can draw.

narrative()     a resource's text
report_text()   of the DiagnosticReport
patient_text()  of the Patient
conclusion()    of the DiagnosticReport, one paragraph
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional
from xml.etree import ElementTree

from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.fusion_result import PART_LABELS
from shared_models.contract.probabilities import Probabilities
from shared_models.contract.values import CLASSES, ClinicalFields

from .case_record import CaseRecord
from .fhir_codes import Json
from .fhir_entries import clean
from .fhir_observations import area_fractions
from .report_charts import percent
from .report_fusion import clinical_words

RESEARCH = "Research use only. Not a medical device, not a diagnosis."
_SYNTHETIC = "SYNTHETIC CASE: drawn or composed by a program, no patient."


def narrative(parts: Sequence[ElementTree.Element]) -> Json:
    """Narrative of XHTML elements."""
    div = ElementTree.Element("div", xmlns="http://www.w3.org/1999/xhtml")
    div.extend(parts)
    return {"status": "generated", "div": ElementTree.tostring(div, encoding="unicode")}


def _words(tag: str, text: str) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    element.text = clean(text) if text else None
    return element


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> ElementTree.Element:
    table = ElementTree.Element("table")
    table.append(_words("caption", caption))
    for tag, lines in (("thead", [head]), ("tbody", rows)):
        part = ElementTree.SubElement(table, tag)
        for line in lines:
            row = ElementTree.SubElement(part, "tr")
            row.extend(_words("th" if tag == "thead" else "td", cell) for cell in line)
    return table


def _first(record: CaseRecord) -> list[ElementTree.Element]:
    return [_words("p", RESEARCH), *([_words("p", _SYNTHETIC)] if record.synthetic else [])]


def conclusion(record: CaseRecord) -> str:
    """What is said together, or why nothing is, and of what kind it is."""
    return clean(f"{RESEARCH} {_SYNTHETIC + ' ' if record.synthetic else ''}{_together(record)}")


def _together(record: CaseRecord) -> str:
    fusion = record.fusion
    if fusion is None:
        words = "CT, slide and clinical fields were not fused."
    elif fusion.answer is not None:
        share = percent(fusion.probabilities[fusion.answer])
        words = f"Likeliest class: {CLASS_LABELS[fusion.answer].lower()}, {share}. {fusion.agreement}"
    else:
        reason = "" if fusion.abstention is None else f" {fusion.abstention.reason} {fusion.abstention.what_would_help}"
        words = f"No answer.{reason} {fusion.agreement}"
    missing = [name for name in CLASSES if fusion is not None and fusion.probabilities[name] is None]
    if missing:
        words += f" Not assessed: {', '.join(CLASS_LABELS[name].lower() for name in missing)}."
    return words.strip()


def patient_text(record: CaseRecord, name: str = "") -> Json:
    """``name``: only where the patient is to be named."""
    return narrative([*_first(record), _words("p", f"Case {record.case_id}{', ' + name if name else ''}")])


def report_text(record: CaseRecord) -> Json:
    """The report in short."""
    parts = [*_first(record), _words("h2", f"Case {record.case_id}"), _words("p", _together(record))]
    columns: list[tuple[str, Optional[Probabilities]]] = [
        ("Together", None if record.fusion is None else record.fusion.probabilities),
        (PART_LABELS["radiology"], None if record.radiology is None else record.radiology.probabilities),
        (PART_LABELS["pathology"], None if record.pathology is None else record.pathology.probabilities),
    ]
    columns = [(label, values) for label, values in columns if values is not None]
    if columns:
        head = ["Class", *(label for label, _ in columns)]
        rows = [[CLASS_LABELS[c], *(percent(values[c]) for _, values in columns if values)] for c in CLASSES]
        if record.fusion is not None and record.fusion.not_assessed_mass:
            share = percent(record.fusion.not_assessed_mass)
            rows.append(["Left to the classes not assessed", share, *("" for _ in columns[1:])])
        parts.append(_table("Probability of each class", head, rows))
    parts += _ct(record) + _slide(record)
    parts.append(_table("Clinical fields", ["Field", "Value"], _clinical(record.clinical or ClinicalFields())))
    for note in record.notes:
        when = f"{note.created[:16].replace('T', ' ')} UTC" if note.created else ""
        parts.append(_words("h3", " ".join(word for word in ("Board's note", when, note.author) if word)))
        lines = [note.decision, *note.text.splitlines()]
        parts += [_words("p", line) for line in lines if line.strip()]
    return narrative(parts)


def _ct(record: CaseRecord) -> list[ElementTree.Element]:
    if record.radiology is None:
        return [_words("p", "No CT was analysed.")]
    if not record.radiology.nodules:
        return [_words("p", "On the CT no nodule was outlined.")]
    head = ["Nodule", "Lung", "Long axis, mm", "Short axis, mm", "Volume, mm\u00b3", "Mean HU", "Malignancy"]
    rows = [
        [
            str(n.label), n.side or "between", f"{n.long_axis_mm:.1f}", f"{n.short_axis_mm:.1f}",
            f"{n.volume_mm3:.0f}", f"{n.mean_hu:.0f}", percent(n.malignancy),
        ]
        for n in record.radiology.nodules
    ]  # fmt: skip
    return [_table("Nodules on the CT", head, rows)]


def _slide(record: CaseRecord) -> list[ElementTree.Element]:
    result = record.pathology
    if result is None:
        return [_words("p", "No slide was analysed.")]
    rows = [[CLASS_LABELS[name], percent(share) if share else "none"] for name, share in area_fractions(result).items()]
    words = _words("p", f"Slide {result.slide_id}: {len(result.origin_px)} tiles.")
    return [words, _table("Share of the slide's tiles", ["Likeliest class", "Share"], rows)] if rows else [words]


def _clinical(fields: ClinicalFields) -> list[list[str]]:
    return [[PART_LABELS[name], words or "not known"] for name, words in clinical_words(fields).items()]
