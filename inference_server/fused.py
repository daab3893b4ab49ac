"""What is made of a whole case: its fusion and its report. Cheap beside the models, but run off the event loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from shared_models.contract.errors import InvalidInput, ServerBusy
from shared_models.contract.jsonforms import from_json, to_json
from shared_models.contract.results import FusionResult, PathologyResult, RadiologyResult
from shared_models.contract.values import ClinicalFields

from .blobs import Kept
from .cases import Cases

_MOST_TRIES = 5
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
    models : folder of model bundles; the clinical model and the learned weights are loaded from it on first use
    """

    def __init__(self, cases: Cases, models: Path) -> None:
        self._cases = cases
        self._models = models
        self._lock = threading.Lock()
        self._clinical_model: Any = None
        self._learned: Any = None

    def fuse(self, case_id: str, weights: Optional[Mapping[str, float]]) -> dict[str, Any]:
        """Fuse what the case holds, keep the result, and return its JSON.

        Raises
        ------
        InvalidInput : the case holds nothing to fuse.
        ServerBusy : new results come in all the time. A fusion of results that are gone is never kept.
        """
        for _ in range(_MOST_TRIES):
            made_from = self._cases.hashes(case_id)
            body = self._fused(case_id, weights)
            if self._cases.put_json(case_id, "fusion", body, made_from):
                return body
        raise ServerBusy("The case's results change faster than they can be fused.", "Wait for its jobs to end.")

    def _fused(self, case_id: str, weights: Optional[Mapping[str, float]]) -> dict[str, Any]:
        from shared_models.fusion import fuse

        held = self.held(self._cases.parts(case_id, "radiology", "pathology", "clinical"))
        if not any(held.get(name) for name in ("radiology", "pathology", "clinical")):
            raise InvalidInput(
                "This case holds nothing to fuse yet.", "Analyse a CT or a slide, or fill in the fields."
            )
        with self._lock:
            if self._clinical_model is None:
                from shared_models.clinical import ClinicalModel
                from shared_models.fusion_weights import learned_in

                self._learned = learned_in(self._models)
                self._clinical_model = ClinicalModel.load(self._models)
        result = fuse(
            held.get("radiology"),
            held.get("pathology"),
            held.get("clinical"),
            clinical_model=self._clinical_model,
            weights=weights,
            learned=self._learned,
        )
        body: dict[str, Any] = to_json(result)
        return body

    @staticmethod
    def held(parts: Mapping[str, Kept]) -> dict[str, Any]:
        """Modality or "fusion" to its value, for those among ``parts``."""
        return {name: from_json(kind, json.loads(parts[name].read())) for name, kind in _KINDS.items() if name in parts}
