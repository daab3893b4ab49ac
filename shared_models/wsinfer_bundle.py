"""A WSInfer model of the user's made into a bundle beside the ones that ship, and taken away again.

Wanted          what is to be added, checked as far as it can be without running it
add_model()     the bundle, complete or not at all
settled()       the same of any bundle: made beside its place, then moved there
remove_model()  gone; never one that ships

The new folder is made beside its place, in a folder of its own that is no bundle, checked there as the server will, and
moved to its place in one step.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .contract.errors import InvalidInput, ServerError
from .contract.values import CLASSES
from .model_bundle import MODELS_ROOT, WSINFER, Bundle, is_model_name, sha256_of
from .wsinfer_card import card
from .wsinfer_config import WSInferConfig, parsed, read_config
from .wsinfer_model import SCRIPT
from .wsinfer_script import checked_archive, tried

SCRIPT_NAME, CONFIG_NAME = "torchscript_model.pt", "config.json"  # as WSInfer and QuPath name them
NO_LICENCE = "The licence of these weights was not given when they were added. Ask whoever made them.\n"
_MOST_LICENCE_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """A model that is to be added; made by found().

    Parameters
    ----------
    name : of the new folder
    script : the TorchScript file
    body : the JSON object of the configuration
    config : what it says
    mapping : class of its own to class of CLASSES; may be empty or incomplete, and then counts for nothing
    licence : text
    sha256 : of the script
    """

    name: str
    script: Path
    body: Mapping[str, Any]
    config: WSInferConfig
    mapping: Mapping[str, str]
    licence: str
    sha256: str

    @property
    def coverage(self) -> tuple[str, ...]:
        """Our classes that its own were assigned to; none unless every one of them was."""
        if set(self.mapping) != set(self.config.class_names):
            return ()
        return tuple(name for name in CLASSES if name in self.mapping.values())

    @classmethod
    def found(
        cls, source: Path, config: Optional[Path] = None, name: Optional[str] = None,
        classes: tuple[str, ...] = (), licence: Optional[str] = None,
    ) -> Wanted:  # fmt: skip
        """What ``source`` holds: a folder with both files, or the TorchScript file. Nothing of it is run.

        Parameters
        ----------
        config : the configuration; beside the model unless given
        name : of the model; the folder's unless given
        classes : "THEIRS=OURS", one for each class
        licence : text; the folder's LICENSE file unless given

        Raises
        ------
        InvalidInput, InputTooLarge : a file is missing, broken or too large; a field, a name or a mapping is wrong.
        """
        folder = source if source.is_dir() else source.parent
        script = _script(source) if source.is_dir() else source
        settings, body = read_config(config or folder / CONFIG_NAME)
        mapping = _mapping(classes, settings.class_names)
        chosen = name if name is not None else folder.resolve().name
        if not is_model_name(chosen):
            raise InvalidInput(
                f"{chosen!r:.80} cannot be a model's name.",
                "Give one of up to 64 letters, digits, dots, dashes and underscores with --name.",
            )
        checked_archive(script)
        text = licence if licence is not None else _licence_beside(folder)
        return cls(chosen, script, body, settings, mapping, text.strip() + "\n", sha256_of(script))


def _script(folder: Path) -> Path:
    if (folder / SCRIPT_NAME).is_file():
        return folder / SCRIPT_NAME
    found = sorted(folder.glob("*.pt"))
    if len(found) != 1:
        raise InvalidInput(f"{folder.name} holds no {SCRIPT_NAME}.", "Name the TorchScript file itself.")
    return found[0]


def _licence_beside(folder: Path) -> str:
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        path = folder / name
        if path.is_file() and path.stat().st_size <= _MOST_LICENCE_BYTES:
            return path.read_text(errors="replace")
    return NO_LICENCE


def _mapping(given: tuple[str, ...], own: tuple[str, ...]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for text in given:
        theirs, sign, ours = text.rpartition("=")
        if not sign or theirs not in own:
            raise InvalidInput(f"--class {text!r:.100} names no class of the model.", f"It has: {', '.join(own)}.")
        if ours not in CLASSES:
            raise InvalidInput(f"--class {text!r:.100} names no class of ours.", f"They are: {', '.join(CLASSES)}.")
        if theirs in mapping:
            raise InvalidInput(f"--class assigns {theirs!r:.80} twice.", "Give each class once.")
        mapping[theirs] = ours
    if len(mapping) == len(own) and len(set(mapping.values())) < 2:
        raise InvalidInput(
            "Every class of the model is assigned to the same one, so it would always be certain.",
            "Assign to two of ours at least, or leave out --class.",
        )
    return mapping


def add_model(wanted: Wanted, root: Path, replace: bool = False, shipped: Path = MODELS_ROOT) -> Bundle:
    """Try a model, and write its bundle under ``root``. Runs the model: ask the user first.

    Raises
    ------
    InvalidInput : the name is taken.
    ModelUnavailable : the model cannot be run, or its answers are of no use.
    ServerError : the folder cannot be written.
    """

    def fill(made: Path) -> None:
        for part in ("configs", "docs", "models"):
            (made / part).mkdir(parents=True)
        shutil.copyfile(wanted.script, made / SCRIPT)
        if sha256_of(made / SCRIPT) != wanted.sha256:
            raise InvalidInput(f"{wanted.script.name} changed while it was read.", "Add it again.")
        said = tried(made / SCRIPT, dict(wanted.body))  # the copy that will run is the one that is tried
        (made / "LICENSE").write_text(wanted.licence)
        (made / "docs" / "README.md").write_text(card(wanted, said))
        (made / "configs" / "metadata.json").write_text(json.dumps(_metadata(wanted, said), indent=1) + "\n")
        parsed(Bundle.load(made).own["config"])

    return settled(wanted.name, root, replace, shipped, fill)


def settled(name: str, root: Path, replace: bool, shipped: Path, fill: Callable[[Path], None]) -> Bundle:
    """The bundle ``name`` below ``root``, which ``fill(folder)`` makes: complete or not at all.

    Raises
    ------
    InvalidInput : the name is taken. ServerError : the folder cannot be written. Besides, what ``fill`` raises.
    """
    place = root / name
    if (shipped / name).exists():
        raise InvalidInput(f"{name} is a model that ships.", "Choose another name with --name.")
    if place.exists() and not replace:
        raise InvalidInput(f"There is a model {name} already.", "Choose another --name, or give --replace.")
    if place.exists() and not _is_added(place):
        raise InvalidInput(f"{place} is not a model that was added here.", "Choose another name with --name.")
    with _staging(root) as folder:
        made = folder / name
        fill(made)
        Bundle.load(made)
        _settle(made)
        before = folder / "before"
        if place.exists():
            os.rename(place, before)
        try:
            os.rename(made, place)
        except OSError:
            if before.exists():
                os.rename(before, place)
            raise
    return Bundle.load(place)


def remove_model(name: str, root: Path, shipped: Path = MODELS_ROOT) -> Path:
    """Take a model away that was added; the folder that it was in.

    Raises
    ------
    InvalidInput : there is none of this name, or it ships.
    ServerError : the folder cannot be written.
    """
    if is_model_name(name) and (shipped / name).exists():
        raise InvalidInput(f"{name} ships with LungXAI.", "Only models that were added can be removed.")
    place = root / name
    if not is_model_name(name) or not _is_added(place):
        raise InvalidInput(f"There is no added model {name!r:.80} in {root}.", "See `lungxai models list`.")
    with _staging(root) as folder:
        os.rename(place, folder / name)  # gone in one step, whatever becomes of the deletion
    return place


def _is_added(place: Path) -> bool:
    try:
        own = json.loads((place / "configs" / "metadata.json").read_bytes())["lungxai"]
        return not place.is_symlink() and own.get("added") is True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder on the same disk, gone at the end; what is in it is not seen as a model."""
    folder: Optional[Path] = None
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(prefix=".adding-", dir=root))
        yield folder
    except OSError as fault:
        why = fault.strerror or "no reason was given"
        raise ServerError(f"{root} cannot be written: {why}.", "Free disk space, or use --added-models.") from fault
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _settle(folder: Path) -> None:
    """Every file on the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _metadata(wanted: Wanted, said: Mapping[str, Any]) -> dict[str, Any]:
    config, version = wanted.config, wanted.sha256[:12]
    side = list(config.preparation.size)
    return {
        "version": version,
        "changelog": {version: "added by the user"},
        "task": "H&E tile classification, added by the user, not validated here",
        "description": f"{config.architecture}: {', '.join(config.class_names)}. Research use only.",
        "authors": "unknown", "copyright": "see LICENSE", "data_source": "unknown: its configuration does not say",
        "intended_use": "Research use only, not a diagnosis. Not validated here.",
        "network_data_format": {
            "inputs": {"pixels": {"type": "image", "format": "RGB", "num_channels": 3, "spatial_shape": side,
                                  "dtype": "float32", "is_patch_data": True}},
            "outputs": {"scores": {"type": "probabilities", "format": "classes",
                                   "num_channels": len(config.class_names), "dtype": "float32",
                                   "channel_def": {str(i): n for i, n in enumerate(config.class_names)}}},
        },
        "lungxai": {
            "model_id": wanted.name, "modality": "pathology", "format": WSINFER, "added": True, "calibrated": False,
            "weights": {SCRIPT: wanted.sha256}, "coverage": list(wanted.coverage),
            "other_classes": list(config.class_names), "mapping": dict(wanted.mapping),
            "methods": list(said["methods"]), "tile_px": config.patch_px, "spacing_um_px": config.spacing_um_px,
            "config": dict(wanted.body),
        },
    }  # fmt: skip
