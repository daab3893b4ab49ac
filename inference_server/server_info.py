"""What /v1/info says."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from shared_models.code_version import code_version
from shared_models.contract import routes
from shared_models.contract.codec import PROTOCOL_VERSION, compressions
from shared_models.contract.results import METHODS

from .engine import EngineStatus
from .settings import Settings

RESEARCH_USE = "Research use only. Not a medical device, not a diagnosis."


@lru_cache(maxsize=1)
def _version() -> str:
    return code_version()


def info(settings: Settings, status: EngineStatus) -> dict[str, Any]:
    """Protocol, version, device, models with coverage, problems, compressions, methods and limits."""
    return {
        "protocol": PROTOCOL_VERSION,
        "version": _version(),
        "notice": RESEARCH_USE,
        "ready": status.ready,
        "device": status.device,
        "models": [dict(model) for model in status.models],
        "problems": {
            **{modality: fault.body() for modality, fault in status.problems.items()},
            **({} if status.problem is None else {"server": status.problem.body()}),
        },
        "compressions": list(compressions()),
        "methods": [method for method in METHODS if any(method in model.get("methods", ()) for model in status.models)],
        "limits": {
            "max_upload_bytes": settings.max_upload_bytes,
            "max_decoded_bytes": settings.max_decoded_bytes,
            "max_axis": settings.max_axis,
            "max_tile_px": settings.max_tile_px,
            "max_tiles_per_batch": routes.MAX_TILES_PER_BATCH,
            "max_points": settings.max_points,
        },
    }
