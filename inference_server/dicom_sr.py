"""What was measured on a case's CT, as a DICOM structured report (TID 1500): a group per nodule, one for the case.

measurement_report()   the object

Per nodule (TID 1411, on its segment): axes, volume, mean attenuation, malignancy, who found it. For the case (TID
1501): number of nodules, malignancy, class probabilities; where modalities were fused, a second such group. Each says
on which evidence it rests. Under "Qualitative Evaluations": what it may be used for, classes that are not assessed, an
abstention, the notes. Malignancy and class probabilities have no standard words: dicom_codes.py.

Source: DICOM PS3.3 A.35.2 (Enhanced SR), PS3.16 TID 1500, 1411, 1501, 4019.
"""

from __future__ import annotations

from typing import Any, Optional

from shared_models.contract.colours import CLASS_LABELS
from shared_models.contract.notice import NOTICE
from shared_models.contract.provenance import Provenance
from shared_models.contract.results import FusionResult, Nodule, RadiologyResult
from shared_models.phantom_dicom import new_uid

from . import dicom_codes as code
from .case_record import CaseRecord
from .dicom_header import (
    MANUFACTURER,
    MODEL_NAME,
    SYNTHETIC,
    completed,
    described,
    maker,
    plain,
    scheme,
    version,
)
from .dicom_seg import segment_numbers, tracking
from .dicom_source import SourceSeries

SERIES_NUMBER = 9002


def measurement_report(record: CaseRecord, series: SourceSeries, segmentation: Optional[Any]) -> Any:
    """highdicom.sr.EnhancedSR of a case's CT.

    Parameters
    ----------
    segmentation : of dicom_seg.segmentation(); None where the case has no nodule
    """
    import highdicom
    from highdicom import sr

    result = record.radiology
    assert result is not None
    numbers = segment_numbers(record)
    groups = [_nodule(n, numbers[n.label], result, series, segmentation) for n in result.nodules]
    report = sr.MeasurementReport(
        observation_context=_observer(result),
        procedure_reported=code.CHEST_CT,
        imaging_measurements=[*groups, _case(result, series), *_fused(record.fusion, series)],
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept.from_code(code.ENGLISH)
        ),
    )
    report[0].ContentSequence.append(_said(record, result))
    made = sr.EnhancedSR(
        evidence=[*_evidence(series), *([] if segmentation is None else [segmentation])],
        content=report,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        is_complete=True,
        series_description=described("LungXAI measurements", record.synthetic),
        coding_schemes=[scheme()],
        **maker(),
    )
    return completed(made, series)


def _evidence(series: SourceSeries) -> list[Any]:
    """The files of the source, as identifiers."""
    from pydicom import Dataset

    found = []
    for kind, uid in series.instances:
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = kind, uid
        image.StudyInstanceUID, image.SeriesInstanceUID = series.study_uid, series.series_uid
        for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                     "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
            setattr(image, name, "")
        found.append(image)
    return found


def _observer(result: RadiologyResult) -> Any:
    from highdicom import sr

    models = result.provenance
    names = "; ".join(model.model_id for model in models) or "no model"
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=new_uid("LungXAI device", *((m.model_id, m.weights_sha256, m.code_version) for m in models)),
        name=MODEL_NAME, manufacturer_name=MANUFACTURER, model_name=plain(names),
        serial_number=plain("; ".join(version(model) for model in models) or "none"),
    )  # fmt: skip
    return sr.ObservationContext(observer_device_context=sr.ObserverContext(code.DEVICE, device))


def _algorithm(model: Optional[Provenance]) -> Any:
    from highdicom import sr

    if model is None:
        return None
    return sr.AlgorithmIdentification(
        plain(model.model_id), version(model), [f"weights sha256 {model.weights_sha256}", f"device {model.device}"],
        family=code.ARTIFICIAL_INTELLIGENCE, manufacturer=MANUFACTURER,
    )  # fmt: skip


