"""What the report knows of the models that made a case's results: their bundles, by the hash of their weights.

bundle_of()     the bundle on this machine that holds these very weights, or None
measured()      how well a model's probabilities came true
paragraph()     one paragraph of a model's card, as "Limits"
told_apart()    every model of a case, once
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Optional

from shared_models.calibration_record import Calibration, read
from shared_models.contract.errors import LungXAIError
from shared_models.contract.provenance import Provenance
from shared_models.model_bundle import MODELS_ROOT, Bundle, added_root, is_model_name

from .case_record import CaseRecord

_MAX_CARD_BYTES = 1 << 20


@lru_cache(maxsize=32)
def _found(name: str, weights_sha256: str) -> Optional[Bundle]:
    if not is_model_name(name):
        return None
    for root in (MODELS_ROOT, added_root()):
        if (root / name / "configs" / "metadata.json").is_file():
            try:
                bundle = Bundle.load(root / name)
            except LungXAIError:
                continue
            if bundle.weights_sha256 == weights_sha256:
                return bundle
    return None


def bundle_of(provenance: Provenance) -> Optional[Bundle]:
    """The bundle of these weights; None where this machine has another version, or none."""
    return _found(provenance.model_id.split(" ")[0], provenance.weights_sha256)


def ships(bundle: Bundle) -> bool:
    """Whether it is one of the models of this suite, and not added by the user."""
    return bundle.folder.parent == MODELS_ROOT


def measured(provenances: Iterable[Provenance], name: str) -> Optional[Calibration]:
    """What the bundle ``name`` holds of the weights that took part; None where it took no part or was not measured."""
    for provenance in provenances:
        if provenance.model_id.split(" ")[0] == name:
            bundle = bundle_of(provenance)
            return None if bundle is None else read(bundle.folder, bundle.weights_sha256)
    return None


def paragraph(bundle: Bundle, title: str) -> str:
    """The paragraph of its card that begins with "**TITLE.**", without Markdown; "" where there is none."""
    try:
        with (bundle.folder / "docs" / "README.md").open(encoding="utf-8") as file:
            card = file.read(_MAX_CARD_BYTES)
    except (OSError, ValueError):
        return ""
    found = re.search(rf"^\*\*{re.escape(title)}\.\*\*\s+(.+?)(?:\n\s*\n|\Z)", card, re.M | re.S)
    return "" if found is None else re.sub(r"[`*]", "", " ".join(found[1].split()))


def told_apart(record: CaseRecord) -> Sequence[Provenance]:
    """Every model that took part, once, in the order of the report."""
    found: dict[str, Provenance] = {}
    for result in (record.radiology, record.pathology, record.fusion):
        for provenance in () if result is None else result.provenance:
            found.setdefault(provenance.weights_sha256, provenance)
    return list(found.values())
