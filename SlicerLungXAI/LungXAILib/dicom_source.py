"""Where a volume node came from: the DICOM identifiers that results refer to.

DicomSource       patient, study, series and instances of one series
dicom_source()    of a volume node, or None where it did not come from DICOM
set_source()      write them where Slicer's own DICOM module writes them

Slicer keeps them in two places: the node's attribute DICOM.instanceUIDs, and the subject hierarchy, whose items of
series, study and patient carry their UIDs. Both are read, so that a CT loaded by Slicer and one loaded here are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .hierarchy import item_of, tree

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
_LEVELS = ("patient", "study", "series")


@dataclass(frozen=True)
class DicomSource:
    """One DICOM series.

    Parameters
    ----------
    instance_uids : SOPInstanceUID of each file, in the order of the slices
    series_uid, study_uid, patient_id : may be empty where the scene does not say
    patient, study, series : attributes of the three levels, named as Slicer names them (``DICOM.PatientName``)
    """

    instance_uids: tuple[str, ...]
    series_uid: str
    study_uid: str
    patient_id: str
    patient: Mapping[str, str] = field(default_factory=dict)
    study: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)


def dicom_source(node: Any) -> Optional[DicomSource]:
    """The DICOM identifiers of a volume node; None where it did not come from DICOM."""
    from slicer import vtkMRMLSubjectHierarchyConstants as Names

    instances = tuple((node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split())
    scene = node.GetScene()
    uid = ["", "", ""]
    attributes: list[Mapping[str, str]] = [{}, {}, {}]
    if scene is not None:
        hierarchy = tree(scene)
        item = hierarchy.GetItemByDataNode(node)
        study = hierarchy.GetItemAncestorAtLevel(item, Names.GetDICOMLevelStudy()) if item else 0
        patient = hierarchy.GetItemAncestorAtLevel(item, Names.GetDICOMLevelPatient()) if item else 0
        for level, found in enumerate((patient, study, item)):
            if found:
                uid[level] = hierarchy.GetItemUID(found, Names.GetDICOMUIDName())
                names = hierarchy.GetItemAttributeNames(found)
                attributes[level] = {n: hierarchy.GetItemAttribute(found, n) for n in names if n.startswith("DICOM.")}
        if not instances and item:
            # Slicer joins them with spaces here too.
            instances = tuple(hierarchy.GetItemUID(item, Names.GetDICOMInstanceUIDName()).split())
    if not uid[2] and not instances:
        return None
    return DicomSource(instances, uid[2], uid[1], uid[0], *attributes)


def set_source(node: Any, source: DicomSource) -> None:
    """Put a node under its patient and study, with its identifiers, as Slicer's DICOM module does."""
    from slicer import vtkMRMLSubjectHierarchyConstants as Names
    from slicer import vtkSlicerSubjectHierarchyModuleLogic as Logic

    hierarchy = tree(node.GetScene())
    node.SetAttribute(INSTANCES_ATTRIBUTE, " ".join(source.instance_uids))
    item = item_of(node)
    hierarchy.SetItemUID(item, Names.GetDICOMUIDName(), source.series_uid)
    hierarchy.SetItemUID(item, Names.GetDICOMInstanceUIDName(), " ".join(source.instance_uids))
    Logic.InsertDicomSeriesInHierarchy(hierarchy, source.patient_id, source.study_uid, source.series_uid)
    study = hierarchy.GetItemParent(item)
    patient = hierarchy.GetItemParent(study)
    for found, attributes in ((patient, source.patient), (study, source.study), (item, source.series)):
        for name, value in attributes.items():
            hierarchy.SetItemAttribute(found, name, value)
    _name(hierarchy, patient, source.patient.get(Names.GetDICOMPatientNameAttributeName(), ""), source.patient_id)
    words = [
        source.study.get(Names.GetDICOMStudyDateAttributeName(), ""),
        source.study.get(Names.GetDICOMStudyDescriptionAttributeName(), ""),
    ]
    _name(hierarchy, study, "; ".join(filter(None, words)), source.study_uid)


def _name(hierarchy: Any, item: int, wanted: str, fallback: str) -> None:
    hierarchy.SetItemName(item, wanted or fallback)
