"""A MONAI Bundle of others: looked at, added beside the models that ship, and loaded again.

Found          a bundle as downloaded, checked as far as it can be without running it
add_bundle()   the model's folder, complete or not at all
Loaded         network, transforms and inferer or detector of an added bundle, ready for monai_run

What is kept is data: configs/, the weights, the licence. Scripts of the bundle are never copied. A configuration is
read by monai_config without running code of it, unless the user trusts it; a TorchScript file is a program in any case.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .contract.errors import InvalidInput, ModelUnavailable
from .model_bundle import MODELS_ROOT, Bundle, is_model_name, sha256_of
from .monai_config import BundleConfig, read_json
from .wsinfer_bundle import settled
from .wsinfer_script import checked_archive, loaded

MONAI = "monai"  # "format" of an added model
SCRIPT, STATE = "models/model.ts", "models/model.pt"
_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
_LICENCES = ("LICENSE", "docs/LICENSE", "LICENSE.txt", "docs/LICENSE.txt", "LICENSE.md", "docs/data_license.txt")
_MOST_LICENCE_BYTES, _MOST_WEIGHTS_BYTES = 1 << 20, 4 << 30
NO_LICENCE = "The licence of this bundle was not found in it. Ask whoever made it.\n"
_TASKS = ("segmentation", "detection")


@dataclass(frozen=True)
class Found:
    """A bundle that is to be added.

    Attributes
    ----------
    weights : "models/model.ts" where there is one, else "models/model.pt"; sha256 of it
    task : of _TASKS
    config_name : of its inference configuration, below configs
    """

    name: str
    folder: Path
    metadata: Mapping[str, Any]
    config_name: str
    weights: str
    sha256: str
    task: str
    licence: str
    trusted: bool

    @classmethod
    def at(
        cls, folder: Path, name: Optional[str] = None, licence: Optional[str] = None, trusted: bool = False
    ) -> Found:
        """What ``folder`` holds; nothing of it is run.

        Raises
        ------
        InvalidInput : it is no MONAI Bundle with weights for one CT, or a name is none.
        """
        metadata = read_json(folder / "configs" / "metadata.json")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("network_data_format"), dict):
            raise InvalidInput(f"{folder.name} has no metadata of a MONAI Bundle.", "Name the one that holds configs.")
        config = next((one for one in _CONFIGS if (folder / "configs" / one).is_file()), None)
        if config is None:
            raise InvalidInput(f"{folder.name} has no configs/inference.json.", "Only such bundles can be added.")
        chosen = name if name is not None else folder.resolve().name
        if not is_model_name(chosen):
            raise InvalidInput(f"{chosen!r:.80} cannot be a model's name.", "Give another with --name.")
        body = BundleConfig(read_json(folder / "configs" / config))
        weights = next((one for one in (SCRIPT, STATE) if (folder / one).is_file()), None)
        if weights is None:
            raise InvalidInput(f"{folder.name} holds neither {SCRIPT} nor {STATE}.",
                               "Download its weights too: `python -m monai.bundle download` fetches them.")  # fmt: skip
        if (folder / weights).stat().st_size > _MOST_WEIGHTS_BYTES:
            raise InvalidInput(f"{weights} is larger than any model that can be added.", "Is this the right file?")
        if weights == SCRIPT:
            checked_archive(folder / weights)
        task = "detection" if "detector" in body else "segmentation"
        _inputs(metadata)
        return cls(chosen, folder, metadata, config, weights, sha256_of(folder / weights), task,
                   _licence(folder, licence), trusted)  # fmt: skip

    @property
    def channels(self) -> dict[int, str]:
        """What each channel of a segmentation means."""
        return channels_of(self.metadata)


def channels_of(metadata: Mapping[str, Any]) -> dict[int, str]:
    """Channel of the output to its name, as the metadata says."""
    outputs = metadata["network_data_format"].get("outputs", {})
    one = outputs.get("pred") or next(iter(outputs.values()), {}) if isinstance(outputs, dict) else {}
    names = one.get("channel_def", {}) if isinstance(one, dict) else {}
    try:
        return {int(key): str(value)[:80] for key, value in names.items()}
    except (ValueError, AttributeError) as fault:
        raise InvalidInput("The bundle's metadata name no channels.", "Ask the bundle's author.") from fault


def _inputs(metadata: Mapping[str, Any]) -> None:
    inputs = metadata["network_data_format"].get("inputs", {})
    images = [one for one in inputs.values() if isinstance(one, dict)] if isinstance(inputs, dict) else []
    if len(images) != 1 or images[0].get("num_channels") != 1:
        raise InvalidInput("The bundle wants more than one image, or an image of several channels.",
                           "Only bundles that take one CT can be used.")  # fmt: skip
    modality = str(images[0].get("modality", "CT")).upper()
    if modality not in ("CT", "NA", "N/A", ""):
        raise InvalidInput(f"The bundle wants images of the kind {modality:.40}.", "Only bundles for CT can be used.")


def _licence(folder: Path, given: Optional[str]) -> str:
    if given is not None:
        return given.strip() + "\n"
    for name in _LICENCES:
        path = folder / name
        if path.is_file() and path.stat().st_size <= _MOST_LICENCE_BYTES:
            return path.read_text(errors="replace").strip() + "\n"
    return NO_LICENCE


def add_bundle(found: Found, root: Path, replace: bool = False, shipped: Path = MODELS_ROOT) -> Bundle:
    """Load a bundle once, and write its folder below ``root``.

    Raises
    ------
    InvalidInput : the name is taken, or the configuration cannot be used. NeedsTrust : it takes code to read it.
    ModelUnavailable : the weights do not fit. ServerError : the folder cannot be written.
    """

    def fill(made: Path) -> None:
        for part in ("configs", "docs", "models"):
            (made / part).mkdir(parents=True)
        shutil.copyfile(found.folder / found.weights, made / found.weights)
        if sha256_of(made / found.weights) != found.sha256:
            raise InvalidInput(f"{found.weights} changed while it was read.", "Add it again.")
        shutil.copyfile(found.folder / "configs" / found.config_name, made / "configs" / found.config_name)
        (made / "LICENSE").write_text(found.licence)
        (made / "docs" / "README.md").write_text(_card(found))
        (made / "configs" / "metadata.json").write_text(json.dumps(_metadata(found), indent=1) + "\n")
        Loaded.of(Bundle.load(made))

    return settled(found.name, root, replace, shipped, fill)


def _metadata(found: Found) -> dict[str, Any]:
    own = {
        "model_id": found.name, "modality": "radiology", "format": MONAI, "added": True, "calibrated": False,
        "coverage": [], "weights": {found.weights: found.sha256}, "task": found.task, "config": found.config_name,
        "trusted_code": found.trusted, "other_classes": [n for _, n in sorted(found.channels.items())],
    }  # fmt: skip
    theirs = {name: value for name, value in found.metadata.items() if name != "lungxai"}
    return {**theirs, "version": str(theirs.get("version", found.sha256[:12])), "lungxai": own}


def _card(found: Found) -> str:
    def said(name: str) -> str:
        return str(found.metadata.get(name, "not said"))[:1000]

    channels = "\n".join(f"| {number} | {name} |" for number, name in sorted(found.channels.items()))
    code = "run as it is: the user trusted it" if found.trusted else "read as data; no code of it is run"
    return f"""# {found.name}: a MONAI Bundle of others

