"""Everything the server knows of one case, fetched in one go. HTTP only: it may run on a worker thread.

CaseResults     one case, complete; nothing of it is asked for again while it is put into the scene
fetch()         from the server
turned_like()   the same voxels at the same places, in the order of another grid's axes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Optional

import numpy as np

from shared_models.contract.client import Client
from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import FusionResult, Heatmap, LabelVolume, PathologyResult, RadiologyResult
from shared_models.contract.values import Array, ClinicalFields


@dataclass(frozen=True, eq=False)
class CaseResults:
    """One case.

    Parameters
    ----------
    case_id : pseudonymous
    synthetic : whether its data is drawn, not scanned; said on every output
    radiology, mask, heatmaps : of the CT
    pathology, clinical, fusion : None where the case has none
    made : when it was fetched, ISO 8601, UTC
    server : protocol, version, device and models, as /v1/info says them
    volume_sha256 : names the analysed CT on the server; empty where unknown

    Raises
    ------
    InvalidInput : mask or heatmap are of another series than the result, or two heatmaps explain the same.
    """

    case_id: str
    synthetic: bool
    radiology: RadiologyResult
    mask: LabelVolume
    heatmaps: tuple[Heatmap, ...] = ()
    pathology: Optional[PathologyResult] = None
    clinical: Optional[ClinicalFields] = None
    fusion: Optional[FusionResult] = None
    made: str = ""
    server: Mapping[str, Any] = field(default_factory=dict)
    volume_sha256: str = ""

    def __post_init__(self) -> None:
        sources = {self.mask.series_uid, *(heatmap.source_id for heatmap in self.heatmaps)}
        if sources != {self.radiology.series_uid} or any(h.modality != "radiology" for h in self.heatmaps):
            raise InvalidInput("The case's results belong to different images.", "Analyse the CT again.")
        if len({(h.method, h.target) for h in self.heatmaps}) != len(self.heatmaps):
            raise InvalidInput("Two heatmaps explain the same.", "Analyse the CT again.")


def fetch(client: Client, case_id: str) -> CaseResults:
    """Fetch a case whose CT was analysed.

    Raises
    ------
    LungXAIError : what the server says, or InvalidInput where the CT was not analysed yet.
    """
    info = client.info()
    case = client.case(case_id)
    if not case.get("radiology"):
        raise InvalidInput("The CT of this case was not analysed yet.", "Start the analysis first.")
    methods = case.get("heatmaps", {}).get("radiology", [])
    return CaseResults(
        case_id=case_id,
        synthetic=bool(case.get("synthetic")),
        radiology=client.radiology_result(case_id),
        mask=client.mask(case_id),
        heatmaps=tuple(client.heatmap(case_id, "radiology", method) for method in methods),
        pathology=client.pathology_result(case_id) if case.get("pathology") else None,
        clinical=client.clinical(case_id) if case.get("clinical") else None,
        # One that is there may have weights that somebody chose, which fuse() would replace.
        fusion=client.fusion_result(case_id) if case.get("fusion") else client.fuse(case_id),
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        server={name: info[name] for name in ("protocol", "version", "device", "models") if name in info},
        volume_sha256=case.get("volume") or "",
    )


def turned_like(case: CaseResults, ijk_to_lps: Array) -> CaseResults:
    """Mask and heatmaps with the axes turned round that run against those of ``ijk_to_lps``.

    Slicer turns the slices of a left-handed CT round when it loads it from a scene or file; the voxels stay where they
    are. Arrays on a grid that differs in any other way come back as they are.
    """
    steps = np.linalg.solve(ijk_to_lps[:3, :3], case.mask.ijk_to_lps[:3, :3])
    axes = [axis for axis in range(3) if steps[axis, axis] < 0]
    if not axes or not np.allclose(np.abs(steps), np.eye(3), atol=1e-4):
        return case

    def turned(array: Array, affine: Array) -> tuple[Array, Array]:
        affine = np.array(affine)
        for axis in axes:
            affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
        return np.flip(array, [2 - axis for axis in axes]), affine

    labels, affine = turned(case.mask.labels, case.mask.ijk_to_lps)
    maps = []
    for heatmap in case.heatmaps:
        values, place = turned(heatmap.values, heatmap.index_to_world)
        maps.append(replace(heatmap, values=values, index_to_world=place))
    return replace(case, mask=replace(case.mask, labels=labels, ijk_to_lps=affine), heatmaps=tuple(maps))
