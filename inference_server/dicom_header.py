"""What every exported DICOM object has in common: who made it, and whose it is.

maker()              manufacturer, model and versions, for highdicom's constructors
described()          what a series is, in words
plain()              text that every character set of DICOM can hold
version()            of a model, in the characters that DICOM has
algorithm()          what made a result
scheme()             who is behind our own codes
check_identifiers()  whether the source can be referred to
stand_ins()          the source's images as highdicom needs them: geometry and identifiers, nobody's name
decimals()           numbers as DICOM's decimal strings
completed()          the source's own patient and study modules, and references to its real images
carried()            those modules alone

highdicom sees no patient: what a source's header holds may break the rules that it writes by (its log and errors would
quote it), and must come out as it went in, also in Japanese. Instance and series UIDs are new each time: the time of
making is in the object, so a second export is another object. Tracking UIDs follow from the series and stay.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from shared_models.code_version import code_version
from shared_models.contract.errors import InvalidInput
from shared_models.contract.provenance import Provenance
from shared_models.dicom_log import discreet
from shared_models.phantom_dicom import new_uid

from .dicom_codes import ARTIFICIAL_INTELLIGENCE, SCHEME, SCHEME_NAME, SCHEME_ORGANIZATION
from .dicom_source import SourceSeries

MANUFACTURER = "LungXAI"
MODEL_NAME = "LungXAI inference server"
SYNTHETIC = "Synthetic data, not a patient."
_IN_ASCII = str.maketrans(
    {"\\": "/", "–": "-", "—": "-", "−": "-", "µ": "u", "×": "x", "≥": ">=", "≤": "<=", "±": "+/-", "ß": "ss", "’": "'"}
)
# Patient, clinical trial, study and patient-at-that-study modules (PS3.3 C.7.1, C.7.2), and what says that dates were
# shifted. Sequences of references to other objects are left out: they are of the CT, not of the patient.
_EMPTY_ALLOWED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber",
)  # fmt: skip
_OPTIONAL = (
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID", "PatientBirthTime",
    "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar", "PatientAlternativeCalendar",
    "QualityControlSubject", "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup", "PatientComments",
    "PatientSpeciesDescription", "PatientBreedDescription", "ResponsiblePerson", "ResponsiblePersonRole",
    "ResponsibleOrganization", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified", "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription", "StudyDescription", "PhysiciansOfRecord", "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence", "PatientAge", "PatientSize", "PatientWeight", "MedicalAlerts", "Allergies",
    "SmokingStatus", "PregnancyStatus", "LastMenstrualDate", "PatientState", "Occupation", "AdditionalPatientHistory",
    "AdmissionID", "ServiceEpisodeID", "PatientSexNeutered",
)  # fmt: skip
_PLACE = ("PositionReferenceIndicator",)


def maker() -> dict[str, Any]:
    """Arguments of highdicom's constructors that say what made the object."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": plain(code_version(), 64),
        "device_serial_number": "none",
    }


def described(what: str, synthetic: bool) -> str:
    """Description of a series: what it is, and what it is not."""
    return f"{'SYNTHETIC ' if synthetic else ''}{what}, research use only"


def plain(text: str, most: int = 1024) -> str:
    """``text`` in ASCII, at most ``most`` characters, without what separates values in DICOM."""
    ascii_only = unicodedata.normalize("NFKD", text.translate(_IN_ASCII)).encode("ascii", "ignore").decode()
    kept = "".join(c for c in ascii_only if c.isprintable())
    return kept if len(kept) <= most else kept[: most - 3] + "..."


def version(provenance: Provenance) -> str:
    """Version of the code and of the weights, in the 64 characters that DICOM has."""
    return plain(f"{provenance.code_version[:40]} weights {provenance.weights_sha256[:12]}", 64)


def algorithm(provenance: Provenance) -> Any:
    """highdicom.AlgorithmIdentificationSequence of a model."""
    import highdicom

    return highdicom.AlgorithmIdentificationSequence(
        plain(provenance.model_id, 64), ARTIFICIAL_INTELLIGENCE, version(provenance), MANUFACTURER,
        {"weights_sha256": provenance.weights_sha256, "device": provenance.device},
    )  # fmt: skip


