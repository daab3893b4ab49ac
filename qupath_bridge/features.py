"""GeoJSON features as QuPath reads them: what an annotation of ours always has.

feature()    one locked annotation
object_id()  the same object gets the same id each time
label()      "research use only", and SYNTHETIC where a slide is drawn or composed
made_by()    which model, weights and code made it, for the metadata
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from shared_models.contract.colours import CLASS_LABELS, RGB
from shared_models.contract.provenance import Provenance
from shared_models.contract.values import CLASSES

SPACE = uuid.UUID("9f3c55d2-8a51-4a3e-9d2b-5f1f3f3d6a10")

Geo = dict[str, Any]


def object_id(key: str) -> str:
    """A UUID; the same object gets the same one each time, so that a second import can be told from the first."""
    # As str(uuid.uuid5(SPACE, key)), which takes four times as long; a slide can have 200,000 objects.
    given = bytearray(hashlib.sha1(SPACE.bytes + key.encode(), usedforsecurity=False).digest()[:16])
    given[6], given[8] = given[6] & 0x0F | 0x50, given[8] & 0x3F | 0x80
    text = given.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def label(synthetic: bool) -> str:
    """What is said of every annotation."""
    return "SYNTHETIC, research use only" if synthetic else "research use only"


def made_by(provenance: Sequence[Provenance]) -> dict[str, str]:
    """Model, weights and code as metadata, key to text."""
    return {
        "LungXAI model": ", ".join(p.model_id for p in provenance),
        "LungXAI weights sha256": ", ".join(p.weights_sha256 for p in provenance),
        "LungXAI code version": ", ".join(sorted({p.code_version for p in provenance})),
        "LungXAI calibrated": ", ".join("yes" if p.calibrated else "no" for p in provenance),
        "LungXAI not assessed": ", ".join(
            CLASS_LABELS[c] for c in CLASSES if not any(c in p.coverage for p in provenance)
        ),
    }  # fmt: skip


def feature(
    geometry: Geo, key: str, kind: Optional[tuple[str, RGB]], measured: Mapping[str, float], title: str,
    metadata: Mapping[str, str],
) -> Geo:  # fmt: skip
    """A locked annotation.

    Parameters
    ----------
    geometry : GeoJSON Polygon or MultiPolygon, level-0 pixels
    key : what makes this object this one
    kind : name and colour of its class; None for none
    measured : numbers by name; what is not finite is left out
    metadata : texts by name; empty ones are left out
    """
    properties: Geo = {"objectType": "annotation", "name": title}
    if kind is not None:
        properties["classification"] = {"name": kind[0], "color": list(kind[1])}
    properties["isLocked"] = True
    properties["measurements"] = {k: float(v) for k, v in measured.items() if math.isfinite(v)}
    properties["metadata"] = {k: v for k, v in metadata.items() if v}
    return {"type": "Feature", "id": object_id(key), "geometry": geometry, "properties": properties}