def _nodule(nodule: Nodule, number: int, result: RadiologyResult, series: SourceSeries, segmentation: Any) -> Any:
    from highdicom import sr

    outlined, rated = _models(result)
    by_hand = nodule.found_by == "hand"
    measured = [
        sr.Measurement(code.LONG_AXIS, float(nodule.long_axis_mm), code.MILLIMETRE),
        sr.Measurement(code.SHORT_AXIS, float(nodule.short_axis_mm), code.MILLIMETRE),
        sr.Measurement(code.VOLUME, float(nodule.volume_mm3), code.CUBIC_MILLIMETRE),
        sr.Measurement(code.ATTENUATION, float(nodule.mean_hu), code.HOUNSFIELD, derivation=code.MEAN),
    ]
    said = [sr.QualitativeEvaluation(code.FOUND, code.FOUND_VALUES[nodule.found_by])]
    _either(code.MALIGNANCY, nodule.malignancy, rated, measured, said)
    for name, value in nodule.subtype.items():
        if value is not None:
            _either(code.PROBABILITIES[name], value, rated, measured, said)
    name, uid = tracking(series, nodule.label)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid, name),
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID, segmentation.SOPInstanceUID, number,
            source_series=sr.SourceSeriesForSegmentation(series.series_uid),
        ),
        finding_category=code.ABNORMAL, finding_type=code.NODULE,
        finding_sites=[sr.FindingSite(code.LUNG, None if nodule.side is None else code.SIDES[nodule.side])],
        algorithm_id=None if by_hand else _algorithm(outlined),
        measurements=measured, qualitative_evaluations=said,
    )  # fmt: skip


def _case(result: RadiologyResult, series: SourceSeries) -> Any:
    from highdicom import sr

    _, rated = _models(result)
    measured = [sr.Measurement(code.NODULES_FOUND, len(result.nodules), code.NO_UNIT)]
    said = [sr.QualitativeEvaluation(code.EVIDENCE, code.MODALITIES["radiology"])]
    _either(code.MALIGNANCY, result.malignancy, rated, measured, said)
    for name, value in result.probabilities.items():
        _either(code.PROBABILITIES[name], value, rated, measured, said)
    if result.reliability is not None:
        measured.append(sr.Measurement(code.RELIABILITY, float(result.reliability), code.NO_UNIT))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(new_uid(series.series_uid, "case"), "LungXAI case"),
        finding_sites=[sr.FindingSite(code.LUNG)], measurements=measured, qualitative_evaluations=said,
    )  # fmt: skip


def _fused(fusion: Optional[FusionResult], series: SourceSeries) -> list[Any]:
    """A group for what the modalities say together; none where only one took part."""
    from highdicom import sr

    if fusion is None or len(fusion.weights) < 2:
        return []
    measured = [sr.Measurement(code.NOT_ASSESSED_SHARE, float(fusion.not_assessed_mass), code.NO_UNIT)]
    said = [sr.QualitativeEvaluation(code.EVIDENCE, code.MODALITIES[name]) for name in fusion.weights]
    for name, value in fusion.probabilities.items():
        _either(code.PROBABILITIES[name], value, None, measured, said)
    tracked = sr.TrackingIdentifier(new_uid(series.series_uid, "fusion"), "LungXAI case, modalities fused")
    return [
        sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracked, measurements=measured, qualitative_evaluations=said
        )
    ]


def _either(
    name: Any, value: Optional[float], model: Optional[Provenance], measured: list[Any], said: list[Any]
) -> None:
    """A probability, or that it is not assessed: never 0."""
    from highdicom import sr

    if value is None:
        said.append(sr.QualitativeEvaluation(name, code.NOT_ASSESSED))
    else:
        measured.append(sr.Measurement(name, float(value), code.NO_UNIT, algorithm_id=_algorithm(model)))


def _models(result: RadiologyResult) -> tuple[Optional[Provenance], Optional[Provenance]]:
    """The one that outlined the nodules, the one that rated them; a result lists them in this order."""
    models = result.provenance
    return (models[0], models[-1]) if models else (None, None)


def _said(record: CaseRecord, result: RadiologyResult) -> Any:
    """The container of what is said in words of the whole report."""
    from highdicom import sr

    missing = [CLASS_LABELS[name] for name, value in result.probabilities.items() if value is None]
    fused = None if record.fusion is None else record.fusion.abstention
    nothing = [("CT", result.abstention), ("All modalities", fused)]
    texts = [
        (code.INTENDED_USE, NOTICE),
        *([(code.INTENDED_USE, SYNTHETIC)] if record.synthetic else []),
        *([(code.NOT_ASSESSED_CLASSES, ", ".join(missing))] if missing else []),
        *((code.ABSTENTION, f"{of}: {why.reason} {why.what_would_help}") for of, why in nothing if why is not None),
        *((code.COMMENT, note) for note in result.notes),
    ]
    container = sr.ContainerContentItem(code.QUALITATIVE_EVALUATIONS, relationship_type="CONTAINS")
    container.ContentSequence = sr.ContentSequence(
        [sr.TextContentItem(name, plain(text, 4096), relationship_type="CONTAINS") for name, text in texts]
    )
    return container
