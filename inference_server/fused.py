"""What is made of a whole case: its fusion and its report. Cheap beside the models, but run off the event loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.results import FusionResult, PathologyResult, RadiologyResult
from shared_models.contract.values import ClinicalFields

from .cases import Cases

_KINDS: dict[str, type[Any]] = {
    "radiology": RadiologyResult,
    "pathology": PathologyResult,
    "clinical": ClinicalFields,
    "fusion": FusionResult,
}


class Fuser:
    """Fusions of one server's cases.

    Parameters
    ----------
    models : folder of model bundles; the clinical model is loaded from it on first use
    """

    def __init__(self, cases: Cases, models: Path) -> None:
        self._cases = cases
        self._models = models
        self._lock = threading.Lock()
        self._clinical_model: Any = None

    def fuse(self, case_id: str, weights: Optional[Mapping[str, float]]) -> dict[str, Any]:
        """Fuse what the case holds, keep the result, and return its JSON.

        Raises
        ------
        InvalidInput : the case holds nothing to fuse.
        """
        from shared_models.fusion import fuse

        held = self.held(case_id)
        if not any(held.get(name) for name in ("radiology", "pathology", "clinical")):
            raise InvalidInput(
                "This case holds nothing to fuse yet.", "Analyse a CT or a slide, or fill in the fields."
            )
        with self._lock:
            if self._clinical_model is None:
                from shared_models.clinical import ClinicalModel

                self._clinical_model = ClinicalModel.load(self._models)
        result = fuse(
            held.get("radiology"),
            held.get("pathology"),
            held.get("clinical"),
            clinical_model=self._clinical_model,
            weights=weights,
        )
        body: dict[str, Any] = to_json(result)
        self._cases.put_json(case_id, "fusion", body)
        return body

    def held(self, case_id: str) -> dict[str, Any]:
        """Modality or "fusion" to its value, for those that the case has."""
        self._cases.check(case_id)
        parts = self._cases.parts(case_id)
        return {
            name: from_json(kind, json.loads(parts[name].read_bytes()))
            for name, kind in _KINDS.items()
            if name in parts
        }