Research use only, not a diagnosis. Added by the user, not validated here.

{said("description")}

| | |
|---|---|
| task | {found.task} |
| version | {said("version")} |
| authors | {said("authors")} |
| copyright | {said("copyright")} |
| data | {said("data_source")} |
| intended use | {said("intended_use")} |
| weights | {found.weights}, sha256 {found.sha256} |
| configuration | {code} |

| channel | meaning |
|---|---|
{channels}

Licence: see LICENSE.
"""


class Loaded:
    """What runs; made by of().

    Attributes
    ----------
    bundle, config, task
    network : a module, in evaluation, on ``device``
    """

    def __init__(self, bundle: Bundle, config: Any, network: Any, device: str) -> None:
        self.bundle, self.config, self.network, self.device = bundle, config, network, device
        self.task: str = bundle.own["task"]

    @classmethod
    def of(cls, bundle: Bundle, device: str = "cpu") -> Loaded:
        """Read the configuration and load the weights, by their checked sha256.

        Raises
        ------
        InvalidInput, NeedsTrust : of the configuration. ModelUnavailable : the weights do not fit the network.
        """
        if bundle.own.get("format") != MONAI or bundle.own.get("task") not in _TASKS:
            raise InvalidInput(f"{bundle.folder.name} is no MONAI Bundle that was added.", "See `lungxai models list`.")
        body = read_json(bundle.folder / "configs" / bundle.own["config"])
        config = trusted_config(body, bundle.folder) if bundle.own["trusted_code"] else BundleConfig(body)
        name = next(iter(bundle.own["weights"]))
        if name == SCRIPT:
            network = loaded(bundle.path(name), device)
        else:
            network = _with_weights(config.get("network_def"), bundle.path(name)).to(device)
        made = cls(bundle, config, network.eval(), device)
        config.transforms("preprocessing")  # what cannot be used is said now, not when there is a CT
        made.runner()
        return made

    def runner(self) -> Any:
        """The inferer of a segmentation, or the RetinaNetDetector around the network."""
        if self.task == "segmentation":
            from monai.inferers import SimpleInferer

            return self.config.get("inferer") if "inferer" in self.config else SimpleInferer()
        return _detector(self.config, self.network)


def _with_weights(network: Any, path: Path) -> Any:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("model", state.get("state_dict", state)) if isinstance(state, dict) else state
        network.load_state_dict(state)
    except Exception as fault:  # torch raises several kinds
        why = (str(fault).strip().splitlines() or [""])[0]
        raise ModelUnavailable(f"The weights do not fit the bundle's network: {why:.200}",
                               "Download the bundle again, all files of one version.") from fault  # fmt: skip
    return network


def _detector(config: Any, network: Any) -> Any:
    """As the configuration describes it, with ``network`` in its place."""
    from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector

    told = config.raw("detector")
    if not isinstance(told, dict) or str(told.get("_target_", "")).rpartition(".")[2] != "RetinaNetDetector":
        raise InvalidInput("The bundle's detector is none that can be used.", "Only RetinaNetDetector can.")
    given = {name: config.made(value) for name, value in told.items() if name not in ("_target_", "network")}
    shape = config.raw("network_def")
    for name in ("spatial_dims", "num_classes", "size_divisible"):  # a TorchScript network may not tell
        if isinstance(shape, dict) and name in shape:
            given.setdefault(name, config.made(shape[name]))
    try:
        detector = RetinaNetDetector(network=network, **given)
        for text in config.raw("detector_ops") or ():
            call = config.call_of(str(text), "detector")
            if call is None or not call[0].startswith("set_"):
                raise InvalidInput("The bundle sets its detector up in a way that is not known.", "Ask its author.")
            getattr(detector, call[0])(**call[1])
    except (TypeError, ValueError, AttributeError) as fault:
        raise InvalidInput(f"The detector cannot be made: {fault!s:.150}", "Ask the bundle's author.") from fault
    return detector.eval()


def trusted_config(body: Any, folder: Path) -> Any:
    """The configuration run as it is, by MONAI's own parser; only where the user trusts it."""
    from monai.bundle import ConfigParser

    class Trusted(BundleConfig):
        def __init__(self) -> None:
            super().__init__(body)
            self._parser = ConfigParser(dict(body, bundle_root=str(folder)))
            self._parser.parse()

        def get(self, name: str) -> Any:
            return self._parser.get_parsed_content(name)

        def _component(self, value: Mapping[str, Any]) -> Any:
            from monai.bundle import ConfigComponent

            names = {k: self._made(v) for k, v in value.items() if not k.startswith("_")}
            special = {k: v for k, v in value.items() if k.startswith("_")}
            return ConfigComponent({**special, **names}).instantiate()

        def _evaluated(self, text: str) -> Any:
            name = f"lungxai_{abs(hash(text))}"
            if name not in self._parser:
                self._parser[name] = f"${text}"
                self._parser.parse(reset=False)
            return self._parser.get_parsed_content(name)

    return Trusted()
