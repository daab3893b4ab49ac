"""The record: what made these results, kept as a text node in the scene, and enough to show them again.

record_node()   CaseResults and CT -> vtkMRMLTextNode with JSON
read()          the JSON object of a record node
radiology_of(), fusion_of(), clinical_of()   values of the contract from it
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Optional

import numpy as np

from shared_models.contract.errors import InvalidInput
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.notice import NOTICE
from shared_models.contract.results import FusionResult, PathologyResult, RadiologyResult
from shared_models.contract.values import ClinicalFields

from .case_results import CaseResults
from .logics import SceneLogics
from .volumes import affine_of, dicom_source

VERSION = 1


def record_node(logics: SceneLogics, ct_node: Any, case: CaseResults, name: str) -> Any:
    """A text node with the record of a case."""
    node = logics.scene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetText(json.dumps(_record(ct_node, case), indent=1))
    return node


def _record(ct_node: Any, case: CaseResults) -> dict[str, Any]:
    source = dicom_source(ct_node)
    return {
        "record": "LungXAI",
        "version": VERSION,
        "notice": NOTICE,
        "case_id": case.case_id,
        "synthetic": case.synthetic,
        "made": case.made,
        "server": dict(case.server),
        "ct": {
            "series_uid": case.radiology.series_uid,
            "study_uid": "" if source is None else source.study_uid,
            "instance_uids": [] if source is None else list(source.instance_uids),
            "volume_sha256": case.volume_sha256,
            "ijk_to_lps": affine_of(ct_node).tolist(),
            "shape": list(case.mask.labels.shape),
        },
        "mask_sha256": hashlib.sha256(np.ascontiguousarray(case.mask.labels)).hexdigest(),
        "radiology": to_json(case.radiology),
        "heatmaps": [
            {
                "method": heatmap.method,
                "target": heatmap.target,
                "provenance": to_json(heatmap.provenance),
                "parameters": dict(heatmap.parameters),
            }
            for heatmap in case.heatmaps
        ],
        "pathology": None if case.pathology is None else _slide(case.pathology),
        "clinical": None if case.clinical is None else to_json(case.clinical),
        "fusion": None if case.fusion is None else to_json(case.fusion),
    }


def _slide(result: PathologyResult) -> dict[str, Any]:
    """A slide without its tiles, which are QuPath's to show."""
    body = to_json(result)
    body["tiles"] = len(body.pop("origin_px"))
    del body["tile_probabilities"]
    return body


def read(node: Any) -> dict[str, Any]:
    """The record of a text node.

    Raises
    ------
    InvalidInput : it is no record, was changed by hand, or is of a newer version.
    """
    try:
        body = json.loads(node.GetText() or "")
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("record") != "LungXAI":
        raise InvalidInput("The record of this case cannot be read.", "Import the case again.")
    if body.get("version") != VERSION:
        raise InvalidInput("The record was written by another version.", "Update LungXAI, or import the case again.")
    return body


def radiology_of(node: Any) -> RadiologyResult:
    """What the CT shows, from a record node."""
    return from_json(RadiologyResult, read(node).get("radiology"))


def fusion_of(node: Any) -> Optional[FusionResult]:
    """The fusion, from a record node; None where there was none."""
    body = read(node).get("fusion")
    return None if body is None else from_json(FusionResult, body)


def clinical_of(node: Any) -> Optional[ClinicalFields]:
    """The clinical fields, from a record node; None where there were none."""
    body = read(node).get("clinical")
    return None if body is None else from_json(ClinicalFields, body)
