"""The subject hierarchy: results lie in a folder of their case, in the study of their CT.

tree()         the scene's subject hierarchy node
item_of()      the item of a node, made where it is missing
study_of()     the study of a CT; one is made for a CT that did not come from DICOM
case_folder()  the folder of a case in that study
moved()        a node put under an item
"""

from __future__ import annotations

from typing import Any

from shared_models.contract.notice import NOTICE

from .text import tr

CASE_ATTRIBUTE = "LungXAI.CaseId"
NOTICE_ATTRIBUTE = "LungXAI.Notice"


def tree(scene: Any) -> Any:
    """The scene's vtkMRMLSubjectHierarchyNode."""
    from slicer import vtkMRMLSubjectHierarchyNode

    return vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def item_of(node: Any) -> int:
    """The item of a node. The application makes one for every node; without its plugins it is made here."""
    hierarchy = tree(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    return item or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def study_of(ct_node: Any) -> int:
    """The study item of a CT.

    A CT without one gets a patient and a study of its own, named after it, so that its results have a place.
    """
    from slicer import vtkMRMLSubjectHierarchyConstants as Names

    hierarchy = tree(ct_node.GetScene())
    item = item_of(ct_node)
    found = hierarchy.GetItemAncestorAtLevel(item, Names.GetDICOMLevelStudy())
    if found:
        return found
    name = ct_node.GetName()
    patient = hierarchy.GetItemAncestorAtLevel(item, Names.GetDICOMLevelPatient())
    if not patient:
        parent = hierarchy.GetItemParent(item) or hierarchy.GetSceneItemID()
        patient = hierarchy.CreateSubjectItem(parent, tr("Patient of {name}").format(name=name))
    study = hierarchy.CreateStudyItem(patient, tr("Study of {name}").format(name=name))
    hierarchy.SetItemParent(item, study)
    return study


def case_folder(ct_node: Any, case_id: str, synthetic: bool) -> int:
    """The folder of a case in its CT's study; where there is one already, it is taken and put there."""
    hierarchy = tree(ct_node.GetScene())
    study = study_of(ct_node)
    kind = tr("synthetic, research use only") if synthetic else tr("research use only")
    name = f"LungXAI {case_id} ({kind})"
    every = children(hierarchy, hierarchy.GetSceneItemID(), recursive=True)
    folder = next((item for item in every if hierarchy.GetItemAttribute(item, CASE_ATTRIBUTE) == case_id), 0)
    if folder:
        hierarchy.SetItemParent(folder, study)
        hierarchy.SetItemName(folder, name)
        return folder
    folder = hierarchy.CreateFolderItem(study, name)
    hierarchy.SetItemAttribute(folder, CASE_ATTRIBUTE, case_id)
    hierarchy.SetItemAttribute(folder, NOTICE_ATTRIBUTE, NOTICE)
    return folder


def moved(node: Any, parent: int, shown: bool = True) -> int:
    """The node's item, now under ``parent``; without ``shown`` the tree does not list it."""
    from slicer import vtkMRMLSubjectHierarchyConstants as Names

    hierarchy = tree(node.GetScene())
    item = item_of(node)
    hierarchy.SetItemParent(item, parent)
    if not shown:
        hierarchy.SetItemAttribute(item, Names.GetSubjectHierarchyExcludeFromTreeAttributeName(), "1")
    return item


def children(hierarchy: Any, parent: int, recursive: bool = False) -> list[int]:
    """Item ids under ``parent``."""
    import vtk

    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(parent, ids, recursive)
    return [ids.GetId(i) for i in range(ids.GetNumberOfIds())]
