"""The report as an encapsulated PDF that stands beside the CT in the archive.

encapsulated()   the object

Source: DICOM PS3.3 A.45.1, C.24.
"""

from __future__ import annotations

from typing import Any

from shared_models.contract.errors import InvalidInput

from .case_record import CaseRecord
from .dicom_codes import REPORT
from .dicom_header import completed, described, maker
from .dicom_source import SourceSeries

SERIES_NUMBER = 9004
TITLE = "LungXAI report for the tumour board. Research use only, not a diagnosis."
_MOST_BYTES = 100 << 20


def encapsulated(pdf: bytes, record: CaseRecord, series: SourceSeries) -> Any:
    """highdicom.base.SOPClass of Encapsulated PDF Storage.

    Raises
    ------
    InvalidInput : ``pdf`` is none, or larger than 100 MiB.
    """
    import highdicom
    from highdicom.base import SOPClass
    from highdicom.sr import CodedConcept
    from pydicom import Dataset
    from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

    if not pdf.startswith(b"%PDF-") or len(pdf) > _MOST_BYTES:
        raise InvalidInput("The report to be exported is no PDF, or too large.", "Make the report's PDF again.")
    made = SOPClass(
        study_instance_uid=series.study_uid,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        sop_class_uid=EncapsulatedPDFStorage,
        instance_number=1,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id="", patient_name="", patient_birth_date="", patient_sex="",
        series_description=described("LungXAI report", record.synthetic),
        **maker(),
    )  # fmt: skip
    made.ConversionType = "WSD"
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "YES"  # the board's notes are free text: who reads them may learn whose they are
    made.DocumentTitle = TITLE
    made.ConceptNameCodeSequence = [CodedConcept.from_code(REPORT)]
    made.VerificationFlag = "UNVERIFIED"
    made.SourceInstanceSequence = []
    for kind, uid in series.instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = kind, uid
        made.SourceInstanceSequence.append(reference)
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    made.EncapsulatedDocumentLength = len(pdf)
    return completed(made, series)
