"""Bundle: one model folder in MONAI Bundle layout, checked before it is trusted.

NAME/configs/metadata.json   the MONAI metadata plus a "lungxai" section (below)
NAME/configs/train.json      how the weights were trained (training_record.configuration)
NAME/docs/README.md          the model card
NAME/models/*                weights, each named with its sha256 in the metadata
NAME/LICENSE                 of the weights

"lungxai": {"model_id", "modality", "weights": {"models/x.onnx": sha256}, "coverage": [classes],
            "calibrated": bool, ...}; what else it holds belongs to the model.

MODELS_ROOT         the models that ship
added_root()        where the user's own lie
slide_folder()      the folder of the slide model of a name, among both
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .contract.errors import ModelUnavailable
from .contract.provenance import Provenance
from .contract.results import MODALITIES
from .contract.values import CLASSES

MODELS_ROOT = Path(__file__).parent / "models"
SLIDE_MODEL = "lung_he_lite0"  # the one that ships; never simply the first by name
FUSION = "fusion"  # "modality" of the weights that put the modalities together
WSINFER = "wsinfer"  # "format" of an added model: TorchScript with the configuration of the WSInfer zoo
_MAX_METADATA_BYTES = 1 << 20
_REMEDY = "Install the models again, or choose another folder with --models."


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def added_root() -> Path:
    """Folder of the models that the user added, where no other is named; the shipped ones' may be read-only."""
    chosen = os.environ.get("LUNGXAI_ADDED_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "lungxai" / "models"


def is_model_name(name: str) -> bool:
    """Whether this may be a model's name, and so a folder's: 1 to 64 of letters, digits, dot, dash, underscore."""
    return _NAME.fullmatch(name) is not None and not name.endswith(".")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A model folder whose metadata is complete and whose weights are the ones it names."""

    folder: Path
    metadata: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read and check ``folder``.

        Raises
        ------
        ModelUnavailable : the folder, a field, or a weights file is missing or was changed.
        """
        name = folder.name
        try:
            raw = (folder / "configs" / "metadata.json").read_bytes()
            if len(raw) > _MAX_METADATA_BYTES:
                raise ValueError("too large")
            metadata = json.loads(raw)
            own = metadata["lungxai"]
            weights = dict(own["weights"])
            complete = (
                isinstance(own["model_id"], str)
                and own["modality"] in (*MODALITIES, FUSION)
                and set(own["coverage"]) <= set(CLASSES)
                and isinstance(own["calibrated"], bool)
                and isinstance(metadata["version"], str)
                and weights
            )
            if not complete:
                raise ValueError("incomplete")
            for relative, expected in weights.items():
                path = (folder / relative).resolve()
                if folder.resolve() not in path.parents:
                    raise ValueError("outside")
                if sha256_of(path) != expected:
                    raise ModelUnavailable(f"The weights of model {name} are not the ones its card names.", _REMEDY)
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise ModelUnavailable(f"The model {name} is missing or incomplete.", _REMEDY) from fault
        return cls(folder, metadata)

    @property
    def own(self) -> dict[str, Any]:
        """The "lungxai" section."""
        section: dict[str, Any] = self.metadata["lungxai"]
        return section

    @property
    def model_id(self) -> str:
        return f"{self.own['model_id']} {self.metadata['version']}"

    @property
    def weights_sha256(self) -> str:
        """Of the only weights file, or of all their hashes in the order of their names."""
        hashes = [self.own["weights"][name] for name in sorted(self.own["weights"])]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def path(self, relative: str) -> Path:
        """A weights file named in the metadata, so one whose hash was checked."""
        if relative not in self.own["weights"]:
            raise ModelUnavailable(f"The model {self.folder.name} names no {relative}.", _REMEDY)
        return self.folder / relative

    def provenance(self, device: str, code_version: str) -> Provenance:
        """What a result says of this model."""
        return Provenance(
            model_id=self.model_id,
            weights_sha256=self.weights_sha256,
            code_version=code_version,
            calibrated=self.own["calibrated"],
            device=device,
            coverage=tuple(self.own["coverage"]),
        )


def bundles(root: Path = MODELS_ROOT) -> list[Bundle]:
    """Every model under ``root``, by name.

    Raises
    ------
    ModelUnavailable : one of them is broken; its name is in the message.
    """
    return [Bundle.load(path.parents[1]) for path in sorted(root.glob("*/configs/metadata.json"))]


def slide_folder(name: str, root: Path = MODELS_ROOT, added: Optional[Path] = None) -> Path:
    """The folder of the slide model ``name``; those that ship go before those that were added.

    Raises
    ------
    ModelUnavailable : there is none of this name; the message says which there are.
    """
    roots = [root] if added is None else [root, added]
    if is_model_name(name):
        for there in roots:
            if (there / name / "configs" / "metadata.json").is_file():
                return there / name
    known = sorted({path.parents[1].name for there in roots for path in there.glob("*/configs/metadata.json")
                    if _modality(path) == "pathology"})  # fmt: skip
    listed = f"There are: {', '.join(known)}." if known else "There is none."
    raise ModelUnavailable(
        f"There is no slide model of the name {name!r:.80}. {listed}", "See `lungxai models list`, or add it."
    )


def _modality(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes()[:_MAX_METADATA_BYTES])["lungxai"]["modality"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
