"""The report of a case: what the record holds of it, gathered for report.render()."""

from __future__ import annotations

from typing import Any

from shared_models.contract.codec import decode
from shared_models.contract.errors import InvalidInput

from .cases import Cases
from .fused import Fuser
from .slides import StoredSlide


def report(cases: Cases, fuser: Fuser, case_id: str, max_decoded_bytes: int) -> str:
    """The report's HTML.

    Raises
    ------
    InvalidInput : the case holds nothing to report.
    """
    from .report import render

    case, parts = cases.get(case_id), cases.parts(case_id)
    held = fuser.held(parts)
    if not held:
        raise InvalidInput("This case holds nothing to report yet.", "Analyse a CT or a slide first.")

    def frame(name: str) -> Any:
        return decode(parts[name].read(), max_decoded_bytes) if name in parts else None

    def heatmaps(modality: str) -> dict[str, Any]:
        names = [name for name in parts if name.startswith(f"{modality}/heatmaps/")]
        return {name.rsplit("/", 1)[1]: frame(name) for name in names}

    pictures = {}
    pathology = held.get("pathology")
    if pathology is not None:
        frames = [cases.blobs.open(sha).checked() for sha in cases.tile_frames(case_id, pathology.slide_id)]
        stored = StoredSlide(pathology.slide_id, frames, max_decoded_bytes, pathology.tile_px)
        pictures[pathology.slide_id] = stored.picture()
    page: str = render(
        case_id,
        radiology=held.get("radiology"),
        mask=frame("radiology/mask"),
        volume=frame("radiology/volume"),
        ct_heatmaps=heatmaps("radiology"),
        pathology=pathology,
        slide_pictures=pictures,
        slide_heatmaps=heatmaps("pathology"),
        clinical=held.get("clinical"),
        fusion=held.get("fusion"),
        synthetic=case["synthetic"],
    )
    return page
