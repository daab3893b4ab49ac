"""CaseRecord: everything that is known of one case at one moment; the report and every export are made from it.

CaseRecord          the values
record_of_store()   from the server's own record, with the tiles' pixels
record_of_client()  from a server over HTTP, without them: tiles do not leave the server again

The only name in it for the patient is the case's pseudonymous id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

from shared_models.contract.board_note import BoardNote
from shared_models.contract.client import Client
from shared_models.contract.codec import decode
from shared_models.contract.errors import InvalidInput
from shared_models.contract.results import FusionResult, Heatmap, LabelVolume, PathologyResult, RadiologyResult
from shared_models.contract.values import ClinicalFields, CTVolume

from .slides import StoredSlide

if TYPE_CHECKING:
    from .cases import Cases
    from .fused import Fuser


@dataclass(frozen=True, eq=False)
class CaseRecord:
    """One case.

    Parameters
    ----------
    case_id : pseudonymous
    synthetic : drawn or composed by a program
    created : when the case was made, ISO 8601, UTC; "" where that is not known
    radiology, pathology, clinical, fusion : None where the case has none
    mask, volume : of the CT, on one grid
    ct_heatmaps, slide_heatmaps : method to map
    slide : the tiles' pixels; None where they are not at hand
    notes : of the board, oldest first
    about : of the results as they are; a note with another ``about`` was written before one of them changed
    """

    case_id: str
    synthetic: bool = False
    created: str = ""
    radiology: Optional[RadiologyResult] = None
    mask: Optional[LabelVolume] = None
    volume: Optional[CTVolume] = None
    ct_heatmaps: Mapping[str, Heatmap] = field(default_factory=dict)
    pathology: Optional[PathologyResult] = None
    slide: Optional[StoredSlide] = None
    slide_heatmaps: Mapping[str, Heatmap] = field(default_factory=dict)
    clinical: Optional[ClinicalFields] = None
    fusion: Optional[FusionResult] = None
    notes: tuple[BoardNote, ...] = ()
    about: str = ""

    @property
    def empty(self) -> bool:
        """Nothing was analysed or given."""
        return self.radiology is None and self.pathology is None and self.clinical is None and self.fusion is None


def record_of_store(cases: Cases, fuser: Fuser, case_id: str, max_decoded_bytes: int) -> CaseRecord:
    """The case as the server keeps it.

    Raises
    ------
    RequestError : 404, no such case.
    """
    case, parts = cases.get(case_id), cases.parts(case_id)
    held = fuser.held(parts)

    def frame(name: str) -> Any:
        return decode(parts[name].read(), max_decoded_bytes) if name in parts else None

    def heatmaps(modality: str) -> dict[str, Heatmap]:
        names = [name for name in parts if name.startswith(f"{modality}/heatmaps/")]
        return {name.rsplit("/", 1)[1]: frame(name) for name in names}

    pathology = held.get("pathology")
    slide = None
    if pathology is not None:
        frames = [cases.blobs.open(sha).checked() for sha in cases.tile_frames(case_id, pathology.slide_id)]
        slide = StoredSlide(pathology.slide_id, frames, max_decoded_bytes, pathology.tile_px)
    return CaseRecord(
        case_id, case["synthetic"], case["created"], held.get("radiology"), frame("radiology/mask"),
        frame("radiology/volume"), heatmaps("radiology"), pathology, slide, heatmaps("pathology"),
        held.get("clinical"), held.get("fusion"), tuple(cases.notes(case_id)), case["about"],
    )  # fmt: skip


def record_of_client(client: Client, case_id: str) -> CaseRecord:
    """The case as a server tells of it.

    Raises
    ------
    LungXAIError : what the server said, or why it could not be reached.
    InvalidInput : the case holds nothing yet.
    """
    case = client.case(case_id)
    if not any(case[name] for name in ("radiology", "pathology", "clinical", "fusion")):
        raise InvalidInput("This case holds nothing to report yet.", "Analyse a CT or a slide first.")
    maps = {
        modality: {method: client.heatmap(case_id, modality, method) for method in methods}
        for modality, methods in case["heatmaps"].items()
    }
    ct = case["radiology"]
    return CaseRecord(
        case_id, case["synthetic"], case["created"],
        client.radiology_result(case_id) if ct else None, client.mask(case_id) if ct else None,
        client.volume(case["volume"]) if ct and case["volume"] else None, maps["radiology"],
        client.pathology_result(case_id) if case["pathology"] else None, None, maps["pathology"],
        client.clinical(case_id) if case["clinical"] else None,
        client.fusion_result(case_id) if case["fusion"] else None, tuple(client.notes(case_id)),
        str(case.get("about", "")),
    )  # fmt: skip