def scheme() -> Any:
    """highdicom's item that says who is behind the codes of our own."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        SCHEME, name=SCHEME_NAME, version="1", responsible_organization=SCHEME_ORGANIZATION
    )


def check_identifiers(series: SourceSeries) -> None:
    """Whether the images can be referred to.

    Raises
    ------
    InvalidInput : identifiers that DICOM does not allow, or that two images share.
    """
    from pydicom.uid import UID

    uids = [series.series_uid, series.study_uid, series.frame_of_reference_uid, *(i for _, i in series.instances)]
    if not all(UID(uid).is_valid for uid in uids):
        raise InvalidInput(
            "The CT's DICOM files have identifiers (UIDs) that DICOM does not allow.",
            "Export the original series, or have the archive correct them.",
        )
    if len({uid for _, uid in series.instances}) < len(series.instances):
        raise InvalidInput(
            "Several images of the CT have the same identifier (SOP Instance UID), so no slice can be referred to.",
            "Export the original series, or have the archive correct them.",
        )


def stand_ins(series: SourceSeries) -> list[Any]:
    """One pydicom.Dataset per slice of the stack, in its order: a single-frame CT image without a patient.

    A frame of a multi-frame file is an image with an identifier of its own here, which completed() puts right.
    """
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage

    matrix = series.stack_to_lps
    columns_mm, rows_mm = (float((matrix[:3, axis] ** 2).sum() ** 0.5) for axis in (0, 1))
    images = []
    for index, (file, frame) in enumerate(series.frames):
        image = Dataset()
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = series.instances[file][1] if frame is None else _frame_uid(series, file, frame)
        image.StudyInstanceUID, image.SeriesInstanceUID = series.study_uid, series.series_uid
        image.FrameOfReferenceUID, image.PositionReferenceIndicator = series.frame_of_reference_uid, ""
        image.Modality = "CT"
        for name in _EMPTY_ALLOWED:
            setattr(image, name, "")
        _, image.Rows, image.Columns = series.shape
        image.ImagePositionPatient = decimals(*series.positions[index])
        image.ImageOrientationPatient = decimals(*matrix[:3, 0] / columns_mm, *matrix[:3, 1] / rows_mm)
        image.PixelSpacing = decimals(rows_mm, columns_mm)
        if series.datasets[0].get("LossyImageCompression") == "01":  # and with it all that is made of it
            image.LossyImageCompression = "01"
        image.SliceThickness, image.SpacingBetweenSlices = decimals(series.thickness_mm, series.apart_mm)
        images.append(image)
    return images


def decimals(*values: float) -> list[Any]:
    """Numbers as DICOM's decimal strings, rounded to the 16 characters that these have."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]


def completed(made: Any, series: SourceSeries) -> Any:
    """``made``, a pydicom.Dataset that was built from stand_ins(), with the source's patient, study and images."""
    carried(made, series.datasets[0])
    if any(frame is not None for _, frame in series.frames):
        _refer_to_frames(made, series)
    return made


def carried(made: Any, source: Any) -> Any:
    """``made`` with the patient and study modules of ``source``, a header, as they are there."""
    with discreet():
        if source.get("SpecificCharacterSet"):
            made.SpecificCharacterSet = source.SpecificCharacterSet
        for name in (*_EMPTY_ALLOWED, *_OPTIONAL, *(_PLACE if "FrameOfReferenceUID" in made else ())):
            _carry(source, made, name)
    return made


def _carry(source: Any, made: Any, name: str) -> None:
    """One attribute as it is; one that is empty, or cannot be read, is left empty where DICOM wants it, else out."""
    try:
        element = source[name]
        if element.value not in (None, "") and (element.VR != "SQ" or len(element.value)):
            made[name] = element
    except Exception:  # values of a source are read here for the first time: what cannot be is not carried on
        pass


def _frame_uid(series: SourceSeries, file: int, frame: int) -> str:
    return new_uid(series.instances[file][1], "frame", frame)


def _refer_to_frames(made: Any, series: SourceSeries) -> None:
    """Turn references to stand-ins of frames into references to frames of their file."""
    from pydicom import Dataset

    real = {
        _frame_uid(series, file, frame): (file, frame + 1) for file, frame in series.frames if frame is not None
    }  # fmt: skip
    files = []
    for kind, uid in series.instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = kind, uid
        files.append(reference)

    def put_right(dataset: Any) -> None:
        uid = str(dataset.get("ReferencedSOPInstanceUID") or "")
        if uid in real:
            file, number = real[uid]
            dataset.ReferencedSOPClassUID, dataset.ReferencedSOPInstanceUID = series.instances[file]
            dataset.ReferencedFrameNumber = number
        for element in dataset:
            if element.VR == "SQ":
                for item in element.value:
                    put_right(item)

    for item in made.get("ReferencedSeriesSequence") or []:
        if item.SeriesInstanceUID == series.series_uid:
            item.ReferencedInstanceSequence = files
    if made.get("SourceImageSequence"):
        made.SourceImageSequence = files
    put_right(made)
