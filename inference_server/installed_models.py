"""The bundles of a folder that are whole, and what /v1/info says of each."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from shared_models.contract.errors import LungXAIError
from shared_models.model_bundle import Bundle

log = logging.getLogger("lungxai.worker")
_SAID_OF_SLIDES = ("tile_px", "spacing_um_px", "other_classes", "added")


def whole_bundles(root: Path) -> list[Bundle]:
    """The models under ``root`` whose weights are the ones they name; the log says which are not."""
    found = []
    for path in sorted(root.glob("*/configs/metadata.json")):
        try:
            found.append(Bundle.load(path.parents[1]))
        except LungXAIError as fault:
            log.warning("%s", fault.message)
    return found


def described(bundle: Bundle) -> dict[str, Any]:
    """What /v1/info says of a model."""
    return {
        "model_id": bundle.model_id,
        "modality": bundle.own["modality"],
        "coverage": list(bundle.own["coverage"]),
        "calibrated": bundle.own["calibrated"],
        "weights_sha256": bundle.weights_sha256,
        "methods": _methods(bundle),
        **{name: bundle.own[name] for name in _SAID_OF_SLIDES if name in bundle.own},
    }


def _methods(bundle: Bundle) -> list[str]:
    """The heatmap methods that a model has."""
    from shared_models import ct_pipeline, slide_model

    if bundle.own["modality"] == "pathology":
        return list(slide_model.methods_of(bundle))
    return list(ct_pipeline.AVAILABLE) if bundle.own["modality"] == "radiology" else []
