"""Provenance: which model, on what device, and the classes it knows from real data.

A class outside the coverage is shown as "not assessed", never as probability 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from .errors import InvalidInput
from .values import CLASSES

_SHA256 = re.compile(r"[0-9a-f]{64}")
DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class Provenance:
    """What made a result.

    Parameters
    ----------
    model_id : name of the model's card
    weights_sha256 : 64 lower-case hexadecimal digits
    code_version : version of the code that ran the model
    calibrated : whether probabilities were calibrated on held-out data
    device : one of DEVICES, the one that really ran
    coverage : the classes, of CLASSES, trained on real data; may be empty

    Raises
    ------
    InvalidInput : a field is empty, malformed, or names an unknown class or device.
    """

    model_id: str
    weights_sha256: str
    code_version: str
    calibrated: bool
    device: str
    coverage: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.model_id or not self.code_version or not _SHA256.fullmatch(self.weights_sha256):
            raise InvalidInput("The result does not say which model made it.", "Install the model again.")
        if self.device not in DEVICES:
            raise InvalidInput(f"Device {self.device!r} is unknown.", f"Use one of {', '.join(DEVICES)}.")
        if not set(self.coverage) <= set(CLASSES) or len(set(self.coverage)) != len(self.coverage):
            raise InvalidInput("The model's coverage names an unknown class or one twice.", "Correct its card.")

    def assessed(self, probabilities: Mapping[str, float]) -> dict[str, Optional[float]]:
        """Probability per class of CLASSES; None, "not assessed", for each class outside the coverage."""
        return {name: probabilities[name] if name in self.coverage else None for name in CLASSES}
